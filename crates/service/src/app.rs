//! What operations work with: the store, the keys, the sources, the policy and the limits.

use std::sync::Arc;

use arklow_domain::{Keyring, Random, UnreadableSecret};
use arklow_store::{Store, StoreError};

use crate::client_ip::AddressLimiter;
use crate::denials::Denials;
use crate::keys::Keys;
use crate::policy::Policy;
use crate::sources::{Clock, Sources};

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
