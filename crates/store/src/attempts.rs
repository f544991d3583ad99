//! Presenting a code of a device: to step up, to confirm the device, or to remove it.
//!
//! Every code that anybody presents comes through [`Store::present_code`], which pays for it,
//! looks at it, uses it up and writes down how it went, in one transaction.  A wrong code costs
//! the same statements as a used one.

use std::sync::Arc;

use arklow_domain::{
    BackupCode, CodeSet, Device, DeviceId, Keyring, LockoutPolicy, SealedSeed, SessionId, Slot,
    TotpCode, TotpStep, TotpWindow, UserId,
};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use diesel::dsl::{case_when, count_star};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::audit::{self, NewRecord};
use crate::devices::{CodeSetRow, DeviceRow, Wiped, bits, is_pending, later_than_before};
use crate::error::Fault;
use crate::lockout::{self, Charge, Factor};
use crate::schema::{devices, sessions};
use crate::sessions::{Standing, find_standing};
use crate::{
    AuditEvent, AuditOrigin, AuditOutcome, AuditReason, Backend, Store, StoreError, instant,
};

/// A code that somebody presents.
#[derive(Debug, Clone)]
pub enum PresentedCode {
    /// Of an authenticator app.
    Totp(TotpCode),
    /// Of a set of backup codes.
    BackupCode(BackupCode),
}

/// What a code is presented for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To make the session MFA-fresh.
    StepUp,
    /// To make a pending device a factor, and the session MFA-fresh.  With a TOTP code.
    Confirm,
    /// To remove the device.
    Remove,
}

/// The rules that attempts are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRules {
    /// Which steps a TOTP code may be of.
    pub window: TotpWindow,
    /// How long a session counts as MFA-verified after a success, at most.
    pub step_up: TimeDelta,
    /// What failures lead to.
    pub lockout: LockoutPolicy,
    /// How long a pending device can be confirmed.
    pub enrollment: TimeDelta,
    /// How many confirmed devices a user may have.
    pub max_devices: u32,
}

/// Somebody presents a code.
#[derive(Debug, Clone)]
pub struct PresentCode {
    /// Who presents it.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// As a code of which device; `None` for something that cannot be one.
    pub device_id: Option<DeviceId>,
    /// The code.
    pub code: PresentedCode,
    /// What for.
    pub goal: Goal,
    /// By which rules.
    pub rules: AttemptRules,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The code was right and is used up; what it was presented for is done.
    Accepted(Accepted),
    /// The code was not right.  Why is not told.
    Rejected {
        /// The device as it is.
        device: Device,
    },
    /// Nobody looked at the code.
    Denied(Denied),
}

/// What a right code has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The device as it is now.
    pub device: Device,
    /// Until when the session counts as MFA-verified now; `None` if the code was for a removal.
    pub session_mfa_not_after: Option<DateTime<Utc>>,
    /// How many codes of the set are left; `None` unless one of them was presented to step up.
    pub backup_codes_remaining: Option<usize>,
    /// Whether the user has a confirmed device.
    pub two_factor_enabled: bool,
}

/// Why nobody looked at a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The session is over or not the user's.
    SessionEnded,
    /// Too many failures in a row, whatever the code.
    Locked {
        /// The end of the lock.
        until: DateTime<Utc>,
    },
    /// The factor is locked until another one succeeds or an operator unlocks it.
    FactorLocked,
    /// There is another confirmed device, and the session is not MFA-fresh.
    MfaNotFresh,
    /// No such device, another user's, or a removed one; which of them is not told.
    NoSuchDevice,
    /// The user's device, never confirmed.
    DeviceNotConfirmed,
    /// The device to be confirmed is so already.
    DeviceAlreadyConfirmed,
    /// The enrolment was not confirmed in time.
    EnrollmentExpired,
    /// The user has as many confirmed devices as are allowed.
    TooManyDevices,
}

impl Store {
    /// Looks at a code, uses it up if it is right, and does what it was presented for; writes into
    /// the audit how it went.  All of it or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; among them [`StoreError::Unreadable`] if what the code is compared with
    /// does not open: nothing is counted then, and nothing accepted.
    pub async fn present_code(
        &self,
        present: PresentCode,
        keyring: Arc<Keyring>,
    ) -> Result<Attempt, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| present_code(conn, &present, &keyring))
                    .await
            }
        }
    }
}

/// A code that was recognised, and is used up by a guarded statement.
enum Recognised {
    Step(TotpStep),
    Slot { slot: Slot, generation: i64 },
}

