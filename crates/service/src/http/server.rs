//! Serves the API: binds the address, accepts requests until a signal, and drains.

use std::error::Error;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arklow_api::server::{Api, Served, Settings, api_description, context};
use arklow_store::StoreError;
use dropshot::{BuildError, ConfigDropshot, HandlerTaskMode, ServerBuilder};
use metrics_exporter_prometheus::PrometheusHandle;
use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::app::App;
use crate::client_ip::TrustedProxies;
use crate::http::api::Server;
use crate::http::docs;
use crate::http::internal::{self, Internal};
pub(crate) use crate::http::listener::Timeouts;
use crate::http::listener::{Limits, Listener};
use crate::http::tls::Tls;
use crate::log::{self, ServedDatabase};
use crate::metrics;
use crate::notify::Notifier;
use crate::retention::Retention;
use crate::signals::{Hangup, Signals, SignalsError};

/// How many connections there may be, if the process may open enough files.
const MAX_CONNECTIONS: usize = 4096;
/// How many files are opened for other purposes: the database, keys, the log, what starts up.
const RESERVED_FILES: u64 = 64;
/// How many connections to the listener for health and metrics there may be.
const INTERNAL_CONNECTIONS: usize = 16;
/// How often the recorder moves samples into the buckets of their histograms. Otherwise they would wait in memory for the
/// next scrape.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How many files a connection to PostgreSQL needs: a socket, and the runtime of its thread.
const FILES_PER_DATABASE_CONNECTION: u64 = 4;

/// How a server is run.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) settings: Settings,
    /// Whether there is documentation to look at.
    pub(crate) docs: bool,
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
    /// Where health and metrics are served, if anywhere.
    pub(crate) internal_listen: Option<SocketAddr>,
    /// How long requests are still accepted after a signal, while readiness is false.
    pub(crate) drain_delay: Duration,
    /// Whether the server is about to stop.
    pub(crate) is_draining: Arc<AtomicBool>,
    /// How long rows are kept that have served their purpose.
    pub(crate) retention: Retention,
    /// Without it the API is served as plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) internal_tls: Option<Arc<Tls>>,
    /// What delivers the messages to users, if anything.
    pub(crate) notifier: Option<Notifier>,
    /// What is served, for the log.
    pub(crate) served: ServedDatabase,
}

