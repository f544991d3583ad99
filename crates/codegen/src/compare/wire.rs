//! Breaks for clients on the wire: operations, parameters, bodies, statuses, headers, credentials.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::schema::{self, Direction};
use super::{Findings, Level, Spot, Version};
use crate::spec::{Node, Value};

const METHODS: [&str; 9] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace", "query",
];

/// An operation with what its path gives it.
pub(super) struct Operation {
    /// Method and path, the variables of which have no names on the wire.
    pub(super) route: String,
    pub(super) path: String,
    pub(super) spot: Spot,
    parameters: Vec<Spot>,
}

impl Operation {
    /// What messages call it.
    pub(super) fn name(&self) -> String {
        self.spot
            .text("operationId")
            .unwrap_or(&self.route)
            .to_owned()
    }
}

pub(super) fn operations(root: &Rc<Node>) -> Vec<Operation> {
    let mut operations = Vec::new();
    let Some(paths) = Spot::root(root).get("paths", root) else {
        return operations;
    };
    for (path, item) in paths.entries(root) {
        let shared = list(&item, "parameters", root);
        for (method, spot) in item.entries(root) {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            let mut parameters = list(&spot, "parameters", root);
            let own: Vec<_> = parameters.iter().map(|own| key_of(own, &path)).collect();
            // A parameter of the operation overrides one of its path.
            let inherited = shared.iter().filter(|of| !own.contains(&key_of(of, &path)));
            parameters.extend(inherited.cloned());
            operations.push(Operation {
                route: format!("{} {}", method.to_uppercase(), without_names(&path)),
                path: path.clone(),
                spot,
                parameters,
            });
        }
    }
    operations
}

fn list(spot: &Spot, key: &str, root: &Rc<Node>) -> Vec<Spot> {
    spot.get(key, root)
        .map_or_else(Vec::new, |list| list.items(root))
}

/// The path with `{}` for each variable.
fn without_names(path: &str) -> String {
    let parts = path
        .split('{')
        .enumerate()
        .map(|(index, part)| match part.split_once('}') {
            Some((_, rest)) if index > 0 => format!("{{}}{rest}"),
            _ => part.to_owned(),
        });
    parts.collect()
}

/// The identity of a parameter. For a path variable this is its position: the name is not on the wire.
fn key_of(parameter: &Spot, path: &str) -> (String, String) {
    let place = parameter.text("in").unwrap_or_default();
    let name = parameter.text("name").unwrap_or_default();
    let name = match place {
        "path" => {
            let before = path
                .split(&format!("{{{name}}}"))
                .next()
                .unwrap_or_default();
            before.matches('{').count().to_string()
        }
        "header" => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    };
    (place.to_owned(), name)
}

pub(super) fn compare(old: &Rc<Node>, new: &Rc<Node>, findings: &mut Findings) {
    servers(old, new, findings);
    let after = operations(new);
    for before in operations(old) {
        let name = before.name();
        match after.iter().find(|after| after.route == before.route) {
            Some(after) => {
                let mut comparison = Comparison {
                    old,
                    new,
                    operation: name,
                    findings,
                };
                comparison.parameters(&before, after);
                comparison.request_body(&before.spot, &after.spot);
                comparison.responses(&before.spot, &after.spot);
                comparison.security(&before.spot, &after.spot);
            }
            None => findings.add(
                Level::Wire,
                "operation-removed",
                (Version::Old, before.spot.at, &before.spot.pointer),
                Some(&name),
                format!("`{}` is gone", before.route),
            ),
        }
    }
}

fn servers(old: &Rc<Node>, new: &Rc<Node>, findings: &mut Findings) {
    let urls = |root| list(&Spot::root(root), "servers", root);
    let kept: Vec<Spot> = urls(new);
    for server in urls(old) {
        let url = server.text("url").unwrap_or_default();
        if !kept.iter().any(|kept| kept.text("url") == Some(url)) {
            findings.add(
                Level::Wire,
                "server-removed",
                (Version::Old, server.at, &super::pointer("#/servers", url)),
                None,
                format!("the server `{url}` is gone"),
            );
        }
    }
}

/// Two versions of one operation.
struct Comparison<'a> {
    old: &'a Rc<Node>,
    new: &'a Rc<Node>,
    operation: String,
    findings: &'a mut Findings,
}

