//! The document lowered to OpenAPI 3.0.3, for Progenitor.
//!
//! Progenitor's methods have one success type and one error type, and it reads neither `default` in addition to a
//! success nor several media types. Notes list what the lowering drops, per operation.

use serde_json::{Map, Value, json};

use super::schema::{Dialect, definition, json};
use crate::ir::{
    Answer, Api, Body, Codec, FORM, HeaderValue, In, JSON, OCTETS, Operation, Parameter, Schema,
    SchemeKind, Separator, Status, Style,
};
use crate::report::Note;

/// The document, and what it does not say any more.
pub(crate) fn lower(api: &Api) -> (Value, Vec<Note>) {
    let mut notes = Vec::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in &api.operations {
        let item = paths
            .entry(operation.path.clone())
            .or_insert_with(|| json!({}));
        item[operation.method.key()] = lower_operation(operation, &mut notes);
    }
    let mut document = json!({
        "openapi": "3.0.3",
        "info": described(json!({ "title": api.title, "version": api.version }), api.description.as_ref()),
        "paths": paths,
        "components": {
            "schemas": api.types.iter()
                .map(|def| (def.name.clone(), definition(def, Dialect::OpenApi30)))
                .collect::<Map<_, _>>(),
            "securitySchemes": api.schemes.iter()
                .map(|scheme| {
                    let value = match &scheme.kind {
                        SchemeKind::ApiKey { place, name } => json!({ "type": "apiKey", "in": place.key(), "name": name }),
                        SchemeKind::Bearer => json!({ "type": "http", "scheme": "bearer" }),
                        SchemeKind::Basic => json!({ "type": "http", "scheme": "basic" }),
                    };
                    (scheme.key.clone(), described(value, scheme.description.as_ref()))
                })
                .collect::<Map<_, _>>(),
        },
    });
    let entries = |list: Vec<Value>| (!list.is_empty()).then_some(list);
    let servers = api
        .servers
        .iter()
        .map(|server| described(json!({ "url": server.url }), server.description.as_ref()));
    let tags = api
        .tags
        .iter()
        .map(|tag| described(json!({ "name": tag.name }), tag.description.as_ref()));
    for (key, list) in [
        ("servers", servers.collect::<Vec<_>>()),
        ("tags", tags.collect()),
    ] {
        if let Some(list) = entries(list) {
            document[key] = list.into();
        }
    }
    (document, notes)
}

fn note(operation: &Operation, message: impl Into<String>) -> Note {
    Note {
        operation: Some(operation.id.clone()),
        message: message.into(),
    }
}

fn lower_operation(operation: &Operation, notes: &mut Vec<Note>) -> Value {
    let mut value = json!({
        "operationId": operation.name,
        "responses": responses(operation, notes),
    });
    for (key, text) in [
        ("summary", &operation.summary),
        ("description", &operation.description),
    ] {
        if let Some(text) = text {
            value[key] = text.as_str().into();
        }
    }
    if !operation.tags.is_empty() {
        value["tags"] = operation.tags.clone().into();
    }
    if operation.deprecated {
        value["deprecated"] = true.into();
    }
    if !operation.parameters.is_empty() {
        value["parameters"] = operation
            .parameters
            .iter()
            .map(|of| parameter(operation, of, notes))
            .collect();
    }
    if let Some(body) = &operation.body {
        if !body.required {
            notes.push(note(operation, "the client always sends the optional body"));
        }
        let plain = plain_body(body);
        if plain != body.schema {
            notes.push(note(
                operation,
                "the client does not check the limits of the body",
            ));
        }
        // The media types that Progenitor knows; the client then sends the one of the document.
        let (media_type, schema) = match body.codec {
            Codec::Json => (JSON, plain),
            Codec::Form { .. } => (FORM, plain),
            Codec::Text => ("text/plain", Schema::TEXT),
            Codec::Bytes => (OCTETS, Schema::Bytes),
        };
        let content = json!({
            "content": { media_type: { "schema": json(&schema, Dialect::OpenApi30) } },
            "required": body.required,
        });
        value["requestBody"] = described(content, body.description.as_ref());
    }
    let security = &operation.security;
    let alternatives = security.alternatives.iter().map(|of| {
        let schemes = of.schemes.iter();
        schemes
            // Scopes are for the server; in 3.0 only some kinds of schemes may have any.
            .map(|needed| (needed.key.clone(), json!([])))
            .collect::<Map<_, _>>()
            .into()
    });
    let nobody = security.is_optional.then(|| json!({}));
    value["security"] = alternatives.chain(nobody).collect();
    value
}

