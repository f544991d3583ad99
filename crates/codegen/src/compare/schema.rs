//! Whether the values that a schema allows became fewer or more.
//!
//! Fewer break who sends them, more break who reads them; neither is looked for in the other direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::{Findings, Level, Spot, Version};
use crate::spec::{Node, Value};

/// Which way values travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}

/// What a change does to the set of values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Fewer,
    More,
    /// Both, or unknown.
    Other,
}

/// Keywords that say nothing about values.
const ANNOTATIONS: [&str; 9] = [
    "title",
    "description",
    "example",
    "examples",
    "deprecated",
    "externalDocs",
    "xml",
    "$comment",
    "discriminator",
];

/// Keywords that have rules below.
const JUDGED: [&str; 15] = [
    "type",
    "nullable",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "pattern",
    "format",
    "default",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "$ref",
];

/// A limit, and whether raising it allows more.
const LIMITS: [(&str, bool); 10] = [
    ("minimum", false),
    ("exclusiveMinimum", false),
    ("minLength", false),
    ("minItems", false),
    ("minProperties", false),
    ("maximum", true),
    ("exclusiveMaximum", true),
    ("maxLength", true),
    ("maxItems", true),
    ("maxProperties", true),
];

pub(super) fn compare(
    (old_root, old): (&Rc<Node>, &Spot),
    (new_root, new): (&Rc<Node>, &Spot),
    direction: Direction,
    operation: &str,
    findings: &mut Findings,
) {
    let mut comparison = Comparison {
        old_root,
        new_root,
        direction,
        operation,
        findings,
        seen: BTreeSet::new(),
    };
    comparison.schemas(old, new);
}

struct Comparison<'a> {
    old_root: &'a Rc<Node>,
    new_root: &'a Rc<Node>,
    direction: Direction,
    operation: &'a str,
    findings: &'a mut Findings,
    /// The pairs that were compared, by their pointers: a schema may contain itself.
    seen: BTreeSet<(String, String)>,
}