impl Comparison<'_> {
    fn removed(&mut self, kind: &str, spot: &Spot, message: String) {
        let place = (Version::Old, spot.at, spot.pointer.as_str());
        self.findings
            .add(Level::Wire, kind, place, Some(&self.operation), message);
    }

    fn changed(&mut self, kind: &str, spot: &Spot, message: String) {
        let place = (Version::New, spot.at, spot.pointer.as_str());
        self.findings
            .add(Level::Wire, kind, place, Some(&self.operation), message);
    }

    fn parameters(&mut self, before: &Operation, after: &Operation) {
        for old in &before.parameters {
            let key = key_of(old, &before.path);
            let shown = shown(old);
            let Some(new) = after
                .parameters
                .iter()
                .find(|new| key_of(new, &after.path) == key)
            else {
                let spot = parameter_of(before, old);
                self.removed("parameter-removed", &spot, format!("{shown} is gone"));
                continue;
            };
            if new.flag("required") && !old.flag("required") {
                self.changed(
                    "parameter-required",
                    new,
                    format!("{shown} must be given now"),
                );
            }
            for form in ["style", "explode", "allowReserved"] {
                if json(old, form) != json(new, form) {
                    let message = format!("{shown} is written another way: `{form}` differs");
                    self.changed("parameter-form-changed", new, message);
                }
            }
            self.schemas(old, new, Direction::Request);
            self.contents(old, new, Direction::Request);
        }
        for new in &after.parameters {
            let key = key_of(new, &after.path);
            let is_new = !before
                .parameters
                .iter()
                .any(|old| key_of(old, &before.path) == key);
            if is_new && new.flag("required") {
                let spot = parameter_of(after, new);
                self.changed(
                    "parameter-added",
                    &spot,
                    format!("{} is new and must be given", shown(new)),
                );
            }
        }
    }

    fn request_body(&mut self, before: &Spot, after: &Spot) {
        let old = before.get("requestBody", self.old);
        let new = after.get("requestBody", self.new);
        match (old, new) {
            (None, Some(new)) if new.flag("required") => {
                self.changed(
                    "request-body-added",
                    &new.use_of(),
                    "a body must be sent now".to_owned(),
                );
            }
            (Some(old), None) => {
                self.removed(
                    "request-body-removed",
                    &old.use_of(),
                    "a body is not read any more".to_owned(),
                );
            }
            (Some(old), Some(new)) => {
                if new.flag("required") && !old.flag("required") {
                    self.changed(
                        "request-body-required",
                        &new,
                        "a body must be sent now".to_owned(),
                    );
                }
                self.contents(&old, &new, Direction::Request);
            }
            (None, _) => {}
        }
    }

    fn responses(&mut self, before: &Spot, after: &Spot) {
        let old = entries(before, "responses", self.old);
        let new = entries(after, "responses", self.new);
        for (status, old) in &old {
            match new.iter().find(|(other, _)| other == status) {
                Some((_, new)) => {
                    self.contents(old, new, Direction::Response);
                    self.headers(old, new);
                }
                // Removing a failure breaks no client.
                None if is_failure(status) => {}
                None => self.removed(
                    "response-removed",
                    &old.use_of(),
                    format!("the answer {status} is gone"),
                ),
            }
        }
        for (status, spot) in &new {
            // Of a failure that is new, a client knows what to do by its class.
            if !is_failure(status) && !old.iter().any(|(other, _)| other == status) {
                self.changed(
                    "response-added",
                    &spot.use_of(),
                    format!("the answer may be {status} now"),
                );
            }
        }
    }

    fn headers(&mut self, before: &Spot, after: &Spot) {
        let new = entries(after, "headers", self.new);
        for (name, old) in entries(before, "headers", self.old) {
            let found = new
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(&name));
            match found {
                None if old.flag("required") => {
                    self.removed(
                        "response-header-removed",
                        &old.use_of(),
                        format!("the header `{name}` is not promised any more"),
                    );
                }
                None => {}
                Some((_, new)) => {
                    if old.flag("required") && !new.flag("required") {
                        self.changed(
                            "response-header-optional",
                            new,
                            format!("the header `{name}` may be missing now"),
                        );
                    }
                    self.schemas(&old, new, Direction::Response);
                }
            }
        }
    }

    /// The media types of a body.
    fn contents(&mut self, before: &Spot, after: &Spot, direction: Direction) {
        let new = entries(after, "content", self.new);
        for (media, old) in entries(before, "content", self.old) {
            match new.iter().find(|(other, _)| *other == media) {
                Some((_, new)) => self.schemas(&old, new, direction),
                None => {
                    let (kind, message) = match direction {
                        Direction::Request => (
                            "request-media-type-removed",
                            format!("a body of `{media}` is not accepted any more"),
                        ),
                        Direction::Response => (
                            "response-media-type-removed",
                            format!("the answer is not `{media}` any more"),
                        ),
                    };
                    self.removed(kind, &old, message);
                }
            }
        }
    }

    fn schemas(&mut self, before: &Spot, after: &Spot, direction: Direction) {
        let old = before.get("schema", self.old);
        let new = after.get("schema", self.new);
        match (old, new) {
            (Some(old), Some(new)) => schema::compare(
                (self.old, &old),
                (self.new, &new),
                direction,
                &self.operation,
                self.findings,
            ),
            (Some(old), None) if direction == Direction::Response => {
                let message = "response: it may be anything now".to_owned();
                self.removed("response-schema-removed", &old.use_of(), message);
            }
            (None, Some(new)) if direction == Direction::Request => {
                let message = "request: it may not be anything any more".to_owned();
                self.changed("request-schema-added", &new.use_of(), message);
            }
            _ => {}
        }
    }

    /// Every former caller must still be able to call, and an operation that required credentials must still do so.
    fn security(&mut self, before: &Spot, after: &Spot) {
        let old = alternatives(before, self.old);
        let new = alternatives(after, self.new);
        let anybody =
            |ways: &BTreeSet<BTreeSet<String>>| ways.is_empty() || ways.contains(&BTreeSet::new());
        let refused: Vec<String> = match (anybody(&old), anybody(&new)) {
            (_, true) => Vec::new(),
            (true, false) => vec!["no credentials".to_owned()],
            (false, false) => {
                let old = old
                    .iter()
                    .filter(|way| !new.iter().any(|new| new.is_subset(way)));
                old.map(|way| way.iter().cloned().collect::<Vec<_>>().join(" and "))
                    .collect()
            }
        };
        let (version, place) = self.place_of_security(before, after);
        let mut found = |kind, message| {
            let place = (version, place.at, place.pointer.as_str());
            self.findings
                .add(Level::Wire, kind, place, Some(&self.operation), message);
        };
        if anybody(&new) && !anybody(&old) {
            found("security-removed", "anybody may call it now".to_owned());
        }
        for way in refused {
            found(
                "security-added",
                format!("who calls with {way} is refused now"),
            );
        }
        for scheme in old.iter().flatten() {
            let find = |root: &Rc<Node>| {
                Spot::root(root)
                    .get("components", root)?
                    .get("securitySchemes", root)?
                    .get(scheme, root)
            };
            let (Some(old), Some(new)) = (find(self.old), find(self.new)) else {
                continue;
            };
            for key in ["type", "in", "name", "scheme", "openIdConnectUrl", "flows"] {
                if json(&old, key) != json(&new, key) {
                    let spot = new.get(key, self.new).unwrap_or_else(|| new.clone());
                    self.changed(
                        "security-scheme-changed",
                        &spot,
                        format!("the credentials `{scheme}` are sent another way: `{key}` differs"),
                    );
                }
            }
        }
    }
}

