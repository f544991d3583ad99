//! Reads texts by the schema of what they mean: the fields of a form, and parameters that a [`Kind`](super::Kind) does not
//! describe.
//!
//! A text has no JSON type, so `7` is a number where the schema allows a number and no string. A value that the schema does
//! not allow stays text, and the validator reports it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::body::parse_json;
use super::error::In;
use super::kind::read_number;
use super::validate::{Violations, escape};

/// How deep brackets may nest: `a[b][c]` is two.
const MAX_DEPTH: usize = 16;
/// How many schemas are looked at for one value. A schema that refers to itself would have no end.
const MAX_VIEWS: usize = 256;

/// The schema of a request, in which its parts are found.
pub(super) struct BySchema<'a> {
    root: &'a Value,
}

/// What is given for a name: texts, or further names in brackets.
#[derive(Debug, Default)]
struct Given {
    texts: Vec<String>,
    inner: BTreeMap<String, Given>,
}

/// A schema without its references and combinators, as far as they matter here.
type View<'a> = &'a Map<String, Value>;

impl<'a> BySchema<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// The fields of a form, as the object that the schema of the body describes. A name such as `a[b]` is the property `b`
    /// of `a`, unless the schema has a property `a[b]`. Items of a list are given as `a`, `a[]` or `a[0]`.
    pub(super) fn form(&self, pairs: &[(String, String)], violations: &mut Violations) -> Value {
        let views = self.views(self.part(&["body"]));
        let mut given = Given::default();
        for (name, text) in pairs {
            match brackets(name).filter(|_| declared(&views, name).is_empty()) {
                Some(parts) if parts.len() > MAX_DEPTH => {
                    let pointer = format!("/{}", escape(&parts[0]));
                    violations.add(In::Body, &pointer, "is nested too deep", "type");
                }
                Some(parts) => given.add(parts, text),
                None => given.add(vec![name.clone()], text),
            }
        }
        let mut reader = Reader {
            by_schema: self,
            place: In::Body,
            violations,
        };
        reader.object(given.inner, &views, "")
    }

    /// A parameter of which each property is a parameter: `a=1&b=2`. `is_other` tells the names of the operation's other
    /// parameters. If the name of the parameter itself is given, its text is the value.
    pub(super) fn exploded(
        &self,
        name: &str,
        pairs: &[(String, String)],
        is_other: impl Fn(&str) -> bool,
        violations: &mut Violations,
    ) -> Option<Value> {
        let views = self.views(self.part(&["query", name]));
        let own = pairs.iter().filter(|(key, _)| key == name);
        let mut given = Given {
            texts: own.map(|(_, text)| text.clone()).collect(),
            inner: BTreeMap::new(),
        };
        if given.texts.is_empty() {
            for (key, text) in pairs {
                let is_property = !property(&views, key).is_empty();
                if is_property && !is_other(key) {
                    given.add(vec![key.clone()], text);
                }
            }
        }
        self.read(In::Query, name, given, &views, violations)
    }

    /// A parameter whose properties stand in brackets: `name[a]=1&name[b][c]=2`.
    pub(super) fn deep(
        &self,
        name: &str,
        pairs: &[(String, String)],
        violations: &mut Violations,
    ) -> Option<Value> {
        let mut given = Given::default();
        for (key, text) in pairs {
            match brackets(key) {
                Some(parts) if parts[0] == name && parts.len() > MAX_DEPTH => {
                    let pointer = format!("/{}", escape(name));
                    violations.add(In::Query, &pointer, "is nested too deep", "type");
                }
                Some(parts) if parts[0] == name => given.add(parts[1..].to_vec(), text),
                None if key == name => given.texts.push(text.clone()),
                _ => {}
            }
        }
        let views = self.views(self.part(&["query", name]));
        self.read(In::Query, name, given, &views, violations)
    }

    /// A parameter of which all texts are given under its name.
    pub(super) fn texts(
        &self,
        place: In,
        name: &str,
        texts: Vec<String>,
        violations: &mut Violations,
    ) -> Option<Value> {
        let views = self.views(self.part(&[place.key(), name]));
        let given = Given {
            texts,
            inner: BTreeMap::new(),
        };
        self.read(place, name, given, &views, violations)
    }

    fn read(
        &self,
        place: In,
        name: &str,
        given: Given,
        views: &[View<'_>],
        violations: &mut Violations,
    ) -> Option<Value> {
        if given.texts.is_empty() && given.inner.is_empty() {
            return None;
        }
        let mut reader = Reader {
            by_schema: self,
            place,
            violations,
        };
        reader.value(given, views, &format!("/{}", escape(name)))
    }

    /// The schema of a place of the request, or of a parameter in it.
    fn part(&self, path: &[&str]) -> Option<&'a Value> {
        let mut schema = self.root;
        for name in path {
            schema = schema.get("properties")?.get(name)?;
        }
        Some(schema)
    }

    fn views(&self, schemas: impl IntoIterator<Item = &'a Value>) -> Vec<View<'a>> {
        let mut views = Vec::new();
        for schema in schemas {
            self.look(schema, &mut views, 0);
        }
        views
    }

    fn look(&self, schema: &'a Value, views: &mut Vec<View<'a>>, depth: usize) {
        let Some(view) = schema.as_object() else {
            return;
        };
        if depth > MAX_DEPTH || views.len() >= MAX_VIEWS {
            return;
        }
        views.push(view);
        let target = view
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|text| text.strip_prefix("#/$defs/"))
            .and_then(|name| self.root.get("$defs")?.get(name));
        let branches = ["allOf", "anyOf", "oneOf"].iter();
        let branches = branches.filter_map(|key| view.get(*key)?.as_array());
        for schema in target.into_iter().chain(branches.flatten()) {
            self.look(schema, views, depth + 1);
        }
    }
}

