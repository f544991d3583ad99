//! `arklow backup`: copies an SQLite database into one file, with a manifest.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arklow_store::{BackupContents, BackupError, BackupProgress, Store};
use ring::digest;
use serde_json::{Value, json};

use crate::cli::args::{DatabaseArgs, OutputArgs};
use crate::cli::backup_error::BackupFileError;
use crate::cli::error::CliError;
use crate::cli::output::{self, Format, Progress};
use crate::sources::Sources;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to make.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace FILE if it exists.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The format that the manifest names.
const FORMAT: &str = "arklow-backup-v1";
/// Only its owner may read and write the file.
pub(super) const MODE: u32 = 0o600;
/// The largest manifest that is read.
const MAX_MANIFEST: u64 = 1024 * 1024;

pub(crate) async fn run(args: BackupArgs, sources: &Sources) -> Result<(), CliError> {
    let made = make(&args, sources).await.map_err(CliError::Backup)?;
    let human = format!(
        "{}: {}, {}, {} bytes",
        args.file.display(),
        output::count(made["users"].as_u64().unwrap_or_default(), "user", "users"),
        output::count(
            made["audit_records"].as_u64().unwrap_or_default(),
            "audit record",
            "audit records"
        ),
        made["bytes"],
    );
    let keys: Vec<_> = made["keys"].as_array().into_iter().flatten().collect();
    let keys: Vec<_> = keys.into_iter().filter_map(Value::as_str).collect();
    output::note(&match keys[..] {
        [] => "it needs no key".to_owned(),
        _ => format!(
            "it needs the key file with {}: keep a copy of that file of the same time, apart from the backup",
            keys.join(", ")
        ),
    });
    output::data(Format::from_flag(args.output.json), &human, &made)
}

/// Makes the backup; what its manifest says.
async fn make(args: &BackupArgs, sources: &Sources) -> Result<Value, BackupFileError> {
    let url = &args.database.database_url;
    let database = url.sqlite_path().ok_or(BackupError::OnServer)?;
    // A link leads to the file that is replaced.
    let file = args
        .file
        .canonicalize()
        .unwrap_or_else(|_| args.file.clone());
    let manifest = manifest_of(&file);
    for path in [&file, &manifest] {
        match fs::symlink_metadata(path) {
            Ok(found) if is_of_database(&found, path, database) => {
                return Err(BackupFileError::IsDatabase(args.file.clone()));
            }
            Ok(found) if !found.is_file() => return Err(BackupFileError::NotAFile(path.clone())),
            Ok(_) if !args.replace => return Err(BackupFileError::Exists(path.clone())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(BackupFileError::file(path)(cause)),
        }
    }
    if let Some(beside) = beside(&file).into_iter().find(|path| path.exists()) {
        return Err(BackupError::Beside(beside).into());
    }

    let directory = directory_of(&file);
    let temporary = temporary_in(directory, ".arklow-backup-")?;
    let bar = Mutex::new(Progress::of("pages copied"));
    let progress = Arc::new(move |BackupProgress { done, total }: BackupProgress| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        bar.tell(done, total);
    });
    let made_at = sources.clock.now();
    let contents = Store::back_up(url, temporary.path().to_owned(), progress).await;
    let contents = contents?;
    let failed = BackupFileError::file(&file);
    temporary.as_file().sync_all().map_err(&failed)?;
    let (bytes, sha256) = digest_of(temporary.path())?;
    let text = json!({
        "format": FORMAT,
        "made_at": output::time(made_at),
        "program": env!("CARGO_PKG_VERSION"),
        "file": file.file_name().map(|name| name.to_string_lossy()),
        "bytes": bytes,
        "sha256": sha256,
    });
    let text = with_contents(text, &contents);

    if args.replace {
        // First, and synced: a manifest must never describe another file.
        match fs::remove_file(&manifest) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(BackupFileError::file(&manifest)(error));
            }
            _ => sync_directory(directory)?,
        }
        temporary
            .persist(&file)
            .map_err(|error| failed(error.error))?;
    } else {
        let persisted = temporary.persist_noclobber(&file);
        persisted.map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => BackupFileError::Exists(file.clone()),
            _ => failed(error.error),
        })?;
    }
    sync_directory(directory)?;

    let failed = BackupFileError::file(&manifest);
    let mut temporary = temporary_in(directory, ".arklow-backup-")?;
    writeln!(temporary, "{text:#}").map_err(&failed)?;
    temporary.as_file().sync_all().map_err(&failed)?;
    temporary
        .persist(&manifest)
        .map_err(|error| failed(error.error))?;
    sync_directory(directory)?;
    Ok(text)
}