fn present_code(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    keyring: &Keyring,
) -> Result<Attempt, Fault> {
    let session = find_standing(conn, present.session_id, present.user_id, present.now)?;
    let Some(session) = session else {
        return Ok(Attempt::Denied(Denied::SessionEnded));
    };
    let failures = match lockout::charge(conn, present.user_id, present.now)? {
        Charge::Paid { failures } => failures,
        Charge::Locked { until } => return deny(conn, present, Denied::Locked { until }),
    };
    // After the charge, which took the user's row: nobody else changes this user's devices now.
    let found = find_device(conn, present)?;
    let row = match judge(conn, present, &session, found)? {
        Ok(row) => row,
        Err(denied) => {
            lockout::refund(conn, present.user_id)?;
            return deny(conn, present, denied);
        }
    };

    let generation = row.codes.code_generation;
    let recognised = match &present.code {
        PresentedCode::Totp(code) => recognise_step(present, &row, code, keyring)?,
        PresentedCode::BackupCode(code) => recognise_slot(present, row.codes, code, keyring)?,
    };
    let recognised = match recognised {
        Ok(recognised) => use_up(conn, present, &recognised)?.ok_or(AuditReason::UsedCode),
        Err(reason) => Err(reason),
    };
    match recognised {
        Ok((device, remaining)) => {
            let remaining = match &present.code {
                PresentedCode::Totp(_) => None,
                PresentedCode::BackupCode(_) => Some((remaining, generation)),
            };
            accept(conn, present, &session, device, failures, remaining)
        }
        Err(reason) => {
            reject(conn, present, failures, reason)?;
            let device = row.device.into_device()?;
            Ok(Attempt::Rejected { device })
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Sqlite))]
struct FactorRow {
    #[diesel(embed)]
    device: DeviceRow,
    created_at: i64,
    seed_key_id: Option<String>,
    seed: Option<Vec<u8>>,
    last_step: Option<i64>,
    totp_locked_at: Option<i64>,
    codes_locked_at: Option<i64>,
    #[diesel(embed)]
    codes: CodeSetRow,
}

fn find_device(
    conn: &mut SqliteConnection,
    present: &PresentCode,
) -> Result<Option<FactorRow>, Fault> {
    // Zero is nobody's: every id is positive.
    let id = present.device_id.map_or(0, DeviceId::get);
    let row = devices::table
        .find(id)
        .filter(devices::user_id.eq(present.user_id.get()))
        .filter(devices::removed_at.is_null())
        .select(FactorRow::as_select())
        .first(conn)
        .optional()?;
    Ok(row)
}

/// Whether the device is one that the goal can be reached with.
fn judge(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    session: &Standing,
    found: Option<FactorRow>,
) -> Result<Result<FactorRow, Denied>, Fault> {
    let Some(row) = found else {
        return Ok(Err(Denied::NoSuchDevice));
    };
    let is_locked = match &present.code {
        PresentedCode::Totp(_) => row.totp_locked_at.is_some(),
        PresentedCode::BackupCode(_) => row.codes_locked_at.is_some(),
    };
    let is_confirmed = row.device.is_confirmed();
    let denied = match present.goal {
        Goal::StepUp | Goal::Remove if !is_confirmed => Some(Denied::DeviceNotConfirmed),
        Goal::StepUp | Goal::Remove => None,
        Goal::Confirm if is_confirmed => Some(Denied::DeviceAlreadyConfirmed),
        Goal::Confirm if !is_pending(row.created_at, present.now, present.rules.enrollment) => {
            Some(Denied::EnrollmentExpired)
        }
        Goal::Confirm => {
            let confirmed = count_confirmed(conn, present.user_id)?;
            if confirmed > 0 && !session.is_fresh {
                Some(Denied::MfaNotFresh)
            } else if confirmed >= i64::from(present.rules.max_devices) {
                Some(Denied::TooManyDevices)
            } else {
                None
            }
        }
    };
    Ok(match denied {
        Some(denied) => Err(denied),
        None if is_locked => Err(Denied::FactorLocked),
        None => Ok(row),
    })
}

/// How many confirmed devices the user has.
pub(crate) fn count_confirmed(conn: &mut SqliteConnection, user: UserId) -> Result<i64, Fault> {
    let count = devices::table
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::confirmed_at.is_not_null())
        .filter(devices::removed_at.is_null())
        .select(count_star())
        .first(conn)?;
    Ok(count)
}

