//! `arklow serve`: the server, with the settings that the flags give.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arklow_api::server::Settings;
use arklow_domain::{LockoutPolicy, TotpWindow};
use arklow_store::{AttemptRules, Options};
use clap::builder::Resettable;
use clap::{Args, FromArgMatches as _};
use ipnet::IpNet;
use tokio::sync::Notify;
use tracing::warn;

use super::args::{
    DatabaseArgs, ISSUER, KeysArgs, LISTEN, MfaTtl, Pause, Rate, Retain, Switch, Wait, address,
    issuer,
};
use super::error::CliError;
use super::notifications::NotificationArgs;
use super::tls::TlsArgs;
use super::{open, output};
use crate::app::App;
use crate::client_ip::TrustedProxies;
use crate::http::server::{self, Config, Timeouts};
use crate::http::wire;
use crate::keys::Keys;
use crate::log::ServedDatabase;
use crate::policy::Policy;
use crate::retention::Retention;
use crate::signals::Hangup;
use crate::sources::Sources;
use crate::traces::TraceArgs;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; port 0 takes any free one.
    #[arg(
        long,
        env = "ARKLOW_LISTEN",
        value_name = "ADDR",
        default_value = LISTEN,
        value_parser = address
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    /// Where health, readiness, metrics and the log level are served, without authentication unless
    /// --internal-tls-client-ca is given: a loopback or private address. Without it they are not served.
    #[arg(
        long,
        env = "ARKLOW_INTERNAL_LISTEN",
        value_name = "ADDR",
        value_parser = address
    )]
    pub(crate) internal_listen: Option<SocketAddr>,
    /// How long requests are still accepted after a signal to stop, while /readyz already answers 503: until a
    /// load balancer has noticed.
    #[arg(
        long,
        env = "ARKLOW_DRAIN_DELAY",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub(crate) drain_delay: Pause,
    /// How long running requests may take after a signal to stop; a second signal stops at once.
    #[arg(
        long,
        env = "ARKLOW_SHUTDOWN_GRACE",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) shutdown_grace: Wait,
    /// How long a request may take, without the time in which its body arrives.
    #[arg(
        long,
        env = "ARKLOW_REQUEST_DEADLINE",
        value_name = "DURATION",
        default_value = "15s"
    )]
    pub(crate) request_deadline: Wait,
    /// How long the body of a request may take to arrive.
    #[arg(
        long,
        env = "ARKLOW_BODY_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) body_timeout: Wait,
    /// How long to wait for a lock or a free connection before a request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_BUSY_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub(crate) busy_timeout: Wait,
    /// Whether the documentation is served at /swagger/ui, with the contract at /swagger/ui/json and
    /// /swagger/ui/yaml. It needs no token.
    #[arg(
        long,
        env = "ARKLOW_DOCS",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) docs: Switch,
    /// Whether to refuse to start if the clock is more than five minutes behind the newest record of
    /// the audit; `off` starts with a warning, when the records were written with a clock ahead.
    #[arg(
        long,
        env = "ARKLOW_CHECK_CLOCK",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) check_clock: Switch,
    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) factors: FactorArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) traces: TraceArgs,
    #[command(flatten)]
    pub(crate) notifications: NotificationArgs,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
}

/// How long rows are kept that have served their purpose. Every server deletes them in small steps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retention")]
pub(crate) struct RetentionArgs {
    /// How long sessions are kept after they expired or were revoked; `off` keeps them.
    #[arg(
        long,
        env = "ARKLOW_RETAIN_SESSIONS",
        value_name = "DURATION",
        default_value = "30d"
    )]
    pub(crate) retain_sessions: Retain<1>,
    /// How long devices are kept that were not confirmed; `off` keeps them.
    #[arg(
        long,
        env = "ARKLOW_RETAIN_ENROLLMENTS",
        value_name = "DURATION",
        default_value = "1d"
    )]
    pub(crate) retain_enrollments: Retain<1>,
    /// How long delivered messages of the outbox are kept; `off` keeps them.
    #[arg(
        long,
        env = "ARKLOW_RETAIN_MESSAGES",
        value_name = "DURATION",
        default_value = "30d"
    )]
    pub(crate) retain_messages: Retain<1>,
    /// How long audit records are kept, at least 30 days; `off` keeps them.
    #[arg(
        long,
        env = "ARKLOW_RETAIN_AUDIT",
        value_name = "DURATION",
        default_value = "off"
    )]
    pub(crate) retain_audit: Retain<30>,
}

