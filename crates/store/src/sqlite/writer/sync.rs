//! The thread that syncs the WAL and then sends the results of a batch.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::warn;

use super::Message;
use super::batch::Job;
use crate::StoreError;
use crate::health::SYNC_SECONDS;
use crate::sqlite::disk::{DiskFailure, DiskState};

/// The thread that syncs the WAL and then sends the results.
pub(super) struct WalSyncer {
    /// `None` at the end.
    committed: Option<SyncSender<Vec<Box<dyn Job>>>>,
    thread: Option<JoinHandle<()>>,
}

impl WalSyncer {
    pub(super) fn start(
        mut sync: impl FnMut() -> Result<(), DiskFailure> + Send + 'static,
        disk: DiskState,
        writer: SyncSender<Message>,
        syncing: Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        // While the disk hangs, two batches wait for it; all other jobs wait in the queue, which is bounded.
        let (committed, batches) = mpsc::sync_channel::<Vec<Box<dyn Job>>>(1);
        let thread = thread::Builder::new().name("arklow-sync".to_owned());
        let thread = thread.spawn(move || {
            while let Ok(first) = batches.recv() {
                let mut done = vec![first];
                done.extend(batches.try_iter());
                let started = Instant::now();
                // A second sync could succeed although the first one lost pages.
                let failure = disk
                    .failure()
                    .or_else(|| sync().err().map(|failure| disk.fail(failure)));
                metrics::histogram!(SYNC_SECONDS).record(started.elapsed());
                // Before the results: the writer thread may wait for this. If the queue is full, it does not wait.
                syncing.fetch_sub(done.len(), Ordering::SeqCst);
                drop(writer.try_send(Message::Synced));
                let result = match failure {
                    None => Ok(()),
                    Some(failure) => Err(StoreError::Unknown(failure)),
                };
                for job in done.into_iter().flatten() {
                    job.answer(result.clone());
                }
            }
        })?;
        Ok(Self {
            committed: Some(committed),
            thread: Some(thread),
        })
    }

    /// Syncs a committed batch and then sends its results. Waits while two other batches are being
    /// synced.
    pub(super) fn sync(&self, batch: Vec<Box<dyn Job>>) {
        if let Some(committed) = &self.committed {
            // If the thread is gone, the callers get `Unknown`.
            drop(committed.send(batch));
        }
    }

    /// Waits until all results are sent.
    pub(super) fn end(&mut self) {
        drop(self.committed.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            warn!("the syncing thread panicked");
        }
    }
}