/// Why a server did not start, or ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Signals(#[from] SignalsError),
    #[error("the address {address} is in use ({flag})")]
    AddressInUse {
        address: SocketAddr,
        flag: &'static str,
    },
    #[error("cannot listen on {address} ({flag})")]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        #[source]
        cause: io::Error,
    },
    #[error(
        "cannot serve {asked} connections (--max-connections): this process may open {limit} files, \
         which leaves {possible}"
    )]
    TooFewDescriptors {
        asked: usize,
        limit: u64,
        possible: usize,
    },
    #[error("cannot start the server")]
    Start(#[source] Box<dyn Error + Send + Sync>),
    #[error("the server ended unexpectedly: {0}")]
    Ended(String),
    #[error("cannot use the database any more")]
    DatabaseFailed(#[source] StoreError),
    #[error("stopped at once by a second signal; running requests were cut off")]
    Interrupted,
}

/// Serves the application until a signal, as [`until_signal`] does, or until the database failed.
pub(crate) async fn serve<E: From<ServerError>>(
    app: App,
    mut config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), E>,
) -> Result<(), E> {
    let store = app.store.clone();
    let app = Arc::new(app);
    let server = Server::new(Arc::clone(&app));
    let retention = config.retention;
    let notifier = config.notifier.take();
    let tls = [config.tls.clone(), config.internal_tls.clone()];
    let certificates = async |tls: &Option<Arc<Tls>>| match tls {
        Some(tls) => tls.watch().await,
        None => std::future::pending().await,
    };
    let notifying = async {
        match &notifier {
            Some(notifier) => notifier.watch(&store).await,
            None => std::future::pending().await,
        }
    };
    let background = async {
        tokio::select! {
            never = app.keys.watch(&store) => match never {},
            never = app.denials.watch(&store, app.clock.as_ref()) => match never {},
            never = retention.watch(&store, app.clock.as_ref()) => match never {},
            never = notifying => match never {},
            never = certificates(&tls[0]) => match never {},
            never = certificates(&tls[1]) => match never {},
            failure = store.failed() => ServerError::DatabaseFailed(failure),
        }
    };
    let attempts = async {
        if let Some(notifier) = &notifier {
            notifier.finish().await;
        }
    };
    let end = async {
        app.denials.flush(&store, app.clock.now()).await;
        store.close().await;
    };
    // Runs until the end, so that readiness is false and metrics are there while requests drain.
    let mut internal = JoinSet::new();
    if let Some(address) = config.internal_listen {
        let failed = |message: String| ServerError::Start(message.into());
        let recorder = metrics::install().map_err(failed)?;
        let listener = start_internal(address, &app, recorder.clone(), &config)?;
        let (never, stop) = watch::channel(false);
        internal.spawn(async move {
            listener.run(stop).await;
            drop(never);
        });
        internal.spawn(async move {
            let mut rounds = tokio::time::interval(UPKEEP_EVERY);
            loop {
                rounds.tick().await;
                recorder.run_upkeep();
            }
        });
    }
    until_signal(server, config, ready, background, attempts, end).await?;
    // Closing writes as well.
    store.failure().map_or(Ok(()), |failure| {
        Err(ServerError::DatabaseFailed(failure).into())
    })
}

/// Serves until a signal or until the `background` task fails. Then requests and `attempts` have the grace to end, and `end`
/// runs. Calls `ready` with
/// the bound address once requests are accepted; its port is the real one if port 0 was requested.
pub(crate) async fn until_signal<A: Api, E: From<ServerError>>(
    api: A,
    config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), E>,
    background: impl Future<Output = ServerError>,
    attempts: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
) -> Result<(), E> {
    // Before the address is known: no signal must be lost.
    let mut signals = Signals::listen().map_err(ServerError::from)?;
    let (grace, hangup) = (config.shutdown_grace, config.hangup.clone());
    let scheme = scheme(config.tls.as_ref());
    let (delay, is_draining) = (config.drain_delay, Arc::clone(&config.is_draining));
    let served = config.served.clone();
    let listener = start(api, config)?;
    let address = listener
        .local_addr()
        .map_err(|error| ServerError::Start(error.into()))?;
    let (stop, stopped) = watch::channel(false);
    let mut server = tokio::spawn(listener.run(stopped));
    log::started(&format!("{scheme}://{address}"), address, &served);
    ready(address)?;
    notify(&[NotifyState::Ready]);

    let stopped = tokio::select! {
        signal = signals.stop(&hangup) => {
            match delay.is_zero() {
                true => info!("{signal}: accepting nothing more, running requests have {grace:?}"),
                false => info!("{signal}: not ready any more; accepting nothing in {delay:?}"),
            }
            Ok(())
        }
        failure = background => {
            warn!("{failure}: accepting no more requests, running ones have {grace:?}");
            Err(failure.into())
        }
        ended = &mut server => {
            let reason = ended.err().map_or_else(|| "it gave no reason".to_owned(), |e| e.to_string());
            return Err(ServerError::Ended(reason).into());
        }
    };
    is_draining.store(true, Ordering::Relaxed);
    notify(&[NotifyState::Stopping]);
    let drain = async {
        if stopped.is_ok() {
            tokio::time::sleep(delay).await;
        }
        stop.send_replace(true);
        let requests = tokio::time::timeout(grace, &mut server);
        let (requests, attempts) = tokio::join!(requests, tokio::time::timeout(grace, attempts));
        if attempts.is_err() {
            warn!("some messages were still being delivered and will be attempted again");
        }
        match requests {
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
        _ = signals.stop(&hangup) => Err(ServerError::Interrupted.into()),
    }
}

/// Tells systemd, if it waits for that (`Type=notify`).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {error}");
    }
}

