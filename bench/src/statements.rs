//! What the store says to the database: recorded while it answers one question, and said again as often as one likes
//! with other users.
//!
//! This module contains no statement, so it cannot become outdated. Ids of a recording are random numbers of 63 bits:
//! where one of them stands, a replay puts that of another user.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arklow_domain::{
    BackupCodes, DeviceId, Keyring, LockoutPolicy, RootKey, Seed, SessionId, SessionToken,
    SystemRandom, TotpStep, TotpWindow, UserId,
};
use arklow_store::{
    Attempt, AttemptRules, AuditOrigin, DatabaseUrl, Goal, NewDevice, NewSession, NewUser, Options,
    PresentedCode, ReplaceBackupCodes, Store, VerifyCode,
};
use chrono::TimeDelta;
use diesel::connection::InstrumentationEvent;
use rusqlite::Connection;

use crate::seed::Person;

/// The operation to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Regenerate,
    VerifyTotp,
    Redeem,
}

/// What stands in a place of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bind {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
    User,
    Session,
    Device,
    TokenHash,
    /// The TOTP step of the code.
    Step,
    /// The bit of the backup code.
    Bit,
    /// The number that the audit gave the record before.
    Record,
}

/// A statement and what stands in its places.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) sql: String,
    pub(crate) binds: Vec<Bind>,
}

/// All that is said for one question.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    /// Finding the session behind a token.
    pub(crate) authentication: Vec<Said>,
    /// The question itself, without the statements around it that begin and end it.
    pub(crate) statements: Vec<Said>,
}

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn heard() -> Vec<String> {
    std::mem::take(&mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Records what the store says; the database must be a fresh one.
pub(crate) async fn record(
    url: &DatabaseUrl,
    questions: &[Question],
) -> anyhow::Result<Vec<Recording>> {
    diesel::connection::set_default_instrumentation(|| {
        Some(Box::new(|event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push(query.to_string());
            }
        }))
    })
    .map_err(|_| anyhow::anyhow!("cannot record the store's statements"))?;
    let options = Options::default();
    Store::migrate(url, &options).await?;
    let store = Store::open(url, options).await?;
    let mut recordings = Vec::new();
    for question in questions {
        recordings.push(record_one(&store, *question).await?);
    }
    store.close().await;
    // Connections from now on are not recorded.
    diesel::connection::set_default_instrumentation(|| None)
        .map_err(|_| anyhow::anyhow!("the store is listened to for ever"))?;
    Ok(recordings)
}