fn parameter(operation: &Operation, of: &Parameter, notes: &mut Vec<Note>) -> Value {
    // Progenitor would generate a type for every limited parameter; the server enforces the limits.
    let separator = match of.style {
        Style::List(separator) => Some(separator),
        Style::Plain | Style::BySchema | Style::Exploded | Style::Deep => None,
    };
    if let Some(separator) = separator {
        let wire = &of.field.wire;
        match (of.place, separator) {
            (In::Query, Separator::Repeated) => {}
            (In::Query, _) => {
                let message = format!("the client repeats `{wire}` for each item");
                notes.push(note(operation, message));
            }
            // There it writes what shows itself as text.
            (In::Path | In::Header, _) => {
                let message =
                    format!("the client takes `{wire}` as text, with commas between the items");
                notes.push(note(operation, message));
            }
        }
    }
    let as_text = separator.is_some() && of.place != In::Query;
    let plain = if as_text {
        Schema::TEXT
    } else {
        plain_parameter(of)
    };
    if plain != of.field.schema && !as_text {
        notes.push(note(
            operation,
            format!(
                "the client does not check the limits of `{}`",
                of.field.wire
            ),
        ));
    }
    if of.field.default.is_some() {
        notes.push(note(
            operation,
            format!(
                "the default of `{}` is filled in by the server",
                of.field.wire
            ),
        ));
    }
    let value = json!({
        "in": of.place.key(),
        "name": of.field.wire,
        "required": of.field.required,
        "schema": json(&plain, Dialect::OpenApi30),
    });
    described(value, of.field.description.as_ref())
}

/// What the client takes for a parameter.
pub(super) fn plain_parameter(of: &Parameter) -> Schema {
    match without_limits(&of.field.schema) {
        // A parameter has no way to be null.
        Schema::Nullable(inner) => *inner,
        plain => plain,
    }
}

/// What the client takes for a body.
pub(super) fn plain_body(body: &Body) -> Schema {
    without_limits(&body.schema)
}

/// The successes of an operation, and whether the client has one type for them.
fn successes(operation: &Operation) -> (Vec<&Answer>, bool) {
    let answers = operation.answers.iter();
    let successes: Vec<&Answer> = answers.filter(|of| is_success(of.status)).collect();
    let is_same =
        |pair: &[&Answer]| pair[0].body == pair[1].body && is_raw(pair[0]) == is_raw(pair[1]);
    let is_one = successes.windows(2).all(is_same);
    (successes, is_one)
}

/// Whether the client reads the body of a success.
pub(super) fn is_typed(operation: &Operation) -> bool {
    let (successes, is_one) = successes(operation);
    let first = successes.first();
    is_one && first.is_some_and(|of| of.body.is_some() && !is_raw(of))
}

/// Outside of components Progenitor generates types for limits and formats, such as `uuid::Uuid`, `[String; 2]` and
/// `NonZeroU32`; ours have none.
fn without_limits(schema: &Schema) -> Schema {
    match schema {
        Schema::String { format, .. } => {
            let format = format
                .clone()
                .filter(|format| matches!(format.as_str(), "date" | "date-time"));
            Schema::String {
                format,
                min_length: None,
                max_length: None,
                pattern: None,
            }
        }
        Schema::Integer { format, .. } => Schema::Integer {
            format: *format,
            limits: Default::default(),
        },
        Schema::Number { .. } => Schema::Number {
            limits: Default::default(),
        },
        Schema::Array { items, .. } => Schema::Array {
            items: Box::new(without_limits(items)),
            min_items: None,
            max_items: None,
            unique: false,
        },
        Schema::Map { values, .. } => Schema::Map {
            values: Box::new(without_limits(values)),
            min_properties: None,
            max_properties: None,
        },
        Schema::Nullable(inner) => Schema::Nullable(Box::new(without_limits(inner))),
        Schema::Any | Schema::Null | Schema::Boolean | Schema::Ref(_) | Schema::Bytes => {
            schema.clone()
        }
    }
}

