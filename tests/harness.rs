//! A server of one's own, callers by kind, and answers that are checked against the contract before a test sees them.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use arklow_client::generated::{Client, Error, ResponseValue};
use arklow_client::types::{
    BackupCodeRequest, ErrorEnvelope, RegenerateTotpRequest, RemoveDeviceRequest,
    StartEnrollmentRequest, TotpCodeRequest, VerificationType,
};
use arklow_domain::{BackupCode, Keyring, UserId};
use arklow_store::{AuditEvent, AuditFilter, AuditRecord, Options, Store};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::throwaway::{Raw, Throwaway};

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of the operation that most tests of the adapter use.
pub(crate) const REGENERATE: &str = "/v1/self/mfa/regenerate/totp";

/// For tests that do something more often than users may.
pub(crate) const NO_LIMITS: &[&str] = &["--limits", "off"];

/// The contract as JSON.
pub(crate) static CONTRACT: LazyLock<Value> =
    LazyLock::new(|| yaml(include_str!("../openapi.yaml")));

/// A YAML text as JSON.
#[track_caller]
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the document is YAML")
}

/// The `arklow` binary with a clean environment.
pub(crate) fn arklow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arklow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARKLOW_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Prints that a test is skipped because something is missing, which must not happen in CI.
///
/// Not by `eprintln!`: of a test that passes libtest shows nothing that is printed so.
#[track_caller]
pub(crate) fn skip(lack: &str) {
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {lack}").expect("stderr is open");
}

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

/// A user with what a regeneration needs.
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) app: App,
    pub(crate) session: String,
    pub(crate) token: String,
    pub(crate) session_mfa_not_after: Value,
}

/// An authenticator app: a library that is not ours, told of nothing but the URI.
pub(crate) struct App(totp_rs::Totp);

impl App {
    #[track_caller]
    pub(crate) fn scan(uri: &str) -> Self {
        Self(totp_rs::Totp::from_url(uri).expect("an app understands the URI"))
    }

    /// Under which name the app lists it.
    pub(crate) fn issuer(&self) -> &str {
        self.0.issuer().expect("an issuer")
    }

    pub(crate) fn account(&self) -> &str {
        self.0.account_name()
    }

    /// What the app shows now.
    pub(crate) fn code(&self) -> String {
        self.0.generate_current().to_string()
    }

    /// What the app will show next; the server accepts it already.
    pub(crate) fn next_code(&self) -> String {
        let next = self.0.next_step_current();
        self.0.generate(next).to_string()
    }

    /// A code that is not right at any time near.
    pub(crate) fn wrong_code(&self) -> String {
        let next = self.0.next_step_current();
        let near: Vec<String> = (0..6)
            .map(|steps| self.0.generate(next + 60 - 30 * steps).to_string())
            .collect();
        let mut all = (0..1_000_000).map(|number| format!("{number:06}"));
        all.find(|code| !near.contains(code)).expect("most are")
    }
}

impl Caller {
    pub(crate) fn user_id(&self) -> UserId {
        self.user.parse().expect("an id")
    }
}