impl Comparison<'_> {
    /// Reports a change if it matters in this direction.
    fn found(&mut self, change: Change, what: &str, version: Version, spot: &Spot, message: &str) {
        let matters = match change {
            Change::Fewer => self.direction == Direction::Request,
            Change::More => self.direction == Direction::Response,
            Change::Other => true,
        };
        if matters {
            self.findings.add(
                Level::Wire,
                &format!("{}-{what}", self.direction),
                (version, spot.at, &spot.pointer),
                Some(self.operation),
                format!("{}: {message}", self.direction),
            );
        }
    }

    fn schemas(&mut self, old: &Spot, new: &Spot) {
        if !self.seen.insert((old.pointer.clone(), new.pointer.clone())) {
            return;
        }
        let discriminator = |spot: &Spot| spot.node.get("discriminator").map(|node| node.to_json());
        if discriminator(old) != discriminator(new) {
            self.keyword_changed(Change::Other, "discriminator", old, new);
        }
        let before = alternatives(old, self.old_root);
        let after = alternatives(new, self.new_root);
        self.null(&before, &after, new);
        let before = without_null(before);
        let after = without_null(after);
        if let (Some(before), Some(after)) = (values(&before), values(&after)) {
            self.values(&before, &after);
            return;
        }
        if let ([before], [after]) = (&before[..], &after[..]) {
            self.plain(before, after);
            return;
        }
        self.alternatives(&before, &after);
    }

    fn null(&mut self, before: &[Spot], after: &[Spot], new: &Spot) {
        let null = |of: &[Spot]| of.iter().find(|spot| allows_null(spot)).cloned();
        match (null(before), null(after)) {
            (Some(_), None) => {
                let message = "null is not allowed any more";
                self.found(Change::Fewer, "null-refused", Version::New, new, message);
            }
            (None, Some(null)) => {
                let message = "may be null now";
                self.found(Change::More, "null-allowed", Version::New, &null, message);
            }
            _ => {}
        }
    }

    fn values(&mut self, before: &BTreeMap<String, Spot>, after: &BTreeMap<String, Spot>) {
        for (value, spot) in before
            .iter()
            .filter(|(value, _)| !after.contains_key(*value))
        {
            let message = format!("the value {value} is gone");
            self.found(Change::Fewer, "value-removed", Version::Old, spot, &message);
        }
        for (value, spot) in after
            .iter()
            .filter(|(value, _)| !before.contains_key(*value))
        {
            let message = format!("the value {value} is new");
            self.found(Change::More, "value-added", Version::New, spot, &message);
        }
    }

    /// Schemas of which one has to hold: first those that are the same, then those of the same type.
    fn alternatives(&mut self, before: &[Spot], after: &[Spot]) {
        let mut left: Vec<&Spot> = after.iter().collect();
        let mut unpaired = Vec::new();
        for old in before {
            let same = left.iter().position(|new| {
                new.pointer == old.pointer || new.node.to_json() == old.node.to_json()
            });
            match same {
                Some(at) => self.plain(old, left.remove(at)),
                None => unpaired.push(old),
            }
        }
        for old in unpaired {
            match left.iter().position(|new| types(new) == types(old)) {
                Some(at) => self.plain(old, left.remove(at)),
                None => {
                    let message = "an alternative is gone";
                    self.found(
                        Change::Fewer,
                        "alternative-removed",
                        Version::Old,
                        &old.use_of(),
                        message,
                    );
                }
            }
        }
        for new in left {
            let message = "an alternative is new";
            self.found(
                Change::More,
                "alternative-added",
                Version::New,
                &new.use_of(),
                message,
            );
        }
    }

    /// Two schemas without alternatives.
    fn plain(&mut self, old: &Spot, new: &Spot) {
        self.types(old, new);
        match (
            values(std::slice::from_ref(old)),
            values(std::slice::from_ref(new)),
        ) {
            (Some(before), Some(after)) => self.values(&before, &after),
            (None, Some(_)) => {
                let message = "only listed values are allowed now";
                self.found(Change::Fewer, "values-listed", Version::New, new, message);
            }
            (Some(_), None) => {
                let message = "values that are not listed are allowed now";
                self.found(Change::More, "values-unlisted", Version::New, new, message);
            }
            (None, None) => {}
        }
        for (keyword, higher_is_more) in LIMITS {
            self.limit(keyword, higher_is_more, old, new);
        }
        for keyword in ["pattern", "format"] {
            self.constraint(keyword, old, new);
        }
        self.default(old, new);
        self.object(old, new);
        self.items(old, new);
        self.known_values(old, new);
        self.all_of(old, new);
        self.rest(old, new);
    }

    fn types(&mut self, old: &Spot, new: &Spot) {
        let (before, after) = (types(old), types(new));
        // Nothing said is everything allowed; an integer is a number.
        let covers = |more: &BTreeSet<String>, less: &BTreeSet<String>| {
            more.is_empty()
                || (!less.is_empty()
                    && less.iter().all(|kind| {
                        more.contains(kind) || (kind == "integer" && more.contains("number"))
                    }))
        };
        let change = match (covers(&after, &before), covers(&before, &after)) {
            (true, true) => return,
            (true, false) => Change::More,
            (false, true) => Change::Fewer,
            (false, false) => Change::Other,
        };
        let name = |types: BTreeSet<String>| match types.is_empty() {
            true => "anything".to_owned(),
            false => types.into_iter().collect::<Vec<_>>().join(" or "),
        };
        let spot = keyword(new, "type");
        let message = format!("{} became {}", name(before), name(after));
        self.found(change, "type-changed", Version::New, &spot, &message);
    }

    fn limit(&mut self, name: &str, higher_is_more: bool, old: &Spot, new: &Spot) {
        let (before, after) = (number(old, name), number(new, name));
        let change = match (before, after) {
            (None, Some(_)) => Change::Fewer,
            (Some(_), None) => Change::More,
            (Some(before), Some(after)) if before != after => {
                match (after > before) == higher_is_more {
                    true => Change::More,
                    false => Change::Fewer,
                }
            }
            _ => return,
        };
        self.keyword_changed(change, name, old, new);
    }

    /// A keyword that takes values away, and cannot be compared with another of its kind.
    fn constraint(&mut self, name: &str, old: &Spot, new: &Spot) {
        let change = match (old.text(name), new.text(name)) {
            (None, Some(_)) => Change::Fewer,
            (Some(_), None) => Change::More,
            (Some(before), Some(after)) if before != after => Change::Other,
            _ => return,
        };
        self.keyword_changed(change, name, old, new);
    }

    fn keyword_changed(&mut self, change: Change, name: &str, old: &Spot, new: &Spot) {
        let shown = |spot: &Spot| {
            let value = spot.node.get(name).map(|node| node.to_json().to_string());
            value.unwrap_or_else(|| "none".to_owned())
        };
        let message = format!("`{name}` was {} and is {}", shown(old), shown(new));
        let (version, spot) = match new.node.get(name) {
            Some(_) => (Version::New, keyword(new, name)),
            None => (Version::Old, keyword(old, name)),
        };
        self.found(change, &format!("{name}-changed"), version, &spot, &message);
    }

    /// What a request without the value means.
    fn default(&mut self, old: &Spot, new: &Spot) {
        let json = |spot: &Spot| spot.node.get("default").map(|node| node.to_json());
        if self.direction == Direction::Request && json(old) != json(new) && json(old).is_some() {
            self.keyword_changed(Change::Other, "default", old, new);
        }
    }

    fn object(&mut self, old: &Spot, new: &Spot) {
        let properties = |spot: &Spot, root| {
            let properties = spot.get("properties", root);
            properties.map_or_else(Vec::new, |of| of.entries(root))
        };
        let before = properties(old, self.old_root);
        let after = properties(new, self.new_root);
        for (name, property) in &before {
            match after.iter().find(|(other, _)| other == name) {
                Some((_, new)) => self.schemas(property, new),
                None => {
                    let spot = property.use_of();
                    let message = format!("the property `{name}` is gone");
                    self.found(
                        Change::Other,
                        "property-removed",
                        Version::Old,
                        &spot,
                        &message,
                    );
                }
            }
        }
        if is_closed(old) {
            for (name, property) in &after {
                if !before.iter().any(|(other, _)| other == name) {
                    let spot = property.use_of();
                    let message =
                        format!("the property `{name}` is new, where no others were allowed");
                    self.found(
                        Change::More,
                        "property-added",
                        Version::New,
                        &spot,
                        &message,
                    );
                }
            }
        }
        let (needed, needed_now) = (required(old), required(new));
        for (name, at) in needed_now
            .iter()
            .filter(|(name, _)| !needed.contains_key(*name))
        {
            let spot = requirement(new, name, *at);
            let message = format!("the property `{name}` must be given now");
            self.found(
                Change::Fewer,
                "property-required",
                Version::New,
                &spot,
                &message,
            );
        }
        for (name, at) in needed
            .iter()
            .filter(|(name, _)| !needed_now.contains_key(*name))
        {
            // What is gone altogether was said above.
            if before.iter().any(|(other, _)| other == name)
                && !after.iter().any(|(other, _)| other == name)
            {
                continue;
            }
            let spot = requirement(old, name, *at);
            let message = format!("the property `{name}` may be missing now");
            self.found(
                Change::More,
                "property-optional",
                Version::Old,
                &spot,
                &message,
            );
        }
        self.additional_properties(old, new);
    }

    fn additional_properties(&mut self, old: &Spot, new: &Spot) {
        let name = "additionalProperties";
        match (is_closed(old), is_closed(new)) {
            (false, true) => {
                let message = "no other properties are allowed any more";
                self.found(
                    Change::Fewer,
                    "properties-closed",
                    Version::New,
                    &keyword(new, name),
                    message,
                );
            }
            (true, false) => {
                let message = "other properties are allowed now";
                self.found(
                    Change::More,
                    "properties-opened",
                    Version::Old,
                    &keyword(old, name),
                    message,
                );
            }
            (true, true) => {}
            (false, false) => self.child(name, old, new),
        }
    }

    fn items(&mut self, old: &Spot, new: &Spot) {
        self.child("items", old, new);
    }

    /// A schema of what is inside; none there allows anything.
    fn child(&mut self, name: &str, old: &Spot, new: &Spot) {
        let is_schema = |spot: &Spot| matches!(spot.node.value, Value::Map(_));
        let before = old.get(name, self.old_root).filter(is_schema);
        let after = new.get(name, self.new_root).filter(is_schema);
        match (before, after) {
            (Some(before), Some(after)) => self.schemas(&before, &after),
            (None, Some(_)) => self.keyword_changed(Change::Fewer, name, old, new),
            (Some(_), None) => self.keyword_changed(Change::More, name, old, new),
            (None, None) => {}
        }
    }

    /// `x-extensible-enum` promises the words that it lists, and may list more.
    fn known_values(&mut self, old: &Spot, new: &Spot) {
        let name = "x-extensible-enum";
        let list = |spot: &Spot, root| {
            spot.get(name, root)
                .map_or_else(Vec::new, |list| list.items(root))
        };
        let after: Vec<_> = list(new, self.new_root)
            .iter()
            .map(|item| item.node.to_json())
            .collect();
        for item in list(old, self.old_root) {
            let value = item.node.to_json();
            if !after.contains(&value) {
                let spot = Spot {
                    pointer: super::pointer(
                        &super::pointer(&old.pointer, name),
                        &plain_text(&value),
                    ),
                    ..item
                };
                let message = format!("the value {value} is not known any more");
                self.found(
                    Change::Other,
                    "known-value-removed",
                    Version::Old,
                    &spot,
                    &message,
                );
            }
        }
    }

    fn all_of(&mut self, old: &Spot, new: &Spot) {
        let list = |spot: &Spot, root| {
            spot.get("allOf", root)
                .map_or_else(Vec::new, |list| list.items(root))
        };
        let (before, after) = (list(old, self.old_root), list(new, self.new_root));
        if before.len() == after.len() {
            for (old, new) in before.iter().zip(&after) {
                self.schemas(old, new);
            }
        } else {
            self.keyword_changed(Change::Other, "allOf", old, new);
        }
    }

    /// Keywords without a rule must be equal.
    fn rest(&mut self, old: &Spot, new: &Spot) {
        let keys = [old, new].map(|spot| spot.node.entries().iter().map(|entry| entry.key.clone()));
        let keys: BTreeSet<String> = keys.into_iter().flatten().collect();
        for key in keys {
            let is_known = ANNOTATIONS.contains(&key.as_str())
                || JUDGED.contains(&key.as_str())
                || LIMITS.iter().any(|(limit, _)| *limit == key)
                || key.starts_with("x-");
            let json = |spot: &Spot| spot.node.get(&key).map(|node| node.to_json());
            if !is_known && json(old) != json(new) {
                self.keyword_changed(Change::Other, &key, old, new);
            }
        }
    }
}

