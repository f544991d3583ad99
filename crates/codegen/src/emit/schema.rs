//! The IR's schemas as JSON Schema, in two dialects.

use serde_json::{Map, Value, json};

use crate::ir::{Additional, Field, IntegerFormat, Limits, Schema, Struct, TypeDef, TypeKind};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// For the validator; named types are under `$defs`.
    Draft202012,
    /// For OpenAPI 3.0.3; named types are under `components/schemas`.
    OpenApi30,
}

/// A named type.
pub(crate) fn definition(def: &TypeDef, dialect: Dialect) -> Value {
    let mut value = match &def.kind {
        TypeKind::Struct(shape) => structure(shape, dialect),
        TypeKind::Enum(values) => {
            json!({ "type": "string", "enum": values.iter().map(|value| &value.wire).collect::<Vec<_>>() })
        }
        TypeKind::Union(variants) => {
            json!({ "anyOf": variants.iter().map(|variant| json(&variant.schema, dialect)).collect::<Vec<_>>() })
        }
        TypeKind::Alias(schema) => json(schema, dialect),
    };
    if let (Some(valid), Dialect::Draft202012) = (&def.valid, dialect) {
        let says_nothing = value.as_object().is_some_and(Map::is_empty);
        return match says_nothing {
            true => valid.clone(),
            false => json!({ "allOf": [value, valid] }),
        };
    }
    if let (Some(description), Some(object)) = (&def.description, value.as_object_mut())
        // 3.0 ignores the siblings of a `$ref`.
        && dialect == Dialect::OpenApi30
        && !object.contains_key("$ref")
    {
        object.insert("description".to_owned(), description.as_str().into());
    }
    value
}

/// A schema where it is used.
///
/// 3.0 has no `null` type and no numeric `exclusiveMinimum`; the spellings are those that Dropshot writes and
/// Progenitor reads.
pub(crate) fn json(schema: &Schema, dialect: Dialect) -> Value {
    match schema {
        Schema::Any => json!({}),
        Schema::Null => match dialect {
            Dialect::Draft202012 => json!({ "type": "null" }),
            Dialect::OpenApi30 => json!({ "nullable": true, "enum": [null] }),
        },
        Schema::Boolean => json!({ "type": "boolean" }),
        Schema::Integer { format, limits } => integer(*format, limits, dialect),
        Schema::Number { limits: of } => limits(json!({ "type": "number" }), of, dialect),
        Schema::String {
            format,
            min_length,
            max_length,
            pattern,
        } => with(
            json!({ "type": "string" }),
            [
                ("format", format.as_deref().map(Into::into)),
                ("minLength", min_length.map(Into::into)),
                ("maxLength", max_length.map(Into::into)),
                ("pattern", pattern.as_deref().map(Into::into)),
            ],
        ),
        Schema::Array {
            items,
            min_items,
            max_items,
            unique,
        } => with(
            json!({ "type": "array", "items": json(items, dialect) }),
            [
                ("minItems", min_items.map(Into::into)),
                ("maxItems", max_items.map(Into::into)),
                ("uniqueItems", unique.then_some(true.into())),
            ],
        ),
        Schema::Map {
            values,
            min_properties,
            max_properties,
        } => with(
            json!({ "type": "object", "additionalProperties": json(values, dialect) }),
            [
                ("minProperties", min_properties.map(Into::into)),
                ("maxProperties", max_properties.map(Into::into)),
            ],
        ),
        Schema::Nullable(inner) => nullable(json(inner, dialect), dialect),
        Schema::Ref(name) => match dialect {
            Dialect::Draft202012 => json!({ "$ref": format!("#/$defs/{name}") }),
            Dialect::OpenApi30 => json!({ "$ref": format!("#/components/schemas/{name}") }),
        },
        Schema::Bytes => match dialect {
            // Where it is JSON, it is Base64.
            Dialect::Draft202012 => json!({ "type": "string" }),
            Dialect::OpenApi30 => json!({ "type": "string", "format": "binary" }),
        },
    }
}

