//! Serving: from an open database to a listening server, and back.

use std::error::Error;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arklow_api::server::{Api, Served, Settings, api_description};
use arklow_store::{DatabaseUrl, Options, Store};
use dropshot::{BuildError, ConfigDropshot, HandlerTaskMode, ServerBuilder};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{App, Sources};
use crate::cli::error::CliError;
use crate::cli::{ServeArgs, Switch};
use crate::cli::{open, output};
use crate::client_ip::TrustedProxies;
use crate::http::api::Server;
use crate::http::listener::{Limits, Listener, Timeouts};
use crate::http::{docs, wire};
use crate::keys::Keys;
use crate::log;
use crate::policy::Policy;

/// How many connections there may be, if the process may open enough files.
const MAX_CONNECTIONS: usize = 4096;
/// How many files are opened for other purposes: the database, keys, the log, what starts up.
const RESERVED_FILES: u64 = 64;
/// How many files a connection to PostgreSQL needs: a socket, and the runtime of its thread.
const FILES_PER_DATABASE_CONNECTION: u64 = 4;

/// How a server is run.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) settings: Settings,
    /// Whether there is documentation to look at.
    pub(crate) docs: Switch,
    /// How long running requests may take after a signal.
    pub(crate) shutdown_grace: Duration,
    pub(crate) hangup: Hangup,
    /// How many connections there may be; by default as many as the limit of open files allows.
    pub(crate) max_connections: Option<u32>,
    /// How many of them from one address; by default half of them.
    pub(crate) max_connections_per_address: Option<u32>,
    /// Whose connections are those of many users.
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) timeouts: Timeouts,
    /// How many connections to a database the process has, at most.
    pub(crate) database_connections: u32,
    /// What is served, for the log.
    pub(crate) served: ServedDatabase,
}

/// What SIGHUP does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Stops the server, as SIGTERM does: its terminal has closed.
    Stop,
    /// Is logged: there is nothing to reload.
    Ignore,
}

/// The database behind a server, for the log; empty for a mock.
#[derive(Debug, Default, Clone)]
pub(crate) struct ServedDatabase {
    /// The URL, without a password.
    pub(crate) url: Option<String>,
    /// The last change that its tables have.
    pub(crate) migration: Option<String>,
}

impl ServedDatabase {
    pub(crate) fn of(url: &DatabaseUrl, store: &Store) -> Self {
        Self {
            url: Some(url.to_string()),
            migration: store.newest_migration(),
        }
    }
}

impl Config {
    /// The defaults of `serve`, on this address.
    pub(crate) fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            settings: Settings {
                retry_after: wire::RETRY_AFTER,
                ..Settings::default()
            },
            docs: Switch::On,
            shutdown_grace: Duration::from_secs(10),
            hangup: Hangup::Stop,
            max_connections: None,
            max_connections_per_address: None,
            trusted_proxies: TrustedProxies::default(),
            timeouts: Timeouts::default(),
            database_connections: Options::default().connections,
            served: ServedDatabase::default(),
        }
    }

    fn from_flags(args: &ServeArgs) -> Self {
        let mut config = Self::on(args.listen);
        config.settings.deadline = args.request_deadline;
        config.settings.body_timeout = args.body_timeout;
        config.docs = args.docs;
        config.shutdown_grace = args.shutdown_grace;
        config.hangup = Hangup::Ignore;
        config.max_connections = args.connections.max_connections;
        config.max_connections_per_address = args.connections.max_connections_per_address;
        config.trusted_proxies = TrustedProxies::new(args.limits.trusted_proxies.clone());
        config.timeouts = Timeouts {
            header: args.connections.header_timeout,
            idle: args.connections.idle_timeout,
            write: args.connections.write_timeout,
        };
        config.database_connections = args.postgres.database_connections;
        config
    }
}

