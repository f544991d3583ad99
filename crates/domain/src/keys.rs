//! The key ring: root keys, what is derived from them, and the text of the key file.
//!
//! A root key is used for nothing itself. HKDF-SHA-256 (RFC 5869) derives one key per purpose
//! from it, so that no two purposes share one. Where the file lies is not known here.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use ring::{aead, hkdf, hmac};
use zeroize::Zeroizing;

use crate::{DeviceId, NoEntropy, Random};

/// First line of a key file that is not a comment.
const HEADER: &str = "arklow-keys-v1";
/// The comment that marks a key file that protects something. A comment, because versions that do not know
/// the mark must be able to read the file.
const USED: &str = "# used: a database with users needs these keys";
/// What the HKDF is salted with: other software that happened on the same root derives other keys.
const SALT: &[u8] = HEADER.as_bytes();
const BACKUP_CODE_MAC: &[u8] = b"backup-code mac v1\0";
const BACKUP_CODE_KEY_AEAD: &[u8] = b"backup-code key aead v1\0";
const TOTP_SEED_AEAD: &[u8] = b"totp-seed aead v1\0";
const CHECK: &[u8] = b"key check v1\0";

const ROOT_LEN: usize = 32;

/// All root keys: one that new secrets are protected with, and older ones that still open what
/// they closed.
#[derive(Clone)]
pub struct Keyring {
    active: KeyId,
    /// Holds `active`, always.
    keys: BTreeMap<KeyId, RootKey>,
    is_used: bool,
}

impl Keyring {
    /// A ring of one new key.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn generate(random: &dyn Random) -> Result<Self, NoEntropy> {
        let active = KeyId::random(random)?;
        let key = RootKey::random(random)?;
        Ok(Self {
            active,
            keys: BTreeMap::from([(active, key)]),
            is_used: false,
        })
    }

    /// The same keys and a new one, which is active.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none, or draws the id of a key that is there already.
    pub fn with_new_key(&self, random: &dyn Random) -> Result<Self, NoEntropy> {
        let new = Self::generate(random)?;
        // The new key would take the place of the old one, and nothing would open what that closed.
        if self.keys.contains_key(&new.active) {
            return Err(NoEntropy);
        }
        let mut keys = self.keys.clone();
        keys.extend(new.keys);
        Ok(Self {
            active: new.active,
            keys,
            is_used: self.is_used,
        })
    }

    /// The same keys, of which this one is active; `None` if it is not among them.
    pub fn with_active(&self, id: KeyId) -> Option<Self> {
        self.keys.contains_key(&id).then(|| Self {
            active: id,
            keys: self.keys.clone(),
            is_used: self.is_used,
        })
    }

    /// The same keys without this one; `None` if it is the active one, or not among them.
    pub fn without(&self, id: KeyId) -> Option<Self> {
        let mut keys = self.keys.clone();
        (id != self.active && keys.remove(&id).is_some()).then_some(Self {
            active: self.active,
            keys,
            is_used: self.is_used,
        })
    }

    /// Whether the key file is marked as one of a database that has users.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// The same keys, marked as those of a database that has users.
    #[must_use]
    pub fn used(self) -> Self {
        Self {
            is_used: true,
            ..self
        }
    }

    /// The id of the key that new secrets are protected with.
    pub fn active(&self) -> KeyId {
        self.active
    }

    /// The key with this id.
    pub fn get(&self, id: &KeyId) -> Option<&RootKey> {
        self.keys.get(id)
    }

    /// The ids of all keys, in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied()
    }

    /// Reads the text of a key file; the format is that of [`Keyring::expose`], with blank lines
    /// and `#` comments anywhere.
    ///
    /// # Errors
    /// [`KeyFileError`], which names a line and never what stands on it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut lines = text
            .lines()
            .zip(1..)
            .map(|(line, number)| (number, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));

        match lines.next() {
            Some((_, HEADER)) => {}
            Some((line, _)) => return Err(KeyFileError::NotAKeyFile { line }),
            None => return Err(KeyFileError::Empty),
        }

        let mut keys = BTreeMap::new();
        let mut active = None;
        for (line, content) in lines {
            let words: Vec<&str> = content.split_ascii_whitespace().collect();
            match words[..] {
                ["key", id, secret] => {
                    let id = id.parse().map_err(|_| KeyFileError::Malformed { line })?;
                    let key = RootKey::parse(secret).ok_or(KeyFileError::Malformed { line })?;
                    if keys.insert(id, key).is_some() {
                        return Err(KeyFileError::DuplicateKey { line });
                    }
                }
                ["active", id] => {
                    let id: KeyId = id.parse().map_err(|_| KeyFileError::Malformed { line })?;
                    if active.replace((line, id)).is_some() {
                        return Err(KeyFileError::SecondActive { line });
                    }
                }
                _ => return Err(KeyFileError::Malformed { line }),
            }
        }

        let (line, active) = active.ok_or(KeyFileError::NoActive)?;
        if !keys.contains_key(&active) {
            return Err(KeyFileError::UnknownActive { line });
        }
        Ok(Self {
            active,
            keys,
            is_used: text.lines().any(|line| line.trim() == USED),
        })
    }

    /// The text of a key file: one line `key ID SECRET` per key, 16 and 64 lower-case hexadecimal
    /// digits, and one line `active ID`.
    pub fn expose(&self) -> Zeroizing<String> {
        // Reserved at once: a string that grows leaves copies of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(256 + 96 * self.keys.len()));
        text.push_str(
            "# Root keys of Arklow. Anyone who reads them can forge backup codes and open\n",
        );
        text.push_str("# TOTP seeds; without them neither works. Keep apart from the database.\n");
        if self.is_used {
            text.push_str(USED);
            text.push('\n');
        }
        text.push_str(HEADER);
        text.push('\n');
        for (id, key) in &self.keys {
            writeln!(text, "key {id} {}", key.hex().as_str())
                .expect("writing to a string does not fail");
        }
        writeln!(text, "active {}", self.active).expect("writing to a string does not fail");
        text
    }

    /// The active key itself.
    pub(crate) fn active_key(&self) -> &RootKey {
        &self.keys[&self.active]
    }
}

