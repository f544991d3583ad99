//! A database of one's own for each test: an SQLite file, or, with `ARKLOW_TEST_ON=postgres`, a
//! database on the server that `ARKLOW_TEST_POSTGRES_URL` names.
//!
//! `#[path]` brings this file into each test binary. `cargo test` runs them on SQLite, and a test of
//! `xtask` once more on PostgreSQL.

#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each of the binaries that share this file needs its own part of it"
)]

use std::path::Path;
use std::sync::LazyLock;

use arklow_domain::{SystemRandom, UserId};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;

/// The server that tests are run on, if it is not SQLite's turn.
static POSTGRES: LazyLock<Option<String>> =
    LazyLock::new(|| match std::env::var("ARKLOW_TEST_ON").as_deref() {
        Err(_) | Ok("sqlite") => None,
        Ok("postgres") => Some(std::env::var("ARKLOW_TEST_POSTGRES_URL").expect(
            "ARKLOW_TEST_POSTGRES_URL names a server with a user who may create databases",
        )),
        Ok(_) => panic!("ARKLOW_TEST_ON is neither `sqlite` nor `postgres`"),
    });

/// Whether it is PostgreSQL's turn.
pub(crate) fn on_postgres() -> bool {
    POSTGRES.is_some()
}

/// A private, empty database. On a server it is dropped with the value.
pub(crate) struct Throwaway {
    url: String,
    place: Option<Place>,
}

/// Where a database on a server is.
struct Place {
    server: String,
    name: String,
}

impl Throwaway {
    /// In this folder, or on the server.
    pub(crate) fn new(folder: &Path) -> Self {
        match POSTGRES.as_ref() {
            Some(server) => Self::on_server(server),
            None => Self::on_sqlite(folder),
        }
    }

    /// On this server, whosever turn it is; the URL is one of a user who may create databases.
    pub(crate) fn on_server(server: &str) -> Self {
        let random = UserId::random(&SystemRandom::new()).expect("random bits");
        let name = format!("arklow_test_{random}");
        Raw::open(server).run(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let (address, parameters) = server.split_once('?').unwrap_or((server, ""));
        let (address, _) = address.rsplit_once('/').expect("the URL names a database");
        let url = format!("{address}/{name}?{parameters}");
        // What SQLite calls so.
        Raw::open(&url).run(
            "CREATE FUNCTION zeroblob(length INTEGER) RETURNS BYTEA LANGUAGE sql AS
                 $$ SELECT decode(repeat('00', length), 'hex') $$;
             CREATE FUNCTION hex(bytes BYTEA) RETURNS TEXT LANGUAGE sql AS
                 $$ SELECT upper(encode(bytes, 'hex')) $$;",
        );
        let server = server.to_owned();
        Self {
            url,
            place: Some(Place { server, name }),
        }
    }

    /// In this folder, whosever turn it is.
    pub(crate) fn on_sqlite(folder: &Path) -> Self {
        Self {
            url: format!("sqlite:{}", folder.join("arklow.db").display()),
            place: None,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Copies the database, which must not be in use, and returns the name of the copy.
    pub(crate) fn back_up(&self, folder: &Path) -> String {
        let Some(Place { server, name }) = &self.place else {
            let copy = folder.join("backup.db").display().to_string();
            self.raw().run(&format!("VACUUM INTO '{copy}'"));
            return copy;
        };
        let copy = format!("{name}_copy");
        Raw::open(server).run(&format!("CREATE DATABASE {copy} TEMPLATE {name}"));
        copy
    }

    /// Puts such a copy in the place of the database.
    pub(crate) fn restore(&self, copy: &str) {
        let Some(Place { server, name }) = &self.place else {
            let path = self.url.trim_start_matches("sqlite:");
            for file in ["-wal", "-shm"] {
                drop(std::fs::remove_file(format!("{path}{file}")));
            }
            std::fs::copy(copy, path).expect("the copy is there");
            return;
        };
        let mut server = Raw::open(server);
        server.run(&format!("DROP DATABASE {name} WITH (FORCE)"));
        server.run(&format!("ALTER DATABASE {copy} RENAME TO {name}"));
    }

    /// Another connection to the database.
    pub(crate) fn raw(&self) -> Raw {
        Raw::open(&self.url)
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let Some(Place { server, name }) = &self.place {
            // Left behind if the server is gone, as some tests want it.
            drop(Raw::try_open(server).map(|mut raw| {
                raw.try_run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            }));
        }
    }
}

/// A connection on which anything can be said.
pub(crate) struct Raw(Option<Conn>);

enum Conn {
    Sqlite(SqliteConnection),
    Postgres(Box<AsyncConnectionWrapper<AsyncPgConnection>>),
}

impl Raw {
    #[track_caller]
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).expect("the database opens")
    }

    pub(crate) fn try_open(url: &str) -> Result<Self, String> {
        let conn = match url.strip_prefix("sqlite:") {
            Some(path) => {
                let mut conn = SqliteConnection::establish(path).map_err(|e| e.to_string())?;
                let busy = conn.batch_execute("PRAGMA busy_timeout = 10000");
                busy.map_err(|error| error.to_string())?;
                Conn::Sqlite(conn)
            }
            None => {
                let conn = apart(|| Connection::establish(url)).map_err(|e| e.to_string())?;
                Conn::Postgres(Box::new(conn))
            }
        };
        Ok(Self(Some(conn)))
    }

    #[track_caller]
    pub(crate) fn run(&mut self, sql: &str) {
        self.try_run(sql).expect("the statements run");
    }

    pub(crate) fn try_run(&mut self, sql: &str) -> Result<(), String> {
        let ran = match self.conn() {
            Conn::Sqlite(conn) => conn.batch_execute(sql),
            Conn::Postgres(conn) => apart(|| conn.batch_execute(sql)),
        };
        ran.map_err(|error| error.to_string())
    }

    /// From now on the tables take what they would refuse, on SQLite from this connection only.
    #[track_caller]
    pub(crate) fn unchecked(&mut self) {
        match self.conn() {
            Conn::Sqlite(_) => {
                self.run("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;");
            }
            Conn::Postgres(_) => self.run(
                "DO $$ DECLARE found RECORD; BEGIN
                     FOR found IN SELECT conrelid::regclass AS of, conname FROM pg_constraint
                         WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
                     LOOP
                         EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.of, found.conname);
                     END LOOP;
                 END $$",
            ),
        }
    }

