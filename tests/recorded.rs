//! What users see, recorded in `tests/recorded`: the help of every command, what wrong commands say and how they end,
//! and the text of each documented answer. `UPDATE_EXPECT=1` rewrites the files; review the diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use expect_test::expect_file;
use regex::Regex;

use crate::harness::{Answer, Home, arklow, text};
use crate::operators::commands;

/// What differs from one run to the next, and what stands for it.
static VARYING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let all = [
        (r#""data:image/png;base64,[^"]*""#, "\"PNG\""),
        (r#"otpauth://[^"\s`]+"#, "URI"),
        (r"\b[0-9A-Z]{4}(-[0-9A-Z]{4}){5}\b", "BACKUP-CODE"),
        (r"\b[A-Z2-7]{32}\b", "SEED"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\b[0-9a-f]{16}\b", "KEY-ID"),
        (r"\b\d{15,19}\b", "ID"),
        (r"\b(3[56]\d\d|8[0-9]\d|900|29\d|300)\b", "SECONDS"),
    ];
    all.map(|(pattern, word)| (Regex::new(pattern).expect("a pattern"), word))
        .into()
});

fn mask(text: &str) -> String {
    VARYING
        .iter()
        .fold(text.to_owned(), |text, (pattern, word)| {
            pattern.replace_all(&text, *word).into_owned()
        })
}

/// Headers that the connection needs, or that are there for one way to send a request only.
const UNRECORDED: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];

/// Compares the answers with the recorded ones. The key is operation, status and code.
pub(crate) fn compare_answers(answers: &BTreeMap<(String, u16, Option<String>), Answer>) {
    let mut all = String::new();
    for ((operation, _, _), answer) in answers {
        let headers: BTreeMap<&str, &str> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .filter(|(name, _)| !UNRECORDED.contains(name))
            .collect();
        writeln!(all, "# {operation}\n{}", answer.status).expect("it fits");
        for (name, value) in headers {
            writeln!(all, "{name}: {}", mask(value)).expect("it fits");
        }
        writeln!(all, "\n{}\n", mask(&answer.text)).expect("it fits");
    }
    expect_file!["recorded/answers.txt"].assert_eq(&all);
}

#[test]
fn help_of_every_command_is_as_recorded() {
    let mut all = String::new();
    let commands = commands(&Home::new());
    let groups = commands
        .iter()
        .filter_map(|name| Some(name.split_once(' ')?.0.to_owned()));
    let names = std::iter::once(String::new()).chain(groups.chain(commands.iter().cloned()));
    for name in std::collections::BTreeSet::from_iter(names) {
        let output = arklow()
            .args(name.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(output.stderr.is_empty(), "{name}");
        writeln!(all, "$ arklow {name} --help\n{}", text(&output.stdout)).expect("it fits");
    }
    expect_file!["recorded/help.txt"].assert_eq(&all);
}

#[test]
fn wrong_commands_end_as_recorded() {
    let home = Home::on_sqlite();
    let wrong = [
        "",
        "nothing",
        "user create --name Ada",
        "user create --name Ada --email nobody",
        "user disable 007",
        "session create --user 12 --ttl soon",
        "serve --listen nowhere",
        "user disable 12",
        "user disable 12 --database-url mysql://localhost",
        "user disable 12 --database-url postgres://ada:hunter2@host/db?sslmode=nonsense",
        "user disable 12 --database-url sqlite:missing/arklow.db",
        "migrate status",
        "migrate up",
        "migrate up",
        "keys generate --out arklow.db.keys",
        "keys generate --out arklow.db.keys",
        "keys list",
        "user create --name Ada --email ada@example.com --json",
        "user create --name Eve --email ADA@example.com",
        "user show 12",
        "session create --user 12",
        "session revoke 12",
        "device remove 12",
        "device create --user 12 --name Phone",
        "restore missing.backup",
        "backup arklow.db",
        "copy --from sqlite:arklow.db --to sqlite:other.db",
        "dev code nonsense",
    ];
    let folder = home.path().display().to_string();
    let mut all = String::new();
    for line in wrong {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = home.output(&arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        let said = mask(&said.replace(&folder, "FOLDER"));
        let code = output.status.code().expect("it ends by itself");
        writeln!(all, "$ arklow {line}\n{said}exit code {code}\n").expect("it fits");
    }
    expect_file!["recorded/commands.txt"].assert_eq(&all);
}
