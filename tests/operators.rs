//! The actor: each command that changes a database leaves a record of the account that ran it.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use arklow_store::{AuditFilter, AuditRecord};

use crate::harness::{Home, skip, text};

/// What a command leaves in the audit.
#[derive(Clone, Copy)]
enum Leaves {
    /// A record of this event.
    Record(&'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

use Leaves::{Nothing, Record};

/// Every command, in an order in which they can run one after the other.
const COMMANDS: &[(&str, Leaves)] = &[
    ("user create", Record("mfa.admin.user_created")),
    ("user unlock", Record("mfa.factor.unlocked")),
    ("session create", Record("mfa.admin.session_created")),
    ("session list", Record("mfa.admin.sessions_listed")),
    ("session revoke", Record("mfa.admin.session_revoked")),
    ("device create", Record("mfa.admin.device_created")),
    ("device list", Record("mfa.admin.devices_listed")),
    ("device reset-step", Record("mfa.admin.step_reset")),
    ("device remove", Record("mfa.totp.removed")),
    ("keys rotate", Record("mfa.key.rotated")),
    ("keys retire", Record("mfa.key.retired")),
    ("restored", Record("mfa.admin.restored")),
    // What is given up can be retried.
    ("outbox discard", Record("mfa.admin.messages_discarded")),
    ("outbox retry", Record("mfa.admin.messages_retried")),
    ("user disable", Record("mfa.admin.user_disabled")),
    ("user enable", Record("mfa.admin.user_enabled")),
    ("user list", Record("mfa.admin.users_listed")),
    ("user show", Record("mfa.admin.user_shown")),
    ("dev code", Nothing("it has no database")),
    ("mock", Nothing("it has no database")),
    ("serve", Nothing("each request leaves its own record")),
    ("keys generate", Nothing("it has no database")),
    ("keys list", Nothing("it reads ids and counts")),
    (
        "migrate up",
        Nothing("it changes tables, not what is in them"),
    ),
    ("migrate status", Nothing("it reads names of migrations")),
    (
        "copy",
        Nothing("the target holds the records of the source"),
    ),
    (
        "backup",
        Nothing("it must work on any database that can be read"),
    ),
    (
        "restore",
        Nothing("the database that it puts in place has the records of `restored`"),
    ),
    ("outbox list", Nothing("it reads the outbox")),
    ("audit list", Nothing("it reads the audit")),
    ("version", Nothing("it prints what was built")),
    ("completions", Nothing("it prints a script")),
    ("man", Nothing("it writes pages")),
    ("healthcheck", Nothing("it asks a server")),
    ("doctor", Nothing("it reads what there is")),
    ("audit export", Nothing("it reads the audit")),
    ("audit verify", Nothing("it has no database")),
    ("config check", Nothing("it has no database")),
    ("config print", Nothing("it has no database")),
];

/// The commands that `--help` lists, with their subcommands.
pub(crate) fn commands(home: &Home) -> BTreeSet<String> {
    fn listed(home: &Home, above: &[&str]) -> Vec<String> {
        let help = text(&home.output(&[above, &["--help"]].concat()).stdout);
        let Some((_, list)) = help.split_once("Commands:\n") else {
            return Vec::new();
        };
        let lines = list.lines().take_while(|line| !line.trim().is_empty());
        lines
            // A description that is wrapped goes on further to the right.
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    }
    let mut found = BTreeSet::new();
    for name in listed(home, &[]) {
        let below = listed(home, &[&name]);
        if below.is_empty() {
            found.insert(name);
        } else {
            found.extend(below.iter().map(|sub| format!("{name} {sub}")));
        }
    }
    found
}

/// Which account runs the tests, and on which host, by programs that are not ours.
fn account() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        text(&output.expect("it runs").stdout).trim().to_owned()
    };
    format!("{} on {}", said("id", &["-un"]), said("uname", &["-n"]))
}

/// A command with variables that claim another account.
fn faked(home: &Home, arguments: &[String]) -> Command {
    let mut command = home.arklow();
    command.args(arguments);
    for variable in ["USER", "LOGNAME", "USERNAME", "HOME", "HOSTNAME"] {
        command.env(variable, "faked");
    }
    command
        .env("SUDO_USER", "faked) on elsewhere")
        .env("SUDO_UID", "4294967296");
    command
}

async fn records(home: &Home) -> Vec<AuditRecord> {
    let store = home.store().await;
    let records = store.audit_records(AuditFilter::default()).await;
    store.close().await;
    records.expect("records")
}

fn actor(record: &AuditRecord) -> &str {
    record.origin.actor.as_deref().unwrap_or_default()
}

