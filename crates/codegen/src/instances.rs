//! Makes values that a JSON Schema accepts, and values that break it in one place.
//!
//! A value is made by the keywords that describe its shape, and kept if the validator accepts it. So the result is right
//! even where a keyword is ignored here; for some schemas, such as those with unusual patterns, no value is found.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value, json};

/// How many values are made for each that is kept.
const ATTEMPTS: usize = 40;
/// From here on only what is required is made.
const MAX_DEPTH: usize = 6;
/// Texts of the formats and patterns that documents have most.
const TEXTS: &[&str] = &[
    "text",
    "a",
    "A",
    "1",
    "12",
    "abc",
    "ABC",
    "a1",
    "a-b",
    "a_b",
    "a.b",
    "A1b2",
    "en",
    "en-US",
    "USD",
    "US",
    "2024-02-29",
    "2024-02-29T12:30:00Z",
    "12:30:00Z",
    "PT1H",
    "https://example.com/a",
    "a@example.com",
    "example.com",
    "192.0.2.7",
    "192.0.2.0/24",
    "2001:db8::1",
    "8f14e45f-ceea-467f-a0e6-5f1c2d3b4a59",
    "1.0.0",
    "v1.0",
    "0.5",
    "50%",
    "#00ff00",
    "/a/b",
    "+15550100",
    "true",
    "a:b",
    "sha256:0123",
    "0123456789abcdef",
    "0123456789ABCDEF01234567",
    "YWJj",
    "^a$",
];

/// Numbers that look random and are the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end.max(1) as u64)).unwrap_or_default()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// The values of a schema.
pub(crate) struct Instances<'a> {
    root: &'a Value,
    validator: jsonschema::Validator,
    /// Whether a value without a type is a text, which in a form it is.
    is_text: bool,
}

impl<'a> Instances<'a> {
    /// Of a schema that refers to its own `$defs`; none for one that does not compile.
    pub(crate) fn of(root: &'a Value, is_text: bool) -> Option<Self> {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .build(root);
        validator.ok().map(|validator| Self {
            root,
            validator,
            is_text,
        })
    }

    /// At most `count` different values that the schema accepts: one with little in it first.
    pub(crate) fn valid(&self, count: usize, random: &mut Random) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::new();
        for attempt in 0..count * ATTEMPTS {
            if values.len() == count {
                break;
            }
            let optional = [0, 60, 100][attempt % 3];
            let mut maker = Maker {
                root: self.root,
                random,
                optional,
                is_text: self.is_text,
            };
            let value = maker.value(self.root, 0);
            if !values.contains(&value) && self.validator.is_valid(&value) {
                values.push(value);
            }
        }
        values
    }

    /// At most `count` values that the schema refuses, each of them `value` with a change in one place below `within`.
    pub(crate) fn invalid(
        &self,
        value: &Value,
        within: &str,
        count: usize,
        random: &mut Random,
    ) -> Vec<Value> {
        let mut pointers = Vec::new();
        if let Some(part) = value.pointer(within) {
            list(part, within.to_owned(), &mut pointers);
        }
        let mut values: Vec<Value> = Vec::new();
        for _ in 0..count * ATTEMPTS {
            let Some(pointer) = random.pick(&pointers).filter(|_| values.len() < count) else {
                break;
            };
            let mut changed = value.clone();
            if let Some(place) = changed.pointer_mut(pointer) {
                *place = match (&*place, random.below(3)) {
                    (Value::Object(object), 0) if !object.is_empty() => {
                        let mut smaller = object.clone();
                        let keys: Vec<String> = smaller.keys().cloned().collect();
                        if let Some(key) = random.pick(&keys) {
                            smaller.remove(key);
                        }
                        smaller.into()
                    }
                    (Value::String(_), _) => json!({ "not": "a text" }),
                    (_, 1) => json!("not \u{1} this"),
                    _ => json!([[-1.5]]),
                };
            }
            if !values.contains(&changed) && !self.validator.is_valid(&changed) {
                values.push(changed);
            }
        }
        values
    }
}

