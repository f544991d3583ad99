//! Secrets are looked for in all that the processes print at the most verbose level, and in the database.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Home, Server, string, text};

const VERBOSE: &[&str] = &["--log-level", "trace"];

#[tokio::test]
async fn t14_nothing_printed_or_stored_holds_a_secret() {
    let home = Home::new();
    let mut secrets: BTreeSet<String> = BTreeSet::new();
    let mut messages = String::new();

    // The commands: what they print as data is the secret's one way out; their messages and logs are searched.
    let mut run = |arguments: &[&str]| {
        let output = home.output(&[VERBOSE, arguments, &["--json"]].concat());
        messages += &text(&output.stderr);
        assert!(output.status.success(), "{messages}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let user = string(
        &run(&[
            "user",
            "create",
            "--name",
            "Ada",
            "--email",
            "ada@example.com",
        ])["id"],
    );
    let device = run(&[
        "device",
        "create",
        "--user",
        &user,
        "--name",
        "Phone",
        "--confirmed",
    ]);
    let uri = string(&device["provisioning_uri"]);
    let device = string(&device["id"]);
    let seed = uri
        .split(['?', '&'])
        .find_map(|part| part.strip_prefix("secret="))
        .expect("a seed");
    secrets.insert(seed.to_owned());
    let token = string(
        &run(&[
            "session",
            "create",
            "--user",
            &user,
            "--mfa-verified-for",
            "10m",
        ])["token"],
    );
    secrets.insert(token.clone());
    secrets.insert(token.trim_start_matches("arks_").to_owned());
    let keys = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    secrets.extend(
        keys.split_whitespace()
            .filter(|word| word.len() == 64)
            .map(str::to_owned),
    );

    // The server: successes, refusals, faults of every kind, with the secrets where they do not belong as well.
    let server = home.serve(
        &[
            VERBOSE,
            &["--log-format", "json", "--busy-timeout", "100ms"],
            &["--internal-listen", "127.0.0.1:0"],
        ]
        .concat(),
    );
    for _ in 0..3 {
        let codes = server.regenerate(&token, &device).await.backup_codes();
        secrets.extend(codes.iter().map(|code| code.replace('-', "")));
        secrets.extend(codes);
    }
    // The whole family: what is handed out, what is presented, right and wrong.
    let (_, plain, _) = home.session(&user, None);
    secrets.insert(plain.clone());
    let started = server.start(&token, "Tablet").await;
    let (tablet, app) = (started.device(), started.app());
    let uri = string(&started.body["data"]["provisioning_uri"]);
    let seed = uri
        .split(['?', '&'])
        .find_map(|part| part.strip_prefix("secret="))
        .expect("a seed");
    secrets.insert(seed.to_owned());
    secrets.insert(uri.clone());
    let picture = string(&started.body["data"]["qr_code"]);
    secrets.insert(picture["data:image/png;base64,".len()..].to_owned());
    let codes = started.backup_codes();
    secrets.extend(codes.iter().map(|code| code.replace('-', "")));
    secrets.extend(codes.clone());
    let totp = [app.code(), app.next_code(), app.wrong_code()];
    server.confirm(&token, &tablet, &totp[2]).await;
    server.confirm(&token, &tablet, &totp[0]).await;
    server.verify(&plain, &tablet, &totp[0]).await;
    server.verify(&plain, &tablet, &totp[1]).await;
    server.redeem(&plain, &tablet, &codes[0]).await;
    server.redeem(&plain, &tablet, &codes[0]).await;
    server.redeem(&plain, &tablet, &codes[0][..28]).await;
    server.user(&plain).await;
    server.devices(&plain).await;
    let kind = arklow_client::types::VerificationType::BackupCode;
    server.remove(&plain, &tablet, kind, &codes[0]).await;
    let removed = server.remove(&plain, &tablet, kind, &codes[1]).await;
    assert_eq!(removed.body["data"]["removed"], true);
    let debug = format!(
        "{:?}",
        arklow_client::types::TotpCodeRequest {
            device_id: tablet.clone(),
            code: totp[0].clone(),
        }
    );
    assert!(!debug.contains(&totp[0]), "{debug}");

    // And what operators do meanwhile, including a rotation of the keys.
    for arguments in [
        &["keys", "rotate"][..],
        &["keys", "list"],
        &["device", "list", &user],
        &["session", "list", &user],
        &["user", "unlock", &user],
        &["audit", "list"],
    ] {
        let output = home.output(&[VERBOSE, arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        messages += &text(&output.stderr);
        // None of these has a secret to give: what they print as data is searched, too.
        messages += &text(&output.stdout);
    }
    let keys = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    secrets.extend(
        keys.split_whitespace()
            .filter(|word| word.len() == 64)
            .map(str::to_owned),
    );

    let code = secrets
        .iter()
        .find(|secret| secret.len() == 29)
        .expect("a code")
        .clone();
    for body in [
        json!({ "device_id": code }).to_string(),
        json!({ "device_id": [token] }).to_string(),
        format!("{{\"device_id\":{token}}}"),
        json!({ (code.clone()): 1, "device_id": 1 }).to_string(),
        " ".repeat(70_000),
    ] {
        assert!(
            server
                .post(&token, body)
                .send()
                .await
                .expect("an answer")
                .status()
                .is_client_error()
        );
    }
    let twice = server
        .post(&token, "{}")
        .header("x-arklow-auth", &token)
        .header("user-agent", "curl");
    assert_eq!(twice.send().await.expect("an answer").status(), 401);
    server
        .regenerate(&format!("{token}x"), &device)
        .await
        .assert(401, "UNAUTHENTICATED");
    let not_json =
        reqwest::Client::new().put(format!("{}/v1/self/mfa/regenerate/totp", server.base));
    assert_eq!(
        not_json
            .header("x-arklow-auth", &token)
            .send()
            .await
            .expect("an answer")
            .status(),
        405
    );
    let mut vandal = home.vandal();
    vandal.lock();
    server
        .regenerate(&token, &device)
        .await
        .assert(503, "UNAVAILABLE");
    vandal.run("ROLLBACK");
    vandal.unchecked();
    vandal.run("UPDATE devices SET name = ''");
    server
        .regenerate(&token, &device)
        .await
        .assert(500, "INTERNAL");

    let printed = server.printed();
    let internal = printed.split("health and metrics are at ").nth(1);
    let internal = internal.and_then(|rest| rest.split('"').next());
    for path in ["readyz", "metrics"] {
        let url = format!("{}/{path}", internal.expect("an address"));
        let answer = reqwest::get(url).await.expect("an answer");
        messages += &answer.text().await.expect("a text");
    }
    let printed = stopped(server) + &messages;
    // Six digits may be part of any number; as a separate word they would be a code.
    for code in &totp {
        let found = printed
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word == code);
        // A log has many numbers of six digits, but none in quotes.
        assert!(
            !found || !printed.contains(&format!("\"{code}\"")),
            "a TOTP code"
        );
    }
    assert!(
        printed.contains("\"level\":\"TRACE\"") && printed.contains("were replaced"),
        "the log is verbose:\n{printed}"
    );
    for secret in &secrets {
        assert!(
            !printed.to_lowercase().contains(&secret.to_lowercase()),
            "a secret of {} bytes was printed",
            secret.len()
        );
    }
    for file in ["arklow.db", "arklow.db-wal"] {
        let bytes = std::fs::read(home.path().join(file)).unwrap_or_default();
        for secret in &secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window.eq_ignore_ascii_case(secret.as_bytes()));
            assert!(!found, "a secret of {} bytes is in {file}", secret.len());
        }
    }
    assert!(
        secrets.len() > 60,
        "{} secrets were looked for",
        secrets.len()
    );
}

/// Stops the server and gives all that it printed.
fn stopped(mut server: Server) -> String {
    server.signal("TERM");
    assert!(server.wait().success());
    server.printed()
}
