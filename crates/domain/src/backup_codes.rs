//! Backup codes: how they are generated, formatted, parsed, stored and matched.
//!
//! A code is 24 symbols of Crockford's base32: 23 random ones, 115 bits, and one that checks them.
//! Above the 112 bits of NIST SP 800-63B-4 §3.1.2.2 a keyed hash is strong enough to store it; a slow hash
//! would cost half a second per set without a benefit. One value is stored, the [`CodeSet`]. The
//! store decides where, and which of two concurrent redemptions succeeds.

use std::fmt;

use base32::Alphabet;
use ring::hmac;
use zeroize::Zeroizing;

use crate::sealed::{self, Binding};
use crate::separators;
use crate::{
    DeviceId, KeyId, Keyring, NoEntropy, Random, ResealError, RootKey, UnreadableSecret, UserId,
};

/// How many codes a set has.
pub const CODES_PER_SET: usize = 10;
/// The entropy of one code, in bits.
pub const CODE_BITS: usize = RANDOM_SYMBOLS * BITS_PER_SYMBOL;
/// The longest text, in characters, that is looked at as a code at all.
pub const MAX_CODE_INPUT: usize = 64;

const BITS_PER_SYMBOL: usize = 5;
const RANDOM_SYMBOLS: usize = 23;
const SYMBOLS: usize = RANDOM_SYMBOLS + 1;
/// Symbols between two hyphens.
const GROUP: usize = 4;
/// Enough bytes to make [`SYMBOLS`] symbols of; those beyond [`RANDOM_SYMBOLS`] are dropped.
const RANDOM_BYTES: usize = SYMBOLS * BITS_PER_SYMBOL / 8;
// Fewer would repeat some, and the entropy would be less than promised.
const _: () = assert!(RANDOM_BYTES * 8 >= CODE_BITS);
const MAC_KEY_LEN: usize = 32;
/// Length of the sealed MAC key of a set in bytes: nonce, ciphertext, tag.
pub const SEALED_MAC_KEY_LEN: usize = MAC_KEY_LEN + sealed::OVERHEAD;
const MAC_KEY_LABEL: &[u8] = b"backup-code-key.v1";
const MAC_LABEL: &[u8] = b"arklow.backup-code.v1\0";
/// How many sets may have a code twice (probability 2⁻¹⁰⁹ each) before the source is called broken.
const CLASHES: usize = 8;

/// One backup code, in the clear. It is compared only as a MAC, by [`CodeSet::slot_of`].
#[derive(Clone)]
pub struct BackupCode {
    /// Upper-case Crockford symbols, the last one checking the others.
    symbols: Zeroizing<[u8; SYMBOLS]>,
}

impl BackupCode {
    /// Draws a new code.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn random(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
        random.fill(bytes.as_mut_slice())?;
        Ok(Self::from_random(&bytes))
    }

    fn from_random(bytes: &[u8; RANDOM_BYTES]) -> Self {
        let drawn = Zeroizing::new(base32::encode(Alphabet::Crockford, bytes));

        let mut symbols = Zeroizing::new([0; SYMBOLS]);
        symbols.copy_from_slice(drawn.as_bytes());
        symbols[RANDOM_SYMBOLS] = gf32::symbol(gf32::check(&symbols[..RANDOM_SYMBOLS]));
        Self { symbols }
    }

    /// Reads a code as people type and copy it: in any case, in full-width letters and the digits
    /// of any script, with white space, hyphens, dashes, underscores, full stops and invisible
    /// characters anywhere, and with I, L and O for 1, 1 and 0.
    ///
    /// # Errors
    /// [`MalformedCode`] if the text cannot be a code of any user. That does not count as an attempt.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        if text.chars().nth(MAX_CODE_INPUT).is_some() {
            return Err(MalformedCode::TooLong);
        }
        let mut symbols = Zeroizing::new([0; SYMBOLS]);
        let mut count = 0;
        for c in separators::symbols(text) {
            let symbol = fold(c).ok_or(MalformedCode::ForeignSymbol)?;
            *symbols.get_mut(count).ok_or(MalformedCode::WrongLength)? = symbol;
            count += 1;
        }
        if count != SYMBOLS {
            return Err(MalformedCode::WrongLength);
        }
        if gf32::evaluate(symbols.as_slice()) != 0 {
            return Err(MalformedCode::CheckSymbol);
        }
        Ok(Self { symbols })
    }

    /// The code as it is shown: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
    pub fn expose(&self) -> String {
        let mut text = String::with_capacity(SYMBOLS + SYMBOLS / GROUP - 1);
        for (i, symbol) in self.symbols.iter().enumerate() {
            if i > 0 && i % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(*symbol));
        }
        text
    }

    /// What a MAC is computed over. The user is in it, so a MAC moved to another user's row
    /// matches nothing.
    fn message(&self, user: UserId) -> Zeroizing<Vec<u8>> {
        let user = user.get().to_be_bytes();
        Zeroizing::new([MAC_LABEL, &user, self.symbols.as_slice()].concat())
    }
}

