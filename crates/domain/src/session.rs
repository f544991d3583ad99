//! Sessions, and the token that proves one.

use std::fmt;

use base32::Alphabet;
use chrono::{DateTime, Utc};
use ring::digest;
use zeroize::Zeroizing;

use crate::{NoEntropy, Random, SessionId, UserId};

/// Makes a leaked token recognizable, to people and to secret scanners.
const PREFIX: &str = "arks_";
const ALPHABET: Alphabet = Alphabet::Rfc4648Lower { padding: false };
/// 256 bits cannot be guessed, so wrong tokens are not counted.
const RANDOM_BYTES: usize = 32;
/// Characters after the prefix: 51 times five bits, and one more character for the last bit.
const BODY_LEN: usize = 52;

/// Where a session stands. That it has not ended is decided where it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which session.
    pub id: SessionId,
    /// Who is signed in.
    pub user_id: UserId,
    /// From this instant on the session is over.
    pub expires_at: DateTime<Utc>,
    /// From this instant on the second factor counts as not shown; `None` if it never was.
    pub mfa_not_after: Option<DateTime<Utc>>,
}

impl Session {
    /// Whether the user has shown a second factor in this session that still counts at `now`.
    pub fn is_mfa_fresh(&self, now: DateTime<Utc>) -> bool {
        self.mfa_not_after.is_some_and(|not_after| now < not_after)
    }
}

/// What a client sends to prove a session: `arks_` and 52 characters of RFC 4648 base32 in lower
/// case, 256 random bits. Only its [`TokenHash`] is stored.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// Draws a new token.
    ///
    /// # Errors
    /// [`NoEntropy`] if `random` has none.
    pub fn generate(random: &dyn Random) -> Result<Self, NoEntropy> {
        let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
        random.fill(bytes.as_mut_slice())?;
        let body = Zeroizing::new(base32::encode(ALPHABET, bytes.as_slice()));
        Ok(Self(Zeroizing::new([PREFIX, &body].concat())))
    }

    /// The token in `text`, or `None` if no token is written like this.
    ///
    /// Strict: no white space, no upper case, and no second spelling of the last character, of
    /// which only one bit counts.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text
            .strip_prefix(PREFIX)
            .filter(|body| body.len() == BODY_LEN)?;
        let bytes = Zeroizing::new(base32::decode(ALPHABET, body)?);
        let canonical = Zeroizing::new(base32::encode(ALPHABET, &bytes));
        (canonical.as_str() == body).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token as the client sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored, and looked up, instead of the token.
    ///
    /// Without key and salt: 256 random bits cannot be guessed from their hash.
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        let mut hash = [0; TokenHash::LEN];
        hash.copy_from_slice(digest.as_ref());
        TokenHash(hash)
    }
}

/// Silent: a token opens the account.
impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// SHA-256 of the text of a [`SessionToken`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; Self::LEN]);

impl TokenHash {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The hash with these bytes.
    pub fn from_stored(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Silent: it would tie a log line to a stored session.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;
    use crate::random::test_sources::{Exhausted, Script};
    use chrono::TimeDelta;

    fn known_token() -> SessionToken {
        SessionToken::generate(&Script::new(vec![(0..32).collect()])).unwrap()
    }

    #[test]
    fn token_is_the_prefix_and_rfc_4648_base32_of_the_drawn_bytes() {
        // Computed with Python: base64.b32encode(bytes(range(32))).decode().lower().rstrip("=")
        assert_eq!(
            known_token().expose(),
            "arks_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
        );
    }

    #[test]
    fn hash_is_sha_256_of_the_text() {
        // Computed with Python: hashlib.sha256(token.encode()).hexdigest()
        let hash = known_token().hash();
        let hex: String = hash
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "844dbb1c7ee67c3c4a58ceb30c56c4a732ff204a55073769898197a5cba17d84"
        );
    }

    #[test]
    fn drawn_token_parses_to_itself_and_differs_from_the_next() {
        let (one, two) = (
            SessionToken::generate(&SystemRandom::new()).unwrap(),
            SessionToken::generate(&SystemRandom::new()).unwrap(),
        );
        assert_ne!(one.expose(), two.expose());
        assert_ne!(one.hash(), two.hash());
        let parsed = SessionToken::parse(one.expose()).unwrap();
        assert_eq!(parsed.expose(), one.expose());
        assert_eq!(parsed.hash(), one.hash());
    }

    #[test]
    fn anything_but_the_exact_spelling_is_no_token() {
        let token = known_token();
        let good = token.expose();
        let upper = good.to_uppercase();
        // The last character carries one bit: `q` is 10000, `r` would be 10001.
        let second_spelling = format!("{}r", &good[..good.len() - 1]);
        let foreign_symbol = good.replacen("aaaq", "a1aq", 1);
        let not_ascii = format!("{}é", &good[..good.len() - 2]);
        let bad = [
            "",
            "arks_",
            &good[5..],
            &good[..good.len() - 1],
            &format!("{good}a"),
            &format!(" {good}"),
            &format!("{good}\n"),
            &good.replacen("arks_", "arkx_", 1),
            &upper,
            &second_spelling,
            &foreign_symbol,
            &not_ascii,
        ];
        for text in bad {
            assert!(SessionToken::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_neither_token_nor_hash() {
        let token = known_token();
        assert_eq!(
            format!("{token:?} {:?}", token.hash()),
            "SessionToken(..) TokenHash(..)"
        );
    }

    #[test]
    fn no_token_without_entropy() {
        assert!(SessionToken::generate(&Exhausted).is_err());
    }

    #[test]
    fn session_is_fresh_until_the_very_instant_and_never_without_one() {
        let not_after = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let mut session = Session {
            id: SessionId::from_stored(1).unwrap(),
            user_id: UserId::from_stored(1).unwrap(),
            expires_at: not_after + TimeDelta::hours(1),
            mfa_not_after: Some(not_after),
        };
        assert!(session.is_mfa_fresh(not_after - TimeDelta::microseconds(1)));
        assert!(!session.is_mfa_fresh(not_after));
        session.mfa_not_after = None;
        assert!(!session.is_mfa_fresh(DateTime::UNIX_EPOCH));
    }
}
