//! A database and a key file of an earlier build open and work.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Home, string, text};

#[tokio::test]
async fn database_and_keys_of_an_earlier_build_work() {
    let former = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/former");
    let home = Home::on_sqlite();
    fs::copy(former.join("database.sqlite3"), home.database()).expect("a copy");
    fs::copy(former.join("key-file"), home.key_file()).expect("a copy");
    let known = fs::read_to_string(former.join("codes.json")).expect("the file is there");
    let known: Value = serde_json::from_str(&known).expect("JSON");
    let (user, device) = (string(&known["user"]), string(&known["device"]));
    let codes: Vec<String> = known["codes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(string)
        .collect();

    let server = home.serve(&[]);
    let session = home.run(&[
        "session",
        "create",
        "--user",
        &user,
        "--mfa-verified-for",
        "15m",
    ]);
    let token = string(&session["token"]);
    let listed = text(&home.output(&["device", "list", &user, "--json"]).stdout);
    assert!(listed.contains(&device), "{listed}");
    server
        .redeem(&token, &device, &codes[0])
        .await
        .assert_invalid();
    for code in &codes[1..] {
        server.redeem(&token, &device, code).await.assert_valid();
    }
    let fresh = server.regenerate(&token, &device).await.backup_codes();
    assert_eq!(fresh.len(), 10);
    server
        .redeem(&token, &device, &fresh[0])
        .await
        .assert_valid();

    let audit = text(&home.output(&["audit", "list", "--user", &user]).stdout);
    let of_the_present = audit.matches("mfa.verify.backup_code").count();
    // One of the former build, and eleven of this one.
    assert_eq!(of_the_present, 12, "{audit}");
}
