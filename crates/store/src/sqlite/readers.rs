//! Reading: a pool of connections that cannot write, used on threads that may block.

use std::sync::{PoisonError, RwLock};

use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError, Pool};
use diesel::sqlite::SqliteConnection;

use super::open::{Failure, File};
use crate::StoreError;
use crate::error::Fault;

type ReaderPool = Pool<ConnectionManager<SqliteConnection>>;

/// The connections that read.  Readers wait for nobody, and nobody waits for them (WAL).
#[derive(Debug)]
pub(super) struct Readers {
    /// `None` once closed.
    pool: RwLock<Option<ReaderPool>>,
}

impl Readers {
    /// Connects once, so that a file that cannot be read is noticed now; up to `max` on demand.
    pub(super) fn start(file: &File, max: u32) -> Result<Self, Failure> {
        let pool = Pool::builder()
            .max_size(max.max(1))
            .min_idle(Some(1))
            .connection_timeout(file.busy_timeout)
            // A local file does not go away: connections are neither tested nor replaced.
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connection_customizer(Box::new(Customizer(file.clone())))
            .build(ConnectionManager::new(file.url()))
            .map_err(Failure::Pool)?;
        Ok(Self {
            pool: RwLock::new(Some(pool)),
        })
    }

    /// Asks a question on a connection of the pool.
    pub(super) async fn ask<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
        T: Send + 'static,
    {
        let pool = self
            .pool
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let pool = pool.ok_or(StoreError::Closed)?;
        let answer = tokio::task::spawn_blocking(move || {
            let mut conn = pool.get().map_err(|_| StoreError::Busy)?;
            ask(&mut conn).map_err(StoreError::from)
        });
        match answer.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => Err(StoreError::Panicked),
            // The runtime is shutting down.
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Takes no more questions.  Those being answered keep their connection until they are done.
    pub(super) fn close(&self) {
        self.pool
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

#[derive(Debug)]
struct Customizer(File);

impl CustomizeConnection<SqliteConnection, PoolError> for Customizer {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), PoolError> {
        self.0.make_reader(conn).map_err(PoolError::QueryError)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    fn one_reader() -> (tempfile::TempDir, Readers) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let busy_timeout = Duration::from_millis(200);
        let options = Options {
            busy_timeout,
            ..Options::default()
        };
        let (file, _writer) = open::open(&path, &options).unwrap();
        let readers = Readers::start(&file, 1).unwrap();
        (directory, readers)
    }

    #[tokio::test]
    async fn question_that_gets_no_connection_in_time_is_busy() {
        let (_directory, readers) = one_reader();
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = tokio::sync::oneshot::channel();
        let long = readers.ask(move |_| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        });
        let short = async {
            inside.await.unwrap();
            let answer = readers.ask(|_| Ok(())).await;
            go_on.send(()).unwrap();
            answer
        };
        let (long, short) = tokio::join!(long, short);
        assert!(matches!(short, Err(StoreError::Busy)), "{short:?}");
        assert!(long.is_ok(), "{long:?}");
        assert!(readers.ask(|_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn panicking_question_is_an_error_and_the_next_one_works() {
        let (_directory, readers) = one_reader();
        let answer = readers
            .ask(|_| -> Result<(), Fault> { panic!("on purpose") })
            .await;
        assert!(matches!(answer, Err(StoreError::Panicked)), "{answer:?}");
        assert!(readers.ask(|_| Ok(())).await.is_ok());
    }
}
