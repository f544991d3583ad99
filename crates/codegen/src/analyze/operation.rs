//! Paths, operations, parameters, bodies and answers.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Analyzer, Declared};
use crate::diagnostic::{Code, Location, Owner};
use crate::ir::{
    Answer, Body, Field, Header, HeaderValue, In, JSON, Method, Needed, Operation, Parameter,
    Requirement, Schema, Security, Separator, Status, TypeKind,
};
use crate::names;
use crate::report::Note;
use crate::spec::{Entry, Node, Value};

impl Analyzer {
    pub(super) fn operations(&mut self, root: &Node) -> Vec<Operation> {
        let Some(paths) = self.required(root, "paths", "the document") else {
            return Vec::new();
        };
        if !self.is_object(&paths, "`paths`") {
            return Vec::new();
        }
        let default_security = root.get("security").cloned();
        let mut operations = Vec::new();
        let mut names: HashMap<String, (String, Location)> = HashMap::new();
        for Entry {
            key: path,
            key_at,
            node,
        } in paths.entries()
        {
            if path.starts_with("x-") {
                continue;
            }
            let shared = self.within(Owner::Path(path.clone()), |analyzer| {
                analyzer.path(path, *key_at);
                let keys: Vec<&str> = Method::ALL
                    .iter()
                    .map(|(key, _)| *key)
                    .chain(["parameters"])
                    .collect();
                analyzer.census(
                    node,
                    "a path item",
                    &keys,
                    &["summary", "description", "servers", "trace"],
                );
                analyzer.list(node, "parameters")
            });
            for entry in node.entries() {
                let method = Method::ALL.iter().find(|(key, _)| *key == entry.key);
                let method = method.map(|(_, method)| *method);
                if method.is_none() && entry.key != "trace" {
                    continue;
                }
                let verb = method.map_or("TRACE", Method::verb);
                let id = entry.node.get("operationId");
                let id = id.and_then(|id| id.as_str()).map(str::to_owned);
                let declared = Declared {
                    method: verb,
                    path: path.clone(),
                    id: id.unwrap_or_else(|| names::derived_id(verb, path)),
                };
                let owner = declared.owner();
                self.declared.push(declared);
                let operation = self.within(owner, |analyzer| {
                    let Some(method) = method else {
                        analyzer
                            .refuse(
                                Code::Key,
                                entry.key_at,
                                "`trace` of a path item is not carried",
                            )
                            .hint("Dropshot has no TRACE routes");
                        return None;
                    };
                    let security = default_security.as_ref();
                    let operation = analyzer.operation(method, path, entry, &shared, security)?;
                    match names.get(&operation.type_name) {
                        Some((other, at)) => {
                            let message = format!(
                                "operation `{}` and `{other}` on line {} have one name in Rust",
                                operation.id, at.line
                            );
                            analyzer
                                .refuse(Code::NameClash, entry.key_at, message)
                                .hint("give one of them another operationId");
                        }
                        None => {
                            let key = operation.type_name.clone();
                            names.insert(key, (operation.id.clone(), entry.key_at));
                        }
                    }
                    Some(operation)
                });
                operations.extend(operation);
            }
        }
        operations
    }