impl RetentionArgs {
    fn get(&self) -> Retention {
        Retention {
            sessions: self.retain_sessions.get(),
            enrollments: self.retain_enrollments.get(),
            messages: self.retain_messages.get(),
            audit: self.retain_audit.get(),
        }
    }
}

/// How many connections clients may have, and how long a client may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// How many connections clients may have. Past it, the one that has waited for its client for
    /// longest is closed.
    ///
    /// By default 4096, or less if the process may open fewer files (`ulimit -Hn`).
    #[arg(
        long,
        env = "ARKLOW_MAX_CONNECTIONS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_connections: Option<u32>,
    /// How many of them may come from one IPv4 address or IPv6 /64. Does not apply to
    /// --trusted-proxy.
    ///
    /// By default half of --max-connections.
    #[arg(
        long,
        env = "ARKLOW_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_connections_per_address: Option<u32>,
    /// How many requests are worked on at once. Further ones are answered with 503 and Retry-After, so that those keep
    /// their latency. A request whose body is still arriving does not count.
    #[arg(
        long,
        env = "ARKLOW_MAX_REQUESTS",
        value_name = "COUNT",
        default_value = "128",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_requests: u32,
    /// How long the head of a request may take, from the connection or its first byte on.
    #[arg(
        long,
        env = "ARKLOW_HEADER_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) header_timeout: Wait,
    /// How long a connection may stay open between two requests. Longer than a proxy keeps it.
    #[arg(
        long,
        env = "ARKLOW_IDLE_TIMEOUT",
        value_name = "DURATION",
        default_value = "75s"
    )]
    pub(crate) idle_timeout: Wait,
    /// How long a client may take none of an answer that is being sent to it.
    #[arg(
        long,
        env = "ARKLOW_WRITE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) write_timeout: Wait,
}

/// How a PostgreSQL server is used.
#[derive(Debug, Args)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct PostgresArgs {
    /// How many connections this process has, at most.
    #[arg(
        long,
        env = "ARKLOW_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value = "16",
        value_parser = clap::value_parser!(u32).range(1..=500)
    )]
    pub(crate) database_connections: u32,
    /// How long connecting may take before a request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_CONNECT_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub(crate) connect_timeout: Wait,
    /// How long a statement may take before it is given up and the request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_STATEMENT_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) statement_timeout: Wait,
}

/// What holds for second factors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Second factors")]
pub(crate) struct FactorArgs {
    /// Under which name authenticator apps list a device.
    #[arg(long, env = "ARKLOW_ISSUER", default_value = ISSUER, value_parser = issuer)]
    pub(crate) issuer: String,
    /// How many codes before and after the current one are accepted: 1, or 0 as ASVS 6.5.5 asks.
    #[arg(
        long,
        env = "ARKLOW_TOTP_WINDOW",
        value_name = "STEPS",
        default_value = "1",
        value_parser = totp_window
    )]
    pub(crate) totp_window: TotpWindow,
    /// How long a session counts as MFA-verified after a code, unless it does for longer already.
    #[arg(
        long,
        env = "ARKLOW_STEP_UP",
        value_name = "DURATION",
        default_value = "15m"
    )]
    pub(crate) step_up: MfaTtl,
    /// How long a pending device can be confirmed.
    #[arg(
        long,
        env = "ARKLOW_ENROLLMENT_TTL",
        value_name = "DURATION",
        default_value = "15m"
    )]
    pub(crate) enrollment_ttl: MfaTtl,
    /// How many confirmed devices a user may have.
    #[arg(
        long,
        env = "ARKLOW_MAX_DEVICES",
        value_name = "COUNT",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..=50)
    )]
    pub(crate) max_devices: u32,
    /// After how many failures in a row a user is locked for a while.
    #[arg(
        long,
        env = "ARKLOW_LOCK_AFTER",
        value_name = "FAILURES",
        default_value = "5",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) lock_after: u32,
    /// How long the first lock lasts; each one after it twice as long.
    #[arg(
        long,
        env = "ARKLOW_LOCK_FOR",
        value_name = "DURATION",
        default_value = "15m"
    )]
    pub(crate) lock_for: MfaTtl,
    /// How long a lock lasts at most.
    #[arg(
        long,
        env = "ARKLOW_LOCK_MAX",
        value_name = "DURATION",
        default_value = "1h"
    )]
    pub(crate) lock_max: MfaTtl,
    /// After how many failures in a row the factor is locked until another one succeeds or
    /// `arklow user unlock`; at most 100 (NIST SP 800-63B-4 §3.2.2).
    #[arg(
        long,
        env = "ARKLOW_LOCK_FACTOR_AFTER",
        value_name = "FAILURES",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) lock_factor_after: u32,
}

