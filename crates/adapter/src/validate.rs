//! Checks a request against its schema, and lists in what way it breaks it.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::error::{In, RequestError, Violation};

/// How many violations an answer lists; the others are counted.
const MAX_VIOLATIONS: usize = 20;

/// How many bytes a pointer or a message may have as JSON. What is longer is cut and ends in `…`.
pub(super) const MAX_TEXT: usize = 256;

/// How many bytes the pointers and messages of all listed violations may have as JSON.
const MAX_TEXTS: usize = 4096;

/// Violations as they are found, of which a bounded number of bytes is kept.
#[derive(Default)]
pub(super) struct Violations {
    listed: BTreeSet<Violation>,
    /// Of the pointers and messages that are listed, as JSON.
    bytes: usize,
    /// How many are not listed.
    pub(super) more: usize,
}

impl Violations {
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether one more is counted only.
    pub(super) fn is_full(&self) -> bool {
        self.more > 0 || self.listed.len() >= MAX_VIOLATIONS
    }

    /// Lists a violation once, or counts it.
    pub(super) fn add(&mut self, place: In, pointer: &str, message: &str, rule: &str) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let violation = Violation {
            place,
            pointer: shorten(pointer),
            message: shorten(message),
            rule: rule.to_owned(),
        };
        if self.listed.contains(&violation) {
            return;
        }
        let texts = violation.pointer.chars().chain(violation.message.chars());
        let bytes = texts.map(json_len).sum::<usize>();
        if self.bytes + bytes > MAX_TEXTS {
            self.more += 1;
            return;
        }
        self.bytes += bytes;
        self.listed.insert(violation);
    }

    pub(super) fn into_error(self) -> RequestError {
        let mut violations: Vec<Violation> = self.listed.into_iter().collect();
        if self.more > 0 {
            let message = format!("breaks the schema in {} further places", self.more);
            violations.push(whole_body(message, ""));
        }
        RequestError::InvalidRequest(violations)
    }
}

/// At most [`MAX_TEXT`] bytes of a text as JSON, cut between characters.
fn shorten(text: &str) -> String {
    let mut bytes = 0;
    let mut fits = |(_, character): &(usize, char)| {
        bytes += json_len(*character);
        bytes <= MAX_TEXT
    };
    match text.char_indices().find(|indexed| !fits(indexed)) {
        // The mark comes on top.
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// How many bytes a character takes in a JSON string.
fn json_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{9}' | '\u{a}' | '\u{c}' | '\u{d}' => 2,
        '\u{0}'..='\u{1f}' => 6,
        _ => character.len_utf8(),
    }
}

/// Shortens the keys of an invalid body, for the validator collects the pointer of every violation before it
/// returns the first one. A pointer has about `budget` bytes afterwards.
pub(super) fn shorten_keys(value: &mut Value, budget: usize) {
    /// Of a key at least and at most so many bytes are kept; longer ones get a number, so that they stay distinct.
    const KEPT: (usize, usize) = (8, 128);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shorten_keys(item, budget)),
        Value::Object(object) => {
            let entries = std::mem::take(object).into_iter().enumerate();
            *object = entries
                .map(|(index, (mut key, mut value))| {
                    let limit = budget.clamp(KEPT.0, KEPT.1);
                    if key.len() > limit {
                        let end = (0..=limit).rev().find(|end| key.is_char_boundary(*end));
                        key.truncate(end.unwrap_or_default());
                        key.push_str(&format!("…{index}"));
                    }
                    shorten_keys(&mut value, budget.saturating_sub(key.len()));
                    (key, value)
                })
                .collect();
        }
        _ => {}
    }
}

pub(super) fn whole_body(message: impl Into<String>, rule: &str) -> Violation {
    Violation {
        place: In::Body,
        pointer: String::new(),
        message: message.into(),
        rule: rule.to_owned(),
    }
}

