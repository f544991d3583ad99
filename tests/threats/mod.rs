//! Known attacks, and that they fail: one test for each threat, by its number in `docs/security.md`. The tests of
//! crashes, broken messages, races between regenerations, timing and moving clocks are in other files, with the
//! same numbers.

mod guessing;
mod oracles;
mod protocol;
mod replay;
mod restored;
mod secrets;
mod sessions;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Home, Server};

const START: &str = "post_v1_self_mfa_enroll_start";
const CONFIRM: &str = "post_v1_self_mfa_enroll_confirm";
const VERIFY: &str = "post_v1_self_mfa_verify_totp";
const REDEEM: &str = "post_v1_self_mfa_verify_totp_backup";
const REGENERATE: &str = "post_v1_self_mfa_regenerate_totp";
const REMOVE: &str = "delete_v1_self_mfa_remove";

/// Every operation that names a device.
const WITH_DEVICE: [&str; 5] = [CONFIRM, VERIFY, REDEEM, REGENERATE, REMOVE];

/// A code whose check symbol fits, and which is of no set.
const RANDOM_CODE: &str = "0410-6105-0R3G-G28A-1C60-T3GJ";

/// A body for an operation that names a device: well-formed, with codes that are not right.
fn body(operation: &str, device: &str) -> Value {
    match operation {
        CONFIRM | VERIFY => json!({ "device_id": device, "code": "123456" }),
        REDEEM => json!({ "device_id": device, "code": RANDOM_CODE }),
        REMOVE => json!({
            "device_id": device, "verification_type": "totp", "code": "123456",
        }),
        _ => json!({ "device_id": device }),
    }
}

async fn send(server: &Server, operation: &str, token: &str, body: &Value) -> Answer {
    Answer::by(operation, server.request(operation, token).json(body)).await
}

/// Forgets the failures of a user, so that a test can go on guessing.
fn unlock(home: &Home, caller: &Caller) {
    home.run(&["user", "unlock", &caller.user]);
}

async fn server_codes(server: &Server, caller: &Caller) -> Vec<String> {
    server.by(caller).regenerate().await.backup_codes()
}

/// Guesses from the same peer, each of another user, with these headers.
async fn guess(server: &Server, caller: &Caller, headers: HeaderMap) -> Answer {
    let body = json!({ "device_id": caller.device, "code": caller.app.wrong_code() });
    let request = server
        .request(VERIFY, &caller.token)
        .headers(headers)
        .json(&body);
    Answer::by(VERIFY, request).await
}

/// Every device as an operator sees it.
fn rows(home: &Home) -> String {
    let mut vandal = home.vandal();
    let rows = vandal.texts(
        "SELECT concat_ws(',', id, updated_at, last_used_at, confirmed_at, removed_at, \
         code_generation, code_used, last_step) FROM devices ORDER BY id",
    );
    rows.join(";")
}