/// The schemas of which one has to hold, without the unions around them.
fn alternatives(spot: &Spot, root: &Rc<Node>) -> Vec<Spot> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![spot.clone()];
    while let Some(spot) = open.pop() {
        // A union that contains itself adds nothing.
        if !seen.insert(spot.pointer.clone()) {
            continue;
        }
        let inner = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| {
            let list = spot.get(key, root)?.items(root);
            let is_alone = spot.node.entries().iter().all(|entry| {
                entry.key == *key
                    || ANNOTATIONS.contains(&entry.key.as_str())
                    || entry.key.starts_with("x-")
            });
            (is_alone && (*key != "allOf" || list.len() == 1)).then_some(list)
        });
        match inner {
            Some(list) => open.extend(list.into_iter().rev()),
            None => found.push(spot),
        }
    }
    found
}

fn without_null(alternatives: Vec<Spot>) -> Vec<Spot> {
    let is_null = |spot: &Spot| spot.text("type") == Some("null");
    alternatives
        .into_iter()
        .filter(|spot| !is_null(spot))
        .collect()
}

fn allows_null(spot: &Spot) -> bool {
    let is_listed = match spot.node.get("type").map(|node| &node.value) {
        Some(Value::String(kind)) => kind == "null",
        Some(Value::Seq(kinds)) => kinds.iter().any(|kind| kind.as_str() == Some("null")),
        _ => spot.node.get("enum").is_none() && spot.node.get("const").is_none(),
    };
    is_listed || spot.flag("nullable")
}

