//! Schemas: what each keyword becomes.

use std::rc::Rc;

use super::{Analyzer, EnumDefault, Version};
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
    "contentMediaType",
    "contentEncoding",
];

/// Deeper inline schemas are refused: rustc and every walk over them are recursive.
const MAX_DEPTH: usize = 32;

/// The keywords of a schema besides its shape.
struct Inline<'a> {
    node: &'a Node,
    /// The name it gets if it needs one.
    name: String,
}

impl Analyzer {
    /// Defines the type of a component.
    pub(super) fn component(&mut self, key: &str, at: Location, node: &Rc<Node>) {
        let name = names::type_name(key);
        let description = self.prose(node, "description");
        let kind = self.kind(node, &name);
        self.define(TypeDef {
            name,
            description,
            kind,
            at,
        });
    }

    fn define(&mut self, def: TypeDef) {
        self.owners.insert(def.name.clone(), self.owner.clone());
        self.types.insert(def.name.clone(), def);
    }

    /// The schema at `node`; `name` is what a type that has to be made for it is called.
    pub(super) fn schema(&mut self, node: &Rc<Node>, name: &str) -> Schema {
        let titled = node
            .get("title")
            .and_then(|title| title.as_str())
            .map(names::type_name);
        let name = titled.clone().unwrap_or_else(|| name.to_owned());
        match self.kind(node, &name) {
            TypeKind::Alias(schema) => schema,
            kind => self.hoist(Inline { node, name }, kind, titled.is_some()),
        }
    }

