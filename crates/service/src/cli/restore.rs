//! `arklow restore`: a backup in the place of an SQLite database.
//!
//! The copy gets everything that it needs under another name: its migrations, and what `arklow restored` does.
//! Then one rename puts it in place. A power cut leaves the old database or the new one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use arklow_store::{BackupError, DatabaseUrl, Hold, Options, OutOfUse, Store};
use serde_json::json;

use super::backup::{
    beside, check_manifest, digest_of, directory_of, sync_directory, temporary_in, with_contents,
};
use super::backup_error::BackupFileError;
use super::open::{POLL_EVERY, POLLS, closing, key_path, open, operator};
use super::restored;
use super::text::Invalidated;
use crate::cli::args::{ActorArgs, DatabaseArgs, KeysArgs, OutputArgs};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::keys::{self, Making};
use crate::sources::Sources;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup, a file that `arklow backup` made.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace the database if it exists; the old one is kept under another name.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) async fn run(args: RestoreArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let database = url.sqlite_path().ok_or(BackupError::OnServer);
    let database = database.map_err(|error| CliError::Restore(error.into()))?;
    // The file itself: SQLite keeps its WAL next to the target of a link.
    let target = database
        .canonicalize()
        .unwrap_or_else(|_| database.to_owned());
    let directory = directory_of(&target).to_owned();
    let keys = key_path(url, &args.keys)?;

    let refused = CliError::Restore;
    let _alone = lock(&directory).map_err(refused)?;
    remove_leftovers(&target);
    let old = judge_target(&target, args.replace).await.map_err(refused)?;
    let made_at = check_manifest(&args.file).map_err(refused)?;
    let contents = Store::examine_backup(&args.file).await;
    let contents = contents.map_err(|error| refused(error.into()))?;

    let temporary = temporary_in(&directory, &prefix(&target)).map_err(refused)?;
    let prepared = prepare(&args.file, &temporary, &keys, &args, sources).await;
    let invalidated = match prepared {
        Ok(invalidated) => invalidated,
        Err(error) => {
            beside(temporary.path()).iter().for_each(remove);
            return Err(error);
        }
    };
    let now = sources.clock.now();
    let kept = with_suffix(
        &target,
        &now.format(".before-restore-%Y%m%dT%H%M%S%6fZ").to_string(),
    );
    let placed = put_in_place(temporary, &target, old.as_ref(), &kept, &directory).await;
    placed.map_err(refused)?;

    let kept = old.is_some().then_some(kept);
    if made_at.is_none() {
        output::note("the backup has no manifest; the file itself was checked");
    }
    if let Some(kept) = &kept {
        output::note(&format!(
            "the database that was there is kept as `{}`: delete it when you do not need it any more",
            kept.display()
        ));
    }
    output::note(restored::NOT_KNOWN);
    let human = format!(
        "`{}` holds the backup: {}, {}; {invalidated}",
        target.display(),
        output::count(contents.users.cast_unsigned(), "user", "users"),
        output::count(
            contents.audit_records.cast_unsigned(),
            "audit record",
            "audit records"
        ),
    );
    let object = json!({
        "database": target.display().to_string(),
        "kept": kept.map(|path| path.display().to_string()),
        "made_at": made_at,
        "killed": {
            "sessions": invalidated.sessions,
            "code_sets": invalidated.code_sets,
            "devices": invalidated.devices,
        },
    });
    output::data(
        Format::from_flag(args.output.json),
        &human,
        &with_contents(object, &contents),
    )
}

/// Keeps other restores out of the directory.
fn lock(directory: &Path) -> Result<File, BackupFileError> {
    let failed = BackupFileError::file(directory);
    let file = File::open(directory).map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupFileError::AtWork(directory.to_owned())),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// What the names of copies begin with that are not in place yet.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.restore-")
}

/// Removes what a restore left behind that was cut off.
fn remove_leftovers(target: &Path) {
    let prefix = prefix(target);
    let entries = fs::read_dir(directory_of(target)).into_iter().flatten();
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            remove(&entry.path());
        }
    }
}

fn remove(path: &PathBuf) {
    drop(fs::remove_file(path));
}

