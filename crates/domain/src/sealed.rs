//! Sealing small secrets for storage with AES-256-GCM (SP 800-38D), and opening them again.
//!
//! What is stored is nonce, ciphertext and tag. A secret opens only with the key it names, and
//! only for what it was bound to.

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use crate::{DeviceId, KeyId, Keyring, NoEntropy, Random, RootKey, UserId};

/// What sealing adds to a secret, in bytes: nonce and tag.
pub(crate) const OVERHEAD: usize = NONCE_LEN + 16;

/// Whose secret it is, and what for.
#[derive(Clone, Copy)]
pub(crate) struct Binding {
    /// Distinct for each kind of secret.
    pub(crate) label: &'static [u8],
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
}

impl Binding {
    fn associated(&self) -> Aad<Vec<u8>> {
        let user = self.user.get().to_be_bytes();
        let device = self.device.get().to_be_bytes();
        Aad::from([self.label, &user, &device].concat())
    }
}

/// Why a stored secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableSecret {
    /// The key it was sealed under is not in the ring.
    #[error("the secret is sealed under key {0}, which is not in the key file")]
    UnknownKey(KeyId),
    /// The key is another one, the bytes were changed, or they belong to another user or device.
    #[error(
        "the secret does not open with key {0}: it was changed, moved, or the key is another one"
    )]
    Refused(KeyId),
}

/// Why a stored secret cannot be sealed under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error(transparent)]
    Unreadable(#[from] UnreadableSecret),
    /// There is no nonce for it.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Seals `secret`, which is overwritten.
pub(crate) fn seal<const N: usize>(
    key: &LessSafeKey,
    binding: Binding,
    mut secret: Zeroizing<[u8; N]>,
    random: &dyn Random,
) -> Result<Vec<u8>, NoEntropy> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce)?;
    // Encrypted in place: the one buffer that holds the secret also ends as the ciphertext.
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            binding.associated(),
            secret.as_mut_slice(),
        )
        .expect("a secret is far shorter than AES-GCM allows");
    Ok([&nonce, secret.as_slice(), tag.as_ref()].concat())
}

/// Opens what [`seal`] made, with the key of this id; `derive` makes the AEAD key of it.
pub(crate) fn open<const N: usize>(
    keyring: &Keyring,
    key_id: KeyId,
    derive: impl FnOnce(&RootKey) -> LessSafeKey,
    binding: Binding,
    stored: &[u8],
) -> Result<Zeroizing<[u8; N]>, UnreadableSecret> {
    let refused = UnreadableSecret::Refused(key_id);
    let key = keyring
        .get(&key_id)
        .ok_or(UnreadableSecret::UnknownKey(key_id))?;
    let (nonce, sealed) = stored.split_first_chunk::<NONCE_LEN>().ok_or(refused)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = derive(key)
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            binding.associated(),
            buffer.as_mut_slice(),
        )
        .map_err(|_| refused)?;
    let mut secret = Zeroizing::new([0; N]);
    if opened.len() != N {
        return Err(refused);
    }
    secret.copy_from_slice(opened);
    Ok(secret)
}
