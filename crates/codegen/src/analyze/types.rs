//! Checks that need all types: whether the branches of a union can be distinguished, and which types contain themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Analyzer;
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Field, Operation, Schema, Struct, TypeDef, TypeKind, Variant};
use crate::report::Note;

type Types = BTreeMap<String, TypeDef>;

impl Analyzer {
    pub(super) fn finish_types(&mut self, operations: &mut [Operation]) {
        self.refuse_endless_aliases();
        self.drop_foreign_defaults(operations);
        // A union that becomes any value is a branch that nothing tells from others.
        while self.untype_ambiguous_unions() {}
        self.box_recursion();
    }

    /// `A: {$ref: B}` and `B: {$ref: A}` describe nothing, and a list of itself has no name in Rust.
    fn refuse_endless_aliases(&mut self) {
        let edges = |def: &TypeDef| match &def.kind {
            TypeKind::Alias(schema) => mentioned(schema),
            _ => Vec::new(),
        };
        let endless: Vec<_> = self
            .types
            .values()
            .filter(|def| reaches(&self.types, &edges, &edges(def), &def.name))
            .cloned()
            .collect();
        for def in endless {
            let message = format!("the schema `{}` is defined by itself alone", def.name);
            let hint = "put an object between, or describe one end of the circle";
            self.refuse_type(&def, Code::Circle, message, hint);
        }
    }

    /// Refuses a type, and with it all that reaches it.
    fn refuse_type(&mut self, def: &TypeDef, code: Code, message: String, hint: &str) {
        let owner = self.owners.get(&def.name).cloned().unwrap_or_default();
        let diagnostic = Diagnostic::new(code, def.at, message)
            .hint(hint)
            .owned(owner);
        self.diagnostics.push(diagnostic.clone());
        let faults = self.faulty.entry(def.name.clone()).or_default();
        faults.push(diagnostic);
    }

    /// A default of an enum is one of its values; of what is no enum it has no Rust value.
    fn drop_foreign_defaults(&mut self, operations: &mut [Operation]) {
        let mut types = std::mem::take(&mut self.types);
        let enums: HashMap<String, Vec<String>> = types
            .values()
            .filter_map(|def| match &def.kind {
                TypeKind::Enum(values) => {
                    let values = values.iter().map(|value| value.wire.clone());
                    Some((def.name.clone(), values.collect()))
                }
                _ => None,
            })
            .collect();
        let is_foreign = |field: &Field| match (&field.schema, &field.default) {
            (Schema::Ref(name), Some(serde_json::Value::String(text))) => {
                enums.get(name).is_none_or(|values| !values.contains(text))
            }
            _ => false,
        };
        let said = |field: &Field| format!("the default of `{}` is left out", field.wire);
        for def in types.values_mut() {
            let TypeKind::Struct(of) = &mut def.kind else {
                continue;
            };
            let owner = self.owners.get(&def.name).cloned().unwrap_or_default();
            for field in of.fields.iter_mut().filter(|field| is_foreign(field)) {
                field.default = None;
                self.within(owner.clone(), |of| {
                    of.adapt(Code::Default, def.at, said(field));
                });
            }
        }
        for operation in operations {
            for parameter in &mut operation.parameters {
                if is_foreign(&parameter.field) {
                    parameter.field.default = None;
                    self.notes.push(Note {
                        operation: Some(operation.id.clone()),
                        message: said(&parameter.field),
                    });
                }
            }
        }
        self.types = types;
    }

    /// Makes any value of the unions whose branches nothing tells apart; whether there were some.
    fn untype_ambiguous_unions(&mut self) -> bool {
        let mut ambiguous = Vec::new();
        for def in self.types.values() {
            let TypeKind::Union(variants) = &def.kind else {
                continue;
            };
            let pairs = variants.iter().enumerate().flat_map(|(index, variant)| {
                variants[index + 1..]
                    .iter()
                    .map(move |other| (variant, other))
            });
            let alike = pairs
                .into_iter()
                .find(|(one, other)| !are_distinct(&self.types, &one.schema, &other.schema));
            if let Some((one, other)) = alike {
                ambiguous.push((def.name.clone(), one.name.clone(), other.name.clone()));
            }
        }
        for (name, one, other) in &ambiguous {
            let owner = self.owners.get(name).cloned().unwrap_or_default();
            let node = self.unions.get(name).cloned();
            let valid = node.map(|node| self.within(owner.clone(), |of| of.valid(&node)));
            let Some(def) = self.types.get_mut(name) else {
                continue;
            };
            def.kind = TypeKind::Alias(Schema::Any);
            def.valid = def.valid.take().or(valid);
            let at = def.at;
            let message =
                format!("any value, for nothing tells the branches `{one}` and `{other}` apart");
            self.within(owner, |of| of.adapt(Code::AmbiguousUnion, at, message));
        }
        !ambiguous.is_empty()
    }

    /// A struct or union that contains itself other than through a list or map has a size only behind a box.
    fn box_recursion(&mut self) {
        let direct = |def: &TypeDef| match &def.kind {
            TypeKind::Alias(schema) => contained(schema).into_iter().collect(),
            TypeKind::Struct(shape) => shape
                .fields
                .iter()
                .filter_map(|field| contained(&field.schema))
                .collect(),
            TypeKind::Union(variants) => variants
                .iter()
                .filter_map(|variant| contained(&variant.schema))
                .collect(),
            TypeKind::Enum(_) => Vec::new(),
        };
        let snapshot = self.types.clone();
        let recursive = |schema: &Schema, owner: &str| {
            contained(schema)
                .is_some_and(|name| name == owner || reaches(&snapshot, &direct, &[name], owner))
        };
        for def in self.types.values_mut() {
            match &mut def.kind {
                TypeKind::Struct(shape) => {
                    for field in &mut shape.fields {
                        field.boxed = recursive(&field.schema, &def.name);
                    }
                }
                TypeKind::Union(variants) => {
                    for variant in variants {
                        variant.boxed = recursive(&variant.schema, &def.name);
                    }
                }
                TypeKind::Enum(_) | TypeKind::Alias(_) => {}
            }
        }
    }
}