/// `arklow serve`.
pub(crate) async fn run(args: ServeArgs, sources: Sources) -> Result<(), CliError> {
    let mut config = Config::from_flags(&args);
    let url = &args.database.database_url;
    let options = Options {
        busy_timeout: args.busy_timeout,
        connections: args.postgres.database_connections,
        connect_timeout: args.postgres.connect_timeout,
        statement_timeout: Some(args.postgres.statement_timeout),
        ..Options::default()
    };
    if let Ok(keys) = open::key_path(url, &args.keys) {
        open::check_tables(url, &keys).await?;
    }
    let store = open::open(url, options).await?;
    let serving = async {
        open::check_clock(&store, &sources, args.check_clock).await?;
        config.served = ServedDatabase::of(url, &store);
        let (keyring, path) = open::open_keys(&store, url, &args.keys, &sources).await?;
        let keys = Keys::new(keyring, path, Arc::clone(&sources.clock));
        let policy = Policy::from_flags(&args.factors, &args.limits);
        let app = App::new(store.clone(), keys, sources, policy);
        if args.limits.limits == Switch::Off {
            warn_of_no_limits();
        }
        serve(app, config, |_| Ok(())).await
    };
    match serving.await {
        // At its end, which has closed the store.
        Ok(()) => Ok(()),
        failed => open::closing(&store, async { failed }).await,
    }
}

fn warn_of_no_limits() {
    output::banner(&[
        "LIMITS ARE OFF (--limits off): there is no rate limit for regenerated codes,",
        "enrollments, denied changes and failed codes. Not for production.",
    ]);
    warn!("the limits are off: only the failures of each user are counted");
}

/// Serves the application until a signal, as [`until_signal`] does, or until the database failed.
pub(crate) async fn serve(
    app: App,
    config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let store = app.store.clone();
    let app = Arc::new(app);
    let server = Server::new(Arc::clone(&app));
    let beside = async {
        tokio::select! {
            never = app.keys.watch(&store) => match never {},
            never = app.denials.watch(&store, app.clock.as_ref()) => match never {},
            failure = store.failed() => CliError::DatabaseFailed(failure),
        }
    };
    let end = async {
        app.denials.flush(&store, app.clock.now()).await;
        store.close().await;
    };
    until_signal(server, config, ready, beside, end).await?;
    // Closing writes as well.
    store
        .failure()
        .map_or(Ok(()), |failure| Err(CliError::DatabaseFailed(failure)))
}

/// Serves until a signal or until the background task `beside` fails, and then runs `end`. Calls `ready` with
/// the bound address once requests are accepted; its port is the real one if port 0 was requested.
pub(crate) async fn until_signal<A: Api>(
    api: A,
    config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
    beside: impl Future<Output = CliError>,
    end: impl Future<Output = ()>,
) -> Result<(), CliError> {
    // Before the address is known: no signal must be lost.
    let mut signals = Signals::listen()?;
    let (grace, hangup) = (config.shutdown_grace, config.hangup);
    let served = config.served.clone();
    let listener = start(api, config)?;
    let address = listener
        .local_addr()
        .map_err(|error| CliError::Server(error.into()))?;
    let (stop, stopped) = watch::channel(false);
    let mut server = tokio::spawn(listener.run(stopped));
    log::started(address, &served);
    ready(address)?;

    let stopped = tokio::select! {
        signal = signals.stop(hangup) => {
            info!("{signal}: accepting nothing more, running requests have {grace:?}");
            Ok(())
        }
        failure = beside => {
            warn!("{failure}: accepting no more requests, running ones have {grace:?}");
            Err(failure)
        }
        ended = &mut server => {
            let reason = ended.err().map_or_else(|| "it gave no reason".to_owned(), |e| e.to_string());
            return Err(CliError::Ended(reason));
        }
    };
    let drain = async {
        stop.send_replace(true);
        match tokio::time::timeout(grace, &mut server).await {
            Ok(Ok(())) => info!("all requests were answered"),
            Ok(Err(error)) => warn!(%error, "the server task failed"),
            Err(_) => {
                warn!("some requests were still running and are cut off");
                server.abort();
            }
        }
        end.await;
    };
    tokio::select! {
        () = drain => stopped,
        _ = signals.stop(hangup) => Err(CliError::Interrupted),
    }
}

