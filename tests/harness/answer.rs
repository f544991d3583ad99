//! An answer, checked against the contract.

use arklow_client::generated::{Error, ResponseValue};
use arklow_client::types::ErrorEnvelope;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::*;

/// An answer whose status, headers and body are what the contract says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The body as it came; what the client read of it, if the client sent the request.
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn of<T: serde::Serialize + std::fmt::Debug>(
        operation: &str,
        result: Result<ResponseValue<T>, Error<ErrorEnvelope>>,
    ) -> Self {
        let (status, headers, body) = match result {
            Ok(value) => (
                value.status(),
                value.headers().clone(),
                json!(value.into_inner()),
            ),
            Err(Error::ErrorResponse(value)) => (
                value.status(),
                value.headers().clone(),
                json!(value.into_inner()),
            ),
            Err(other) => panic!("not an answer of the contract: {other:?}"),
        };
        let answer = Self {
            operation: operation.to_owned(),
            status: status.as_u16(),
            headers,
            text: body.to_string(),
            body,
        };
        answer.check();
        answer
    }

    /// Sends a regeneration that the client would not.
    pub(crate) async fn to(request: reqwest::RequestBuilder) -> Self {
        Self::by("post_v1_self_mfa_regenerate_totp", request).await
    }

    /// Sends a request that the client would not.
    pub(crate) async fn by(operation: &str, request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        let answer = Self {
            operation: operation.to_owned(),
            status,
            headers,
            body,
            text,
        };
        answer.check();
        answer
    }

    /// What the contract promises of every answer, and of this status.
    #[track_caller]
    pub(crate) fn check(&self) {
        let Self {
            operation,
            status,
            headers,
            body,
            ..
        } = self;
        assert_eq!(headers["cache-control"], "no-store", "{status}");
        assert_eq!(headers["content-type"], "application/json", "{status}");
        assert!(headers.contains_key("x-request-id"), "{status}");
        assert_eq!(
            headers.contains_key("www-authenticate"),
            *status == 401,
            "{status}"
        );
        assert_eq!(
            headers.contains_key("retry-after"),
            [429, 503].contains(status),
            "{status}"
        );
        assert_eq!(headers.contains_key("allow"), *status == 405, "{status}");
        if *status == 405 {
            return assert_valid(
                &json!({ "$ref": "#/components/schemas/ErrorEnvelope" }),
                body,
            );
        }
        let response = documented(operation, *status);
        assert_valid(&response["content"]["application/json"]["schema"], body);
        if *status != 200 {
            let documented = codes_of(response);
            assert!(
                self.codes().iter().all(|code| documented.contains(code)),
                "{status} with {:?}",
                self.codes()
            );
        }
    }

    #[track_caller]
    pub(crate) fn assert(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.codes().first().map(String::as_str)),
            (status, Some(code)),
            "{:?}",
            self.body
        );
    }

    pub(crate) fn codes(&self) -> Vec<String> {
        self.body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| string(&error["code"]))
            .collect()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| string(&error["message"]))
            .collect()
    }

    /// The device that the answer is about.
    #[track_caller]
    pub(crate) fn device(&self) -> String {
        assert_eq!(self.status, 200, "{:?}", self.body);
        string(&self.body["data"]["device"]["id"])
    }

    /// An app that has the secret of a started enrollment.
    #[track_caller]
    pub(crate) fn app(&self) -> App {
        App::scan(&string(&self.body["data"]["provisioning_uri"]))
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) {
        assert_eq!(self.status, 200, "{:?}", self.body);
    }

    /// That a verification accepted the code.
    #[track_caller]
    pub(crate) fn assert_valid(&self) {
        assert!(self.is_valid(), "the code was rejected");
    }

    /// That a verification rejected the code.
    #[track_caller]
    pub(crate) fn assert_invalid(&self) {
        assert!(!self.is_valid(), "the code was accepted");
    }

    /// Whether a verification accepted the code.
    #[track_caller]
    pub(crate) fn is_valid(&self) -> bool {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.body["data"]["valid"]
            .as_bool()
            .expect("a verification")
    }

    /// The ten codes of a success.
    #[track_caller]
    pub(crate) fn backup_codes(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{:?}", self.body);
        let codes: Vec<String> =
            serde_json::from_value(self.body["data"]["backup_codes"].clone()).expect("codes");
        assert_eq!(codes.len(), 10);
        codes
    }
}
