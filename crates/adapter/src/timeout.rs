//! How long an implementation may take.

use std::future::Future;
use std::time::{Duration, Instant};

use super::Settings;
use super::error::RequestError;

/// The implementation's time, which does not run while the body arrives.
pub(super) struct Budget {
    left: Duration,
}

impl Budget {
    /// The whole time that the settings allow for a request.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            left: settings.deadline,
        }
    }

    /// Waits for `work` within the time that is left.
    ///
    /// # Errors
    /// [`RequestError`] if the time is over.
    pub(super) async fn spend<F: Future>(&mut self, work: F) -> Result<F::Output, RequestError> {
        let started = Instant::now();
        let output = tokio::time::timeout(self.left, work)
            .await
            .map_err(|_| RequestError::DeadlineExceeded);
        self.left = self.left.saturating_sub(started.elapsed());
        output
    }
}
