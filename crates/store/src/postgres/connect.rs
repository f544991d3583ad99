//! Which server, and how to connect to it.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};

use super::tls::{self, Trust};
use crate::{BadDatabaseUrl, OpenError, Options, StoreError};

/// A database on a PostgreSQL server, as `postgres://user:password@host:port/database?sslmode=…`.
#[derive(Clone)]
pub(crate) struct PostgresUrl {
    /// As it was written, password included.
    text: String,
    config: Config,
    trust: Trust,
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PostgresUrl {}

impl FromStr for PostgresUrl {
    type Err = BadDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, BadDatabaseUrl> {
        let (place, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut mode = SslMode::Prefer;
        let mut verify = false;
        let mut root = None;
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => {
                    (mode, verify) = match value {
                        "disable" => (SslMode::Disable, false),
                        "prefer" => (SslMode::Prefer, false),
                        "require" => (SslMode::Require, false),
                        "verify-full" => (SslMode::Require, true),
                        _ => return Err(BadDatabaseUrl::SslMode),
                    }
                }
                Some(("sslrootcert", value)) => {
                    let path = percent_decode_str(value).decode_utf8();
                    root = Some(
                        path.map_err(|_| BadDatabaseUrl::RootCertificate)?
                            .into_owned(),
                    );
                }
                _ => others.push(parameter),
            }
        }
        let trust = match (verify, root) {
            (false, None) => Trust::Anybody,
            (false, Some(_)) => return Err(BadDatabaseUrl::RootCertificate),
            (true, None) => Trust::System,
            (true, Some(path)) if path == "system" => Trust::System,
            (true, Some(path)) => Trust::File(path.into()),
        };
        let rest = format!("{place}?{}", others.join("&"));
        let mut config: Config = rest.parse().map_err(|_| BadDatabaseUrl::Postgres)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BadDatabaseUrl::NoHost);
        }
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("arklow");
        }
        Ok(Self {
            text: text.to_owned(),
            config,
            trust,
        })
    }
}

/// Without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

/// A server, and how to talk to it.
pub(super) struct Server {
    config: Config,
    tls: Option<tokio_postgres_rustls::MakeRustlsConnect>,
    settings: String,
    /// How long connecting may take, over all its hosts.
    timeout: Duration,
}

impl Server {
    /// Does not connect yet.
    pub(super) fn new(url: &PostgresUrl, options: &Options) -> Result<Self, OpenError> {
        let mut config = url.config.clone();
        config.connect_timeout(options.connect_timeout);
        // A network that swallows packets is noticed when a statement should have been answered.
        let answer = options.statement_timeout.unwrap_or_default();
        config.tcp_user_timeout(answer + options.connect_timeout);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(tls::connector(&url.trust)?),
        };
        Ok(Self {
            config,
            tls,
            settings: settings(options),
            timeout: options.connect_timeout,
        })
    }

    /// A connection, which is driven by the runtime that this is called on.
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection, StoreError> {
        match tokio::time::timeout(self.timeout, self.try_connect()).await {
            Ok(connected) => connected.map_err(|error| StoreError::Unavailable(explain(error))),
            Err(elapsed) => Err(StoreError::Unavailable(Arc::new(elapsed))),
        }
    }

    async fn try_connect(&self) -> Result<AsyncPgConnection, ConnectionError> {
        let failed = |error| ConnectionError::CouldntSetupConfiguration(other(error));
        let mut conn = match &self.tls {
            None => {
                let (client, conn) = self.config.connect(NoTls).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, conn).await?
            }
            Some(tls) => {
                let (client, conn) = self.config.connect(tls.clone()).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, conn).await?
            }
        };
        conn.batch_execute(&self.settings)
            .await
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

/// As an error of Diesel's, which is what connecting may fail with.
fn other(error: tokio_postgres::Error) -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(Box::new(error))
}

/// The cause of a failed connection, without what Diesel says around it.
fn explain(error: ConnectionError) -> Arc<dyn Error + Send + Sync> {
    match error {
        ConnectionError::CouldntSetupConfiguration(diesel::result::Error::QueryBuilderError(
            cause,
        )) => Arc::from(cause),
        cause => Arc::new(cause),
    }
}

/// What each connection is told first.  As a statement and not as a start-up option, which poolers
/// between us and the server refuse.
fn settings(options: &Options) -> String {
    format!(
        "SET statement_timeout = {statement};
         SET lock_timeout = {lock};
         SET idle_in_transaction_session_timeout = {statement};
         SET default_transaction_isolation = 'read committed';
         SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off';",
        // Zero is no limit.
        statement = options.statement_timeout.unwrap_or_default().as_millis(),
        lock = options.busy_timeout.as_millis(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_decides_who_is_trusted() {
        for (parameters, mode, trust) in [
            ("", SslMode::Prefer, Trust::Anybody),
            ("?sslmode=disable", SslMode::Disable, Trust::Anybody),
            ("?sslmode=require", SslMode::Require, Trust::Anybody),
            ("?sslmode=verify-full", SslMode::Require, Trust::System),
            (
                "?sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-full",
                SslMode::Require,
                Trust::File("/etc/ca.pem".into()),
            ),
        ] {
            let url: PostgresUrl = format!("postgres://h/d{parameters}").parse().unwrap();
            assert_eq!(url.config.get_ssl_mode(), mode, "{parameters}");
            assert_eq!(url.trust, trust, "{parameters}");
        }
    }

    #[test]
    fn other_parameters_are_as_libpq_names_them() {
        let text = "postgres://ada@one,two:5433/d?target_session_attrs=read-write&sslmode=disable";
        let url: PostgresUrl = text.parse().unwrap();
        assert_eq!(url.config.get_hosts().len(), 2);
        assert_eq!(url.to_string(), "postgres://ada@one:5432,two:5433/d");
    }
}