async fn record_one(store: &Store, question: Question) -> anyhow::Result<Recording> {
    let random = SystemRandom::new();
    let ring = Arc::new(Keyring::generate(&random)?);
    let root: &RootKey = ring.get(&ring.active()).context("a ring has its key")?;
    let now = crate::now();
    store.record_key(ring.active(), root.check(), now).await?;
    let user_id = UserId::random(&random)?;
    let (session_id, id) = (SessionId::random(&random)?, DeviceId::random(&random)?);
    let token_hash = SessionToken::generate(&random)?.hash();
    let until = now + TimeDelta::hours(1);
    let (name, email) = ("Ada".parse()?, format!("{user_id}@example.org").parse()?);
    store
        .create_user(
            NewUser {
                id: user_id,
                name,
                email,
                now,
            },
            AuditOrigin::default(),
        )
        .await?;
    store
        .create_session(
            NewSession {
                id: session_id,
                user_id,
                token_hash,
                created_at: now,
                expires_at: until,
                mfa_not_after: Some(until),
            },
            AuditOrigin::default(),
        )
        .await?;
    let seed = Seed::random(&random)?;
    store
        .create_device(
            NewDevice {
                id,
                user_id,
                name: "Phone".parse()?,
                seed: seed.seal(&ring, user_id, id, &random)?,
                confirmed_at: Some(now),
                now,
            },
            AuditOrigin::default(),
        )
        .await?;
    let codes = BackupCodes::generate(&random)?;
    let origin = AuditOrigin {
        remote_address: Some([127, 0, 0, 1].into()),
        request_id: Some("00000000-0000-4000-8000-000000000000".to_owned()),
        ..AuditOrigin::default()
    };
    let replace = ReplaceBackupCodes {
        user_id,
        session_id,
        device_id: Some(id),
        codes: codes.seal(&ring, user_id, id, &random)?,
        limit: None,
        now,
        origin: origin.clone(),
    };
    let step = TotpStep::at(now);
    // The last of ten: no other number in the statements is its bit.
    let last = codes.iter().last().context("ten codes")?;
    let code = match question {
        Question::Regenerate => None,
        Question::VerifyTotp => Some(PresentedCode::Totp(seed.code_at(step))),
        Question::Redeem => Some(PresentedCode::BackupCode(last.clone())),
    };
    if code.is_some() {
        store.replace_backup_codes(replace.clone()).await??;
    }
    // Once without recording: a new connection runs setup statements first.
    store.live_session(token_hash, now).await?;
    heard();
    store.live_session(token_hash, now).await?;
    let authentication = heard();
    match code {
        None => {
            let outcome = store.replace_backup_codes(replace).await?;
            if outcome.is_err() {
                bail!("{outcome:?}");
            }
        }
        Some(code) => {
            let present = VerifyCode {
                user_id,
                session_id,
                device_id: Some(id),
                code,
                goal: Goal::StepUp,
                rules: AttemptRules {
                    window: TotpWindow::default(),
                    step_up: TimeDelta::minutes(15),
                    lockout: LockoutPolicy::default(),
                    enrollment: TimeDelta::minutes(15),
                    max_devices: 10,
                },
                now,
                origin,
            };
            let attempt = store.verify_code(present, Arc::clone(&ring)).await?;
            if !matches!(attempt, Ok(Attempt::Accepted(_))) {
                bail!("{attempt:?}");
            }
        }
    }
    let said = heard();

    let roles = |bind: Bind| match bind {
        Bind::Integer(number) if number == user_id.get() => Bind::User,
        Bind::Integer(number) if number == session_id.get() => Bind::Session,
        Bind::Integer(number) if number == id.get() => Bind::Device,
        Bind::Integer(number) if number == step.get() || number == step.get() + 1 => Bind::Step,
        Bind::Integer(512) if question == Question::Redeem => Bind::Bit,
        Bind::Blob(bytes) if bytes == token_hash.as_bytes() => Bind::TokenHash,
        other => other,
    };
    let read = |said: Vec<String>| {
        let said = said
            .into_iter()
            .filter(|text| text.contains(" -- binds: ") && !is_around(text));
        said.map(|text| {
            let mut said = parse(&text)?;
            said.binds = said.binds.into_iter().map(roles).collect();
            // The outbox names the record that was just made, whose number is nothing to be known by.
            if said.sql.contains("INTO `outbox`") || said.sql.contains("INTO \"outbox\"") {
                said.binds[0] = Bind::Record;
            }
            Ok(said)
        })
        .collect::<anyhow::Result<Vec<Said>>>()
    };
    Ok(Recording {
        authentication: read(authentication)?,
        statements: read(said)?,
    })
}

/// Whether a statement begins or ends a transaction or a savepoint, which the loops do in their own way.
fn is_around(text: &str) -> bool {
    let around = ["BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"];
    around.iter().any(|word| text.starts_with(word))
}

