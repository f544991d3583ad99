//! A bounded queue of jobs, and the threads that run them: the readers of SQLite and the workers of
//! PostgreSQL. It knows neither: `W` is what a thread works with.
//!
//! A job is a read or a write; of all jobs that may run, the oldest is first. A job runs once, or its caller
//! gives up before a thread takes it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::{Load, StoreError};

/// The most jobs of each kind that may wait. Further ones fail with `Busy` at once.
const CAPACITY: usize = 4096;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Read,
    Write,
}

/// When a new job wakes a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Always, if one sleeps: a job takes longer than waking a thread.
    Always,
    /// Only if all sleep: waking a thread takes longer than most jobs. [`JobQueue::wake`] wakes another one.
    IfAllSleep,
}

/// The queue.
pub(crate) struct JobQueue<W> {
    wake: Wake,
    /// The most threads there may be.
    most: usize,
    /// How many of them may write at once.
    most_writing: usize,
    state: Mutex<State<W>>,
    woken: Condvar,
    /// Ends when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

struct State<W> {
    reads: VecDeque<Numbered<W>>,
    writes: VecDeque<Numbered<W>>,
    /// The number of the next job.
    next: u64,
    /// How many threads write.
    writing: usize,
    threads: usize,
    /// How many threads sleep and have not been woken.
    asleep: usize,
    /// How many were woken and do not run yet.
    waking: usize,
    /// Each thread has a clone. `None` once closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

struct Numbered<W> {
    number: u64,
    job: Job<W>,
}

/// Taken out once: by a thread, or by the caller who gives up.
type Job<W> = Arc<Mutex<Option<Box<dyn FnOnce(&mut W) + Send>>>>;

/// A job that a thread took.
pub(crate) struct Taken<'a, W> {
    queue: &'a JobQueue<W>,
    lane: Lane,
    job: Job<W>,
    /// The number of the first job that was not queued by then.
    pub(crate) next: u64,
}

/// A job that waits for its result.
pub(crate) struct Queued<W, T> {
    job: Job<W>,
    result: oneshot::Receiver<Result<T, StoreError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W> std::fmt::Debug for JobQueue<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("JobQueue")
            .field("threads", &state.threads)
            .field("asleep", &state.asleep)
            .field("reads", &state.reads.len())
            .field("writes", &state.writes.len())
            .finish_non_exhaustive()
    }
}

impl<W: 'static> JobQueue<W> {
    /// A queue without threads.
    pub(crate) fn new(wake: Wake, most: usize, most_writing: usize) -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self {
            wake,
            most,
            most_writing,
            state: Mutex::new(State {
                reads: VecDeque::new(),
                writes: VecDeque::new(),
                next: 0,
                writing: 0,
                threads: 0,
                asleep: 0,
                waking: 0,
                alive: Some(alive),
            }),
            woken: Condvar::new(),
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Starts a thread, unless there are as many as may be. `work` returns when [`JobQueue::take`] does not return
    /// a job.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(&Self) + Send + 'static,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        let Some(alive) = state.alive.clone() else {
            return Ok(());
        };
        // Of callers who find at once that a thread is needed, another one may have been first.
        if state.threads >= self.most {
            return Ok(());
        }
        let queue = Arc::clone(self);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped after all that `work` owns, also by a panic.
                let _alive = alive;
                work(&queue);
            })?;
        state.threads += 1;
        Ok(())
    }

    /// Whether a job waits that another thread could run at once.
    pub(crate) fn needs_thread(&self) -> bool {
        let state = lock(&self.state);
        let writes = state.writes.len().min(self.most_writing - state.writing);
        state.asleep + state.waking < state.reads.len() + writes && state.threads < self.most
    }

    /// How much waits, and for how many threads.
    pub(crate) fn load(&self) -> Load {
        let state = lock(&self.state);
        Load {
            queued_reads: state.reads.len(),
            queued_writes: state.writes.len(),
            threads: state.threads,
            idle: state.asleep + state.waking,
            wal_bytes: None,
        }
    }

    pub(crate) fn has_threads(&self) -> bool {
        lock(&self.state).threads > 0
    }

    /// Queues a job. Once started, it is finished even if the caller no longer waits.
    pub(crate) fn put<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce(&mut W) -> T + Send + 'static,
    ) -> Result<Queued<W, T>, StoreError> {
        let (reply, result) = oneshot::channel();
        let job: Job<W> = Arc::new(Mutex::new(Some(Box::new(move |worker: &mut W| {
            if reply.is_closed() {
                return;
            }
            // Sound: a worker repairs or drops a connection that a panic left half done.
            let done = catch_unwind(AssertUnwindSafe(|| job(worker)));
            // The caller may have stopped waiting.
            drop(reply.send(done.map_err(|_| StoreError::Panicked)));
        }))));
        let mut state = lock(&self.state);
        if state.alive.is_none() {
            return Err(StoreError::Closed);
        }
        let number = state.next;
        let jobs = match lane {
            Lane::Read => &mut state.reads,
            Lane::Write => &mut state.writes,
        };
        if jobs.len() >= CAPACITY {
            return Err(StoreError::Busy);
        }
        jobs.push_back(Numbered {
            number,
            job: Arc::clone(&job),
        });
        state.next += 1;
        if self.wake == Wake::Always || state.asleep == state.threads {
            self.wake_one(state);
        }
        Ok(Queued { job, result })
    }

    /// Wakes a thread, if one sleeps.
    pub(crate) fn wake(&self) {
        self.wake_one(lock(&self.state));
    }

    fn wake_one(&self, mut state: MutexGuard<'_, State<W>>) {
        if state.asleep > 0 {
            state.asleep -= 1;
            state.waking += 1;
            drop(state);
            self.woken.notify_one();
        }
    }

    /// Waits for a job; `None` once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Taken<'_, W>> {
        let mut state = lock(&self.state);
        loop {
            if let Some((lane, job)) = state.pop(self.most_writing) {
                return Some(Taken {
                    queue: self,
                    lane,
                    job,
                    next: state.next,
                });
            }
            // Writes that are left are for the threads that write now: each takes one after its own.
            state.alive.as_ref()?;
            state.asleep += 1;
            while state.waking == 0 && state.alive.is_some() {
                let slept = self.woken.wait(state);
                state = slept.unwrap_or_else(PoisonError::into_inner);
            }
            state.waking = state.waking.saturating_sub(1);
        }
    }

    /// A queued read with a number below `next`, without waiting.
    pub(crate) fn take_read_before(&self, next: u64) -> Option<Taken<'_, W>> {
        let mut state = lock(&self.state);
        state.reads.front().filter(|job| job.number < next)?;
        let job = state.reads.pop_front()?.job;
        Some(Taken {
            queue: self,
            lane: Lane::Read,
            job,
            next,
        })
    }

    /// Rejects new jobs. Queued ones still run.
    pub(crate) fn reject_new(&self) {
        lock(&self.state).alive = None;
        self.woken.notify_all();
    }

    /// Rejects new jobs, and waits until the queued ones are done and all threads have ended.
    pub(crate) async fn close(&self) {
        self.reject_new();
        self.ended.lock().await.recv().await;
    }
}

