//! A directory with a database, keys and the commands that run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arklow_domain::{BackupCode, Keyring};
use arklow_store::{AuditEvent, AuditFilter, AuditRecord, Options, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::throwaway::{Raw, Throwaway};

use super::*;

/// A folder with a key file, a database, which is in it if it is a file, and the commands on it.
pub(crate) struct Home {
    folder: TempDir,
    throwaway: Throwaway,
}

impl Home {
    /// With what an operator makes by hand: tables and keys.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let throwaway = Throwaway::new(folder.path());
        let this = Self { folder, throwaway };
        this.prepare();
        this
    }

    /// With a database on this server.
    pub(crate) fn on_server(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let throwaway = Throwaway::on_server(url);
        let this = Self { folder, throwaway };
        this.prepare();
        this
    }

    /// What an operator of a PostgreSQL database does by hand, and may do for an SQLite file.
    fn prepare(&self) {
        let keys = self.key_file().display().to_string();
        let commands = [
            &["migrate", "up"][..],
            &["keys", "generate", "--out", &keys],
        ];
        for arguments in commands {
            let output = self.output(arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }

    /// As [`Home::new`], on an SQLite file, whatever the others have.
    pub(crate) fn with_file() -> Self {
        let this = Self::on_sqlite();
        this.prepare();
        this
    }

    /// For an SQLite file, whatever the others have, and without anything that `serve` makes for itself.
    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let throwaway = Throwaway::on_sqlite(folder.path());
        Self { folder, throwaway }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("arklow.db")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path().join("arklow.db.keys")
    }

    pub(crate) fn url(&self) -> String {
        self.throwaway.url().to_owned()
    }

    /// The binary, told of this database.
    pub(crate) fn arklow(&self) -> Command {
        let mut command = arklow();
        command
            .env("ARKLOW_DATABASE_URL", self.url())
            .current_dir(self.path());
        if !self.url().starts_with("sqlite:") {
            command.env("ARKLOW_KEYS", self.key_file());
        }
        command
    }

    /// Whether the tests run as root.
    pub(crate) fn is_root(&self) -> bool {
        let folder = std::fs::metadata(self.path()).expect("the folder");
        std::os::unix::fs::MetadataExt::uid(&folder) == 0
    }

    /// Gives the folder and all in it to an account and a group of this number.
    pub(crate) fn give_to(&self, id: u32) {
        let owner = format!("{id}:{id}");
        let given = Command::new("chown")
            .args(["-R", &owner])
            .arg(self.path())
            .status();
        assert!(given.expect("chown runs").success());
    }

    /// [`Home::arklow`] for other accounts: a copy of the binary, as theirs may be in a folder that is
    /// closed to them.
    pub(crate) fn arklow_of_all(&self) -> Command {
        let copy = self.path().join("arklow");
        if !copy.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_arklow"), &copy).expect("a copy");
        }
        let mut command = Command::new(copy);
        let like = self.arklow();
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null()).current_dir(self.path());
        command
    }

    /// Runs a command with `--json` and gives what it printed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Value {
        let output = self.output(&[arguments, &["--json"]].concat());
        assert!(
            output.status.success(),
            "arklow {}: {}",
            arguments.join(" "),
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    /// Runs a command as it is.
    #[track_caller]
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.arklow()
            .args(arguments)
            .output()
            .expect("the binary runs")
    }

    /// The id that a command printed.
    #[track_caller]
    pub(crate) fn id(&self, arguments: &[&str]) -> String {
        string(&self.run(arguments)["id"])
    }

    /// A new user without sessions or devices.
    #[track_caller]
    pub(crate) fn user(&self, name: &str) -> String {
        self.id(&[
            "user",
            "create",
            "--name",
            name,
            "--email",
            &format!("{name}@example.com"),
        ])
    }

    /// A new user with a confirmed device and an MFA-fresh session.
    #[track_caller]
    pub(crate) fn caller(&self, name: &str) -> Caller {
        let user = self.user(name);
        let device = self.run(&[
            "device",
            "create",
            "--user",
            &user,
            "--name",
            "Phone",
            "--confirmed",
        ]);
        let session = self.session(&user, Some("15m"));
        Caller {
            user,
            device: string(&device["id"]),
            app: App::scan(&string(&device["provisioning_uri"])),
            session: session.0,
            token: session.1,
            session_mfa_not_after: session.2,
        }
    }

    #[track_caller]
    pub(crate) fn device(&self, user: &str, confirmed: bool) -> String {
        let confirmed: &[&str] = if confirmed { &["--confirmed"] } else { &[] };
        self.id(&[
            &["device", "create", "--user", user, "--name", "Phone"],
            confirmed,
        ]
        .concat())
    }

    /// The id, the token and the MFA time of a new session.
    #[track_caller]
    pub(crate) fn session(
        &self,
        user: &str,
        mfa_verified_for: Option<&str>,
    ) -> (String, String, Value) {
        let mut arguments = vec!["session", "create", "--user", user];
        if let Some(time) = mfa_verified_for {
            arguments.extend(["--mfa-verified-for", time]);
        }
        let session = self.run(&arguments);
        (
            string(&session["id"]),
            string(&session["token"]),
            session["mfa_not_after"].clone(),
        )
    }

    /// Starts `arklow serve` on this database and a free port, with further arguments.
    #[track_caller]
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        Server::spawn(
            self.arklow()
                .args(["serve", "--listen", "127.0.0.1:0"])
                .args(arguments),
        )
    }

    /// The server's database.
    pub(crate) async fn store(&self) -> Store {
        let url = self.url().parse().expect("a URL");
        Store::open(
            &url,
            Options {
                create: false,
                ..Options::default()
            },
        )
        .await
        .expect("the database opens")
    }

    /// How many of the codes are in the device's current set and not used up; none is used up by it.
    pub(crate) async fn working(&self, caller: &Caller, codes: &[String]) -> usize {
        let (store, keyring) = (self.store().await, self.keyring());
        let device = caller.device.parse().expect("an id");
        let set = store.backup_code_set(caller.user_id(), device).await;
        store.close().await;
        let Some(set) = set.expect("an answer") else {
            return 0;
        };
        let works = |code: &&String| {
            let code = BackupCode::parse(code).expect("a code");
            let slot = set.slot_of(&keyring, caller.user_id(), device, &code);
            slot.expect("the set opens")
                .is_some_and(|slot| set.is_unused(slot))
        };
        codes.iter().filter(works).count()
    }

    /// All records of the audit, without those of the commands that set a test up.
    pub(crate) async fn records(&self) -> Vec<AuditRecord> {
        let store = self.store().await;
        let records = store.audit_records(AuditFilter::default()).await;
        store.close().await;
        let mut records = records.expect("records");
        records.retain(|record| !record.event.as_str().starts_with("mfa.admin."));
        records
    }

    /// How each attempt of this kind went, in order.
    pub(crate) async fn outcomes(&self, event: AuditEvent) -> Vec<String> {
        let of_it = |record: &AuditRecord| {
            let reason = record.outcome.reason();
            (record.event == event).then(|| match reason {
                Some(reason) => format!("{}: {}", record.outcome.as_str(), reason.as_str()),
                None => record.outcome.as_str().to_owned(),
            })
        };
        self.records().await.iter().filter_map(of_it).collect()
    }

    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        let text = std::fs::read_to_string(self.key_file()).expect("the key file can be read");
        Arc::new(Keyring::parse(&text).expect("the key file is one"))
    }

    /// Copies the database, which must not be in use, and returns the name of the copy.
    pub(crate) fn back_up(&self) -> String {
        self.throwaway.back_up(self.path())
    }

    /// Puts such a copy in the place of the database.
    pub(crate) fn restore(&self, copy: &str) {
        self.throwaway.restore(copy);
    }

    /// A connection to break rows behind the store's back.
    pub(crate) fn vandal(&self) -> Raw {
        self.throwaway.raw()
    }
}
