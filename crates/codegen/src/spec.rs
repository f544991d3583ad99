//! Reading a YAML or JSON text into a tree whose nodes know their place.
//!
//! Knows nothing of OpenAPI.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde::de::IgnoredAny;

use crate::diagnostic::{Code, Diagnostic, Location};

/// Deeper documents are refused: a later walk over the tree is recursive.
const MAX_DEPTH: usize = 200;
/// A bound on the tree with its aliases written out, against documents that grow exponentially.
const MAX_NODES: usize = 3_000_000;

/// A value and the place where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// The text of a number, boolean or null, where the value alone has lost it: `1.10`, `007`, `True`, `~`.
    written: Option<String>,
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

#[derive(Clone, Debug)]
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

    /// The child that a reference token names (RFC 6901 §4), and the place of its key.
    pub(crate) fn child(&self, token: &str) -> Option<(&Rc<Self>, Location)> {
        let key = unescape(token);
        match &self.value {
            Value::Seq(items) => {
                let item = items.get(key.parse::<usize>().ok()?)?;
                Some((item, item.at))
            }
            _ => {
                let entry = self.entry(&key)?;
                Some((&entry.node, entry.key_at))
            }
        }
    }

    /// The entries of an object; none for any other value.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The same object without these keys.
    pub(crate) fn without(&self, keys: &[&str]) -> Rc<Self> {
        let entries = self.entries().iter();
        let entries = entries.filter(|entry| !keys.contains(&entry.key.as_str()));
        let entries: Vec<Entry> = entries.cloned().collect();
        Rc::new(Self {
            at: self.at,
            size: total(entries.iter().map(|entry| &entry.node)).saturating_add(1),
            value: Value::Map(entries),
            written: None,
        })
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a number as the document writes it.
    pub(crate) fn as_written_number(&self) -> Option<&str> {
        match self.value {
            Value::Number(_) => self.written.as_deref(),
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

/// The key that a reference token stands for (RFC 6901 §4).
pub(crate) fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Reads `text`, which holds one YAML or JSON document.
///
/// # Errors
///
/// A diagnostic for the first thing that is neither YAML nor JSON, and for what both allow but OpenAPI does not: repeated
/// keys, keys that are not scalars, several documents, tags.
pub(crate) fn read(text: &str) -> Result<Rc<Node>, Diagnostic> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A YAML parser is no JSON parser: it takes the two escapes of a surrogate pair (RFC 8259 §7) for two characters.
    let not_json = match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => return json(text),
        Err(error) => error,
    };
    yaml(text).map_err(|not_yaml| {
        let looks_like_json = text
            .trim_start()
            .strip_prefix('{')
            .is_some_and(|rest| rest.trim_start().starts_with('"'));
        if looks_like_json && (not_json.is_syntax() || not_json.is_eof()) {
            json_fault(&not_json)
        } else {
            not_yaml
        }
    })
}

fn yaml(text: &str) -> Result<Rc<Node>, Diagnostic> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = Location {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            };
            let info = error.info();
            let diagnostic = syntax(at, format!("not YAML: {info}"));
            if info.contains("indentation") {
                diagnostic.hint(
                    "indent every line of a `{…}` or `[…]`, its closing bracket too, deeper than the key before it",
                )
            } else {
                diagnostic
            }
        })?;
        builder.take(event, span)?;
    }
    builder
        .root
        .ok_or_else(|| syntax(Location { line: 1, column: 1 }, "the document is empty"))
}

/// Reads `text`, which is well-formed JSON: what is left to find are places, and escapes that stand for no character.
fn json(text: &str) -> Result<Rc<Node>, Diagnostic> {
    let mut builder = Builder::default();
    let mut rest = text;
    let mut at = Location { line: 1, column: 1 };
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' | 't' | 'f' | 'n' => rest
                .find(|next: char| !(next.is_ascii_alphanumeric() || "+-.".contains(next)))
                .unwrap_or(rest.len()),
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        match first {
            '{' => builder.begin(at, 0, None, OpenKind::map())?,
            '[' => builder.begin(at, 0, None, OpenKind::Seq(Vec::new()))?,
            '}' | ']' => builder.end()?,
            ' ' | '\t' | '\r' | '\n' | ',' | ':' => {}
            _ => builder.place(at, Rc::new(json_scalar(token, at)?))?,
        }
        if first == '\n' || (first == '\r' && !behind.starts_with('\n')) {
            at.line += 1;
            at.column = 1;
        } else {
            at.column += token.chars().count();
        }
        rest = behind;
    }
    builder
        .root
        .ok_or_else(|| syntax(Location { line: 1, column: 1 }, "the document is empty"))
}

/// The length of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn json_scalar(token: &str, at: Location) -> Result<Node, Diagnostic> {
    let value: serde_json::Value = serde_json::from_str(token)
        .map_err(|error| syntax(at, format!("not JSON: {}", json_reason(&error))))?;
    let written = (!value.is_string()).then(|| token.to_owned());
    let value = match value {
        serde_json::Value::String(text) => Value::String(text),
        serde_json::Value::Number(number) => Value::Number(number),
        serde_json::Value::Bool(value) => Value::Bool(value),
        _ => Value::Null,
    };
    Ok(Node {
        at,
        value,
        written,
        size: 1,
    })
}

