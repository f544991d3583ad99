//! The dependencies of the operations.
//!
//! The only place where the clock is read and where random bytes come from; everything else takes
//! both as arguments, so that tests decide them.

use std::sync::Arc;

use arklow_domain::{Keyring, Random, SystemRandom, UnreadableSecret};
use arklow_store::{Store, StoreError};
use chrono::{DateTime, Utc};

use crate::client_ip::AddressLimiter;
use crate::denials::Denials;
use crate::keys::Keys;
use crate::policy::Policy;

/// Tells the time.
pub(crate) trait Clock: Send + Sync {
    /// The time. Asked once per request: two answers are two times.
    fn now(&self) -> DateTime<Utc>;
}

/// Where time and random bytes come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Sources {
    /// The clock and the generator of the operating system.
    pub(crate) fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::new()),
        }
    }
}

/// What operations work with.
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) policy: Policy,
    /// Failures by source address, of this process alone.
    pub(crate) addresses: AddressLimiter,
    /// Denied changes by session and user, of this process alone.
    pub(crate) denials: Denials,
}

impl App {
    pub(crate) fn new(store: Store, keys: Keys, sources: Sources, policy: Policy) -> Self {
        let Sources { clock, random } = sources;
        Self {
            store,
            keys,
            clock,
            random,
            addresses: AddressLimiter::new(policy.address.clone()),
            denials: Denials::new(policy.denied),
            policy,
        }
    }
}

impl App {
    /// Asks the store with the keys as they are; and once more with those of the key file, if that
    /// has others by now and the first time needed one.
    pub(crate) async fn with_keys<T, F>(
        &self,
        ask: impl Fn(Arc<Keyring>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let keyring = self.keys.current();
        match ask(Arc::clone(&keyring)).await {
            Err(
                StoreError::RetiredKey(_) | StoreError::Unreadable(UnreadableSecret::UnknownKey(_)),
            ) if self.keys.reload(&self.store, &keyring).await => ask(self.keys.current()).await,
            outcome => outcome,
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock that is to be used instead"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