#[test]
fn t43_every_command_is_known_to_leave_a_record_or_to_need_none() {
    let known: BTreeSet<String> = COMMANDS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(commands(&Home::new()), known);
    for (name, leaves) in COMMANDS {
        if let Nothing(why) = leaves {
            assert!(!why.is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn t43_every_change_by_a_command_is_on_record_with_the_account_that_made_it() {
    let home = Home::new();
    let ada = home.caller("ada");
    let (session, _, _) = home.session(&ada.user, None);
    let spare = home.device(&ada.user, false);
    let key = home.keyring().active().to_string();
    let expected = format!(r#"{}, label "ticket 12""#, account());

    for (name, leaves) in COMMANDS {
        let Record(event) = leaves else {
            continue;
        };
        let more: Vec<&str> = match *name {
            "user create" => vec!["--name", "Bob", "--email", "bob@example.com"],
            "user unlock" | "user disable" | "user enable" | "user show" => {
                vec![ada.user.as_str()]
            }
            "session create" => vec!["--user", &ada.user, "--mfa-verified-for", "15m"],
            "device create" => vec!["--user", &ada.user, "--name", "Tablet", "--confirmed"],
            "session list" | "device list" => vec![ada.user.as_str()],
            "session revoke" => vec![session.as_str()],
            "device remove" => vec![spare.as_str()],
            "device reset-step" => {
                let ahead = format!("UPDATE devices SET last_step = 9000000000 WHERE id = {spare}");
                home.vandal().run(&ahead);
                vec![spare.as_str()]
            }
            "keys rotate" | "restored" | "user list" => vec![],
            "keys retire" => vec![key.as_str()],
            "outbox discard" => vec!["--before", "0s"],
            "outbox retry" => vec!["--all"],
            other => panic!("`{other}` has no arguments here"),
        };
        let arguments: Vec<String> = name
            .split(' ')
            .chain(more)
            .chain(["--actor", "ticket 12"])
            .map(str::to_owned)
            .collect();
        let before = records(&home).await.len();
        let output = faked(&home, &arguments).output().expect("the binary runs");
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let all = records(&home).await;
        let new = &all[before..];
        let events: Vec<&str> = new.iter().map(|record| record.event.as_str()).collect();
        let begun = match *name {
            "restored" => vec!["mfa.admin.restore_started"],
            _ => vec![],
        };
        assert_eq!(events, [begun, vec![*event]].concat(), "{name}");
        for record in new {
            assert_eq!(actor(record), expected, "{name}");
            let is_of_nobody = [
                "mfa.key.",
                "mfa.admin.restore",
                "mfa.admin.users_",
                "mfa.admin.messages_",
            ]
            .iter()
            .any(|start| event.starts_with(start));
            assert!(
                is_of_nobody || record.user_id.is_some(),
                "{name}: {record:?}"
            );
        }
    }
    // Both devices that a command created with `--confirmed`, and the one without.
    let told = "outbox WHERE kind = 'mfa.admin.device_created'";
    assert_eq!(home.vandal().count(told), 3);
}

#[tokio::test]
async fn t43_the_caller_of_sudo_and_a_label_stand_beside_the_account() {
    let home = Home::new();
    let ada = home.user("ada");
    let account = account();
    let (name, host) = account.split_once(" on ").expect("both");
    let list: Vec<String> = ["device", "list", &ada].map(str::to_owned).into();
    let sudo = |user: &str, uid: &str| {
        let mut command = faked(&home, &list);
        command.env("SUDO_USER", user).env("SUDO_UID", uid);
        command
    };
    let by_variable = |label: &str| {
        let mut command = faked(&home, &list);
        command.env("ARKLOW_ACTOR", label);
        command
    };
    let long = "x".repeat(1_000);
    let cases = [
        (
            sudo("arklow-ada", "1001"),
            format!("{name} (sudo: arklow-ada) on {host}"),
        ),
        (sudo("", "1001"), account.clone()),
        // The uid of another account.
        (sudo("daemon", "4000000"), account.clone()),
        (sudo("a\nb", "1001"), account.clone()),
        (by_variable("root"), format!(r#"{account}, label "root""#)),
        (by_variable(""), account.clone()),
        (
            by_variable("\" on db2\n"),
            format!(r#"{account}, label "\" on db2\n""#),
        ),
        (
            by_variable(&long),
            format!(r#"{account}, label "{long}"#)[..256].to_owned(),
        ),
    ];
    for (mut command, expected) in cases {
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let records = records(&home).await;
        assert_eq!(actor(records.last().expect("a record")), expected);
    }
}

#[tokio::test]
async fn t43_an_account_without_a_name_is_on_record_by_its_uid() {
    const UID: u32 = 3_999_999_999;
    let home = Home::new();
    let ada = home.user("ada");
    if !home.is_root() {
        return skip("only root can run a command as an account without a name");
    }
    home.give_to(UID);
    let mut command = home.arklow_of_all();
    command
        .args(["session", "create", "--user", &ada])
        .uid(UID)
        .gid(UID)
        .env("USER", "root");
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let records = records(&home).await;
    let said = actor(records.last().expect("a record"));
    assert!(said.starts_with(&format!("uid:{UID} on ")), "{said}");
}

#[test]
fn records_of_commands_are_listed_without_token_or_seed() {
    let home = Home::new();
    let ada = home.caller("ada");
    for arguments in [&["audit", "list"][..], &["audit", "list", "--json"]] {
        let listed = text(&home.output(arguments).stdout);
        let created = listed.lines().find(|line| line.contains("session_created"));
        let created = created.expect("a line");
        for words in [&account(), &ada.user, &ada.session] {
            assert!(created.contains(words.as_str()), "`{words}`: {created}");
        }
        assert!(!listed.contains(&ada.token), "{listed}");
    }
}
