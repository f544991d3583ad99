//! The parts of the runtime that need no server. `crates/api/tests` has those that do.

use arklow_adapter::{In, Reply, RequestError, Settings, Violation, bearer, credential};
use http::{HeaderMap, HeaderValue, StatusCode};

fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(*name, HeaderValue::from_str(value).expect("a header value"));
    }
    headers
}

#[test]
fn credential_is_accepted_once_only() {
    let key = "x-key";
    assert!(matches!(credential(&headers(&[]), key), Ok(None)));
    let one = credential(&headers(&[(key, "secret")]), key);
    assert_eq!(one.expect("accepted").expect("a secret").expose(), "secret");
    let two = credential(&headers(&[(key, "secret"), (key, "secret")]), key);
    assert!(matches!(two, Err(RequestError::Unauthenticated)));
    let odd = credential(&headers(&[(key, "\u{e9}")]), key);
    assert!(matches!(odd, Err(RequestError::Unauthenticated)));
}

#[test]
fn bearer_token_has_its_scheme_in_any_case() {
    for text in ["Bearer token", "bearer token", "BEARER  token"] {
        let token = bearer(&headers(&[("authorization", text)]));
        assert_eq!(
            token.expect("accepted").expect("a secret").expose(),
            "token"
        );
    }
    let other = bearer(&headers(&[("authorization", "Basic dXNlcg==")]));
    assert!(matches!(other, Ok(None)));
    let bare = bearer(&headers(&[("authorization", "Bearer")]));
    assert!(matches!(bare, Err(RequestError::Unauthenticated)));
}

#[test]
fn secret_is_not_printed() {
    let key = credential(&headers(&[("x-key", "hunter2")]), "x-key");
    let printed = format!("{key:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn violation_names_its_pointer_and_its_reason() {
    let violation = Violation {
        place: In::Query,
        pointer: "/take".to_owned(),
        message: "is less than the minimum of 1".to_owned(),
        rule: "minimum".to_owned(),
    };
    let text = violation.to_string();
    assert!(
        text.contains("take") && text.ends_with("is less than the minimum of 1"),
        "{text}"
    );
    let error = RequestError::InvalidRequest(vec![violation]);
    assert_eq!(error.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn header_that_is_none_is_an_internal_error() {
    let reply = |value: &str| Reply::new(StatusCode::OK).header("x-note", value);
    assert!(reply("plain").is_ok());
    assert!(matches!(reply("two\nlines"), Err(RequestError::Internal)));
}

#[test]
fn limits_are_those_that_are_documented() {
    let settings = Settings::default();
    assert_eq!(settings.max_body_bytes, 65_536);
    assert_eq!(settings.body_timeout.as_secs(), 10);
    assert_eq!(settings.deadline.as_secs(), 15);
}