/// The violation of a request without a required body.
pub(super) fn missing_body() -> Violation {
    whole_body("is missing", "required")
}

/// A key as a reference token (RFC 6901 §3).
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Splits `/body/device_id` into its place and the pointer within.
pub(super) fn split(pointer: &str) -> (In, String) {
    for place in In::ALL {
        if let Some(rest) = pointer
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(place.key()))
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return (place, rest.to_owned());
        }
    }
    (In::Body, pointer.to_owned())
}

pub(super) fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escape(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

pub(super) fn violations_of(error: &jsonschema::ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().as_str();
    if let ValidationErrorKind::AnyOf { context } = error.kind() {
        // Where the value is meant for one branch, that branch's complaints are the ones that help: the only branch of
        // its JSON type, or among several the only one that has its literals.
        let of_its_type: Vec<_> = context
            .iter()
            .filter(|errors| !errors.iter().any(|error| is_of_another_type(error, at)))
            .collect();
        let of_its_literals: Vec<_> = of_its_type
            .iter()
            .filter(|errors| !errors.iter().any(has_another_literal))
            .copied()
            .collect();
        if let ([errors], _) | (_, [errors]) = (of_its_type.as_slice(), of_its_literals.as_slice())
        {
            return errors.iter().flat_map(violations_of).collect();
        }
    }
    let (message, below) = match error.kind() {
        ValidationErrorKind::Required { property } => (
            "is missing".to_owned(),
            format!("/{}", escape(property.as_str().unwrap_or_default())),
        ),
        kind => (message_of(kind), String::new()),
    };
    let (place, pointer) = split(&format!("{at}{below}"));
    vec![Violation {
        place,
        pointer,
        message,
        rule: error.kind().keyword().to_owned(),
    }]
}

fn is_of_another_type(error: &jsonschema::ValidationError<'_>, at: &str) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path().as_str() == at
}

fn has_another_literal(error: &jsonschema::ValidationError<'_>) -> bool {
    matches!(
        error.kind(),
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. }
    )
}

/// What is wrong, without the value: it may be a secret.
fn message_of(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Type {
            kind: TypeKind::Single(name),
        } => format!("is not of type {name}"),
        ValidationErrorKind::Pattern { pattern } => format!("does not match `{pattern}`"),
        ValidationErrorKind::MinLength { limit } => format!("is shorter than {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("is longer than {limit} characters"),
        ValidationErrorKind::Minimum { limit } => format!("is less than {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("is more than {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("is not more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("is not less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("is not a multiple of {multiple_of}")
        }
        ValidationErrorKind::MinItems { limit } => format!("has fewer than {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("has more than {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("has fewer than {limit} keys"),
        ValidationErrorKind::MaxProperties { limit } => format!("has more than {limit} keys"),
        ValidationErrorKind::UniqueItems => "has an item twice".to_owned(),
        ValidationErrorKind::Format { format } => format!("is not a {format}"),
        ValidationErrorKind::Enum { options } => format!("is not one of {options}"),
        ValidationErrorKind::Constant { expected_value } => format!("is not {expected_value}"),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!(
                "has unknown keys: {}",
                unexpected
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        ValidationErrorKind::AnyOf { .. } => {
            "matches none of the shapes that are allowed here".to_owned()
        }
        other => format!("breaks `{}`", other.keyword()),
    }
}

/// The schema of an operation's requests.
pub(super) struct RequestSchema {
    pub(super) validator: jsonschema::Validator,
    /// The schema itself, if texts are read by it.
    pub(super) texts: Value,
}

impl RequestSchema {
    /// `schema` was compiled once when the code was generated.
    pub(super) fn new(schema: Value) -> Self {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .build(&schema)
            .expect("the schema compiled when this code was generated");
        let is_read = schema.get("x-by-schema").is_some();
        Self {
            validator,
            texts: if is_read { schema } else { Value::Null },
        }
    }
}
