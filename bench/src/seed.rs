//! Databases full of users.
//!
//! Rows are written past the store, in the order of their keys, because millions of them would take hours otherwise.
//! Some users are real: with a token, a seed and codes that work. The others have data of the same size.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arklow_domain::{
    BackupCodes, DeviceId, Keyring, Seed, SessionToken, SystemRandom, TotpStep, UserId,
};
use arklow_store::{DatabaseUrl, Options, Store};
use chrono::TimeDelta;
use rusqlite::{Connection, params};

/// A real user.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) user: i64,
    pub(crate) session: i64,
    pub(crate) device: i64,
    pub(crate) token_hash: [u8; 32],
    /// A TOTP step that no code was accepted of.
    pub(crate) step: i64,
    token: String,
    seed: Seed,
    codes: [String; 10],
}

/// A database, closed.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) path: PathBuf,
    pub(crate) keys: PathBuf,
    pub(crate) people: Vec<Person>,
    /// How many users there are, real or not.
    pub(crate) users: u64,
}

impl Crowd {
    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Makes a database with `users` users, of whom `real` are real, spread evenly.
    pub(crate) async fn make(
        folder: &Path,
        name: &str,
        users: u64,
        real: u64,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.db"));
        let keys = folder.join(format!("{name}.keys"));
        remove(&path);
        let url = DatabaseUrl::sqlite(&path)?;
        let store = Store::open(&url, Options::default()).await?;
        let random = SystemRandom::new();
        let ring = Arc::new(Keyring::generate(&random)?);
        let root = ring.get(&ring.active()).context("a ring has its key")?;
        let now = crate::now();
        store.record_key(ring.active(), root.check(), now).await?;
        store.close().await;
        std::fs::write(&keys, ring.expose().as_bytes())?;
        std::fs::set_permissions(&keys, Permissions::from_mode(0o600))?;

        let filling = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || fill(&path, &ring, users, real))
        };
        Ok(Self {
            people: filling.await??,
            path,
            keys,
            users,
        })
    }

    /// Requests for new codes, of all real users in turn.
    pub(crate) fn regenerations(&self, file: &str) -> anyhow::Result<PathBuf> {
        self.requests(file, |person, out| {
            writeln!(
                out,
                "/v1/self/mfa/regenerate/totp\tx-arklow-auth: {}\t{{\"device_id\":\"{}\"}}",
                person.token, person.device
            )
        })
    }

    /// Requests that verify each TOTP code that can be verified now, one after the other.
    pub(crate) fn verifications(&self, file: &str) -> anyhow::Result<PathBuf> {
        let now = TotpStep::at(crate::now()).get();
        let path = self.path.with_extension(file);
        let mut out = BufWriter::new(File::create(&path)?);
        // The next one is accepted already, and will be for longest; the one before it, until the step ends.
        for step in [now, now + 1] {
            for person in &self.people {
                let code = person.seed.code_at(TotpStep::from_stored(step));
                writeln!(
                    out,
                    "/v1/self/mfa/verify/totp\tx-arklow-auth: {}\t{{\"device_id\":\"{}\",\"code\":\"{}\"}}",
                    person.token,
                    person.device,
                    code.expose()
                )?;
            }
        }
        out.flush()?;
        Ok(path)
    }

    /// Requests that redeem each backup code once.
    pub(crate) fn redemptions(&self, file: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.with_extension(file);
        let mut out = BufWriter::new(File::create(&path)?);
        for slot in 0..10 {
            for person in &self.people {
                writeln!(
                    out,
                    "/v1/self/mfa/verify/totp/backup\tx-arklow-auth: {}\t{{\"device_id\":\"{}\",\"code\":\"{}\"}}",
                    person.token, person.device, person.codes[slot]
                )?;
            }
        }
        out.flush()?;
        Ok(path)
    }

    fn requests(
        &self,
        file: &str,
        line: impl Fn(&Person, &mut BufWriter<File>) -> std::io::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let path = self.path.with_extension(file);
        let mut out = BufWriter::new(File::create(&path)?);
        for person in &self.people {
            line(person, &mut out)?;
        }
        out.flush()?;
        Ok(path)
    }

    /// The token and the device of one real user, for a request by hand.
    pub(crate) fn token(&self) -> &str {
        &self.people[0].token
    }

    /// How many records of the audit are successes.
    pub(crate) fn successes(&self) -> anyhow::Result<i64> {
        let conn = Connection::open(&self.path)?;
        let query = "SELECT count(*) FROM audit WHERE outcome = 'success'";
        Ok(conn.query_row(query, [], |row| row.get(0))?)
    }

    /// Removes the files.
    pub(crate) fn remove(self) {
        remove(&self.path);
    }
}

