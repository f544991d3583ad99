//! Verifying a code: the statements behind [`Store::verify_code`](crate::Store::verify_code).

use arklow_domain::{
    BackupCode, CodeSet, Consequence, Denial, DeviceId, Keyring, SealedSeed, Slot, TotpCode,
    TotpStep, TotpWindow, UserId,
};
use chrono::{DateTime, SubsecRound as _, Utc};
use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};

use super::audit;
use super::devices::{bits, count_confirmed, erase, is_pending, later_than_before};
use super::lockout::{self, Charge, Factor};
use super::rows::{CodeSetRow, DeviceRow};
use super::sessions::{LiveSession, find_live_session};
use super::{Conn, Db};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{devices, sessions};
use crate::{
    Accepted, Attempt, AuditEvent, AuditOrigin, AuditOutcome, AuditReason, DeniedAttempts, Goal,
    PresentedCode, ResetStep, VerifyCode, instant,
};

/// A matching code, which a guarded statement uses up.
enum MatchedCode {
    Step(TotpStep),
    Slot { slot: Slot, generation: i64 },
}

pub(crate) fn verify_code(
    conn: &mut Conn,
    verify: &VerifyCode,
    keyring: &Keyring,
) -> Result<Result<Attempt, Denial>, QueryError> {
    let session = find_live_session(conn, verify.session_id, verify.user_id, verify.now)?;
    let Some(session) = session else {
        return Ok(Err(Denial::SessionEnded));
    };
    let longest = verify.rules.lockout.longest_lock;
    let failures = match lockout::charge(conn, verify.user_id, longest, verify.now)? {
        Charge::Paid { failures } => failures,
        Charge::Locked { until } => return deny(conn, verify, Denial::UserLocked { until }),
    };
    // After the charge, which locked the user's row: no other transaction changes this user's devices now.
    let found = find_device(conn, verify)?;
    let row = match judge(conn, verify, &session, found)? {
        Ok(row) => row,
        Err(denied) => {
            lockout::refund(conn, verify.user_id)?;
            return deny(conn, verify, denied);
        }
    };

    let generation = row.codes.code_generation;
    let matched = match &verify.code {
        PresentedCode::Totp(code) => match_step(verify, &row, code, keyring)?,
        PresentedCode::BackupCode(code) => match_slot(verify, row.codes, code, keyring)?,
    };
    let matched = match matched {
        Ok(matched) => use_up(conn, verify, &matched)?.ok_or(AuditReason::UsedCode),
        Err(reason) => Err(reason),
    };
    match matched {
        Ok((device, remaining)) => {
            let remaining = match &verify.code {
                PresentedCode::Totp(_) => None,
                PresentedCode::BackupCode(_) => Some((remaining, generation)),
            };
            accept(conn, verify, &session, device, failures, remaining).map(Ok)
        }
        Err(reason) => {
            let began = reject(conn, verify, failures, reason)?;
            let device = row.device.into_device()?;
            Ok(Ok(Attempt::Rejected { device, began }))
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Db))]
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

fn find_device(conn: &mut Conn, verify: &VerifyCode) -> Result<Option<FactorRow>, QueryError> {
    // Ids are positive, so zero matches no device.
    let id = verify.device_id.map_or(0, DeviceId::get);
    let device = devices::table
        .find(id)
        .filter(devices::user_id.eq(verify.user_id.get()))
        .filter(devices::removed_at.is_null())
        .select(FactorRow::as_select());
    Ok(prepared!(device).get_result(conn).optional()?)
}