impl<W> State<W> {
    /// The oldest job that may run, taken out.
    fn pop(&mut self, most_writing: usize) -> Option<(Lane, Job<W>)> {
        let write = self.writes.front().filter(|_| self.writing < most_writing);
        let is_write = match (self.reads.front(), write) {
            (Some(read), Some(write)) => write.number < read.number,
            (None, write) => write.is_some(),
            (Some(_), None) => false,
        };
        if is_write {
            let write = self.writes.pop_front()?;
            self.writing += 1;
            return Some((Lane::Write, write.job));
        }
        Some((Lane::Read, self.reads.pop_front()?.job))
    }
}

impl<W> Taken<'_, W> {
    /// Runs the job, unless its caller has given up.
    pub(crate) fn run(self, worker: &mut W) {
        let job = lock(&self.job).take();
        if let Some(job) = job {
            job(worker);
        }
    }
}

impl<W> Drop for Taken<'_, W> {
    fn drop(&mut self) {
        if self.lane == Lane::Write {
            lock(&self.queue.state).writing -= 1;
        }
    }
}

impl<W, T> Queued<W, T> {
    /// The result, if it comes in time.
    pub(crate) async fn within(&mut self, limit: Duration) -> Option<Result<T, StoreError>> {
        let result = tokio::time::timeout(limit, &mut self.result).await.ok()?;
        Some(result.unwrap_or(Err(StoreError::Closed)))
    }

    /// Whether a thread has taken the job.
    pub(crate) fn has_started(&self) -> bool {
        lock(&self.job).is_none()
    }

    /// The result of a job that starts in time, however long it takes; otherwise [`StoreError::Busy`].
    pub(crate) async fn started_within(mut self, limit: Duration) -> Result<T, StoreError> {
        if let Some(result) = self.within(limit).await {
            return result;
        }
        if lock(&self.job).take().is_some() {
            return Err(StoreError::Busy);
        }
        self.result.await.unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn spawn(queue: &Arc<JobQueue<()>>) {
        let work = |queue: &JobQueue<()>| {
            while let Some(job) = queue.take() {
                job.run(&mut ());
            }
        };
        queue.spawn("test", work).unwrap();
    }

    #[test]
    fn there_are_no_more_threads_than_allowed_however_many_callers_start_one() {
        let queue = Arc::new(JobQueue::<()>::new(Wake::Always, 3, 1));
        let barrier = Barrier::new(16);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    spawn(&queue);
                });
            }
        });
        assert_eq!(queue.load().threads, 3);
        queue.reject_new();
    }
}
