//! Schemas: what each keyword becomes.

use std::rc::Rc;

use super::valid::is_validating;
use super::{Analyzer, Version, numbered};
use crate::diagnostic::{Code, Location};
use crate::ir::{
    Additional, EnumValue, Field, IntegerFormat, Limits, Schema, Struct, TypeDef, TypeKind, Variant,
};
use crate::names;
use crate::spec::{Entry, Node, Value};

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "example",
    "examples",
    "deprecated",
    "externalDocs",
    "default",
    "$comment",
    "$schema",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
    "discriminator",
    "readOnly",
    "writeOnly",
    "xml",
    // Everywhere, for many documents of 3.1 still have it.
    "nullable",
];

/// Keywords that decide what the Rust type of a schema is.
const SHAPING: &[&str] = &[
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "enum",
    "const",
    "properties",
    "additionalProperties",
    "items",
];

/// Deeper inline schemas are refused: rustc and every walk over them are recursive.
const MAX_DEPTH: usize = 32;

/// The keywords of a schema besides its shape.
struct Inline<'a> {
    node: &'a Rc<Node>,
    /// The name it gets if it needs one.
    name: String,
    /// The name of its position, if another schema has that one.
    position: String,
}

impl Analyzer {
    /// Defines the type of a component.
    pub(super) fn component(&mut self, key: &str, at: Location, node: &Rc<Node>) {
        let Some(name) = self.component_types.get(key).cloned() else {
            return;
        };
        let description = self.prose(node, "description");
        let (kind, valid) = self.kind_and_valid(node, &name);
        self.define(
            node,
            TypeDef {
                name,
                description,
                kind,
                valid,
                at,
            },
        );
    }

    fn define(&mut self, node: &Rc<Node>, def: TypeDef) {
        if matches!(def.kind, TypeKind::Union(_)) {
            self.unions.insert(def.name.clone(), Rc::clone(node));
        }
        self.owners.insert(def.name.clone(), self.owner.clone());
        self.types.insert(def.name.clone(), def);
    }

    /// The schema at `node`; `name` is what a type that has to be made for it is called.
    pub(super) fn schema(&mut self, node: &Rc<Node>, name: &str) -> Schema {
        let title = node.get("title").and_then(|title| title.as_str());
        let title = title.map(names::type_name);
        let wanted = title.clone().unwrap_or_else(|| name.to_owned());
        match self.kind_and_valid(node, &wanted) {
            (TypeKind::Alias(schema), None) => schema,
            (kind, valid) => {
                let inline = Inline {
                    node,
                    name: wanted,
                    position: name.to_owned(),
                };
                self.hoist(inline, kind, valid)
            }
        }
    }

    /// What a schema becomes, and the schema itself if that says less.
    fn kind_and_valid(
        &mut self,
        node: &Rc<Node>,
        name: &str,
    ) -> (TypeKind, Option<serde_json::Value>) {
        let outer = std::mem::take(&mut self.says_less);
        let kind = self.kind(node, name);
        let says_less = std::mem::replace(&mut self.says_less, outer);
        let valid = says_less.then(|| self.valid(node));
        (kind, valid)
    }

    /// Any value: the schema has no Rust type.
    fn untyped(&mut self, code: Code, at: Location, why: &str) -> TypeKind {
        self.says_less = true;
        self.adapt(code, at, format!("any value, for {why}"));
        TypeKind::Alias(Schema::Any)
    }

