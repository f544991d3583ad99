//! A value that a schema allows, for what the contract gives no example of.

use serde_json::{Map, Value, json};

/// How deep a value may go: a schema may contain itself.
const DEPTH: usize = 32;

/// A value of `schema`, the same each time; `named` is what `#/components/schemas/` refers to.
///
/// An example that the schema itself gives comes first. Patterns are not evaluated: a schema with a pattern needs an example.
pub(crate) fn sample(schema: &Value, named: &Map<String, Value>) -> Value {
    sample_at(schema, named, DEPTH)
}

fn sample_at(schema: &Value, named: &Map<String, Value>, depth: usize) -> Value {
    let Some(below) = depth.checked_sub(1) else {
        return Value::Null;
    };
    let sample_of = |schema: &Value| sample_at(schema, named, below);
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix("#/components/schemas/"))
    {
        return named.get(name).map_or(Value::Null, sample_of);
    }
    let given = [&schema["example"], &schema["default"], &schema["const"]];
    let listed = [&schema["examples"][0], &schema["enum"][0]];
    if let Some(value) = given
        .into_iter()
        .chain(listed)
        .find(|value| !value.is_null())
    {
        return value.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[key].get(0) {
            return sample_of(first);
        }
    }
    let of_type = match &schema["type"] {
        Value::Array(types) => types.first().unwrap_or(&Value::Null),
        one => one,
    };
    match of_type.as_str() {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let properties = required.filter_map(Value::as_str);
            properties
                .map(|name| (name.to_owned(), sample_of(&schema["properties"][name])))
                .collect()
        }
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(0);
            (0..count).map(|_| sample_of(&schema["items"])).collect()
        }
        Some("string") => json!(text(schema)),
        Some("integer" | "number") => number(schema),
        Some("boolean") => json!(false),
        _ => Value::Null,
    }
}

fn text(schema: &Value) -> String {
    let text = match schema["format"].as_str() {
        Some("date-time") => "2026-11-23T09:30:00Z",
        Some("date") => "2026-11-23",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("uri") => "https://example.com/",
        Some("email") => "ada@example.com",
        _ => "text",
    };
    let limit = |key: &str| {
        schema[key]
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
    };
    let longest = limit("maxLength").unwrap_or(usize::MAX);
    let mut text: String = text.chars().take(longest).collect();
    let missing = limit("minLength").unwrap_or(0).saturating_sub(text.len());
    text.extend(std::iter::repeat_n('x', missing));
    text
}

/// The number nearest to 0, or one more than a limit that is not included.
fn number(schema: &Value) -> Value {
    let limits = [
        (&schema["minimum"], 0),
        (&schema["exclusiveMinimum"], 1),
        (&schema["maximum"], 0),
        (&schema["exclusiveMaximum"], -1),
    ];
    let is_within = |number: i64| {
        let at = |key: &str| schema[key].as_i64();
        at("minimum").is_none_or(|limit| number >= limit)
            && at("exclusiveMinimum").is_none_or(|limit| number > limit)
            && at("maximum").is_none_or(|limit| number <= limit)
            && at("exclusiveMaximum").is_none_or(|limit| number < limit)
    };
    let near_limits = limits
        .iter()
        .filter_map(|(limit, step)| limit.as_i64()?.checked_add(*step));
    std::iter::once(0)
        .chain(near_limits)
        .find(|number| is_within(*number))
        .map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_valid_for_what_a_contract_says_of_answers() {
        let named = json!({
            "Tree": { "type": "object", "required": ["name", "next"], "properties": {
                "name": { "type": "string", "minLength": 6 },
                "next": { "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Tree" }] },
            } },
        });
        let named = named.as_object().unwrap();
        for (schema, expected) in [
            (json!({ "type": "integer", "minimum": 1 }), json!(1)),
            (
                json!({ "type": "integer", "exclusiveMaximum": -3 }),
                json!(-4),
            ),
            (
                json!({ "type": "integer", "minimum": -5, "maximum": 5 }),
                json!(0),
            ),
            (json!({ "type": "string", "maxLength": 2 }), json!("te")),
            (
                json!({ "type": "string", "enum": ["no-store"] }),
                json!("no-store"),
            ),
            (
                json!({ "type": ["string", "null"], "format": "date" }),
                json!("2026-11-23"),
            ),
            (
                json!({ "type": "string", "pattern": "^a$", "examples": ["a"] }),
                json!("a"),
            ),
            (
                json!({ "type": "array", "minItems": 2, "items": { "type": "boolean" } }),
                json!([false, false]),
            ),
            (
                json!({ "$ref": "#/components/schemas/Tree" }),
                json!({ "name": "textxx", "next": null }),
            ),
            (json!({ "type": "string", "const": "only" }), json!("only")),
        ] {
            let value = sample(&schema, named);
            assert_eq!(value, expected, "{schema}");
            let document = json!({ "allOf": [schema], "components": { "schemas": named } });
            let validator = jsonschema::options().should_validate_formats(true);
            assert!(
                validator.build(&document).unwrap().is_valid(&value),
                "{document}"
            );
        }
    }

    #[test]
    fn schema_that_never_ends_ends() {
        let named = json!({ "Loop": { "anyOf": [{ "$ref": "#/components/schemas/Loop" }] } });
        let named = named.as_object().unwrap();
        let value = sample(&json!({ "$ref": "#/components/schemas/Loop" }), named);
        assert_eq!(value, Value::Null);
    }
}
