//! Stolen databases, moved rows, lost and wrong keys.

use crate::harness::{Home, NO_LIMITS, text};

use super::*;

fn ring_sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

#[tokio::test]
async fn t15_a_stolen_database_opens_nothing() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    drop(server);

    // Without the keys a server does not even start.
    let thief = Home::new();
    thief.restore(&home.back_up());
    drop(std::fs::remove_file(thief.key_file()));
    let refused = thief.output(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("there is no key file"));

    // With all columns and the source: no code is in them, and no MAC matches a guess without the key.
    let mut vandal = thief.vandal();
    let columns = vandal
        .text("SELECT concat_ws(',', hex(code_macs), hex(seed), hex(code_mac_key)) FROM devices");
    let hex = |code: &str| {
        code.bytes()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    for code in &codes {
        assert!(!columns.contains(&hex(code)));
        assert!(!columns.contains(&hex(&code.replace('-', ""))));
        let digest = ring_sha256(code.replace('-', "").as_bytes());
        assert!(!columns.contains(&digest), "a plain hash is stored");
    }
}

#[tokio::test]
async fn t15_secrets_moved_to_another_row_do_not_open() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let codes = server_codes(&server, &eve).await;
    server_codes(&server, &ada).await;
    // Eve's seed and codes in Ada's row: an attacker who can write rows gains nothing.
    home.vandal().run(&format!(
        "UPDATE devices SET (seed, code_mac_key, code_macs) = \
         (SELECT seed, code_mac_key, code_macs FROM devices WHERE id = {}) WHERE id = {}",
        eve.device, ada.device
    ));
    let refused = server.by(&ada).verify(&eve.app.code()).await;
    refused.assert(500, "INTERNAL");
    let refused = server.by(&ada).redeem(&codes[0]).await;
    refused.assert(500, "INTERNAL");
}

#[tokio::test]
async fn t16_a_seed_that_cannot_be_read_fails_closed() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    home.vandal().run("UPDATE devices SET seed = zeroblob(48)");
    let (_, stale, _) = home.session(&ada.user, None);
    for _ in 0..7 {
        let refused = server.verify(&stale, &ada.device, &ada.app.code()).await;
        refused.assert(500, "INTERNAL");
    }
    // The factor is still there, and still asked for.
    let listed = server.devices(&stale).await;
    assert_eq!(listed.body["data"]["count"], 1);
    let refused = server.regenerate(&stale, &ada.device).await;
    refused.assert(403, "MFA_REQUIRED");
    let refused = server.start(&stale, "Another").await;
    refused.assert(403, "MFA_REQUIRED");
    // No guess was counted; the way that can be read goes on working.
    server
        .redeem(&stale, &ada.device, &codes[0])
        .await
        .assert_valid();
    assert!(
        server.printed().contains("does not open with key"),
        "{}",
        server.printed()
    );
}

#[tokio::test]
async fn t16_a_wrong_key_file_stops_the_server_before_it_serves() {
    let home = Home::new();
    home.caller("ada");
    let other = Home::new();
    other.caller("eve");
    let keys = other.path().join("arklow.db.keys");
    let refused = home.output(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--keys",
        &keys.to_string_lossy(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("does not hold key"),
        "{}",
        text(&refused.stderr)
    );
}