/// Whether `target` is met when following `edges` from `start`.
fn reaches(
    types: &Types,
    edges: &dyn Fn(&TypeDef) -> Vec<String>,
    start: &[String],
    target: &str,
) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = start.to_vec();
    while let Some(name) = open.pop() {
        if name == target {
            return true;
        }
        if let Some(def) = types.get(&name)
            && seen.insert(name)
        {
            open.extend(edges(def));
        }
    }
    false
}

/// The type that a value of this schema holds in place, that is, not behind a list or map.
fn contained(schema: &Schema) -> Option<String> {
    match schema {
        Schema::Ref(name) => Some(name.clone()),
        Schema::Nullable(inner) => contained(inner),
        _ => None,
    }
}

pub(super) fn mentioned(schema: &Schema) -> Vec<String> {
    match schema {
        Schema::Ref(name) => vec![name.clone()],
        Schema::Nullable(inner) => mentioned(inner),
        Schema::Array { items, .. } => mentioned(items),
        Schema::Map { values, .. } => mentioned(values),
        _ => Vec::new(),
    }
}

/// What distinguishes the values of a schema at a glance.
enum Shape {
    /// Values of these JSON types.
    Json(BTreeSet<&'static str>),
    /// Objects in which each of these keys is present with one of these literals.
    Tagged(BTreeMap<String, BTreeSet<String>>),
    Unknown,
}

fn are_distinct(types: &Types, one: &Schema, other: &Schema) -> bool {
    match (shape(types, one, &[]), shape(types, other, &[])) {
        (Shape::Json(one), Shape::Json(other)) => one.is_disjoint(&other),
        (Shape::Json(kinds), Shape::Tagged(_)) | (Shape::Tagged(_), Shape::Json(kinds)) => {
            !kinds.contains("object")
        }
        (Shape::Tagged(one), Shape::Tagged(other)) => one.iter().any(|(key, literals)| {
            other
                .get(key)
                .is_some_and(|others| literals.is_disjoint(others))
        }),
        (Shape::Unknown, _) | (_, Shape::Unknown) => false,
    }
}

/// `within` are the names that led here: a type that contains itself without a box has no shape.
fn shape(types: &Types, schema: &Schema, within: &[&str]) -> Shape {
    let json = |kind| Shape::Json(BTreeSet::from([kind]));
    match schema {
        Schema::Any | Schema::Bytes => Shape::Unknown,
        Schema::Null => json("null"),
        Schema::Boolean => json("boolean"),
        Schema::Integer { .. } | Schema::Number { .. } => json("number"),
        Schema::String { .. } => json("string"),
        Schema::Array { .. } => json("array"),
        Schema::Map { .. } => json("object"),
        Schema::Nullable(inner) => match shape(types, inner, within) {
            Shape::Json(mut kinds) => {
                kinds.insert("null");
                Shape::Json(kinds)
            }
            Shape::Tagged(_) => Shape::Json(BTreeSet::from(["object", "null"])),
            Shape::Unknown => Shape::Unknown,
        },
        Schema::Ref(name) if within.contains(&name.as_str()) => Shape::Unknown,
        Schema::Ref(name) => {
            let within = [within, &[name.as_str()]].concat();
            match types.get(name).map(|def| &def.kind) {
                Some(TypeKind::Alias(inner)) => shape(types, inner, &within),
                Some(TypeKind::Enum(_)) => json("string"),
                Some(TypeKind::Struct(of)) => struct_shape(types, of),
                Some(TypeKind::Union(variants)) => union_shape(types, variants, &within),
                None => Shape::Unknown,
            }
        }
    }
}

fn struct_shape(types: &Types, of: &Struct) -> Shape {
    let required = of.fields.iter().filter(|field| field.required);
    let literals = required.filter_map(|field| {
        let Schema::Ref(name) = &field.schema else {
            return None;
        };
        match types.get(name).map(|def| &def.kind) {
            Some(TypeKind::Enum(values)) => Some((
                field.wire.clone(),
                values.iter().map(|value| value.wire.clone()).collect(),
            )),
            _ => None,
        }
    });
    let tags: BTreeMap<String, BTreeSet<String>> = literals.collect();
    if tags.is_empty() {
        Shape::Json(BTreeSet::from(["object"]))
    } else {
        Shape::Tagged(tags)
    }
}

/// A nested union is distinguished by a tag that all its branches have.
fn union_shape(types: &Types, variants: &[Variant], within: &[&str]) -> Shape {
    let mut common: Option<BTreeMap<String, BTreeSet<String>>> = None;
    for variant in variants {
        let Shape::Tagged(tags) = shape(types, &variant.schema, within) else {
            return Shape::Unknown;
        };
        common = Some(match common {
            None => tags,
            Some(so_far) => so_far
                .into_iter()
                .filter_map(|(key, mut literals)| {
                    literals.extend(tags.get(&key)?.iter().cloned());
                    Some((key, literals))
                })
                .collect(),
        });
    }
    common.map_or(Shape::Unknown, Shape::Tagged)
}