/// Silent: a code stands in for a factor.
impl fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupCode(..)")
    }
}

/// Why a text cannot be a backup code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCode {
    /// More than [`MAX_CODE_INPUT`] characters.
    #[error("a backup code has at most {MAX_CODE_INPUT} characters, separators included")]
    TooLong,
    /// Not 24 symbols.
    #[error("a backup code has {SYMBOLS} symbols")]
    WrongLength,
    /// A character that is no symbol, looks like none and separates nothing.
    #[error("a backup code has only digits and letters, without U")]
    ForeignSymbol,
    /// The last symbol does not fit the others: something was mistyped.
    #[error("the backup code was mistyped: its check symbol does not fit")]
    CheckSymbol,
}

/// A new set: ten different codes, in the clear.
#[derive(Debug)]
pub struct BackupCodes([BackupCode; CODES_PER_SET]);

impl BackupCodes {
    /// Draws a new set.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none, or draws the same code again and again.
    pub fn generate(random: &dyn Random) -> Result<Self, NoEntropy> {
        for _ in 0..CLASHES {
            // All at once: asking the operating system is what costs.
            let mut bytes = Zeroizing::new([[0; RANDOM_BYTES]; CODES_PER_SET]);
            random.fill(bytes.as_flattened_mut())?;
            let codes = bytes.each_ref().map(BackupCode::from_random);
            let clash = (1..codes.len()).any(|at| {
                codes[..at]
                    .iter()
                    .any(|other| other.symbols == codes[at].symbols)
            });
            if !clash {
                return Ok(Self(codes));
            }
        }
        Err(NoEntropy)
    }

    /// The codes, in the order in which they are shown.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &BackupCode> {
        self.0.iter()
    }

    /// The codes as they are shown, see [`BackupCode::expose`].
    pub fn expose(&self) -> [String; CODES_PER_SET] {
        self.0.each_ref().map(BackupCode::expose)
    }

    /// What is kept of the set for `device` of `user`: one MAC per code, under a key of the set's
    /// own, which is sealed under the active key.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn seal(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<SealedCodes, NoEntropy> {
        let mut mac_key = Zeroizing::new([0; MAC_KEY_LEN]);
        random.fill(mac_key.as_mut_slice())?;
        let key = mac_key_of(&mac_key);
        let macs = self.0.each_ref().map(|code| {
            let mut mac = [0; CodeMac::LEN];
            mac.copy_from_slice(hmac::sign(&key, &code.message(user)).as_ref());
            CodeMac(mac)
        });
        Ok(SealedCodes {
            key_id: keyring.active(),
            mac_key: SealedMacKey::seal(mac_key, keyring, user, device, random)?,
            macs,
        })
    }
}

/// What is kept of a new set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCodes {
    /// The root key behind the MAC key.
    pub key_id: KeyId,
    /// The key of the MACs.
    pub mac_key: SealedMacKey,
    /// One MAC per code.
    pub macs: [CodeMac; CODES_PER_SET],
}

/// The MAC key of a set, 256 random bits, as it is kept.
///
/// It is a level between root key and codes: the root key can be replaced although the codes are
/// no longer known.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedMacKey([u8; SEALED_MAC_KEY_LEN]);

