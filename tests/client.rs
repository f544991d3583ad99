//! The client as a service uses it: on the real server, and on stand-ins for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arklow_client::mock::{MockServer, MockServerExt};
use arklow_client::types::{
    ApiError, BackupCodeRequest, ErrorEnvelope, RegenerateTotpRequest, RemoveDeviceRequest,
    StartEnrollmentRequest, TotpCodeRequest, VerificationType,
};
use arklow_client::{Client, Error, ErrorCode, Page, Token};
use serde::de::DeserializeOwned;

use crate::harness::{App, CONTRACT, Home, Server, documented};

#[expect(dead_code, reason = "it has its own `main`")]
#[path = "../crates/client/examples/backup_codes.rs"]
mod example;

fn client(server: &Server, token: &str) -> Client {
    let builder = Client::builder(&server.base).token(token);
    builder.build().expect("a client")
}

#[test]
fn example_of_the_readme_is_the_one_that_is_run() {
    let readme = include_str!("../crates/client/README.md");
    let example = include_str!("../crates/client/examples/backup_codes.rs");
    assert!(readme.contains(&format!("```rust,no_run\n{example}```\n")));
}

#[tokio::test]
async fn example_gives_ten_codes_or_says_what_to_do() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--limit-regenerate", "1/1h"]);
    let fresh = client(&server, &ada.token);
    let told = async |client: &Client, device: &str| {
        let told = example::new_backup_codes(client, device.to_owned()).await;
        told.expect("something to tell")
    };
    assert_eq!(told(&fresh, "1").await, "You have no such device.");
    let stale = home.session(&ada.user, None).1;
    let said = told(&client(&server, &stale), &ada.device).await;
    assert_eq!(said, "Verify a second factor first.");

    let codes = told(&fresh, &ada.device).await;
    let codes: Vec<String> = codes.lines().map(str::to_owned).collect();
    assert_eq!(home.working(&ada, &codes).await, 10);

    let again = told(&fresh, &ada.device).await;
    let seconds = again
        .strip_prefix("Try again in ")
        .and_then(|rest| rest.strip_suffix(" seconds."));
    let seconds: u32 = seconds.expect("a time").parse().expect("a number");
    assert!((3500..=3600).contains(&seconds), "{again}");
    // One without a connection, which may break rather than not be made.
    let cold = client(&server, &ada.token);
    drop(server);
    let error = example::new_backup_codes(&cold, ada.device).await;
    assert!(matches!(error, Err(Error::NotSent(_))), "{error:?}");
}

#[test]
fn every_operation_has_a_method_of_its_name() {
    let source = include_str!("../crates/client/src/client.rs");
    for item in CONTRACT["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("a path item").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(source.contains(&format!("pub async fn {id}(")), "{id}");
        }
    }
}

#[test]
fn codes_that_the_client_knows_are_those_of_the_contract() {
    let listed =
        &CONTRACT["components"]["schemas"]["ApiError"]["properties"]["code"]["x-extensible-enum"];
    let listed: BTreeSet<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|code| code.as_str())
        .collect();
    let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
    // What no operation answers.
    let known: BTreeSet<&str> = codes.chain(["METHOD_NOT_ALLOWED"]).collect();
    assert_eq!(known, listed);
    assert_eq!(ErrorCode::parse("NEWER_THAN_THIS"), None);
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::parse(&code.to_string()), Some(*code));
    }
}

#[tokio::test]
async fn client_goes_all_the_way_from_enrolling_to_removing() {
    let home = Home::new();
    let user = home.user("ada");
    let server = home.serve(&[]);
    let client = client(&server, &home.session(&user, None).1);
    assert_eq!(client.get_v1_self().await.expect("a user").name, "ada");

    let request = StartEnrollmentRequest {
        name: "Phone".to_owned(),
        device_type: None,
    };
    let started = client.post_v1_self_mfa_enroll_start(request).await;
    let started = started.expect("a pending device");
    let app = App::scan(&started.provisioning_uri);
    let device_id = started.device.id;
    let totp = |code: String| TotpCodeRequest {
        device_id: device_id.clone(),
        code,
    };
    let wrong = totp(app.wrong_code());
    let wrong = client.post_v1_self_mfa_enroll_confirm(wrong).await;
    assert_eq!(wrong.expect("an answer").device.confirmed_at, None);
    let confirmed = client.post_v1_self_mfa_enroll_confirm(totp(app.code()));
    let confirmed = confirmed.await.expect("a device");
    assert!(confirmed.session_mfa_not_after.is_some());

    let list = client.get_v1_self_mfa(Page::default()).await.expect("one");
    assert_eq!((list.count, &list.items[0].id), (1, &device_id));
    let request = RegenerateTotpRequest {
        device_id: device_id.clone(),
    };
    let new = client.post_v1_self_mfa_regenerate_totp(request).await;
    let codes = new.expect("new codes").backup_codes;
    let request = BackupCodeRequest {
        device_id: device_id.clone(),
        code: codes[0].clone(),
    };
    let redeemed = client.post_v1_self_mfa_verify_totp_backup(request).await;
    assert_eq!(redeemed.expect("valid").backup_codes_remaining, Some(9));
    let verified = client.post_v1_self_mfa_verify_totp(totp(app.wrong_code()));
    assert!(!verified.await.expect("an answer").valid);

    let request = RemoveDeviceRequest {
        device_id,
        verification_type: VerificationType::BackupCode,
        code: codes[1].clone(),
    };
    let removed = client.delete_v1_self_mfa_remove(request.clone()).await;
    assert!(removed.expect("an answer").removed);
    let error = client.delete_v1_self_mfa_remove(request).await;
    let error = error.expect_err("it is gone");
    assert_eq!(error.code(), Some(ErrorCode::DeviceNotFound));
    assert!(!error.may_have_taken_effect());
    let Error::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    assert!(refusal.request_id().is_some());
}