/// Checks the rules for the device and the goal.
fn judge(
    conn: &mut Conn,
    verify: &VerifyCode,
    session: &LiveSession,
    found: Option<FactorRow>,
) -> Result<Result<FactorRow, Denial>, QueryError> {
    let Some(row) = found else {
        return Ok(Err(Denial::DeviceNotFound));
    };
    let is_locked = match &verify.code {
        PresentedCode::Totp(_) => row.totp_locked_at.is_some(),
        PresentedCode::BackupCode(_) => row.codes_locked_at.is_some(),
    };
    let is_confirmed = row.device.is_confirmed();
    let denied = match verify.goal {
        Goal::StepUp | Goal::Remove if !is_confirmed => Some(Denial::DeviceNotConfirmed),
        Goal::StepUp | Goal::Remove => None,
        Goal::Confirm if is_confirmed => Some(Denial::DeviceAlreadyConfirmed),
        Goal::Confirm if !is_pending(row.created_at, verify.now, verify.rules.enrollment) => {
            Some(Denial::EnrollmentExpired)
        }
        Goal::Confirm => {
            let confirmed = count_confirmed(conn, verify.user_id)?;
            if confirmed > 0 && session.mfa_not_after.is_none() {
                Some(Denial::MfaRequired)
            } else if confirmed >= i64::from(verify.rules.max_devices) {
                Some(Denial::TooManyDevices)
            } else {
                None
            }
        }
    };
    Ok(match denied {
        Some(denied) => Err(denied),
        None if is_locked => Err(Denial::FactorLocked),
        None => Ok(row),
    })
}