    /// Refuses a path that no request can have, or with ambiguous variables.
    fn path(&mut self, path: &str, at: Location) {
        if !path.starts_with('/') {
            self.refuse(
                Code::Path,
                at,
                format!("the path `{path}` does not begin with `/`"),
            );
        }
        if path.contains(['#', '?']) {
            self.refuse(
                Code::Path,
                at,
                format!("the path `{path}` contains `#` or `?`"),
            )
            .hint("declare query parameters instead");
            return;
        }
        let odd = |c: char| c == '%' || c == '\\' || c.is_whitespace() || c.is_control();
        if path.contains(odd) {
            self.refuse(
                Code::Path,
                at,
                format!("the path `{path}` contains `%`, `\\`, a space or a control character"),
            )
            .hint("Dropshot compares decoded segments, and clients send such characters as others");
            return;
        }
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.split('/').any(str::is_empty) && path != "/" {
            self.refuse(
                Code::Path,
                at,
                format!("the path `{path}` has an empty segment"),
            )
            .hint("only the last segment may be empty");
            return;
        }
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let Some(parts) = parts(segment) else {
                let message = format!("the braces of the path segment `{segment}` have no partner");
                self.refuse(Code::Path, at, message);
                return;
            };
            let is_variable = |part: &Part<'_>| matches!(part, Part::Variable(_));
            if parts.windows(2).any(|pair| pair.iter().all(is_variable)) {
                let message = format!(
                    "two variables of the path segment `{segment}` have no text between them"
                );
                self.refuse(Code::Path, at, message)
                    .hint("nothing tells where the first ends");
                return;
            }
            let is_odd = |part: &Part<'_>| matches!(part, Part::Variable(name) if name.is_empty() || name.contains(':'));
            if parts.iter().any(is_odd) {
                self.refuse(
                    Code::Path,
                    at,
                    format!("the path variable `{segment}` has no name, or a pattern behind it"),
                )
                .hint("write the name alone, such as `{id}`, and the pattern into its schema");
                return;
            }
            if matches!(segment, "." | "..") {
                self.refuse(Code::Path, at, format!("the path segment `{segment}`"));
                return;
            }
        }
    }

    fn operation(
        &mut self,
        method: Method,
        path: &str,
        entry: &Entry,
        shared: &[Rc<Node>],
        default_security: Option<&Rc<Node>>,
    ) -> Option<Operation> {
        let node = &entry.node;
        self.census(
            node,
            "an operation",
            &[
                "tags",
                "summary",
                "description",
                "operationId",
                "parameters",
                "requestBody",
                "responses",
                "deprecated",
                "security",
            ],
            &["externalDocs", "servers", "callbacks"],
        );
        let id = match node.get("operationId") {
            Some(_) => self.text(node, "operationId")?,
            None => {
                let id = names::derived_id(method.verb(), path);
                self.notes.push(Note {
                    operation: Some(id.clone()),
                    message: "named after its method and path, for it has no operationId"
                        .to_owned(),
                });
                id
            }
        };
        let callbacks = node.get("callbacks");
        for Entry { key, .. } in callbacks.map_or(&[][..], |node| node.entries()) {
            self.notes.push(Note {
                operation: Some(id.clone()),
                message: format!("the callback `{key}` is read past"),
            });
        }
        let name = names::operation_name(&id);
        let type_name = names::type_name(&name);
        let parameters = self.parameters(node, shared, path, entry.key_at, &type_name);
        let body = self.body(node, &type_name);
        if body.is_some() && matches!(method, Method::Get | Method::Head) {
            let at = node.get("requestBody").map_or(entry.key_at, |node| node.at);
            self.refuse(
                Code::BodyMethod,
                at,
                format!("a request body on {}", method.verb()),
            )
            .hint("RFC 9110 §9.3.1 gives it no meaning");
        }
        Some(Operation {
            name,
            method,
            path: path.to_owned(),
            tags: self.texts(node, "tags"),
            summary: self.prose(node, "summary"),
            description: self.prose(node, "description"),
            deprecated: self.flag(node, "deprecated"),
            parameters,
            body,
            answers: self.answers(node, entry.key_at, &id, &type_name, method),
            security: self.security(node.get("security").or(default_security)),
            id,
            type_name,
        })
    }

    fn parameters(
        &mut self,
        node: &Node,
        shared: &[Rc<Node>],
        path: &str,
        at: Location,
        type_name: &str,
    ) -> Vec<Parameter> {
        let own = self.list(node, "parameters");
        let mut parameters: Vec<Parameter> = Vec::new();
        // An operation's own parameter replaces the path item's of the same name and place.
        let own = own.iter().map(|node| (node, true));
        for (declared, is_own) in own.chain(shared.iter().map(|node| (node, false))) {
            let Some(node) = self.deref(declared, "parameters") else {
                continue;
            };
            let Some(parameter) = self.parameter(&node, type_name) else {
                continue;
            };
            let same = |other: &Parameter| {
                other.place == parameter.place && other.field.wire == parameter.field.wire
            };
            if !parameters.iter().any(same) {
                parameters.push(parameter);
            } else if is_own {
                self.refuse(
                    Code::Malformed,
                    declared.at,
                    format!("the parameter `{}` is declared twice", parameter.field.wire),
                );
            }
        }
        for Parameter { field, .. } in &parameters {
            let name = names::progenitor_name(&field.wire);
            let is_body = name == "body" && node.get("requestBody").is_some();
            if is_body || names::is_needed_by_builders(&name) {
                self.refuse(
                    Code::ReservedParameter,
                    at,
                    format!(
                        "the parameter `{}` has the name of a method of the client",
                        field.wire
                    ),
                )
                .hint("Progenitor's builders need that name; rename the parameter");
            }
        }
        // Also across places: the client's methods take arguments by name, and they have Progenitor's.
        for spelling in [
            |of: &Field| of.name.clone(),
            |of: &Field| names::progenitor_name(&of.wire),
        ] {
            let mut seen: BTreeMap<String, String> = BTreeMap::new();
            for Parameter { place, field, .. } in &parameters {
                let shown = format!("`{}` in {}", field.wire, place.key());
                let name = spelling(field);
                if let Some(first) = seen.insert(name.clone(), shown.clone()) {
                    self.refuse(
                        Code::NameClash,
                        at,
                        format!("the parameters {first} and {shown} are both `{name}` in Rust"),
                    );
                }
            }
        }
        let variables = variables_of(path);
        let declared: Vec<String> = parameters
            .iter()
            .filter(|parameter| parameter.place == In::Path)
            .map(|parameter| parameter.field.wire.clone())
            .collect();
        for variable in variables
            .iter()
            .filter(|variable| !declared.iter().any(|name| name == *variable))
        {
            let message = format!(
                "the path variable `{variable}` is a string, for it is not declared as a parameter"
            );
            self.adapt(Code::PathVariable, at, message);
            let field = Field {
                schema: Schema::TEXT,
                ..super::schema::any_field(variable, true)
            };
            parameters.push(Parameter {
                place: In::Path,
                field,
                separator: None,
            });
        }
        for name in declared
            .iter()
            .filter(|name| !variables.contains(&name.as_str()))
        {
            self.refuse(
                Code::PathVariable,
                at,
                format!("the path parameter `{name}` is not in the path"),
            );
        }
        if variables
            .iter()
            .enumerate()
            .any(|(index, name)| variables[..index].contains(name))
        {
            self.refuse(
                Code::PathVariable,
                at,
                "a path that uses one variable twice",
            );
        }
        parameters
    }

    fn parameter(&mut self, node: &Rc<Node>, type_name: &str) -> Option<Parameter> {
        self.census(
            node,
            "a parameter",
            &[
                "name",
                "in",
                "required",
                "schema",
                "style",
                "explode",
                "description",
            ],
            &["example", "examples", "deprecated", "allowEmptyValue"],
        );
        let wire = self.required_text(node, "name", "a parameter");
        let place = match self.required_text(node, "in", "a parameter").as_str() {
            "path" => In::Path,
            "query" => In::Query,
            "header" => In::Header,
            other => {
                self.refuse(
                    Code::ParameterPlace,
                    node.at,
                    format!("a parameter in `{other}`"),
                )
                .hint("path, query and header parameters are generated");
                return None;
            }
        };
        // OpenAPI says to ignore these; security and media types own them.
        if place == In::Header
            && ["accept", "content-type", "authorization"]
                .contains(&wire.to_ascii_lowercase().as_str())
        {
            return None;
        }
        if place == In::Header && !names::is_header_name(&wire) {
            self.refuse(
                Code::HeaderName,
                node.at,
                format!("`{wire}` is not the name of a header"),
            );
        }
        let style = self.style(node, place);
        let schema = self.required(node, "schema", "a parameter")?;
        let required = self.flag(node, "required");
        if place == In::Path && !required {
            self.refuse(
                Code::PathVariable,
                node.at,
                format!("the path parameter `{wire}` is not `required: true`"),
            );
        }
        let inline = format!("{type_name}{}", names::type_part(&wire));
        let mut field = self.field(&wire, &schema, required, &inline);
        if let Some(description) = self.prose(node, "description") {
            field.description = Some(description);
        }
        let separator = match self.items(&field.schema) {
            Some(items) if self.is_scalar(&items) => style,
            _ if self.is_scalar(&field.schema) => None,
            _ => {
                let message = format!(
                    "the parameter `{wire}` is no string, number, boolean or enum, and no list of those"
                );
                self.refuse(Code::ParameterType, schema.at, message).hint(
                    "objects and alternatives in parameters are not generated; send them in a body",
                );
                return None;
            }
        };
        Some(Parameter {
            place,
            field,
            separator,
        })
    }

    /// What separates the items of a list in this place (OpenAPI 3.1, "Style Values").
    fn style(&mut self, node: &Node, place: In) -> Option<Separator> {
        let default = if place == In::Query { "form" } else { "simple" };
        let style = node.get("style");
        let name = style.and_then(|style| style.as_str()).unwrap_or(default);
        let explode = match node.get("explode") {
            Some(_) => self.flag(node, "explode"),
            None => name == "form",
        };
        match (place, name, explode) {
            (In::Query, _, true) if ["form", "spaceDelimited", "pipeDelimited"].contains(&name) => {
                Some(Separator::Repeated)
            }
            (In::Query, "form", false) => Some(Separator::Comma),
            (In::Query, "spaceDelimited", false) => Some(Separator::Space),
            (In::Query, "pipeDelimited", false) => Some(Separator::Pipe),
            (In::Path | In::Header, "simple", _) => Some(Separator::Comma),
            _ => {
                let at = style.map_or(node.at, |style| style.at);
                let message = format!("the parameter `style` `{name}` in {}", place.key());
                self.refuse(Code::ParameterStyle, at, message);
                None
            }
        }
    }

    /// The items of a list.
    fn items(&self, schema: &Schema) -> Option<Schema> {
        let mut schema = schema;
        // More steps than types means a circle, which is refused where it is declared.
        for _ in 0..=self.types.len() {
            schema = match schema {
                Schema::Array { items, .. } => return Some((**items).clone()),
                Schema::Nullable(inner) => inner,
                Schema::Ref(name) => match self.types.get(name).map(|def| &def.kind) {
                    Some(TypeKind::Alias(inner)) => inner,
                    _ => return None,
                },
                _ => return None,
            };
        }
        None
    }

    fn is_scalar(&self, schema: &Schema) -> bool {
        let mut schema = schema;
        // More steps than types means a circle, which is refused where it is declared.
        for _ in 0..=self.types.len() {
            schema = match schema {
                Schema::String { .. }
                | Schema::Integer { .. }
                | Schema::Number { .. }
                | Schema::Boolean => return true,
                // A parameter has no way to be null; FastAPI writes optional ones so.
                Schema::Nullable(inner) => inner,
                Schema::Ref(name) => match self.types.get(name).map(|def| &def.kind) {
                    Some(TypeKind::Enum(_)) => return true,
                    Some(TypeKind::Alias(inner)) => inner,
                    _ => return false,
                },
                Schema::Any | Schema::Null | Schema::Array { .. } | Schema::Map { .. } => {
                    return false;
                }
            };
        }
        false
    }

    fn body(&mut self, node: &Node, type_name: &str) -> Option<Body> {
        let body = node.get("requestBody").cloned()?;
        let body = self.deref(&body, "requestBodies")?;
        self.census(
            &body,
            "a request body",
            &["description", "content", "required"],
            &[],
        );
        let content = self.required(&body, "content", "a request body")?;
        let (media, media_type) = self.json_media(&content, "a request body")?;
        let schema = match media.get("schema").cloned() {
            Some(schema) => self.schema(&schema, &format!("{type_name}Body")),
            None => Schema::Any,
        };
        Some(Body {
            description: self.prose(&body, "description"),
            schema,
            media_type,
            required: self.flag(&body, "required"),
        })
    }

    /// The JSON of a `content`, and its media type: `application/json` before others that end in `+json` (RFC 6839 §3.1).
    /// The other media types are left out.
    fn json_media(&mut self, content: &Node, what: &str) -> Option<(Rc<Node>, String)> {
        let essence = |key: &str| {
            let essence = key.split(';').next().unwrap_or_default();
            essence.trim().to_ascii_lowercase()
        };
        let is_plain = |entry: &&Entry| essence(&entry.key) == JSON;
        let is_json = |entry: &&Entry| {
            let essence = essence(&entry.key);
            let ends = essence.strip_prefix("application/");
            ends.is_some_and(|of| of == "json" || of.ends_with("+json"))
        };
        let entries = content.entries().iter();
        let json = entries.clone().find(is_plain);
        let json = json.or_else(|| entries.clone().find(is_json));
        let Some(json) = json else {
            for Entry { key, key_at, .. } in entries {
                self.refuse(
                    Code::MediaType,
                    *key_at,
                    format!("the media type `{key}` of {what}"),
                )
                .hint("`application/json` and types that end in `+json` are generated; serve others by hand");
            }
            return None;
        };
        for Entry { key, key_at, .. } in entries.filter(|entry| entry.key != json.key) {
            let message = format!("the media type `{key}` of {what} is left out");
            self.adapt(Code::MediaType, *key_at, message);
        }
        self.census(
            &json.node,
            "a media type",
            &["schema"],
            &["example", "examples", "encoding"],
        );
        Some((Rc::clone(&json.node), essence(&json.key)))
    }

    fn answers(
        &mut self,
        node: &Node,
        at: Location,
        id: &str,
        type_name: &str,
        method: Method,
    ) -> Vec<Answer> {
        let Some(responses) = self.required(node, "responses", "an operation") else {
            return Vec::new();
        };
        if !self.is_object(&responses, "`responses`") {
            return Vec::new();
        }
        let mut answers = Vec::new();
        for Entry { key, key_at, node } in responses.entries() {
            if key.starts_with("x-") {
                continue;
            }
            let Some((status, name)) = status_of(key) else {
                self.refuse(
                    Code::Status,
                    *key_at,
                    format!(
                        "`{key}` is not a status from 200, a class such as `4XX`, or `default`"
                    ),
                );
                continue;
            };
            if let Some(answer) = self.answer(node, status, name, type_name, method) {
                answers.push(answer);
            }
        }
        answers.sort_by_key(|answer| answer.status);
        let mut success: Vec<&Answer> = answers
            .iter()
            .filter(|answer| is_success(answer.status))
            .collect();
        if success.is_empty() {
            success.extend(
                answers
                    .iter()
                    .filter(|answer| answer.status == Status::Default),
            );
        }
        if success.is_empty() {
            self.refuse(
                Code::NoSuccess,
                at,
                format!("operation `{id}` declares no success answer"),
            );
        }
        answers
    }

    fn answer(
        &mut self,
        node: &Rc<Node>,
        status: Status,
        name: String,
        type_name: &str,
        method: Method,
    ) -> Option<Answer> {
        let node = self.deref(node, "responses")?;
        self.census(
            &node,
            "a response",
            &["description", "content", "headers"],
            // Links describe possible next requests; they change no type and no route.
            &["summary", "links"],
        );
        let content = node
            .get("content")
            .filter(|content| !content.entries().is_empty())
            // What stands here is what GET would send: an answer to HEAD has no content (RFC 9110 §9.3.2).
            .filter(|_| method != Method::Head)
            .cloned();
        // A media type that was refused leaves an answer without a body behind.
        let media = content.and_then(|content| self.json_media(&content, "an answer"));
        let (media, media_type) = media.unzip();
        let body = media.map(|media| match media.get("schema").cloned() {
            Some(schema) => self.schema(&schema, &format!("{type_name}{name}Body")),
            None => Schema::Any,
        });
        if body.is_some() && matches!(status, Status::Exact(204 | 205 | 304)) {
            self.refuse(
                Code::BodilessStatus,
                node.at,
                "a body on a status that has none (RFC 9110 §15.3.5, §15.4.5)",
            );
        }
        let mut headers: Vec<Header> = Vec::new();
        for Entry {
            key,
            node: header,
            key_at,
        } in node.get("headers").map_or(&[][..], |node| node.entries())
        {
            // OpenAPI says to ignore it: the media type of the content stands there.
            if key.eq_ignore_ascii_case("content-type") {
                continue;
            }
            let Some(header) = self.header(key, header) else {
                continue;
            };
            if header.name == "body"
                || header.name == "status"
                || headers.iter().any(|other| other.name == header.name)
            {
                self.refuse(
                    Code::NameClash,
                    *key_at,
                    format!("the response header `{key}` has a name that is taken in Rust"),
                );
                continue;
            }
            headers.push(header);
        }
        let description = names::readable(&self.required_text(&node, "description", "a response"));
        Some(Answer {
            status,
            name,
            description,
            body,
            media_type: media_type.unwrap_or_else(|| JSON.to_owned()),
            headers,
            codes: codes(&node),
        })
    }

    fn header(&mut self, wire: &str, node: &Rc<Node>) -> Option<Header> {
        let node = self.deref(node, "headers")?;
        self.census(
            &node,
            "a header",
            &["description", "required", "schema"],
            &["deprecated", "example", "examples", "style", "explode"],
        );
        let schema_node = self.required(&node, "schema", "a header")?;
        if !names::is_header_name(wire) {
            self.refuse(
                Code::HeaderName,
                node.at,
                format!("`{wire}` is not the name of a header"),
            );
        }
        let only = match (
            schema_node.get("const"),
            schema_node.get("enum").map(|node| &node.value),
        ) {
            (Some(only), _) => only.as_str().map(str::to_owned),
            (None, Some(Value::Seq(items))) if items.len() == 1 => {
                items[0].as_str().map(str::to_owned)
            }
            _ => None,
        };
        let value = match only {
            Some(only) => {
                if !only.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    self.refuse(
                        Code::AnswerHeader,
                        schema_node.at,
                        "a header value that is not visible ASCII",
                    );
                }
                HeaderValue::Fixed(only)
            }
            None => match self.schema(&schema_node, &format!("Header{}", names::type_name(wire))) {
                Schema::String { .. } => HeaderValue::Text,
                Schema::Integer { .. } => HeaderValue::Integer,
                // Whatever it means, it is a text.
                _ => {
                    let message = format!("the response header `{wire}` is given as text");
                    self.adapt(Code::AnswerHeader, schema_node.at, message);
                    HeaderValue::Text
                }
            },
        };
        Some(Header {
            wire: wire.to_owned(),
            name: names::value_name(wire),
            description: self.prose(&node, "description"),
            required: self.flag(&node, "required"),
            value,
        })
    }

    fn security(&mut self, node: Option<&Rc<Node>>) -> Security {
        let mut security = Security::default();
        let Some(Value::Seq(listed)) = node.map(|node| &node.value) else {
            return security;
        };
        for alternative in listed {
            if alternative.entries().is_empty() {
                security.is_optional = true;
                continue;
            }
            let mut schemes = Vec::new();
            for Entry { key, key_at, .. } in alternative.entries() {
                self.named_schemes.insert(key.clone());
                if self.schemes.iter().any(|scheme| scheme.key == *key) {
                    let scopes = self.texts(alternative, key);
                    schemes.push(Needed {
                        key: key.clone(),
                        scopes,
                    });
                } else {
                    let message = format!(
                        "the security scheme `{key}` is unknown or of a kind that is not carried"
                    );
                    self.refuse(Code::SecurityScheme, *key_at, message).hint(
                        "`apiKey`, `oauth2`, `openIdConnect`, and `http` with `basic` or `bearer` are generated",
                    );
                }
            }
            let requirement = Requirement { schemes };
            if !security.alternatives.contains(&requirement) {
                security.alternatives.push(requirement);
            }
        }
        // Who gives all that one alternative needs has given what a smaller one needs as well.
        let order = |of: &Requirement| {
            let first = of.schemes.first().map(|needed| &needed.key);
            let position = |key: &String| self.schemes.iter().position(|scheme| scheme.key == *key);
            (
                std::cmp::Reverse(of.schemes.len()),
                first.and_then(position),
            )
        };
        security.alternatives.sort_by_key(order);
        security
    }
}