impl Given {
    fn add(&mut self, path: Vec<String>, text: &str) {
        let mut given = self;
        for name in path {
            given = given.inner.entry(name).or_default();
        }
        given.texts.push(text.to_owned());
    }
}

/// The parts of `a[b][]`; nothing for a name without brackets, or with a text behind them.
fn brackets(name: &str) -> Option<Vec<String>> {
    let (first, mut rest) = name.split_at(name.find('[')?);
    let mut parts = vec![first.to_owned()];
    while !rest.is_empty() {
        let (part, behind) = rest.strip_prefix('[')?.split_once(']')?;
        parts.push(part.to_owned());
        rest = behind;
    }
    Some(parts)
}

/// The schemas of a property that is declared.
fn declared<'a>(views: &[View<'a>], name: &str) -> Vec<&'a Value> {
    let under = |view: &View<'a>| view.get("properties")?.get(name);
    views.iter().filter_map(under).collect()
}

/// The schemas of a property: its own, or that of all keys without one.
fn property<'a>(views: &[View<'a>], name: &str) -> Vec<&'a Value> {
    let own = declared(views, name);
    if !own.is_empty() {
        return own;
    }
    let others = views
        .iter()
        .filter_map(|view| view.get("additionalProperties"));
    others
        .filter(|schema| **schema != Value::Bool(false))
        .collect()
}

