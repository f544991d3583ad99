//! From the document's tree to the IR: the only place with policy.
//!
//! Every keyword is carried, known to be an annotation, or refused with its place; refusals are collected, so that an
//! author sees all of them at once. An analyser that met a refusal goes on with a harmless stand-in.

mod errors;
mod operation;
mod rules;
mod schema;
mod survivors;
mod types;
mod valid;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use crate::diagnostic::{Code, Diagnostic, Location, Owner};
use crate::ir::{Api, KeyPlace, Scheme, SchemeKind, Server, Tag, TypeDef};
use crate::names;
use crate::report::{Note, Report};
use crate::spec::{Entry, Node, Value, unescape};

/// What is understood of a document.
pub(crate) struct Analysis {
    /// What can be generated: the operations that nothing was refused of, and the types that they reach.
    pub(crate) api: Api,
    pub(crate) report: Report,
    /// Otherwise more may be reached than is known: of what was refused of an operation not everything was looked at.
    pub(crate) all_read: bool,
    /// What is read past.
    pub(crate) notes: Vec<Note>,
}

/// Understands the document.
pub(crate) fn analyze(root: &Rc<Node>) -> Analysis {
    let mut analyzer = Analyzer::new(Rc::clone(root));
    let api = analyzer.document();
    analyzer.conclude(api)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V30,
    V31,
}

struct Analyzer {
    root: Rc<Node>,
    version: Version,
    diagnostics: Vec<Diagnostic>,
    /// What is carried otherwise than the document says.
    adaptations: Vec<Diagnostic>,
    notes: Vec<Note>,
    /// What is looked at.
    owner: Owner,
    /// The operations of the document, whether they are understood or not.
    declared: Vec<Declared>,
    types: BTreeMap<String, TypeDef>,
    /// What each type was made for.
    owners: HashMap<String, Owner>,
    /// What was refused of a type once all types were known.
    faulty: BTreeMap<String, Vec<Diagnostic>>,
    /// Type names of components.
    components: HashSet<String>,
    /// The type name of each component, by its key.
    component_types: HashMap<String, String>,
    /// The schema of each union, for those whose branches turn out to be ambiguous.
    unions: HashMap<String, Rc<Node>>,
    /// Whether the type of the schema that is looked at says less than the schema.
    says_less: bool,
    /// Hoisted inline schemas, so that one shape becomes one type.
    inline: Vec<String>,
    schemes: Vec<Scheme>,
    /// The keys of the security schemes that some operation names.
    named_schemes: BTreeSet<String>,
    /// How many schemas stand around the one that is looked at.
    depth: usize,
}

/// An operation of the document.
struct Declared {
    method: &'static str,
    path: String,
    /// Its `operationId`, or what stands for it.
    id: String,
}

impl Declared {
    fn owner(&self) -> Owner {
        Owner::Operation {
            method: self.method,
            path: self.path.clone(),
        }
    }
}

impl Analyzer {
    fn new(root: Rc<Node>) -> Self {
        Self {
            root,
            version: Version::V31,
            diagnostics: Vec::new(),
            adaptations: Vec::new(),
            notes: Vec::new(),
            owner: Owner::Document,
            declared: Vec::new(),
            types: BTreeMap::new(),
            owners: HashMap::new(),
            faulty: BTreeMap::new(),
            components: HashSet::new(),
            component_types: HashMap::new(),
            unions: HashMap::new(),
            says_less: false,
            inline: Vec::new(),
            schemes: Vec::new(),
            named_schemes: BTreeSet::new(),
            depth: 0,
        }
    }

