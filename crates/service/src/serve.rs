//! Serving: from an open database to a listening server, and back.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arklow_api::server::{Api, Served, Settings, api_description};
use arklow_store::Options;
use dropshot::{BuildError, ConfigDropshot, HandlerTaskMode, HttpServer, ServerBuilder};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::api::Server;
use crate::app::{App, Sources};
use crate::cli::{ServeArgs, Switch};
use crate::error::CliError;
use crate::keys::Keys;
use crate::policy::Policy;
use crate::{commands, docs, log, output, wire};

/// How a server is run.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) settings: Settings,
    /// Whether there is documentation to look at.
    pub(crate) docs: Switch,
    /// How long running requests may take after a signal.
    pub(crate) shutdown_grace: Duration,
}

impl Config {
    /// On this address, and otherwise as the flags of `serve` are when nobody gives them.
    pub(crate) fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            settings: Settings {
                retry_after: wire::RETRY_AFTER,
                ..Settings::default()
            },
            docs: Switch::On,
            shutdown_grace: Duration::from_secs(10),
        }
    }

    fn from_flags(args: &ServeArgs) -> Self {
        let mut config = Self::on(args.listen);
        config.settings.deadline = args.request_deadline;
        config.settings.body_timeout = args.body_timeout;
        config.docs = args.docs;
        config.shutdown_grace = args.shutdown_grace;
        config
    }
}

/// `arklow serve`.
pub(crate) async fn run(args: ServeArgs, sources: Sources) -> Result<(), CliError> {
    let config = Config::from_flags(&args);
    let url = &args.database.database_url;
    let options = Options {
        busy_timeout: args.busy_timeout,
        connections: args.postgres.database_connections,
        connect_timeout: args.postgres.connect_timeout,
        statement_timeout: args.postgres.statement_timeout,
        ..Options::default()
    };
    let store = commands::open(url, options).await?;
    let serving = async {
        let (keyring, path) = commands::open_keys(&store, url, &args.keys, &sources).await?;
        let keys = Keys::new(keyring, path, Arc::clone(&sources.clock));
        let policy = Policy::from_flags(&args.factors, &args.limits);
        let app = App::new(store.clone(), keys, sources, policy);
        if args.limits.limits == Switch::Off {
            warn_of_no_limits();
        }
        serve(app, config, |_| Ok(())).await
    };
    commands::closing(&store, serving).await
}

fn warn_of_no_limits() {
    output::note(
        "\n\
         *** LIMITS ARE OFF (--limits off): nothing bounds how often codes are regenerated, ***\n\
         *** devices are enrolled and codes are tried from one address.  Not for users.   ***\n",
    );
    warn!("the limits are off: only the failures of each user are counted");
}

/// Serves the application until a signal, as [`until_signal`] does.
pub(crate) async fn serve(
    app: App,
    config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let store = app.store.clone();
    let app = Arc::new(app);
    let server = Server::new(Arc::clone(&app));
    until_signal(server, config, ready, app.keys.watch(&store), store.close()).await
}

/// Serves until a signal, and does what is to be done `beside` it and at its `end`.  Calls `ready` once
/// requests are accepted, with the address, which has the real port also if any was asked for.
pub(crate) async fn until_signal<A: Api>(
    api: A,
    config: Config,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
    beside: impl Future<Output = Infallible>,
    end: impl Future<Output = ()>,
) -> Result<(), CliError> {
    // Before anybody learns that there is somebody to send them to.
    let mut signals = Signals::listen()?;
    let grace = config.shutdown_grace;
    let server = start(api, config)?;
    let address = server.local_addr();
    output::note(&format!("listening on http://{address}"));
    ready(address)?;

    let signal = tokio::select! {
        signal = signals.next() => signal,
        never = beside => match never {},
        ended = server.wait_for_shutdown() => {
            let reason = ended.err().unwrap_or_else(|| "it gave no reason".to_owned());
            return Err(CliError::Ended(reason));
        }
    };
    info!("{signal}: accepting nothing more, running requests have {grace:?}");
    let stop = async {
        match tokio::time::timeout(grace, server.close()).await {
            Ok(Ok(())) => info!("all requests were answered"),
            Ok(Err(error)) => warn!(error, "the server did not end as it should"),
            Err(_) => warn!("some requests were still running and are cut off"),
        }
        end.await;
    };
    tokio::select! {
        () = stop => Ok(()),
        _ = signals.next() => Err(CliError::Interrupted),
    }
}

fn start<A: Api>(api: A, config: Config) -> Result<HttpServer<Served<A>>, CliError> {
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
    let server = ServerBuilder::new(description, served, log::dropshot())
        .config(config)
        .start();
    server.map_err(|error| match error {
        BuildError::BindError { address, error } if error.kind() == ErrorKind::AddrInUse => {
            CliError::AddressInUse(address)
        }
        BuildError::BindError { address, error } => CliError::Listen {
            address,
            cause: error,
        },
        other => CliError::Server(Box::<dyn Error + Send + Sync>::from(other)),
    })
}

/// The signals that ask a process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Which one comes next.  One that came before nobody asked is not lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
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
        let (flags, dev) = (Config::from_flags(&args), Config::on(args.listen));
        assert_eq!(format!("{flags:?}"), format!("{dev:?}"));
        let options = Options::default();
        assert_eq!(args.busy_timeout, options.busy_timeout);
        assert_eq!(args.postgres.database_connections, options.connections);
        assert_eq!(args.postgres.connect_timeout, options.connect_timeout);
        assert_eq!(args.postgres.statement_timeout, options.statement_timeout);
        let policy = Policy::from_flags(&args.factors, &args.limits);
        assert_eq!(format!("{policy:?}"), format!("{:?}", Policy::default()));
    }
}
