//! The configuration: which source wins, what is refused, and what is printed of it.

use std::path::Path;
use std::process::Output;

use expect_test::expect_file;
use serde_json::Value;

use crate::harness::{Home, Server, arklow, string, text};

/// Writes a configuration file into the folder of `home`.
fn write(home: &Home, content: &str) {
    std::fs::write(home.path().join("arklow.toml"), content).expect("a file");
}

/// Runs a command in the folder of `home` with the file, and with these variables.
fn run(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    arklow()
        .args(arguments)
        .envs(variables.iter().copied())
        .env("ARKLOW_CONFIG", "arklow.toml")
        .current_dir(home.path())
        .output()
        .expect("the binary runs")
}

/// Value and source of each setting.
fn settings(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Value {
    let arguments = [&["config", "print", "--json"], arguments].concat();
    let output = run(home, &arguments, variables);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn flags_come_before_variables_before_the_file_before_defaults() {
    let home = Home::on_sqlite();
    write(
        &home,
        "# what operators write\nlisten = \"localhost:4000\"\nmax_devices = 7\ndocs = false\n\
         limit-address = [\"3/1m\", \"9/1h\"]\nlock-after = 4\nstep-up = \"20m\"\n",
    );
    let variables = [("ARKLOW_LOCK_AFTER", "3"), ("ARKLOW_STEP_UP", "25m")];
    let found = settings(&home, &["--step-up", "30m"], &variables);
    for (name, value, source) in [
        ("listen", "\"localhost:4000\"", "arklow.toml:2"),
        ("max-devices", "7", "arklow.toml:3"),
        ("docs", "\"off\"", "arklow.toml:4"),
        ("limit-address", "[\"3/1m\",\"9/1h\"]", "arklow.toml:5"),
        ("lock-after", "3", "ARKLOW_LOCK_AFTER"),
        ("step-up", "\"30m\"", "flag"),
        ("idle-timeout", "\"75s\"", "default"),
    ] {
        assert_eq!(found[name]["value"].to_string(), value, "{name}");
        assert_eq!(found[name]["source"], source, "{name}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_file() {
    let home = Home::on_sqlite();
    write(
        &home,
        "lock-after = 4\ntrusted-proxy = [\"10.0.0.0/8\", \"::1\"]\n",
    );
    let first = settings(&home, &[], &[]);
    let printed = run(&home, &["config", "print"], &[]);
    write(&home, &text(&printed.stdout));
    let second = settings(&home, &[], &[]);
    for (name, setting) in first.as_object().expect("settings") {
        assert_eq!(setting["value"], second[name]["value"], "{name}");
    }
    let checked = run(&home, &["config", "check"], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn server_and_commands_run_with_the_file() {
    let home = Home::on_sqlite();
    write(
        &home,
        "listen = \"127.0.0.1:0\"\ndatabase-url = \"sqlite:other.db\"\nlimits = \"off\"\nlog-format = \"json\"\n",
    );
    let mut serve = arklow();
    serve.args(["serve", "--config", "arklow.toml"]);
    let server = Server::spawn(serve.current_dir(home.path()));
    assert!(server.printed().contains("LIMITS ARE OFF"));
    assert!(home.path().join("other.db").exists());
    let create = [
        "user",
        "create",
        "--name",
        "Ada",
        "--email",
        "ada@example.com",
    ];
    let created = run(&home, &create, &[]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let message: Value = serde_json::from_slice(&created.stderr).expect("a record");
    assert_eq!(message["message"], "created user Ada");
}

#[test]
fn errors_say_where_the_setting_stands_and_what_may_be_meant() {
    let home = Home::on_sqlite();
    for (content, words) in [
        (
            "\nlissten = 1\n",
            "arklow.toml:2: unknown setting `lissten`: did you mean `listen`?",
        ),
        ("to = \"x\"\n", "arklow.toml:1: unknown setting `to`"),
        ("listen = \n", "arklow.toml:1: "),
        (
            "[listen]\n",
            "`listen` must be a text, a number, a boolean or a list of them",
        ),
        (
            "\n\nlock-after = \"many\"\n",
            "`lock-after` is set by arklow.toml:3",
        ),
        (
            "listen = \"a\"\nlisten = \"b\"\n",
            "arklow.toml:2: duplicate key",
        ),
    ] {
        write(&home, content);
        let output = run(&home, &["config", "check"], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{content}: {said}");
        assert!(said.contains(words), "{content}: {said}");
    }
    std::fs::remove_file(home.path().join("arklow.toml")).expect("removed");
    let output = run(&home, &["user", "list"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read `arklow.toml` (--config)"));
}

#[test]
fn secret_in_a_file_is_used_and_never_printed() {
    let home = Home::on_sqlite();
    write(&home, "database-url = \"sqlite:other.db\"\n");
    let secret = home.path().join("url");
    std::fs::write(&secret, "postgres://ada:hunter2@127.0.0.1:1/x\n").expect("a file");
    let variable = "ARKLOW_DATABASE_URL_FILE";
    let found = settings(&home, &[], &[(variable, "url")]);
    assert_eq!(found["database-url"]["source"], variable);
    assert_eq!(
        found["database-url"]["value"],
        "postgres://ada@127.0.0.1:1/x"
    );
    let listed = run(&home, &["user", "list"], &[(variable, "url")]);
    let said = text(&listed.stderr);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");

    let both = [(variable, "url"), ("ARKLOW_DATABASE_URL", "sqlite:x.db")];
    let refused = run(&home, &["user", "list"], &both);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("both ARKLOW_DATABASE_URL and"));
    let missing = run(&home, &["user", "list"], &[(variable, "missing")]);
    assert!(text(&missing.stderr).contains("cannot read `missing` (ARKLOW_DATABASE_URL_FILE)"));
    std::fs::write(&secret, "mysql://ada:hunter2@host/x").expect("a file");
    let wrong = run(&home, &["config", "check"], &[(variable, "url")]);
    let said = text(&wrong.stderr);
    assert!(
        said.contains(variable) && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn unknown_variable_is_a_warning() {
    let home = Home::on_sqlite();
    write(&home, "");
    let variables = [
        ("ARKLOW_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("ARKLOW_XYZ", "1"),
    ];
    let output = run(&home, &["config", "check"], &variables);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("ARKLOW_TRUSTED_PROXIES")
            && said.contains("did you mean ARKLOW_TRUSTED_PROXY?"),
        "{said}"
    );
    assert!(
        said.contains("ARKLOW_XYZ is not one of arklow's and has no effect\n"),
        "{said}"
    );
}

#[test]
fn plain_http_on_an_address_that_others_reach_is_a_loud_warning() {
    let home = Home::on_sqlite();
    for (listen, is_loud) in [("0.0.0.0:0", true), ("localhost:0", false)] {
        let server = Server::spawn(home.arklow().args(["serve", "--listen", listen]));
        assert_eq!(server.printed().contains("PLAIN HTTP"), is_loud, "{listen}");
    }
}

#[test]
fn reference_page_lists_every_setting() {
    let output = arklow().args(["config", "reference"]).output();
    let page = text(&output.expect("the binary runs").stdout);
    let home = Home::on_sqlite();
    write(&home, "");
    for name in settings(&home, &[], &[])
        .as_object()
        .expect("settings")
        .keys()
    {
        assert!(
            page.contains(&format!("| `{}` |", string(&Value::from(name.as_str())))),
            "{name}"
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    expect_file![path].assert_eq(&page);
}
