//! `openapi.yaml` against the operation as it was published, and against its own rules.

use arklow_domain::{DeviceName, is_invisible};
use serde_json::{Value, json};

use crate::harness::{CONTRACT, yaml};

/// What may be added anywhere without changing what the published document says.
const ADDITIONS: &[&str] = &[
    "description",
    "summary",
    "title",
    "example",
    "examples",
    "headers",
    "links",
    "license",
];

#[test]
fn contract_says_all_that_the_published_operation_says() {
    let seed = resolved(&yaml(include_str!("seed.yaml")));
    assert_eq!(
        differences(&seed, &resolved(&CONTRACT)),
        Vec::<String>::new()
    );
}

/// The test above, tested: each of these changes is one that it must see.
#[test]
fn changes_to_the_published_operation_are_seen() {
    let seed = resolved(&yaml(include_str!("seed.yaml")));
    let data = "/paths/~1v1~1self~1mfa~1regenerate~1totp/post/responses/200/content/application~1json/schema/properties";
    let body = "/paths/~1v1~1self~1mfa~1regenerate~1totp/post/requestBody";
    let mutations: [(&str, String, Value); 9] = [
        (
            "a server is another",
            "/servers/1/url".to_owned(),
            json!("http://localhost:1"),
        ),
        (
            "a tag is gone",
            "/tags".to_owned(),
            json!([{ "name": "users" }]),
        ),
        (
            "the operation has another id",
            format!("{}/operationId", &body[..body.len() - 12]),
            json!("regenerate"),
        ),
        (
            "the body is optional",
            format!("{body}/required"),
            json!(false),
        ),
        (
            "the pattern is another",
            format!("{body}/content/application~1json/schema/properties/device_id/pattern"),
            json!("^[0-9]*$"),
        ),
        (
            "a limit is new",
            format!("{body}/content/application~1json/schema/properties/device_id/maxLength"),
            json!(19),
        ),
        (
            "null is not allowed",
            format!("{data}/data/anyOf"),
            json!([{ "type": "object" }]),
        ),
        (
            "a property is gone",
            format!("{data}/data/anyOf/0/properties/device/properties"),
            json!({}),
        ),
        (
            "the scheme is another",
            "/components/securitySchemes/apiKey/name".to_owned(),
            json!("x-other"),
        ),
    ];
    for (what, pointer, value) in mutations {
        let mut mutant = resolved(&CONTRACT);
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = mutant
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("{pointer}"));
        match parent {
            Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
            other => other[key] = value,
        }
        assert_ne!(differences(&seed, &mutant), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn every_other_answer_is_the_envelope_with_its_codes() {
    let listed: Vec<&str> = codes_of(
        &CONTRACT["components"]["schemas"]["ApiError"]["properties"]["code"]["x-extensible-enum"],
    );
    let items = CONTRACT["paths"].as_object().expect("paths").values();
    let operations: Vec<&Value> = items
        .flat_map(|item| item.as_object().expect("a path item").values())
        .collect();
    assert_eq!(operations.len(), 8);
    for operation in operations {
        let id = operation["operationId"].as_str().expect("an id");
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            assert_ne!(status, "default", "{id}: clients mistype it");
            if status == "200" {
                continue;
            }
            let response = CONTRACT
                .pointer(&response["$ref"].as_str().expect("a shared response")[1..])
                .expect("it is there");
            let schema = &response["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(
                schema, "#/components/schemas/ErrorEnvelope",
                "{id} {status}"
            );
            let codes = codes_of(&response["x-error-codes"]);
            assert!(!codes.is_empty(), "{id} {status}");
            for code in codes {
                assert!(
                    listed.contains(&code),
                    "{code} of {id} {status} is not listed at ApiError.code"
                );
                assert!(
                    code.bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                    "{code}"
                );
            }
        }
    }
    let envelope = &CONTRACT["components"]["schemas"]["ErrorEnvelope"];
    assert_eq!(envelope["required"], json!(["data", "errors"]));
    assert_eq!(
        (
            &envelope["properties"]["data"]["type"],
            &envelope["properties"]["errors"]["minItems"]
        ),
        (&json!("null"), &json!(1))
    );
}

/// The contract and the domain agree on names, for each character up to the last white space. Invisible characters are
/// excepted: a pattern cannot express where they are allowed.
#[test]
fn names_that_match_the_contract_are_names() {
    let schema = &CONTRACT["components"]["schemas"]["StartEnrollmentRequest"]["properties"]["name"];
    let schema = jsonschema::validator_for(schema).expect("a schema");
    let mut names = 0;
    for character in ('\0'..='\u{4000}').chain(['\u{feff}', '\u{1f511}', char::MAX]) {
        for name in [
            character.to_string(),
            format!("a{character}"),
            format!("{character}a"),
        ] {
            let is_name = name.parse::<DeviceName>().is_ok();
            let is_hidden = is_invisible(character) || matches!(character, '\u{2028}' | '\u{2029}');
            let is_valid = schema.is_valid(&json!(name));
            assert!(is_valid == is_name || (is_valid && is_hidden), "{name:?}");
            names += usize::from(is_name);
        }
    }
    assert!(names > 40_000, "{names}");
}

fn codes_of(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|code| code.as_str().expect("a code"))
        .collect()
}