/// The places of a value and of everything in it.
fn list(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = key.replace('~', "~0").replace('/', "~1");
                list(value, format!("{pointer}/{key}"), pointers);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                list(value, format!("{pointer}/{index}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

struct Maker<'a, 'r> {
    root: &'a Value,
    random: &'r mut Random,
    /// In percent, how likely a property is made that is not required.
    optional: usize,
    is_text: bool,
}

impl Maker<'_, '_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        let branch = self.random.below(usize::MAX);
        let schema = self.merged(schema, branch, 0);
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return self.random.pick(values).cloned().unwrap_or_default();
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(only)) => vec![only],
            Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
            _ if [
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
            ]
            .iter()
            .any(|key| schema.contains_key(*key)) =>
            {
                vec!["object"]
            }
            _ if schema.contains_key("items") => vec!["array"],
            _ if schema.contains_key("pattern") || schema.contains_key("minLength") => {
                vec!["string"]
            }
            _ if schema.contains_key("minimum") || schema.contains_key("maximum") => {
                vec!["number"]
            }
            _ if self.is_text => vec!["string"],
            _ => vec!["string", "integer", "boolean", "object"],
        };
        match self.random.pick(&types).copied().unwrap_or("null") {
            "object" => self.object(&schema, depth),
            "array" => self.array(&schema, depth),
            "string" => self.string(&schema).into(),
            "integer" => self.number(&schema, true),
            "number" => self.number(&schema, false),
            "boolean" => Value::Bool(self.random.below(2) == 0),
            _ => Value::Null,
        }
    }

    /// A schema with its references, one branch of each union and all parts of `allOf` written into it.
    fn merged(&self, schema: &Value, branch: usize, depth: usize) -> Map<String, Value> {
        let mut merged = schema.as_object().cloned().unwrap_or_default();
        if depth > 20 {
            return merged;
        }
        let mut parts = Vec::new();
        if let Some(reference) = merged.remove("$ref")
            && let Some(name) = reference
                .as_str()
                .and_then(|of| of.strip_prefix("#/$defs/"))
        {
            parts.extend(
                self.root
                    .get("$defs")
                    .and_then(|defs| defs.get(name))
                    .cloned(),
            );
        }
        if let Some(Value::Array(all)) = merged.remove("allOf") {
            parts.extend(all);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = merged.remove(key) {
                // A shape and the schema behind it have the same branches: a value is meant for one of them.
                let length = branches.len().max(1);
                parts.extend(branches.get(branch % length).cloned());
            }
        }
        for part in parts {
            for (key, value) in self.merged(&part, branch, depth + 1) {
                match (merged.get_mut(&key), value) {
                    (Some(Value::Object(known)), Value::Object(more)) if key == "properties" => {
                        for (name, schema) in more {
                            let both = match known.remove(&name) {
                                Some(first) if first != schema => {
                                    json!({ "allOf": [first, schema] })
                                }
                                _ => schema,
                            };
                            known.insert(name, both);
                        }
                    }
                    (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                        known.extend(more);
                    }
                    (Some(_), _) => {}
                    (None, value) => drop(merged.insert(key, value)),
                }
            }
        }
        merged
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let none = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        for (key, property) in properties {
            let is_wanted = depth < MAX_DEPTH && self.random.below(100) < self.optional;
            if required.contains(&key.as_str()) || is_wanted {
                let value = self.value(property, depth + 1);
                object.insert(key.clone(), value);
            }
        }
        let any = json!({ "type": "string" });
        let others = schema
            .get("additionalProperties")
            .filter(|of| of.is_object());
        for key in required {
            if !object.contains_key(key) {
                let value = self.value(others.unwrap_or(&any), depth + 1);
                object.insert(key.to_owned(), value);
            }
        }
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
        let wanted = usize::from(others.is_some() && depth < MAX_DEPTH && self.optional > 0);
        let mut number = 0;
        while object.len() < count("minProperties").min(8) || number < wanted {
            number += 1;
            let value = self.value(others.unwrap_or(&any), depth + 1);
            object.insert(format!("key{number}"), value);
        }
        object.into()
    }

    fn array(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let least = count("minItems").unwrap_or(0).min(64) as usize;
        let most = count("maxItems").map_or(least + 2, |most| (most as usize).min(least + 2));
        let length = if depth < MAX_DEPTH && self.optional > 0 {
            least + self.random.below(most.saturating_sub(least) + 1)
        } else {
            least
        };
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let any = json!({ "type": "string" });
        let items = schema.get("items").unwrap_or(&any);
        (0..length)
            .map(|index| {
                let item = first.and_then(|first| first.get(index)).unwrap_or(items);
                self.value(item, depth + 1)
            })
            .collect()
    }

    fn string(&mut self, schema: &Map<String, Value>) -> String {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let format = schema.get("format").and_then(Value::as_str);
        match format {
            Some("date-time") => return "2024-02-29T12:30:00Z".to_owned(),
            Some("date") => return "2024-02-29".to_owned(),
            Some("uuid") => return "8f14e45f-ceea-467f-a0e6-5f1c2d3b4a59".to_owned(),
            Some("uri" | "url") => return "https://example.com/a?b=c".to_owned(),
            Some("email") => return "a@example.com".to_owned(),
            Some("ipv4") => return "192.0.2.7".to_owned(),
            Some("ipv6") => return "2001:db8::1".to_owned(),
            Some("hostname") => return "example.com".to_owned(),
            _ => {}
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        let fits = pattern.map(|pattern| jsonschema::validator_for(&json!({ "pattern": pattern })));
        // An expression that only ECMAScript has is tried with the texts above.
        let expression = pattern.and_then(|pattern| regex_syntax::parse(pattern).ok());
        let mut text = match (expression, fits) {
            (Some(expression), _) => {
                let mut text = String::new();
                self.matching(&expression, &mut text);
                text
            }
            (None, Some(fits)) => {
                let is_fitting =
                    |text: &&&str| fits.as_ref().is_ok_and(|fits| fits.is_valid(&json!(text)));
                let fitting: Vec<&&str> = TEXTS.iter().filter(is_fitting).collect();
                self.random
                    .pick(&fitting)
                    .map_or("a", |text| **text)
                    .to_owned()
            }
            (None, None) => ["a b", "x=1&y=2", "é/ü", "7", "true", "[a]", "a,b", "\"'<>"]
                [self.random.below(8)]
            .to_owned(),
        };
        let least = count("minLength").unwrap_or(0).min(4096) as usize;
        while text.chars().count() < least {
            text.push('a');
        }
        if let Some(most) = count("maxLength") {
            text = text.chars().take(most as usize).collect();
        }
        text
    }

    /// Adds a text that an expression matches.
    fn matching(&mut self, expression: &Hir, text: &mut String) {
        match expression.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
            HirKind::Class(Class::Unicode(class)) => {
                // Those of ASCII that are no control characters, if there are some.
                let printable = |start: char, end: char| start <= '~' && end >= '!';
                let mut ranges = class.ranges().iter().copied();
                let range = ranges.find(|of| printable(of.start(), of.end()));
                let range = range.or_else(|| class.ranges().first().copied());
                text.extend(range.map(|of| {
                    if printable(of.start(), of.end()) {
                        of.start().max('!')
                    } else {
                        of.start()
                    }
                }));
            }
            HirKind::Class(Class::Bytes(class)) => {
                text.extend(class.ranges().first().map(|of| char::from(of.start())));
            }
            HirKind::Repetition(of) => {
                let more = u32::from(of.max != Some(of.min)) * (self.random.below(2) as u32);
                for _ in 0..(of.min + more).min(4096) {
                    self.matching(&of.sub, text);
                }
            }
            HirKind::Capture(of) => self.matching(&of.sub, text),
            HirKind::Concat(parts) => {
                for part in parts {
                    self.matching(part, text);
                }
            }
            HirKind::Alternation(branches) => {
                if let Some(branch) = self.random.pick(branches) {
                    self.matching(branch, text);
                }
            }
        }
    }

    fn number(&mut self, schema: &Map<String, Value>, is_whole: bool) -> Value {
        let limit = |keys: [&str; 2]| {
            let mut found = keys.iter().filter_map(|key| schema.get(*key)?.as_f64());
            found.next()
        };
        let least = limit(["minimum", "exclusiveMinimum"]);
        let most = limit(["maximum", "exclusiveMaximum"]);
        let start = least.unwrap_or_else(|| most.map_or(1.0, |most| most - 9.0));
        let step = schema.get("multipleOf").and_then(Value::as_f64);
        let offset = self.random.below(8) as f64;
        let value = match step {
            Some(step) => ((start / step).ceil() + offset) * step,
            None if is_whole => start.ceil() + offset,
            None => start + offset / 2.0 + 0.25,
        };
        let value = most.map_or(value, |most| value.min(most));
        // `1.0` is an integer in JSON Schema, and the server reads it as one.
        if is_whole || value.fract() == 0.0 {
            json!(value as i64)
        } else {
            json!(value)
        }
    }
}