fn recognise_step(
    present: &PresentCode,
    row: &FactorRow,
    code: &TotpCode,
    keyring: &Keyring,
) -> Result<Result<Recognised, AuditReason>, Fault> {
    let wrong = |column| Fault::Inconsistent {
        table: "devices",
        column,
    };
    let (key_id, bytes) = match (&row.seed_key_id, &row.seed) {
        (Some(key_id), Some(bytes)) => (key_id, bytes),
        _ => return Err(wrong("seed")),
    };
    let sealed = SealedSeed {
        key_id: key_id.parse().map_err(|_| wrong("seed_key_id"))?,
        bytes: bytes.clone(),
    };
    let device = DeviceId::from_stored(row.device.id).ok_or(wrong("id"))?;
    let seed = sealed.open(keyring, present.user_id, device)?;

    let spent = row.last_step.map(TotpStep::from_stored);
    let (now, window) = (present.now, present.rules.window);
    // Both, whatever the first says: a spent code costs what a wrong one costs.
    let unspent_step = seed.matching_step(code, now, window, spent);
    let any_step = seed.matching_step(code, now, window, None);
    Ok(match (unspent_step, any_step) {
        (Some(step), _) => Ok(Recognised::Step(step)),
        (None, Some(_)) => Err(AuditReason::UsedCode),
        (None, None) => Err(AuditReason::WrongCode),
    })
}

fn recognise_slot(
    present: &PresentCode,
    codes: CodeSetRow,
    code: &BackupCode,
    keyring: &Keyring,
) -> Result<Result<Recognised, AuditReason>, Fault> {
    let Some(set): Option<CodeSet> = codes.into_code_set()? else {
        return Ok(Err(AuditReason::WrongCode));
    };
    let Some(device) = present.device_id else {
        return Ok(Err(AuditReason::WrongCode));
    };
    let slot = set.slot_of(keyring, present.user_id, device, code)?;
    Ok(match slot {
        Some(slot) if set.is_unused(slot) => Ok(Recognised::Slot {
            slot,
            generation: set.generation,
        }),
        Some(_) => Err(AuditReason::UsedCode),
        None => Err(AuditReason::WrongCode),
    })
}

/// Uses up a code, unless somebody was faster: the device as it is then, and how many backup codes
/// it has left.
fn use_up(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    recognised: &Recognised,
) -> Result<Option<(DeviceRow, usize)>, Fault> {
    let now = instant::store(present.now);
    let id = present.device_id.map_or(0, DeviceId::get);
    let device = devices::table
        .find(id)
        .filter(devices::user_id.eq(present.user_id.get()))
        .filter(devices::removed_at.is_null());
    let used = (
        devices::last_used_at.eq(now),
        devices::updated_at.eq(later_than_before(now)),
    );
    let returning = (DeviceRow::as_returning(), devices::code_used);
    let updated: Option<(DeviceRow, i32)> = match recognised {
        Recognised::Step(step) => {
            let unspent = devices::last_step
                .is_null()
                .or(devices::last_step.lt(step.get()));
            let device = device.filter(unspent);
            let spent = devices::last_step.eq(step.get());
            if present.goal == Goal::Confirm {
                diesel::update(device.filter(devices::confirmed_at.is_null()))
                    .set((spent, used, devices::confirmed_at.eq(now)))
                    .returning(returning)
                    .get_result(conn)
                    .optional()?
            } else {
                diesel::update(device.filter(devices::confirmed_at.is_not_null()))
                    .set((spent, used))
                    .returning(returning)
                    .get_result(conn)
                    .optional()?
            }
        }
        Recognised::Slot { slot, generation } => {
            let bit = i32::from(slot.bit());
            let unused = device
                .filter(devices::confirmed_at.is_not_null())
                .filter(devices::code_generation.eq(*generation))
                .filter(bits::And::new(devices::code_used, bit.into_sql::<Integer>()).eq(0));
            // Who watched the app's screen while the code was used has nothing of it.
            let burned = present.rules.window.last_step(present.now).get();
            let moved_on = case_when(
                devices::last_step
                    .is_null()
                    .or(devices::last_step.lt(burned)),
                burned.into_sql::<diesel::sql_types::Nullable<BigInt>>(),
            )
            .otherwise(devices::last_step);
            diesel::update(unused)
                .set((
                    devices::code_used
                        .eq(bits::Or::new(devices::code_used, bit.into_sql::<Integer>())),
                    devices::last_step.eq(moved_on),
                    used,
                ))
                .returning(returning)
                .get_result(conn)
                .optional()?
        }
    };
    Ok(updated.map(|(device, used)| {
        let left = CodeSet::ALL_USED.count_ones() - used.count_ones();
        (device, left as usize)
    }))
}