/// The types but for null; none if it says nothing of types.
fn types(spot: &Spot) -> BTreeSet<String> {
    let kinds = match spot.node.get("type").map(|node| &node.value) {
        Some(Value::String(kind)) => vec![kind.clone()],
        Some(Value::Seq(kinds)) => kinds
            .iter()
            .filter_map(|kind| kind.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    kinds.into_iter().filter(|kind| kind != "null").collect()
}

/// The values that these schemas list, with their places; none if one of them does not list its values.
fn values(alternatives: &[Spot]) -> Option<BTreeMap<String, Spot>> {
    let mut values = BTreeMap::new();
    for spot in alternatives {
        let listed: Vec<&Rc<Node>> = match (spot.node.get("enum"), spot.node.get("const")) {
            (Some(list), _) => match &list.value {
                Value::Seq(items) => items.iter().collect(),
                _ => return None,
            },
            (None, Some(value)) => vec![value],
            (None, None) => return None,
        };
        for node in listed
            .into_iter()
            .filter(|node| !matches!(node.value, Value::Null))
        {
            let value = node.to_json();
            // Named by the value: its number among the others changes with them.
            let pointer = super::pointer(&spot.pointer, &plain_text(&value));
            let found = Spot {
                node: Rc::clone(node),
                at: node.at,
                pointer,
                used: None,
            };
            values.insert(value.to_string(), found);
        }
    }
    (!values.is_empty()).then_some(values)
}

fn plain_text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn number(spot: &Spot, key: &str) -> Option<f64> {
    match &spot.node.get(key)?.value {
        Value::Number(number) => number.as_f64(),
        _ => None,
    }
}

/// Where a keyword stands, or its schema if it does not.
fn keyword(spot: &Spot, name: &str) -> Spot {
    match spot.node.entry(name) {
        Some(entry) => Spot {
            node: Rc::clone(&entry.node),
            at: entry.key_at,
            pointer: super::pointer(&spot.pointer, name),
            used: None,
        },
        None => spot.clone(),
    }
}

fn required(spot: &Spot) -> BTreeMap<String, crate::diagnostic::Location> {
    let Some(Value::Seq(names)) = spot.node.get("required").map(|node| &node.value) else {
        return BTreeMap::new();
    };
    let names = names
        .iter()
        .filter_map(|name| Some((name.as_str()?.to_owned(), name.at)));
    names.collect()
}

fn requirement(object: &Spot, name: &str, at: crate::diagnostic::Location) -> Spot {
    Spot {
        at,
        pointer: super::pointer(&super::pointer(&object.pointer, "required"), name),
        ..object.clone()
    }
}

fn is_closed(spot: &Spot) -> bool {
    let value = spot
        .node
        .get("additionalProperties")
        .map(|node| &node.value);
    matches!(value, Some(Value::Bool(false)))
}
