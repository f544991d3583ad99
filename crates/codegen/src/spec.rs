//! Reading a YAML or JSON text into a tree whose nodes know their place.
//!
//! Knows nothing of OpenAPI.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::{Diagnostic, Location};

/// Deeper documents are refused: a later walk over the tree is recursive.
const MAX_DEPTH: usize = 200;
/// A bound on the tree with its aliases written out, against documents that grow exponentially.
const MAX_NODES: usize = 3_000_000;

/// A value and the place where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// How many nodes this one is, itself included and aliases written out.
    size: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Seq(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Location,
    pub(crate) node: Rc<Node>,
}

impl Node {
    /// What the value is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Seq(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of an object; none for any other value.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::String(value) => value.as_str().into(),
            Value::Seq(items) => items.iter().map(|item| item.to_json()).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }
}

/// Reads `text`, which holds one YAML or JSON document.
///
/// # Errors
///
/// A diagnostic for the first thing that is not YAML, and for what YAML allows but OpenAPI does not: repeated keys,
/// keys that are not scalars, several documents, tags.
pub(crate) fn read(text: &str) -> Result<Rc<Node>, Diagnostic> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = Location {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            };
            Diagnostic::new(at, format!("not YAML: {}", error.info()))
        })?;
        builder.take(event, span)?;
    }
    builder
        .root
        .ok_or_else(|| Diagnostic::new(Location { line: 1, column: 1 }, "the document is empty"))
}

/// A collection that has begun and not ended.
struct Open {
    at: Location,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Seq(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, Location>,
        key: Option<(String, Location)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let at = Location {
            line: span.start.line(),
            column: span.start.col() + 1,
        };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Diagnostic::new(at, "a second document begins here")
                    .hint("keep one document a file"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.place(at, node),
                None => Err(Diagnostic::new(
                    at,
                    "an alias that refers to what contains it",
                )),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let node = Rc::new(Node {
                    at,
                    value: scalar(&text, style, tag.as_deref(), at)?,
                    size: 1,
                });
                self.anchors.insert(anchor, Rc::clone(&node));
                self.place(at, node)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), OpenKind::Seq(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => self.begin(
                at,
                anchor,
                tag.as_deref(),
                OpenKind::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(
        &mut self,
        at: Location,
        anchor: usize,
        tag: Option<&Tag>,
        kind: OpenKind,
    ) -> Result<(), Diagnostic> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(unknown_tag(at, tag));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Diagnostic::new(
                at,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Diagnostic> {
        let Some(Open { at, anchor, kind }) = self.open.pop() else {
            return Ok(());
        };
        let (value, inner) = match kind {
            OpenKind::Seq(items) => {
                let inner = total(items.iter());
                (Value::Seq(items), inner)
            }
            OpenKind::Map { entries, .. } => {
                let inner = total(entries.iter().map(|entry| &entry.node));
                (Value::Map(entries), inner)
            }
        };
        let size = inner.saturating_add(1);
        if size > MAX_NODES {
            return Err(Diagnostic::new(
                at,
                format!("more than {MAX_NODES} values once its aliases are written out"),
            ));
        }
        let node = Rc::new(Node { at, value, size });
        self.anchors.insert(anchor, Rc::clone(&node));
        self.place(at, node)
    }

    /// Puts a finished node where the innermost open collection, or the document, wants it.
    fn place(&mut self, at: Location, node: Rc<Node>) -> Result<(), Diagnostic> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::Seq(items)) => items.push(node),
            Some(OpenKind::Map { entries, seen, key }) => match key.take() {
                None => *key = Some((key_text(&node)?, at)),
                Some((key, key_at)) => {
                    if let Some(Location { line, .. }) = seen.insert(key.clone(), key_at) {
                        return Err(Diagnostic::new(
                            key_at,
                            format!("key `{key}` was given before, on line {line}"),
                        ));
                    }
                    entries.push(Entry { key, key_at, node });
                }
            },
        }
        Ok(())
    }
}

fn total<'a>(nodes: impl Iterator<Item = &'a Rc<Node>>) -> usize {
    nodes.fold(0, |sum, node| sum.saturating_add(node.size))
}

