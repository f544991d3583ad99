//! TOTP codes: reading them, and finding the step that one is of (RFC 6238, RFC 4226).

use std::fmt;

use chrono::{DateTime, Utc};
use ring::hmac;

use crate::separators::symbols;
use crate::{MAX_CODE_INPUT, Seed};

/// How many digits a code has.
const DIGITS: usize = 6;
/// How long a step is, in seconds.
const STEP_SECONDS: i64 = 30;

/// A code of an authenticator app: six digits.
#[derive(Clone, Copy)]
pub struct TotpCode(u32);

impl TotpCode {
    /// Reads a code as people type and copy it: in the digits of any script, with white space,
    /// hyphens, dashes, underscores, full stops and invisible characters anywhere.
    ///
    /// # Errors
    /// [`MalformedTotpCode`] if this cannot be a code, whatever the seed: that is no failed guess.
    pub fn parse(text: &str) -> Result<Self, MalformedTotpCode> {
        if text.chars().nth(MAX_CODE_INPUT).is_some() {
            return Err(MalformedTotpCode::TooLong);
        }
        let mut value = 0;
        let mut count = 0;
        for c in symbols(text) {
            let digit = c.to_digit(10).ok_or(MalformedTotpCode::NotSixDigits)?;
            count += 1;
            if count > DIGITS {
                return Err(MalformedTotpCode::NotSixDigits);
            }
            value = 10 * value + digit;
        }
        if count != DIGITS {
            return Err(MalformedTotpCode::NotSixDigits);
        }
        Ok(Self(value))
    }

    /// The code as an app shows it, without separators.
    pub fn expose(&self) -> String {
        format!("{:0DIGITS$}", self.0)
    }
}

/// Silent: a code stands in for a factor.
impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode(..)")
    }
}

/// Why a text cannot be a TOTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTotpCode {
    /// More than [`MAX_CODE_INPUT`] characters.
    #[error("a TOTP code has at most {MAX_CODE_INPUT} characters, separators included")]
    TooLong,
    /// Anything but six digits.
    #[error("a TOTP code has {DIGITS} digits")]
    NotSixDigits,
}

/// A time step of 30 seconds, each with its code: RFC 6238's `T`, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TotpStep(i64);

impl TotpStep {
    /// The step that `now` is in.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(now.timestamp().div_euclid(STEP_SECONDS))
    }

    /// Its number.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The step with this number.
    pub fn from_stored(number: i64) -> Self {
        Self(number)
    }
}

/// How many steps before and after the current one are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotpWindow(u8);

impl TotpWindow {
    /// The current step only: a code lives for 30 seconds, as OWASP ASVS 6.5.5 asks.
    pub const STRICT: Self = Self(0);

    /// This many steps; none or one (RFC 6238 §5.2).
    pub fn new(steps: u8) -> Option<Self> {
        (steps <= 1).then_some(Self(steps))
    }

    /// How many steps before and after.
    pub fn steps(self) -> i64 {
        i64::from(self.0)
    }

    /// The last step of which a code is accepted at `now`.
    pub fn last_step(self, now: DateTime<Utc>) -> TotpStep {
        TotpStep(TotpStep::at(now).0.saturating_add(self.steps()))
    }
}

impl Default for TotpWindow {
    /// One step: enough for a slow typist and a clock that is half a minute off.
    fn default() -> Self {
        Self(1)
    }
}

