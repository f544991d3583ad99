//! TOTP seeds (RFC 6238): drawn, sealed for storage, and handed to an authenticator app.

use std::fmt::{self, Write as _};

use base32::Alphabet;
use zeroize::Zeroizing;

use crate::sealed::{self, Binding};
use crate::{
    DeviceId, KeyId, Keyring, NoEntropy, Random, ResealError, RootKey, UnreadableSecret, UserId,
};

/// Length of a sealed seed in bytes: nonce, ciphertext, tag.
pub const SEALED_SEED_LEN: usize = SEED_LEN + sealed::OVERHEAD;

/// 160 bits: the length of the HMAC-SHA-1 output, as RFC 4226 §4 (R6) recommends.
const SEED_LEN: usize = 20;
const AAD_LABEL: &[u8] = b"totp-seed.v1";

/// The secret that a server shares with an authenticator app: 160 random bits.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; SEED_LEN]>);

impl Seed {
    /// Draws a new seed.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn random(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        random.fill(seed.as_mut_slice())?;
        Ok(Self(seed))
    }

    /// The seed in a [`ProvisioningUri`] of this program; `None` if the text is not one.
    pub fn from_provisioning_uri(text: &str) -> Option<Self> {
        let (_, parameters) = text.strip_prefix("otpauth://totp/")?.split_once('?')?;
        let secret = parameters
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("secret="))?;
        let alphabet = Alphabet::Rfc4648 { padding: false };
        let bytes = Zeroizing::new(base32::decode(alphabet, secret)?);
        let seed = bytes.as_slice().try_into().ok()?;
        Some(Self(Zeroizing::new(seed)))
    }

    /// The bytes of the seed.
    pub fn expose(&self) -> &[u8; SEED_LEN] {
        &self.0
    }

    /// Encrypts the seed for storage with AES-256-GCM, under a key derived from the active root
    /// key for this device. It opens only for the same user and device.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none for the nonce.
    pub fn seal(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<SealedSeed, NoEntropy> {
        let key = keyring.active_key().totp_seed_aead(device);
        Ok(SealedSeed {
            key_id: keyring.active(),
            bytes: sealed::seal(&key, binding(user, device), self.0.clone(), random)?,
        })
    }

    /// What an authenticator app reads, mostly from a QR code: `otpauth://totp/Issuer:account?…`
    /// with the profile that every app supports (SHA-1, 6 digits, 30 seconds).
    ///
    /// `issuer` and `account` are percent-encoded. A colon in either becomes `_`: the format allows
    /// none (Key URI Format, "Label"), and some apps refuse the URI or cut the name there.
    pub fn provisioning_uri(&self, issuer: &str, account: &str) -> ProvisioningUri {
        let secret = Zeroizing::new(base32::encode(
            Alphabet::Rfc4648 { padding: false },
            &*self.0,
        ));
        let [issuer, account] =
            [issuer, account].map(|text| percent_encode(&text.replace(':', "_")));
        let parts = [
            "otpauth://totp/",
            &issuer,
            ":",
            &account,
            "?secret=",
            &secret,
            "&issuer=",
            &issuer,
            "&algorithm=SHA1&digits=6&period=30",
        ];
        ProvisioningUri(Zeroizing::new(parts.concat()))
    }
}

/// Silent: it makes valid codes for ever.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A seed as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSeed {
    /// The root key behind the encryption.
    pub key_id: KeyId,
    /// Nonce, ciphertext and tag: [`SEALED_SEED_LEN`] bytes.
    pub bytes: Vec<u8>,
}

impl SealedSeed {
    /// Decrypts the seed of `device` of `user`.
    ///
    /// # Errors
    /// [`UnreadableSecret`]; there is no way around it, so the device cannot be used.
    pub fn open(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
    ) -> Result<Seed, UnreadableSecret> {
        let derive = |key: &RootKey| key.totp_seed_aead(device);
        let binding = binding(user, device);
        sealed::open(keyring, self.key_id, derive, binding, &self.bytes).map(Seed)
    }

    /// The same seed, sealed under the active key.
    ///
    /// # Errors
    /// [`ResealError`] if it does not open, or there is no nonce for it.
    pub fn reseal(
        &self,
        keyring: &Keyring,
        user: UserId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<Self, ResealError> {
        let seed = self.open(keyring, user, device)?;
        Ok(seed.seal(keyring, user, device, random)?)
    }
}

/// Shows which key it needs.
impl fmt::Debug for SealedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSeed")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A URI that hands a seed to an authenticator app.
#[derive(Clone)]
pub struct ProvisioningUri(Zeroizing<String>);

impl ProvisioningUri {
    /// The text of the URI, seed included.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Silent: the seed is in it.
impl fmt::Debug for ProvisioningUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvisioningUri(..)")
    }
}

/// The associated data that binds a seed to its user and device.
fn binding(user: UserId, device: DeviceId) -> Binding {
    Binding {
        label: AAD_LABEL,
        user,
        device,
    }
}