/// The document with every `$ref` replaced by what it refers to, without the components that were only shared.
fn resolved(document: &Value) -> Value {
    let mut whole = inlined(document, document, 0);
    let schemes = whole["components"]["securitySchemes"].clone();
    whole["components"] = json!({ "securitySchemes": schemes });
    whole
}

fn inlined(document: &Value, value: &Value, depth: usize) -> Value {
    assert!(depth < 100, "a reference that leads back to itself");
    match value {
        Value::Object(object) => match object.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let target = document
                    .pointer(&reference[1..])
                    .unwrap_or_else(|| panic!("{reference}"));
                inlined(document, target, depth + 1)
            }
            None => object
                .iter()
                .map(|(key, value)| (key.clone(), inlined(document, value, depth + 1)))
                .collect(),
        },
        Value::Array(items) => items
            .iter()
            .map(|item| inlined(document, item, depth + 1))
            .collect(),
        other => other.clone(),
    }
}

/// Where `ours` lacks or changes something of `seed`, or adds what is not harmless.
fn differences(seed: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", seed, ours, &mut found);
    found
}

fn compare(at: &str, seed: &Value, ours: &Value, found: &mut Vec<String>) {
    match (seed, ours) {
        (Value::Object(seed), Value::Object(ours)) => {
            for (key, value) in seed {
                match ours.get(key) {
                    // The published text is the beginning of ours.
                    Some(Value::String(ours)) if key == "description" => {
                        if !ours.starts_with(value.as_str().unwrap_or_default()) {
                            found.push(format!("{at}/{key} was changed"));
                        }
                    }
                    Some(ours) => compare(&format!("{at}/{key}"), value, ours, found),
                    None => found.push(format!("{at}/{key} is gone")),
                }
            }
            for key in ours.keys().filter(|key| !seed.contains_key(*key)) {
                let is_named = at.ends_with("/properties") || at == "/components/securitySchemes";
                let is_annotation =
                    !is_named && (ADDITIONS.contains(&key.as_str()) || key.starts_with("x-"));
                // Further operations take nothing away.
                let may_grow = at.ends_with("/responses") || at == "/paths";
                if !is_annotation && !may_grow {
                    found.push(format!("{at}/{key} is new"));
                }
            }
        }
        (Value::Array(seed), Value::Array(ours)) if seed.len() == ours.len() => {
            for (index, (seed, ours)) in seed.iter().zip(ours).enumerate() {
                compare(&format!("{at}/{index}"), seed, ours, found);
            }
        }
        (seed, ours) if seed == ours => {}
        (seed, ours) => found.push(format!("{at} was {seed} and is {ours}")),
    }
}