    fn document(&mut self) -> Api {
        let root = Rc::clone(&self.root);
        let mut api = Api {
            title: String::new(),
            description: None,
            version: String::new(),
            servers: Vec::new(),
            tags: Vec::new(),
            types: Vec::new(),
            operations: Vec::new(),
            schemes: Vec::new(),
            error_type: None,
            shared_errors: None,
        };
        if !self.is_object(&root, "the document") || !self.read_version(&root) {
            return api;
        }
        self.census(
            &root,
            "the document",
            &[
                "openapi",
                "info",
                "servers",
                "paths",
                "components",
                "security",
                "tags",
            ],
            &["externalDocs", "jsonSchemaDialect", "webhooks"],
        );
        for Entry { key, .. } in root.get("webhooks").map_or(&[][..], |node| node.entries()) {
            self.note(format!("the webhook `{key}` is read past"));
        }
        self.rules(&root);
        self.info(&root, &mut api);
        api.servers = self.servers(&root);
        api.tags = self.tags(&root);
        self.components(&root);
        api.operations = self.operations(&root);
        self.finish_types(&mut api.operations);
        api
    }

    fn read_version(&mut self, root: &Node) -> bool {
        let Some(node) = root.get("openapi") else {
            self.refuse(Code::Version, root.at, "no `openapi` version")
                .hint("this reads OpenAPI 3.0 and 3.1 documents");
            return false;
        };
        let text = node.as_str().unwrap_or_default();
        self.version = match text {
            _ if text.starts_with("3.0.") => Version::V30,
            _ if text.starts_with("3.1.") => Version::V31,
            _ => {
                self.refuse(
                    Code::Version,
                    node.at,
                    "an OpenAPI version that is neither 3.0.x nor 3.1.x",
                );
                return false;
            }
        };
        true
    }

    fn info(&mut self, root: &Node, api: &mut Api) {
        let Some(info) = self.required(root, "info", "the document") else {
            return;
        };
        self.census(
            &info,
            "info",
            &["title", "description", "version"],
            &["summary", "termsOfService", "contact", "license"],
        );
        api.title = names::readable(&self.required_text(&info, "title", "info"));
        // `version: 1.10` is a number in YAML, and its author means the text.
        let written = info
            .get("version")
            .and_then(|node| node.as_written_number());
        api.version = match written.map(str::to_owned) {
            Some(number) => number,
            None => names::readable(&self.required_text(&info, "version", "info")),
        };
        api.description = self.prose(&info, "description");
    }

    fn servers(&mut self, root: &Node) -> Vec<Server> {
        let mut servers = Vec::new();
        for node in self.list(root, "servers") {
            self.census(&node, "a server", &["url", "description"], &["variables"]);
            let url = self.required_text(&node, "url", "a server");
            self.server(&node, &url);
            servers.push(Server {
                url,
                description: self.prose(&node, "description"),
            });
        }
        servers
    }

    fn tags(&mut self, root: &Node) -> Vec<Tag> {
        let mut tags = Vec::new();
        for node in self.list(root, "tags") {
            self.census(&node, "a tag", &["name", "description"], &["externalDocs"]);
            let name = self.required_text(&node, "name", "a tag");
            tags.push(Tag {
                name,
                description: self.prose(&node, "description"),
            });
        }
        tags
    }

    fn components(&mut self, root: &Node) {
        let Some(components) = root.get("components").cloned() else {
            return;
        };
        self.census(
            &components,
            "components",
            &[
                "schemas",
                "responses",
                "parameters",
                "requestBodies",
                "headers",
                "securitySchemes",
            ],
            &["examples", "links", "callbacks", "pathItems"],
        );
        for Entry { key, node, .. } in components.entries() {
            let what = format!("`{key}` of components");
            if key.starts_with("x-") || !self.is_object(node, &what) {
                continue;
            }
            for entry in node.entries().iter().filter(|_| key != "schemas") {
                self.is_object(&entry.node, &format!("`{}` of components/{key}", entry.key));
            }
        }
        let section = |name| components.get(name).cloned();
        let schemes = section("securitySchemes");
        for Entry { key, key_at, node } in schemes.iter().flat_map(|node| node.entries()) {
            let owner = component_owner("securitySchemes", key);
            self.within(owner, |analyzer| analyzer.scheme(key, *key_at, node));
        }
        let schemas = section("schemas");
        let entries = schemas.as_ref().map_or(&[][..], |node| node.entries());
        // Names first, so that an inline schema never takes one that a component further down has.
        for Entry { key, key_at, .. } in entries {
            let stem = names::type_name(key);
            let name = numbered(&stem, |name| self.components.contains(name));
            if name != stem {
                self.within(component_owner("schemas", key), |of| {
                    let message = format!(
                        "the component `{key}` is `{name}` in Rust, for another one is `{stem}`"
                    );
                    of.adapt(Code::NameClash, *key_at, message);
                });
            }
            self.components.insert(name.clone());
            self.component_types.insert(key.clone(), name);
        }
        for Entry { key, key_at, node } in entries {
            let owner = component_owner("schemas", key);
            self.within(owner, |analyzer| analyzer.component(key, *key_at, node));
        }
    }