fn start<A: Api>(api: A, config: Config) -> Result<Listener<Served<A>>, CliError> {
    let limits = connection_limits(&config)?;
    let timeouts = config.timeouts;
    let mut description = api_description::<A>().map_err(CliError::Server)?;
    if config.docs == Switch::On {
        docs::register(&mut description).map_err(|error| CliError::Server(Box::new(error)))?;
    }
    let served = Served::new(api, config.settings);
    let config = ConfigDropshot {
        bind_address: config.listen,
        // A change that has begun is carried through, whether or not its caller waits for it.
        default_handler_task_mode: HandlerTaskMode::Detached,
        ..ConfigDropshot::default()
    };
    let starter = ServerBuilder::new(description, served, log::dropshot())
        .config(config)
        .build_starter();
    let starter = starter.map_err(|error| match error {
        BuildError::BindError { address, error } if error.kind() == ErrorKind::AddrInUse => {
            CliError::AddressInUse(address)
        }
        BuildError::BindError { address, error } => CliError::Listen {
            address,
            cause: error,
        },
        other => CliError::Server(Box::<dyn Error + Send + Sync>::from(other)),
    })?;
    Ok(Listener::new(starter, limits, timeouts))
}

/// Raises the limit of open files, and keeps the connections below it.
fn connection_limits(config: &Config) -> Result<Limits, CliError> {
    let limit = raise_file_limit();
    let reserved =
        RESERVED_FILES + FILES_PER_DATABASE_CONNECTION * u64::from(config.database_connections);
    // Under a limit that is lower than that, half of it is for connections.
    let possible = limit.saturating_sub(reserved).max(limit / 2);
    let possible = usize::try_from(possible).unwrap_or(usize::MAX);
    let total = match config.max_connections {
        Some(asked) if asked as usize > possible => {
            return Err(CliError::TooFewDescriptors {
                asked: asked as usize,
                limit,
                possible,
            });
        }
        Some(asked) => asked as usize,
        None => MAX_CONNECTIONS.min(possible),
    };
    let per_address = config.max_connections_per_address;
    let limits = Limits {
        total,
        per_address: per_address.map_or(total.div_ceil(2), |count| count as usize),
        proxies: config.trusted_proxies.clone(),
    };
    info!(
        open_files = limit,
        connections = limits.total,
        connections_per_address = limits.per_address,
        "connections are limited"
    );
    Ok(limits)
}

/// Raises the soft limit of open files to the hard one: 1,024 is what a shell or systemd gives, and
/// is for programs that use `select`. Returns the limit that holds.
fn raise_file_limit() -> u64 {
    let former = getrlimit(Resource::Nofile);
    let mut raised = former;
    raised.current = former.maximum;
    let holds = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(error) => {
            warn!("cannot raise the limit of open files: {error}");
            former
        }
    };
    holds.current.unwrap_or(u64::MAX)
}

/// The signals that ask a process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Signals since `listen` are not lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        self.stop(Hangup::Stop).await
    }

    /// The next one that stops a server.
    async fn stop(&mut self, hangup: Hangup) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => match hangup {
                    Hangup::Stop => return "SIGHUP",
                    Hangup::Ignore => info!(
                        "SIGHUP: nothing to reload; keys are reloaded when their file changes, \
                         flags need a restart"
                    ),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn flags_that_nobody_gives_are_what_dev_runs_with() {
        let Command::Serve(args) = Cli::parse_from(["arklow", "serve"]).command else {
            panic!("another command")
        };
        let (flags, mut dev) = (Config::from_flags(&args), Config::on(args.listen));
        assert_eq!((flags.hangup, dev.hangup), (Hangup::Ignore, Hangup::Stop));
        dev.hangup = flags.hangup;
        assert_eq!(format!("{flags:?}"), format!("{dev:?}"));
        let options = Options::default();
        assert_eq!(args.busy_timeout, options.busy_timeout);
        assert_eq!(args.postgres.database_connections, options.connections);
        assert_eq!(args.postgres.connect_timeout, options.connect_timeout);
        let statement_timeout = Some(args.postgres.statement_timeout);
        assert_eq!(statement_timeout, options.statement_timeout);
        let policy = Policy::from_flags(&args.factors, &args.limits);
        assert_eq!(format!("{policy:?}"), format!("{:?}", Policy::default()));
    }
}