fn key_text(node: &Node) -> Result<String, Diagnostic> {
    match &node.value {
        Value::String(text) if text == "<<" => Err(Diagnostic::new(node.at, "a merge key")
            .hint("YAML 1.2 has no merge keys; write the entries out")),
        Value::String(text) => Ok(text.clone()),
        // `200:` under `responses` is the one key that is often written as a number.
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Seq(_) | Value::Map(_) => Err(Diagnostic::new(
            node.at,
            format!("{} as a key", node.kind()),
        )),
    }
}

fn unknown_tag(at: Location, tag: &Tag) -> Diagnostic {
    Diagnostic::new(at, format!("tag `{}{}`", tag.handle, tag.suffix))
        .hint("write the value without a tag")
}

/// A scalar by the YAML 1.2 core schema, which agrees with JSON.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Location,
) -> Result<Value, Diagnostic> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
            return Ok(Value::String(text.to_owned()));
        }
        Some(tag) => return Err(unknown_tag(at, tag)),
        None => {}
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    })
}

fn number(text: &str) -> Option<serde_json::Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Into::into);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Into::into);
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let plain = text.strip_prefix('+').unwrap_or(text);
        if let Ok(value) = plain.parse::<i64>() {
            return Some(value.into());
        }
        if let Ok(value) = plain.parse::<u64>() {
            return Some(value.into());
        }
    }
    let looks_like_a_float = digits
        .starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !looks_like_a_float {
        return None;
    }
    // Infinite values have no JSON number and stay what they are in YAML 1.2 without a dot: text.
    text.parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        read(text)
            .expect_err("should be refused")
            .display("x")
            .to_string()
    }

    #[test]
    fn scalars_are_what_json_would_say() {
        let text = "[~, true, 12, -3, 0x1f, 1.5, 1e3, '12', no, 2024-01-01, 99999999999999999999]";
        let expected = serde_json::json!([
            null,
            true,
            12,
            -3,
            31,
            1.5,
            1000.0,
            "12",
            "no",
            "2024-01-01",
            99999999999999999999f64
        ]);
        assert_eq!(read(text).map(|node| node.to_json()), Ok(expected));
    }

    #[test]
    fn nodes_know_their_line_and_column() {
        let root = read("a: 1\nb:\n  - x\n  - y: 2\n").expect("a document");
        let b = root.get("b").expect("b");
        let Value::Seq(items) = &b.value else {
            panic!("a list")
        };
        assert_eq!(
            items[1].entries()[0].node.at,
            Location { line: 4, column: 8 }
        );
    }

    #[test]
    fn what_openapi_forbids_is_refused_with_its_place() {
        assert_eq!(
            refused("a: 1\na: 2"),
            "x:2:1: key `a` was given before, on line 1"
        );
        assert_eq!(
            refused("a: &x [*x]"),
            "x:1:8: an alias that refers to what contains it"
        );
        assert!(refused("--- 1\n--- 2").starts_with("x:2:"));
        assert!(refused("a: [1").starts_with("x:"));
        assert_eq!(refused(""), "x:1:1: the document is empty");
    }

    #[test]
    fn deep_and_exponential_documents_are_refused() {
        let nested = "\n".to_owned()
            + &(0..400)
                .map(|depth| " ".repeat(depth) + "a:\n")
                .collect::<String>();
        assert!(refused(&nested).contains("nested deeper"));
        assert!(refused(&"[".repeat(100_000)).starts_with("x:1:"));
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let previous = format!("*a{}", n - 1);
            laughs += &format!("a{n}: &a{n} [{}]\n", vec![previous; 10].join(","));
        }
        assert!(refused(&laughs).contains("aliases"));
    }
}