/// Leaves the unreserved characters of RFC 3986 §2.3. A blank becomes `%20`: apps show the `+` of
/// a web form as it is.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;
    use crate::random::test_sources::{Exhausted, Script};

    fn user(id: i64) -> UserId {
        UserId::from_stored(id).unwrap()
    }

    fn device(id: i64) -> DeviceId {
        DeviceId::from_stored(id).unwrap()
    }

    fn keyring() -> Keyring {
        Keyring::generate(&SystemRandom::new()).unwrap()
    }

    fn known_seed() -> Seed {
        Seed::random(&Script::new(vec![b"12345678901234567890".to_vec()])).unwrap()
    }

    #[test]
    fn sealed_seed_opens_for_its_user_and_device_only() {
        let keyring = keyring();
        let seed = Seed::random(&SystemRandom::new()).unwrap();
        let sealed = seed
            .seal(&keyring, user(1), device(2), &SystemRandom::new())
            .unwrap();
        assert_eq!(sealed.bytes.len(), SEALED_SEED_LEN);
        let opened = sealed.open(&keyring, user(1), device(2)).unwrap();
        assert_eq!(opened.expose(), seed.expose());
        let refused = UnreadableSecret::Refused(keyring.active());
        assert_eq!(
            sealed.open(&keyring, user(2), device(2)).unwrap_err(),
            refused
        );
        assert_eq!(
            sealed.open(&keyring, user(1), device(3)).unwrap_err(),
            refused
        );
    }

    #[test]
    fn changed_or_shortened_seed_is_refused() {
        let keyring = keyring();
        let sealed = known_seed()
            .seal(&keyring, user(1), device(2), &SystemRandom::new())
            .unwrap();
        let refused = UnreadableSecret::Refused(keyring.active());
        for at in 0..SEALED_SEED_LEN {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(
                changed.open(&keyring, user(1), device(2)).unwrap_err(),
                refused,
                "byte {at}"
            );
            let mut short = sealed.clone();
            short.bytes.truncate(at);
            assert_eq!(
                short.open(&keyring, user(1), device(2)).unwrap_err(),
                refused,
                "{at} bytes"
            );
        }
    }

    #[test]
    fn seed_needs_the_key_it_names() {
        let (one, two) = (keyring(), keyring());
        let sealed = known_seed()
            .seal(&one, user(1), device(2), &SystemRandom::new())
            .unwrap();
        let unknown = UnreadableSecret::UnknownKey(one.active());
        assert_eq!(sealed.open(&two, user(1), device(2)).unwrap_err(), unknown);
    }

    #[test]
    fn resealed_seed_needs_the_former_key_no_more() {
        let old = keyring();
        let sealed = known_seed()
            .seal(&old, user(1), device(2), &SystemRandom::new())
            .unwrap();
        let both = old.with_new_key(&SystemRandom::new()).unwrap();
        let resealed = sealed
            .reseal(&both, user(1), device(2), &SystemRandom::new())
            .unwrap();
        let new = both.without(old.active()).unwrap();
        let opened = resealed.open(&new, user(1), device(2)).unwrap();
        assert_eq!(opened.expose(), known_seed().expose());
        let unknown = UnreadableSecret::UnknownKey(old.active());
        let unread = sealed.reseal(&new, user(1), device(2), &SystemRandom::new());
        assert_eq!(unread.unwrap_err(), unknown.into());
        let moved = sealed.reseal(&both, user(1), device(3), &SystemRandom::new());
        assert!(matches!(moved.unwrap_err(), ResealError::Unreadable(_)));
    }

    #[test]
    fn same_seed_sealed_twice_differs() {
        let keyring = keyring();
        let seal = || known_seed().seal(&keyring, user(1), device(2), &SystemRandom::new());
        assert_ne!(seal().unwrap(), seal().unwrap());
    }

    #[test]
    fn without_entropy_nothing_is_drawn_or_sealed() {
        assert!(Seed::random(&Exhausted).is_err());
        assert!(
            known_seed()
                .seal(&keyring(), user(1), device(2), &Exhausted)
                .is_err()
        );
    }

    #[test]
    fn uri_is_what_authenticator_apps_read() {
        // The seed is that of RFC 6238 appendix B; its base32 is in every app's test suite.
        let uri = known_seed().provisioning_uri("Arklow & Söhne", "ada+1@example.org");
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Arklow%20%26%20S%C3%B6hne:ada%2B1%40example.org\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Arklow%20%26%20S%C3%B6hne&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn label_has_one_colon_whatever_its_parts_hold() {
        for account in [
            "ops:alerts@example.org",
            "ada@[IPv6:2001:db8::1]",
            ":",
            "a::b",
        ] {
            let uri = known_seed().provisioning_uri("Ac:me", account);
            let label = uri.expose().split(['/', '?']).nth(3).unwrap();
            assert!(label.starts_with("Ac_me:"), "{label}");
            assert_eq!(label.matches(':').count(), 1, "{label}");
            assert!(!label.contains("%3A") && !label.contains("%3a"), "{label}");
            assert!(uri.expose().contains("&issuer=Ac_me&"));
        }
    }

    #[test]
    fn debug_shows_neither_seed_nor_uri() {
        let uri = known_seed().provisioning_uri("Arklow", "ada");
        let sealed = known_seed()
            .seal(&keyring(), user(1), device(2), &SystemRandom::new())
            .unwrap();
        let shown = format!("{:?} {uri:?} {sealed:?}", known_seed());
        assert!(
            shown.starts_with("Seed(..) ProvisioningUri(..) SealedSeed"),
            "{shown}"
        );
        assert!(!shown.contains("bytes"), "{shown}");
    }
}
