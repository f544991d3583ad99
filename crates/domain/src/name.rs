//! The rules for names of users and devices.

use crate::characters::{belongs, is_invisible};

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or nothing but white space and invisible characters.
    #[error("a name must not be blank")]
    Blank,
    /// Longer than this many characters.
    #[error("a name has at most {0} characters")]
    TooLong(usize),
    /// Holds a control character such as a line break, which would tear log lines and terminals.
    #[error("a name must not contain control characters")]
    ControlCharacter,
    /// Holds an invisible or bidirectional formatting character, so it could look like another name.
    /// Those within emoji, and within scripts that are spelled with them, are allowed.
    #[error("a name must not contain invisible or bidirectional formatting characters")]
    Invisible,
}

/// Whether `text` can be a new name of at most `max` characters (Unicode scalar values).
pub(crate) fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        return Err(NameError::Blank);
    }
    check_stored(text, max)?;
    if deceiving(text).is_empty() {
        Ok(())
    } else {
        Err(NameError::Invisible)
    }
}

/// Whether `text` can be a name that is stored: earlier versions took invisible characters.
pub(crate) fn check_stored(text: &str, max: usize) -> Result<(), NameError> {
    if text.trim().is_empty() {
        return Err(NameError::Blank);
    }
    if text.chars().count() > max {
        return Err(NameError::TooLong(max));
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

/// The flags of England, Scotland and Wales: a black flag and invisible tags (Unicode Technical
/// Standard 51, `RGI_Emoji_Tag_Sequence`).
const TAGGED_FLAGS: [&str; 3] = [
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// The positions, in characters, of what makes a name look like another one.
fn deceiving(text: &str) -> Vec<usize> {
    let mut chars: Vec<char> = text.chars().collect();
    // White flags of the same length take the place of tagged ones.
    for flag in TAGGED_FLAGS.map(|flag| flag.chars().collect::<Vec<_>>()) {
        for at in 0..chars.len() {
            if chars[at..].starts_with(&flag) {
                chars[at..at + flag.len()].fill('\u{1f3f3}');
            }
        }
    }
    let is_deceiving = |at: &usize| {
        let c = chars[*at];
        let is_break = matches!(c, '\u{2028}' | '\u{2029}');
        is_break || (is_invisible(c) && !belongs(c, &chars[..*at], &chars[at + 1..]))
    };
    (0..chars.len()).filter(is_deceiving).collect()
}

/// The name with every character escaped that a new name may not have, for a list that people read.
pub(crate) fn reveal(text: &str) -> String {
    let hidden = deceiving(text);
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match hidden.binary_search(&at) {
            Ok(_) => shown.extend(c.escape_unicode()),
            Err(_) => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_characters_and_control_characters_are_refused() {
        assert_eq!(check("é🔑", 2), Ok(()));
        assert_eq!(check("é🔑x", 2), Err(NameError::TooLong(2)));
        assert_eq!(check("", 2), Err(NameError::Blank));
        assert_eq!(check(" \u{a0}", 2), Err(NameError::Blank));
        assert_eq!(check("a\nb", 9), Err(NameError::ControlCharacter));
        assert_eq!(check("a\u{85}b", 9), Err(NameError::ControlCharacter));
    }

    #[test]
    fn invisible_and_bidirectional_characters_are_refused() {
        for name in [
            "Phone \u{202e}gnp.exe",
            "Pho\u{200b}ne",
            "Phone\u{200d}",
            "Pho\u{200d}ne",
            "Pho\u{200c}ne",
            "\u{feff}Phone",
            "Pho\u{ad}ne",
            "Phone\u{fe0f}",
            "Phone 1\u{fe0f}",
            "Phone\u{3164}",
            "Phone\u{2800}",
            "Phone\u{e0061}\u{e0062}",
            "\u{1f3f4}\u{e0061}\u{e0062}\u{e007f}",
            "\u{1f511}\u{200d}",
            "\u{1f511}\u{200d}\u{200d}\u{1f511}",
            "Phone\u{e0100}",
            "Pho\u{2028}ne",
            "Pho\u{fff9}ne",
        ] {
            assert_eq!(check(name, 64), Err(NameError::Invisible), "{name:?}");
            assert!(check_stored(name, 64).is_ok(), "{name:?}");
        }
        for name in ["\u{200b}", "\u{2800}", "\u{3164} \u{200d}", "\u{e0061}"] {
            assert_eq!(check(name, 64), Err(NameError::Blank), "{name:?}");
        }
    }

    #[test]
    fn emoji_and_scripts_that_are_spelled_with_invisible_characters_are_allowed() {
        for name in [
            "\u{1f469}\u{200d}\u{1f4bb} Laptop",
            "\u{1f469}\u{1f3fd}\u{200d}\u{1f52c}",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "\u{260e}\u{fe0f} Home",
            "1\u{fe0f}\u{20e3}",
            "\u{1f1e9}\u{1f1ea}",
            TAGGED_FLAGS[1],
            "Team \u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} \u{1f511}",
            // Persian, Sinhala, Hindi, and a Japanese name with a variant of an ideograph.
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "क्\u{200d}ष",
            "葛\u{e0100}城",
            "⠏⠓\u{2800}⠑",
            "Téléphone d’Ada",
            "הטלפון שלי",
        ] {
            assert_eq!(check(name, 64), Ok(()), "{name:?}");
            assert_eq!(reveal(name), name);
        }
    }

    #[test]
    fn revealed_name_shows_what_it_hides() {
        assert_eq!(reveal("Phone \u{202e}gnp.exe"), "Phone \\u{202e}gnp.exe");
        assert_eq!(reveal("\u{200b}"), "\\u{200b}");
    }
}
