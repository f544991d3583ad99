//! Rules of OpenAPI that decide nothing of what is generated.
//!
//! A document that breaks one is refused as a whole. With `--skip-unsupported` all of its operations are generated.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Analyzer, Version};
use crate::diagnostic::{Code, Location, Owner};
use crate::ir::Method;
use crate::spec::{Entry, Node, Value};

/// More steps than any document has components in a chain.
const MAX_STEPS: usize = 100;

impl Analyzer {
    /// Refuses what breaks a rule.
    pub(super) fn rules(&mut self, root: &Node) {
        self.within(Owner::Document, |analyzer| {
            analyzer.keys_of_components(root);
            analyzer.ids(root);
            analyzer.examples(root);
            if analyzer.version == Version::V30
                && let Some(entry) = root.entry("webhooks")
            {
                analyzer.break_rule(entry.key_at, "`webhooks` in a document of OpenAPI 3.0");
            }
        });
    }

    fn break_rule(&mut self, at: Location, message: impl Into<String>) {
        self.refuse(Code::Malformed, at, message);
    }

    /// OpenAPI 3.1, "Components Object": keys match `^[a-zA-Z0-9\.\-_]+$`.
    fn keys_of_components(&mut self, root: &Node) {
        let sections = root
            .get("components")
            .map_or(&[][..], |node| node.entries());
        for Entry {
            key: section, node, ..
        } in sections
        {
            if section.starts_with("x-") {
                continue;
            }
            for Entry { key, key_at, .. } in node.entries() {
                let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if key.is_empty() || !key.chars().all(is_valid) {
                    let message =
                        format!("`{key}` is not a key that `components/{section}` may have");
                    self.refuse(Code::Malformed, *key_at, message)
                        .hint("use ASCII letters, digits, `.`, `-` and `_`");
                }
            }
        }
    }

    /// OpenAPI 3.1, "Operation Object": an operationId is unique among all operations of the document, also those of
    /// webhooks. Those of paths are compared by their names in Rust already.
    fn ids(&mut self, root: &Node) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for section in ["paths", "webhooks"] {
            let items = root.get(section).map_or(&[][..], |node| node.entries());
            let operations = items.iter().flat_map(|item| item.node.entries());
            for Entry { key, node, .. } in operations {
                let is_operation =
                    key == "trace" || Method::ALL.iter().any(|(method, _)| key == method);
                let id = node.get("operationId").filter(|_| is_operation);
                let Some((text, at)) = id.and_then(|id| Some((id.as_str()?, id.at))) else {
                    continue;
                };
                match seen.get(text) {
                    Some(line) if section == "webhooks" => {
                        let message =
                            format!("the operationId `{text}` was given before, on line {line}");
                        self.break_rule(at, message);
                    }
                    Some(_) => {}
                    None => drop(seen.insert(text.to_owned(), at.line)),
                }
            }
        }
    }

    /// OpenAPI 3.1, "Server Object" and "Server Variable Object".
    pub(super) fn server(&mut self, node: &Node, url: &str) {
        if url.is_empty() && node.get("url").is_some() {
            self.break_rule(node.at, "a server with an empty `url`");
        }
        let variables = node.get("variables").cloned();
        for name in url
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
        {
            let name = name.0;
            let declared = variables.as_ref().and_then(|variables| variables.get(name));
            if declared.is_none() {
                let message =
                    format!("the variable `{name}` of a server is not in its `variables`");
                self.break_rule(node.at, message);
            }
        }
        for Entry { key, node, .. } in variables.iter().flat_map(|of| of.entries()) {
            if !self.is_object(node, &format!("the server variable `{key}`")) {
                continue;
            }
            let default =
                self.required_text(node, "default", &format!("the server variable `{key}`"));
            let values = self.texts(node, "enum");
            let is_twice = |(index, value): (usize, &String)| values[..index].contains(value);
            if values.iter().enumerate().any(is_twice) {
                self.break_rule(
                    node.at,
                    format!("the server variable `{key}` lists a value twice"),
                );
            }
            if node.get("enum").is_some() && !values.contains(&default) {
                let message =
                    format!("the default of the server variable `{key}` is not in its `enum`");
                self.break_rule(node.at, message);
            }
        }
    }

    /// OpenAPI 3.1, "Security Scheme Object" and "OAuth Flow Object".
    pub(super) fn urls_of_scheme(&mut self, node: &Node, kind: &str) {
        if kind == "openIdConnect" {
            self.url(node, "openIdConnectUrl", true);
        }
        let Some(flows) = node.get("flows").cloned().filter(|_| kind == "oauth2") else {
            if kind == "oauth2" {
                self.break_rule(node.at, "an `oauth2` security scheme has no `flows`");
            }
            return;
        };
        if !self.is_object(&flows, "`flows`") {
            return;
        }
        for Entry { key, node, .. } in flows.entries() {
            if key.starts_with("x-") || !self.is_object(node, &format!("the flow `{key}`")) {
                continue;
            }
            let authorizes = ["implicit", "authorizationCode"].contains(&key.as_str());
            let gives_token = key != "implicit";
            self.url(node, "authorizationUrl", authorizes);
            self.url(node, "tokenUrl", gives_token);
            self.url(node, "refreshUrl", false);
        }
    }

    /// A URL, which may be relative; what has neither a scheme nor a slash is taken for a mistake.
    fn url(&mut self, node: &Node, key: &str, is_required: bool) {
        let Some(found) = node.get(key) else {
            if is_required {
                self.break_rule(node.at, format!("there is no `{key}`"));
            }
            return;
        };
        let text = self.text(node, key).unwrap_or_default();
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if !text.contains(['/', ':']) || text.contains(is_odd) {
            self.break_rule(found.at, format!("`{key}` is not a URL"));
        }
    }

    /// Follows the references of all examples.
    fn examples(&mut self, node: &Node) {
        match &node.value {
            Value::Seq(items) => {
                for item in items {
                    self.examples(item);
                }
            }
            Value::Map(entries) => {
                for Entry { key, node, .. } in entries {
                    if key == "examples" {
                        for example in node.entries() {
                            self.example(&example.node);
                        }
                    } else if !["example", "default", "enum", "const"].contains(&key.as_str()) {
                        self.examples(node);
                    }
                }
            }
            _ => {}
        }
    }

    fn example(&mut self, example: &Rc<Node>) {
        let mut target = Rc::clone(example);
        for _ in 0..MAX_STEPS {
            let Some(reference) = target.get("$ref").cloned() else {
                return;
            };
            let Some(text) = reference.as_str() else {
                return;
            };
            let Some(pointer) = text.strip_prefix('#') else {
                // Of another document nothing is known.
                if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
                    self.refuse(Code::Reference, reference.at, "a `$ref` that is not a URL");
                }
                return;
            };
            let mut found = Some(Rc::clone(&self.root));
            for token in pointer.split('/').skip(1) {
                found = found.and_then(|node| Some(Rc::clone(node.child(token)?.0)));
            }
            match found {
                Some(node) => target = node,
                None => {
                    let message = format!("`$ref` to `{text}`, which does not exist");
                    self.refuse(Code::Reference, reference.at, message);
                    return;
                }
            }
        }
        let message = "a `$ref` that leads back to itself";
        self.refuse(Code::Reference, example.at, message);
    }
}
