//! `arklow keys`: the root keys, and how one takes the place of another while servers go on.
//!
//! A rotation writes the new key into the key file first, next to the active one, and waits until the
//! servers have read it: each holds a shared lock on the file that it has read. Then the rotation makes
//! the key active and re-seals with it. Each batch of devices is a separate transaction, so a stopped
//! rotation continues where it was.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arklow_domain::{DeviceId, KeyId, Keyring};
use arklow_store::{KeyUsage, Reseal, RetireKey, Store};
use serde_json::json;
use tracing::error;

use super::open::{closing, existing_keys, key_path, open_existing, operator};
use crate::cli::args::{ActorArgs, DatabaseArgs, KeysArgs, ListOutputArgs, OutputArgs};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format, Progress};
use crate::keys::{self, Exclusive, KeysError, Making};
use crate::signals::Signals;
use crate::sources::Sources;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct GenerateKeysArgs {
    /// The file to make, with mode 0600; one that exists is left alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key file with a new key, for a database that has none yet.
    ///
    /// Example: `arklow keys generate --out /etc/arklow/keys`
    Generate(GenerateKeysArgs),
    /// List the keys, and how much needs each of them.
    ///
    /// Example: `arklow keys list --json`
    List(ListKeysArgs),
    /// Put a new key into the key file and protect everything with it, while servers go on.
    ///
    /// Stopped in the middle, it goes on where it was when it is run again. Example: `arklow keys rotate`
    Rotate(RotateKeysArgs),
    /// Take a key that nothing needs out of use and out of the key file.
    ///
    /// Example: `arklow keys retire 0123456789abcdef`
    Retire(RetireKeyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKeysArgs {
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetireKeyArgs {
    /// Which key; `arklow keys list` tells.
    #[arg(value_name = "ID")]
    pub(crate) id: KeyId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How many devices share a transaction: few, for servers wait while it runs.
const BATCH: u32 = 100;
/// The shortest pause after each transaction, which lasts at least as long as the transaction took.
/// SQLite's waiters poll for the lock, so a server gets it only if it is free for a while.
const BATCH_PAUSE: Duration = Duration::from_millis(20);
/// The pause before devices are looked through again.
const PASS_PAUSE: Duration = Duration::from_secs(1);
/// How long the command waits for servers to notice the new key file, for which they check every second.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the command waits for servers to read a new key before the key becomes active. It is longer
/// than a network file system caches a file's attributes: 60 seconds by default.
const DISTRIBUTION_TIMEOUT: Duration = Duration::from_secs(90);
/// How often the command checks whether the servers have read it.
const POLL_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run(command: KeysCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        KeysCommand::Generate(args) => generate(&args, sources),
        KeysCommand::List(args) => run_list(args, sources).await,
        KeysCommand::Rotate(args) => run_rotate(args, sources).await,
        KeysCommand::Retire(args) => run_retire(args, sources).await,
    }
}

fn generate(args: &GenerateKeysArgs, sources: &Sources) -> Result<(), CliError> {
    let key = keys::generate(&args.out, sources).map_err(CliError::KeyFile)?;
    let path = args.out.display();
    output::note(&format!(
        "created the key file `{path}`: keep a copy of it, apart from the database; without it no \
         backup code and no device works"
    ));
    output::id(Format::from_flag(args.output.json), &key)
}

async fn run_list(args: ListKeysArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let store = open_existing(url).await?;
    let (active, usage) = closing(&store, async {
        let path = key_path(url, &args.keys)?;
        let keyring = existing_keys(&store, url, &args.keys, sources).await?;
        keys::tidy(&path, &keyring);
        Ok((keyring.active(), store.key_usage().await?))
    })
    .await?;
    let rows = usage.iter().map(|key| {
        let state = match key.retired_at {
            Some(_) => "retired",
            None if key.id == active => "active",
            None => "old",
        };
        let first_used_at = output::time(key.first_used_at);
        let human = format!(
            "{}  {state:<7}  {:>10}  {:>10}  {first_used_at}",
            key.id, key.seeds, key.code_sets
        );
        let object = json!({
            "id": key.id.to_string(),
            "state": state,
            "seeds": key.seeds,
            "code_sets": key.code_sets,
            "first_used_at": first_used_at,
            "retired_at": key.retired_at.map(output::time),
        });
        (human, object)
    });
    let title = format!(
        "{:<16}  {:<7}  {:>10}  {:>10}  FIRST USED",
        "ID", "STATE", "SEEDS", "CODE SETS"
    );
    output::list(Format::from_flag(args.output.json), &title, rows)
}

async fn run_rotate(args: RotateKeysArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let store = open_existing(url).await?;
    let rotated = closing(&store, async {
        let path = key_path(url, &args.keys)?;
        let (mut file, keyring) = lock(&store, &path, sources).await?;
        let mut signals = Signals::listen()?;
        let keyring = if under_other_keys(&store, keyring.active()).await? > 0 {
            output::note(&format!(
                "going on with the rotation to key {}; no new key is made",
                keyring.active()
            ));
            keyring
        } else {
            let new = keyring.with_new_key(sources.random.as_ref())?;
            hand_out(&mut file, &keyring, &new, Making::of(url), &mut signals).await?;
            // The file first: a key that only the database knows would stop every server.
            file.replace(&new)?;
            let keyring = keys::open(&store, &path, Making::ByHand, sources)
                .await?
                .keyring;
            if !keys::is_same(&keyring, &new) {
                return Err(KeysError::Replaced(path).into());
            }
            let now = sources.clock.now();
            let recorded = store.record_rotation(now, operator(&args.actor)).await;
            recorded.map_err(|cause| CliError::RotationFailed {
                moved: 0,
                total: 0,
                cause,
            })?;
            let path = path.display();
            output::note(&format!(
                "key {} is in `{path}` and active: keep a new copy of the file, and the old copy \
                 with the backups of the database from before",
                keyring.active()
            ));
            keyring
        };
        let active = keyring.active();
        // From then on no server seals anything with the old key. Until then it opens what they seal:
        // waiting is worth it, and failing is not.
        let total = under_other_keys(&store, active).await?;
        let read = until_read(&file, Duration::ZERO, &mut signals).await;
        if matches!(read, Err(CliError::NotRotated)) {
            return Err(CliError::RotationStopped { moved: 0, total });
        }
        let rotated = reseal_all(&store, Arc::new(keyring), sources, &mut signals).await;
        drop(file);
        Ok((active, rotated?))
    });
    let (active, rotated) = rotated.await?;

    if rotated.stuck > 0 {
        output::note(&format!(
            "{} sets of backup codes from before sets had keys of their own stay under their key \
             until their owners make new ones",
            rotated.stuck
        ));
    }
    output::data(
        Format::from_flag(args.output.json),
        &active.to_string(),
        &json!({
            "active": active.to_string(),
            "moved": rotated.moved,
            "unreadable": rotated.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "stuck": rotated.stuck,
        }),
    )?;
    match rotated.left {
        0 => Ok(()),
        left => Err(CliError::RotationIncomplete(left)),
    }
}

/// The locked key file, which no other command can change, and its keys.
async fn lock(
    store: &Store,
    path: &Path,
    sources: &Sources,
) -> Result<(Exclusive, Keyring), CliError> {
    // What is wrong with the file is said better by this.
    let opened = keys::open(store, path, Making::ByHand, sources).await?;
    let file = Exclusive::lock(path, &opened.keyring)?;
    // Under the lock: another command may just have added a key to the file.
    let keyring = keys::open(store, path, Making::ByHand, sources)
        .await?
        .keyring;
    Ok((file, keyring))
}

/// Puts the new key into the file, not active, and waits until the servers have read it. If they
/// do not, the file holds the former keys again.
async fn hand_out(
    file: &mut Exclusive,
    old: &Keyring,
    new: &Keyring,
    making: Making,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let inactive = new.with_active(old.active());
    file.replace(&inactive.expect("a ring with a new key holds the former ones"))?;
    // Servers on other machines may use a file system that does not share locks.
    let least = match making {
        Making::OnDemand => Duration::ZERO,
        Making::ByHand => 2 * keys::POLL_EVERY,
    };
    let read = until_read(file, least, signals).await;
    if read.is_err() {
        file.replace(old)?;
    }
    read
}

/// Waits until the servers have read the file as it is now, and for `least` in any case.
async fn until_read(
    file: &Exclusive,
    least: Duration,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let started = Instant::now();
    let mut is_told = false;
    loop {
        let waited = started.elapsed();
        if waited >= least && file.is_read() {
            return Ok(());
        }
        if waited >= DISTRIBUTION_TIMEOUT {
            return Err(KeysError::NotRead(file.path().to_owned()).into());
        }
        if waited >= 2 * keys::POLL_EVERY && !is_told {
            is_told = true;
            output::note("waiting until the running servers have read the new key file");
        }
        tokio::select! {
            _ = signals.next() => return Err(CliError::NotRotated),
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
    }
}

/// What a rotation has done.
#[derive(Default)]
struct Rotated {
    moved: u64,
    /// Sets of backup codes that cannot move.
    stuck: u64,
    unreadable: Vec<DeviceId>,
    /// How much is still under other keys though it could move.
    left: u64,
}

/// How much is not under the active key and can be.
async fn under_other_keys(store: &Store, active: KeyId) -> Result<u64, CliError> {
    let usage = store.key_usage().await?;
    let others = usage.iter().filter(|key| key.id != active);
    Ok(others.map(KeyUsage::movable).sum())
}

/// Moves everything that can move to the active key, until nothing does any more.
async fn reseal_all(
    store: &Store,
    keyring: Arc<Keyring>,
    sources: &Sources,
    signals: &mut Signals,
) -> Result<Rotated, CliError> {
    let total = under_other_keys(store, keyring.active()).await?;
    let started = Instant::now();
    let mut progress = Progress::of("devices re-sealed");
    let mut moved = 0;
    loop {
        let mut pass = Rotated::default();
        let mut after = None;
        loop {
            let reseal = Reseal {
                after,
                limit: BATCH,
            };
            let random = Arc::clone(&sources.random);
            let began = Instant::now();
            let batch = store.reseal(reseal, Arc::clone(&keyring), random).await;
            let batch = batch.map_err(|cause| CliError::RotationFailed {
                moved,
                total,
                cause,
            })?;
            moved += batch.moved as u64;
            pass.moved += batch.moved as u64;
            pass.stuck += batch.stuck.len() as u64;
            pass.unreadable.extend(batch.unreadable);
            progress.tell(moved, total.max(moved));
            match batch.next {
                Some(next) => after = Some(next),
                None => break,
            }
            let breath = began.elapsed().max(BATCH_PAUSE);
            tokio::select! {
                _ = signals.next() => return Err(CliError::RotationStopped { moved, total }),
                () = tokio::time::sleep(breath) => {}
            }
        }
        let left = under_other_keys(store, keyring.active()).await;
        let left = left.map_err(|error| match error {
            CliError::Store(cause) => CliError::RotationFailed {
                moved,
                total,
                cause,
            },
            other => other,
        })?;
        // A server that has not read the new key file yet may still use the old key.
        let is_over = pass.moved == 0 && started.elapsed() >= NOTICE_TIMEOUT;
        if left == 0 || is_over {
            for device in &pass.unreadable {
                error!(device.id = %device, "the secrets of device `{device}` do not open");
            }
            drop(progress);
            tell(moved, total.max(moved));
            return Ok(Rotated {
                moved,
                left,
                ..pass
            });
        }
        tokio::select! {
            _ = signals.next() => return Err(CliError::RotationStopped { moved, total }),
            () = tokio::time::sleep(PASS_PAUSE) => {}
        }
    }
}

fn tell(moved: u64, total: u64) {
    let percent = (100 * moved).checked_div(total).unwrap_or(100).min(100);
    output::note(&format!(
        "re-sealed {moved} of {total} devices ({percent} %)"
    ));
}

async fn run_retire(args: RetireKeyArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let store = open_existing(url).await?;
    let key = args.id;
    closing(&store, async {
        let path = key_path(url, &args.keys)?;
        let (mut file, keyring) = lock(&store, &path, sources).await?;
        if key == keyring.active() {
            return Err(CliError::ActiveKey(key));
        }
        // The database first: from then on no server seals with the key.
        let now = sources.clock.now();
        match store.retire_key(key, now, operator(&args.actor)).await? {
            RetireKey::Retired => output::note(&format!("key {key} is retired")),
            RetireKey::AlreadyRetired => output::note(&format!("key {key} was retired already")),
            RetireKey::InUse { seeds, code_sets } => {
                return Err(CliError::KeyInUse {
                    key,
                    seeds,
                    code_sets,
                });
            }
            RetireKey::NoSuchKey => return Err(CliError::NoSuchKey(key)),
        }
        if let Some(without) = keyring.without(key) {
            file.replace(&without)?;
            let path = path.display();
            output::note(&format!(
                "and no longer in `{path}`. Backups of the database from before need copies of \
                 the file that hold key {key}: keep with each backup the key file of its time, and \
                 destroy a copy only when no such backup is left"
            ));
        }
        Ok(())
    })
    .await?;
    output::id(Format::from_flag(args.output.json), &key)
}
