//! The contract as a document.

use std::sync::LazyLock;

use serde_json::Value;

use super::*;

/// The contract as JSON.
pub(crate) static CONTRACT: LazyLock<Value> =
    LazyLock::new(|| yaml(include_str!("../../openapi.yaml")));

/// A YAML text as JSON.
#[track_caller]
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the document is YAML")
}

/// Path and method of an operation.
pub(crate) fn place(operation: &str) -> (&'static str, &'static str) {
    let paths = CONTRACT["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path item").iter();
            methods.map(move |(method, declared)| (path.as_str(), method.as_str(), declared))
        })
        .find(|(_, _, declared)| declared["operationId"] == operation)
        .map(|(path, method, _)| (path, method))
        .unwrap_or_else(|| panic!("there is no operation `{operation}`"))
}

/// The contract's description of an operation's answer with this status.
#[track_caller]
pub(crate) fn documented(operation: &str, status: u16) -> &'static Value {
    let (path, method) = place(operation);
    let responses = &CONTRACT["paths"][path][method]["responses"];
    let response = &responses[status.to_string()];
    assert!(
        response.is_object(),
        "`{operation}` does not document {status}"
    );
    deref(response)
}

/// The codes that the contract lists for a response.
pub(crate) fn codes_of(response: &Value) -> Vec<String> {
    response["x-error-codes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(string)
        .collect()
}

/// What a `$ref` of the contract refers to, or the value itself.
pub(crate) fn deref(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => deref(
            CONTRACT
                .pointer(&reference[1..])
                .expect("a reference that resolves"),
        ),
        None => value,
    }
}
