//! Terms and rules of multi-factor authentication.
//!
//! Pure: no clock, no database, no HTTP, no serialization. Time and randomness are arguments
//! ([`Random`]); everything here can be called in a test without setting anything up.
//!
//! | file | what it holds |
//! |---|---|
//! | `ids` | [`UserId`], [`SessionId`], [`DeviceId`], [`AuditId`], [`MessageId`] |
//! | `random` | where random bytes come from |
//! | `keys` | the [`Keyring`]: root keys, what is derived from them, the key file |
//! | `backup_codes` | [`BackupCode`], [`BackupCodes`], and what is kept of them ([`CodeSet`]) |
//! | `totp` | the TOTP [`Seed`], sealed and open, and its provisioning URI |
//! | `otp` | [`TotpCode`], and the [`TotpStep`] that one is of |
//! | `sealed`, `separators` | how secrets are encrypted; what stands between symbols |
//! | `characters` | Unicode properties of characters |
//! | `denial` | why a rule denies a request ([`Denial`]) |
//! | `lockout`, `limits` | what failures lead to ([`LockoutPolicy`]); how often ([`RateLimit`]) |
//! | `session` | [`SessionToken`] and [`Session`] |
//! | `user`, `device`, `name` | [`User`], [`Device`], and the texts people give them |
//!
//! Secrets ([`BackupCode`], [`TotpCode`], [`SessionToken`], [`Seed`], [`Keyring`]) have no
//! `Display` and a silent `Debug`. The one way out of each is called `expose`, which is easy to
//! search for.

mod backup_codes;
mod characters;
mod denial;
mod device;
mod ids;
mod keys;
mod limits;
mod lockout;
mod name;
mod otp;
mod random;
mod sealed;
mod separators;
mod session;
mod totp;
mod user;

pub use backup_codes::{
    BackupCode, BackupCodes, CODE_BITS, CODES_PER_SET, CodeMac, CodeSet, MAX_CODE_INPUT,
    MalformedCode, SEALED_MAC_KEY_LEN, SealedCodes, SealedMacKey, Slot,
};
pub use characters::is_invisible;
pub use denial::Denial;
pub use device::{Device, DeviceName, DeviceState};
pub use ids::{AuditId, DeviceId, MessageId, NotAnId, SessionId, UserId};
pub use keys::{KeyCheck, KeyFileError, KeyId, Keyring, NotAKeyId, RootKey};
pub use limits::RateLimit;
pub use lockout::{Consequence, LockoutPolicy};
pub use name::NameError;
pub use otp::{MalformedTotpCode, TotpCode, TotpStep, TotpWindow};
pub use random::{NoEntropy, Random, SystemRandom};
pub use sealed::{ResealError, UnreadableSecret};
pub use session::{Session, SessionToken, TokenHash};
pub use totp::{ProvisioningUri, SEALED_SEED_LEN, SealedSeed, Seed};
pub use user::{Email, EmailError, User, UserName};