impl Seed {
    /// The code of a step.
    pub fn code_at(&self, step: TotpStep) -> TotpCode {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.expose());
        let tag = hmac::sign(&key, &step.0.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226 §5.3: the last four bits say where the 31 bits begin.
        let at = usize::from(tag[tag.len() - 1] & 0xf);
        let bits = u32::from_be_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]);
        TotpCode((bits & 0x7fff_ffff) % 10_u32.pow(DIGITS as u32))
    }

    /// The first step after `spent`, among those that are accepted at `now`, that `code` is of.
    ///
    /// Always computes and compares all of them, so that the time does not reveal which one matched.
    pub fn matching_step(
        &self,
        code: &TotpCode,
        now: DateTime<Utc>,
        window: TotpWindow,
        spent: Option<TotpStep>,
    ) -> Option<TotpStep> {
        let current = TotpStep::at(now).0;
        let steps = window.steps();
        let mut found = None;
        // From the last to the first, so that the first one stays.
        for offset in (-steps..=steps).rev() {
            let step = TotpStep(current.saturating_add(offset));
            let is_equal = self.code_at(step).0 ^ code.0 == 0;
            let is_unspent = spent.is_none_or(|spent| step > spent);
            if is_equal & is_unspent {
                found = Some(step);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::random::test_sources::Script;

    /// The seed of RFC 4226 appendix D and RFC 6238 appendix B.
    fn seed() -> Seed {
        Seed::random(&Script::new(vec![b"12345678901234567890".to_vec()])).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn code(text: &str) -> TotpCode {
        TotpCode::parse(text).unwrap()
    }

    #[test]
    fn vectors_of_rfc_4226_pass() {
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (count, expected) in (0..).zip(expected) {
            assert_eq!(seed().code_at(TotpStep(count)).expose(), expected);
        }
    }

    #[test]
    fn vectors_of_rfc_6238_pass() {
        // The RFC shows eight digits; six are the last six of them.
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let code = seed().code_at(TotpStep::at(at(seconds)));
            assert_eq!(code.expose(), expected[2..]);
        }
    }

    #[test]
    fn steps_are_counted_from_1970_also_backwards() {
        for (seconds, step) in [(0, 0), (29, 0), (30, 1), (-1, -1), (-30, -1), (-31, -2)] {
            assert_eq!(TotpStep::at(at(seconds)).get(), step, "{seconds}");
        }
    }

    #[test]
    fn window_reaches_one_step_either_way_or_none() {
        let now = at(1_000_000_000);
        let current = TotpStep::at(now);
        for offset in -3..=3 {
            let step = TotpStep(current.0 + offset);
            let code = seed().code_at(step);
            let found = |window| seed().matching_step(&code, now, window, None);
            let expected = |reach| (offset.abs() <= reach).then_some(step);
            assert_eq!(found(TotpWindow::default()), expected(1), "{offset}");
            assert_eq!(found(TotpWindow::STRICT), expected(0), "{offset}");
        }
        assert_eq!(TotpWindow::default().last_step(now).0, current.0 + 1);
    }

    #[test]
    fn window_of_two_steps_is_none() {
        let windows = [0, 1, 2, u8::MAX].map(TotpWindow::new);
        let (strict, default) = (TotpWindow::STRICT, TotpWindow::default());
        assert_eq!(windows, [Some(strict), Some(default), None, None]);
        assert_eq!((strict.steps(), default.steps()), (0, 1));
    }

    #[test]
    fn code_from_before_1970_is_found_in_its_step() {
        for seconds in [-1, -30, -31, -1_000_000_000] {
            let now = at(seconds);
            let step = TotpStep::at(now);
            let found = seed().matching_step(&seed().code_at(step), now, TotpWindow::STRICT, None);
            assert_eq!(found, Some(step), "{seconds}");
        }
    }

    #[test]
    fn spent_step_and_all_before_it_are_refused() {
        let now = at(1_000_000_000);
        let window = TotpWindow::default();
        let step = TotpStep::at(now);
        let next = TotpStep(step.0 + 1);
        for (spent, expected) in [
            (None, Some(step)),
            (Some(TotpStep(step.0 - 1)), Some(step)),
            (Some(step), None),
            (Some(next), None),
        ] {
            let found = seed().matching_step(&seed().code_at(step), now, window, spent);
            assert_eq!(found, expected, "{spent:?}");
        }
        let later = now + TimeDelta::seconds(30);
        let found = seed().matching_step(&seed().code_at(next), later, window, Some(step));
        assert_eq!(found, Some(next));
    }

    #[test]
    fn code_is_read_as_people_type_it() {
        for text in [
            "287082",
            " 287 082 ",
            "287-082",
            "2 8 7 0 8 2",
            "287\u{2013}082\n",
            "２８７０８２",
            // Arabic-Indic, Devanagari and mathematical digits.
            "\u{662}\u{668}\u{667}\u{660}\u{668}\u{662}",
            "२८७०८२",
            "\u{1d7ee}\u{1d7f4}\u{1d7f3}\u{1d7ec}\u{1d7f4}\u{1d7ee}",
            "\u{200e}287082",
            "287\u{200b}082",
            "\u{2068}287\u{2060}082\u{2069}\u{feff}",
            "287\u{3164}082\u{fe0f}",
        ] {
            assert_eq!(code(text).expose(), "287082", "{text:?}");
        }
        assert_eq!(code("000007").expose(), "000007");
        for text in [
            "", "28708", "2870820", "28708a", "28708²", "28708八", "+87082", "2870 82x",
        ] {
            let parsed = TotpCode::parse(text);
            assert_eq!(
                parsed.unwrap_err(),
                MalformedTotpCode::NotSixDigits,
                "{text:?}"
            );
        }
        let long = format!("287082{}", " ".repeat(59));
        let parsed = TotpCode::parse(&long);
        assert_eq!(parsed.unwrap_err(), MalformedTotpCode::TooLong);
        assert!(TotpCode::parse(&long[..64]).is_ok());
    }

    #[test]
    fn debug_shows_no_code() {
        assert_eq!(format!("{:?}", code("287082")), "TotpCode(..)");
    }
}