fn match_step(
    verify: &VerifyCode,
    row: &FactorRow,
    code: &TotpCode,
    keyring: &Keyring,
) -> Result<Result<MatchedCode, AuditReason>, QueryError> {
    let wrong = |column| QueryError::Inconsistent {
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
    let seed = sealed.open(keyring, verify.user_id, device)?;

    let spent = row.last_step.map(TotpStep::from_stored);
    let (now, window) = (verify.now, verify.rules.window);
    // Always both: a used code takes the same time as a wrong one.
    let unspent_step = seed.matching_step(code, now, window, spent);
    let any_step = seed.matching_step(code, now, window, None);
    Ok(match (unspent_step, any_step) {
        (Some(step), _) => Ok(MatchedCode::Step(step)),
        (None, Some(_)) => Err(AuditReason::UsedCode),
        (None, None) => Err(AuditReason::WrongCode),
    })
}

fn match_slot(
    verify: &VerifyCode,
    codes: CodeSetRow,
    code: &BackupCode,
    keyring: &Keyring,
) -> Result<Result<MatchedCode, AuditReason>, QueryError> {
    let Some(set): Option<CodeSet> = codes.into_code_set()? else {
        return Ok(Err(AuditReason::WrongCode));
    };
    let Some(device) = verify.device_id else {
        return Ok(Err(AuditReason::WrongCode));
    };
    let slot = set.slot_of(keyring, verify.user_id, device, code)?;
    Ok(match slot {
        Some(slot) if set.is_unused(slot) => Ok(MatchedCode::Slot {
            slot,
            generation: set.generation,
        }),
        Some(_) => Err(AuditReason::UsedCode),
        None => Err(AuditReason::WrongCode),
    })
}

/// Uses up a code, unless another request was faster. Returns the device and how many backup codes
/// it has left.
fn use_up(
    conn: &mut Conn,
    verify: &VerifyCode,
    matched: &MatchedCode,
) -> Result<Option<(DeviceRow, usize)>, QueryError> {
    let now = instant::store(verify.now);
    let id = verify.device_id.map_or(0, DeviceId::get);
    let device = devices::table
        .find(id)
        .filter(devices::user_id.eq(verify.user_id.get()))
        .filter(devices::removed_at.is_null());
    let used = (
        devices::last_used_at.eq(now),
        devices::updated_at.eq(later_than_before(now)),
    );
    let returning = (DeviceRow::as_returning(), devices::code_used);
    let updated: Option<(DeviceRow, i32)> = match matched {
        MatchedCode::Step(step) => {
            let unspent = devices::last_step
                .is_null()
                .or(devices::last_step.lt(step.get()));
            let device = device.filter(unspent);
            let spent = devices::last_step.eq(step.get());
            if verify.goal == Goal::Confirm {
                let update = diesel::update(device.filter(devices::confirmed_at.is_null()))
                    .set((spent, used, devices::confirmed_at.eq(now)))
                    .returning(returning);
                prepared!(update).get_result(conn).optional()?
            } else {
                let update = diesel::update(device.filter(devices::confirmed_at.is_not_null()))
                    .set((spent, used))
                    .returning(returning);
                prepared!(update).get_result(conn).optional()?
            }
        }
        MatchedCode::Slot { slot, generation } => {
            let bit = i32::from(slot.bit());
            let unused = device
                .filter(devices::confirmed_at.is_not_null())
                .filter(devices::code_generation.eq(*generation))
                .filter(bits::And::new(devices::code_used, bit.into_sql::<Integer>()).eq(0));
            // TOTP codes that were visible on the app's screen so far must not work later.
            let burned = verify.rules.window.last_step(verify.now).get();
            let moved_on = case_when(
                devices::last_step
                    .is_null()
                    .or(devices::last_step.lt(burned)),
                burned.into_sql::<diesel::sql_types::Nullable<BigInt>>(),
            )
            .otherwise(devices::last_step);
            let update = diesel::update(unused)
                .set((
                    devices::code_used
                        .eq(bits::Or::new(devices::code_used, bit.into_sql::<Integer>())),
                    devices::last_step.eq(moved_on),
                    used,
                ))
                .returning(returning);
            prepared!(update).get_result(conn).optional()?
        }
    };
    Ok(updated.map(|(device, used)| {
        let left = CodeSet::ALL_USED.count_ones() - used.count_ones();
        (device, left as usize)
    }))
}

/// The code was right: resets the failures, reaches the goal and records it.
fn accept(
    conn: &mut Conn,
    verify: &VerifyCode,
    session: &LiveSession,
    device: DeviceRow,
    failures: i64,
    codes: Option<(usize, i64)>,
) -> Result<Attempt, QueryError> {
    lockout::reset(conn, verify.user_id)?;
    let record = NewRecord {
        generation: codes.map(|(_, generation)| generation),
        remaining: codes.and_then(|(remaining, _)| i64::try_from(remaining).ok()),
        ..record_of(verify, AuditOutcome::Success)
    };
    audit::record(conn, &record)?;
    // This attempt was counted as a failure; without another one nothing can be locked.
    if failures > 1 && lockout::open_factors(conn, verify.user_id)? > 0 {
        audit::record(
            conn,
            &NewRecord {
                event: AuditEvent::Unlocked,
                ..record
            },
        )?;
    }
    let accepted = match verify.goal {
        Goal::StepUp | Goal::Confirm => {
            let not_after = step_up(conn, verify, session)?;
            Accepted {
                device: device.into_device()?,
                session_mfa_not_after: Some(not_after),
                backup_codes_remaining: codes.map(|(remaining, _)| remaining),
                two_factor_enabled: true,
            }
        }
        Goal::Remove => {
            let removed = erase(conn, verify.user_id, device.id, verify.now)?;
            // A moment ago, in the same transaction, it was there.
            let (device, two_factor_enabled) = removed.ok_or(QueryError::Inconsistent {
                table: "devices",
                column: "removed_at",
            })?;
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

/// Makes the session of the attempt, and no other, MFA-fresh. A longer step-up that it has stays.
fn step_up(
    conn: &mut Conn,
    verify: &VerifyCode,
    session: &LiveSession,
) -> Result<DateTime<Utc>, QueryError> {
    // Whole seconds, as RFC 3339 is mostly read and written.
    let not_after = (verify.now + verify.rules.step_up)
        .trunc_subsecs(0)
        .max(session.mfa_not_after.unwrap_or(DateTime::<Utc>::MIN_UTC))
        .min(session.expires_at);
    let update = diesel::update(sessions::table.find(verify.session_id.get()))
        .set(sessions::mfa_not_after.eq(instant::store(not_after)));
    prepared!(update).run(conn)?;
    Ok(not_after)
}

/// The code was wrong: records it, and locks the user or the factor if a limit is reached.
fn reject(
    conn: &mut Conn,
    verify: &VerifyCode,
    failures: i64,
    reason: AuditReason,
) -> Result<Consequence, QueryError> {
    let record = record_of(verify, AuditOutcome::Failure(reason));
    audit::record(conn, &record)?;
    let factor = match &verify.code {
        PresentedCode::Totp(_) => Factor::Totp,
        PresentedCode::BackupCode(_) => Factor::BackupCodes,
    };
    let consequence = verify.rules.lockout.after_failure(failures, verify.now);
    lockout::record_failure(conn, consequence, factor, &record)?;
    Ok(consequence)
}

fn deny<T>(
    conn: &mut Conn,
    verify: &VerifyCode,
    denial: Denial,
) -> Result<Result<T, Denial>, QueryError> {
    audit::deny(conn, record_of(verify, AuditOutcome::Success), denial)
}

fn record_of(verify: &VerifyCode, outcome: AuditOutcome) -> NewRecord<'_> {
    NewRecord {
        outcome,
        session_id: Some(verify.session_id),
        device_id: verify.device_id,
        ..NewRecord::of(verify.user_id, verify.event(), verify.now, &verify.origin)
    }
}

/// Records counted denials, one record per kind.
pub(crate) fn record_denied(conn: &mut Conn, denied: &[DeniedAttempts]) -> Result<(), QueryError> {
    for denied in denied {
        let record = NewRecord {
            outcome: AuditOutcome::Denied(AuditReason::RateLimited),
            session_id: denied.session_id,
            attempts: denied.attempts,
            ..NewRecord::of(denied.user_id, denied.event, denied.at, &denied.origin)
        };
        audit::record(conn, &record)?;
    }
    Ok(())
}

pub(crate) fn reset_step(
    conn: &mut Conn,
    device: DeviceId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<ResetStep, QueryError> {
    if set_step_back(conn, device.get(), now, origin)? {
        return Ok(ResetStep::Reset);
    }
    let removed: Option<bool> = devices::table
        .find(device.get())
        .select(devices::removed_at.is_not_null())
        .first(conn)
        .optional()?;
    Ok(match removed {
        Some(false) => ResetStep::NotAhead,
        Some(true) | None => ResetStep::NoSuchDevice,
    })
}

/// Sets the steps of up to `limit` devices back, and returns how many were ahead.
pub(crate) fn reset_steps(
    conn: &mut Conn,
    limit: u32,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<usize, QueryError> {
    let ahead: Vec<i64> = devices::table
        .filter(devices::removed_at.is_null())
        .filter(devices::last_step.gt(shown(now)))
        .order(devices::id)
        .limit(i64::from(limit))
        .select(devices::id)
        .load(conn)?;
    let mut reset = 0;
    for device in ahead {
        reset += usize::from(set_step_back(conn, device, now, origin)?);
    }
    Ok(reset)
}

/// The last step of which a code may have been shown by `now`.
fn shown(now: DateTime<Utc>) -> i64 {
    TotpWindow::default().last_step(now).get()
}

/// Sets the last step of a device back to what may have been shown by `now`, if it is ahead of that.
fn set_step_back(
    conn: &mut Conn,
    device: i64,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<bool, QueryError> {
    let ahead = devices::table
        .find(device)
        .filter(devices::removed_at.is_null())
        .filter(devices::last_step.gt(shown(now)));
    let owner: Option<i64> = diesel::update(ahead)
        .set(devices::last_step.eq(shown(now)))
        .returning(devices::user_id)
        .get_result(conn)
        .optional()?;
    let Some(owner) = owner else {
        return Ok(false);
    };
    let wrong = |column| QueryError::Inconsistent {
        table: "devices",
        column,
    };
    let owner = UserId::from_stored(owner).ok_or(wrong("user_id"))?;
    let record = NewRecord {
        device_id: Some(DeviceId::from_stored(device).ok_or(wrong("id"))?),
        ..NewRecord::of(owner, AuditEvent::StepReset, now, origin)
    };
    audit::record(conn, &record)?;
    Ok(true)
}