/// Shows the ids only.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("active", &self.active)
            .field("ids", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

/// Which root key: 64 random bits, written as 16 lower-case hexadecimal digits. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// Draws a new id.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn random(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes)?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let mut bytes = [0; 8];
        decode_hex(text, &mut bytes).ok_or(NotAKeyId)?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }
}

/// The text is not a key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: expected 16 lower-case hexadecimal digits")]
pub struct NotAKeyId;

/// 256 random bits that keys are derived from.
#[derive(Clone)]
pub struct RootKey(Zeroizing<[u8; ROOT_LEN]>);

impl RootKey {
    /// A value that shows whether two keys are equal and reveals nothing else about them. It may be
    /// stored with the data that the key protects.
    pub fn check(&self) -> KeyCheck {
        let mut check = [0; KeyCheck::LEN];
        self.expand(&[CHECK], Bytes, |okm| okm.fill(&mut check))
            .expect("HKDF returns the requested number of bytes");
        KeyCheck(check)
    }

    /// The MAC key of backup code sets that have no MAC key themselves.
    pub(crate) fn backup_code_mac(&self) -> hmac::Key {
        self.expand(&[BACKUP_CODE_MAC], hmac::HMAC_SHA256, |okm| {
            hmac::Key::from(okm)
        })
    }

    /// The key that the TOTP seed of `device` is sealed with.
    pub(crate) fn totp_seed_aead(&self, device: DeviceId) -> aead::LessSafeKey {
        self.device_aead(TOTP_SEED_AEAD, device)
    }

    /// The key that the MAC key of the backup codes of `device` is sealed with.
    pub(crate) fn code_key_aead(&self, device: DeviceId) -> aead::LessSafeKey {
        self.device_aead(BACKUP_CODE_KEY_AEAD, device)
    }

    fn device_aead(&self, label: &[u8], device: DeviceId) -> aead::LessSafeKey {
        let device = device.get().to_be_bytes();
        self.expand(&[label, &device], &aead::AES_256_GCM, |okm| {
            aead::LessSafeKey::new(aead::UnboundKey::from(okm))
        })
    }

    fn random(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut root = Zeroizing::new([0; ROOT_LEN]);
        random.fill(root.as_mut_slice())?;
        Ok(Self(root))
    }

    fn parse(hex: &str) -> Option<Self> {
        let mut root = Zeroizing::new([0; ROOT_LEN]);
        decode_hex(hex, root.as_mut_slice())?;
        Some(Self(root))
    }

    fn hex(&self) -> Zeroizing<String> {
        let mut hex = Zeroizing::new(String::with_capacity(2 * ROOT_LEN));
        for byte in self.0.iter() {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        }
        hex
    }

    /// Derives the key for `info` and hands it to `make`.
    fn expand<L: hkdf::KeyType, T>(
        &self,
        info: &[&[u8]],
        len: L,
        make: impl FnOnce(hkdf::Okm<'_, L>) -> T,
    ) -> T {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.0.as_slice());
        make(
            extracted
                .expand(info, len)
                .expect("every derived key has 32 bytes"),
        )
    }
}