/// An object with these fields, as parameters of one place are described, too.
pub(crate) fn structure(shape: &Struct, dialect: Dialect) -> Value {
    let properties: Map<String, Value> = shape
        .fields
        .iter()
        .map(|field| (field.wire.clone(), property(field, dialect)))
        .collect();
    let required: Vec<&String> = shape
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| &field.wire)
        .collect();
    with(
        json!({ "type": "object", "properties": properties }),
        [
            ("required", (!required.is_empty()).then(|| json!(required))),
            (
                "additionalProperties",
                match &shape.additional {
                    Additional::Ignored => None,
                    Additional::Refused => Some(false.into()),
                    Additional::Kept(values) => Some(json(values, dialect)),
                },
            ),
            ("minProperties", shape.min_properties.map(Into::into)),
            ("maxProperties", shape.max_properties.map(Into::into)),
        ],
    )
}

fn property(field: &Field, dialect: Dialect) -> Value {
    let mut value = json(&field.schema, dialect);
    if dialect == Dialect::OpenApi30
        && let Some(object) = value.as_object_mut()
        && !object.contains_key("$ref")
    {
        if let Some(description) = &field.description {
            object.insert("description".to_owned(), description.as_str().into());
        }
        if let Some(default) = &field.default {
            object.insert("default".to_owned(), default.clone());
        }
    }
    value
}

fn nullable(inner: Value, dialect: Dialect) -> Value {
    match dialect {
        Dialect::Draft202012 => json!({ "anyOf": [inner, { "type": "null" }] }),
        // 3.0 ignores the siblings of a `$ref`, hence the wrapper.
        Dialect::OpenApi30 if inner.get("$ref").is_some() => {
            json!({ "allOf": [inner], "nullable": true })
        }
        Dialect::OpenApi30 => with(inner, [("nullable", Some(true.into()))]),
    }
}

/// The range of the Rust type binds as the document's limits do: a value beyond it is a violation, not a fault.
fn integer(format: IntegerFormat, of: &Limits, dialect: Dialect) -> Value {
    let (name, least, most) = match format {
        IntegerFormat::I32 => ("int32", json!(i32::MIN), json!(i32::MAX)),
        IntegerFormat::I64 => ("int64", json!(i64::MIN), json!(i64::MAX)),
        IntegerFormat::U32 => ("uint32", json!(u32::MIN), json!(u32::MAX)),
        IntegerFormat::U64 => ("uint64", json!(u64::MIN), json!(u64::MAX)),
    };
    match dialect {
        Dialect::OpenApi30 => limits(json!({ "type": "integer", "format": name }), of, dialect),
        Dialect::Draft202012 => {
            let range = json!({ "type": "integer", "minimum": least, "maximum": most });
            if *of == Limits::default() {
                return range;
            }
            let stated = limits(json!({ "type": "integer" }), of, dialect);
            if of.minimum.is_some() && of.maximum.is_some() {
                stated
            } else {
                json!({ "allOf": [stated, range] })
            }
        }
    }
}

fn limits(value: Value, of: &Limits, dialect: Dialect) -> Value {
    let number = |number: &Option<serde_json::Number>| number.clone().map(Value::Number);
    let value = with(value, [("multipleOf", number(&of.multiple_of))]);
    match dialect {
        Dialect::Draft202012 => with(
            value,
            [
                ("minimum", number(&of.minimum)),
                ("maximum", number(&of.maximum)),
                ("exclusiveMinimum", number(&of.exclusive_minimum)),
                ("exclusiveMaximum", number(&of.exclusive_maximum)),
            ],
        ),
        Dialect::OpenApi30 => with(
            value,
            [
                (
                    "minimum",
                    number(&of.minimum).or_else(|| number(&of.exclusive_minimum)),
                ),
                (
                    "maximum",
                    number(&of.maximum).or_else(|| number(&of.exclusive_maximum)),
                ),
                (
                    "exclusiveMinimum",
                    of.exclusive_minimum.as_ref().map(|_| true.into()),
                ),
                (
                    "exclusiveMaximum",
                    of.exclusive_maximum.as_ref().map(|_| true.into()),
                ),
            ],
        ),
    }
}

fn with<const N: usize>(mut value: Value, entries: [(&str, Option<Value>); N]) -> Value {
    if let Some(object) = value.as_object_mut() {
        for (key, entry) in entries {
            if let Some(entry) = entry {
                object.insert(key.to_owned(), entry);
            }
        }
    }
    value
}