/// The manifest with what the backup holds.
pub(super) fn with_contents(mut object: Value, contents: &BackupContents) -> Value {
    let keys = contents.keys.iter().map(ToString::to_string);
    let (newest_id, newest_at) = contents.newest_audit_record.unzip();
    object["keys"] = keys.collect();
    object["schema_version"] = json!(contents.migrations.last());
    object["users"] = json!(contents.users);
    object["sessions"] = json!(contents.sessions);
    object["devices"] = json!(contents.devices);
    object["audit_records"] = json!(contents.audit_records);
    object["newest_audit_id"] = json!(newest_id);
    object["newest_audit_at"] = json!(newest_at.map(output::time));
    object
}

/// The time of the backup by its manifest; `None` without one. An error if the manifest describes another file.
pub(super) fn check_manifest(file: &Path) -> Result<Option<String>, BackupFileError> {
    let path = manifest_of(file);
    let text = match File::open(&path) {
        Ok(found) => {
            let mut text = String::new();
            let read = found.take(MAX_MANIFEST).read_to_string(&mut text);
            read.map_err(BackupFileError::file(&path))?;
            text
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(BackupFileError::file(&path)(cause)),
    };
    let wrong = |reason| BackupFileError::Manifest {
        path: path.clone(),
        reason,
    };
    let manifest: Value = serde_json::from_str(&text).map_err(|_| wrong("it is not JSON"))?;
    if manifest["format"] != FORMAT {
        return Err(wrong("it has another format"));
    }
    let (bytes, sha256) = digest_of(file)?;
    if manifest["bytes"] != bytes || manifest["sha256"] != sha256 {
        return Err(wrong("the SHA-256 of the file is another"));
    }
    Ok(manifest["made_at"].as_str().map(str::to_owned))
}

pub(super) fn manifest_of(file: &Path) -> PathBuf {
    with_suffix(file, ".json")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path: OsString = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The files that SQLite keeps for a database that is in use.
pub(super) fn beside(path: &Path) -> [PathBuf; 3] {
    ["-wal", "-shm", "-journal"].map(|suffix| with_suffix(path, suffix))
}

/// Whether the file is the database, its WAL, its key file and so on.
fn is_of_database(found: &fs::Metadata, path: &Path, database: &Path) -> bool {
    let is_same = |other: &Path| {
        fs::metadata(other)
            .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
    };
    let keys = with_suffix(database, ".keys");
    let mut belonging = beside(database)
        .into_iter()
        .chain([database.to_owned(), keys]);
    belonging.any(|other| is_same(&other) || other == path)
}

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The name is on the disk only when the directory is.
pub(super) fn sync_directory(directory: &Path) -> Result<(), BackupFileError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(BackupFileError::file(directory))
}

/// A file for the owner alone, which goes away unless it gets its name.
pub(super) fn temporary_in(
    directory: &Path,
    prefix: &str,
) -> Result<tempfile::NamedTempFile, BackupFileError> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)
        .map_err(BackupFileError::file(directory))
}

/// How long the file is, and its SHA-256.
pub(super) fn digest_of(path: &Path) -> Result<(u64, String), BackupFileError> {
    let failed = BackupFileError::file(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1024 * 1024];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(&failed)? {
            0 => break,
            count => {
                context.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    let digest = context.finish();
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok((bytes, hex.collect()))
}