/// How often something may be done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// `off` switches the four limits below off, for benchmarks and conformance runs.
    ///
    /// That failures lock a user cannot be switched off.
    #[arg(
        long,
        env = "ARKLOW_LIMITS",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) limits: Switch,
    /// How often a user may make new backup codes.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_REGENERATE",
        value_name = "COUNT/DURATION",
        default_value = "10/1h"
    )]
    pub(crate) limit_regenerate: Rate,
    /// How often a user may begin to enroll a device.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_ENROLL",
        value_name = "COUNT/DURATION",
        default_value = "10/1h"
    )]
    pub(crate) limit_enroll: Rate,
    /// How many changes of one session may be denied before further ones are refused with 429 and only
    /// counted, in each process; all sessions of a user together may have five times as many.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_DENIED",
        value_name = "COUNT/DURATION",
        default_value = "20/5m"
    )]
    pub(crate) limit_denied: Rate,
    /// How many codes from one address may fail or be malformed; all of these hold, in each
    /// process.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_ADDRESS",
        value_name = "COUNT/DURATION",
        default_value = "10/5m,50/1h",
        value_delimiter = ','
    )]
    pub(crate) limit_address: Vec<Rate>,
    /// A proxy, or a network of them, whose `X-Forwarded-For` is believed; may be repeated.
    ///
    /// Without it a request comes from the peer of its connection, whatever its headers say.
    #[arg(
        long = "trusted-proxy",
        env = "ARKLOW_TRUSTED_PROXY",
        value_name = "NETWORK",
        value_delimiter = ',',
        value_parser = network
    )]
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl ServeArgs {
    /// What `serve` runs with if no flag and no variable is given.
    pub(crate) fn defaults() -> Self {
        let command = Self::augment_args(clap::Command::new("serve"));
        let command = command.mut_args(|arg| arg.env(Resettable::Reset));
        command
            .try_get_matches_from(["serve"])
            .and_then(|matches| Self::from_arg_matches(&matches))
            .expect("every flag of `serve` has a default")
    }

    /// How the server is run.
    pub(crate) fn config(&self) -> Config {
        Config {
            listen: self.listen,
            settings: Settings {
                deadline: self.request_deadline.get(),
                body_timeout: self.body_timeout.get(),
                retry_after: wire::RETRY_AFTER,
                max_running: self.connections.max_requests as usize,
                ..Settings::default()
            },
            docs: self.docs.is_on(),
            shutdown_grace: self.shutdown_grace.get(),
            hangup: Hangup::Ignore,
            max_connections: self.connections.max_connections,
            max_connections_per_address: self.connections.max_connections_per_address,
            trusted_proxies: TrustedProxies::new(self.limits.trusted_proxies.clone()),
            timeouts: Timeouts {
                header: self.connections.header_timeout.get(),
                idle: self.connections.idle_timeout.get(),
                write: self.connections.write_timeout.get(),
            },
            database_connections: self.postgres.database_connections,
            internal_listen: self.internal_listen,
            drain_delay: self.drain_delay.get(),
            is_draining: Arc::default(),
            retention: self.retention.get(),
            tls: None,
            internal_tls: None,
            notifier: None,
            served: ServedDatabase::default(),
        }
    }

    /// How the database is opened.
    pub(crate) fn store_options(&self) -> Options {
        Options {
            busy_timeout: self.busy_timeout.get(),
            connections: self.postgres.database_connections,
            connect_timeout: self.postgres.connect_timeout.get(),
            statement_timeout: Some(self.postgres.statement_timeout.get()),
            ..Options::default()
        }
    }

    /// What operations are decided by.
    pub(crate) fn policy(&self) -> Policy {
        let (factors, limits) = (&self.factors, &self.limits);
        let policy = Policy {
            rules: AttemptRules {
                window: factors.totp_window,
                step_up: factors.step_up.delta(),
                lockout: LockoutPolicy {
                    failures_per_lock: factors.lock_after,
                    first_lock: factors.lock_for.delta(),
                    longest_lock: factors.lock_max.delta(),
                    factor_lock_after: factors.lock_factor_after,
                },
                enrollment: factors.enrollment_ttl.delta(),
                max_devices: factors.max_devices,
            },
            regenerate: Some(limits.limit_regenerate.get()),
            enroll: Some(limits.limit_enroll.get()),
            denied: Some(limits.limit_denied.get()),
            address: limits.limit_address.iter().map(|rate| rate.get()).collect(),
            trusted_proxies: TrustedProxies::new(limits.trusted_proxies.clone()),
            issuer: factors.issuer.clone(),
        };
        match limits.limits {
            Switch::On => policy,
            Switch::Off => policy.without_limits(),
        }
    }
}

