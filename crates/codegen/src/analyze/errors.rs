//! Finds the properties that all error answers of a document share.

use crate::ir::{
    Answer, Api, Codec, ErrorCode, Header, HeaderValue, Operation, Schema, SharedErrors, Status,
    TypeKind,
};
use crate::names;

/// The type that all JSON answers from 400 upwards share.
pub(super) fn error_type(api: &Api) -> Option<String> {
    let mut names = error_answers(api)
        .filter_map(|answer| Some((answer.body.as_ref()?, &answer.codec)))
        .map(|(body, codec)| match body {
            Schema::Ref(name) if *codec == Codec::Json => Some(name),
            _ => None,
        });
    let first = names.next()??;
    let is_struct = api
        .types
        .iter()
        .any(|def| def.name == *first && matches!(def.kind, TypeKind::Struct(_)));
    (is_struct && names.all(|name| name == Some(first))).then(|| first.clone())
}

fn error_answers(api: &Api) -> impl Iterator<Item = &Answer> {
    let answers = api.operations.iter().flat_map(|of| &of.answers);
    answers.filter(|answer| answer.status.is_error())
}

/// What the error answers have in common, if every one of them can be made of a status or code, a body and headers.
pub(super) fn shared_errors(api: &Api) -> Option<SharedErrors> {
    api.error_type.as_ref()?;
    let has_success =
        |operation: &Operation| operation.answers.iter().any(|of| !of.status.is_error());
    if !api.operations.iter().all(has_success) || error_answers(api).any(|of| of.body.is_none()) {
        return None;
    }
    let mut headers: Vec<Header> = Vec::new();
    for header in error_answers(api).flat_map(|answer| &answer.headers) {
        if matches!(header.value, HeaderValue::Fixed(_)) {
            continue;
        }
        match headers.iter().find(|known| known.name == header.name) {
            None => headers.push(header.clone()),
            // One field cannot be both.
            Some(known) if known.value != header.value || known.wire != header.wire => return None,
            Some(_) => {}
        }
    }
    // `Failure::Declared` has a field of this name already.
    if headers.iter().any(|header| header.name == "code") {
        return None;
    }
    Some(SharedErrors {
        codes: error_codes(api).unwrap_or_default(),
        headers,
    })
}

/// The codes, if every error answer lists some, each code has one status, and no two codes have the same Rust name.
fn error_codes(api: &Api) -> Option<Vec<ErrorCode>> {
    let mut codes: Vec<ErrorCode> = Vec::new();
    for answer in error_answers(api) {
        let Status::Exact(status) = answer.status else {
            return None;
        };
        if answer.codes.is_empty() {
            return None;
        }
        for wire in &answer.codes {
            let name = names::variant_name(wire);
            match codes.iter().find(|known| known.name == name) {
                None => codes.push(ErrorCode {
                    wire: wire.clone(),
                    name,
                    status,
                }),
                Some(known) if known.wire != *wire || known.status != status => return None,
                Some(_) => {}
            }
        }
    }
    let is_taken = api.types.iter().any(|def| def.name == "ErrorCode");
    codes.sort_by_key(|code| code.status);
    (!is_taken).then_some(codes)
}