/// The code was right: forgets failures, does what it was presented for, writes it down.
fn accept(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    session: &Standing,
    device: DeviceRow,
    failures: i64,
    codes: Option<(usize, i64)>,
) -> Result<Attempt, Fault> {
    lockout::reset(conn, present.user_id)?;
    let record = NewRecord {
        generation: codes.map(|(_, generation)| generation),
        remaining: codes.and_then(|(remaining, _)| i64::try_from(remaining).ok()),
        ..record_of(present, AuditOutcome::Success)
    };
    audit::record(conn, &record)?;
    // This attempt was counted as a failure; without another one nothing can be locked.
    if failures > 1 && lockout::open_factors(conn, present.user_id)? > 0 {
        audit::record(
            conn,
            &NewRecord {
                event: AuditEvent::Unlocked,
                ..record
            },
        )?;
    }
    let accepted = match present.goal {
        Goal::StepUp | Goal::Confirm => {
            let not_after = step_up(conn, present, session)?;
            Accepted {
                device: device.into_device()?,
                session_mfa_not_after: Some(not_after),
                backup_codes_remaining: codes.map(|(remaining, _)| remaining),
                two_factor_enabled: true,
            }
        }
        Goal::Remove => {
            let (device, two_factor_enabled) =
                remove(conn, present.user_id, device.id, present.now)?;
            Accepted {
                device,
                session_mfa_not_after: None,
                backup_codes_remaining: None,
                two_factor_enabled,
            }
        }
    };
    Ok(Attempt::Accepted(accepted))
}

/// Makes the session of the attempt, and no other, MFA-fresh.
fn step_up(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    session: &Standing,
) -> Result<DateTime<Utc>, Fault> {
    // Whole seconds, as RFC 3339 is mostly read and written.
    let not_after = (present.now + present.rules.step_up)
        .trunc_subsecs(0)
        .min(session.expires_at);
    diesel::update(sessions::table.find(present.session_id.get()))
        .set(sessions::mfa_not_after.eq(instant::store(not_after)))
        .execute(conn)?;
    Ok(not_after)
}

/// Removes a device with its seed and codes; without another confirmed one, the step-up of all the
/// user's sessions ends.  The device as it was last, and whether the user has a confirmed one.
pub(crate) fn remove(
    conn: &mut SqliteConnection,
    user: UserId,
    device: i64,
    now: DateTime<Utc>,
) -> Result<(Device, bool), Fault> {
    let unremoved = devices::table
        .find(device)
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::removed_at.is_null());
    let row: DeviceRow = diesel::update(unremoved)
        .set((
            Wiped::at(instant::store(now)),
            devices::updated_at.eq(later_than_before(instant::store(now))),
        ))
        .returning(DeviceRow::as_returning())
        .get_result(conn)?;
    let two_factor_enabled = count_confirmed(conn, user)? > 0;
    if !two_factor_enabled {
        diesel::update(sessions::table.filter(sessions::user_id.eq(user.get())))
            .set(sessions::mfa_not_after.eq(None::<i64>))
            .execute(conn)?;
    }
    Ok((row.into_device()?, two_factor_enabled))
}

/// The code was not right: writes it down, and locks what there is to lock.
fn reject(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    failures: i64,
    reason: AuditReason,
) -> Result<(), Fault> {
    let record = record_of(present, AuditOutcome::Failure(reason));
    audit::record(conn, &record)?;
    let factor = match &present.code {
        PresentedCode::Totp(_) => Factor::Totp,
        PresentedCode::BackupCode(_) => Factor::BackupCodes,
    };
    let consequence = present.rules.lockout.after_failure(failures, present.now);
    lockout::punish(conn, consequence, factor, &record)
}

fn deny(
    conn: &mut SqliteConnection,
    present: &PresentCode,
    denied: Denied,
) -> Result<Attempt, Fault> {
    let reason = match denied {
        // Nobody's attempt: the caller is not known any more.
        Denied::SessionEnded => return Ok(Attempt::Denied(denied)),
        Denied::Locked { .. } => AuditReason::Locked,
        Denied::FactorLocked => AuditReason::FactorLocked,
        Denied::MfaNotFresh => AuditReason::MfaNotFresh,
        Denied::NoSuchDevice => AuditReason::NoSuchDevice,
        Denied::DeviceNotConfirmed => AuditReason::DeviceNotConfirmed,
        Denied::DeviceAlreadyConfirmed => AuditReason::DeviceAlreadyConfirmed,
        Denied::EnrollmentExpired => AuditReason::EnrollmentExpired,
        Denied::TooManyDevices => AuditReason::TooManyDevices,
    };
    audit::record(conn, &record_of(present, AuditOutcome::Denied(reason)))?;
    Ok(Attempt::Denied(denied))
}

fn record_of(present: &PresentCode, outcome: AuditOutcome) -> NewRecord<'_> {
    let event = match (present.goal, &present.code) {
        (Goal::StepUp, PresentedCode::Totp(_)) => AuditEvent::TotpVerified,
        (Goal::StepUp, PresentedCode::BackupCode(_)) => AuditEvent::BackupCodeVerified,
        (Goal::Confirm, _) => AuditEvent::EnrollmentConfirmed,
        (Goal::Remove, _) => AuditEvent::DeviceRemoved,
    };
    NewRecord {
        outcome,
        session_id: Some(present.session_id),
        device_id: present.device_id,
        ..NewRecord::of(present.user_id, event, present.now, &present.origin)
    }
}