/// Serves the API until a signal.
pub(crate) async fn run(args: ServeArgs, sources: Sources) -> Result<(), CliError> {
    let mut config = args.config();
    let url = &args.database.database_url;
    if let Ok(keys) = open::key_path(url, &args.keys) {
        open::check_tables(url, &keys).await?;
    }
    let store = open::open(url, args.store_options()).await?;
    let serving = async {
        open::check_clock(&store, &sources, args.check_clock).await?;
        config.served = open::served(url, &store);
        let policy = args.policy();
        config.notifier = args
            .notifications
            .notifier(&args.factors.issuer, &sources)?;
        let asked = Arc::new(Notify::new());
        config.tls = args.tls.public(&asked)?;
        config.internal_tls = args.tls.internal(&asked)?;
        if config.tls.is_some() || config.internal_tls.is_some() {
            config.hangup = Hangup::Reload(asked);
        }
        if config.tls.is_none() {
            warn_of_plain_http(config.listen);
        }
        let (keyring, path) = open::open_keys(&store, url, &args.keys, &sources).await?;
        let keys = Keys::new(keyring, path, Arc::clone(&sources.clock));
        let app = App::new(store.clone(), keys, sources, policy);
        if args.limits.limits == Switch::Off {
            warn_of_no_limits();
        }
        server::serve(app, config, |_| Ok(())).await
    };
    match serving.await {
        // At its end, which has closed the store.
        Ok(()) => Ok(()),
        failed => open::closing(&store, async { failed }).await,
    }
}

fn warn_of_plain_http(listen: SocketAddr) {
    if is_private(listen.ip()) {
        return;
    }
    output::banner(&[
        &format!(
            "PLAIN HTTP ON {listen} (--listen): others on the network can read tokens and codes."
        ),
        "Give --tls-certificate and --tls-key, or put a proxy with TLS in front.",
    ]);
}

/// Whether an address is one that only this machine or its network reaches.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn warn_of_no_limits() {
    output::banner(&[
        "LIMITS ARE OFF (--limits off): there is no rate limit for regenerated codes,",
        "enrollments, denied changes and failed codes. Not for production.",
    ]);
    warn!("the limits are off: only the failures of each user are counted");
}

fn totp_window(text: &str) -> Result<TotpWindow, String> {
    let window = text.parse().ok().and_then(TotpWindow::new);
    window.ok_or_else(|| "expected 0 or 1".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "expected an IP address or a network, such as 10.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_agree_with_those_of_the_store_and_the_domain() {
        let args = ServeArgs::defaults();
        let options = Options::default();
        assert_eq!(args.busy_timeout.get(), options.busy_timeout);
        assert_eq!(args.postgres.database_connections, options.connections);
        assert_eq!(args.postgres.connect_timeout.get(), options.connect_timeout);
        let statement_timeout = Some(args.postgres.statement_timeout.get());
        assert_eq!(statement_timeout, options.statement_timeout);
        let rules = args.policy().rules;
        let lockout = LockoutPolicy::default();
        assert_eq!(format!("{:?}", rules.lockout), format!("{lockout:?}"));
        assert_eq!(rules.window, TotpWindow::default());
    }
}