/// Silent: it opens everything.
impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// Shows whether a key is the one that was used before. HKDF derives it under a separate label,
/// so it reveals no other derived key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCheck([u8; Self::LEN]);

impl KeyCheck {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The value with these bytes.
    pub fn from_stored(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Why a text is not a key file. Lines are counted from 1; their content is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Nothing but comments.
    #[error("the key file is empty: expected a line `{HEADER}`")]
    Empty,
    /// Another kind of file, or a version this program does not know.
    #[error("line {line} of the key file is not `{HEADER}`, the first line of one")]
    NotAKeyFile {
        /// Which line.
        line: usize,
    },
    /// A line that is neither `key ID SECRET` nor `active ID`.
    #[error(
        "line {line} of the key file is neither `key` with 16 and 64 lower-case hexadecimal \
         digits nor `active` with 16"
    )]
    Malformed {
        /// Which line.
        line: usize,
    },
    /// A second key with an id.
    #[error("line {line} of the key file repeats the id of an earlier key")]
    DuplicateKey {
        /// Which line.
        line: usize,
    },
    /// A second `active`.
    #[error("line {line} of the key file names a second active key")]
    SecondActive {
        /// Which line.
        line: usize,
    },
    /// `active` with an id that no `key` line has.
    #[error("line {line} of the key file names an active key that the file does not hold")]
    UnknownActive {
        /// Which line.
        line: usize,
    },
    /// No `active`.
    #[error("the key file has no line `active`, which names the key for new secrets")]
    NoActive,
}

/// As many bytes as there are in a key.
struct Bytes;

impl hkdf::KeyType for Bytes {
    fn len(&self) -> usize {
        KeyCheck::LEN
    }
}