/// A part of a path segment.
enum Part<'a> {
    Literal,
    Variable(&'a str),
}

/// The parts of a path segment; nothing if its braces do not fit together.
fn parts(segment: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        let (part, behind) = match rest.strip_prefix('{') {
            Some(inside) => {
                let (name, behind) = inside.split_once('}')?;
                (Part::Variable(name), behind)
            }
            None => {
                let end = rest.find('{').unwrap_or(rest.len());
                (Part::Literal, &rest[end..])
            }
        };
        let text = &rest[..rest.len() - behind.len()];
        let has_more = match part {
            Part::Variable(name) => name.contains('{'),
            Part::Literal => text.contains('}'),
        };
        if has_more {
            return None;
        }
        parts.push(part);
        rest = behind;
    }
    Some(parts)
}

/// The variables of a path, in order.
fn variables_of(path: &str) -> Vec<&str> {
    path.split('/')
        .flat_map(|segment| parts(segment).unwrap_or_default())
        .filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Literal => None,
        })
        .collect()
}

/// The path without the names of its variables and the slash at its end, by which routes differ.
pub(super) fn shape_of(path: &str) -> String {
    let mut shape = path.trim_end_matches('/').to_owned();
    for name in variables_of(path) {
        shape = shape.replace(&format!("{{{name}}}"), "{}");
    }
    shape
}