/// Removes an SQLite database, if there is one.
pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    }
}

fn fill(path: &Path, ring: &Keyring, users: u64, real: u64) -> anyhow::Result<Vec<Person>> {
    let random = SystemRandom::new();
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA foreign_keys = OFF;",
    )?;
    let now = crate::now();
    let micros = now.timestamp_micros();
    let until = (now + TimeDelta::hours(24)).timestamp_micros();
    let every = users / real.max(1);
    // As far apart as random ids would be.
    let apart = i64::MAX / 4 / i64::try_from(users)?;
    let key = ring.active().to_string();
    let mut people = Vec::new();
    let mut written = 0;
    while written < users {
        let transaction = conn.unchecked_transaction()?;
        {
            let mut user = conn.prepare(
                "INSERT INTO users (id, name, email, email_folded, created_at) VALUES (?, 'Bench user', ?, ?, ?)",
            )?;
            let mut session = conn.prepare(
                "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, mfa_not_after) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            let mut device = conn.prepare(
                "INSERT INTO devices (id, user_id, name, device_type, seed_key_id, seed, confirmed_at, \
                 created_at, updated_at, code_key_id, code_mac_key, code_macs, code_generation) \
                 VALUES (?, ?, 'Phone', 'totp', ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            )?;
            for number in written..users.min(written + 50_000) {
                let id = apart * (i64::try_from(number)? + 1);
                let email = format!("user{number:010}@example.org");
                user.execute(params![id, email, email, micros])?;
                let is_real = number % every == 0 && (people.len() as u64) < real;
                // In the order of their numbers, as far apart as real ones.
                let mut token_hash = [0; 32];
                token_hash[..8].copy_from_slice(&(u64::MAX / users * number).to_be_bytes());
                let (mut seed_bytes, mut mac_key, mut macs) =
                    (vec![0; 48], vec![0; 60], vec![0; 320]);
                if is_real {
                    let owner = UserId::from_stored(id).context("an id")?;
                    let its = DeviceId::from_stored(id).context("an id")?;
                    let token = SessionToken::generate(&random)?;
                    let seed = Seed::random(&random)?;
                    let codes = BackupCodes::generate(&random)?;
                    let sealed = codes.seal(ring, owner, its, &random)?;
                    token_hash = *token.hash().as_bytes();
                    seed_bytes = seed.seal(ring, owner, its, &random)?.bytes;
                    mac_key = sealed.mac_key.as_bytes().to_vec();
                    macs = sealed.macs.map(|mac| *mac.as_bytes()).concat();
                    people.push(Person {
                        user: id,
                        session: id,
                        device: id,
                        token_hash,
                        step: TotpStep::at(now).get() - 1_000_000,
                        token: token.expose().to_owned(),
                        seed,
                        codes: codes.expose(),
                    });
                }
                session.execute(params![id, id, token_hash.as_slice(), micros, until, until])?;
                device.execute(params![
                    id, id, key, seed_bytes, micros, micros, micros, key, mac_key, macs
                ])?;
            }
        }
        transaction.commit()?;
        written = users.min(written + 50_000);
    }
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(people)
}
