//! Reading: a few threads with a connection each that cannot write, and one queue before them.
//!
//! Waking a thread costs more than most questions.  So one reader answers all that queues up while
//! it is at it, and another one is woken only for a question that nobody has begun in time: behind a
//! slow one, or when one reader does not keep up.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use diesel::Connection as _;
use diesel::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use tracing::error;

use super::open::{Failure, File};
use crate::StoreError;
use crate::error::Fault;

/// How many questions may wait.  Beyond that the answer is "busy" at once.
const QUEUE: usize = 4096;
/// How long a question waits before another reader is woken for it.
const NUDGE: Duration = Duration::from_millis(2);

/// The readers.  They wait for nobody, and nobody waits for them (WAL).
#[derive(Debug)]
pub(super) struct Readers {
    desk: Arc<Desk>,
    patience: Duration,
}

/// Where questions queue up.
struct Desk {
    line: Mutex<Line>,
    woken: Condvar,
}

struct Line {
    jobs: VecDeque<Job>,
    /// How many readers are at work, or called to be.
    awake: usize,
    /// How many sleep, those that have been called and are not up yet among them.
    asleep: usize,
    /// How many have been called and are not up yet.
    called: usize,
    closed: bool,
}

struct Job {
    /// Set by whoever is first: a reader who begins, or the caller who gives up.
    taken: Arc<AtomicBool>,
    ask: Box<dyn FnOnce(&mut SqliteConnection) + Send>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line();
        f.debug_struct("Desk")
            .field("waiting", &line.jobs.len())
            .field("awake", &line.awake)
            .finish()
    }
}

impl Readers {
    /// Connects once, so that a file that cannot be read is noticed now; the others when they are
    /// needed.
    pub(super) fn start(file: &File, count: u32) -> Result<Self, Failure> {
        let count = count.max(1) as usize;
        let desk = Arc::new(Desk {
            line: Mutex::new(Line {
                jobs: VecDeque::new(),
                awake: count,
                called: 0,
                asleep: 0,
                closed: false,
            }),
            woken: Condvar::new(),
        });
        let mut first = Some(connect(file)?);
        for _ in 0..count {
            let (desk, file, conn) = (Arc::clone(&desk), file.clone(), first.take());
            thread::Builder::new()
                .name("arklow-reader".to_owned())
                .spawn(move || desk.work(&file, conn))
                .map_err(Failure::Thread)?;
        }
        Ok(Self {
            desk,
            patience: file.busy_timeout,
        })
    }

    /// Asks a question on the connection of a reader.
    pub(super) async fn ask<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        self.desk.put(Job {
            taken: Arc::clone(&taken),
            ask: Box::new(move |conn| {
                // Sound: a connection that only reads has nothing to leave half done, and Diesel
                // resets its statements.
                let asked = catch_unwind(AssertUnwindSafe(|| ask(conn)));
                let asked = asked.map_or(Err(StoreError::Panicked), |answer| {
                    answer.map_err(StoreError::from)
                });
                // Whoever left does not hear it.
                drop(reply.send(asked));
            }),
        })?;
        let closed = |_| StoreError::Closed;
        if let Ok(answer) = tokio::time::timeout(NUDGE, &mut answer).await {
            return answer.map_err(closed)?;
        }
        if !taken.load(Ordering::Relaxed) {
            self.desk.wake_another();
            let rest = self.patience.saturating_sub(NUDGE);
            if let Ok(answer) = tokio::time::timeout(rest, &mut answer).await {
                return answer.map_err(closed)?;
            }
            if !taken.swap(true, Ordering::Relaxed) {
                return Err(StoreError::Busy);
            }
        }
        answer.await.map_err(closed)?
    }

    /// Takes no more questions.  Those that were asked are answered.
    pub(super) fn close(&self) {
        self.desk.line().closed = true;
        self.desk.woken.notify_all();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

fn connect(file: &File) -> Result<SqliteConnection, Failure> {
    let mut conn = SqliteConnection::establish(file.url()).map_err(Failure::Connect)?;
    file.make_reader(&mut conn)?;
    Ok(conn)
}

impl Desk {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: Job) -> Result<(), StoreError> {
        let mut line = self.line();
        if line.closed {
            return Err(StoreError::Closed);
        }
        if line.jobs.len() >= QUEUE {
            return Err(StoreError::Busy);
        }
        line.jobs.push_back(job);
        if line.awake == 0 {
            self.call(line);
        }
        Ok(())
    }

    /// Has one more reader come, if there is one that sleeps.
    fn wake_another(&self) {
        self.call(self.line());
    }

    fn call(&self, mut line: MutexGuard<'_, Line>) {
        if line.asleep > line.called {
            line.called += 1;
            line.awake += 1;
            drop(line);
            self.woken.notify_one();
        }
    }

    /// What a reader does all day.
    fn work(&self, file: &File, mut conn: Option<SqliteConnection>) {
        let mut line = self.line();
        loop {
            let Some(job) = line.jobs.pop_front() else {
                line.awake -= 1;
                line.asleep += 1;
                while line.called == 0 && !line.closed {
                    let slept = self.woken.wait(line);
                    line = slept.unwrap_or_else(PoisonError::into_inner);
                }
                if line.closed && line.jobs.is_empty() {
                    return;
                }
                line.asleep -= 1;
                match line.called.checked_sub(1) {
                    Some(others) => line.called = others,
                    // Nobody called: the day is over, and there is something left to do.
                    None => line.awake += 1,
                }
                continue;
            };
            drop(line);
            if !job.taken.swap(true, Ordering::Relaxed) {
                if conn.is_none() {
                    conn = connect(file)
                        .inspect_err(|failure| error!(%failure, "a reader cannot connect"))
                        .ok();
                }
                // Without one the reply is dropped: closed, for this question.
                if let Some(conn) = &mut conn {
                    (job.ask)(conn);
                }
            }
            line = self.line();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    fn readers(count: u32) -> (tempfile::TempDir, Readers) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let busy_timeout = Duration::from_millis(200);
        let options = Options {
            busy_timeout,
            ..Options::default()
        };
        let (file, _writer) = open::open(&path, &options).unwrap();
        let readers = Readers::start(&file, count).unwrap();
        (directory, readers)
    }

    #[tokio::test]
    async fn question_that_no_reader_begins_in_time_is_busy() {
        let (_directory, readers) = readers(1);
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
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
    async fn question_behind_a_slow_one_gets_another_reader() {
        let (_directory, readers) = readers(2);
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
        let long = readers.ask(move |_| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
            Ok(1)
        });
        let short = async {
            inside.await.unwrap();
            for _ in 0..20 {
                assert!(readers.ask(|_| Ok(2)).await.is_ok());
            }
            go_on.send(()).unwrap();
        };
        let (long, ()) = tokio::join!(long, short);
        assert!(matches!(long, Ok(1)), "{long:?}");
    }

    #[tokio::test]
    async fn panicking_question_is_an_error_and_the_next_one_works() {
        let (_directory, readers) = readers(1);
        let answer = readers
            .ask(|_| -> Result<(), Fault> { panic!("on purpose") })
            .await;
        assert!(matches!(answer, Err(StoreError::Panicked)), "{answer:?}");
        assert!(readers.ask(|_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn closed_readers_answer_what_was_asked_and_nothing_more() {
        let (_directory, readers) = readers(1);
        let asked = readers.ask(|_| Ok(7));
        let close = async { readers.close() };
        let (answer, ()) = tokio::join!(biased; asked, close);
        assert!(matches!(answer, Ok(7)), "{answer:?}");
        let late = readers.ask(|_| Ok(())).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    }
}
