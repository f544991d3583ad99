//! Ids: random 63-bit integers, written as decimal text.
//!
//! Random, so that ids reveal neither counts nor other ids; 63 bits and never zero, so
//! that every database holds them as a positive `BIGINT`. Records of the audit and messages are the
//! exception: the database numbers them, because their order is part of what they say.

use std::fmt;
use std::str::FromStr;

use crate::{NoEntropy, Random};

/// How often zero may be drawn (probability 2⁻⁶³ each) before the source is called broken.
const DRAWS: usize = 8;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The number, in `1..=i64::MAX`.
            pub fn get(self) -> i64 {
                self.0
            }

            /// The id with this number, or `None` if it is not positive and so cannot be one.
            pub fn from_stored(number: i64) -> Option<Self> {
                (number > 0).then_some(Self(number))
            }
        }

        /// Decimal, without sign and leading zeros.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        /// Reads exactly what `Display` writes: no sign, no leading zero, no blanks.
        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(text).map(Self)
            }
        }
    };
}

macro_rules! random_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// Draws a new id.
            ///
            /// # Errors
            /// [`NoEntropy`] if `random` has none.
            pub fn random(random: &dyn Random) -> Result<Self, NoEntropy> {
                draw(random).map(Self)
            }
        }
    )*};
}

id! {
    /// Whose account it is.
    UserId
}
id! {
    /// One sign-in; not the token that proves it.
    SessionId
}
id! {
    /// One second factor of a user.
    DeviceId
}
id! {
    /// One record of the audit; the later record has the greater id.
    AuditId
}
id! {
    /// One message in the outbox; the later message has the greater id.
    MessageId
}
random_id!(UserId, SessionId, DeviceId);

/// The text is not an id: not canonical decimal, or too large to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an id: expected a decimal number from 1 to {}, without sign or leading zeros",
    i64::MAX
)]
pub struct NotAnId;

fn draw(random: &dyn Random) -> Result<i64, NoEntropy> {
    for _ in 0..DRAWS {
        let mut bytes = [0; 8];
        random.fill(&mut bytes)?;
        let number = i64::from_be_bytes(bytes) & i64::MAX;
        if number != 0 {
            return Ok(number);
        }
    }
    Err(NoEntropy)
}

fn parse(text: &str) -> Result<i64, NotAnId> {
    // `i64::from_str` would also take `+1` and `007`.
    let canonical = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if !canonical {
        return Err(NotAnId);
    }
    text.parse().map_err(|_| NotAnId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;
    use crate::random::test_sources::{Exhausted, Script};

    #[test]
    fn only_canonical_decimal_is_an_id() {
        for (text, number) in [("1", 1), ("9223372036854775807", i64::MAX), ("90", 90)] {
            let id: DeviceId = text.parse().unwrap();
            assert_eq!(id.get(), number);
            assert_eq!(id.to_string(), text);
        }
        let not_ids = [
            "",
            "0",
            "-1",
            "+1",
            "01",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "1.0",
            "１",
            "9223372036854775808",
        ];
        for text in not_ids {
            assert_eq!(text.parse::<DeviceId>(), Err(NotAnId), "{text:?}");
        }
    }

    #[test]
    fn stored_numbers_that_are_not_positive_are_no_ids() {
        assert_eq!(UserId::from_stored(0), None);
        assert_eq!(UserId::from_stored(-1), None);
        assert_eq!(UserId::from_stored(7).map(UserId::get), Some(7));
    }

    #[test]
    fn drawn_ids_are_positive_use_all_63_bits_and_differ() {
        let ids: Vec<_> = (0..1000)
            .map(|_| SessionId::random(&SystemRandom::new()).unwrap().get())
            .collect();
        assert!(ids.iter().all(|id| *id > 0));
        assert_eq!(ids.iter().fold(0, |seen, id| seen | id), i64::MAX);
        assert_eq!(
            ids.iter().collect::<std::collections::BTreeSet<_>>().len(),
            ids.len()
        );
    }

    #[test]
    fn zero_is_drawn_again_and_the_sign_bit_is_dropped() {
        let random = Script::new(vec![vec![0; 8], vec![0x80, 0, 0, 0, 0, 0, 0, 5]]);
        assert_eq!(UserId::random(&random).unwrap().get(), 5);
    }

    #[test]
    fn broken_source_is_an_error_and_not_an_endless_loop() {
        assert_eq!(UserId::random(&Script::new(Vec::new())), Err(NoEntropy));
        assert_eq!(UserId::random(&Exhausted), Err(NoEntropy));
    }
}