impl Comparison<'_> {
    /// Where it is said who may call: at the operation or for all, and where it was said if it is not any more.
    fn place_of_security(&self, before: &Spot, after: &Spot) -> (Version, Spot) {
        let new = |spot: &Spot| Some((Version::New, spot.get("security", self.new)?));
        let old = |spot: &Spot| Some((Version::Old, spot.get("security", self.old)?));
        new(after)
            .or_else(|| old(before))
            .or_else(|| new(&Spot::root(self.new)))
            .or_else(|| old(&Spot::root(self.old)))
            .unwrap_or((Version::New, after.clone()))
    }
}

/// A parameter where the operation uses it, by its name: its number among the others changes with them.
fn parameter_of(operation: &Operation, parameter: &Spot) -> Spot {
    let list = super::pointer(&operation.spot.pointer, "parameters");
    Spot {
        pointer: super::pointer(&list, parameter.text("name").unwrap_or_default()),
        ..parameter.use_of()
    }
}

fn entries(spot: &Spot, key: &str, root: &Rc<Node>) -> Vec<(String, Spot)> {
    let entries = spot
        .get(key, root)
        .map_or_else(Vec::new, |map| map.entries(root));
    entries
        .into_iter()
        .filter(|(key, _)| !key.starts_with("x-"))
        .collect()
}

fn is_failure(status: &str) -> bool {
    status.starts_with(['4', '5']) || status == "default"
}

fn json(spot: &Spot, key: &str) -> Option<serde_json::Value> {
    spot.node.get(key).map(|node| node.to_json())
}

fn shown(parameter: &Spot) -> String {
    let part = |key| parameter.text(key).unwrap_or_default();
    format!("the {} parameter `{}`", part("in"), part("name"))
}

/// The ways to authenticate, each a set of schemes of which all are needed.
fn alternatives(operation: &Spot, root: &Rc<Node>) -> BTreeSet<BTreeSet<String>> {
    let own = operation
        .node
        .get("security")
        .or_else(|| root.get("security"));
    let Some(Value::Seq(ways)) = own.map(|node| &node.value) else {
        return BTreeSet::new();
    };
    let names = |way: &Rc<Node>| {
        way.entries()
            .iter()
            .map(|entry| entry.key.clone())
            .collect()
    };
    ways.iter().map(names).collect()
}