/// What `x-error-codes` lists; nothing where others use that name for something else.
fn codes(node: &Node) -> Vec<String> {
    let listed = node.get("x-error-codes");
    let items = listed.map_or(Vec::new(), |listed| match &listed.value {
        Value::Seq(items) => items.iter().map(|item| item.as_str()).collect(),
        _ => Vec::new(),
    });
    let codes: Option<Vec<String>> = items
        .into_iter()
        .map(|code| code.map(str::to_owned))
        .collect();
    codes.unwrap_or_default()
}

fn is_success(status: Status) -> bool {
    matches!(status, Status::Exact(200..300) | Status::Range(2))
}

fn status_of(key: &str) -> Option<(Status, String)> {
    if key == "default" {
        return Some((Status::Default, "Default".to_owned()));
    }
    if let Some(class) = key.strip_suffix("XX").or_else(|| key.strip_suffix("xx")) {
        let name = match class {
            "2" => "Success",
            "3" => "Redirection",
            "4" => "ClientError",
            "5" => "ServerError",
            _ => return None,
        };
        return Some((Status::Range(class.parse().ok()?), name.to_owned()));
    }
    let status: u16 = key
        .parse()
        .ok()
        .filter(|status| (200..600).contains(status) && key.len() == 3)?;
    Some((
        Status::Exact(status),
        reason(status).map_or_else(|| format!("Status{status}"), str::to_owned),
    ))
}