    /// Gives an inline schema a named type, or the type that an inline schema of the same shape already has.
    fn hoist(&mut self, inline: Inline<'_>, kind: TypeKind, titled: bool) -> Schema {
        let Inline { node, name } = inline;
        let description = self.prose(node, "description");
        let same = self
            .inline
            .iter()
            .find(|name| self.types.get(*name).is_some_and(|def| def.kind == kind))
            .cloned();
        if let Some(first) = same.clone() {
            let alias = TypeKind::Alias(Schema::Ref(first.clone()));
            if first == name || self.types.get(&name).is_some_and(|def| def.kind == alias) {
                return Schema::Ref(first);
            }
        }
        let taken = self
            .components
            .get(&name)
            .copied()
            .or_else(|| self.types.get(&name).map(|def| def.at));
        if let Some(first) = taken {
            let why = if titled {
                "by its `title`"
            } else {
                "by its position"
            };
            self.refuse(
                Code::NameClash,
                node.at,
                format!(
                    "this schema would be `{name}` {why}, as is the one on line {}",
                    first.line
                ),
            )
            .hint("give it another `title`, or put it under `components/schemas`");
            return Schema::Any;
        }
        // The name of the position exists even where the shape was met before: it does not depend on what stands
        // elsewhere in the document.
        let kind = match &same {
            Some(first) => TypeKind::Alias(Schema::Ref(first.clone())),
            None => kind,
        };
        self.define(TypeDef {
            name: name.clone(),
            description,
            kind,
            at: node.at,
        });
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
                self.refuse(
                    Code::FalseSchema,
                    node.at,
                    "the schema `false`, which no value satisfies",
                );
                return TypeKind::Alias(Schema::Any);
            }
            _ if !self.is_object(node, "a schema") => return TypeKind::Alias(Schema::Any),
            _ => {}
        }
        let kind = if let Some(reference) = node.get("$ref").cloned() {
            TypeKind::Alias(self.reference(node, &reference))
        } else if let Some(entry) = node.entry("anyOf").or_else(|| node.entry("oneOf")) {
            self.any_of(node, entry, name)
        } else if let Some(entry) = node.entry("allOf") {
            self.all_of(node, entry, name)
        } else if is_literal(node) {
            self.literals(node, name)
        } else {
            self.typed(node, name)
        };
        if self.version == Version::V30 && self.flag(node, "nullable") {
            self.nullable(node, kind, name)
        } else {
            kind
        }
    }

    fn reference(&mut self, node: &Node, reference: &Node) -> Schema {
        if self.version == Version::V31 {
            self.schema_census(node, &["$ref"]);
        }
        let Some(key) = self.component_of(reference, "schemas") else {
            return Schema::Any;
        };
        let name = names::type_name(&key);
        let known = self
            .root
            .get("components")
            .and_then(|node| node.get("schemas"))
            .is_some_and(|schemas| schemas.get(&key).is_some());
        if !known {
            self.refuse(
                Code::Reference,
                reference.at,
                format!("`$ref` to `{key}`, which `components/schemas` does not have"),
            );
            return Schema::Any;
        }
        Schema::Ref(name)
    }

    fn any_of(&mut self, node: &Rc<Node>, entry: &Entry, name: &str) -> TypeKind {
        self.schema_census(node, &[entry.key.as_str(), "discriminator"]);
        let branches = self.list(node, &entry.key);
        if branches.is_empty() {
            self.refuse(
                Code::Malformed,
                entry.node.at,
                format!("an empty `{}`", entry.key),
            );
        }
        let (nulls, branches): (Vec<_>, Vec<_>) =
            branches.into_iter().partition(|branch| is_null(branch));
        let kind = match branches.as_slice() {
            [] => TypeKind::Alias(Schema::Null),
            [only] => self.kind(only, name),
            several if several.iter().all(|branch| is_literal(branch)) => {
                self.merged_enum(node, several, name)
            }
            several => self.union(node, several, name),
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

    fn union(&mut self, node: &Rc<Node>, branches: &[Rc<Node>], name: &str) -> TypeKind {
        let mut variants: Vec<Variant> = Vec::new();
        for branch in branches {
            let variant = self.variant_name(branch);
            if variants.iter().any(|other| other.name == variant) {
                self.refuse(
                    Code::VariantClash,
                    branch.at,
                    format!("two branches that would both be the variant `{variant}`"),
                )
                .hint("give the branches a `title`, or make them components");
                continue;
            }
            let schema = self.schema(branch, &format!("{name}{variant}"));
            variants.push(Variant {
                name: variant,
                schema,
                boxed: false,
            });
        }
        if let Some(discriminator) = node.get("discriminator").cloned() {
            self.census(&discriminator, "a discriminator", &["propertyName"], &[]);
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

    fn all_of(&mut self, node: &Rc<Node>, entry: &Entry, name: &str) -> TypeKind {
        self.schema_census(node, &["allOf"]);
        match self.list(node, "allOf").as_slice() {
            [only] => self.kind(only, name),
            _ => {
                self.refuse(
                    Code::AllOf,
                    entry.key_at,
                    "`allOf` of several schemas is not carried",
                )
                .hint("write the merged schema out");
                TypeKind::Alias(Schema::Any)
            }
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
        if listed.is_empty() {
            return TypeKind::Alias(Schema::Null);
        }
        let kind = TypeKind::Enum(self.enum_values(&listed));
        if nulls.is_empty() {
            kind
        } else {
            self.nullable(node, kind, name)
        }
    }

    fn enum_values(&mut self, listed: &[Rc<Node>]) -> Vec<EnumValue> {
        let mut values: Vec<EnumValue> = Vec::new();
        for item in listed {
            let Some(wire) = item.as_str().map(str::to_owned) else {
                self.refuse(
                    Code::EnumValue,
                    item.at,
                    format!("an enum value that is {}", item.kind()),
                )
                .hint("only strings are carried; use `minimum` and `maximum` for numbers");
                continue;
            };
            let name = names::variant_name(&wire);
            let first = values.iter().find(|value| value.name == name);
            match first.map(|value| value.wire.clone()) {
                Some(first) if first == wire => {
                    self.refuse(
                        Code::Malformed,
                        item.at,
                        format!("the enum value `{wire}` is listed twice"),
                    );
                }
                Some(first) => {
                    self.refuse(
                        Code::NameClash,
                        item.at,
                        format!("the enum values `{first}` and `{wire}` are both `{name}` in Rust"),
                    );
                }
                None => values.push(EnumValue { wire, name }),
            }
        }
        values
    }

    fn typed(&mut self, node: &Rc<Node>, name: &str) -> TypeKind {
        let (types, at) = match node.get("type").map(|found| (&found.value, found.at)) {
            None => (Vec::new(), node.at),
            Some((Value::String(only), at)) => (vec![only.clone()], at),
            Some((Value::Seq(_), at)) if self.version == Version::V31 => {
                (self.texts(node, "type"), at)
            }
            Some((_, at)) => {
                self.refuse(Code::Malformed, at, "a `type` that is not a string");
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
            [] => return TypeKind::Alias(self.untyped(node)),
            ["string"] => TypeKind::Alias(self.string(node)),
            ["integer"] => TypeKind::Alias(self.integer(node)),
            ["number"] => TypeKind::Alias(self.float(node)),
            ["boolean"] => {
                self.schema_census(node, &["type"]);
                TypeKind::Alias(Schema::Boolean)
            }
            ["array"] => TypeKind::Alias(self.array(node, name)),
            ["object"] => self.object(node, name),
            [only] => {
                self.refuse(
                    Code::Malformed,
                    at,
                    format!("`{only}` is not a type of JSON Schema"),
                );
                TypeKind::Alias(Schema::Any)
            }
            _ => {
                self.refuse(Code::SeveralTypes, at, "a schema of several types")
                    .hint("write an `anyOf` with one branch for each type");
                TypeKind::Alias(Schema::Any)
            }
        };
        if nullable {
            self.nullable(node, kind, name)
        } else {
            kind
        }
    }

    fn untyped(&mut self, node: &Node) -> Schema {
        let saying = node.entries().iter().find(|entry| {
            !ANNOTATIONS.contains(&entry.key.as_str())
                && !entry.key.starts_with("x-")
                && entry.key != "nullable"
        });
        if let Some(Entry { key, key_at, .. }) = saying {
            self.refuse(
                Code::Untyped,
                *key_at,
                format!("`{key}` in a schema without `type`"),
            )
            .hint("add the `type`");
        }
        Schema::Any
    }

    fn string(&mut self, node: &Node) -> Schema {
        self.schema_census(
            node,
            &["type", "format", "minLength", "maxLength", "pattern"],
        );
        let pattern = self.text(node, "pattern");
        if let Some(pattern) = &pattern {
            let check = serde_json::json!({ "type": "string", "pattern": pattern });
            if jsonschema::options().build(&check).is_err() {
                let at = node.get("pattern").map_or(node.at, |node| node.at);
                self.refuse(
                    Code::Pattern,
                    at,
                    "a `pattern` that is not an ECMAScript regular expression",
                );
            }
        }
        Schema::String {
            format: self.text(node, "format"),
            min_length: self.count(node, "minLength"),
            max_length: self.count(node, "maxLength"),
            pattern,
        }
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

    fn limits(&mut self, node: &Node) -> Limits {
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
        let required = self.texts(node, "required");
        let mut fields: Vec<Field> = Vec::new();
        let properties = node.get("properties").cloned();
        if let Some(properties) = &properties {
            self.is_object(properties, "`properties`");
        }
        for entry in properties.as_ref().map_or(&[][..], |node| node.entries()) {
            let inline = format!("{name}{}", names::type_part(&entry.key));
            let field = self.field(
                &entry.key,
                &entry.node,
                required.contains(&entry.key),
                &inline,
            );
            match fields
                .iter()
                .find(|other| other.name == field.name)
                .map(|other| other.wire.clone())
            {
                Some(first) => {
                    self.refuse(
                        Code::NameClash,
                        entry.key_at,
                        format!(
                            "the properties `{first}` and `{}` are both `{}` in Rust",
                            entry.key, field.name
                        ),
                    );
                }
                None => fields.push(field),
            }
        }
        for missing in required
            .iter()
            .filter(|key| !fields.iter().any(|field| field.wire == **key))
        {
            let at = node.get("required").map_or(node.at, |node| node.at);
            self.refuse(
                Code::RequiredUnknown,
                at,
                format!("`required` names `{missing}`, which is not among the properties"),
            );
        }
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
                None => {
                    self.refuse(
                        Code::Default,
                        default.at,
                        "a `default` that its own schema refuses",
                    );
                    return None;
                }
            }
        }
        let fits = match (&default.value, schema) {
            (Value::Null, Schema::Nullable(_) | Schema::Null | Schema::Any) => return None,
            (Value::String(_), Schema::String { format: None, .. })
            | (Value::Bool(_), Schema::Boolean)
            | (Value::Number(_), Schema::Number { .. } | Schema::Integer { .. }) => true,
            (Value::String(text), Schema::Ref(name)) => {
                // The enum may be a component that stands further down.
                self.enum_defaults.push(EnumDefault {
                    at: default.at,
                    owner: self.owner.clone(),
                    enumeration: name.clone(),
                    value: text.clone(),
                });
                return Some(value);
            }
            _ => false,
        };
        if !fits {
            let is_text = matches!(schema, Schema::String { .. } | Schema::Ref(_));
            self.refuse(Code::Default, default.at, "this `default` is not carried")
                .hint(
                    super::quotes(default).filter(|_| is_text).unwrap_or(
                        "defaults can be strings, numbers, booleans and values of an enum",
                    ),
                );
            return None;
        }
        // The limits of the schema bind its default, too.
        let schema = crate::emit::schema::json(schema, crate::emit::schema::Dialect::Draft202012);
        if jsonschema::options()
            .build(&schema)
            .is_ok_and(|validator| validator.is_valid(&value))
        {
            return Some(value);
        }
        self.refuse(
            Code::Default,
            default.at,
            "a `default` that its own schema refuses",
        );
        None
    }

    pub(super) fn nullable(&mut self, node: &Node, kind: TypeKind, name: &str) -> TypeKind {
        let schema = match kind {
            TypeKind::Alias(schema @ (Schema::Nullable(_) | Schema::Null | Schema::Any)) => schema,
            TypeKind::Alias(schema) => Schema::Nullable(Box::new(schema)),
            kind => {
                // A nullable component keeps its name; its content gets another one.
                let name = if self.components.contains_key(name) {
                    format!("{name}Value")
                } else {
                    name.to_owned()
                };
                Schema::Nullable(Box::new(self.hoist(Inline { node, name }, kind, false)))
            }
        };
        TypeKind::Alias(schema)
    }

    /// The census of a schema: `carried`, annotations, and for 3.0 `nullable`.
    fn schema_census(&mut self, node: &Node, carried: &[&str]) {
        let mut annotations = ANNOTATIONS.to_vec();
        if self.version == Version::V30 {
            annotations.push("nullable");
        }
        self.census(node, "a schema", carried, &annotations);
    }
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