    /// Gives an inline schema a named type, or the type that an inline schema of the same shape already has.
    fn hoist(
        &mut self,
        inline: Inline<'_>,
        kind: TypeKind,
        valid: Option<serde_json::Value>,
    ) -> Schema {
        let Inline {
            node,
            mut name,
            position,
        } = inline;
        let description = self.prose(node, "description");
        let is_same = |def: &TypeDef| def.kind == kind && def.valid == valid;
        let same = self
            .inline
            .iter()
            .find(|name| self.types.get(*name).is_some_and(is_same))
            .cloned();
        if let Some(first) = same.clone() {
            let alias = TypeKind::Alias(Schema::Ref(first.clone()));
            if first == name || self.types.get(&name).is_some_and(|def| def.kind == alias) {
                return Schema::Ref(first);
            }
        }
        let is_taken = |name: &str| self.components.contains(name) || self.types.contains_key(name);
        if is_taken(&name) {
            // The position says more than a title that is not the only one.
            let other = numbered(&position, is_taken);
            let message = format!("this schema is `{other}` in Rust, for another one is `{name}`");
            self.adapt(Code::NameClash, node.at, message);
            name = other;
        }
        // The name of the position exists even where the shape was met before: it does not depend on what stands
        // elsewhere in the document.
        let (kind, valid) = match &same {
            Some(first) => (TypeKind::Alias(Schema::Ref(first.clone())), None),
            None => (kind, valid),
        };
        self.define(
            node,
            TypeDef {
                name: name.clone(),
                description,
                kind,
                valid,
                at: node.at,
            },
        );
        match same {
            Some(first) => Schema::Ref(first),
            None => {
                self.inline.push(name.clone());
                Schema::Ref(name)
            }
        }
    }

    fn kind(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        if self.depth == MAX_DEPTH {
            self.refuse(
                Code::Depth,
                node.at,
                format!("schemas nested deeper than {MAX_DEPTH} levels"),
            )
            .hint("put inner ones under `components/schemas`");
            return TypeKind::Alias(Schema::Any);
        }
        self.depth += 1;
        let kind = self.kind_within(node, name);
        self.depth -= 1;
        kind
    }

    fn kind_within(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        match &node.value {
            Value::Bool(true) => return TypeKind::Alias(Schema::Any),
            Value::Bool(false) => {
                return self.untyped(Code::FalseSchema, node.at, "no value is allowed");
            }
            _ if !self.is_object(node, "a schema") => return TypeKind::Alias(Schema::Any),
            _ => {}
        }
        let kind = if let Some(reference) = node.get("$ref").cloned() {
            self.reference(node, &reference, name)
        } else if node.entry("allOf").is_some() {
            self.all_of(node, name)
        } else if let Some(entry) = node.entry("anyOf").or_else(|| node.entry("oneOf")) {
            self.any_of(node, entry, name)
        } else if is_literal(node) {
            self.literals(node, name)
        } else {
            self.typed(node, name)
        };
        if self.flag(node, "nullable") {
            self.nullable(node, kind, name)
        } else {
            kind
        }
    }

    fn reference(&mut self, node: &Rc<Node>, reference: &Node, name: &str) -> TypeKind {
        // 3.0 ignores the siblings of a reference.
        if self.version == Version::V31 {
            self.schema_census(node, &["$ref"]);
            if shaping(node).any(|key| key != "$ref") {
                return self.intersection(node, name);
            }
        }
        let target = self.component_of(reference, "schemas");
        let target = target.and_then(|key| self.component_type(&key, reference.at));
        TypeKind::Alias(target.map_or(Schema::Any, Schema::Ref))
    }

    fn any_of(&mut self, node: &Rc<Node>, entry: &Entry, name: &str) -> TypeKind {
        let branches = self.list(node, &entry.key);
        if branches.is_empty() {
            self.refuse(
                Code::Malformed,
                entry.node.at,
                format!("an empty `{}`", entry.key),
            );
        }
        if shaping(node).any(|key| key != entry.key) {
            return self.intersection(node, name);
        }
        self.schema_census(node, &[entry.key.as_str()]);
        let (nulls, branches): (Vec<_>, Vec<_>) =
            branches.into_iter().partition(|branch| is_null(branch));
        let kind = match branches.as_slice() {
            [] => TypeKind::Alias(Schema::Null),
            [only] => self.kind(only, name),
            several if several.iter().all(|branch| is_literal(branch)) => {
                self.merged_enum(node, several, name)
            }
            several => self.union(several, name),
        };
        if nulls.is_empty() || branches.is_empty() {
            kind
        } else {
            self.nullable(node, kind, name)
        }
    }

    /// Several enums of strings are one enum.
    fn merged_enum(&mut self, node: &Rc<Node>, branches: &[Rc<Node>], name: &str) -> TypeKind {
        let mut listed: Vec<Rc<Node>> = Vec::new();
        for branch in branches {
            for literal in self.listed(branch) {
                // The same value in two branches is the same value.
                if !listed
                    .iter()
                    .any(|other| other.to_json() == literal.to_json())
                {
                    listed.push(literal);
                }
            }
        }
        self.enumeration(node, listed, name)
    }

