//! The errors of commands, each with a hint where the user can act.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use arklow_domain::{DeviceId, Email, KeyId, NoEntropy, SessionId, UserId};
use arklow_store::{BadDatabaseUrl, CopyError, DatabaseUrl, OpenError, StoreError};
use chrono::{DateTime, Utc};

use crate::cli::audit_file::ChainError;
use crate::cli::backup_error::BackupFileError;
use crate::cli::text::{self, Invalidated};
use crate::http::server::ServerError;
use crate::http::tls::TlsError;
use crate::keys::KeysError;
use crate::notify::{MailError, WebhookError};
use crate::signals::SignalsError;

/// The flag that names a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseFlag {
    DatabaseUrl,
    /// Of `arklow copy`.
    From,
    /// Of `arklow copy`.
    To,
}

impl fmt::Display for DatabaseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DatabaseUrl => "--database-url",
            Self::From => "--from",
            Self::To => "--to",
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Signals(#[from] SignalsError),
    #[error(
        "`arklow {command}` serves this machine only, and {address} is no loopback address (--listen)"
    )]
    NotLoopback {
        command: &'static str,
        address: SocketAddr,
    },
    #[error("cannot open `{url}` ({flag})")]
    Open {
        flag: DatabaseFlag,
        url: DatabaseUrl,
        #[source]
        cause: OpenError,
    },
    #[error("{}", match .0 {
        StoreError::Unknown(_) => "whether anything was changed is not known",
        _ => "nothing was changed",
    })]
    Store(#[from] StoreError),
    #[error(
        "cannot start: the clock says {}, and the newest record of the audit is of {}",
        text::time(*now),
        text::time(*newest)
    )]
    ClockBehind {
        now: DateTime<Utc>,
        newest: DateTime<Utc>,
    },
    #[error("{}", match .0 {
        CopyError::Target(StoreError::Unknown(_)) => "whether anything was copied is not known",
        _ => "nothing was copied",
    })]
    Copy(#[source] CopyError),
    #[error("cannot make a backup")]
    Backup(#[source] BackupFileError),
    #[error("cannot restore the backup")]
    Restore(#[source] BackupFileError),
    #[error(
        "`{url}` has no tables, though there is a key file `{}`: it is probably a copy that lacks its \
         `-wal` file",
        keys.display()
    )]
    NoTables { url: DatabaseUrl, keys: PathBuf },
    #[error("stopped half way: {done}; the rest is not done")]
    RestoredStopped {
        done: Invalidated,
        #[source]
        cause: Option<StoreError>,
    },
    #[error("the server at {address} does not answer (--internal-listen)")]
    NoAnswer {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
    #[error("cannot write man pages to `{}`", folder.display())]
    ManPages {
        folder: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{} `{}`", match cause {
        ChainError::Io(_) => "cannot use",
        ChainError::NotALine(_) | ChainError::Broken(_) => "the export of the audit is not whole:",
    }, path.display())]
    AuditChain {
        path: PathBuf,
        #[source]
        cause: ChainError,
    },
    #[error("the server at {0} is not ready")]
    NotReady(SocketAddr),
    #[error("cannot send traces (--otlp-endpoint): {0}")]
    Traces(String),
    #[error("cannot use TLS ({flag})")]
    Tls {
        flag: &'static str,
        #[source]
        cause: Box<TlsError>,
    },
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("the time of the backup is in the future (--since)")]
    SinceFuture,
    #[error("cannot read `{}` (--audit)", path.display())]
    AuditFile {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("line {line} of `{}` is not a record of the audit (--audit)", path.display())]
    AuditLine { path: PathBuf, line: usize },
    #[error("cannot make a key file (--out)")]
    KeyFile(#[source] KeysError),
    #[error("cannot use the keys (--keys)")]
    Keys(#[from] KeysError),
    #[error("nothing was changed")]
    Entropy(#[from] NoEntropy),
    #[error("the address `{0}` is another user's (--email)")]
    EmailInUse(Email),
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    #[error("there is no user with the address `{0}`")]
    NoSuchEmail(Email),
    #[error("user {0} is disabled")]
    UserDisabled(UserId),
    #[error("there is no session {0}")]
    NoSuchSession(SessionId),
    #[error("there is no device {0}")]
    NoSuchDevice(DeviceId),
    #[error("no key {0} is on record")]
    NoSuchKey(KeyId),
    #[error("key {0} is the active one")]
    ActiveKey(KeyId),
    #[error("key {key} is in use: {seeds} TOTP seeds and {code_sets} sets of backup codes need it")]
    KeyInUse {
        key: KeyId,
        seeds: i64,
        code_sets: i64,
    },
    #[error(
        "the rotation failed after {moved} of {total} devices: the key file has the new key, and the \
         other devices are still under another one"
    )]
    RotationFailed {
        moved: u64,
        total: u64,
        #[source]
        cause: StoreError,
    },
    #[error("stopped before the new key was active; the former keys are in use")]
    NotRotated,
    #[error("stopped after {moved} of {total} devices; the others are still under another key")]
    RotationStopped { moved: u64, total: u64 },
    #[error(
        "{0} devices are still under another key: their secrets do not open, or a server \
             with an old key file goes on using it"
    )]
    RotationIncomplete(u64),
    #[error("cannot make a temporary directory")]
    TemporaryDirectory(#[source] io::Error),
    #[error("cannot put a database into the temporary directory")]
    TemporaryPath(#[source] BadDatabaseUrl),
    #[error("cannot set up the throwaway database")]
    Throwaway(#[source] Box<dyn Error + Send + Sync>),
    #[error("this is no `otpauth://totp/` URI that `arklow` has printed (URI)")]
    NotAUri,
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start the threads of the server")]
    Runtime(#[source] io::Error),
}

impl CliError {
    /// What to do next, where the message does not say it already.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAnswer { .. } => {
                Some("start the server with --internal-listen, and give its address here")
            }
            Self::ManPages { .. } => Some("name a folder that exists and that you can write to"),
            Self::AuditChain {
                cause: ChainError::Io(_),
                ..
            } => Some("check the path, its permissions and the space on its disk"),
            Self::AuditChain { .. } => Some(
                "a last line that is cut off can be removed; otherwise compare it with another copy, or export \
                     to a new file, which takes the audit from its beginning",
            ),
            Self::NotReady(_) => Some("the checks above that are not `ok` say why"),
            Self::Server(ServerError::AddressInUse {
                flag: "--internal-listen",
                ..
            }) => Some("give another port to --internal-listen"),
            Self::Server(ServerError::AddressInUse { .. }) => Some(
                "is another `arklow` running? Stop it, or use port 0, as in `--listen 127.0.0.1:0`, for any \
                 free port",
            ),
            Self::Server(ServerError::Listen { .. }) => {
                Some("use an address of this machine, such as `--listen 127.0.0.1:0`")
            }
            Self::NotLoopback { .. } => Some(
                "use `--listen 127.0.0.1:0`, or `arklow serve` for a server that others may reach",
            ),
            Self::Open {
                flag,
                cause: OpenError::Missing(_),
                ..
            } => Some(match flag {
                DatabaseFlag::DatabaseUrl => {
                    "name the database with --database-url; `arklow serve` makes a new one"
                }
                DatabaseFlag::From => "name the SQLite file of the old deployment with --from",
                DatabaseFlag::To => "name a PostgreSQL database with --to",
            }),
            Self::Open {
                cause: OpenError::ForeignWal { .. },
                ..
            } => Some(
                "if this is a restored backup, run `arklow restored`, which gives the other file another name, \
                 or restore it with `arklow restore FILE --replace`",
            ),
            Self::Open {
                flag,
                cause: OpenError::Pending { .. },
                ..
            } => Some(match flag {
                DatabaseFlag::DatabaseUrl => {
                    "run `arklow migrate up` once, with the same --database-url"
                }
                DatabaseFlag::From => {
                    "run `arklow migrate up` once, with the URL of --from as --database-url"
                }
                DatabaseFlag::To => {
                    "run `arklow migrate up` once, with the URL of --to as --database-url"
                }
            }),
            Self::Open {
                flag,
                cause: OpenError::Unreachable(_),
                ..
            } => Some(match flag {
                DatabaseFlag::DatabaseUrl => {
                    "check that the server runs, and the host, port and sslmode in --database-url"
                }
                DatabaseFlag::From | DatabaseFlag::To => {
                    "check that the server runs, and the host, port and sslmode in --to"
                }
            }),
            Self::Open {
                flag,
                cause: OpenError::Refused(_),
                ..
            } => Some(match flag {
                DatabaseFlag::DatabaseUrl => {
                    "check the user, the password and the database in --database-url"
                }
                DatabaseFlag::From | DatabaseFlag::To => {
                    "check the user, the password and the database in --to"
                }
            }),
            Self::Open {
                flag,
                cause: OpenError::UnsafePool(_),
                ..
            } => Some(match flag {
                DatabaseFlag::DatabaseUrl => {
                    "give the pool `pool_mode = session`, or PgBouncer 1.21 or newer with \
                     `max_prepared_statements = 200`; or name the server itself in --database-url"
                }
                DatabaseFlag::From | DatabaseFlag::To => {
                    "give the pool `pool_mode = session`, or PgBouncer 1.21 or newer with \
                     `max_prepared_statements = 200`; or name the server itself in --to"
                }
            }),
            Self::ClockBehind { .. } => Some(
                "set the clock of this machine right; if it is, a clock was ahead when the record was \
                 written: start with `--check-clock off`",
            ),
            Self::Store(StoreError::Busy) => Some("something else is writing: try again"),
            Self::Store(StoreError::TooSlow) => Some(
                "the server ends statements of this user too early: raise its statement_timeout",
            ),
            Self::RestoredStopped { .. } => Some(
                "do not start a server yet: run `arklow restored` again, with the same flags; it does \
                 what is left",
            ),
            Self::SinceFuture => Some("give the time at which the backup was made, with its zone"),
            Self::AuditFile { .. } | Self::AuditLine { .. } => {
                Some("name a file with lines of `arklow audit list --json`; nothing was changed")
            }
            Self::NoSuchEmail(_) => Some(
                "check the address and --database-url; `arklow user list --search TEXT` finds users",
            ),
            Self::Throwaway(_) => Some(
                "set TMPDIR to a directory on a local disk that can be written and has some space",
            ),
            Self::NotAUri => Some("copy the whole URI that `arklow dev` prints, in quotes"),
            Self::Store(StoreError::Unknown(_)) => {
                Some("look whether it was done before you try again")
            }
            Self::Copy(CopyError::Direction) => {
                Some("name an SQLite file with --from and a PostgreSQL database with --to")
            }
            Self::Copy(CopyError::NotEmpty { .. }) => Some(
                "a copy needs a database of its own: create another one, and run `arklow migrate \
                 up` on it",
            ),
            Self::Copy(CopyError::Source(StoreError::Busy)) => {
                Some("a server is writing: stop the servers of the source first")
            }
            Self::Copy(CopyError::Target(StoreError::Unknown(_))) => {
                Some("run it again: if all of it is there, it says so")
            }
            Self::Copy(_) => Some("run it again: the target is as it was"),
            Self::Backup(error) | Self::Restore(error) => error.hint(),
            Self::NoTables { .. } => Some(
                "restore a backup with `arklow restore FILE --replace`; if the database was never used, \
                 delete its file",
            ),
            Self::Keys(error) | Self::KeyFile(error) => error.hint(),
            Self::EmailInUse(_) => Some("no two users share an address: give another one"),
            Self::NoSuchUser(_) => {
                Some("check the id and --database-url; `arklow user list` tells the ids")
            }
            Self::UserDisabled(_) => Some("a disabled user gets no sessions and no devices"),
            Self::NoSuchSession(_) => {
                Some("check the id and --database-url; `arklow session create` tells the id")
            }
            Self::NoSuchDevice(_) => {
                Some("check the id and --database-url; `arklow device list` tells the ids")
            }
            Self::NoSuchKey(_) => Some("`arklow keys list` tells the ids"),
            Self::ActiveKey(_) => Some("`arklow keys rotate` puts another one in its place"),
            Self::KeyInUse { .. } => Some(
                "`arklow keys rotate` moves everything to the active key; sets of backup codes \
                 from before sets had keys of their own go when their owners make new ones",
            ),
            Self::NotRotated => Some("run `arklow keys rotate` again"),
            Self::RotationStopped { .. } | Self::RotationFailed { .. } => {
                Some("run `arklow keys rotate` again to go on")
            }
            Self::RotationIncomplete(_) => Some(
                "`arklow keys list` tells which key, the log above which devices do not open: remove \
                 them with `arklow device remove`, and run this again",
            ),
            Self::Server(ServerError::TooFewDescriptors { .. }) => {
                Some("lower --max-connections, or raise the hard limit: `ulimit -Hn`, LimitNOFILE")
            }
            Self::Server(ServerError::DatabaseFailed(_)) => Some(
                "check the disk, its free space and the kernel's log, then start it again: answered \
                 changes are in the database file and the `-wal` file beside it, so keep both",
            ),
            Self::TemporaryDirectory(_) | Self::TemporaryPath(_) => {
                Some("set TMPDIR to a directory that can be written")
            }
            Self::Open { .. }
            | Self::Store(_)
            | Self::Entropy(_)
            | Self::Output(_)
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::Tls { .. }
            | Self::Traces(_)
            | Self::Webhook(_)
            | Self::Mail(_)
            | Self::Server(_) => None,
        }
    }

    /// As `--help` documents it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotLoopback { .. } | Self::SinceFuture | Self::NotAUri => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn change_that_may_have_been_made_is_not_called_unchanged() {
        let cause = || Arc::new(io::Error::other("on purpose"));
        let error = CliError::from(StoreError::Unknown(cause()));
        assert_eq!(
            error.to_string(),
            "whether anything was changed is not known"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("before you try again"), "{hint}");
        for error in [StoreError::Busy, StoreError::Unavailable(cause())] {
            let error = CliError::from(error);
            assert_eq!(error.to_string(), "nothing was changed");
        }
    }
}
