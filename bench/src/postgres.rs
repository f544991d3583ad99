//! PostgreSQL: a throwaway server with its own disk flushes, and pgbench.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::seed::Person;
use crate::statements::{Bind, Recording, Said};

/// A private server, stopped when it is dropped.
pub(crate) struct Postgres {
    folder: PathBuf,
    url: String,
}

impl Postgres {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)?;
        let output = Command::new(script())
            .arg("start")
            .arg(&folder)
            .args(["shared_buffers=512MB", "max_wal_size=4GB"])
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let url = String::from_utf8(output.stdout)?.trim().to_owned();
        Ok(Self { folder, url })
    }

    /// The URL of a database on it, made now.
    pub(crate) fn create(&self, name: &str) -> anyhow::Result<String> {
        self.psql(&self.url, &format!("CREATE DATABASE {name}"))?;
        let (place, _) = self.url.rsplit_once('/').context("a URL")?;
        Ok(format!("{place}/{name}?sslmode=disable"))
    }

    pub(crate) fn psql(&self, url: &str, sql: &str) -> anyhow::Result<String> {
        let output = Command::new("psql")
            .args([
                url,
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--command",
                sql,
            ])
            .output()
            .context("cannot run psql: install postgresql")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// How often in a second pgbench gets through the statements, with so many connections.
    pub(crate) fn pgbench(
        &self,
        url: &str,
        recording: &Recording,
        people: &[Person],
        connections: u32,
        time: Duration,
    ) -> anyhow::Result<f64> {
        let users = i64::try_from(people.len())?;
        // Real users are evenly spread, and the ids of each are one number.
        let (first, apart) = (people[0].user, people[1].user - people[0].user);
        let mut script = String::new();
        writeln!(script, "\\set n random(0, {})", users - 1)?;
        writeln!(script, "\\set id {first} + :n * {apart}")?;
        // By a table, because pgbench cannot hash what is behind a token.
        for sql in [
            "CREATE TABLE IF NOT EXISTS bench_tokens AS SELECT user_id, token_hash FROM sessions",
            "CREATE UNIQUE INDEX IF NOT EXISTS bench_tokens_id ON bench_tokens (user_id) \
             INCLUDE (token_hash)",
            "VACUUM ANALYZE bench_tokens",
        ] {
            self.psql(url, sql)?;
        }
        for said in &recording.authentication {
            writeln!(script, "{};", written(said)?)?;
        }
        writeln!(script, "BEGIN;")?;
        for said in &recording.statements {
            let text = written(said)?;
            // Its number is needed by the next statement.
            let end = if text.contains("INTO \"audit\"") {
                " \\gset audit_"
            } else {
                ";"
            };
            writeln!(script, "{text}{end}")?;
        }
        writeln!(script, "COMMIT;")?;
        let file = self.folder.join("pgbench.sql");
        std::fs::write(&file, script)?;
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={connections}"))
            .arg(format!("--time={}", time.as_secs()))
            .arg("--file")
            .arg(&file)
            .arg(url)
            .output()
            .context("cannot run pgbench: install postgresql")?;
        let text = String::from_utf8(output.stdout)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || said.contains("ERROR") {
            bail!("pgbench failed: {said}");
        }
        let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let tps = tps.and_then(|rest| rest.split_whitespace().next());
        Ok(tps
            .with_context(|| format!("pgbench has no result: {text}{said}"))?
            .parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(
            Command::new(script())
                .arg("stop")
                .arg(&self.folder)
                .arg("immediate")
                .status(),
        );
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn script() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/throwaway-postgres")
}

/// The statement as pgbench reads it: with variables where users differ, and all else as it was.
fn written(said: &Said) -> anyhow::Result<String> {
    let mut text = said.sql.clone();
    // From the last one on, for `$1` is the beginning of `$12`.
    for (place, bind) in said.binds.iter().enumerate().rev() {
        let value = match bind {
            Bind::Null => "NULL".to_owned(),
            Bind::Integer(number) => number.to_string(),
            Bind::Text(text) => format!("'{text}'"),
            Bind::Blob(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("'\\x{digits}'::bytea")
            }
            Bind::User | Bind::Session | Bind::Device => ":id".to_owned(),
            Bind::TokenHash => {
                "(SELECT token_hash FROM bench_tokens WHERE user_id = :id)".to_owned()
            }
            Bind::Record => ":audit_id".to_owned(),
            Bind::Step | Bind::Bit => bail!("pgbench runs no codes"),
        };
        let mark = format!("${}", place + 1);
        if !text.contains(&mark) {
            bail!("{mark} is not in {}", said.sql);
        }
        text = text.replace(&mark, &value);
    }
    Ok(text)
}
