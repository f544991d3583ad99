//! [`App`] holds the store, the keys, the clock, the random source, the policy and the limits of operations.

use std::sync::Arc;

use arklow_domain::{Keyring, Random, UnreadableSecret};
use arklow_store::{Store, StoreError};

use crate::client_ip::AddressLimiter;
use crate::denials::Denials;
use crate::keys::Keys;
use crate::policy::Policy;
use crate::sources::{Clock, Sources};

/// The dependencies of the operations.
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
    /// Runs a query with the current keys. If it needs a key that they lack and the key file has
    /// changed, reads the file and runs the query once more.
    pub(crate) async fn with_keys<T, F>(
        &self,
        query: impl Fn(Arc<Keyring>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let keyring = self.keys.current();
        match query(Arc::clone(&keyring)).await {
            Err(
                StoreError::RetiredKey(_) | StoreError::Unreadable(UnreadableSecret::UnknownKey(_)),
            ) if self.keys.reload(&self.store, &keyring).await => query(self.keys.current()).await,
            outcome => outcome,
        }
    }
}
