//! Schemathesis against a temporary server on a temporary database.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{TOOLS, is_installed, must, output, verdict};
use crate::{root, server};

/// Longer than any run takes; past this something hangs.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) fn run(seed: u64) -> anyhow::Result<()> {
    let schemathesis = install()?;
    let arklow = server::build()?;
    let scratch = output().join("run");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("cannot remove what the last run left")?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let desk = Desk { arklow, scratch };
    // First: it makes the database and its keys.
    let server = desk.serve()?;
    let owner = desk.user("owner")?;
    let stranger = desk.user("stranger")?;

    let authentication = desk.scratch.join("auth.json");
    let users = [("owner", &owner), ("stranger", &stranger)].map(|(name, token)| {
        json!({ "name": name, "fixedHeaders": [{ "name": "x-arklow-auth", "value": token }] })
    });
    fs::write(&authentication, json!({ "auth": users }).to_string())?;
    let reports = Reports::below(&output())?;
    let mut tester = Command::new(schemathesis);
    tester
        .args([
            "--config-file",
            "schemathesis.toml",
            "run",
            "../openapi.yaml",
        ])
        .args([
            "--url",
            &server.url,
            "--checks",
            "all",
            "--seed",
            &seed.to_string(),
        ])
        .args([
            "--generation-database",
            "none",
            "--report",
            "junit,html,har,json",
        ])
        .args(
            reports
                .arguments()
                .iter()
                .flat_map(|(flag, path)| [OsStr::new(flag), path.as_os_str()]),
        )
        .current_dir(root().join(TOOLS))
        .env("ARKLOW_CONTRACT_AUTH", &authentication)
        .env("ARKLOW_CONTRACT_URL", &server.url)
        .env("ARKLOW_CONTRACT_OWNER", &owner)
        .env("ARKLOW_CONTRACT_STRANGER", &stranger)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Its output is UTF-8, whatever the locale.
        .env("PYTHONUTF8", "1");
    let passed = wait(tester.spawn().context("cannot run Schemathesis")?)?;
    drop(server);
    if !passed {
        bail!(
            "Schemathesis found faults, above and in {}; `cargo xtask contract run --seed {seed}` repeats the run",
            reports.folder.display()
        );
    }
    let document = root().join("crates/api/src/generated/openapi-3.0.json");
    let read = |path: &Path| -> anyhow::Result<Value> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
    };
    let reached = verdict::judge(
        &read(&document)?,
        &read(&reports.har)?,
        &read(&reports.json)?,
    )?;
    eprintln!("{reached}reports: {}", reports.folder.display());
    Ok(())
}

/// Where the reports go, always the same.
struct Reports {
    folder: PathBuf,
    junit: PathBuf,
    html: PathBuf,
    har: PathBuf,
    json: PathBuf,
}