fn json_fault(error: &serde_json::Error) -> Diagnostic {
    let at = Location {
        line: error.line().max(1),
        column: error.column().max(1),
    };
    syntax(at, format!("not JSON: {}", json_reason(error)))
}

/// What the parser says without the place, which it counts in bytes.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
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

impl OpenKind {
    fn map() -> Self {
        Self::Map {
            entries: Vec::new(),
            seen: HashMap::new(),
            key: None,
        }
    }
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
                Err(syntax(at, "a second document begins here").hint("keep one document a file"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.place(at, node),
                None => Err(syntax(at, "an alias that refers to what contains it")),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), at)?;
                let written = match value {
                    Value::String(_) => None,
                    _ => Some(text.into_owned()),
                };
                let node = Rc::new(Node {
                    at,
                    value,
                    written,
                    size: 1,
                });
                self.anchors.insert(anchor, Rc::clone(&node));
                self.place(at, node)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), OpenKind::Seq(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), OpenKind::map())
            }
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
            return Err(syntax(at, format!("nested deeper than {MAX_DEPTH} levels")));
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
            return Err(syntax(
                at,
                format!("more than {MAX_NODES} values once its aliases are written out"),
            ));
        }
        let node = Rc::new(Node {
            at,
            value,
            written: None,
            size,
        });
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
                        return Err(syntax(
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

/// A key as it is written: keys are strings (OpenAPI, "Format": the JSON Schema ruleset, keys of the Failsafe schema).
fn key_text(node: &Node) -> Result<String, Diagnostic> {
    match (&node.value, &node.written) {
        (Value::String(text), _) if text == "<<" => Err(syntax(node.at, "a merge key")
            .hint("YAML 1.2 has no merge keys; write the entries out")),
        (Value::String(text), _) | (_, Some(text)) => Ok(text.clone()),
        _ => Err(syntax(node.at, format!("{} as a key", node.kind()))),
    }
}

fn syntax(at: Location, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::Syntax, at, message)
}

fn unknown_tag(at: Location, tag: &Tag) -> Diagnostic {
    syntax(at, format!("tag `{}{}`", tag.handle, tag.suffix)).hint("write the value without a tag")
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
    fn keys_are_as_they_are_written() {
        let text = "{007: 1, 1.10: 1, True: 1, 0x1F: 1, Null: 1, ~: 1, 2e3: 1, '7': 1, no: 1, &a 0o17: 1, x: [*a]}";
        let root = read(text).expect("a document");
        let keys: Vec<&str> = root.entries().iter().map(|of| of.key.as_str()).collect();
        let expected = [
            "007", "1.10", "True", "0x1F", "Null", "~", "2e3", "7", "no", "0o17",
        ];
        assert_eq!(keys[..10], expected);
    }

    #[test]
    fn json_is_read_by_the_rules_of_json() {
        let text = r#"{"a": "\ud83d\udc4b \/", "ü": [-0, 1E2, 1.10, null],
            "\u00e9": {"b": true}}"#;
        let root = read(text).expect("a document");
        assert_eq!(
            root.to_json(),
            serde_json::json!({ "a": "👋 /", "ü": [-0.0, 100.0, 1.1, null], "é": { "b": true } })
        );
        let list = root.get("ü").expect("the list");
        assert_eq!(
            list.at,
            Location {
                line: 1,
                column: 31
            }
        );
        let entry = &root.entries()[2];
        assert_eq!(
            entry.key_at,
            Location {
                line: 2,
                column: 13
            }
        );
        assert_eq!(
            entry.node.entries()[0].node.at,
            Location {
                line: 2,
                column: 29
            }
        );
        let Value::Seq(items) = &list.value else {
            panic!("a list")
        };
        assert_eq!(items[2].as_written_number(), Some("1.10"));
    }

    #[test]
    fn broken_json_is_refused_with_its_place() {
        for (text, said) in [
            (
                "{\n \"a\": \"x\\ud83d\"}",
                "x:2:7: not JSON: unexpected end of hex escape",
            ),
            (
                "{\"a\": 1,\n \"a\": 2}",
                "x:2:2: key `a` was given before, on line 1",
            ),
            (
                "{\"a\": 1 \"b\": 2}",
                "x:1:9: not JSON: expected `,` or `}`",
            ),
            ("{\"a\": [1", "x:1:8: not JSON: EOF while parsing a list"),
            ("{a: [1", "x:2:1: not YAML: "),
        ] {
            let refused = refused(text);
            assert!(refused.starts_with(said), "{text}: {refused}");
        }
        let flow = read("{ a: b, \"c\": 'd', }").map(|node| node.to_json());
        assert_eq!(flow, Ok(serde_json::json!({ "a": "b", "c": "d" })));
        let marked = read("\u{feff}{\"a\": \"\\ud83d\\udc4b\"}").map(|node| node.to_json());
        assert_eq!(marked, Ok(serde_json::json!({ "a": "👋" })));
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
