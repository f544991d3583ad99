//! From nothing to a working second factor and back: by an authenticator app that is not ours, told by the QR picture,
//! which a reader that is not ours reads.

use arklow_client::types::VerificationType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::{App, Home, string};

/// What a scanner finds in the picture of a `data:` URI.
#[track_caller]
fn scan(data_uri: &str) -> String {
    let picture = data_uri
        .strip_prefix("data:image/png;base64,")
        .expect("a PNG");
    let picture = STANDARD.decode(picture).expect("base64");
    let mut decoder = png::Decoder::new(std::io::Cursor::new(picture));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a PNG");
    let size = reader.output_buffer_size().expect("a size");
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    let (width, height) = (info.width as usize, info.height as usize);
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one QR code");
    grids[0].decode().expect("a QR code").1
}

#[tokio::test]
async fn app_that_scans_the_picture_enrolls_steps_up_and_is_removed() {
    let home = Home::new();
    let server = home.serve(&["--issuer", "Arklow & Söhne"]);
    let ada = home.user("ada+1");
    let (_, token, _) = home.session(&ada, None);

    let nothing = server.devices(&token).await;
    assert_eq!(nothing.body["data"]["count"], 0);

    let started = server.start(&token, "Phone").await;
    let data = &started.body["data"];
    assert_eq!(data["device"]["confirmed_at"], Value::Null);
    let uri = scan(&string(&data["qr_code"]));
    assert_eq!(uri, string(&data["provisioning_uri"]));
    let app = App::scan(&uri);
    assert_eq!(app.issuer(), "Arklow & Söhne");
    assert_eq!(app.account(), "ada+1@example.com");
    let (device, codes) = (started.device(), started.backup_codes());

    // Pending: it is listed, and neither it nor its codes are of use.
    let listed = server.devices(&token).await;
    assert_eq!(listed.body["data"]["items"][0]["id"], device.as_str());
    let early = server.redeem(&token, &device, &codes[0]).await;
    early.assert(409, "DEVICE_NOT_CONFIRMED");
    let wrong = server.confirm(&token, &device, &app.wrong_code()).await;
    assert_eq!(wrong.body["data"]["device"]["confirmed_at"], Value::Null);
    assert_eq!(wrong.body["data"]["session_mfa_not_after"], Value::Null);

    let confirmed = server.confirm(&token, &device, &app.code()).await;
    let confirmed = &confirmed.body["data"];
    assert!(confirmed["device"]["confirmed_at"].is_string());
    assert!(confirmed["session_mfa_not_after"].is_string());

    // The session is MFA-fresh by it, and another one becomes so by the next code.
    server.regenerate(&token, &device).await.assert_ok();
    let (_, other, _) = home.session(&ada, None);
    let stale = server.regenerate(&other, &device).await;
    stale.assert(403, "MFA_REQUIRED");
    let verified = server.verify(&other, &device, &app.next_code()).await;
    assert!(verified.is_valid(), "{:?}", verified.body);
    assert_eq!(verified.body["data"]["verification_type"], "totp");
    let codes = server.regenerate(&other, &device).await.backup_codes();

    // As people type it.
    let typed = codes[0].to_lowercase().replace('-', " ").replace('0', "o");
    let redeemed = server.redeem(&other, &device, &typed).await;
    assert!(redeemed.is_valid(), "{:?}", redeemed.body);
    assert_eq!(redeemed.body["data"]["backup_codes_remaining"], 9);
    assert_eq!(redeemed.body["data"]["verification_type"], "backup_code");

    let kind = VerificationType::BackupCode;
    let removed = server.remove(&other, &device, kind, &codes[1]).await;
    let removed = &removed.body["data"];
    assert_eq!(removed["removed"], true);
    assert_eq!(removed["two_factor_enabled"], false);
    assert!(removed["device"]["deleted_at"].is_string());
    let nothing = server.devices(&token).await;
    assert_eq!(nothing.body["data"]["count"], 0);
    for token in [&token, &other] {
        let refused = server.regenerate(token, &device).await;
        refused.assert(403, "MFA_REQUIRED");
    }
}