/// The registered reason phrase (RFC 9110 §15 and the IANA registry) as a variant's name.
fn reason(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "Ok",
        201 => "Created",
        202 => "Accepted",
        203 => "NonAuthoritativeInformation",
        204 => "NoContent",
        205 => "ResetContent",
        206 => "PartialContent",
        207 => "MultiStatus",
        300 => "MultipleChoices",
        301 => "MovedPermanently",
        302 => "Found",
        303 => "SeeOther",
        304 => "NotModified",
        307 => "TemporaryRedirect",
        308 => "PermanentRedirect",
        400 => "BadRequest",
        401 => "Unauthorized",
        402 => "PaymentRequired",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        407 => "ProxyAuthenticationRequired",
        408 => "RequestTimeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "LengthRequired",
        412 => "PreconditionFailed",
        413 => "ContentTooLarge",
        414 => "UriTooLong",
        415 => "UnsupportedMediaType",
        416 => "RangeNotSatisfiable",
        417 => "ExpectationFailed",
        421 => "MisdirectedRequest",
        422 => "UnprocessableContent",
        423 => "Locked",
        424 => "FailedDependency",
        425 => "TooEarly",
        426 => "UpgradeRequired",
        428 => "PreconditionRequired",
        429 => "TooManyRequests",
        431 => "RequestHeaderFieldsTooLarge",
        451 => "UnavailableForLegalReasons",
        500 => "InternalServerError",
        501 => "NotImplemented",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        504 => "GatewayTimeout",
        507 => "InsufficientStorage",
        _ => return None,
    })
}
