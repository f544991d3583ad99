//! Paths, operations, parameters, bodies and answers.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Analyzer, Declared};
use crate::diagnostic::{Code, Location, Owner};
use crate::ir::{
    Answer, Body, Codec, Field, Header, HeaderValue, In, JSON, Method, Needed, OCTETS, Operation,
    Parameter, Requirement, Schema, Security, Separator, Status, Style, TypeKind,
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
        let has_none = matches!(method, Method::Get | Method::Head);
        let body = match body {
            Some(body) if has_none => {
                let at = node.get("requestBody").map_or(entry.key_at, |node| node.at);
                let verb = method.verb();
                if body.required {
                    self.refuse(Code::BodyMethod, at, format!("a request body on {verb}"))
                        .hint("RFC 9110 §9.3.1 gives it no meaning");
                } else {
                    let message = format!("the optional request body on {verb} is left out");
                    self.adapt(Code::BodyMethod, at, message);
                }
                None
            }
            body => body,
        };
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
                style: Style::Plain,
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
        let style = self.style(node, place, &field)?;
        Some(Parameter {
            place,
            field,
            style,
        })
    }

    /// How a parameter is written (OpenAPI 3.1, "Style Values"); one that is not carried is refused.
    fn style(&mut self, node: &Node, place: In, field: &Field) -> Option<Style> {
        let default = if place == In::Query { "form" } else { "simple" };
        let style = node.get("style");
        let name = style.and_then(|style| style.as_str()).unwrap_or(default);
        let explode = match node.get("explode") {
            Some(_) => self.flag(node, "explode"),
            None => name == "form",
        };
        let mut nature = Nature::default();
        self.look(&field.schema, &mut nature, &mut Vec::new());
        let separator = match (place, name, explode) {
            (In::Query, "form" | "spaceDelimited" | "pipeDelimited", true) => Separator::Repeated,
            (In::Query, "form", false) | (In::Path | In::Header, "simple", _) => Separator::Comma,
            (In::Query, "spaceDelimited", false) => Separator::Space,
            (In::Query, "pipeDelimited", false) => Separator::Pipe,
            // Without `explode`, OpenAPI has it for objects only.
            (In::Query, "deepObject", _) if explode || !nature.is_list => {
                return Some(Style::Deep);
            }
            _ => {
                let at = style.map_or(node.at, |style| style.at);
                let message = format!("the parameter `style` `{name}` in {}", place.key());
                self.refuse(Code::ParameterStyle, at, message);
                return None;
            }
        };
        let is_delimited = ["spaceDelimited", "pipeDelimited"].contains(&name);
        match nature {
            // OpenAPI has no such text.
            Nature {
                is_object: true, ..
            } if is_delimited => {
                let at = style.map_or(node.at, |style| style.at);
                let message = format!("the parameter `style` `{name}` of an object");
                self.refuse(Code::ParameterStyle, at, message);
                None
            }
            Nature {
                is_scalar: true,
                is_list: false,
                is_object: false,
                is_mixed: false,
            } => Some(Style::Plain),
            Nature {
                is_scalar: false,
                is_list: true,
                is_object: false,
                is_mixed: false,
            } => Some(Style::List(separator)),
            Nature {
                is_object: true, ..
            } if separator == Separator::Repeated => Some(Style::Exploded),
            Nature {
                is_scalar, is_list, ..
            } if is_scalar || (is_list && separator == Separator::Repeated) => {
                Some(Style::BySchema)
            }
            _ => {
                let wire = &field.wire;
                let message = format!("the parameter `{wire}` holds objects or lists in one text");
                self.refuse(Code::ParameterType, node.at, message)
                    .hint("OpenAPI does not define such a text; send it in a body");
                None
            }
        }
    }

    /// Finds out which values a parameter may have.
    fn look(&self, schema: &Schema, nature: &mut Nature, seen: &mut Vec<String>) {
        match schema {
            Schema::String { .. }
            | Schema::Integer { .. }
            | Schema::Number { .. }
            | Schema::Boolean => nature.is_scalar = true,
            // A parameter has no way to be null; FastAPI writes optional ones so.
            Schema::Nullable(inner) => self.look(inner, nature, seen),
            Schema::Null => {}
            Schema::Array { items, .. } => {
                nature.is_list = true;
                let mut of_items = Nature::default();
                self.look(items, &mut of_items, seen);
                nature.is_mixed |= of_items.is_mixed || !of_items.is_scalar;
                nature.is_mixed |= of_items.is_list || of_items.is_object;
            }
            Schema::Map { .. } => nature.is_object = true,
            // What is valid may be anything.
            Schema::Any | Schema::Bytes => {
                *nature = Nature {
                    is_scalar: true,
                    is_list: true,
                    is_object: true,
                    is_mixed: true,
                }
            }
            Schema::Ref(name) => {
                let def = self.types.get(name).filter(|_| !seen.contains(name));
                seen.push(name.clone());
                match def.map(|def| &def.kind) {
                    Some(TypeKind::Enum(_)) => nature.is_scalar = true,
                    Some(TypeKind::Alias(inner)) => self.look(inner, nature, seen),
                    Some(TypeKind::Union(variants)) => {
                        nature.is_mixed = true;
                        for variant in variants {
                            self.look(&variant.schema, nature, seen);
                        }
                    }
                    Some(TypeKind::Struct(_)) => nature.is_object = true,
                    None => {}
                }
            }
        }
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
        let content = self.content(&content, true)?;
        let schema = match &content.schema {
            _ if content.codec == Codec::Bytes => Schema::Bytes,
            Some(schema) => self.schema(schema, &format!("{type_name}Body")),
            None if content.codec == Codec::Text => Schema::TEXT,
            None => Schema::Any,
        };
        Some(Body {
            description: self.prose(&body, "description"),
            schema,
            media_type: content.media_type,
            codec: content.codec,
            required: self.flag(&body, "required"),
        })
    }

    /// The content that is generated, of those that a body has: JSON before others. Those are left out.
    fn content(&mut self, content: &Node, is_request: bool) -> Option<Content> {
        let what = if is_request {
            "a request body"
        } else {
            "an answer"
        };
        if !self.is_object(content, &format!("`content` of {what}")) {
            return None;
        }
        let json = content.entries().iter().filter(|of| is_json(&of.key));
        let json = json.min_by_key(|of| essence(&of.key) != JSON);
        // Of what is left out, nothing is looked at.
        let looked_at = match json {
            Some(json) => std::slice::from_ref(json),
            None => content.entries(),
        };
        let mut best: Option<(u8, &Entry, Content)> = None;
        for entry in looked_at {
            let Some((rank, found)) = self.codec(entry, is_request) else {
                continue;
            };
            if best.as_ref().is_none_or(|(least, ..)| rank < *least) {
                best = Some((rank, entry, found));
            }
        }
        let Some((
            _,
            Entry {
                key: chosen, node, ..
            },
            found,
        )) = best
        else {
            for Entry { key, key_at, .. } in content.entries() {
                let message = format!("the media type `{key}` of {what}");
                self.refuse(Code::MediaType, *key_at, message)
                    .hint("JSON, forms, texts and bytes are generated; serve others by hand");
            }
            return None;
        };
        for Entry { key, key_at, .. } in content.entries().iter().filter(|of| of.key != *chosen) {
            let message = format!("the media type `{key}` of {what} is left out");
            self.adapt(Code::MediaType, *key_at, message);
        }
        let annotations = ["example", "examples", "encoding"];
        self.census(node, "a media type", &["schema"], &annotations);
        Some(found)
    }

    /// How a content is written, and how much it is preferred; nothing for one that is not carried.
    fn codec(&mut self, entry: &Entry, is_request: bool) -> Option<(u8, Content)> {
        let essence = essence(&entry.key);
        let schema = entry.node.get("schema").cloned();
        if is_json(&entry.key) {
            let content = Content {
                schema,
                media_type: essence,
                codec: Codec::Json,
            };
            return Some((0, content));
        }
        let types = self.json_types(schema.as_ref());
        let is = |names: &[&str]| types.iter().all(|name| names.contains(&name.as_str()));
        let (main, sub) = essence.split_once('/').unwrap_or((&essence, ""));
        let (rank, codec) = match (main, sub) {
            // Of any type: JSON, unless it is a text.
            ("*", "*") | ("application", "*") if !types.is_empty() && !is(&["string"]) => {
                (1, Codec::Json)
            }
            ("application", "x-www-form-urlencoded") if is_request && is(&["object"]) => {
                let deep = self.deep(&entry.node)?;
                (2, Codec::Form { deep })
            }
            ("application", "x-www-form-urlencoded")
            | ("multipart", _)
            | ("text", "event-stream" | "xml")
            | ("application", "xml" | "jsonl" | "ndjson" | "x-ndjson" | "json-seq" | "stream") => {
                return None;
            }
            _ if sub.ends_with("+xml") && !is(&["string"]) => return None,
            ("text", _) if self.is_binary(schema.as_ref()) => (4, Codec::Bytes),
            ("text", _) if is(&["string", "integer", "number", "boolean"]) => (3, Codec::Text),
            _ if !sub.is_empty() && is(&["string"]) => (4, Codec::Bytes),
            _ => return None,
        };
        let media_type = match codec {
            Codec::Json if essence.contains('*') => JSON.to_owned(),
            // An answer has a type.
            Codec::Bytes if essence.contains('*') && !is_request => OCTETS.to_owned(),
            _ => essence,
        };
        let content = Content {
            schema,
            media_type,
            codec,
        };
        Some((rank, content))
    }

    /// The properties of a form that are written with brackets.
    fn deep(&mut self, media: &Node) -> Option<Vec<String>> {
        let encoding = media.get("encoding");
        let mut deep = Vec::new();
        for Entry { key, node, .. } in encoding.map_or(&[][..], |node| node.entries()) {
            let properties = media
                .get("schema")
                .and_then(|schema| schema.get("properties"));
            if properties.is_some_and(|properties| properties.get(key).is_none()) {
                let message = format!("the encoding of `{key}`, which is no property of the form");
                self.refuse(Code::Malformed, node.at, message);
            }
            let headers = node.get("headers");
            for header in headers.map_or(&[][..], |node| node.entries()) {
                self.style_of_header(&header.node);
            }
            let style = node.get("style");
            let explode = match node.get("explode") {
                Some(_) => self.flag(node, "explode"),
                None => true,
            };
            match style.and_then(|style| style.as_str()) {
                Some("deepObject") => deep.push(key.clone()),
                None | Some("form") if explode => {}
                _ => {
                    self.refuse(
                        Code::ParameterStyle,
                        node.at,
                        format!("the encoding of the property `{key}` of a form"),
                    )
                    .hint("`deepObject`, and `form` with `explode`, are generated");
                    return None;
                }
            }
        }
        Some(deep)
    }

    /// The JSON types that a schema names; none if it says nothing of them.
    fn json_types(&mut self, schema: Option<&Rc<Node>>) -> Vec<String> {
        let target = schema.and_then(|schema| self.deref(schema, "schemas"));
        let Some(target) = target else {
            return Vec::new();
        };
        let mut types = self.types_of(&target);
        let says_object = [
            "properties",
            "allOf",
            "anyOf",
            "oneOf",
            "additionalProperties",
        ];
        if types.is_empty() && says_object.iter().any(|key| target.get(key).is_some()) {
            types.push("object".to_owned());
        }
        types
    }

    fn is_binary(&mut self, schema: Option<&Rc<Node>>) -> bool {
        let target = schema.and_then(|schema| self.deref(schema, "schemas"));
        let format = target.and_then(|target| target.get("format").cloned());
        format.is_some_and(|format| format.as_str() == Some("binary"))
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
        if answers.is_empty() {
            self.refuse(
                Code::NoSuccess,
                at,
                format!("operation `{id}` declares no answer"),
            );
        } else if !answers
            .iter()
            .any(|answer| is_success(answer.status) || answer.status == Status::Default)
        {
            let message = format!(
                "operation `{id}` declares no success answer; to the client all are errors"
            );
            self.adapt(Code::NoSuccess, at, message);
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
        let content = content.and_then(|content| self.content(&content, false));
        let body = content.as_ref().map(|content| match &content.schema {
            _ if content.codec == Codec::Bytes => Schema::Bytes,
            Some(schema) => self.schema(schema, &format!("{type_name}{name}Body")),
            None if content.codec == Codec::Text => Schema::TEXT,
            None => Schema::Any,
        });
        let content = content.map(|content| (content.media_type, content.codec));
        let (media_type, codec) = content.unwrap_or((JSON.to_owned(), Codec::Json));
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
            media_type,
            codec,
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
        self.style_of_header(&node);
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

    /// OpenAPI 3.1, "Header Object": only `simple` applies.
    fn style_of_header(&mut self, node: &Node) {
        let style = node.get("style");
        if let Some(style) = style.filter(|style| style.as_str() != Some("simple")) {
            self.refuse(
                Code::Malformed,
                style.at,
                "the `style` of a header is `simple`",
            );
        }
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

/// Which JSON types the value of a parameter may have.
#[derive(Default)]
struct Nature {
    is_scalar: bool,
    is_list: bool,
    is_object: bool,
    /// Whether several types of scalars or other values may stand in one place.
    is_mixed: bool,
}

/// A content of a body.
struct Content {
    schema: Option<Rc<Node>>,
    media_type: String,
    codec: Codec,
}

/// A media type without its parameters.
fn essence(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Whether a media type is JSON (RFC 6839 §3.1).
fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let sub = essence.strip_prefix("application/");
    sub.is_some_and(|sub| sub == "json" || sub.ends_with("+json"))
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
