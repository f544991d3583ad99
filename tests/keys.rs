//! Rotating root keys while a server runs, stopping and going on, and retiring what nothing needs.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arklow_domain::{DeviceId, Seed, SystemRandom, UserId};
use arklow_store::{AuditOrigin, CreateDevice, NewDevice};
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::harness::{Caller, Home, NO_LIMITS, PATIENCE, pause, string, text};

/// Every key, as `arklow keys list --json` tells.
fn keys(home: &Home) -> Vec<Value> {
    let output = home.output(&["keys", "list", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

fn ids(keys: &[Value], state: &str) -> Vec<String> {
    let of_state = keys.iter().filter(|key| key["state"] == state);
    of_state.map(|key| string(&key["id"])).collect()
}

/// Many devices of one user.
async fn fill(home: &Home, user: &str, count: usize) {
    let (store, keyring) = (home.store().await, home.keyring());
    let user_id: UserId = user.parse().expect("an id");
    let random = SystemRandom::new();
    let creating = (0..count).map(|_| {
        let id = DeviceId::random(&random).expect("an id");
        let seed = Seed::random(&random).expect("a seed");
        let now = DateTime::<Utc>::UNIX_EPOCH;
        store.create_device(
            NewDevice {
                id,
                user_id,
                name: "Phone".parse().expect("a name"),
                seed: seed.seal(&keyring, user_id, id, &random).expect("a seed"),
                confirmed_at: Some(now),
                now,
            },
            AuditOrigin::default(),
        )
    });
    // Not all at once: who waits for a connection waits only so long.
    let mut creating = futures_util::stream::iter(creating).buffer_unordered(64);
    while let Some(created) = creating.next().await {
        assert_eq!(created.expect("an answer"), CreateDevice::Created);
    }
    drop(creating);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_goes_on_beside_a_server_that_answers_all_the_while() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = Arc::new(home.serve(NO_LIMITS));
    let eve = home.caller("eve");
    let kept = server
        .regenerate(&eve.token, &eve.device)
        .await
        .backup_codes();
    fill(&home, &ada.user, 6_000).await;
    let old = ids(&keys(&home), "active");

    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        let (token, device) = (ada.token.clone(), ada.device.clone());
        async move {
            let mut rounds = 0;
            while !stop.load(Ordering::SeqCst) {
                let codes = server.regenerate(&token, &device).await.backup_codes();
                assert!(server.redeem(&token, &device, &codes[0]).await.is_valid());
                rounds += 1;
            }
            rounds
        }
    });
    // Beside the load, not in its place.
    let mut command = home.arklow();
    command.args(["keys", "rotate", "--json", "--actor", "ops"]);
    let rotated = tokio::task::spawn_blocking(move || command.output());
    let rotated = rotated.await.expect("it ends").expect("the binary runs");
    stop.store(true, Ordering::SeqCst);
    let rounds = load.await.expect("every answer was a success");
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    assert!(rounds > 10, "the server was kept waiting: {rounds} rounds");
    let said = text(&rotated.stderr);
    assert!(said.contains("(100 %)"), "{said}");
    let rotated: Value = serde_json::from_slice(&rotated.stdout).expect("one object");
    assert!(rotated["moved"].as_u64() >= Some(6_002), "{rotated}");
    println!(
        "rotated {} devices beside {rounds} rounds of a server",
        rotated["moved"]
    );

    let now = keys(&home);
    assert_eq!(ids(&now, "active"), [string(&rotated["active"])]);
    assert_eq!(ids(&now, "old"), old);
    let unused = now
        .iter()
        .find(|key| key["id"] == old[0].as_str())
        .expect("it is listed");
    assert_eq!(
        (&unused["seeds"], &unused["code_sets"]),
        (&Value::from(0), &Value::from(0))
    );

    // What the old key closed opens with the new one alone, on the same server and after a restart.
    home.run(&["keys", "retire", "--id", &old[0]]);
    let file = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    assert!(!file.contains(&old[0]));
    assert!(
        server
            .redeem(&eve.token, &eve.device, &kept[0])
            .await
            .is_valid()
    );
    assert!(
        server
            .verify(&ada.token, &ada.device, &later(&ada))
            .await
            .status
            == 200
    );
    drop(server);
    let server = home.serve(NO_LIMITS);
    assert!(
        server
            .redeem(&eve.token, &eve.device, &kept[1])
            .await
            .is_valid()
    );
    let actors = home.records().await;
    let of_keys: Vec<_> = actors
        .iter()
        .filter(|record| record.event.as_str().starts_with("mfa.key."))
        .map(|record| (record.event.as_str(), record.origin.actor.is_some()))
        .collect();
    assert_eq!(
        of_keys,
        [("mfa.key.rotated", true), ("mfa.key.retired", true)]
    );
}

fn later(caller: &Caller) -> String {
    caller.app.next_code()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_that_is_stopped_goes_on_where_it_was() {
    let home = Home::new();
    let ada = home.caller("ada");
    fill(&home, &ada.user, 4_000).await;
    let old = ids(&keys(&home), "active").remove(0);
    let mut vandal = home.vandal();
    let mut left = || vandal.count(&format!("devices WHERE seed_key_id = '{old}'"));

    let mut command = home.arklow();
    command
        .args(["keys", "rotate"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let rotation = command.spawn().expect("the binary runs");
    let started = Instant::now();
    while left() == 4_001 {
        assert!(started.elapsed() < PATIENCE, "nothing is moved");
        pause();
    }
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &rotation.id().to_string()])
        .status();
    assert!(signalled.expect("kill runs").success());
    let stopped = rotation.wait_with_output().expect("it ends");
    let said = text(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stopped after") && said.contains("again to go on"),
        "{said}"
    );
    let rest = left();
    assert!((1..4_001).contains(&rest), "{rest} of 4001 are left");

    // Half here, half there: everything works.
    let server = home.serve(NO_LIMITS);
    assert!(
        server
            .verify(&ada.token, &ada.device, &ada.app.code())
            .await
            .is_valid()
    );

    let resumed = home.output(&["keys", "rotate", "--json"]);
    let said = text(&resumed.stderr);
    assert!(resumed.status.success(), "{said}");
    assert!(said.contains("going on with the rotation"), "{said}");
    let resumed: Value = serde_json::from_slice(&resumed.stdout).expect("one object");
    assert_eq!(resumed["moved"].as_i64(), Some(rest));
    assert_eq!(left(), 0);
    assert_eq!(keys(&home).len(), 2, "no third key was made");
}

#[tokio::test]
async fn key_that_is_needed_active_or_unknown_is_not_retired() {
    let home = Home::new();
    home.caller("ada");
    let active = ids(&keys(&home), "active").remove(0);
    let refused = |id: &str, words: &[&str]| {
        let output = home.output(&["keys", "retire", "--id", id]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}`: {said}");
        }
    };
    refused(&active, &["is the active one", "keys rotate"]);
    refused("0123456789abcdef", &["no key", "keys list"]);

    // As if the rotation had not come to an end.
    let before = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    let rotated = home.run(&["keys", "rotate"]);
    let new = string(&rotated["active"]);
    let mut vandal = home.vandal();
    vandal.run(&format!(
        "UPDATE devices SET seed_key_id = '{active}' WHERE seed_key_id = '{new}'"
    ));
    refused(&active, &["in use", "1 TOTP seeds"]);
    vandal.run(&format!(
        "UPDATE devices SET seed_key_id = '{new}' WHERE seed_key_id = '{active}'"
    ));
    home.run(&["keys", "retire", "--id", &active]);
    let again = home.output(&["keys", "retire", "--id", &active]);
    assert!(again.status.success() && text(&again.stderr).contains("retired already"));

    // An old copy of the key file has no key that is in use any more.
    std::fs::write(home.path().join("old.keys"), before).expect("a file");
    let output = home.output(&["serve", "--listen", "127.0.0.1:0", "--keys", "old.keys"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("does not hold key"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn two_rotations_at_once_are_refused() {
    let home = Home::new();
    home.caller("ada");
    let file = std::fs::File::open(home.path().join("arklow.db.keys")).expect("the key file");
    file.lock().expect("a lock");
    let output = home.output(&["keys", "rotate"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody else is changing"), "{said}");
}