    /// A condition that is true, which takes very long to find out.
    pub(crate) fn slow(&mut self) -> &'static str {
        match self.conn() {
            Conn::Sqlite(_) => {
                "(WITH RECURSIVE counted (n) AS (
                    SELECT 1 UNION ALL SELECT n + 1 FROM counted LIMIT 1000000000
                ) SELECT count(*) FROM counted) > 0"
            }
            Conn::Postgres(_) => "(SELECT pg_sleep(3600)) IS NOT NULL",
        }
    }

    /// Begins a transaction that blocks all other writers.
    #[track_caller]
    pub(crate) fn lock(&mut self) {
        match self.conn() {
            Conn::Sqlite(_) => self.run("BEGIN IMMEDIATE"),
            Conn::Postgres(_) => {
                self.run("BEGIN; LOCK TABLE users, sessions, devices, audit IN EXCLUSIVE MODE");
            }
        }
    }

    /// Nothing can be added to the table until [`Raw::take_again`].
    #[track_caller]
    pub(crate) fn refuse(&mut self, table: &str) {
        match self.conn() {
            Conn::Sqlite(_) => self.run(&format!(
                "CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
            )),
            Conn::Postgres(_) => self.run(&format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'no',
                        CONSTRAINT = 'refuse'; END $$;
                 CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()"
            )),
        }
    }

    /// The row of the table with this id cannot be changed until [`Raw::take_again`].
    #[track_caller]
    pub(crate) fn refuse_change(&mut self, table: &str, id: &str) {
        match self.conn() {
            Conn::Sqlite(_) => self.run(&format!(
                "CREATE TRIGGER refuse BEFORE UPDATE ON {table} WHEN OLD.id = {id}
                 BEGIN SELECT RAISE(ABORT, 'no'); END"
            )),
            Conn::Postgres(_) => self.run(&format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'no',
                        CONSTRAINT = 'refuse'; END $$;
                 CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW
                     WHEN (OLD.id = {id}) EXECUTE FUNCTION refuse()"
            )),
        }
    }

    #[track_caller]
    pub(crate) fn take_again(&mut self, table: &str) {
        match self.conn() {
            Conn::Sqlite(_) => self.run("DROP TRIGGER refuse"),
            Conn::Postgres(_) => self.run(&format!("DROP TRIGGER refuse ON {table}")),
        }
    }

    /// How the database would answer a query, with its conditions on indexes.
    #[track_caller]
    pub(crate) fn plan(&mut self, query: &str) -> String {
        #[derive(QueryableByName)]
        struct Detail {
            #[diesel(sql_type = Text)]
            detail: String,
        }
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
            line: String,
        }
        let lines: Vec<String> = match self.conn() {
            Conn::Sqlite(conn) => {
                let query = diesel::sql_query(format!("EXPLAIN QUERY PLAN {query}"));
                let found: Vec<Detail> = query.load(conn).expect("the query is explained");
                found.into_iter().map(|row| row.detail).collect()
            }
            Conn::Postgres(conn) => {
                let query = diesel::sql_query(format!("EXPLAIN {query}"));
                let found: Vec<Line> =
                    apart(|| query.load(&mut **conn)).expect("the query is explained");
                found.into_iter().map(|row| row.line).collect()
            }
        };
        lines.join("\n")
    }

    /// The texts that a query finds; empty for `NULL`.
    #[track_caller]
    pub(crate) fn texts(&mut self, query: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Text)]
            found: String,
        }
        let query = format!(
            "WITH every (found) AS ({query}) SELECT coalesce(CAST(found AS TEXT), '') AS found \
             FROM every"
        );
        let found: diesel::QueryResult<Vec<Found>> = match self.conn() {
            Conn::Sqlite(conn) => diesel::sql_query(query).load(conn),
            Conn::Postgres(conn) => apart(|| diesel::sql_query(query).load(&mut **conn)),
        };
        let found = found.expect("the query runs");
        found.into_iter().map(|row| row.found).collect()
    }

    /// The one text that a query finds.
    #[track_caller]
    pub(crate) fn text(&mut self, query: &str) -> String {
        let query = format!("SELECT ({query}) AS found");
        self.texts(&query).pop().expect("a row")
    }

    /// How many rows a table has; `table` may go on with conditions.
    #[track_caller]
    pub(crate) fn count(&mut self, table: &str) -> i64 {
        let count = self.text(&format!("SELECT count(*) FROM {table}"));
        count.parse().expect("a number")
    }

    fn conn(&mut self) -> &mut Conn {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let conn = self.0.take();
        apart(|| drop(conn));
    }
}

/// Does something on a thread without a runtime, which the blocking connection makes for itself.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
