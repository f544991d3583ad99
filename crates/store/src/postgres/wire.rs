//! The connection of a thread: what drives it, and how long it may be silent.
//!
//! A thread waits for its own connection only, so both are found by the thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel_async::async_connection_wrapper::BlockOn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio_postgres::Connection;

/// Why a connection ended.
type Cause = Arc<dyn Error + Send + Sync>;

/// The other side did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {0:?}; the connection is given up")]
pub(super) struct Mute(Duration);

/// The lower half of a connection. Dropped, it is cut: what waits for an answer gets an error.
pub(super) struct Wire {
    task: AbortHandle,
    /// How long an answer may take.
    limit: Cell<Option<Duration>>,
    is_mute: Cell<bool>,
    ended: Arc<Mutex<Option<Cause>>>,
}

impl Wire {
    /// Drives the connection on the runtime that this is called on.
    pub(super) fn drive<S, T>(conn: Connection<S, T>, limit: Option<Duration>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ended: Arc<Mutex<Option<Cause>>> = Arc::new(Mutex::new(None));
        let reason = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            if let Err(error) = conn.await {
                let mut reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
                *reason = Some(Arc::new(error));
            }
        });
        Self {
            task: task.abort_handle(),
            limit: Cell::new(limit),
            is_mute: Cell::new(false),
            ended,
        }
    }

    fn cut(&self, limit: Duration) {
        self.is_mute.set(true);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = Some(Arc::new(Mute(limit)));
        self.task.abort();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

thread_local! {
    /// Set before the thread does anything.
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    /// That of the connection which the thread has.
    static WIRE: RefCell<Option<Wire>> = const { RefCell::new(None) };
}

/// Makes this the runtime of the thread.
pub(super) fn settle(runtime: Runtime) {
    RUNTIME.with(|own| drop(own.set(runtime)));
}

/// Makes this the wire of the thread; `None` while it has no connection yet.
pub(super) fn hold(wire: Option<Wire>) {
    drop(WIRE.replace(wire));
}

/// Ends the connection of the thread. The reason stays available until the next connection.
pub(super) fn end() {
    WIRE.with_borrow(|wire| {
        if let Some(wire) = wire {
            wire.limit.set(None);
            wire.task.abort();
        }
    });
}

/// Works with another limit on the wait for an answer.
pub(super) fn limited<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let swap = |limit| WIRE.with_borrow(|wire| wire.as_ref().map(|wire| wire.limit.replace(limit)));
    let before = swap(Some(limit)).flatten();
    let done = work();
    swap(before);
    done
}

/// Whether an answer of the thread's connection did not come in time.
pub(super) fn is_mute() -> bool {
    WIRE.with_borrow(|wire| wire.as_ref().is_some_and(|wire| wire.is_mute.get()))
}

/// Why the connection of the thread ended, if it did.
pub(super) fn ended() -> Option<Cause> {
    WIRE.with_borrow(|wire| {
        let ended = &wire.as_ref()?.ended;
        ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    })
}

/// What drives the connection of a thread: the thread.
#[derive(Debug)]
pub(crate) struct Driver;

impl BlockOn for Driver {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let limit = WIRE.with_borrow(|wire| wire.as_ref().and_then(|wire| wire.limit.get()));
        RUNTIME.with(|own| {
            let runtime = own.get().expect("only a thread of ours has a connection");
            runtime.block_on(async {
                let mut future = pin!(future);
                let Some(limit) = limit else {
                    return future.await;
                };
                if let Ok(output) = tokio::time::timeout(limit, future.as_mut()).await {
                    return output;
                }
                WIRE.with_borrow(|wire| wire.iter().for_each(|wire| wire.cut(limit)));
                // Without its wire it ends with an error.
                future.await
            })
        })
    }

    fn get_runtime() -> Self {
        Self
    }
}
