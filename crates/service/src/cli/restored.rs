//! `arklow restored`: invalidates what a restored backup would revive.
//!
//! Sessions end first: changes that they still make, such as new backup codes, are invalidated with the
//! codes after them. Sessions that were created meanwhile end last. A single transaction over millions
//! of rows would block every server, so the work is split into batches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use arklow_domain::{DeviceId, SessionId, User, UserId};
use arklow_store::{
    AuditEvent, AuditOrigin, DisableUser, Hold, RemoveDevice, RestoredRows, Store, StoreError,
    UserFilter,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::open::{check_tables, closing, key_path, open_existing, operator};
use super::user::{print_users, user_object};
use crate::cli::args::{ActorArgs, DatabaseArgs, KeysArgs, OutputArgs, Since};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format, Progress};
use crate::cli::text::Invalidated;
use crate::keys;
use crate::signals::Signals;
use crate::sources::Sources;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct RestoredArgs {
    /// When the backup was made: RFC 3339, or how long ago, such as 24h. Deals with devices that were
    /// removed and users who were disabled since then, and lists the users to look at.
    ///
    /// Without --audit the command cannot know which these are. So all users are disabled and all
    /// devices are locked: look at each user with `arklow user show`, remove devices that they no longer own, then
    /// allow access again with `arklow user enable` and `arklow user unlock`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// A file with the lines of `arklow audit list --json`, kept elsewhere: what was removed and disabled
    /// by these records since --since is so again, and all else stays as the backup has it.
    #[arg(long, value_name = "FILE", requires = "since")]
    pub(crate) audit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How many rows share a transaction.
const BATCH: u32 = 10_000;
/// The pause after each transaction, in which other processes get the lock: SQLite's waiters poll for it.
const BATCH_PAUSE: Duration = Duration::from_millis(20);
/// How many of the users to look at are printed, at most.
const LISTED: u32 = 1_000;

/// What is left without the time of the backup.
pub(super) const NOT_KNOWN: &str = "devices that were removed and users who were disabled after the backup was \
     made are as the backup has them: run `arklow restored --since TIME`, with the time of the backup, to deal with \
     them";

pub(crate) async fn run(args: RestoredArgs, sources: &Sources) -> Result<(), CliError> {
    let now = sources.clock.now();
    let since = args.since.map(|since| since.time(now));
    if since.is_some_and(|since| since > now) {
        return Err(CliError::SinceFuture);
    }
    // Before anything is changed.
    let replay = match (since, &args.audit) {
        (Some(since), Some(path)) => Some(Replay::read(path, since)?),
        _ => None,
    };
    let hold = match (since, &replay) {
        (Some(_), None) => Hold::Everything,
        _ => Hold::Nothing,
    };
    let format = Format::from_flag(args.output.json);
    let origin = operator(&args.actor);
    let url = &args.database.database_url;
    let aside = Store::set_foreign_wal_aside(url, now).await;
    let aside = aside.map_err(|error| CliError::Restore(error.into()))?;
    if let Some(aside) = aside {
        output::note(&format!(
            "renamed the WAL of another database to `{}`",
            aside.display()
        ));
    }
    let keys = key_path(url, &args.keys).ok();
    // Before the tables are missed: this says better what is wrong.
    if let Some(keys) = &keys {
        check_tables(url, keys).await?;
    }
    let store = open_existing(url).await?;
    closing(&store, async {
        if let Some(keys) = &keys {
            keys::check_not_emptied(&store, keys).await?;
        }
        let mut invalidated = Invalidated::default();
        if let Some(replay) = &replay {
            replay
                .apply(&store, &mut invalidated, &origin, sources)
                .await?;
        }
        invalidate(&store, hold, &mut invalidated, &origin, sources).await?;
        let mut object = json!({
            "sessions": invalidated.sessions,
            "code_sets": invalidated.code_sets,
            "devices": invalidated.devices,
        });
        let Some(since) = since else {
            output::note(NOT_KNOWN);
            return output::data(format, &invalidated.to_string(), &object);
        };
        object["since"] = json!(output::time(since));
        object["users_disabled"] = json!(invalidated.users_disabled);
        object["devices_locked"] = json!(invalidated.devices_locked);
        object["devices_removed"] = json!(invalidated.devices_removed);
        match &replay {
            Some(replay) => replay.report(&store, format, &invalidated, object).await,
            None => report_held(&store, format, since, &invalidated, object, origin, sources).await,
        }
    })
    .await
}

/// Makes a restored database safe, some rows at a time; `invalidated` counts on.
pub(crate) async fn invalidate(
    store: &Store,
    hold: Hold,
    invalidated: &mut Invalidated,
    origin: &AuditOrigin,
    sources: &Sources,
) -> Result<(), CliError> {
    let begun = store.begin_restored(hold, sources.clock.now(), origin.clone());
    let begun = begun.await.map_err(|error| stopped(*invalidated, error))?;
    if begun.interrupted {
        output::note("an earlier `arklow restored` stopped half way: doing what is left");
    }
    let signals = Signals::listen()?;
    let ended = invalidate_all(store, hold, begun, invalidated, origin, sources, signals).await;
    let done = *invalidated;
    ended.map_err(|cause| CliError::RestoredStopped { done, cause })
}

/// The error is `None` if a signal stopped it between two transactions.
async fn invalidate_all(
    store: &Store,
    hold: Hold,
    rows: RestoredRows,
    invalidated: &mut Invalidated,
    origin: &AuditOrigin,
    sources: &Sources,
    signals: Signals,
) -> Result<(), Option<StoreError>> {
    let now = || sources.clock.now();
    let users = match hold {
        Hold::Nothing => 0,
        Hold::Everything => rows.users,
    };
    let mut steps = Steps {
        progress: Progress::of("rows looked at"),
        signals,
        done: 0,
        total: users + rows.sessions + rows.devices + rows.sessions,
    };
    if hold == Hold::Everything {
        let mut after: Option<UserId> = None;
        loop {
            let batch = store.hold_users(after, BATCH, now()).await?;
            invalidated.users_disabled += batch.changed as u64;
            after = batch.next;
            if steps.are_over(after.is_some()).await? {
                break;
            }
        }
    }
    end_sessions(store, invalidated, &mut steps, sources).await?;
    let mut after: Option<DeviceId> = None;
    loop {
        let batch = store.invalidate_codes(after, BATCH, hold, now()).await?;
        invalidated.code_sets += batch.code_sets as u64;
        invalidated.devices += batch.devices as u64;
        invalidated.devices_locked += batch.locked as u64;
        after = batch.next;
        if steps.are_over(after.is_some()).await? {
            break;
        }
    }
    // Those that began since then may have used a code that was not dead yet.
    end_sessions(store, invalidated, &mut steps, sources).await?;
    Ok(store.end_restored(now(), origin.clone()).await?)
}

async fn end_sessions(
    store: &Store,
    invalidated: &mut Invalidated,
    steps: &mut Steps,
    sources: &Sources,
) -> Result<(), Option<StoreError>> {
    let mut after: Option<SessionId> = None;
    loop {
        let now = sources.clock.now();
        let batch = store.end_sessions(after, BATCH, now).await?;
        invalidated.sessions += batch.changed as u64;
        after = batch.next;
        if steps.are_over(after.is_some()).await? {
            return Ok(());
        }
    }
}

/// How many rows were looked at.
struct Steps {
    progress: Progress,
    signals: Signals,
    done: u64,
    total: u64,
}

impl Steps {
    /// Counts a batch, and waits if another one follows. Fails after a signal.
    async fn are_over(&mut self, more: bool) -> Result<bool, Option<StoreError>> {
        if !more {
            return Ok(true);
        }
        self.done = (self.done + u64::from(BATCH)).min(self.total);
        self.progress.tell(self.done, self.total);
        tokio::select! {
            _ = self.signals.next() => Err(None),
            () = tokio::time::sleep(BATCH_PAUSE) => Ok(false),
        }
    }
}

/// Tells who is held, and what is to be done about it.
async fn report_held(
    store: &Store,
    format: Format,
    since: DateTime<Utc>,
    invalidated: &Invalidated,
    mut object: Value,
    origin: AuditOrigin,
    sources: &Sources,
) -> Result<(), CliError> {
    let filter = UserFilter {
        disabled_since: Some(since),
        limit: LISTED + 1,
        ..UserFilter::default()
    };
    let mut users = store.users(filter, sources.clock.now(), origin).await?;
    let more = users.len() > LISTED as usize;
    users.truncate(LISTED as usize);
    output::note(
        "the backup does not tell which devices were removed and which users were disabled after it was \
         made, so all users are disabled and all devices locked: look at each user with `arklow user show`, remove devices that are not \
         theirs any more with `arklow device remove`, then let the user in with `arklow user enable` \
         and `arklow user unlock`",
    );
    if more {
        output::note(&format!(
            "only {LISTED} users are listed; `arklow user list --disabled` lists all"
        ));
    }
    match format {
        Format::Json => {
            object["look_at"] = users.iter().map(user_object).collect();
            object["look_at_is_whole"] = json!(!more);
            output::data(format, "", &object)
        }
        Format::Human => {
            output::data(format, &invalidated.to_string(), &object)?;
            print_users(format, &users)
        }
    }
}

/// The changes after the backup, by audit records that were kept elsewhere.
struct Replay {
    since: DateTime<Utc>,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    removed: BTreeSet<DeviceId>,
    /// When each user was last disabled or enabled, and whether it was the former. Records come in any order.
    access: BTreeMap<UserId, (DateTime<Utc>, u64, bool)>,
    /// What happened to each user, in words of the audit.
    happened: BTreeMap<UserId, BTreeSet<String>>,
}

impl Replay {
    fn read(path: &Path, since: DateTime<Utc>) -> Result<Self, CliError> {
        let unreadable = |cause| CliError::AuditFile {
            path: path.to_owned(),
            cause,
        };
        let mut replay = Self {
            since,
            first: None,
            last: None,
            removed: BTreeSet::new(),
            access: BTreeMap::new(),
            happened: BTreeMap::new(),
        };
        let lines = BufReader::new(File::open(path).map_err(unreadable)?).lines();
        for (index, line) in lines.enumerate() {
            let line = line.map_err(unreadable)?;
            if line.trim().is_empty() {
                continue;
            }
            replay.take(&line).ok_or_else(|| CliError::AuditLine {
                path: path.to_owned(),
                line: index + 1,
            })?;
        }
        Ok(replay)
    }

    /// Takes a record in; `None` if it is not one.
    fn take(&mut self, line: &str) -> Option<()> {
        let record: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| match &record[key] {
            Value::Null => Some(None),
            Value::String(text) => Some(Some(text.as_str())),
            _ => None,
        };
        let at: DateTime<Utc> = text("at")??.parse().ok()?;
        let (event, outcome) = (text("event")??, text("outcome")??);
        let user: Option<UserId> = text("user_id")?.map(str::parse).transpose().ok()?;
        let device: Option<DeviceId> = text("device_id")?.map(str::parse).transpose().ok()?;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if at < self.since || outcome != "success" {
            return Some(());
        }
        if event == AuditEvent::DeviceRemoved.as_str() {
            self.removed.extend(device);
        }
        if let Some(user) = user {
            let is_disabled = event == AuditEvent::UserDisabled.as_str();
            if is_disabled || event == AuditEvent::UserEnabled.as_str() {
                let number = text("id")?.map_or(Ok(0), str::parse).ok()?;
                let change = (at, number, is_disabled);
                let latest = self.access.entry(user).or_insert(change);
                *latest = change.max(*latest);
            }
            let happened = self.happened.entry(user).or_default();
            happened.insert(event.to_owned());
        }
        Some(())
    }

    /// Does again what was done after the backup and makes something dead.
    async fn apply(
        &self,
        store: &Store,
        invalidated: &mut Invalidated,
        origin: &AuditOrigin,
        sources: &Sources,
    ) -> Result<(), CliError> {
        let now = sources.clock.now();
        let disabled = self.access.iter().filter(|(_, (.., disabled))| *disabled);
        for (user, _) in disabled {
            match store.disable_user(*user, now, origin.clone()).await {
                Ok(DisableUser::Disabled) => invalidated.users_disabled += 1,
                Ok(DisableUser::AlreadyDisabled | DisableUser::NoSuchUser) => {}
                Err(error) => return Err(stopped(*invalidated, error)),
            }
        }
        for device in &self.removed {
            match store.remove_device(*device, now, origin.clone()).await {
                Ok(RemoveDevice::Removed { .. }) => invalidated.devices_removed += 1,
                Ok(RemoveDevice::AlreadyRemoved | RemoveDevice::NoSuchDevice) => {}
                Err(error) => return Err(stopped(*invalidated, error)),
            }
        }
        Ok(())
    }

    /// Tells about whom the records speak, and what they cannot tell.
    async fn report(
        &self,
        store: &Store,
        format: Format,
        invalidated: &Invalidated,
        mut object: Value,
    ) -> Result<(), CliError> {
        match (self.first, self.last) {
            (Some(first), Some(last)) if last >= self.since => {
                if first > self.since {
                    output::note(&format!(
                        "the records begin at {}, after --since: what happened before is not known",
                        output::time(first)
                    ));
                }
                output::note(&format!(
                    "the records end at {}: what happened later is not known",
                    output::time(last)
                ));
            }
            _ => output::note(
                "no record is of --since or later: what happened after the backup was made is not \
                 known",
            ),
        }
        let mut rows = Vec::new();
        for (user, happened) in &self.happened {
            let found: Option<User> = store.user(*user).await?;
            let happened: Vec<&str> = happened.iter().map(String::as_str).collect();
            let email = found.as_ref().map(|user| user.email.as_str().to_owned());
            let human = format!(
                "{user:<19}  {}  {}",
                email.as_deref().unwrap_or("(not in the backup)"),
                happened.join(", ")
            );
            let row = json!({
                "id": user.to_string(),
                "email": email,
                "disabled_at": found.and_then(|user| user.disabled_at).map(output::time),
                "happened": happened,
            });
            rows.push((human, row));
        }
        match format {
            Format::Json => {
                object["look_at"] = rows.into_iter().map(|(_, row)| row).collect();
                object["look_at_is_whole"] = json!(true);
                output::data(format, "", &object)
            }
            Format::Human => {
                output::data(format, &invalidated.to_string(), &object)?;
                let title = format!("{:<19}  E-MAIL  WHAT HAPPENED AFTER THE BACKUP", "ID");
                output::list(format, &title, rows.into_iter())
            }
        }
    }
}

/// The error of a run that has done something already, or nothing.
fn stopped(done: Invalidated, error: StoreError) -> CliError {
    match done == Invalidated::default() {
        true => error.into(),
        false => CliError::RestoredStopped {
            done,
            cause: Some(error),
        },
    }
}