    /// The type of a component; one that does not exist is refused.
    fn component_type(&mut self, key: &str, at: Location) -> Option<String> {
        let name = self.component_types.get(key).cloned();
        if name.is_none() {
            let message = format!("`$ref` to `{key}`, which `components/schemas` does not have");
            self.refuse(Code::Reference, at, message);
        }
        name
    }

    fn scheme(&mut self, key: &str, at: Location, node: &Rc<Node>) {
        let Some(node) = self.deref(node, "securitySchemes") else {
            return;
        };
        self.census(
            &node,
            "a security scheme",
            &["type", "name", "in", "scheme", "description"],
            &["bearerFormat", "flows", "openIdConnectUrl"],
        );
        let word = |name: &str| {
            node.get(name)
                .and_then(|node| node.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        self.urls_of_scheme(&node, &word("type"));
        let kind = match (
            word("type").as_str(),
            word("in").as_str(),
            word("scheme").to_ascii_lowercase().as_str(),
        ) {
            ("apiKey", place @ ("header" | "query" | "cookie"), _) => {
                let name = self.required_text(&node, "name", "an API key");
                if name.is_empty() {
                    self.refuse(Code::Malformed, node.at, "an API key without a name");
                    return;
                }
                let place = match place {
                    "header" => KeyPlace::Header,
                    "query" => KeyPlace::Query,
                    _ => KeyPlace::Cookie,
                };
                // The name of a cookie is a token, too (RFC 6265 §4.1.1).
                if place != KeyPlace::Query && !names::is_header_name(&name) {
                    let what = place.key();
                    let message = format!("`{name}` is not the name of a {what}");
                    self.refuse(Code::HeaderName, node.at, message);
                    return;
                }
                SchemeKind::ApiKey { place, name }
            }
            ("http", _, "bearer") | ("oauth2" | "openIdConnect", ..) => SchemeKind::Bearer,
            ("http", _, "basic") => SchemeKind::Basic,
            // Refused only where an operation wants it: an unused scheme is harmless.
            _ => return,
        };
        let name = names::type_name(key);
        if let Some(other) = self.schemes.iter().find(|scheme| scheme.name == name) {
            let other = other.key.clone();
            self.refuse(
                Code::NameClash,
                at,
                format!("security schemes `{other}` and `{key}` are both `{name}` in Rust"),
            );
            return;
        }
        let description = self.prose(&node, "description");
        self.schemes.push(Scheme {
            key: key.to_owned(),
            name,
            description,
            kind,
        });
    }

    // What follows is how every part above reads a node.

    fn refuse(&mut self, code: Code, at: Location, message: impl Into<String>) -> Refusal<'_> {
        let diagnostic = Diagnostic::new(code, at, message).owned(self.owner.clone());
        self.diagnostics.push(diagnostic);
        Refusal(self.diagnostics.last_mut())
    }

    /// Notes what is carried otherwise than the document says.
    fn adapt(&mut self, code: Code, at: Location, message: impl Into<String>) {
        let diagnostic = Diagnostic::new(code, at, message).owned(self.owner.clone());
        self.adaptations.push(diagnostic);
    }

    fn note(&mut self, message: String) {
        self.notes.push(Note {
            operation: None,
            message,
        });
    }

    /// Looks at a part of the document, to which refusals then belong.
    fn within<T>(&mut self, owner: Owner, look: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.owner, owner);
        let result = look(self);
        self.owner = outer;
        result
    }