impl SealedMacKey {
    /// The sealed key with these bytes: nonce, ciphertext and tag.
    pub fn from_stored(bytes: [u8; SEALED_MAC_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; SEALED_MAC_KEY_LEN] {
        &self.0
    }

    fn seal(
        mac_key: Zeroizing<[u8; MAC_KEY_LEN]>,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<Self, NoEntropy> {
        let key = keyring.active_key().code_key_aead(device);
        let sealed = sealed::seal(&key, binding(user, device), mac_key, random)?;
        let sealed = sealed.try_into().expect("sealing adds a fixed length");
        Ok(Self(sealed))
    }

    fn open(
        &self,
        key_id: KeyId,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
    ) -> Result<Zeroizing<[u8; MAC_KEY_LEN]>, UnreadableSecret> {
        let derive = |key: &RootKey| key.code_key_aead(device);
        sealed::open(keyring, key_id, derive, binding(user, device), &self.0)
    }
}

/// Silent, as whatever is secret.
impl fmt::Debug for SealedMacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedMacKey(..)")
    }
}

fn binding(user: UserId, device: DeviceId) -> Binding {
    Binding {
        label: MAC_KEY_LABEL,
        user,
        device,
    }
}

fn mac_key_of(bytes: &[u8; MAC_KEY_LEN]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// HMAC-SHA-256 over user and code, under the key of the set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeMac([u8; Self::LEN]);

impl CodeMac {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The MAC with these bytes.
    pub fn from_stored(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Prints nothing: with the MAC and the key an attacker can test guesses.
impl fmt::Debug for CodeMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeMac(..)")
    }
}

/// A set as it is kept: which codes there are, and which of them are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSet {
    /// The root key behind the MAC key, or behind the MACs.
    pub key_id: KeyId,
    /// The key of the MACs; `None` for an old set, whose MACs use a key that is derived from the
    /// root key.
    pub mac_key: Option<SealedMacKey>,
    /// Which replacement made this set; the first set of a device has generation 1.
    pub generation: i64,
    /// One MAC per code.
    pub macs: [CodeMac; CODES_PER_SET],
    /// Bit `n` is set once the code in slot `n` is used up.
    pub used: u16,
}

impl CodeSet {
    /// Every bit that [`CodeSet::used`] may have.
    pub const ALL_USED: u16 = (1 << CODES_PER_SET) - 1;

    /// Where `code` of `device` of `user` stands in the set, used up or not; `None` if it is not
    /// in it.
    ///
    /// Always compares with all ten, each in constant time: the time taken tells nothing.
    ///
    /// # Errors
    /// [`UnreadableSecret`] if the key of the set does not open: then no code can be compared.
    pub fn slot_of(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        code: &BackupCode,
    ) -> Result<Option<Slot>, UnreadableSecret> {
        let key = match &self.mac_key {
            Some(sealed) => mac_key_of(&*sealed.open(self.key_id, keyring, user, device)?),
            None => keyring
                .get(&self.key_id)
                .ok_or(UnreadableSecret::UnknownKey(self.key_id))?
                .backup_code_mac(),
        };
        let message = code.message(user);
        Ok(self
            .macs
            .iter()
            .zip(0..)
            .filter(|(mac, _)| hmac::verify(&key, &message, &mac.0).is_ok())
            .fold(None, |_, (_, slot)| Some(Slot(slot))))
    }

    /// Whether the code in this slot is not used up.
    pub fn is_unused(&self, slot: Slot) -> bool {
        self.used & slot.bit() == 0
    }

    /// The same MAC key, sealed under the active key; `None` for a set without one, which is bound
    /// to its root key for ever.
    ///
    /// # Errors
    /// [`ResealError`] if it does not open, or there is no nonce for it.
    pub fn reseal_key(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<Option<SealedMacKey>, ResealError> {
        let Some(sealed) = &self.mac_key else {
            return Ok(None);
        };
        let mac_key = sealed.open(self.key_id, keyring, user, device)?;
        let resealed = SealedMacKey::seal(mac_key, keyring, user, device, random)?;
        Ok(Some(resealed))
    }

    /// How many codes are not used up.
    pub fn remaining(&self) -> usize {
        CODES_PER_SET - (self.used & Self::ALL_USED).count_ones() as usize
    }
}

/// The place of a code in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// Its bit in [`CodeSet::used`].
    pub fn bit(self) -> u16 {
        1 << self.0
    }
}