#[tokio::test]
async fn user_is_to_be_told_of_every_change_and_of_nothing_else() {
    let home = Home::new();
    let server = home.serve(&["--lock-factor-after", "5", "--limits", "off"]);
    let ada = home.user("ada");
    let (_, token, _) = home.session(&ada, None);
    let (device, app, codes) = server.enroll(&token, "Phone").await;
    server
        .redeem(&token, &device, &codes[0])
        .await
        .assert_valid();
    server.regenerate(&token, &device).await.assert_ok();
    for _ in 0..5 {
        let wrong = server.verify(&token, &device, &app.wrong_code()).await;
        wrong.assert_invalid();
    }
    home.run(&["user", "unlock", &ada]);
    home.run(&["device", "list", &ada]);
    home.run(&["device", "remove", &device]);
    let kinds = home.vandal().texts("SELECT kind FROM outbox ORDER BY id");
    let expected = [
        "mfa.totp.confirmed",
        "mfa.verify.backup_code",
        "mfa.backup_codes.regenerated",
        "mfa.user.locked",
        "mfa.factor.locked",
        "mfa.totp.removed",
    ];
    assert_eq!(kinds, expected);
    // Each with its record, which says the rest.
    let mut vandal = home.vandal();
    let joined = "outbox JOIN audit ON audit.id = audit_id AND audit.event = kind \
                  AND audit.user_id = outbox.user_id AND audit.device_id = outbox.device_id \
                  AND audit.at = outbox.at AND delivered_at IS NULL";
    assert_eq!(vandal.count(joined), 6);
}

#[tokio::test]
async fn user_data_is_what_is_stored() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.user("ada");
    let (_, token, _) = home.session(&ada, None);
    let user = server.user(&token).await.body["data"].clone();
    assert_eq!(user["id"], ada.as_str());
    assert_eq!(user["name"], "ada");
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!(user["memberships"], serde_json::json!([]));
    assert!(user.get("deleted_at").is_none(), "absent while it is open");

    home.vandal().run(&format!(
        "INSERT INTO memberships VALUES ({ada}, 9, 'owner billing'), ({ada}, 7, '')"
    ));
    let user = server.user(&token).await.body["data"].clone();
    let expected = serde_json::json!([
        { "org_id": "7", "permissions": [] },
        { "org_id": "9", "permissions": ["owner", "billing"] },
    ]);
    assert_eq!(user["memberships"], expected);
}

#[tokio::test]
async fn list_is_newest_first_in_pages_without_what_is_gone() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let devices: Vec<String> = (0..4).map(|_| home.device(&ada.user, true)).collect();
    home.run(&["device", "remove", &devices[1]]);
    let expired = home.device(&ada.user, false);
    home.vandal().run(&format!(
        "UPDATE devices SET created_at = created_at - 900000000 WHERE id = {expired}"
    ));
    let pending = home.device(&ada.user, false);
    let expected = [&pending, &devices[3], &devices[2], &devices[0], &ada.device];

    let operation = "get_v1_self_mfa";
    let page = async |query: &[(&str, &str)]| {
        let request = server.request(operation, &ada.token).query(query);
        let answer = crate::harness::Answer::by(operation, request).await;
        let items = answer.body["data"]["items"].clone();
        let ids = items.as_array().expect("a list").iter();
        let ids: Vec<String> = ids.map(|item| string(&item["id"])).collect();
        (ids, answer.body["data"]["count"].clone())
    };
    for (query, wanted) in [
        (&[][..], &expected[..]),
        (&[("take", "2")], &expected[..2]),
        (&[("take", "2"), ("skip", "3")], &expected[3..]),
        (&[("skip", "5")], &[]),
        (&[("skip", "9007199254740991")], &[]),
        (&[("count_only", "true")], &[]),
        (&[("count_only", "false"), ("take", "1")], &expected[..1]),
    ] {
        let (ids, count) = page(query).await;
        assert_eq!(ids.iter().collect::<Vec<_>>(), wanted, "{query:?}");
        assert_eq!(count, 5, "{query:?}");
    }
    for (name, value) in [
        ("take", "0"),
        ("take", "51"),
        ("take", "1.5"),
        ("take", "x"),
        ("skip", "-1"),
        ("skip", "9007199254740992"),
        ("count_only", "1"),
    ] {
        let request = server
            .request(operation, &ada.token)
            .query(&[(name, value)]);
        let answer = crate::harness::Answer::by(operation, request).await;
        answer.assert(400, "INVALID_REQUEST");
    }
}