    fn union(&mut self, branches: &[Rc<Node>], name: &str) -> TypeKind {
        let mut variants: Vec<Variant> = Vec::new();
        for branch in branches {
            let variant = self.variant_name(branch);
            let variant = numbered(&variant, |name| {
                variants.iter().any(|other| other.name == name)
            });
            let schema = self.schema(branch, &format!("{name}{variant}"));
            variants.push(Variant {
                name: variant,
                schema,
                boxed: false,
            });
        }
        TypeKind::Union(variants)
    }

    /// A branch is called after its component, its title, the literal that tells it apart, or its JSON type.
    fn variant_name(&mut self, branch: &Rc<Node>) -> String {
        if let Some(reference) = branch.get("$ref").and_then(|node| node.as_str()) {
            return names::variant_name(reference.rsplit('/').next().unwrap_or_default());
        }
        if let Some(title) = branch.get("title").and_then(|node| node.as_str()) {
            return names::variant_name(title);
        }
        let required: Vec<String> = match branch.get("required").map(|node| &node.value) {
            Some(Value::Seq(items)) => items
                .iter()
                .filter_map(|item| item.as_str())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let literal = branch
            .get("properties")
            .map_or(&[][..], |node| node.entries())
            .iter()
            .find_map(|entry| {
                let only = entry.node.get("const").cloned().or_else(|| {
                    match entry.node.get("enum").map(|node| &node.value) {
                        Some(Value::Seq(items)) if items.len() == 1 => items.first().cloned(),
                        _ => None,
                    }
                });
                only.filter(|_| required.contains(&entry.key))
                    .and_then(|node| node.as_str().map(names::variant_name))
            });
        literal.unwrap_or_else(|| match branch.get("type").and_then(|node| node.as_str()) {
            Some("string") => "Text".to_owned(),
            Some("boolean") => "Flag".to_owned(),
            Some("array") => "List".to_owned(),
            Some(other) => names::variant_name(other),
            None => "Other".to_owned(),
        })
    }

    fn all_of(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        match self.list(node, "allOf").as_slice() {
            [only] if shaping(node).all(|key| key == "allOf") => {
                self.schema_census(node, &["allOf"]);
                self.kind(only, name)
            }
            _ => self.intersection(node, name),
        }
    }

    /// The values that all parts of a schema allow: `allOf`, a reference with siblings, alternatives with properties.
    fn intersection(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        self.says_less = true;
        let mut parts = self.list(node, "allOf");
        let rest = node.without(&["allOf", "nullable"]);
        let is_split = rest.entries().len() < node.entries().len();
        if shaping(&rest).next().is_some() {
            parts.push(Rc::clone(&rest));
        }
        parts.retain(|part| self.is_shaping(part));
        // What is left of the node is another schema only if something was taken from it.
        if let [only] = parts.as_slice()
            && (is_split || !Rc::ptr_eq(only, &rest))
        {
            return self.kind(only, name);
        }
        let mut merged = Merged::default();
        if parts.iter().all(|part| self.merge(part, &mut merged, 0)) && merged.is_object {
            return self.merged_object(&merged, node, name);
        }
        self.untyped(Code::AllOf, node.at, "its parts have no common Rust type")
    }

    /// Whether a part of an intersection decides anything about the Rust type.
    fn is_shaping(&self, part: &Node) -> bool {
        if shaping(part).any(|key| !["anyOf", "oneOf"].contains(&key)) {
            return true;
        }
        let is_typed = part
            .get("type")
            .is_some_and(|of| of.as_str() != Some("object"));
        let alternatives = ["anyOf", "oneOf"]
            .into_iter()
            .filter_map(|key| part.get(key));
        let mut branches = alternatives.flat_map(|of| match &of.value {
            Value::Seq(branches) => branches.as_slice(),
            _ => &[],
        });
        // Alternatives such as `required: [a]` do not change the type.
        is_typed || branches.any(|branch| self.is_shaping(branch))
    }

    /// Adds the properties of a part to those of the others; whether it has nothing but properties.
    fn merge(&mut self, part: &Rc<Node>, merged: &mut Merged, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        if let Some(reference) = part.get("$ref").cloned() {
            let Some(key) = self.component_of(&reference, "schemas") else {
                return true;
            };
            let components = self.root.get("components");
            let schemas = components.and_then(|components| components.get("schemas"));
            let target = schemas.and_then(|schemas| schemas.get(&key)).cloned();
            // A reference that leads nowhere is refused where the schema is looked at as a whole.
            let Some(target) = target.filter(|_| !merged.references.contains(&key)) else {
                return true;
            };
            merged.references.push(key);
            let rest = part.without(&["$ref"]);
            return self.merge(&target, merged, depth + 1)
                && (self.version == Version::V30 || self.merge(&rest, merged, depth + 1));
        }
        if !matches!(part.value, Value::Map(_)) {
            return false;
        }
        let types = self.types_of(part);
        if !types.is_empty() && types != ["object"]
            || is_literal(part)
            || part.get("items").is_some()
        {
            return false;
        }
        if self.flag(part, "nullable") {
            merged.nullable += 1;
        }
        merged.parts += 1;
        for key in ["anyOf", "oneOf"] {
            let branches = self.list(part, key);
            if branches.iter().any(|branch| self.is_shaping(branch)) {
                return false;
            }
        }
        for inner in self.list(part, "allOf") {
            if !self.merge(&inner, merged, depth + 1) {
                return false;
            }
        }
        if part.get("properties").is_some()
            || part.get("additionalProperties").is_some()
            || !types.is_empty()
        {
            merged.is_object = true;
        }
        for key in self.required_of(part) {
            if !merged.required.contains(&key) {
                merged.required.push(key);
            }
        }
        if let Some(properties) = part.get("properties").cloned()
            && self.is_object(&properties, "`properties`")
        {
            for entry in properties.entries() {
                merged.add(entry);
            }
        }
        match part.get("additionalProperties") {
            Some(values) if matches!(values.value, Value::Map(_)) => {
                merged.additional.push(Rc::clone(values));
            }
            _ => {}
        }
        true
    }

    fn merged_object(&mut self, merged: &Merged, node: &Rc<Node>, name: &str) -> TypeKind {
        let properties = merged.properties.iter();
        let properties = properties
            .map(|(entry, is_clear)| (entry, *is_clear))
            .collect();
        let mut fields = self.fields(properties, &merged.required, node.at, name);
        let additional = match merged.additional.as_slice() {
            [values] => Additional::Kept(self.schema(values, &format!("{name}Value"))),
            _ => Additional::Ignored,
        };
        if matches!(additional, Additional::Kept(_)) {
            self.make_room_for_additional_properties(node, &mut fields);
        }
        let kind = TypeKind::Struct(Struct {
            fields,
            additional,
            min_properties: None,
            max_properties: None,
        });
        if merged.nullable > 0 && merged.nullable == merged.parts {
            self.nullable(node, kind, name)
        } else {
            kind
        }
    }

    fn literals(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        let listed = self.listed(node);
        self.enumeration(node, listed, name)
    }

    /// The values of an `enum`, or the one of a `const`.
    fn listed(&mut self, node: &Node) -> Vec<Rc<Node>> {
        self.schema_census(
            node,
            &["type", "enum", "const", "format", "x-enum-varnames"],
        );
        match node.get("const") {
            Some(only) => vec![Rc::clone(only)],
            None => self.list(node, "enum"),
        }
    }

    /// What allows just these values.
    fn enumeration(&mut self, node: &Rc<Node>, listed: Vec<Rc<Node>>, name: &str) -> TypeKind {
        if listed.is_empty() {
            self.refuse(Code::Malformed, node.at, "an enum without values");
        }
        let (nulls, listed): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|item| matches!(item.value, Value::Null));
        let whole = |item: &Rc<Node>| match &item.value {
            Value::Number(number) => super::whole(number).filter(|of| IntegerFormat::I64.holds(of)),
            _ => None,
        };
        let kind = if listed.is_empty() {
            return TypeKind::Alias(Schema::Null);
        } else if listed.iter().all(|item| item.as_str().is_some()) {
            TypeKind::Enum(self.enum_values(&listed))
        } else {
            self.says_less = true;
            if listed.iter().all(|item| whole(item).is_some()) {
                TypeKind::Alias(Schema::Integer {
                    format: IntegerFormat::I64,
                    limits: Limits::default(),
                })
            } else if listed
                .iter()
                .all(|item| matches!(item.value, Value::Number(_)))
            {
                TypeKind::Alias(Schema::Number {
                    limits: Limits::default(),
                })
            } else if listed
                .iter()
                .all(|item| matches!(item.value, Value::Bool(_)))
            {
                TypeKind::Alias(Schema::Boolean)
            } else {
                let why = "its literals are of several types, or no plain values";
                return self.untyped(Code::EnumValue, node.at, why);
            }
        };
        if nulls.is_empty() {
            kind
        } else {
            self.nullable(node, kind, name)
        }
    }