/// The symbol that `c` stands for.
fn fold(c: char) -> Option<u8> {
    let upper = u8::try_from(c).ok()?.to_ascii_uppercase();
    match upper {
        b'I' | b'L' => Some(b'1'),
        b'O' => Some(b'0'),
        _ => gf32::value(upper).is_some().then_some(upper),
    }
}

mod gf32 {
    //! Symbols as elements of GF(32), the field of x⁵ + x² + 1.
    //!
    //! A code is a polynomial over the field that has α as a root: the symbols, weighted from the
    //! right with 1, α, α², …, add up to zero. α has order 31, so 24 symbols have 24 different
    //! weights, and no single substitution and no swap of two symbols goes unnoticed.

    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    /// x⁵ + x² + 1.
    const MODULUS: u8 = 0b10_0101;

    /// The element that `symbol` stands for.
    pub(super) fn value(symbol: u8) -> Option<u8> {
        (0..)
            .zip(ALPHABET)
            .find_map(|(value, known)| (*known == symbol).then_some(value))
    }

    /// The symbol of an element.
    pub(super) fn symbol(value: u8) -> u8 {
        ALPHABET[usize::from(value)]
    }

    /// The polynomial with these coefficients, at α.  Zero for a code that is right.
    pub(super) fn evaluate(symbols: &[u8]) -> u8 {
        symbols.iter().fold(0, |sum, symbol| {
            times_alpha(sum) ^ value(*symbol).expect("only symbols of the alphabet get here")
        })
    }

    /// The element that makes `symbols`, with it behind them, a code that is right.
    pub(super) fn check(symbols: &[u8]) -> u8 {
        times_alpha(evaluate(symbols))
    }