fn responses(operation: &Operation, notes: &mut Vec<Note>) -> Value {
    let mut responses = Map::new();
    let has_success = operation.answers.iter().any(|of| is_success(of.status));
    let has_class = |class| {
        operation
            .answers
            .iter()
            .any(|of| of.status == Status::Range(class))
    };
    let has_default = operation
        .answers
        .iter()
        .any(|of| of.status == Status::Default);
    let covered = |status: u16| has_class(status / 100) || has_default;
    let errors = operation.answers.iter().filter(|of| of.status.is_error());
    let errors: Vec<&Answer> = errors.collect();
    let one_error = errors.windows(2).all(|pair| pair[0].body == pair[1].body);
    let raw_errors = errors.iter().any(|of| is_raw(of));
    if raw_errors && !(one_error && errors.iter().all(|of| is_raw(of))) {
        notes.push(note(
            operation,
            "its errors have several types; the client has them as streams of bytes",
        ));
    } else if !one_error {
        notes.push(note(
            operation,
            "its errors have several types; the client has them as JSON values",
        ));
    }
    let (_, one_success) = successes(operation);
    if !one_success {
        notes.push(note(
            operation,
            "its successes have several types; the client has them as streams of bytes",
        ));
    }
    let success = |answer: &Answer| match one_success {
        true => response(answer),
        false => stream(answer),
    };
    for answer in &operation.answers {
        let any = Answer {
            body: Some(Schema::Any),
            headers: Vec::new(),
            codes: Vec::new(),
            description: answer.description.clone(),
            media_type: JSON.to_owned(),
            codec: if raw_errors {
                Codec::Bytes
            } else {
                Codec::Json
            },
            name: answer.name.clone(),
            status: answer.status,
        };
        let shown = if one_error && !raw_errors {
            answer
        } else {
            &any
        };
        match answer.status {
            // Progenitor would try the class first and never reach the status; both have one type here.
            Status::Exact(status) if answer.status.is_error() && covered(status) => {}
            Status::Exact(status) if answer.status.is_error() => {
                responses.insert(status.to_string(), response(shown));
            }
            Status::Exact(200..300) if has_class(2) && one_success => {}
            Status::Exact(200..300) | Status::Range(2) => {
                responses.insert(key(answer.status), success(answer));
            }
            Status::Range(4..) => {
                responses.insert(key(answer.status), response(shown));
            }
            // In addition to a success, Progenitor treats `default` as another success.
            Status::Default => {
                if !has_success {
                    responses.insert(key(Status::Range(2)), response(answer));
                }
                for class in [4, 5].into_iter().filter(|class| !has_class(*class)) {
                    responses.insert(key(Status::Range(class)), response(shown));
                }
            }
            Status::Exact(_) | Status::Range(_) => {
                notes.push(note(
                    operation,
                    format!(
                        "the client reports {} as an unexpected answer",
                        key(answer.status)
                    ),
                ));
            }
        }
    }
    responses.into()
}

fn is_success(status: Status) -> bool {
    matches!(status, Status::Exact(200..300) | Status::Range(2))
}

fn key(status: Status) -> String {
    match status {
        Status::Exact(status) => status.to_string(),
        Status::Range(class) => format!("{class}XX"),
        Status::Default => "default".to_owned(),
    }
}

/// An answer whose body is not JSON.
fn is_raw(answer: &Answer) -> bool {
    answer.body.is_some() && answer.codec != Codec::Json
}

/// An answer that is a stream to Progenitor.
fn stream(answer: &Answer) -> Value {
    json!({ "description": answer.description, "content": { "*/*": { "schema": {} } } })
}

fn response(answer: &Answer) -> Value {
    if is_raw(answer) {
        return stream(answer);
    }
    let mut value = json!({ "description": answer.description });
    if let Some(body) = &answer.body {
        value["content"] = json!({ "application/json": { "schema": json(&without_limits(body), Dialect::OpenApi30) } });
    }
    if !answer.headers.is_empty() {
        let headers = answer.headers.iter().map(|header| {
            let schema = match &header.value {
                HeaderValue::Fixed(only) => json!({ "type": "string", "enum": [only] }),
                HeaderValue::Text => json!({ "type": "string" }),
                HeaderValue::Integer => json!({ "type": "integer" }),
            };
            let value = json!({ "required": header.required, "schema": schema });
            (
                header.wire.clone(),
                described(value, header.description.as_ref()),
            )
        });
        value["headers"] = headers.collect::<Map<_, _>>().into();
    }
    value
}

fn described(mut value: Value, description: Option<&String>) -> Value {
    if let Some(description) = description {
        value["description"] = description.as_str().into();
    }
    value
}
