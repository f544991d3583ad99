//! Users, and how they are named and reached.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::UserId;
use crate::characters::is_invisible;
use crate::name::{self, NameError};

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Whose account it is.
    pub id: UserId,
    /// What they are called.
    pub name: UserName,
    /// How they are reached; no two users share one.
    pub email: Email,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// Since when the account is closed: none of its sessions lives.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// What a user is called: 1 to 200 characters, not blank, no control characters, and no invisible
/// ones outside emoji and the scripts that need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// The greatest length, in characters.
    pub const MAX: usize = 200;

    /// A name from the database, or `None` if no version of this program stored it.
    pub fn from_stored(text: &str) -> Option<Self> {
        name::check_stored(text, Self::MAX).ok()?;
        Some(Self(text.to_owned()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with invisible and bidirectional formatting characters escaped, for a list that
    /// people read.
    pub fn reveal(&self) -> String {
        name::reveal(&self.0)
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        name::check(text, Self::MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address, kept as it was given and compared without regard to case.
///
/// Only what every address has is checked: whether mail arrives is for a mail to find out.
#[derive(Debug, Clone)]
pub struct Email(String);

impl Email {
    /// The greatest length, in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
    pub const MAX: usize = 254;

    /// An address from the database, or `None` if no version of this program stored it.
    pub fn from_stored(text: &str) -> Option<Self> {
        check_stored(text).ok()?;
        Some(Self(text.to_owned()))
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lower-cased address: equal for two addresses exactly if they count as the same.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl FromStr for Email {
    type Err = EmailError;

    /// White space around the address is dropped.
    fn from_str(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        check_stored(text)?;
        if text.chars().any(is_invisible) {
            return Err(EmailError::Invisible);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `text` can be an address that is stored: earlier versions took invisible characters.
fn check_stored(text: &str) -> Result<(), EmailError> {
    if text.len() > Email::MAX {
        return Err(EmailError::TooLong);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(EmailError::Blank);
    }
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
        {
            Ok(())
        }
        _ => Err(EmailError::Shape),
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for Email {}

/// Why a text cannot be an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// More than [`Email::MAX`] bytes.
    #[error("an e-mail address has at most {} bytes", Email::MAX)]
    TooLong,
    /// White space or a control character inside.
    #[error("an e-mail address must not contain white space or control characters")]
    Blank,
    /// An invisible or bidirectional formatting character: the address would look like another one.
    #[error("an e-mail address must not contain invisible or bidirectional formatting characters")]
    Invisible,
    /// Not one `@` with something on both sides.
    #[error("an e-mail address has exactly one `@`, with something on both sides")]
    Shape,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_trimmed_kept_and_compared_without_case() {
        let email: Email = "  Ada@Example.ORG\n".parse().unwrap();
        assert_eq!(email.as_str(), "Ada@Example.ORG");
        assert_eq!(email.folded(), "ada@example.org");
        assert_eq!(email, "ADA@example.org".parse().unwrap());
        assert_ne!(email, "bob@example.org".parse().unwrap());
    }

    #[test]
    fn address_without_its_parts_is_refused() {
        for text in ["", "ada", "@example.org", "ada@", "@", "a@b@c", "a@@b"] {
            assert_eq!(
                text.parse::<Email>().unwrap_err(),
                EmailError::Shape,
                "{text:?}"
            );
        }
        for text in [
            "a da@example.org",
            "ada@exam\u{0}ple.org",
            "ada@\u{a0}example.org",
        ] {
            assert_eq!(
                text.parse::<Email>().unwrap_err(),
                EmailError::Blank,
                "{text:?}"
            );
        }
        for text in [
            "ada\u{200b}@example.org",
            "ada@exa\u{ad}mple.org",
            "\u{202e}ada@example.org",
        ] {
            let refused = text.parse::<Email>().unwrap_err();
            assert_eq!(refused, EmailError::Invisible, "{text:?}");
            assert!(Email::from_stored(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn address_of_254_bytes_is_the_longest() {
        let longest = format!("{}@b", "a".repeat(252));
        assert!(longest.parse::<Email>().is_ok());
        assert_eq!(
            format!("a{longest}").parse::<Email>().unwrap_err(),
            EmailError::TooLong
        );
    }

    #[test]
    fn user_name_of_200_characters_is_the_longest() {
        assert!("é".repeat(200).parse::<UserName>().is_ok());
        assert_eq!(
            "é".repeat(201).parse::<UserName>(),
            Err(NameError::TooLong(200))
        );
    }
}
