//! Converts a schema of the document to JSON Schema 2020-12, for the validator.
//!
//! Where a Rust type says less than its schema, the validator checks the schema as well. It may say more, too: the range of
//! an `i64`, say. So what passes the validator can be read.

use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::{Analyzer, Version};
use crate::diagnostic::Code;
use crate::spec::{Entry, Node, Value};

/// Keywords that hold a schema.
const SCHEMA: &[&str] = &[
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords that hold an object of schemas.
const SCHEMAS_BY_NAME: &[&str] = &["properties", "patternProperties", "dependentSchemas"];
/// Keywords that hold a list of schemas.
const SCHEMA_LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords that hold a count.
const COUNTS: &[&str] = &[
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
];
/// Keywords that hold other values.
const VALUES: &[&str] = &[
    "$ref",
    "type",
    "enum",
    "const",
    "format",
    "pattern",
    "required",
    "uniqueItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "dependentRequired",
];

/// Whether a keyword restricts the values.
pub(super) fn is_validating(key: &str) -> bool {
    [SCHEMA, SCHEMAS_BY_NAME, SCHEMA_LISTS, COUNTS, VALUES]
        .iter()
        .any(|keywords| keywords.contains(&key))
}

impl Analyzer {
    /// The schema at `node`; of what is none, `{}`, and it is refused.
    pub(super) fn valid(&mut self, node: &Node) -> Json {
        if let Value::Bool(value) = node.value {
            return value.into();
        }
        if !self.is_object(node, "a schema") {
            return json!({});
        }
        let mut schema = Map::new();
        // Several of them cannot be one `anyOf`.
        let mut all = Vec::new();
        for Entry {
            key,
            key_at,
            node: value,
        } in node.entries()
        {
            let key = key.as_str();
            match key {
                "$ref" => {
                    let target = self.component_of(value, "schemas");
                    let name = target.and_then(|key| self.component_type(&key, value.at));
                    schema.extend(
                        name.map(|name| (key.to_owned(), json!(format!("#/$defs/{name}")))),
                    );
                }
                // What their servers send often fits several branches, so `oneOf` is not taken to the letter.
                "anyOf" | "oneOf" => {
                    let branches = self.list(node, key);
                    let branches: Vec<Json> = branches.iter().map(|of| self.valid(of)).collect();
                    if !branches.is_empty() {
                        all.push(json!({ "anyOf": branches }));
                    }
                }
                "allOf" => {
                    let parts = self.list(node, key);
                    all.extend(parts.iter().map(|of| self.valid(of)).collect::<Vec<_>>());
                }
                "items" if matches!(value.value, Value::Seq(_)) => {
                    let items = self.list(node, key);
                    let items: Vec<Json> = items.iter().map(|of| self.valid(of)).collect();
                    schema.insert("prefixItems".to_owned(), items.into());
                }
                "prefixItems" => {
                    let items = self.list(node, key);
                    let items: Vec<Json> = items.iter().map(|of| self.valid(of)).collect();
                    schema.insert(key.to_owned(), items.into());
                }
                _ if SCHEMA.contains(&key) => {
                    let value = self.valid(value);
                    schema.insert(key.to_owned(), value);
                }
                _ if SCHEMAS_BY_NAME.contains(&key) => {
                    self.is_object(value, &format!("`{key}`"));
                    let entries = value.entries().iter();
                    let schemas: Map<String, Json> = entries
                        .map(|entry| (entry.key.clone(), self.valid(&entry.node)))
                        .collect();
                    schema.insert(key.to_owned(), schemas.into());
                }
                _ if COUNTS.contains(&key) => {
                    let count = self.count(node, key);
                    schema.extend(count.map(|count| (key.to_owned(), count.into())));
                }
                "enum" => {
                    let values: Vec<Json> =
                        self.list(node, key).iter().map(|of| of.to_json()).collect();
                    schema.insert(key.to_owned(), values.into());
                }
                "const" => drop(schema.insert(key.to_owned(), value.to_json())),
                "type" => {
                    let types = self.types_of(node);
                    if !types.is_empty() {
                        schema.insert(key.to_owned(), json!(types));
                    }
                }
                "required" => {
                    let required = self.required_of(node);
                    schema.insert(key.to_owned(), json!(required));
                }
                "format" => {
                    let format = self.text(node, key);
                    schema.extend(format.map(|format| (key.to_owned(), format.into())));
                }
                "pattern" => {
                    let pattern = self.pattern(node);
                    schema.extend(pattern.map(|pattern| (key.to_owned(), pattern.into())));
                }
                "uniqueItems" => {
                    let value = self.flag(node, key);
                    schema.insert(key.to_owned(), value.into());
                }
                "dependentRequired" => {
                    let entries = value.entries().iter();
                    let names: Map<String, Json> = entries
                        .map(|entry| (entry.key.clone(), json!(self.texts(value, &entry.key))))
                        .collect();
                    schema.insert(key.to_owned(), names.into());
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {}
                "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef"
                | "$recursiveAnchor" => {
                    self.refuse(
                        Code::Keyword,
                        *key_at,
                        format!("`{key}` of a schema is not carried"),
                    )
                    .hint("put shared schemas under `components/schemas`");
                }
                _ => {}
            }
        }
        let limits = self.limits(node);
        for (key, limit) in [
            ("minimum", limits.minimum),
            ("maximum", limits.maximum),
            ("exclusiveMinimum", limits.exclusive_minimum),
            ("exclusiveMaximum", limits.exclusive_maximum),
            ("multipleOf", limits.multiple_of),
        ] {
            schema.extend(limit.map(|limit| (key.to_owned(), Json::Number(limit))));
        }
        if !all.is_empty() {
            schema.insert("allOf".to_owned(), all.into());
        }
        if self.flag(node, "nullable") {
            return json!({ "anyOf": [schema, { "type": "null" }] });
        }
        schema.into()
    }

    /// The JSON types that a schema allows, as far as it lists some.
    pub(super) fn types_of(&mut self, node: &Node) -> Vec<String> {
        const TYPES: [&str; 7] = [
            "array", "boolean", "integer", "null", "number", "object", "string",
        ];
        let types = match node.get("type").map(|found| &found.value) {
            Some(Value::Seq(_)) if self.version == Version::V31 => self.texts(node, "type"),
            Some(_) => self.text(node, "type").into_iter().collect(),
            None => Vec::new(),
        };
        let at = node.get("type").map_or(node.at, |found| found.at);
        for name in &types {
            if !TYPES.contains(&name.as_str()) {
                let message = format!("`{name}` is not a type of JSON Schema");
                self.refuse(Code::Malformed, at, message);
            }
        }
        let mut known: Vec<String> = Vec::new();
        for name in types {
            if TYPES.contains(&name.as_str()) && !known.contains(&name) {
                known.push(name);
            }
        }
        known
    }

    /// The properties that requests and answers both have to have: what is read-only or write-only, only one of them has.
    pub(super) fn required_of(&mut self, node: &Node) -> Vec<String> {
        let properties = node.get("properties").cloned();
        let mut required: Vec<String> = Vec::new();
        for key in self.texts(node, "required") {
            let property: Option<&Rc<Node>> = properties
                .as_ref()
                .and_then(|properties| properties.get(&key));
            let is_of_one = property.is_some_and(|property| {
                ["readOnly", "writeOnly"].iter().any(|direction| {
                    let flag = property.get(direction);
                    flag.is_some_and(|flag| matches!(flag.value, Value::Bool(true)))
                })
            });
            if !is_of_one && !required.contains(&key) {
                required.push(key);
            }
        }
        required
    }
}
