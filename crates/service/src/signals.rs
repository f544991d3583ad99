//! The signals that ask a process to stop, and SIGHUP.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::info;

/// What SIGHUP does.
#[derive(Debug, Clone)]
pub(crate) enum Hangup {
    /// Stops the server, as SIGTERM does: its terminal has closed.
    Stop,
    /// Is logged: there is nothing to reload.
    Ignore,
    /// Wakes those who read certificates.
    Reload(Arc<Notify>),
}

/// The process cannot receive signals.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for signals")]
pub(crate) struct SignalsError(#[from] io::Error);

/// The signals that ask a process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, SignalsError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Signals since `listen` are not lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        self.stop(&Hangup::Stop).await
    }

    /// The next one that stops a server.
    pub(crate) async fn stop(&mut self, hangup: &Hangup) -> &'static str {
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
                    Hangup::Reload(asked) => {
                        info!("SIGHUP: reading the certificates again");
                        asked.notify_waiters();
                    }
                },
            }
        }
    }
}
