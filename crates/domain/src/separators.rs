//! The symbols of a code, as people type and copy them.

use icu_properties::props::GeneralCategory;

use crate::characters::{category, is_invisible, to_ascii};

/// The characters of `text` that are neither separators nor invisible. Digits of other scripts and
/// full-width forms are returned as the ASCII characters that they are forms of.
pub(crate) fn symbols(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(to_ascii).filter(|c| !is_separator(*c))
}

/// Whether `c` separates symbols and is none: white space, hyphens, dashes, `_` and `.`, and what a
/// copied text holds without showing it.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '_' | '.' | HYPHEN_BULLET | MINUS)
        || category(c) == GeneralCategory::DashPunctuation
        || is_invisible(c)
}

const HYPHEN_BULLET: char = '\u{2043}';
const MINUS: char = '\u{2212}';
