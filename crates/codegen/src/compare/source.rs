//! Breaks for code that compiles against generated code: the names that generators derive from the document.
//!
//! Names only. That a field became optional is judged on the wire, where its direction counts.

use std::rc::Rc;

use super::wire::{Operation, operations};
use super::{Findings, Level, Spot, Version};
use crate::spec::{Node, Value};

/// The components that generators name types of.
const SECTIONS: [&str; 5] = [
    "schemas",
    "responses",
    "parameters",
    "requestBodies",
    "headers",
];

pub(super) fn compare(old: &Rc<Node>, new: &Rc<Node>, findings: &mut Findings) {
    let after = operations(new);
    for before in operations(old) {
        // What is gone is gone on the wire, too.
        if let Some(after) = after.iter().find(|after| after.route == before.route) {
            operation(&before, after, (old, new), findings);
        }
    }
    for section in SECTIONS {
        components(section, old, new, findings);
    }
}

fn operation(
    before: &Operation,
    after: &Operation,
    (old, new): (&Rc<Node>, &Rc<Node>),
    findings: &mut Findings,
) {
    let name = before.name();
    let mut changed = |kind, spot: &Spot, message| {
        let place = (Version::New, spot.at, spot.pointer.as_str());
        findings.add(Level::Source, kind, place, Some(&name), message);
    };
    let place = |key| {
        after
            .spot
            .get(key, new)
            .unwrap_or_else(|| after.spot.clone())
    };

    let id = |operation: &Operation| operation.spot.text("operationId").map(str::to_owned);
    if let Some(was) = id(before)
        && id(after).as_ref() != Some(&was)
    {
        let now = id(after).unwrap_or_else(|| "nothing".to_owned());
        let message = format!("the operation `{was}` is called `{now}`");
        changed("operation-renamed", &place("operationId"), message);
    }

    let tags = |operation: &Operation, root| {
        let list = operation
            .spot
            .get("tags", root)
            .map_or_else(Vec::new, |list| list.items(root));
        let names = list
            .iter()
            .filter_map(|tag| tag.node.as_str().map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    let (was, now) = (tags(before, old), tags(after, new));
    if was != now {
        let quoted = |tags: Vec<String>| match tags.is_empty() {
            true => "no tag".to_owned(),
            false => format!("`{}`", tags.join("`, `")),
        };
        let message = format!("it is grouped under {}, not {}", quoted(now), quoted(was));
        changed("tag-changed", &place("tags"), message);
    }

    if before.path != after.path {
        let message = format!("the variables of `{}` have other names", before.path);
        changed("path-variable-renamed", &after.spot, message);
    }
}

/// A name that is gone: renamed if another of the same content came.
fn components(section: &str, old: &Rc<Node>, new: &Rc<Node>, findings: &mut Findings) {
    let find = |root: &Rc<Node>| {
        let section = Spot::root(root)
            .get("components", root)
            .and_then(|all| all.get(section, root));
        // Without following references: a component that is a reference has its own name.
        section.map_or_else(Vec::new, |spot| {
            let entries = spot.node.entries().iter().map(|entry| {
                let pointer = super::pointer(&spot.pointer, &entry.key);
                let found = Spot {
                    node: Rc::clone(&entry.node),
                    at: entry.key_at,
                    pointer,
                    used: None,
                };
                (entry.key.clone(), found)
            });
            entries.collect()
        })
    };
    let (before, after) = (find(old), find(new));
    let has = |list: &[(String, Spot)], name: &str| list.iter().any(|(other, _)| other == name);
    for (name, spot) in before.iter().filter(|(name, _)| !has(&after, name)) {
        let mut added = after.iter().filter(|(name, _)| !has(&before, name));
        let twin = added.find(|(_, twin)| is_same(&spot.node, &twin.node));
        let (kind, version, spot, message) = match twin {
            Some((now, twin)) => (
                "component-renamed",
                Version::New,
                twin,
                format!("the component `{name}` is called `{now}`"),
            ),
            None => (
                "component-removed",
                Version::Old,
                spot,
                format!("the component `{name}` is gone"),
            ),
        };
        // Named by what it was called, in either case.
        let pointer = super::pointer(&format!("#/components/{section}"), name);
        findings.add(
            Level::Source,
            kind,
            (version, spot.at, &pointer),
            None,
            message,
        );
    }
}

/// Whether two components say the same, whatever they call others and however they are described.
fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Map(one), Value::Map(other)) => {
            let says = |key: &str| !matches!(key, "description" | "title" | "summary" | "$ref");
            let count = |entries: &[crate::spec::Entry]| {
                entries.iter().filter(|entry| says(&entry.key)).count()
            };
            count(one) == count(other)
                && one.iter().filter(|entry| says(&entry.key)).all(|entry| {
                    let twin = other.iter().find(|twin| twin.key == entry.key);
                    twin.is_some_and(|twin| is_same(&entry.node, &twin.node))
                })
        }
        (Value::Seq(one), Value::Seq(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        _ => one.to_json() == other.to_json(),
    }
}
