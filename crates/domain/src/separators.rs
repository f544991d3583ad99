//! What people put between the symbols of a code.

/// Whether `c` separates symbols and is none: white space, hyphens, dashes, `_` and `.`.
pub(crate) fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '_'
                | '.'
                | '\u{ad}' // soft hyphen
                | '\u{2010}'
                ..='\u{2015}' // hyphens and dashes
                | '\u{2043}' // hyphen bullet
                | '\u{2212}' // minus
                | '\u{fe58}' // small em dash
                | '\u{fe63}' // small hyphen-minus
                | '\u{ff0d}' // full-width hyphen-minus
        )
}
