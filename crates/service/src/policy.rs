//! The settings of an operator: limits, times, and trusted proxies.

use arklow_domain::{LockoutPolicy, RateLimit, TotpWindow};
use arklow_store::AttemptRules;
use chrono::TimeDelta;

use crate::cli::{FactorArgs, LimitArgs, Switch, delta};
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

/// Ten an hour.
pub(crate) const PER_USER: RateLimit = RateLimit {
    count: 10,
    per: TimeDelta::hours(1),
};

/// Twenty in five minutes.
pub(crate) const PER_SESSION: RateLimit = RateLimit {
    count: 20,
    per: TimeDelta::minutes(5),
};

/// Ten in five minutes, and fifty an hour.
pub(crate) const PER_ADDRESS: [RateLimit; 2] = [
    RateLimit {
        count: 10,
        per: TimeDelta::minutes(5),
    },
    RateLimit {
        count: 50,
        per: TimeDelta::hours(1),
    },
];

/// The default issuer, under which authenticator apps list a device.
pub(crate) const ISSUER: &str = "Arklow";

impl Default for Policy {
    /// The defaults of the flags.
    fn default() -> Self {
        Self {
            rules: AttemptRules {
                window: TotpWindow::default(),
                step_up: TimeDelta::minutes(15),
                lockout: LockoutPolicy::default(),
                enrollment: TimeDelta::minutes(15),
                max_devices: 10,
            },
            regenerate: Some(PER_USER),
            enroll: Some(PER_USER),
            denied: Some(PER_SESSION),
            address: PER_ADDRESS.to_vec(),
            trusted_proxies: TrustedProxies::default(),
            issuer: ISSUER.to_owned(),
        }
    }
}

impl Policy {
    /// What the flags of `serve` say.
    pub(crate) fn from_flags(factors: &FactorArgs, limits: &LimitArgs) -> Self {
        let policy = Self {
            rules: AttemptRules {
                window: factors.totp_window,
                step_up: delta(factors.step_up),
                lockout: LockoutPolicy {
                    failures_per_lock: factors.lock_after,
                    first_lock: delta(factors.lock_for),
                    longest_lock: delta(factors.lock_max),
                    factor_lock_after: factors.lock_factor_after,
                },
                enrollment: delta(factors.enrollment_ttl),
                max_devices: factors.max_devices,
            },
            regenerate: Some(limits.limit_regenerate),
            enroll: Some(limits.limit_enroll),
            denied: Some(limits.limit_denied),
            address: limits.limit_address.clone(),
            trusted_proxies: TrustedProxies::new(limits.trusted_proxies.clone()),
            issuer: factors.issuer.clone(),
        };
        match limits.limits {
            Switch::On => policy,
            Switch::Off => policy.without_limits(),
        }
    }

    /// Without the limits on how often, for measurements and conformance runs. That failures lock
    /// stays.
    fn without_limits(self) -> Self {
        Self {
            regenerate: None,
            enroll: None,
            denied: None,
            address: Vec::new(),
            ..self
        }
    }
}