    fn times_alpha(value: u8) -> u8 {
        let shifted = value << 1;
        if shifted & 0b10_0000 == 0 {
            shifted
        } else {
            shifted ^ MODULUS
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::SystemRandom;
    use crate::random::test_sources::{Exhausted, Script};

    const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    fn random_code() -> BackupCode {
        BackupCode::random(&SystemRandom::new()).unwrap()
    }

    fn known_code() -> BackupCode {
        BackupCode::random(&Script::new(vec![(1..=15).collect()])).unwrap()
    }

    fn keyring() -> Keyring {
        Keyring::generate(&SystemRandom::new()).unwrap()
    }

    fn user(id: i64) -> UserId {
        UserId::from_stored(id).unwrap()
    }

    #[test]
    fn code_has_at_least_the_112_bits_that_allow_a_fast_hash() {
        let alphabet: BTreeSet<char> = ALPHABET.chars().collect();
        let shown = known_code().expose().replace('-', "");
        // One symbol is no secret: it follows from the others.
        let bits = (shown.len() - 1) as f64 * (alphabet.len() as f64).log2();
        assert!(bits >= 112.0, "{bits}");
        assert_eq!(bits, CODE_BITS as f64);
    }

    #[test]
    fn code_is_crockford_of_the_drawn_bytes_and_a_check_symbol() {
        // Symbols and check symbol computed apart, with a multiplication table of GF(32).
        assert_eq!(known_code().expose(), "0410-6105-0R3G-G28A-1C60-T3GJ");
    }

    #[test]
    fn shown_code_parses_to_itself() {
        for _ in 0..100 {
            let shown = random_code().expose();
            assert_eq!(shown.len(), 29);
            assert_eq!(BackupCode::parse(&shown).unwrap().expose(), shown);
        }
    }

    #[test]
    fn every_single_substitution_is_noticed() {
        for _ in 0..40 {
            let plain = random_code().expose().replace('-', "");
            for at in 0..SYMBOLS {
                for other in ALPHABET
                    .bytes()
                    .filter(|other| *other != plain.as_bytes()[at])
                {
                    let mut wrong = plain.clone().into_bytes();
                    wrong[at] = other;
                    let parsed = BackupCode::parse(std::str::from_utf8(&wrong).unwrap());
                    assert_eq!(parsed.unwrap_err(), MalformedCode::CheckSymbol);
                }
            }
        }
    }

    #[test]
    fn every_swap_of_two_different_symbols_is_noticed() {
        for _ in 0..40 {
            let plain = random_code().expose().replace('-', "").into_bytes();
            for (one, two) in (0..SYMBOLS).flat_map(|one| (0..one).map(move |two| (one, two))) {
                let mut swapped = plain.clone();
                swapped.swap(one, two);
                let parsed = BackupCode::parse(std::str::from_utf8(&swapped).unwrap());
                let different = plain[one] != plain[two];
                assert_eq!(parsed.is_err(), different, "{one} and {two}");
            }
        }
    }

    #[test]
    fn t29_drawn_codes_are_distinct_and_every_symbol_is_as_frequent_as_the_others() {
        const CODES: usize = 10_000;
        let codes: BTreeSet<String> = (0..CODES)
            .map(|_| random_code().expose().replace('-', ""))
            .collect();
        assert_eq!(codes.len(), CODES);
        // Each position alone: an average over all would hide a position that is always zero.
        for at in 0..SYMBOLS {
            let expected = CODES as f64 / 32.0;
            let chi_squared: f64 = ALPHABET
                .bytes()
                .map(|symbol| {
                    codes
                        .iter()
                        .filter(|code| code.as_bytes()[at] == symbol)
                        .count()
                })
                .map(|count| (count as f64 - expected).powi(2) / expected)
                .sum();
            // 31 degrees of freedom: exceeded by chance about once in 10¹⁰.
            assert!(chi_squared < 110.0, "χ² = {chi_squared} at symbol {at}");
        }
    }

    #[test]
    fn code_is_read_as_people_type_it() {
        let shown = known_code().expose();
        let plain = shown.replace('-', "");
        let spellings = [
            shown.clone(),
            plain.clone(),
            plain.to_lowercase(),
            format!("\t {shown} \r\n"),
            shown.replace('-', " "),
            shown.replace('-', "_"),
            shown.replace('-', "."),
            shown.replace('-', "\u{2013}"),
            shown.replace('-', "\u{2212}"),
            shown.replace('-', "\u{a0}"),
            shown.replace('-', "--"),
            format!("-{shown}-"),
            plain.replace('0', "o").replace('1', "l"),
            plain.replace('0', "O").replace('1', "I"),
            plain.replace('1', "i").replace('0', "o"),
            plain.replace('1', "L"),
            shown.replace('-', "\u{200b}"),
            format!("\u{2066}{shown}\u{2069}"),
            full_width(&shown),
            full_width(&shown.to_lowercase()),
            plain.replace('0', "\u{660}").replace('1', "\u{1d7cf}"),
        ];
        assert!(
            plain.contains('0') && plain.contains('1'),
            "the folding has something to do"
        );
        for text in spellings {
            assert_eq!(
                BackupCode::parse(&text).map(|code| code.expose()),
                Ok(shown.clone()),
                "{text:?}"
            );
        }
    }

    fn full_width(text: &str) -> String {
        let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
        text.chars().map(wide).collect()
    }

    #[test]
    fn anything_else_is_malformed_and_says_how() {
        use MalformedCode as M;
        let shown = known_code().expose();
        let plain = shown.replace('-', "");
        let table = [
            (String::new(), M::WrongLength),
            ("-".into(), M::WrongLength),
            (plain[1..].into(), M::WrongLength),
            (format!("{plain}0"), M::WrongLength),
            (format!("U{}", &plain[1..]), M::ForeignSymbol),
            (format!("u{}", &plain[1..]), M::ForeignSymbol),
            (format!("é{}", &plain[1..]), M::ForeignSymbol),
            (format!("²{}", &plain[1..]), M::ForeignSymbol),
            (format!("{shown}\u{0}"), M::ForeignSymbol),
            (format!("{}{shown}", " ".repeat(36)), M::TooLong),
        ];
        for (text, expected) in table {
            assert_eq!(BackupCode::parse(&text).unwrap_err(), expected, "{text:?}");
        }
        let longest = format!("{}{shown}", " ".repeat(35));
        assert!(longest.chars().count() == MAX_CODE_INPUT && BackupCode::parse(&longest).is_ok());
    }

    #[test]
    fn set_has_ten_different_codes_and_one_with_a_clash_is_drawn_again() {
        let set = |draws: [u8; CODES_PER_SET]| draws.map(|n| [n; RANDOM_BYTES]).concat();
        let draws = vec![
            set([0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
            set([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
            set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ];
        let codes = BackupCodes::generate(&Script::new(draws)).unwrap();
        let distinct: BTreeSet<String> = codes.expose().into();
        assert_eq!(distinct.len(), CODES_PER_SET);
    }

    #[test]
    fn broken_source_is_an_error_and_not_an_endless_loop() {
        assert!(BackupCodes::generate(&Script::new(Vec::new())).is_err());
        assert!(BackupCodes::generate(&Exhausted).is_err());
    }

    fn device(id: i64) -> DeviceId {
        DeviceId::from_stored(id).unwrap()
    }

    /// The set as it is kept for device 7 of `user`.
    fn stored(codes: &BackupCodes, keyring: &Keyring, user: UserId) -> CodeSet {
        let sealed = codes
            .seal(keyring, user, device(7), &SystemRandom::new())
            .unwrap();
        CodeSet {
            key_id: sealed.key_id,
            mac_key: Some(sealed.mac_key),
            generation: 1,
            macs: sealed.macs,
            used: 0,
        }
    }

    /// A keyring and an old set, without its own MAC key, that was made under it: its first
    /// code is [`known_code`], of user 0x0102030405060708.
    fn old_set() -> (Keyring, CodeSet) {
        let root = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let file = format!("arklow-keys-v1\nkey 00000000000000aa {root}\nactive 00000000000000aa");
        let keyring = Keyring::parse(&file).unwrap();
        // Computed with Python's hmac module after RFC 5869 and RFC 2104.
        let hex = "b0e4ae904e1bd686c2588d7094edc96f1a05cc401064d8b3591335c42781d0e9";
        let mut mac = [0; CodeMac::LEN];
        for (at, byte) in mac.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        let mut macs = [CodeMac([0; CodeMac::LEN]); CODES_PER_SET];
        macs[0] = CodeMac(mac);
        let set = CodeSet {
            key_id: keyring.active(),
            mac_key: None,
            generation: 1,
            macs,
            used: 0,
        };
        (keyring, set)
    }

    #[test]
    fn each_code_is_found_in_its_own_slot_and_no_other_code_in_any() {
        let (keyring, ada) = (keyring(), user(1));
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let set = stored(&codes, &keyring, ada);
        let slot_of = |code| set.slot_of(&keyring, ada, device(7), code).unwrap();
        for (code, slot) in codes.iter().zip(0..) {
            assert_eq!(slot_of(code), Some(Slot(slot)));
        }
        assert_eq!(slot_of(&random_code()), None);
    }

    #[test]
    fn set_opens_for_its_user_its_device_and_its_key_only() {
        let (keyring, ada, bob) = (keyring(), user(1), user(2));
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let set = stored(&codes, &keyring, ada);
        let code = codes.iter().next().unwrap();
        let refused = Err(UnreadableSecret::Refused(keyring.active()));
        assert_eq!(set.slot_of(&keyring, bob, device(7), code), refused);
        assert_eq!(set.slot_of(&keyring, ada, device(8), code), refused);
        let unknown = Err(UnreadableSecret::UnknownKey(keyring.active()));
        assert_eq!(set.slot_of(&self::keyring(), ada, device(7), code), unknown);
    }

    #[test]
    fn same_codes_of_two_users_have_different_macs_under_one_mac_key() {
        let keyring = keyring();
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let sealed = |id| {
            let same_key = Script::new(vec![vec![7; MAC_KEY_LEN]]);
            codes
                .seal(&keyring, user(id), device(7), &same_key)
                .unwrap()
        };
        assert_eq!(sealed(1).macs, sealed(1).macs);
        let (one, two) = (sealed(1).macs, sealed(2).macs);
        assert!(one.iter().zip(&two).all(|(one, two)| one != two));
    }

    #[test]
    fn mac_key_of_another_device_is_refused() {
        let (keyring, ada) = (keyring(), user(1));
        let refused = Err(UnreadableSecret::Refused(keyring.active()));
        let [one, two] = [7, 8].map(|id| {
            let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
            let sealed = codes
                .seal(&keyring, ada, device(id), &SystemRandom::new())
                .unwrap();
            (codes, sealed)
        });
        // Both the whole row, and only the key with the other row's MACs.
        for macs in [&one.1.macs, &two.1.macs] {
            let swapped = CodeSet {
                key_id: two.1.key_id,
                mac_key: Some(two.1.mac_key.clone()),
                generation: 1,
                macs: *macs,
                used: 0,
            };
            for code in one.0.iter().chain(two.0.iter()) {
                assert_eq!(swapped.slot_of(&keyring, ada, device(7), code), refused);
            }
        }
    }

    #[test]
    fn changed_mac_key_is_refused() {
        let (keyring, ada) = (keyring(), user(1));
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let set = stored(&codes, &keyring, ada);
        let code = codes.iter().next().unwrap();
        for at in 0..SEALED_MAC_KEY_LEN {
            let mut bytes = *set.mac_key.as_ref().unwrap().as_bytes();
            bytes[at] ^= 1;
            let mut changed = set.clone();
            changed.mac_key = Some(SealedMacKey::from_stored(bytes));
            let found = changed.slot_of(&keyring, ada, device(7), code);
            assert!(found.is_err(), "byte {at}");
        }
    }

    #[test]
    fn codes_work_after_a_rotation_and_without_the_former_key() {
        let (old, ada) = (keyring(), user(1));
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let mut set = stored(&codes, &old, ada);
        let code = codes.iter().last().unwrap();
        let both = old.with_new_key(&SystemRandom::new()).unwrap();
        let found = set.slot_of(&both, ada, device(7), code);
        assert_eq!(found, Ok(Some(Slot(9))));

        let resealed = set.reseal_key(&both, ada, device(7), &SystemRandom::new());
        set.mac_key = resealed.unwrap();
        set.key_id = both.active();
        let new = both.without(old.active()).unwrap();
        let found = set.slot_of(&new, ada, device(7), code);
        assert_eq!(found, Ok(Some(Slot(9))));
    }

    #[test]
    fn set_from_before_sets_had_keys_works_and_cannot_be_resealed() {
        let (keyring, set) = old_set();
        let ada = user(0x0102_0304_0506_0708);
        let found = set.slot_of(&keyring, ada, device(7), &known_code());
        assert_eq!(found, Ok(Some(Slot(0))));
        let found = set.slot_of(&keyring, user(1), device(7), &known_code());
        assert_eq!(found, Ok(None));
        let resealed = set.reseal_key(&keyring, ada, device(7), &SystemRandom::new());
        assert_eq!(resealed, Ok(None));
        let unknown = Err(UnreadableSecret::UnknownKey(keyring.active()));
        let found = set.slot_of(&self::keyring(), ada, device(7), &known_code());
        assert_eq!(found, unknown);
    }

    #[test]
    fn mac_is_hmac_sha_256_of_label_user_and_code() {
        let mut codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        codes.0[0] = known_code();
        let random = Script::new(vec![(0..32).collect()]);
        let ada = user(0x0102_0304_0506_0708);
        let sealed = codes.seal(&keyring(), ada, device(7), &random).unwrap();
        let hex: String = sealed.macs[0]
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Computed with Python's hmac module after RFC 2104.
        assert_eq!(
            hex,
            "f3b25a51887049924d48936121c7a21b7f7e209312061d59768dd7a5cf264828"
        );
    }

    #[test]
    fn without_entropy_no_set_is_sealed() {
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let sealed = codes.seal(&keyring(), user(1), device(7), &Exhausted);
        assert_eq!(sealed, Err(NoEntropy));
    }

    #[test]
    fn used_codes_are_counted_out() {
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let mut set = stored(&codes, &keyring(), user(1));
        assert_eq!(set.remaining(), 10);
        set.used = Slot(0).bit() | Slot(9).bit();
        assert_eq!(set.remaining(), 8);
        assert!(!set.is_unused(Slot(9)) && set.is_unused(Slot(1)));
        set.used = CodeSet::ALL_USED;
        assert_eq!(set.remaining(), 0);
    }

    #[test]
    fn debug_shows_neither_codes_nor_macs_nor_keys() {
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let shown = format!("{codes:?} {:?}", stored(&codes, &keyring(), user(1)));
        for code in codes.expose() {
            assert!(!shown.contains(&code[..4]), "{shown}");
        }
        for silent in ["CodeMac(..)", "BackupCode(..)", "SealedMacKey(..)"] {
            assert!(shown.contains(silent), "{shown}");
        }
    }
}