/// Whether one of the schemas allows this JSON type.
fn allows(views: &[View<'_>], name: &str) -> bool {
    views.iter().any(|view| match view.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().any(|of| of == name),
        _ => {
            let values = view.get("enum").and_then(Value::as_array);
            let values = values.into_iter().flatten().chain(view.get("const"));
            let implied = match name {
                "object" => ["properties", "additionalProperties"].as_slice(),
                "array" => ["items", "prefixItems"].as_slice(),
                _ => &[],
            };
            implied.iter().any(|key| view.contains_key(*key))
                || values.into_iter().any(|value| type_of(value) == name)
        }
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

struct Reader<'r, 'a> {
    by_schema: &'r BySchema<'a>,
    place: In,
    violations: &'r mut Violations,
}

impl Reader<'_, '_> {
    fn value(&mut self, given: Given, views: &[View<'_>], pointer: &str) -> Option<Value> {
        let Given { texts, inner } = given;
        match (texts.is_empty(), inner.is_empty()) {
            (false, false) => {
                let message = "is given as a text and as an object";
                self.violations.add(self.place, pointer, message, "unique");
                None
            }
            (false, true) => self.texts(&texts, views, pointer),
            _ => Some(self.nested(inner, views, pointer)),
        }
    }

    fn nested(
        &mut self,
        mut inner: BTreeMap<String, Given>,
        views: &[View<'_>],
        pointer: &str,
    ) -> Value {
        let is_index = |key: &String| key.is_empty() || key.parse::<usize>().is_ok();
        if !(allows(views, "array") && inner.keys().all(is_index)) {
            return self.object(inner, views, pointer);
        }
        let views = self.by_schema.views(items(views));
        // `a[]=1&a[]=2`
        let unnumbered = inner.remove("").unwrap_or_default();
        let texts = unnumbered.texts.into_iter().map(|text| Given {
            texts: vec![text],
            inner: BTreeMap::new(),
        });
        let last = (!unnumbered.inner.is_empty()).then_some(Given {
            texts: Vec::new(),
            inner: unnumbered.inner,
        });
        let mut numbered: Vec<(usize, Given)> = inner
            .into_iter()
            .filter_map(|(key, given)| Some((key.parse().ok()?, given)))
            .collect();
        numbered.sort_by_key(|(index, _)| *index);
        let numbered = numbered.into_iter().map(|(_, given)| given);
        let all = texts.chain(last).chain(numbered).enumerate();
        all.filter_map(|(index, given)| self.value(given, &views, &format!("{pointer}/{index}")))
            .collect()
    }

    fn object(
        &mut self,
        inner: BTreeMap<String, Given>,
        views: &[View<'_>],
        pointer: &str,
    ) -> Value {
        let mut object = Map::new();
        for (key, given) in inner {
            let views = self.by_schema.views(property(views, &key));
            let pointer = format!("{pointer}/{}", escape(&key));
            if let Some(value) = self.value(given, &views, &pointer) {
                object.insert(key, value);
            }
        }
        object.into()
    }

    fn texts(&mut self, texts: &[String], views: &[View<'_>], pointer: &str) -> Option<Value> {
        if let [text] = texts {
            let has_structure = allows(views, "array") || allows(views, "object");
            // Objects in lists and in forms are JSON (OpenAPI 3.1, "Encoding Object").
            if has_structure && text.starts_with(['{', '[']) {
                let mut unused = Violations::default();
                match parse_json(text.as_bytes(), &mut unused) {
                    Ok(value) if unused.is_empty() => return Some(value),
                    _ => {}
                }
            }
            let value = scalar(text, views);
            let is_one_of_them = |view: &View<'_>| {
                let values = view.get("enum").and_then(Value::as_array);
                values.is_none_or(|values| values.contains(&value))
                    && view.get("const").is_none_or(|only| *only == value)
            };
            let mut scalars = views.iter().filter(|view| {
                let types = ["string", "number", "integer", "boolean"];
                types.iter().any(|name| allows(&[view], name))
            });
            if scalars.any(is_one_of_them) || !allows(views, "array") {
                return Some(value);
            }
        } else if !allows(views, "array") {
            self.violations
                .add(self.place, pointer, "is given more than once", "unique");
            return None;
        }
        let views = self.by_schema.views(items(views));
        Some(texts.iter().map(|text| scalar(text, &views)).collect())
    }
}

fn items<'a>(views: &[View<'a>]) -> Vec<&'a Value> {
    let items = views.iter().filter_map(|view| view.get("items"));
    items.filter(|items| items.is_object()).collect()
}

fn scalar(text: &str, views: &[View<'_>]) -> Value {
    if allows(views, "number") || allows(views, "integer") {
        let number = read_number(text);
        let is_whole = number.as_ref().is_some_and(|number| !number.is_f64());
        if let Some(number) = number.filter(|_| is_whole || allows(views, "number")) {
            return number;
        }
    }
    match text {
        "true" | "false" if allows(views, "boolean") => Value::Bool(text == "true"),
        "" if allows(views, "null") && !allows(views, "string") => Value::Null,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(schema: &Value, text: &str) -> Value {
        let root = json!({ "properties": { "body": schema } });
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).unwrap();
        let mut violations = Violations::default();
        let value = BySchema::new(&root).form(&pairs, &mut violations);
        if violations.is_empty() {
            return value;
        }
        format!("{:?}", violations.into_error()).into()
    }

    #[test]
    fn fields_of_a_form_have_the_types_of_its_schema() {
        let schema = json!({ "type": "object", "properties": {
            "name": { "type": "string" },
            "count": { "type": "integer" },
            "share": { "type": ["number", "null"] },
            "on": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] },
            "tags": { "type": "array", "items": { "type": "string" } },
            "size[]": { "type": "array", "items": { "type": "integer" } },
            "meta": { "type": "object", "additionalProperties": { "type": "integer" } },
            "either": { "anyOf": [{ "type": "string", "enum": [""] }, { "type": "array", "items": { "type": "integer" } }] },
        } });
        for (text, value) in [
            (
                "name=7&count=7&share=1.5&on=true",
                json!({ "name": "7", "count": 7, "share": 1.5, "on": true }),
            ),
            (
                "count=x&share=&on=",
                json!({ "count": "x", "share": null, "on": null }),
            ),
            ("tags=1", json!({ "tags": ["1"] })),
            ("tags=1&tags=2", json!({ "tags": ["1", "2"] })),
            ("tags[]=1&tags[]=2", json!({ "tags": ["1", "2"] })),
            (
                "tags[1]=b&tags[0]=a&tags[10]=c",
                json!({ "tags": ["a", "b", "c"] }),
            ),
            ("size[]=1&size[]=2", json!({ "size[]": [1, 2] })),
            ("meta[a]=1&meta[b]=2", json!({ "meta": { "a": 1, "b": 2 } })),
            ("meta=%7B%22a%22%3A1%7D", json!({ "meta": { "a": 1 } })),
            ("either=", json!({ "either": "" })),
            ("either=3", json!({ "either": [3] })),
            (
                "other=1&open[a]=1",
                json!({ "other": "1", "open": { "a": "1" } }),
            ),
            (
                "name=a%20b+c&name%20=",
                json!({ "name": "a b c", "name ": "" }),
            ),
        ] {
            assert_eq!(form(&schema, text), value, "{text}");
        }
    }

    #[test]
    fn brackets_nest_also_where_any_key_is_allowed() {
        let schema = json!({
            "type": "object",
            "properties": { "a[b]": { "type": "integer" } },
            "additionalProperties": { "type": "object", "additionalProperties": { "type": "integer" } },
        });
        let read = form(&schema, "a[b]=1&c[d]=2");
        assert_eq!(read, json!({ "a[b]": 1, "c": { "d": 2 } }));
    }

    #[test]
    fn fields_that_contradict_each_other_are_violations() {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        for (text, said) in [
            ("a=1&a=2", "is given more than once"),
            ("b=1&b[c]=2", "is given as a text and as an object"),
            (
                "b[a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a]=1",
                "is nested too deep",
            ),
        ] {
            let error = form(&schema, text);
            assert!(
                error.as_str().is_some_and(|text| text.contains(said)),
                "{error}"
            );
        }
    }

    #[test]
    fn schemas_that_refer_to_themselves_end() {
        let root = json!({
            "properties": { "query": { "properties": { "q": { "$ref": "#/$defs/A" } } } },
            "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/$defs/A" }, { "type": "integer" }] } },
        });
        let pairs = [("q".to_owned(), "7".to_owned())];
        let mut violations = Violations::default();
        let value = BySchema::new(&root).exploded("q", &pairs, |_| false, &mut violations);
        assert_eq!(value, Some(json!(7)));
    }

    #[test]
    fn properties_of_a_parameter_are_parameters() {
        let root = json!({ "properties": { "query": { "properties": { "q": { "anyOf": [
            { "type": "object", "properties": { "a": { "type": "integer" } } },
            { "type": "object", "properties": { "b": { "type": "string" }, "page": { "type": "integer" } } },
        ] } } } } });
        let read = |text: &str| {
            let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).unwrap();
            let mut violations = Violations::default();
            BySchema::new(&root).exploded("q", &pairs, |key| key == "page", &mut violations)
        };
        assert_eq!(read("a=1&page=2"), Some(json!({ "a": 1 })));
        assert_eq!(read("b=1&c=2"), Some(json!({ "b": "1" })));
        assert_eq!(read("page=2"), None);
        let deep = |text: &str| {
            let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).unwrap();
            BySchema::new(&root).deep("q", &pairs, &mut Violations::default())
        };
        assert_eq!(deep("q[a]=1&a=2"), Some(json!({ "a": 1 })));
        assert_eq!(deep("a=2"), None);
    }
}