/// A running process that is killed when its test ends.
pub(crate) struct Server {
    child: Child,
    pub(crate) base: String,
    printed: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the command and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let printed = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut printed = printed.lock().expect("nobody panicked");
                    printed.push_str(&line);
                    printed.push('\n');
                }
            });
        }
        let mut server = Self {
            child,
            base: String::new(),
            printed,
        };
        let started = Instant::now();
        loop {
            if let Some(base) = server
                .printed()
                .lines()
                .find_map(|line| line.split_once("listening on "))
                .and_then(|(_, rest)| rest.split(['"', ' ']).next())
            {
                server.base = base.to_owned();
                return server;
            }
            let ended = server.child.try_wait().expect("a child");
            assert!(
                ended.is_none(),
                "the server ended: {ended:?}\n{}",
                server.printed()
            );
            assert!(
                started.elapsed() < TEST_TIMEOUT,
                "the server does not listen:\n{}",
                server.printed()
            );
            pause();
        }
    }

    /// All that the process has printed so far, on either stream.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("nobody panicked").clone()
    }

    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("an address")
    }

    /// The client as it is generated, which sends each request once.
    ///
    /// A new one each time, so each call is a new connection. Reading the authorities of the system, which plain HTTP does not
    /// need, takes 20 ms in a debug build.
    pub(crate) fn client(&self, token: &str) -> Client {
        let builder = arklow_client::Client::builder(&self.base).token(token);
        let http = reqwest::Client::builder().tls_certs_only([]);
        let client = builder.retries(0).http(http).build().expect("a client");
        client.generated().clone()
    }

    /// Regenerates through the generated client.
    pub(crate) async fn regenerate(&self, token: &str, device: &str) -> Answer {
        let request = RegenerateTotpRequest {
            device_id: device.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_regenerate_totp()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_regenerate_totp", result)
    }

    pub(crate) async fn user(&self, token: &str) -> Answer {
        let result = self.client(token).get_v1_self().send().await;
        Answer::of("get_v1_self", result)
    }

    pub(crate) async fn devices(&self, token: &str) -> Answer {
        let result = self.client(token).get_v1_self_mfa().send().await;
        Answer::of("get_v1_self_mfa", result)
    }

    pub(crate) async fn start(&self, token: &str, name: &str) -> Answer {
        let request = StartEnrollmentRequest {
            name: name.to_owned(),
            device_type: None,
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_enroll_start()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_enroll_start", result)
    }

    pub(crate) async fn confirm(&self, token: &str, device: &str, code: &str) -> Answer {
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_enroll_confirm()
            .body(totp_request(device, code))
            .send()
            .await;
        Answer::of("post_v1_self_mfa_enroll_confirm", result)
    }

    pub(crate) async fn verify(&self, token: &str, device: &str, code: &str) -> Answer {
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_verify_totp()
            .body(totp_request(device, code))
            .send()
            .await;
        Answer::of("post_v1_self_mfa_verify_totp", result)
    }

    pub(crate) async fn redeem(&self, token: &str, device: &str, code: &str) -> Answer {
        let request = BackupCodeRequest {
            device_id: device.to_owned(),
            code: code.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .post_v1_self_mfa_verify_totp_backup()
            .body(request)
            .send()
            .await;
        Answer::of("post_v1_self_mfa_verify_totp_backup", result)
    }

    pub(crate) async fn remove(
        &self,
        token: &str,
        device: &str,
        verification_type: VerificationType,
        code: &str,
    ) -> Answer {
        let request = RemoveDeviceRequest {
            device_id: device.to_owned(),
            verification_type,
            code: code.to_owned(),
        };
        let client = self.client(token);
        let result = client
            .delete_v1_self_mfa_remove()
            .body(request)
            .send()
            .await;
        Answer::of("delete_v1_self_mfa_remove", result)
    }

    /// Enrolls and confirms a device: its id, its app and its codes.
    pub(crate) async fn enroll(&self, token: &str, name: &str) -> (String, App, Vec<String>) {
        let started = self.start(token, name).await;
        let (device, app) = (started.device(), started.app());
        let confirmed = self.confirm(token, &device, &app.code()).await;
        assert!(
            confirmed.body["data"]["device"]["confirmed_at"].is_string(),
            "{:?}",
            confirmed.body
        );
        (device, app, started.backup_codes())
    }

    /// A request of an operation with whatever body.
    pub(crate) fn request(&self, operation: &str, token: &str) -> reqwest::RequestBuilder {
        let (path, method) = place(operation);
        let method: reqwest::Method = method.to_uppercase().parse().expect("a method");
        reqwest::Client::new()
            .request(method, format!("{}{path}", self.base))
            .header("x-arklow-auth", token)
    }

    /// A request with whatever body, for what the client does not send.
    pub(crate) fn post(
        &self,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let http = reqwest::Client::builder().tls_certs_only([]).build();
        http.expect("a client")
            .post(format!("{}{REGENERATE}", self.base))
            .header("x-arklow-auth", token)
            .header("content-type", "application/json")
            .body(body)
    }

    /// How much memory the process holds, in KiB.
    #[track_caller]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        // Only Linux has this file; elsewhere the check is skipped.
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.map_or(0, |kib| kib.parse().expect("a number"))
    }

    /// Sends a signal, such as `TERM` or `KILL`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// How the process ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                started.elapsed() < TEST_TIMEOUT,
                "the process does not end:\n{}",
                self.printed()
            );
            pause();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lets a process go on, between two looks at it.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

fn totp_request(device: &str, code: &str) -> TotpCodeRequest {
    TotpCodeRequest {
        device_id: device.to_owned(),
        code: code.to_owned(),
    }
}

/// An answer whose status, headers and body are what the contract says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn of<T: serde::Serialize + std::fmt::Debug>(
        operation: &str,
        result: Result<ResponseValue<T>, Error<ErrorEnvelope>>,
    ) -> Self {
        let (status, headers, body) = match result {
            Ok(value) => (
                value.status(),
                value.headers().clone(),
                json!(value.into_inner()),
            ),
            Err(Error::ErrorResponse(value)) => (
                value.status(),
                value.headers().clone(),
                json!(value.into_inner()),
            ),
            Err(other) => panic!("not an answer of the contract: {other:?}"),
        };
        let answer = Self {
            operation: operation.to_owned(),
            status: status.as_u16(),
            headers,
            body,
        };
        answer.check();
        answer
    }

    /// Sends a regeneration that the client would not.
    pub(crate) async fn to(request: reqwest::RequestBuilder) -> Self {
        Self::by("post_v1_self_mfa_regenerate_totp", request).await
    }

    /// Sends a request that the client would not.
    pub(crate) async fn by(operation: &str, request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("a body");
        let body =
            serde_json::from_slice(&body).unwrap_or_else(|_| panic!("not JSON: {}", text(&body)));
        let answer = Self {
            operation: operation.to_owned(),
            status,
            headers,
            body,
        };
        answer.check();
        answer
    }

    /// What the contract promises of every answer, and of this status.
    #[track_caller]
    pub(crate) fn check(&self) {
        let Self {
            operation,
            status,
            headers,
            body,
        } = self;
        assert_eq!(headers["cache-control"], "no-store", "{status}");
        assert_eq!(headers["content-type"], "application/json", "{status}");
        assert!(headers.contains_key("x-request-id"), "{status}");
        assert_eq!(
            headers.contains_key("www-authenticate"),
            *status == 401,
            "{status}"
        );
        assert_eq!(
            headers.contains_key("retry-after"),
            [429, 503].contains(status),
            "{status}"
        );
        assert_eq!(headers.contains_key("allow"), *status == 405, "{status}");
        if *status == 405 {
            return assert_valid(
                &json!({ "$ref": "#/components/schemas/ErrorEnvelope" }),
                body,
            );
        }
        let response = documented(operation, *status);
        assert_valid(&response["content"]["application/json"]["schema"], body);
        if *status != 200 {
            let documented = codes_of(response);
            assert!(
                self.codes().iter().all(|code| documented.contains(code)),
                "{status} with {:?}",
                self.codes()
            );
        }
    }

    #[track_caller]
    pub(crate) fn assert(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.codes().first().map(String::as_str)),
            (status, Some(code)),
            "{:?}",
            self.body
        );
    }

    pub(crate) fn codes(&self) -> Vec<String> {
        self.body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| string(&error["code"]))
            .collect()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| string(&error["message"]))
            .collect()
    }

    /// The device that the answer is about.
    #[track_caller]
    pub(crate) fn device(&self) -> String {
        assert_eq!(self.status, 200, "{:?}", self.body);
        string(&self.body["data"]["device"]["id"])
    }

    /// An app that has the secret of a started enrollment.
    #[track_caller]
    pub(crate) fn app(&self) -> App {
        App::scan(&string(&self.body["data"]["provisioning_uri"]))
    }

    /// Whether a verification accepted the code.
    #[track_caller]
    pub(crate) fn is_valid(&self) -> bool {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.body["data"]["valid"]
            .as_bool()
            .expect("a verification")
    }

    /// The ten codes of a success.
    #[track_caller]
    pub(crate) fn backup_codes(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{:?}", self.body);
        let codes: Vec<String> =
            serde_json::from_value(self.body["data"]["backup_codes"].clone()).expect("codes");
        assert_eq!(codes.len(), 10);
        codes
    }
}

