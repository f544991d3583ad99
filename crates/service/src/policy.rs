//! The settings of an operator: limits, times, and trusted proxies.

use arklow_domain::RateLimit;
use arklow_store::AttemptRules;

use crate::client_ip::TrustedProxies;

/// The settings of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// By which codes are judged.
    pub(crate) rules: AttemptRules,
    /// How often a user may make new backup codes.
    pub(crate) regenerate: Option<RateLimit>,
    /// How often a user may begin to enroll a device.
    pub(crate) enroll: Option<RateLimit>,
    /// How many changes of one session may be denied.
    pub(crate) denied: Option<RateLimit>,
    /// How many codes may fail from one address; all of these hold.
    pub(crate) address: Vec<RateLimit>,
    /// The proxies whose forwarding header is trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Under which name authenticator apps list a device.
    pub(crate) issuer: String,
}

impl Policy {
    /// Without the limits on how often, for measurements and conformance runs. That failures lock
    /// stays.
    pub(crate) fn without_limits(self) -> Self {
        Self {
            regenerate: None,
            enroll: None,
            denied: None,
            address: Vec::new(),
            ..self
        }
    }
}