fn start<A: Api>(api: A, config: Config) -> Result<Listener<Served<A>>, ServerError> {
    let limits = connection_limits(&config)?;
    let (timeouts, tls) = (config.timeouts, config.tls);
    let mut description =
        api_description::<A>().map_err(|error| ServerError::Start(error.into()))?;
    if config.docs {
        docs::register(&mut description).map_err(|error| ServerError::Start(Box::new(error)))?;
    }
    let served = context(api, config.settings);
    let config = ConfigDropshot {
        bind_address: config.listen,
        // A change that has begun is carried through, whether or not its caller waits for it.
        default_handler_task_mode: HandlerTaskMode::Detached,
        ..ConfigDropshot::default()
    };
    let starter = ServerBuilder::new(description, served, log::dropshot())
        .config(config)
        .build_starter();
    let starter = starter.map_err(|error| not_bound(error, "--listen"))?;
    Ok(Listener::new(starter, limits, timeouts).with_tls(tls))
}

fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
    match tls {
        Some(_) => "https",
        None => "http",
    }
}

fn not_bound(error: BuildError, flag: &'static str) -> ServerError {
    match error {
        BuildError::BindError { address, error } if error.kind() == ErrorKind::AddrInUse => {
            ServerError::AddressInUse { address, flag }
        }
        BuildError::BindError { address, error } => ServerError::Listen {
            address,
            flag,
            cause: error,
        },
        other => ServerError::Start(Box::<dyn Error + Send + Sync>::from(other)),
    }
}

/// Binds the listener for health and metrics.
fn start_internal(
    address: SocketAddr,
    app: &Arc<App>,
    metrics: PrometheusHandle,
    config: &Config,
) -> Result<Listener<Arc<Internal>>, ServerError> {
    let failed = |error: Box<dyn Error + Send + Sync>| ServerError::Start(error);
    let internal = Internal {
        app: Arc::clone(app),
        metrics,
        key_check: Arc::default(),
        is_draining: Arc::clone(&config.is_draining),
    };
    let description = internal::description().map_err(|error| failed(error.into()))?;
    let starter = ServerBuilder::new(description, Arc::new(internal), log::dropshot())
        .config(ConfigDropshot {
            bind_address: address,
            ..ConfigDropshot::default()
        })
        .build_starter()
        .map_err(|error| not_bound(error, "--internal-listen"))?;
    let limits = Limits {
        total: INTERNAL_CONNECTIONS,
        per_address: INTERNAL_CONNECTIONS,
        proxies: TrustedProxies::default(),
    };
    let listener = Listener::new(starter, limits, config.timeouts.clone())
        .unrecorded()
        .with_tls(config.internal_tls.clone());
    let bound = listener
        .local_addr()
        .map_err(|error| failed(error.into()))?;
    let scheme = scheme(config.internal_tls.as_ref());
    log::note(&format!("health and metrics are at {scheme}://{bound}"));
    Ok(listener)
}

/// Raises the limit of open files, and keeps the connections below it.
fn connection_limits(config: &Config) -> Result<Limits, ServerError> {
    let limit = raise_file_limit();
    let internal = config.internal_listen.map_or(0, |_| INTERNAL_CONNECTIONS);
    let reserved = RESERVED_FILES
        + internal as u64
        + FILES_PER_DATABASE_CONNECTION * u64::from(config.database_connections);
    // Under a limit that is lower than that, half of it is for connections.
    let possible = limit.saturating_sub(reserved).max(limit / 2);
    let possible = usize::try_from(possible).unwrap_or(usize::MAX);
    let total = match config.max_connections {
        Some(asked) if asked as usize > possible => {
            return Err(ServerError::TooFewDescriptors {
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
