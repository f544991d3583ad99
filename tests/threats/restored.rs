//! Secrets and sessions that a restored backup would revive.

use serde_json::Value;

use crate::harness::{Caller, Home, NO_LIMITS, Server, text};

use super::*;

/// Bob loses his phone and Carl leaves after the backup; it is restored, and these are the commands.
async fn restored_after_a_theft(arguments: impl Fn(&Home, &[&str]) -> Vec<String>) -> Theft {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let [ada, bob, carl] = ["ada", "bob", "carl"].map(|name| home.caller(name));
    drop(server);
    let backup = home.back_up();
    let at = crate::commands::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    home.run(&["device", "remove", &bob.device]);
    home.run(&["user", "disable", &carl.user]);
    let removed = text(
        &home
            .output(&["audit", "list", "--json", "--since", &at])
            .stdout,
    );
    let disabled = format!(
        r#"{{"at":"{at}","event":"mfa.admin.user_disabled","outcome":"success","user_id":"{}"}}"#,
        carl.user
    );
    let kept = home.path().join("kept.jsonl");
    std::fs::write(&kept, format!("{removed}{disabled}\n")).expect("a file");
    home.restore(&backup);

    let arguments = arguments(&home, &[&at, &kept.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = home.output(&[&["restored", "--json"], &arguments[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    Theft {
        said: text(&output.stderr),
        printed: serde_json::from_slice(&output.stdout).expect("one object"),
        home,
        ada,
        bob,
        carl,
    }
}

struct Theft {
    said: String,
    printed: Value,
    home: Home,
    ada: Caller,
    bob: Caller,
    carl: Caller,
}

impl Theft {
    /// Whether the user may sign in, and whether the code that the app shows next steps the session up.
    async fn works(&self, server: &Server, who: &Caller) -> (bool, bool) {
        let output = self
            .home
            .output(&["session", "create", "--user", &who.user]);
        if !output.status.success() {
            return (false, false);
        }
        let token = text(&output.stdout).trim().to_owned();
        // As if time had passed: the codes that were shown by now are dead.
        let (device, code) = (&who.device, who.app.code());
        self.home.vandal().run(&format!(
            "UPDATE devices SET last_step = last_step - 10 WHERE id = {device}"
        ));
        let answer = server.verify(&token, device, &code).await;
        (true, answer.status == 200 && answer.is_valid())
    }
}

#[tokio::test]
async fn t17_what_a_restored_backup_would_revive_is_killed_by_the_command_for_it() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    let code = ada.app.code();
    drop(server);
    let backup = home.back_up();

    // After the backup a session ends, and codes are used.
    let server = home.serve(NO_LIMITS);
    server.by(&ada).verify(&code).await.assert_valid();
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    home.run(&["session", "revoke", &ada.session]);
    drop(server);
    home.restore(&backup);

    let restored = home.run(&["restored"]);
    assert_eq!(restored["sessions"], 1);
    assert_eq!(restored["code_sets"], 1);
    let server = home.serve(NO_LIMITS);
    assert_eq!(server.by(&ada).user().await.status, 401);
    let (_, token, _) = home.session(&ada.user, None);
    server
        .verify(&token, &ada.device, &code)
        .await
        .assert_invalid();
    for code in &codes[..2] {
        server
            .redeem(&token, &ada.device, code)
            .await
            .assert_invalid();
    }
}

#[tokio::test]
async fn t17_what_restored_cannot_know_is_said_and_not_touched_without_a_time() {
    let theft = restored_after_a_theft(|_, _| Vec::new()).await;
    let server = theft.home.serve(NO_LIMITS);
    for words in [
        "devices that were removed",
        "users who were disabled",
        "--since",
    ] {
        assert!(theft.said.contains(words), "{}", theft.said);
    }
    for who in [&theft.ada, &theft.bob, &theft.carl] {
        assert_eq!(theft.works(&server, who).await, (true, true));
    }
}

#[tokio::test]
async fn t17_with_the_time_of_the_backup_all_are_held_until_somebody_has_looked() {
    let since = |_: &Home, given: &[&str]| vec!["--since".to_owned(), given[0].to_owned()];
    let theft = restored_after_a_theft(since).await;
    let server = theft.home.serve(NO_LIMITS);
    assert_eq!(theft.printed["users_disabled"], 3);
    assert_eq!(theft.printed["devices_locked"], 3);
    let look_at = theft.printed["look_at"].as_array().expect("a list");
    for who in [&theft.ada, &theft.bob, &theft.carl] {
        assert!(look_at.iter().any(|user| user["id"] == who.user.as_str()));
        assert_eq!(theft.works(&server, who).await, (false, false));
    }
    // Enabled alone, the devices are still dead.
    for who in [&theft.ada, &theft.bob] {
        theft.home.run(&["user", "enable", &who.user]);
        assert_eq!(theft.works(&server, who).await, (true, false));
    }
    theft.home.run(&["device", "remove", &theft.bob.device]);
    for who in [&theft.ada, &theft.bob] {
        theft.home.run(&["user", "unlock", &who.user]);
    }
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
    assert_eq!(theft.works(&server, &theft.bob).await, (true, false));
}

#[tokio::test]
async fn t17_with_records_kept_elsewhere_what_they_tell_is_done_again() {
    let with_records = |_: &Home, given: &[&str]| {
        ["--since", given[0], "--audit", given[1]]
            .map(str::to_owned)
            .into()
    };
    let theft = restored_after_a_theft(with_records).await;
    let server = theft.home.serve(NO_LIMITS);
    assert_eq!(theft.printed["users_disabled"], 1);
    assert_eq!(theft.printed["devices_removed"], 1);
    assert_eq!(theft.printed["devices_locked"], 0);
    let look_at = theft.printed["look_at"].as_array().expect("a list");
    assert_eq!(look_at.len(), 2, "{look_at:?}");
    assert!(theft.said.contains("the records end at"), "{}", theft.said);
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
    assert_eq!(theft.works(&server, &theft.bob).await, (true, false));
    assert_eq!(theft.works(&server, &theft.carl).await, (false, false));

    // What is no such file changes nothing.
    for lines in ["{}", "{\"at\":\"now\"}", "x", "{\"at\":1}"] {
        let file = theft.home.path().join("broken.jsonl");
        std::fs::write(&file, lines).expect("a file");
        let output = theft.home.output(&[
            "restored",
            "--since",
            "1h",
            "--audit",
            &file.display().to_string(),
        ]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("line 1") && said.contains("--audit"),
            "{said}"
        );
    }
    let future = theft
        .home
        .output(&["restored", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(future.status.code(), Some(2));
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
}