    fn enum_values(&mut self, listed: &[Rc<Node>]) -> Vec<EnumValue> {
        let mut values: Vec<EnumValue> = Vec::new();
        for item in listed {
            let wire = item.as_str().unwrap_or_default().to_owned();
            if values.iter().any(|value| value.wire == wire) {
                let message = format!("the enum value `{wire}` is listed twice");
                self.refuse(Code::Malformed, item.at, message);
                continue;
            }
            let stem = names::variant_name(&wire);
            let name = numbered(&stem, |name| values.iter().any(|value| value.name == name));
            if name != stem {
                let message = format!(
                    "the enum value `{wire}` is `{name}` in Rust, for another one is `{stem}`"
                );
                self.adapt(Code::NameClash, item.at, message);
            }
            values.push(EnumValue { wire, name });
        }
        values
    }

    fn typed(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        let types = match node.get("type") {
            None => Vec::new(),
            Some(found) if matches!(found.value, Value::String(_) | Value::Seq(_)) => {
                self.types_of(node)
            }
            Some(found) => {
                self.refuse(Code::Malformed, found.at, "a `type` that is not a string");
                return TypeKind::Alias(Schema::Any);
            }
        };
        let nullable = types.iter().any(|name| name == "null");
        let others: Vec<&str> = types
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "null")
            .collect();
        let kind = match others.as_slice() {
            [] if nullable => {
                self.schema_census(node, &["type"]);
                return TypeKind::Alias(Schema::Null);
            }
            [] => return self.implied(node, name),
            ["string"] => TypeKind::Alias(self.string(node)),
            ["integer"] => TypeKind::Alias(self.integer(node)),
            ["number"] => TypeKind::Alias(self.float(node)),
            ["boolean"] => {
                self.schema_census(node, &["type"]);
                TypeKind::Alias(Schema::Boolean)
            }
            ["array"] => TypeKind::Alias(self.array(node, name)),
            ["object"] => self.object(node, name),
            _ => {
                self.schema_census(node, &["type"]);
                let at = node.get("type").map_or(node.at, |found| found.at);
                return self.untyped(Code::SeveralTypes, at, "it has several types");
            }
        };
        if nullable {
            self.nullable(node, kind, name)
        } else {
            kind
        }
    }

    /// A schema without `type` whose keywords are about objects or lists means those.
    fn implied(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        let has = |keys: &[&str]| keys.iter().any(|key| node.get(key).is_some());
        let meant = if has(&["properties", "additionalProperties"]) {
            Some("object")
        } else if has(&["items"]) {
            Some("array")
        } else {
            None
        };
        if let Some(meant) = meant {
            let message = format!("a schema without `type` whose keywords mean `{meant}`");
            self.adapt(Code::Untyped, node.at, message);
        }
        match meant {
            Some("object") => self.object(node, name),
            Some(_) => TypeKind::Alias(self.array(node, name)),
            None => {
                let restricts = |entry: &Entry| is_validating(&entry.key);
                if node.entries().iter().any(restricts) {
                    return self.untyped(Code::Untyped, node.at, "it has no `type`");
                }
                self.schema_census(node, &[]);
                TypeKind::Alias(Schema::Any)
            }
        }
    }

    fn string(&mut self, node: &Node) -> Schema {
        self.schema_census(
            node,
            &["type", "format", "minLength", "maxLength", "pattern"],
        );
        Schema::String {
            format: self.text(node, "format"),
            min_length: self.count(node, "minLength"),
            max_length: self.count(node, "maxLength"),
            pattern: self.pattern(node),
        }
    }

    pub(super) fn pattern(&mut self, node: &Node) -> Option<String> {
        let pattern = self.text(node, "pattern")?;
        let check = serde_json::json!({ "type": "string", "pattern": pattern });
        if jsonschema::options().build(&check).is_err() {
            let at = node.get("pattern").map_or(node.at, |node| node.at);
            let message = "a `pattern` that is not an ECMAScript regular expression";
            self.refuse(Code::Pattern, at, message);
            return None;
        }
        Some(pattern)
    }

    fn integer(&mut self, node: &Node) -> Schema {
        self.schema_census(node, &[&["type", "format"], LIMITS].concat());
        let format = match self.text(node, "format").as_deref() {
            Some("int32" | "int16" | "int8") => IntegerFormat::I32,
            Some("uint32" | "uint16" | "uint8") => IntegerFormat::U32,
            Some("uint64" | "uint") => IntegerFormat::U64,
            _ => IntegerFormat::I64,
        };
        Schema::Integer {
            format,
            limits: self.limits(node),
        }
    }

    fn float(&mut self, node: &Node) -> Schema {
        self.schema_census(node, &[&["type", "format"], LIMITS].concat());
        self.text(node, "format");
        Schema::Number {
            limits: self.limits(node),
        }
    }

    pub(super) fn limits(&mut self, node: &Node) -> Limits {
        let mut limits = Limits {
            minimum: self.number(node, "minimum"),
            maximum: self.number(node, "maximum"),
            multiple_of: self.number(node, "multipleOf"),
            ..Limits::default()
        };
        match self.version {
            Version::V31 => {
                limits.exclusive_minimum = self.number(node, "exclusiveMinimum");
                limits.exclusive_maximum = self.number(node, "exclusiveMaximum");
            }
            // In 3.0 these are flags in addition to `minimum` and `maximum`.
            Version::V30 => {
                if self.flag(node, "exclusiveMinimum") {
                    limits.exclusive_minimum = limits.minimum.take();
                }
                if self.flag(node, "exclusiveMaximum") {
                    limits.exclusive_maximum = limits.maximum.take();
                }
            }
        }
        if limits
            .multiple_of
            .as_ref()
            .and_then(serde_json::Number::as_f64)
            .is_some_and(|value| value <= 0.0)
        {
            self.refuse(
                Code::Malformed,
                node.at,
                "a `multipleOf` that is not positive",
            );
        }
        limits
    }

    fn array(&mut self, node: &Rc<Node>, name: &str) -> Schema {
        self.schema_census(
            node,
            &[
                "type",
                "items",
                "minItems",
                "maxItems",
                "uniqueItems",
                "x-secret",
            ],
        );
        let items = match node.get("items").cloned() {
            // The items behind those of `prefixItems`, of which each has its own schema.
            Some(_) if node.get("prefixItems").is_some() => Schema::Any,
            Some(items) if matches!(items.value, Value::Seq(_)) => {
                self.says_less = true;
                Schema::Any
            }
            Some(items) => self.schema(&items, &format!("{name}Item")),
            None => Schema::Any,
        };
        Schema::Array {
            items: Box::new(items),
            min_items: self.count(node, "minItems"),
            max_items: self.count(node, "maxItems"),
            unique: self.flag(node, "uniqueItems"),
        }
    }

    fn object(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        self.schema_census(
            node,
            &[
                "type",
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
                "maxProperties",
            ],
        );
        let required = self.required_of(node);
        let properties = node.get("properties").cloned();
        if let Some(properties) = &properties {
            self.is_object(properties, "`properties`");
        }
        let entries = properties.as_ref().map_or(&[][..], |node| node.entries());
        let entries = entries.iter().map(|entry| (entry, true)).collect();
        let at = node.get("required").map_or(node.at, |node| node.at);
        let mut fields = self.fields(entries, &required, at, name);
        let additional = match node
            .get("additionalProperties")
            .map(|node| (&node.value, node))
        {
            None | Some((Value::Bool(true), _)) => Additional::Ignored,
            Some((Value::Bool(false), _)) => Additional::Refused,
            Some((_, values)) => {
                Additional::Kept(self.schema(&Rc::clone(values), &format!("{name}Value")))
            }
        };
        if matches!(additional, Additional::Kept(_)) {
            self.make_room_for_additional_properties(node, &mut fields);
        }
        let min_properties = self.count(node, "minProperties");
        let max_properties = self.count(node, "maxProperties");
        match additional {
            Additional::Ignored if properties.is_none() => TypeKind::Alias(Schema::Map {
                values: Box::new(Schema::Any),
                min_properties,
                max_properties,
            }),
            Additional::Kept(values) if fields.is_empty() => TypeKind::Alias(Schema::Map {
                values: Box::new(values),
                min_properties,
                max_properties,
            }),
            additional => TypeKind::Struct(Struct {
                fields,
                additional,
                min_properties,
                max_properties,
            }),
        }
    }

    /// The fields of properties, of which some can be any value, and of those that only `required` names.
    fn fields(
        &mut self,
        entries: Vec<(&Entry, bool)>,
        required: &[String],
        at: Location,
        name: &str,
    ) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (Entry { key, key_at, node }, is_clear) in entries {
            let inline = format!("{name}{}", names::type_part(key));
            let is_required = required.contains(key);
            let mut field = if is_clear {
                self.field(key, node, is_required, &inline)
            } else {
                any_field(key, is_required)
            };
            let stem = field.name.clone();
            let is_taken = |name: &str| fields.iter().any(|other| other.name == name);
            if is_taken(&stem) {
                let names = (2..).map(|number| format!("{}_{number}", stem.trim_end_matches('_')));
                field.name = names
                    .into_iter()
                    .find(|name| !is_taken(name))
                    .unwrap_or_default();
                let message = format!(
                    "the property `{key}` is `{}` in Rust, for another one is `{stem}`",
                    field.name
                );
                self.adapt(Code::NameClash, *key_at, message);
            }
            fields.push(field);
        }
        let is_unknown = |key: &&String| !fields.iter().any(|field| field.wire == **key);
        let unknown: Vec<&String> = required.iter().filter(is_unknown).collect();
        for key in unknown {
            let message = format!("`required` names `{key}`, which is not among the properties");
            self.adapt(Code::RequiredUnknown, at, message);
            let mut field = any_field(key, true);
            let is_taken = |name: &str| fields.iter().any(|other| other.name == name);
            field.name = numbered(&field.name, is_taken);
            fields.push(field);
        }
        fields
    }

    /// The field that keeps keys without a field is called `additional_properties`.
    fn make_room_for_additional_properties(&mut self, node: &Node, fields: &mut [Field]) {
        let longer = format!("{ADDITIONAL}_property");
        let is_taken = fields.iter().any(|field| field.name == longer);
        let Some(field) = fields.iter_mut().find(|field| field.name == ADDITIONAL) else {
            return;
        };
        field.name = longer;
        if is_taken {
            let message =
                format!("two properties that would both be `{ADDITIONAL}_property` in Rust");
            self.refuse(Code::NameClash, node.at, message);
        }
    }

    /// A property or a parameter.
    pub(super) fn field(
        &mut self,
        wire: &str,
        node: &Rc<Node>,
        required: bool,
        inline: &str,
    ) -> Field {
        let schema = self.schema(node, inline);
        let default = node.get("default").filter(|_| !required).cloned();
        let default = default.and_then(|default| self.default(&default, &schema));
        Field {
            wire: wire.to_owned(),
            name: names::value_name(wire),
            description: self.prose(node, "description"),
            schema,
            required,
            default,
            secret: self.flag(node, "x-secret"),
            boxed: false,
        }
    }

    /// A default that can be filled in. `default: null` on something that may be null stays absent.
    fn default(&mut self, default: &Node, schema: &Schema) -> Option<serde_json::Value> {
        let mut value = default.to_json();
        if let (serde_json::Value::Number(number), Schema::Integer { format, .. }) =
            (&value, schema)
        {
            match super::whole(number).filter(|number| format.holds(number)) {
                Some(whole) => value = whole.into(),
                None => return self.left_out(default),
            }
        }
        let fits = match (&default.value, schema) {
            (Value::Null, Schema::Nullable(_) | Schema::Null | Schema::Any) => return None,
            (Value::String(_), Schema::String { format: None, .. })
            | (Value::Bool(_), Schema::Boolean)
            | (Value::Number(_), Schema::Number { .. } | Schema::Integer { .. }) => true,
            // The enum may be a component that stands further down.
            (Value::String(_), Schema::Ref(_)) => return Some(value),
            _ => false,
        };
        if !fits {
            return self.left_out(default);
        }
        // The limits of the schema bind its default, too.
        let schema = crate::emit::schema::json(schema, crate::emit::schema::Dialect::Draft202012);
        if jsonschema::options()
            .build(&schema)
            .is_ok_and(|validator| validator.is_valid(&value))
        {
            return Some(value);
        }
        self.left_out(default)
    }

    fn left_out(&mut self, default: &Node) -> Option<serde_json::Value> {
        let message =
            "a `default` that its own schema refuses, or that has no Rust value, is left out";
        self.adapt(Code::Default, default.at, message);
        None
    }

    pub(super) fn nullable(&mut self, node: &Rc<Node>, kind: TypeKind, name: &str) -> TypeKind {
        let schema = match kind {
            TypeKind::Alias(schema @ (Schema::Nullable(_) | Schema::Null | Schema::Any)) => schema,
            TypeKind::Alias(schema) => Schema::Nullable(Box::new(schema)),
            kind => {
                // A nullable component keeps its name; its content gets another one.
                let name = if self.components.contains(name) {
                    format!("{name}Value")
                } else {
                    name.to_owned()
                };
                let position = name.clone();
                let inline = Inline {
                    node,
                    name,
                    position,
                };
                Schema::Nullable(Box::new(self.hoist(inline, kind, None)))
            }
        };
        TypeKind::Alias(schema)
    }

    /// The census of a schema: of the keywords that are neither `carried` nor annotations some say more than the Rust type, and
    /// the others mean nothing (JSON Schema 2020-12 §4.3.1).
    fn schema_census(&mut self, node: &Node, carried: &[&str]) {
        for Entry { key, key_at, .. } in node.entries() {
            let is_known = carried.contains(&key.as_str()) || ANNOTATIONS.contains(&key.as_str());
            if is_known || key.starts_with("x-") {
                continue;
            }
            if is_validating(key) || key.starts_with('$') {
                self.says_less = true;
            } else {
                self.adapt(
                    Code::Keyword,
                    *key_at,
                    format!("`{key}` of a schema means nothing"),
                );
            }
        }
    }
}

