//! Which server, and how to connect to it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::tls::{self, Trust};
use super::wire::Wire;
use crate::{BadDatabaseUrl, OpenError, Options, StoreError};

/// After how long without a packet the kernel asks whether the other side is still there, how often,
/// and how many times without an answer until the connection is closed. The URL may say otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long data that was sent may stay unacknowledged. The URL may say otherwise.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A database on a PostgreSQL server, as `postgres://user:password@host:port/database?sslmode=…`.
#[derive(Clone)]
pub(crate) struct PostgresUrl {
    /// As it was written, password included.
    text: String,
    config: Config,
    trust: Trust,
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PostgresUrl {}

impl FromStr for PostgresUrl {
    type Err = BadDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, BadDatabaseUrl> {
        let (endpoint, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut mode = SslMode::Prefer;
        let mut verify = false;
        let mut root = None;
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => {
                    (mode, verify) = match value {
                        "disable" => (SslMode::Disable, false),
                        "prefer" => (SslMode::Prefer, false),
                        "require" => (SslMode::Require, false),
                        "verify-full" => (SslMode::Require, true),
                        _ => return Err(BadDatabaseUrl::SslMode),
                    }
                }
                Some(("sslrootcert", value)) => {
                    let path = percent_decode_str(value).decode_utf8();
                    root = Some(
                        path.map_err(|_| BadDatabaseUrl::RootCertificate)?
                            .into_owned(),
                    );
                }
                _ => others.push(parameter),
            }
        }
        let trust = match (verify, root) {
            (false, None) => Trust::Anybody,
            (false, Some(_)) => return Err(BadDatabaseUrl::RootCertificate),
            (true, None) => Trust::System,
            (true, Some(path)) if path == "system" => Trust::System,
            (true, Some(path)) => Trust::File(path.into()),
        };
        let rest = format!("{endpoint}?{}", others.join("&"));
        let mut config: Config = rest.parse().map_err(|_| BadDatabaseUrl::Postgres)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BadDatabaseUrl::NoHost);
        }
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("arklow");
        }
        let given = |name: &str| {
            let mut parameters = others.iter().filter_map(|text| text.split_once('='));
            parameters.any(|(given, _)| given == name)
        };
        if !given("keepalives_idle") {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if !given("keepalives_interval") {
            config.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        if !given("keepalives_retries") {
            config.keepalives_retries(KEEPALIVE_RETRIES);
        }
        if !given("tcp_user_timeout") {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        // One of several hosts is a standby, which takes no change.
        if hosts > 1 && !given("target_session_attrs") {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self {
            text: text.to_owned(),
            config,
            trust,
        })
    }
}

/// Without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

/// A server, and how to talk to it.
pub(super) struct Server {
    config: Config,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    /// For a session, and for one transaction together with its `BEGIN`.
    session: String,
    begin: String,
    /// How long connecting may take, over all its hosts.
    timeout: Duration,
    /// How long a connection may be silent.
    answer: Option<Duration>,
    /// Whether a pool between us and the server changes the server's session between transactions.
    is_pooled: AtomicBool,
    /// What was connected to last, which is tried first.
    last: Mutex<Option<Endpoint>>,
}

/// One endpoint to try: a host of the URL, and one of its addresses unless it is a socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.address) {
            (Some(Host::Tcp(name)), Some(address)) if *name != address.to_string() => {
                write!(f, "{name}:{} ({address})", self.port)
            }
            (Some(Host::Tcp(name)), _) => write!(f, "{name}:{}", self.port),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => write!(f, "{}:{}", path.display(), self.port),
            (None, Some(address)) => write!(f, "{address}:{}", self.port),
            (None, None) => write!(f, "port {}", self.port),
        }
    }
}

/// Why none of the endpoints can be used, each with its reason.
#[derive(Debug)]
pub(super) struct NoServer {
    failures: Vec<(Endpoint, Failure)>,
}

#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Postgres(tokio_postgres::Error),
    Setup(Box<dyn Error + Send + Sync>),
    Silent(Duration),
}