/// Path and method of an operation.
pub(crate) fn place(operation: &str) -> (&'static str, &'static str) {
    let paths = CONTRACT["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path item").iter();
            methods.map(move |(method, declared)| (path.as_str(), method.as_str(), declared))
        })
        .find(|(_, _, declared)| declared["operationId"] == operation)
        .map(|(path, method, _)| (path, method))
        .unwrap_or_else(|| panic!("there is no operation `{operation}`"))
}

/// The contract's description of an operation's answer with this status.
#[track_caller]
pub(crate) fn documented(operation: &str, status: u16) -> &'static Value {
    let (path, method) = place(operation);
    let responses = &CONTRACT["paths"][path][method]["responses"];
    let response = &responses[status.to_string()];
    assert!(
        response.is_object(),
        "`{operation}` does not document {status}"
    );
    deref(response)
}

/// The codes that the contract lists for a response.
pub(crate) fn codes_of(response: &Value) -> Vec<String> {
    response["x-error-codes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(string)
        .collect()
}

/// What a `$ref` of the contract refers to, or the value itself.
pub(crate) fn deref(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => deref(
            CONTRACT
                .pointer(&reference[1..])
                .expect("a reference that resolves"),
        ),
        None => value,
    }
}

#[track_caller]
fn assert_valid(schema: &Value, body: &Value) {
    let document = json!({ "$ref": schema["$ref"], "components": CONTRACT["components"] });
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&document)
        .expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(body)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:?}\n{body}");
}

#[track_caller]
pub(crate) fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is not a string"))
        .to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
