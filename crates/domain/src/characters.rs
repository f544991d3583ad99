//! Unicode properties of characters, for codes that people copy and for names that people read.
//!
//! The properties come from ICU4X, whose tables follow the Unicode releases.

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier, ExtendedPictographic,
    GeneralCategory, Ideographic, JoiningType, PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Whether `c` shows nothing by itself, or only changes how its neighbors are shown: default
/// ignorable and format characters, among them zero-width and bidirectional ones, tags, variation
/// selectors and Hangul fillers, and the blank Braille pattern.
///
/// White space and control characters are not among them.
pub fn is_invisible(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let is_format = category(c) == GeneralCategory::Format
        && !CodePointSetData::new::<PrependedConcatenationMark>().contains(c);
    is_format || is_default_ignorable(c) || c == BLANK_BRAILLE
}

/// Looks like a space, but is no white space for Unicode.
const BLANK_BRAILLE: char = '\u{2800}';

fn is_default_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

pub(crate) fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// The ASCII character that `c` is another form of: a decimal digit of any script (general category
/// Nd), or a full-width form. Other characters are returned as they are.
pub(crate) fn to_ascii(c: char) -> char {
    /// How far the full-width forms are from what they are forms of.
    const FULL_WIDTH: u32 = 0xFF01 - 0x21;

    if c.is_ascii() {
        return c;
    }
    let ascii = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - FULL_WIDTH),
        _ => decimal_value(c).and_then(|value| char::from_digit(value, 10)),
    };
    ascii.unwrap_or(c)
}

/// The value of a decimal digit. Each script has its ten digits in one run, zero first (Unicode
/// Standard, section 4.6), and runs that touch have whole tens before them.
fn decimal_value(c: char) -> Option<u32> {
    let is_digit = |c| category(c) == GeneralCategory::DecimalNumber;
    let before = || (0..u32::from(c)).rev().map_while(char::from_u32);
    is_digit(c).then(|| {
        let count = before().take_while(|c| is_digit(*c)).count();
        (count % 10) as u32
    })
}

/// Whether the invisible character between `before` and `after` (the nearest first) is part of how
/// a text is spelled: in emoji, in scripts with joined letters, and behind ideographs.
pub(crate) fn belongs(invisible: char, before: &[char], after: &[char]) -> bool {
    let (previous, next) = (before.last().copied(), after.first().copied());
    match invisible {
        BLANK_BRAILLE => previous.is_some() && next.is_some(),
        TEXT_STYLE | EMOJI_STYLE => previous.is_some_and(|c| {
            // A digit is an emoji, too, but looks different only as a keycap.
            let shows = !c.is_ascii() || next == Some(KEYCAP);
            CodePointSetData::new::<Emoji>().contains(c) && shows
        }),
        IDEOGRAPHIC_VARIATION_FIRST..=IDEOGRAPHIC_VARIATION_LAST => {
            previous.is_some_and(|c| CodePointSetData::new::<Ideographic>().contains(c))
        }
        ZERO_WIDTH_JOINER => previous.is_some_and(|c| {
            is_virama(c)
                || (ends_emoji(c)
                    && next.is_some_and(|c| {
                        CodePointSetData::new::<ExtendedPictographic>().contains(c)
                    }))
        }),
        // RFC 5892, appendix A.1.
        ZERO_WIDTH_NON_JOINER => {
            previous.is_some_and(is_virama)
                || (joins(before.iter().rev(), JoiningType::LeftJoining)
                    && joins(after.iter(), JoiningType::RightJoining))
        }
        _ => false,
    }
}

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const KEYCAP: char = '\u{20e3}';
const TEXT_STYLE: char = '\u{fe0e}';
const EMOJI_STYLE: char = '\u{fe0f}';
const IDEOGRAPHIC_VARIATION_FIRST: char = '\u{e0100}';
const IDEOGRAPHIC_VARIATION_LAST: char = '\u{e01ef}';

fn ends_emoji(c: char) -> bool {
    c == EMOJI_STYLE
        || CodePointSetData::new::<ExtendedPictographic>().contains(c)
        || CodePointSetData::new::<EmojiModifier>().contains(c)
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

/// Whether the first letter that takes part in joining does so on this side.
fn joins<'a>(mut letters: impl Iterator<Item = &'a char>, side: JoiningType) -> bool {
    let joining = |c: &char| CodePointMapData::<JoiningType>::new().get(*c);
    let first = letters.find(|c| joining(c) != JoiningType::Transparent);
    first.is_some_and(|c| [JoiningType::DualJoining, side].contains(&joining(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_have_the_values_of_unicode() {
        // From the Unicode Character Database: the first digit of some scripts, and where the
        // mathematical ones begin.
        for zero in [
            '0',
            '\u{660}',
            '\u{6f0}',
            '\u{7c0}',
            '\u{966}',
            '\u{9e6}',
            '\u{e50}',
            '\u{f20}',
            '\u{1040}',
            '\u{1090}',
            '\u{17e0}',
            '\u{1810}',
            '\u{a620}',
            '\u{ff10}',
            '\u{104a0}',
            '\u{1d7ce}',
            '\u{1d7d8}',
            '\u{1d7f6}',
            '\u{1e950}',
            '\u{1fbf0}',
        ] {
            for (value, expected) in (0..).zip('0'..='9') {
                let digit = char::from_u32(u32::from(zero) + value).unwrap();
                assert_eq!(to_ascii(digit), expected, "{digit:?}");
            }
        }
        let all =
            (char::MIN..='\u{1ffff}').filter(|c| category(*c) == GeneralCategory::DecimalNumber);
        let mut counts = [0; 10];
        for digit in all {
            counts[to_ascii(digit).to_digit(10).unwrap() as usize] += 1;
        }
        assert!(
            counts[0] > 60 && counts.iter().all(|count| *count == counts[0]),
            "{counts:?}"
        );
    }

    #[test]
    fn numbers_that_are_no_decimal_digits_stay() {
        for c in ['²', '½', '①', 'Ⅷ', '八', '\u{19da}', 'é', 'a', '~'] {
            assert_eq!(to_ascii(c), c);
        }
        assert_eq!(to_ascii('Ａ'), 'A');
        assert_eq!(to_ascii('－'), '-');
    }

    #[test]
    fn invisible_characters_of_every_kind_are_known() {
        for c in [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2064}',
            '\u{2065}',
            '\u{2066}',
            '\u{2069}',
            '\u{206a}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff0}',
            '\u{fff9}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0020}',
            '\u{e007f}',
            '\u{e0100}',
            '\u{e01ef}',
        ] {
            assert!(is_invisible(c), "{c:?}");
        }
        for c in [
            'a', ' ', '\n', 'é', '\u{301}', '\u{600}', '\u{6dd}', '漢', '🔑', '\u{3000}',
        ] {
            assert!(!is_invisible(c), "{c:?}");
        }
    }
}