impl NoServer {
    /// Whether a server answered and said no, as it does to a wrong password.
    pub(super) fn is_refusal(&self) -> bool {
        let refused = |failure: &Failure| match failure {
            Failure::Postgres(error) => error.code().is_some(),
            Failure::Io(_) | Failure::Setup(_) | Failure::Silent(_) => false,
        };
        self.failures.iter().any(|(_, failure)| refused(failure))
    }
}

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return f.write_str("the host has no address");
        }
        for (index, (endpoint, failure)) in self.failures.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{endpoint}: ")?;
            let error: &dyn Error = match failure {
                Failure::Io(error) => error,
                Failure::Postgres(error) => error,
                Failure::Setup(error) => error.as_ref(),
                Failure::Silent(limit) => {
                    write!(f, "no answer within {limit:.1?}")?;
                    continue;
                }
            };
            write!(f, "{error}")?;
            let mut cause = error.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl Error for NoServer {}

impl Server {
    /// Does not connect yet.
    pub(super) fn new(url: &PostgresUrl, options: &Options) -> Result<Self, OpenError> {
        let config = url.config.clone();
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(tls::connector(&url.trust)?),
        };
        // Zero is no limit.
        let statement = options.statement_timeout.unwrap_or_default().as_millis();
        let lock = options.busy_timeout.as_millis();
        Ok(Self {
            config,
            tls,
            session: settings("SET", statement, lock),
            begin: format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; {}",
                settings("SET LOCAL", statement, lock)
            ),
            timeout: options.connect_timeout,
            answer: options.statement_timeout.map(|limit| limit + ANSWER_MARGIN),
            is_pooled: AtomicBool::new(false),
            last: Mutex::new(None),
        })
    }

    /// Whether a pool may run each transaction in another session.
    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Relaxed)
    }

    /// What begins a transaction. The settings come with it, because a pool may run the next one in
    /// another session; as one message they cost no round trip.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// How long the answer to a `COMMIT` is waited for. No limit of the server covers it: it may wait
    /// for a standby.
    pub(super) fn commit_limit(&self) -> Duration {
        self.answer.unwrap_or(COMMIT_LIMIT)
    }

    /// A connection, which is driven by the runtime that this is called on.
    pub(super) async fn connect(&self) -> Result<(AsyncPgConnection, Wire), StoreError> {
        let set_up = async |client, wire| {
            let conn = self.set_up(client).await;
            Ok((conn.map_err(|error| Failure::Setup(Box::new(error)))?, wire))
        };
        let connected = self.reach(set_up).await;
        connected.map_err(|error| StoreError::Unavailable(Arc::new(error)))
    }

    /// Prepares a new connection for jobs.
    pub(super) async fn set_up(
        &self,
        client: Client,
    ) -> Result<AsyncPgConnection, ConnectionError> {
        let mut conn = AsyncPgConnection::try_from(client).await?;
        // A pool would hand them on to other clients, and transactions have their own.
        if !self.is_pooled() {
            let done = conn.batch_execute(&self.session).await;
            done.map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        Ok(conn)
    }

    /// Tries one endpoint after the other, each with its share of the time that is left: one that does not
    /// answer is not all that is tried.
    async fn reach<T>(
        &self,
        set_up: impl AsyncFn(Client, Wire) -> Result<T, Failure>,
    ) -> Result<T, NoServer> {
        let end = Instant::now() + self.timeout;
        let mut failures = Vec::new();
        let endpoints = self.endpoints(end, &mut failures).await;
        let count = endpoints.len();
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - index).unwrap_or(1);
            let config = self.config_for(&endpoint);
            let attempt = async {
                let (client, wire) = self.start(&config).await.map_err(Failure::Postgres)?;
                set_up(client, wire).await
            };
            let failure = match timeout(share, attempt).await {
                Ok(Ok(done)) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Silent(share),
            };
            failures.push((endpoint, failure));
        }
        Err(NoServer { failures })
    }

    /// What the hosts of the URL are at present, what worked last first.
    async fn endpoints(
        &self,
        end: Instant,
        failures: &mut Vec<(Endpoint, Failure)>,
    ) -> Vec<Endpoint> {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        let count = hosts.len().max(addresses.len());
        let mut endpoints = Vec::new();
        for index in 0..count {
            let endpoint = Endpoint {
                host: hosts.get(index).cloned(),
                address: addresses.get(index).copied(),
                port: *ports.get(index).or(ports.first()).unwrap_or(&5432),
            };
            let Endpoint {
                host: Some(Host::Tcp(name)),
                address: None,
                port,
            } = endpoint.clone()
            else {
                endpoints.push(endpoint);
                continue;
            };
            // A name server that does not answer leaves time for hosts that need none.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - index + 1).unwrap_or(1);
            match timeout(share, tokio::net::lookup_host((name, port))).await {
                Ok(Ok(found)) => endpoints.extend(found.map(|address| Endpoint {
                    address: Some(address.ip()),
                    ..endpoint.clone()
                })),
                Ok(Err(error)) => failures.push((endpoint, Failure::Io(error))),
                Err(_) => failures.push((endpoint, Failure::Silent(share))),
            }
        }
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random && !endpoints.is_empty()
        {
            // Processes differ in where they begin.
            let first = std::process::id() as usize % endpoints.len();
            endpoints.rotate_left(first);
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.sort_by_key(|endpoint| Some(endpoint) != last.as_ref());
        endpoints
    }

    /// The configuration for one endpoint. A `Config` cannot lose hosts, so this is another one.
    fn config_for(&self, endpoint: &Endpoint) -> Config {
        let from = &self.config;
        let mut config = Config::new();
        match &endpoint.host {
            Some(Host::Tcp(name)) => {
                config.host(name);
            }
            #[cfg(unix)]
            Some(Host::Unix(path)) => {
                config.host_path(path);
            }
            None => {}
        }
        if let Some(address) = endpoint.address {
            config.hostaddr(address);
        }
        config
            .port(endpoint.port)
            .ssl_mode(from.get_ssl_mode())
            .ssl_negotiation(from.get_ssl_negotiation())
            .keepalives(from.get_keepalives())
            .keepalives_idle(from.get_keepalives_idle())
            .target_session_attrs(from.get_target_session_attrs())
            .channel_binding(from.get_channel_binding());
        if let Some(user) = from.get_user() {
            config.user(user);
        }
        if let Some(password) = from.get_password() {
            config.password(password);
        }
        if let Some(name) = from.get_dbname() {
            config.dbname(name);
        }
        if let Some(options) = from.get_options() {
            config.options(options);
        }
        if let Some(name) = from.get_application_name() {
            config.application_name(name);
        }
        if let Some(limit) = from.get_connect_timeout() {
            config.connect_timeout(*limit);
        }
        if let Some(limit) = from.get_tcp_user_timeout() {
            config.tcp_user_timeout(*limit);
        }
        if let Some(interval) = from.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        if let Some(retries) = from.get_keepalives_retries() {
            config.keepalives_retries(retries);
        }
        config
    }

    async fn start(&self, config: &Config) -> Result<(Client, Wire), tokio_postgres::Error> {
        match &self.tls {
            None => {
                let (client, conn) = config.connect(NoTls).await?;
                Ok((client, Wire::drive(conn, self.answer)))
            }
            Some(tls) => {
                let (client, conn) = config.connect(tls.clone()).await?;
                Ok((client, Wire::drive(conn, self.answer)))
            }
        }
    }

    /// Looks whether there is a pool between us and the server that runs transactions in changing
    /// sessions, and refuses it unless it keeps the prepared statements of its clients apart.
    /// The connection that it was looked from.
    pub(super) async fn examine(&self) -> Result<(Client, Wire), OpenError> {
        let first = self.reach(async |client, wire| Ok((client, wire))).await;
        let first = first.map_err(refused_or_unreachable)?;
        // A server that has no room for a second one has no room for a pool's tricks, either.
        let second = self
            .reach(async |client, wire| Ok((client, wire)))
            .await
            .ok();
        let mut sessions = [None, None];
        let mut is_pooled = false;
        // In this order a pool shows itself that prefers what was given back last, and one that prefers
        // what was given back first.
        for index in [0, 1, 1, 0, 0, 1] {
            let Some((client, _)) = [Some(&first), second.as_ref()][index] else {
                continue;
            };
            let asked = timeout(self.timeout, client.simple_query("SELECT pg_backend_pid()")).await;
            let session = match asked {
                Ok(Ok(answer)) => column(&answer),
                // It waits until the first one goes, so that one has its session for itself.
                _ if index == 1 => break,
                Ok(Err(error)) => return Err(unreachable(error)),
                Err(elapsed) => return Err(OpenError::Unreachable(Arc::new(elapsed))),
            };
            is_pooled |= *sessions[index].get_or_insert_with(|| session.clone()) != session;
            is_pooled |= sessions[1 - index] == Some(session);
        }
        if !is_pooled {
            return Ok(first);
        }
        let apart = timeout(self.timeout, keeps_statements_apart(&first.0)).await;
        match apart.map_err(|elapsed| OpenError::Unreachable(Arc::new(elapsed)))? {
            Ok(true) => {
                tracing::debug!("a pool gives each transaction another connection");
                self.is_pooled.store(true, Ordering::Relaxed);
                Ok(first)
            }
            Ok(false) => Err(OpenError::UnsafePool(None)),
            Err(error) if error.code().is_some() => {
                Err(OpenError::UnsafePool(Some(Arc::new(error))))
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

/// How much longer than the server may take its answer is waited for.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);
/// How long a `COMMIT` is waited for where statements have no limit: a standby that is away may stay away.
const COMMIT_LIMIT: Duration = Duration::from_secs(12);

fn unreachable(error: tokio_postgres::Error) -> OpenError {
    OpenError::Unreachable(Arc::new(error))
}

pub(super) fn refused_or_unreachable(error: NoServer) -> OpenError {
    match error.is_refusal() {
        true => OpenError::Refused(Arc::new(error)),
        false => OpenError::Unreachable(Arc::new(error)),
    }
}

/// The first column of the first row.
fn column(answer: &[SimpleQueryMessage]) -> Option<String> {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok(),
        _ => None,
    });
    row.flatten().map(str::to_owned)
}

/// Whether a statement that is prepared has another name for the server than for us: the pool has given
/// it one that no other client's has.
async fn keeps_statements_apart(client: &Client) -> Result<bool, tokio_postgres::Error> {
    const TEXT: &str = "SELECT 'arklow looks at the pool'";
    client.batch_execute("BEGIN").await?;
    let statement = client.prepare(TEXT).await?;
    let found = format!(
        "SELECT count(*) FROM pg_prepared_statements \
         WHERE statement = '{}' AND name ~ '^s[0-9]+$'",
        TEXT.replace('\'', "''")
    );
    let found = client.simple_query(&found).await?;
    drop(statement);
    client.batch_execute("ROLLBACK").await?;
    Ok(column(&found).as_deref() == Some("0"))
}

/// What holds for each statement. Not as start-up options, which poolers between us and the server
/// refuse.
fn settings(set: &str, statement: u128, lock: u128) -> String {
    let is_local = set == "SET LOCAL";
    format!(
        "{set} statement_timeout = {statement};
         {set} lock_timeout = {lock};
         {set} idle_in_transaction_session_timeout = {statement};
         SELECT set_config('synchronous_commit', 'on', {is_local})
             WHERE current_setting('synchronous_commit') = 'off';"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_decides_who_is_trusted() {
        for (parameters, mode, trust) in [
            ("", SslMode::Prefer, Trust::Anybody),
            ("?sslmode=disable", SslMode::Disable, Trust::Anybody),
            ("?sslmode=require", SslMode::Require, Trust::Anybody),
            ("?sslmode=verify-full", SslMode::Require, Trust::System),
            (
                "?sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-full",
                SslMode::Require,
                Trust::File("/etc/ca.pem".into()),
            ),
        ] {
            let url: PostgresUrl = format!("postgres://h/d{parameters}").parse().unwrap();
            assert_eq!(url.config.get_ssl_mode(), mode, "{parameters}");
            assert_eq!(url.trust, trust, "{parameters}");
        }
    }

    #[test]
    fn other_parameters_are_as_libpq_names_them() {
        let text = "postgres://ada@one,two:5433/d?target_session_attrs=read-write&sslmode=disable";
        let url: PostgresUrl = text.parse().unwrap();
        assert_eq!(url.config.get_hosts().len(), 2);
        assert_eq!(url.to_string(), "postgres://ada@one:5432,two:5433/d");
    }

    #[test]
    fn several_hosts_imply_one_that_takes_changes() {
        for (text, expected) in [
            ("postgres://one/d", TargetSessionAttrs::Any),
            ("postgres://one,two/d", TargetSessionAttrs::ReadWrite),
            (
                "postgres://one,two/d?target_session_attrs=any",
                TargetSessionAttrs::Any,
            ),
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!(url.config.get_target_session_attrs(), expected, "{text}");
        }
    }

    #[test]
    fn keepalives_take_seconds_unless_the_url_says_otherwise() {
        let url: PostgresUrl = "postgres://one/d".parse().unwrap();
        assert_eq!(url.config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(url.config.get_keepalives_retries(), Some(KEEPALIVE_RETRIES));
        let text = "postgres://one/d?keepalives_idle=60&keepalives_retries=9";
        let url: PostgresUrl = text.parse().unwrap();
        assert_eq!(url.config.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(url.config.get_keepalives_retries(), Some(9));
        let interval = url.config.get_keepalives_interval();
        assert_eq!(interval, Some(KEEPALIVE_INTERVAL));
    }
}
