//! Killing what a restored backup would revive.

use arklow_domain::TotpWindow;
use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::devices::later_than_before;
use super::{Conn, audit, locks};
use crate::audit::NewRecord;
use crate::error::Fault;
use crate::schema::{devices, sessions};
use crate::{AuditEvent, AuditOrigin, Killed, instant};

pub(crate) fn kill(
    conn: &mut Conn,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Killed, Fault> {
    locks::everybody(conn)?;
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