    fn is_object(&mut self, node: &Node, what: &str) -> bool {
        let object = matches!(node.value, Value::Map(_));
        if !object {
            self.refuse(
                Code::Malformed,
                node.at,
                format!("{what} is {}, not an object", node.kind()),
            );
        }
        object
    }

    /// Refuses the keys of `node` that are neither carried, nor known to be without effect, nor extensions.
    fn census(&mut self, node: &Node, what: &str, carried: &[&str], annotations: &[&str]) {
        if !self.is_object(node, what) {
            return;
        }
        for Entry { key, key_at, .. } in node.entries() {
            let known = carried.contains(&key.as_str()) || annotations.contains(&key.as_str());
            if !known && !key.starts_with("x-") {
                let message = format!("`{key}` of {what} is not carried");
                self.refuse(Code::Key, *key_at, message)
                    .maybe_hint(advice(key));
            }
        }
    }

    fn required(&mut self, node: &Node, key: &str, what: &str) -> Option<Rc<Node>> {
        let found = node.get(key).cloned();
        if found.is_none() {
            self.refuse(Code::Malformed, node.at, format!("{what} has no `{key}`"));
        }
        found
    }

    fn required_text(&mut self, node: &Node, key: &str, what: &str) -> String {
        match self.required(node, key, what) {
            Some(_) => self.text(node, key).unwrap_or_default(),
            None => String::new(),
        }
    }

    /// The text under `key`; anything else there is refused.
    fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        let found = node.get(key)?;
        if found.as_str().is_none() {
            let kind = found.kind();
            self.refuse(
                Code::Malformed,
                found.at,
                format!("`{key}` is {kind}, not a string"),
            )
            .maybe_hint(quotes(found));
        }
        found.as_str().map(str::to_owned)
    }

    /// The text under `key`, for people to read.
    fn prose(&mut self, node: &Node, key: &str) -> Option<String> {
        self.text(node, key).map(|text| names::readable(&text))
    }

    fn flag(&mut self, node: &Node, key: &str) -> bool {
        match node.get(key).map(|found| (&found.value, found)) {
            None => false,
            Some((Value::Bool(value), _)) => *value,
            Some((_, found)) => {
                self.refuse(
                    Code::Malformed,
                    found.at,
                    format!("`{key}` is {}, not a boolean", found.kind()),
                );
                false
            }
        }
    }

    fn count(&mut self, node: &Node, key: &str) -> Option<u64> {
        let found = node.get(key)?;
        let count = match &found.value {
            // JSON Schema takes `2.0` for the integer 2.
            Value::Number(number) => whole(number).and_then(|number| number.as_u64()),
            _ => None,
        };
        if count.is_none() {
            self.refuse(Code::Malformed, found.at, format!("`{key}` is not a count"));
        }
        count
    }

    fn number(&mut self, node: &Node, key: &str) -> Option<serde_json::Number> {
        let found = node.get(key)?;
        if let Value::Number(number) = &found.value {
            return Some(number.clone());
        }
        self.refuse(
            Code::Malformed,
            found.at,
            format!("`{key}` is {}, not a number", found.kind()),
        );
        None
    }

    fn list(&mut self, node: &Node, key: &str) -> Vec<Rc<Node>> {
        match node.get(key).map(|found| (&found.value, found)) {
            None => Vec::new(),
            Some((Value::Seq(items), _)) => items.clone(),
            Some((_, found)) => {
                self.refuse(
                    Code::Malformed,
                    found.at,
                    format!("`{key}` is {}, not a list", found.kind()),
                );
                Vec::new()
            }
        }
    }

    fn texts(&mut self, node: &Node, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list(node, key) {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    self.refuse(
                        Code::Malformed,
                        item.at,
                        format!("`{key}` holds {}, not a string", item.kind()),
                    )
                    .maybe_hint(quotes(&item));
                }
            }
        }
        texts
    }

    /// Follows `$ref`s into `components/<section>` until there is none.
    fn deref(&mut self, node: &Rc<Node>, section: &str) -> Option<Rc<Node>> {
        let mut node = Rc::clone(node);
        // More steps than components means a circle.
        for _ in 0..100 {
            let Some(reference) = node.get("$ref").cloned() else {
                return Some(node);
            };
            let name = self.component_of(&reference, section)?;
            let target = self
                .root
                .get("components")
                .and_then(|node| node.get(section))
                .and_then(|node| node.get(&name));
            let Some(target) = target.cloned() else {
                self.refuse(
                    Code::Reference,
                    reference.at,
                    format!("`$ref` to `{name}`, which `components/{section}` does not have"),
                );
                return None;
            };
            node = target;
        }
        self.refuse(
            Code::Reference,
            node.at,
            "a `$ref` that leads back to itself",
        );
        None
    }

    /// The component that a `$ref` names.
    fn component_of(&mut self, reference: &Node, section: &str) -> Option<String> {
        let text = reference.as_str().unwrap_or_default();
        let prefix = format!("#/components/{section}/");
        if let Some(name) = text
            .strip_prefix(&prefix)
            .filter(|name| !name.contains('/'))
        {
            return Some(unescape(name));
        }
        let hint = if text.starts_with('#') {
            format!("refer to an entry of `components/{section}`")
        } else {
            "bundle the documents into one first".to_owned()
        };
        self.refuse(Code::Reference, reference.at, format!("`$ref` to `{text}`"))
            .hint(hint);
        None
    }
}

