//! What a text must be to name a user or a device.

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or nothing but white space.
    #[error("a name must not be blank")]
    Blank,
    /// Longer than this many characters.
    #[error("a name has at most {0} characters")]
    TooLong(usize),
    /// Holds a control character such as a line break, which would tear log lines and terminals.
    #[error("a name must not contain control characters")]
    ControlCharacter,
}

/// Whether `text` can be a name of at most `max` characters (Unicode scalar values).
pub(crate) fn check(text: &str, max: usize) -> Result<(), NameError> {
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
}
