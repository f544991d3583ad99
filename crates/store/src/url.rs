//! Which database: the text that an operator writes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::postgres::PostgresUrl;

/// A database to open.
///
/// `sqlite:arklow.db`, `sqlite:/var/lib/arklow.db` and `sqlite:///var/lib/arklow.db` name an
/// SQLite file, relative to the working directory or absolute.
/// `postgres://user:password@host:5432/arklow?sslmode=verify-full` names a database on a PostgreSQL
/// server; the parameters are those of libpq that `tokio_postgres` knows, and `sslrootcert`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    target: Target,
}

/// What is behind a URL; one variant for each [`Backend`](crate::Backend).
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

impl DatabaseUrl {
    /// The database in this SQLite file.
    ///
    /// # Errors
    /// [`BadDatabaseUrl`] if the path is empty, names a database in memory, or is not UTF-8.
    pub fn sqlite(path: &Path) -> Result<Self, BadDatabaseUrl> {
        match path.to_str() {
            None => Err(BadDatabaseUrl::NotUtf8),
            Some("") => Err(BadDatabaseUrl::NoPath),
            Some(":memory:") => Err(BadDatabaseUrl::InMemory),
            Some(text) if text.contains('\0') => Err(BadDatabaseUrl::NoPath),
            Some(_) => Ok(Self {
                target: Target::Sqlite(path.to_owned()),
            }),
        }
    }

    /// Where the SQLite file lies; `None` if the database is no file.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.target {
            Target::Sqlite(path) => Some(path),
            Target::Postgres(_) => None,
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl FromStr for DatabaseUrl {
    type Err = BadDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, BadDatabaseUrl> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(BadDatabaseUrl::Unknown);
        };
        match scheme {
            "sqlite" => match rest.strip_prefix("//") {
                None => Self::sqlite(Path::new(rest)),
                Some(absolute) if absolute.starts_with('/') => Self::sqlite(Path::new(absolute)),
                Some("" | ":memory:") => Self::sqlite(Path::new(&rest[2..])),
                Some(_) => Err(BadDatabaseUrl::Host),
            },
            "postgres" | "postgresql" => Ok(Self {
                target: Target::Postgres(Box::new(text.parse()?)),
            }),
            _ => Err(BadDatabaseUrl::Unknown),
        }
    }
}

/// `sqlite:` and the path; `postgres://` without the password and the parameters.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Target::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text names no database that can be opened. The text is not shown: a URL may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDatabaseUrl {
    /// `sqlite:` and nothing that could be a path.
    #[error("the database URL names no file: write `sqlite:arklow.db`")]
    NoPath,
    /// `sqlite::memory:`.
    #[error(
        "a database in memory is a different one on every connection: name a file, for example \
         `sqlite:/tmp/arklow.db`"
    )]
    InMemory,
    /// `sqlite://` with something that would be a host.
    #[error(
        "two slashes announce a host, and SQLite has none: write `sqlite:dir/file.db` or \
         `sqlite:///dir/file.db`"
    )]
    Host,
    /// A path that is not UTF-8.
    #[error("the path of the database is not UTF-8")]
    NotUtf8,
    /// `postgres:` with something that cannot be read, or a parameter that is not known.
    #[error(
        "not a URL of a PostgreSQL database, or one with an unknown parameter: write \
         `postgres://user:password@host:5432/database?sslmode=verify-full`, with special \
         characters in a name or password as %XX"
    )]
    Postgres,
    /// `postgres:` without a host.
    #[error("the database URL names no host: write `postgres://user@host/database`")]
    NoHost,
    /// Another `sslmode` than those that are supported.
    #[error("`sslmode` must be disable, prefer, require or verify-full")]
    SslMode,
    /// A certificate that would not be used.
    #[error("`sslrootcert` is used with `sslmode=verify-full` only, which no other mode does")]
    RootCertificate,
    /// Anything else.
    #[error("not a database URL: use `sqlite:` and the path of a file, or `postgres://`")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_paths_are_relative_or_absolute() {
        for (text, path) in [
            ("sqlite:arklow.db", "arklow.db"),
            ("sqlite:data/arklow.db", "data/arklow.db"),
            ("sqlite:/var/lib/a b?#%.db", "/var/lib/a b?#%.db"),
            ("sqlite:///var/lib/arklow.db", "/var/lib/arklow.db"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.sqlite_path(), Some(Path::new(path)), "{text}");
            assert_eq!(url.to_string(), format!("sqlite:{path}"));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn postgres_is_shown_without_its_password() {
        for text in [
            "postgres://ada:hunter2@db.example.com:5433/arklow?sslmode=require",
            "postgresql://ada@db.example.com:5433/arklow?password=hunter2",
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            let shown = "postgres://ada@db.example.com:5433/arklow";
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.sqlite_path(), None);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        use BadDatabaseUrl as B;
        for (text, expected) in [
            ("", B::Unknown),
            ("arklow.db", B::Unknown),
            ("mysql://host/db", B::Unknown),
            ("sqlite:", B::NoPath),
            ("sqlite://", B::NoPath),
            ("sqlite:a\0b", B::NoPath),
            ("sqlite::memory:", B::InMemory),
            ("sqlite://:memory:", B::InMemory),
            ("sqlite://data/arklow.db", B::Host),
            ("postgres://ada:hunter2@host:port/arklow", B::Postgres),
            ("postgres://ada:hunter2@host/arklow?hunter2=1", B::Postgres),
            ("postgresql:///arklow", B::NoHost),
            ("postgres://host/arklow?sslmode=allow", B::SslMode),
            (
                "postgres://host/arklow?sslrootcert=a.pem",
                B::RootCertificate,
            ),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}