#[tokio::test]
async fn token_of_a_session_that_is_revoked_is_replaced() {
    let home = Home::new();
    let user = home.user("ada");
    let server = home.serve(&[]);
    let sessions = [home.session(&user, None), home.session(&user, None)];
    let first = sessions[0].0.clone();
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let client = Client::builder(&server.base)
        .token_from(move || {
            let token = Token::new(&sessions[count.fetch_add(1, Ordering::SeqCst)].1);
            async move { token }
        })
        .build()
        .expect("a client");
    client.get_v1_self().await.expect("the first session");
    home.run(&["session", "revoke", &first]);
    client.get_v1_self().await.expect("the second session");
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
}

/// What another service might do with the client: one line on a settings page.
async fn line_on_the_page(client: &Client) -> String {
    match client.get_v1_self_mfa(Page::default()).await {
        Ok(list) if list.count == 0 => "not protected".to_owned(),
        Ok(list) => format!("protected by {}", list.items[0].name),
        Err(error) if error.code() == Some(ErrorCode::Unauthenticated) => "sign in".to_owned(),
        Err(_) => "not known at the moment".to_owned(),
    }
}

#[tokio::test]
async fn service_is_tested_against_stand_ins_without_a_server() {
    let server = MockServer::start_async().await;
    let builder = Client::builder(server.base_url()).token("arks_test");
    let client = builder.retries(0).build().expect("a client");
    let refusal = |code: &str| ErrorEnvelope {
        data: (),
        errors: vec![ApiError {
            code: code.to_owned(),
            message: "no".to_owned(),
        }],
    };
    let page = async || line_on_the_page(&client).await;

    let devices = example_of("get_v1_self_mfa", "devices");
    let mut mock = server.get_v1_self_mfa(|when, then| {
        when.count_only(false).take(None);
        then.ok(&devices);
    });
    assert_eq!(page().await, "protected by Phone");
    mock.assert();
    mock.delete();
    let mut mock = server.get_v1_self_mfa(|_, then| {
        then.unauthorized(&refusal("UNAUTHENTICATED"));
    });
    assert_eq!(page().await, "sign in");
    mock.delete();
    server.get_v1_self_mfa(|_, then| {
        let then = then.service_unavailable(&refusal("UNAVAILABLE"));
        then.into_inner().header("retry-after", "1");
    });
    assert_eq!(page().await, "not known at the moment");
}

/// An example of the contract for the success of an operation.
#[track_caller]
fn example_of<T: DeserializeOwned>(operation: &str, name: &str) -> T {
    let examples = &documented(operation, 200)["content"]["application/json"]["examples"];
    let value = examples[name]["value"].clone();
    serde_json::from_value(value).expect("an example of this type")
}

#[tokio::test]
async fn every_operation_has_a_stand_in_that_its_client_understands() {
    let server = MockServer::start_async().await;
    let builder = Client::builder(server.base_url()).token("arks_test");
    let client = builder.build().expect("a client");
    macro_rules! stand_in {
        ($operation:ident, $example:literal, $request:expr) => {{
            let request = $request;
            let mock = server.$operation(|when, then| {
                when.body(&request);
                then.ok(&example_of(stringify!($operation), $example));
            });
            let answer = client.$operation(request.clone()).await;
            answer.expect("the example");
            mock.assert();
        }};
    }
    let device_id = || "1".to_owned();
    let totp = TotpCodeRequest {
        device_id: device_id(),
        code: "287082".to_owned(),
    };
    let mock = server.get_v1_self(|_, then| {
        then.ok(&example_of("get_v1_self", "user"));
    });
    assert_eq!(client.get_v1_self().await.expect("a user").name, "Ada");
    mock.assert();
    stand_in!(
        post_v1_self_mfa_enroll_start,
        "started",
        StartEnrollmentRequest {
            name: "Phone".to_owned(),
            device_type: None,
        }
    );
    stand_in!(post_v1_self_mfa_enroll_confirm, "confirmed", totp.clone());
    stand_in!(post_v1_self_mfa_verify_totp, "valid", totp);
    stand_in!(
        post_v1_self_mfa_verify_totp_backup,
        "valid",
        BackupCodeRequest {
            device_id: device_id(),
            code: "M5S7".to_owned(),
        }
    );
    stand_in!(
        post_v1_self_mfa_regenerate_totp,
        "replaced",
        RegenerateTotpRequest {
            device_id: device_id(),
        }
    );
    stand_in!(
        delete_v1_self_mfa_remove,
        "removed",
        RemoveDeviceRequest {
            device_id: device_id(),
            verification_type: VerificationType::Totp,
            code: "287082".to_owned(),
        }
    );
}