/// The existing file, if any. It must not be in use, and `--replace` must allow replacing it.
async fn judge_target(
    target: &Path,
    replace: bool,
) -> Result<Option<fs::Metadata>, BackupFileError> {
    let found = match fs::metadata(target) {
        Ok(found) if !found.is_file() => return Err(BackupFileError::NotAFile(target.to_owned())),
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let foreign = beside(target).into_iter().find(|path| path.exists());
            return match foreign {
                Some(path) => Err(BackupError::Beside(path).into()),
                None => Ok(None),
            };
        }
        Err(cause) => return Err(BackupFileError::file(target)(cause)),
    };
    if found.len() > 0 && !replace {
        return Err(BackupFileError::DatabaseExists(target.to_owned()));
    }
    // Said before the work begins; what counts is that it is so again at the end.
    Store::check_not_in_use(target).await?;
    Ok(Some(found))
}

/// Fills the copy, brings it up to date, and kills in it what it would revive.
async fn prepare(
    backup: &Path,
    temporary: &tempfile::NamedTempFile,
    keys: &Path,
    args: &RestoreArgs,
    sources: &Sources,
) -> Result<Invalidated, CliError> {
    let copied = File::open(backup)
        .and_then(|mut from| io::copy(&mut from, &mut temporary.as_file()))
        .map_err(BackupFileError::file(backup));
    copied.map_err(CliError::Restore)?;
    let [before, copy] = [backup, temporary.path()].map(digest_of);
    if before.map_err(CliError::Restore)? != copy.map_err(CliError::Restore)? {
        let path = backup.to_owned();
        let found = "it changed while it was read".to_owned();
        return Err(CliError::Restore(
            BackupError::Damaged { path, found }.into(),
        ));
    }
    let url = DatabaseUrl::sqlite(temporary.path()).map_err(CliError::TemporaryPath)?;
    // Up to date, as `serve` would bring it: what follows needs all tables.
    let store = open(&url, Options::default()).await?;
    let actor = operator(&args.actor);
    let invalidated = closing(&store, async {
        keys::open(&store, keys, Making::ByHand, sources).await?;
        let mut invalidated = Invalidated::default();
        restored::invalidate(&store, Hold::Nothing, &mut invalidated, &actor, sources).await?;
        Ok(invalidated)
    });
    let invalidated = invalidated.await?;
    // One file: what the copy's own WAL still has is moved into it.
    drop(
        out_of_use(temporary.path())
            .await
            .map_err(CliError::Restore)?,
    );
    Ok(invalidated)
}

/// Takes a file out of use that this process has just closed: its last threads may be about to end.
async fn out_of_use(path: &Path) -> Result<OutOfUse, BackupFileError> {
    let mut looks = 0;
    loop {
        match Store::take_out_of_use(path).await {
            Err(BackupError::InUse(_)) if looks < POLLS => looks += 1,
            taken => return Ok(taken?),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Keeps the old database under another name, and gives the new one its name.
async fn put_in_place(
    temporary: tempfile::NamedTempFile,
    target: &Path,
    old: Option<&fs::Metadata>,
    kept: &Path,
    directory: &Path,
) -> Result<(), BackupFileError> {
    // A closed database has no WAL.
    if let Some(left) = beside(temporary.path())
        .into_iter()
        .find(|path| path.exists())
    {
        return Err(BackupError::Beside(left).into());
    }
    let failed = BackupFileError::file(temporary.path());
    if let Some(old) = old {
        let new = temporary.as_file().metadata().map_err(&failed)?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // A server that is another user must be able to open it.
            fchown(temporary.as_file(), Some(old.uid()), Some(old.gid())).map_err(&failed)?;
        }
    }
    temporary.as_file().sync_all().map_err(&failed)?;
    let out_of_use = match old {
        Some(_) => Some(Store::take_out_of_use(target).await?),
        None => None,
    };
    if let Some(out_of_use) = &out_of_use {
        // A second name first: at each moment the database is there under its own.
        fs::hard_link(target, kept).map_err(BackupFileError::file(kept))?;
        for file in out_of_use.left_beside() {
            let suffix = file
                .to_string_lossy()
                .rsplit_once('-')
                .map(|(_, kind)| format!("-{kind}"));
            let kept = with_suffix(kept, &suffix.unwrap_or_default());
            fs::rename(&file, &kept).map_err(BackupFileError::file(&file))?;
        }
        sync_directory(directory)?;
    }
    let placed = temporary.persist(target);
    placed.map_err(|error| BackupFileError::file(target)(error.error))?;
    sync_directory(directory)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path: OsString = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
