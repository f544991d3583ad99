//! Compares two versions of a document: which changes break programs that were built against the old one.
//!
//! There are two levels: the wire, for programs that send and read JSON, and the source, for code that is generated from the
//! document. By the rules of JSON Schema a request may allow more than before, and an answer may contain less. A difference
//! that this module has no rule for counts as a break. A break in a component is reported once, with the operations that use
//! it.

mod schema;
mod source;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::spec::{self, Node, Value};

/// Whom a change breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Who sends requests or reads answers, with whatever.
    Wire,
    /// Who compiles against names that a generator made of the document's.
    Source,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire => "wire",
            Self::Source => "source",
        })
    }
}

/// Which of the two documents a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The one that clients were built against: there stands what is gone.
    Old,
    /// The one that is to take its place.
    New,
}

/// A breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Names the change as long as it is the same: its kind and the JSON Pointer of what changed.
    pub id: String,
    /// Whom it breaks.
    pub level: Level,
    /// What kind of change it is.
    pub kind: String,
    /// The document that `at` is a place of.
    pub version: Version,
    /// Where.
    pub at: Location,
    /// What changed, in lower case and without a full stop.
    pub message: String,
    /// The operations that it reaches, in the words of the old document.
    pub operations: BTreeSet<String>,
}

/// Why two documents could not be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomparable {
    /// The document with the fault.
    pub version: Version,
    /// The fault.
    pub diagnostic: Box<Diagnostic>,
}

/// Lists what `new` breaks for who was built against `old`, in the order of places, those of the new document first.
///
/// # Errors
///
/// The first reason why either text is not a document, or has references to other documents.
pub fn compare(old: &str, new: &str) -> Result<Vec<Break>, Incomparable> {
    let read = |text, version| {
        let root = spec::read(text).and_then(|root| {
            if root.get("paths").is_none() {
                return Err(Diagnostic::new(
                    Code::Malformed,
                    root.at,
                    "the document has no `paths`",
                ));
            }
            check(&root, &root)?;
            Ok(root)
        });
        root.map_err(|diagnostic| Incomparable {
            version,
            diagnostic: Box::new(diagnostic),
        })
    };
    let old = read(old, Version::Old)?;
    let new = read(new, Version::New)?;
    let mut findings = Findings::default();
    wire::compare(&old, &new, &mut findings);
    source::compare(&old, &new, &mut findings);
    let mut breaks: Vec<Break> = findings.0.into_values().collect();
    breaks.sort_by(|one, other| {
        let key = |found: &Break| (std::cmp::Reverse(found.version), found.at, found.id.clone());
        key(one).cmp(&key(other))
    });
    Ok(breaks)
}

/// Past this check every reference leads to something, in a finite number of steps.
fn check(node: &Node, root: &Node) -> Result<(), Diagnostic> {
    if let Some(entry) = node.entry("$ref")
        && let Some(target) = entry.node.as_str()
        && resolve(target, root).is_none()
    {
        let message = format!("`$ref: {target}` leads to nothing in this document");
        return Err(Diagnostic::new(Code::Reference, entry.key_at, message)
            .hint("write what it refers to under `components`"));
    }
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .try_for_each(|entry| check(&entry.node, root)),
        Value::Seq(items) => items.iter().try_for_each(|item| check(item, root)),
        _ => Ok(()),
    }
}

/// The place, by name and by line, of a value: what a finding needs to know of it.
#[derive(Clone)]
struct Spot {
    node: Rc<Node>,
    /// Of its key, or of the value itself in a list.
    at: Location,
    /// Its JSON Pointer.
    pointer: String,
    /// Where a reference leads here from, if one does.
    used: Option<(Location, String)>,
}

impl Spot {
    fn root(node: &Rc<Node>) -> Self {
        Self {
            node: Rc::clone(node),
            at: node.at,
            pointer: "#".to_owned(),
            used: None,
        }
    }

    /// What stands under `key`, where a reference leads if it is one.
    fn get(&self, key: &str, root: &Rc<Node>) -> Option<Self> {
        let entry = self.node.entry(key)?;
        let spot = Self {
            node: Rc::clone(&entry.node),
            at: entry.key_at,
            pointer: pointer(&self.pointer, key),
            used: None,
        };
        Some(spot.followed(root))
    }

    /// All that stands under keys, with them.
    fn entries(&self, root: &Rc<Node>) -> Vec<(String, Self)> {
        let keys = self.node.entries().iter().map(|entry| entry.key.clone());
        keys.filter_map(|key| Some((key.clone(), self.get(&key, root)?)))
            .collect()
    }

    fn items(&self, root: &Rc<Node>) -> Vec<Self> {
        let Value::Seq(items) = &self.node.value else {
            return Vec::new();
        };
        let spots = items.iter().enumerate().map(|(index, item)| Self {
            node: Rc::clone(item),
            at: item.at,
            pointer: pointer(&self.pointer, &index.to_string()),
            used: None,
        });
        spots.map(|spot| spot.followed(root)).collect()
    }

    /// Itself, or what it refers to.
    fn followed(self, root: &Rc<Node>) -> Self {
        match self.text("$ref").and_then(|text| resolve(text, root)) {
            Some(target) => Self {
                used: Some((self.at, self.pointer)),
                ..target
            },
            None => self,
        }
    }

    /// The same at the place where it is used: what is added there or taken away is not the component.
    fn use_of(&self) -> Self {
        let mut spot = self.clone();
        if let Some((at, pointer)) = spot.used.take() {
            (spot.at, spot.pointer) = (at, pointer);
        }
        spot
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.node.get(key).and_then(|node| node.as_str())
    }

    fn flag(&self, key: &str) -> bool {
        matches!(
            self.node.get(key).map(|node| &node.value),
            Some(Value::Bool(true))
        )
    }
}

/// What `reference` leads to, through further references; none if it leads nowhere, out of the document or in a circle.
fn resolve(reference: &str, root: &Node) -> Option<Spot> {
    let mut reference = reference.to_owned();
    // A chain longer than this has a circle in it.
    for _ in 0..100 {
        let mut spot: Option<Spot> = None;
        for part in reference.strip_prefix("#/")?.split('/') {
            let node = spot.as_ref().map_or(root, |spot| &spot.node);
            let (child, at) = node.child(part)?;
            let above = spot.as_ref().map_or("#", |spot| &spot.pointer);
            let pointer = pointer(above, &spec::unescape(part));
            let node = Rc::clone(child);
            spot = Some(Spot {
                node,
                at,
                pointer,
                used: None,
            });
        }
        let spot = spot?;
        match spot.text("$ref") {
            Some(next) => reference = next.to_owned(),
            None => return Some(spot),
        }
    }
    None
}

fn pointer(above: &str, key: &str) -> String {
    format!("{above}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// What was found so far, each thing once.
#[derive(Default)]
struct Findings(BTreeMap<String, Break>);

impl Findings {
    fn add(
        &mut self,
        level: Level,
        kind: &str,
        (version, at, pointer): (Version, Location, &str),
        operation: Option<&str>,
        message: String,
    ) {
        let id = format!("{kind} {pointer}");
        let found = self.0.entry(id.clone()).or_insert_with(|| Break {
            id,
            level,
            kind: kind.to_owned(),
            version,
            at,
            message,
            operations: BTreeSet::new(),
        });
        found.operations.extend(operation.map(str::to_owned));
    }
}