fn component_owner(section: &'static str, key: &str) -> Owner {
    Owner::Component {
        section,
        key: key.to_owned(),
    }
}

/// `stem`, or the first of `stem2`, `stem3` and so on that is not taken.
fn numbered(stem: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(stem) {
        return stem.to_owned();
    }
    let mut number = 2;
    loop {
        let name = format!("{stem}{number}");
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// A refusal just recorded, to which a hint can be added.
struct Refusal<'a>(Option<&'a mut Diagnostic>);

impl Refusal<'_> {
    fn hint(self, hint: impl Into<String>) {
        if let Some(diagnostic) = self.0 {
            diagnostic.hint = Some(hint.into());
        }
    }

    fn maybe_hint(self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }
}

/// What to do about a plain scalar where a string is meant.
fn quotes(node: &Node) -> Option<&'static str> {
    matches!(node.value, Value::Number(_) | Value::Bool(_) | Value::Null)
        .then_some("put it in quotes")
}

/// A number without a fraction as an integer, which `1.0`, `1e3` and `-0.0` are, too; nothing for any other.
fn whole(number: &serde_json::Number) -> Option<serde_json::Number> {
    // Every float from here on is larger than any integer of 64 bits.
    const END: f64 = 18_446_744_073_709_551_616.0;
    if !number.is_f64() {
        return Some(number.clone());
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    if !(-END / 2.0..END).contains(&float) {
        return None;
    }
    // Its decimal digits: a whole float below 2^64 prints without an exponent.
    let digits = format!("{float:.0}");
    let digits = if float == 0.0 { "0" } else { digits.as_str() };
    serde_json::from_str(digits).ok()
}

/// What to do about a keyword that is not carried.
fn advice(key: &str) -> Option<&'static str> {
    Some(match key {
        "webhooks" | "callbacks" => {
            "requests that the server sends are not generated; move them to a separate document"
        }
        "trace" => "Dropshot has no TRACE routes",
        "$ref" => "write the path item out where it is used",
        "nullable" => {
            "in OpenAPI 3.1 write `type: [string, 'null']`, or `anyOf` with `type: 'null'`"
        }
        "not" | "if" | "then" | "else" | "dependentSchemas" | "dependentRequired" => {
            "such conditions have no Rust type; check them in the operation"
        }
        "patternProperties" | "propertyNames" | "unevaluatedProperties" | "unevaluatedItems" => {
            "use `additionalProperties`"
        }
        "prefixItems" | "contains" | "minContains" | "maxContains" => {
            "tuples are not carried; use `items`"
        }
        "readOnly" | "writeOnly" => "write one schema for requests and another for answers",
        "$defs" | "definitions" | "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor"
        | "$schema" => "put shared schemas under `components/schemas`",
        "xml" => "only JSON bodies are generated",
        "pathItems" => "write path items where they are used",
        _ => return None,
    })
}