/// What the parts of an intersection have together.
#[derive(Default)]
struct Merged {
    /// With whether its parts agree on the schema.
    properties: Vec<(Entry, bool)>,
    required: Vec<String>,
    additional: Vec<Rc<Node>>,
    /// References that were followed.
    references: Vec<String>,
    is_object: bool,
    parts: usize,
    nullable: usize,
}

impl Merged {
    fn add(&mut self, entry: &Entry) {
        let known = self
            .properties
            .iter_mut()
            .find(|(of, _)| of.key == entry.key);
        let Some((first, is_clear)) = known else {
            self.properties.push((entry.clone(), true));
            return;
        };
        let says = |node: &Node| shaping(node).next().is_some() || node.get("type").is_some();
        if !says(&first.node) {
            *first = entry.clone();
        } else if says(&entry.node) && first.node.to_json() != entry.node.to_json() {
            *is_clear = false;
        }
    }
}

/// A field that can be any value.
pub(super) fn any_field(wire: &str, required: bool) -> Field {
    Field {
        wire: wire.to_owned(),
        name: names::value_name(wire),
        description: None,
        schema: Schema::Any,
        required,
        default: None,
        secret: false,
        boxed: false,
    }
}

/// The keywords of a schema that decide what its Rust type is.
fn shaping(node: &Node) -> impl Iterator<Item = &str> {
    let keys = node.entries().iter().map(|entry| entry.key.as_str());
    keys.filter(|key| SHAPING.contains(key))
}

/// The field of a struct for the keys without a field.
const ADDITIONAL: &str = "additional_properties";

const LIMITS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

fn is_literal(branch: &Node) -> bool {
    branch.get("enum").is_some() || branch.get("const").is_some()
}

fn is_null(branch: &Node) -> bool {
    branch.get("type").and_then(|node| node.as_str()) == Some("null")
}