impl Reports {
    /// Without those of an earlier run, which must not be taken for this one's.
    fn below(folder: &Path) -> anyhow::Result<Self> {
        let reports = Self {
            folder: folder.to_owned(),
            junit: folder.join("junit.xml"),
            html: folder.join("html"),
            har: folder.join("requests.har"),
            json: folder.join("report.json"),
        };
        for path in [&reports.junit, &reports.har, &reports.json] {
            if path.exists() {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        if reports.html.exists() {
            fs::remove_dir_all(&reports.html).context("cannot remove the last HTML report")?;
        }
        Ok(reports)
    }

    fn arguments(&self) -> [(&'static str, &Path); 4] {
        [
            ("--report-junit-path", &self.junit),
            ("--report-html-path", &self.html),
            ("--report-har-path", &self.har),
            ("--report-json-path", &self.json),
        ]
    }
}

/// The binary, and a folder for its database.
struct Desk {
    arklow: PathBuf,
    scratch: PathBuf,
}

impl Desk {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.arklow);
        let database = self.scratch.join("contract.db");
        // The developer's environment variables must not reach this server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ARKLOW_") {
                command.env_remove(name);
            }
        }
        command.env(
            "ARKLOW_DATABASE_URL",
            format!("sqlite:{}", database.display()),
        );
        command
    }

    /// A user with a confirmed device; gives the token of an MFA-fresh session.
    fn user(&self, name: &str) -> anyhow::Result<String> {
        let email = format!("{name}@example.com");
        let user = self.ask(&["user", "create", "--name", name, "--email", &email])?;
        let id = user["id"].as_str().context("a user has an id")?;
        self.ask(&[
            "device",
            "create",
            "--user",
            id,
            "--name",
            "Phone",
            "--confirmed",
        ])?;
        let session = self.ask(&[
            "session",
            "create",
            "--user",
            id,
            "--ttl",
            "12h",
            "--mfa-verified-for",
            "12h",
        ])?;
        let token = session["token"].as_str().context("a session has a token")?;
        Ok(token.to_owned())
    }

    /// What a command prints with `--json`.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.command().args(arguments).arg("--json").output();
        let output = output.with_context(|| format!("cannot run {}", self.arklow.display()))?;
        if !output.status.success() {
            bail!(
                "`arklow {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        serde_json::from_slice(&output.stdout).context("it prints JSON")
    }

    /// A server on a free port.
    ///
    /// Its limits would end the run after ten enrollments, and are tested elsewhere. That failures lock a user cannot be
    /// switched off; every second code is right, so a hundred failures in a row do not happen. A request may take its time:
    /// on a busy machine the tester may stand still between the head of a request and its body.
    fn serve(&self) -> anyhow::Result<Server> {
        let log = self.scratch.join("server.log");
        let child = self
            .command()
            .args(["serve", "--listen", "127.0.0.1:0", "--limits", "off"])
            .args(["--max-devices", "50", "--lock-after", "100"])
            .args(["--step-up", "12h", "--body-timeout", "5m"])
            .args(["--request-deadline", "5m"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).with_context(|| format!("cannot create {}", log.display()))?)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Server {
            child,
            url: String::new(),
        };
        let started = Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let url = said
                .lines()
                .find_map(|line| line.split_once("listening on "))
                .and_then(|(_, rest)| rest.split(['"', ' ']).next());
            if let Some(url) = url.filter(|_| said.ends_with('\n')) {
                url.clone_into(&mut server.url);
                return Ok(server);
            }
            if server.child.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(60) {
                bail!("the server did not start:\n{said}");
            }
            pause();
        }
    }
}

/// A running server, which ends with this value.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; nothing on its disk is kept.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether it ends well, and before the deadline.
fn wait(mut child: Child) -> anyhow::Result<bool> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if started.elapsed() > DEADLINE {
            child.kill()?;
            child.wait()?;
            bail!("Schemathesis did not end within {} s", DEADLINE.as_secs());
        }
        pause();
    }
}

/// Lets a process go on, between two looks at it.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// What `contract/requirements.txt` names, in a virtual environment, once; gives the program.
fn install() -> anyhow::Result<PathBuf> {
    let list = root().join(TOOLS).join("requirements.txt");
    let wanted =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let folder = output().join("python");
    let program = folder.join("bin/schemathesis");
    let stamp = folder.join("requirements.txt");
    if program.exists() && is_installed(&stamp, &wanted) {
        return Ok(program);
    }
    let python = Command::new("python3")
        .args([
            "-c",
            "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))",
        ])
        .output();
    if !python.is_ok_and(|output| output.status.success()) {
        bail!(
            "Schemathesis needs Python 3.11 or newer with venv (Debian: `apt-get install python3-venv`); nothing was tested"
        );
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the last virtual environment")?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&folder);
    must(&mut make, "the virtual environment cannot be made")?;
    let mut install = Command::new(folder.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--requirement",
        ])
        .arg(&list);
    must(&mut install, "Schemathesis cannot be installed")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(program)
}