/// Reads exactly `2 * out.len()` lower-case hexadecimal digits.
fn decode_hex(text: &str, out: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * out.len() {
        return None;
    }
    for (pair, byte) in text.as_bytes().chunks_exact(2).zip(out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;
    use crate::random::test_sources::{Exhausted, Script};

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const A: &str = "00000000000000aa";
    const B: &str = "00000000000000bb";

    fn two_keys() -> Keyring {
        Keyring::parse(&format!(
            "arklow-keys-v1\nkey {A} {ONE}\nkey {B} {TWO}\nactive {B}"
        ))
        .unwrap()
    }

    #[test]
    fn key_file_says_which_keys_there_are_and_which_is_active() {
        let ring = two_keys();
        assert_eq!(ring.active().to_string(), B);
        assert_eq!(
            ring.ids().map(|id| id.to_string()).collect::<Vec<_>>(),
            [A, B]
        );
        assert_eq!(ring.get(&A.parse().unwrap()).unwrap().hex().as_str(), ONE);
        assert_eq!(ring.active_key().hex().as_str(), TWO);
        assert!(ring.get(&KeyId(1)).is_none());
    }

    #[test]
    fn exposed_ring_parses_to_itself() {
        for ring in [two_keys(), Keyring::generate(&SystemRandom::new()).unwrap()] {
            let text = ring.expose();
            let parsed = Keyring::parse(&text).unwrap();
            assert_eq!(parsed.expose(), text);
            assert_eq!(parsed.active(), ring.active());
        }
    }

    #[test]
    fn mark_of_use_is_a_comment_that_stays_with_the_keys() {
        let ring = two_keys();
        assert!(!ring.is_used() && !Keyring::parse(&ring.expose()).unwrap().is_used());
        let used = ring.used();
        let text = used.expose();
        assert!(Keyring::parse(&text).unwrap().is_used());
        let more = used.with_new_key(&SystemRandom::new()).unwrap();
        assert!(more.is_used());
        assert!(more.without(A.parse().unwrap()).unwrap().is_used());
        // Versions that do not know it read the same keys.
        let without = text.lines().filter(|line| !line.starts_with("# used"));
        let without: Vec<&str> = without.collect();
        assert_eq!(without.join("\n"), two_keys().expose().trim_end());
    }

    #[test]
    fn comments_blank_lines_and_crlf_are_accepted() {
        let text = format!(
            "# keys\r\n\r\n  arklow-keys-v1\r\n# one\r\nkey {A} {ONE}\r\n\tactive  {A}\r\n"
        );
        assert_eq!(Keyring::parse(&text).unwrap().active().to_string(), A);
    }

    #[test]
    fn broken_key_file_is_refused_with_its_line_and_without_its_content() {
        use KeyFileError as E;
        let upper = ONE.to_uppercase();
        let table = [
            (String::new(), E::Empty),
            ("# nothing\n".into(), E::Empty),
            (
                format!("# c\narklow-keys-v2\nkey {A} {ONE}"),
                E::NotAKeyFile { line: 2 },
            ),
            (
                format!("key {A} {ONE}\nactive {A}"),
                E::NotAKeyFile { line: 1 },
            ),
            (format!("arklow-keys-v1\nkey {A} {ONE}"), E::NoActive),
            (
                format!("arklow-keys-v1\nkey {A} {ONE}\nactive {B}"),
                E::UnknownActive { line: 3 },
            ),
            (
                format!("arklow-keys-v1\nactive {A}\nkey {A} {ONE}\nactive {A}"),
                E::SecondActive { line: 4 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} {ONE}\n\nkey {A} {TWO}"),
                E::DuplicateKey { line: 4 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} {ONE}00\nactive {A}"),
                E::Malformed { line: 2 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} {}\nactive {A}", &ONE[2..]),
                E::Malformed { line: 2 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} {upper}\nactive {A}"),
                E::Malformed { line: 2 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} +{}\nactive {A}", &ONE[1..]),
                E::Malformed { line: 2 },
            ),
            (
                format!("arklow-keys-v1\nkey {} {ONE}", &A[1..]),
                E::Malformed { line: 2 },
            ),
            (
                format!("arklow-keys-v1\nkey {A} {ONE} {TWO}"),
                E::Malformed { line: 2 },
            ),
            (format!("arklow-keys-v1\n{ONE}"), E::Malformed { line: 2 }),
        ];
        for (text, expected) in table {
            let error = Keyring::parse(&text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            let message = error.to_string();
            assert!(
                !message.contains(&ONE[..6]) && !message.contains(A),
                "{message}"
            );
        }
    }

    #[test]
    fn debug_shows_ids_only() {
        let ring = two_keys();
        let shown = format!("{ring:?} {:?}", ring.active_key());
        assert!(
            !shown.contains(&ONE[2..8]) && !shown.contains("0, 1, 2"),
            "{shown}"
        );
        assert!(shown.contains("RootKey(..)"), "{shown}");
    }

    #[test]
    fn check_is_hkdf_of_the_root_and_differs_by_root() {
        let ring = two_keys();
        let hex: String = ring
            .get(&A.parse().unwrap())
            .unwrap()
            .check()
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Computed with Python's hmac module after RFC 5869.
        assert_eq!(
            hex,
            "2f2c81d8a3b68702c5fa4d77b09c4c69f9060dd9f9c7e124c568ae6c43ffcfbc"
        );
        assert_ne!(
            ring.active_key().check(),
            ring.get(&A.parse().unwrap()).unwrap().check()
        );
    }

    #[test]
    fn every_purpose_has_a_label_of_its_own() {
        let labels = [BACKUP_CODE_MAC, BACKUP_CODE_KEY_AEAD, TOTP_SEED_AEAD, CHECK];
        for (i, one) in labels.iter().enumerate() {
            for (j, two) in labels.iter().enumerate() {
                assert!(
                    i == j || !one.starts_with(two),
                    "a label is the beginning of another"
                );
            }
        }
    }

    #[test]
    fn new_key_is_active_and_old_ones_leave_one_by_one() {
        let one = Keyring::generate(&SystemRandom::new()).unwrap();
        let two = one.with_new_key(&SystemRandom::new()).unwrap();
        assert_eq!(two.ids().count(), 2);
        assert_ne!(two.active(), one.active());
        assert!(two.get(&one.active()).is_some());
        assert!(two.without(two.active()).is_none());
        let left = two.without(one.active()).unwrap();
        assert_eq!(left.ids().collect::<Vec<_>>(), [two.active()]);
        assert!(left.without(one.active()).is_none());
        assert_eq!(
            Keyring::parse(&two.expose()).unwrap().active(),
            two.active()
        );
    }

    #[test]
    fn new_key_never_takes_the_place_of_an_old_one() {
        let same_id = Script::new(vec![vec![0, 0, 0, 0, 0, 0, 0, 0xaa], vec![1; ROOT_LEN]]);
        assert!(two_keys().with_new_key(&same_id).is_err());
        assert!(two_keys().with_new_key(&Exhausted).is_err());
    }

    #[test]
    fn new_ring_holds_the_drawn_key() {
        let random = Script::new(vec![vec![0, 0, 0, 0, 0, 0, 0, 0xaa], (0..32).collect()]);
        let ring = Keyring::generate(&random).unwrap();
        assert_eq!(ring.active().to_string(), A);
        assert_eq!(ring.active_key().hex().as_str(), ONE);
        assert!(Keyring::generate(&Exhausted).is_err());
    }
}