/// Reads what Diesel's `debug_query` prints.
fn parse(text: &str) -> anyhow::Result<Said> {
    let (sql, binds) = text
        .split_once(" -- binds: ")
        .context("a statement with binds")?;
    let mut rest = binds.strip_prefix('[').context("a list")?;
    let mut all = Vec::new();
    while !rest.starts_with(']') {
        let (bind, after) = parse_bind(rest).with_context(|| format!("in {text}"))?;
        all.push(bind);
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    Ok(Said {
        sql: sql.to_owned(),
        binds: all,
    })
}

fn parse_bind(text: &str) -> anyhow::Result<(Bind, &str)> {
    if let Some(rest) = text.strip_prefix("None") {
        return Ok((Bind::Null, rest));
    }
    if let Some(rest) = text.strip_prefix("Some(") {
        let (bind, rest) = parse_bind(rest)?;
        return Ok((bind, rest.strip_prefix(')').context("an end")?));
    }
    if let Some(rest) = text.strip_prefix('"') {
        let (text, rest) = rest.split_once('"').context("the end of a text")?;
        return Ok((Bind::Text(text.to_owned()), rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (bytes, rest) = rest.split_once(']').context("the end of bytes")?;
        let bytes: Result<Vec<u8>, _> = bytes.split(", ").map(str::parse).collect();
        return Ok((Bind::Blob(bytes?), rest));
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .context("the end of a number")?;
    Ok((Bind::Integer(text[..end].parse()?), &text[end..]))
}

/// What a loop has done.
#[derive(Debug, Clone)]
pub(crate) struct Looped {
    pub(crate) per_second: f64,
    /// The median of how long a commit and what belongs to it took.
    pub(crate) commit: Duration,
}

/// Runs the statements on SQLite as the store does: `group` jobs per transaction, each in its own savepoint, and a
/// flush to the disk per transaction.
pub(crate) fn replay(
    path: &std::path::Path,
    recording: &Recording,
    people: &[Person],
    group: usize,
    time: Duration,
) -> anyhow::Result<Looped> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
    )?;
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        bail!("the journal is `{mode}`");
    }
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut savepoint = conn.prepare("SAVEPOINT job")?;
    let mut release = conn.prepare("RELEASE job")?;
    let mut commit = conn.prepare("COMMIT")?;
    let mut prepared = Vec::new();
    for said in &recording.statements {
        prepared.push((conn.prepare(&said.sql)?, said));
    }
    let mut done = 0;
    let mut commits = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let began = Instant::now();
        begin.execute([])?;
        for _ in 0..group {
            savepoint.execute([])?;
            let person = &people[done % people.len()];
            let round = done / people.len();
            let mut record = 0;
            for (statement, said) in &mut prepared {
                for (place, bind) in said.binds.iter().enumerate() {
                    let place = place + 1;
                    match bind {
                        Bind::Null => statement.raw_bind_parameter(place, rusqlite::types::Null)?,
                        Bind::Integer(number) => statement.raw_bind_parameter(place, number)?,
                        Bind::Text(text) => statement.raw_bind_parameter(place, text)?,
                        Bind::Blob(bytes) => statement.raw_bind_parameter(place, bytes)?,
                        Bind::User => statement.raw_bind_parameter(place, person.user)?,
                        Bind::Session => statement.raw_bind_parameter(place, person.session)?,
                        Bind::Device => statement.raw_bind_parameter(place, person.device)?,
                        Bind::TokenHash => {
                            statement.raw_bind_parameter(place, person.token_hash.as_slice())?;
                        }
                        Bind::Step => {
                            statement.raw_bind_parameter(place, person.step + round as i64)?;
                        }
                        Bind::Bit => statement.raw_bind_parameter(place, 1_i64 << (round % 10))?,
                        Bind::Record => statement.raw_bind_parameter(place, record)?,
                    }
                }
                let is_record = said.sql.contains("INTO `audit`");
                let mut rows = statement.raw_query();
                let mut found = 0;
                while let Some(row) = rows.next()? {
                    found += 1;
                    if is_record {
                        record = row.get(0)?;
                    }
                }
                if found == 0 && said.sql.contains("RETURNING") {
                    bail!("a statement has found nothing: {}", said.sql);
                }
            }
            release.execute([])?;
            done += 1;
        }
        commit.execute([])?;
        commits.push(began.elapsed());
    }
    let per_second = done as f64 / started.elapsed().as_secs_f64();
    commits.sort_unstable();
    Ok(Looped {
        per_second,
        commit: commits[commits.len() / 2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_diesel_prints_is_read() -> anyhow::Result<()> {
        let said =
            parse("UPDATE t SET a = ? -- binds: [12, \"b\", None, Some(-3), [1, 255], Some([7])]")?;
        assert_eq!(said.sql, "UPDATE t SET a = ?");
        assert_eq!(
            said.binds,
            [
                Bind::Integer(12),
                Bind::Text("b".to_owned()),
                Bind::Null,
                Bind::Integer(-3),
                Bind::Blob(vec![1, 255]),
                Bind::Blob(vec![7]),
            ]
        );
        assert!(parse("SELECT 1").is_err());
        Ok(())
    }
}
