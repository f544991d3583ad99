//! After a backup was restored: what it would bring back to life.

use arklow_domain::TotpWindow;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::audit::{self, NewRecord};
use crate::devices::later_than_before;
use crate::error::Fault;
use crate::schema::{devices, sessions};
use crate::{AuditEvent, AuditOrigin, Backend, Store, StoreError, instant};

/// What [`Store::kill_what_was_restored`] has killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// How many sessions.
    pub sessions: usize,
    /// How many sets of backup codes.
    pub code_sets: usize,
    /// How many devices take no TOTP code that was shown by now.
    pub devices: usize,
}

impl Store {
    /// Ends everything of which a backup cannot know whether it was used up or ended since: all
    /// sessions, all backup codes, and the TOTP codes that were shown by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn kill_what_was_restored(
        &self,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Killed, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| kill(conn, now, &origin)).await,
        }
    }
}

fn kill(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Killed, Fault> {
    let micros = instant::store(now);
    let sessions = diesel::update(sessions::table.filter(sessions::revoked_at.is_null()))
        .set(sessions::revoked_at.eq(micros))
        .execute(conn)?;
    let sets = devices::table.filter(devices::code_macs.is_not_null());
    let code_sets = diesel::update(sets)
        .set((
            devices::code_used.eq(i32::from(arklow_domain::CodeSet::ALL_USED)),
            devices::updated_at.eq(later_than_before(micros)),
        ))
        .execute(conn)?;
    let shown = TotpWindow::default().last_step(now).get();
    let behind = devices::table.filter(devices::removed_at.is_null()).filter(
        devices::last_step
            .is_null()
            .or(devices::last_step.lt(shown)),
    );
    let devices = diesel::update(behind)
        .set(devices::last_step.eq(shown))
        .execute(conn)?;
    let record = NewRecord::of_nobody(AuditEvent::Restored, now, origin);
    audit::record(conn, &record)?;
    Ok(Killed {
        sessions,
        code_sets,
        devices,
    })
}
