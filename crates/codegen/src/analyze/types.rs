//! Checks that need all types: whether the branches of a union can be distinguished, and which types contain themselves.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Analyzer;
use crate::diagnostic::{Code, Diagnostic, Owner};
use crate::ir::{Schema, Struct, TypeDef, TypeKind, Variant};

type Types = BTreeMap<String, TypeDef>;

impl Analyzer {
    pub(super) fn finish_types(&mut self) {
        self.refuse_endless_aliases();
        self.refuse_foreign_defaults();
        self.refuse_ambiguous_unions();
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

    fn refuse_foreign_defaults(&mut self) {
        for default in std::mem::take(&mut self.enum_defaults) {
            let def = self.types.get(&default.enumeration);
            let is_refused = match def.map(|def| &def.kind) {
                Some(TypeKind::Enum(values)) => {
                    !values.iter().any(|value| value.wire == default.value)
                }
                _ => false,
            };
            let is_enum = matches!(def.map(|def| &def.kind), Some(TypeKind::Enum(_)));
            if is_enum && !is_refused {
                continue;
            }
            self.within(default.owner, |analyzer| {
                if is_enum {
                    let message = "a `default` that its own schema refuses";
                    analyzer.refuse(Code::Default, default.at, message);
                } else {
                    analyzer
                        .refuse(Code::Default, default.at, "this `default` is not carried")
                        .hint("defaults can be strings, numbers, booleans and values of an enum");
                }
            });
        }
    }

    fn refuse_ambiguous_unions(&mut self) {
        // A branch of a schema that something was refused of may be the stand-in for it.
        let refused: HashSet<&Owner> = self.diagnostics.iter().map(|of| &of.owner).collect();
        let is_unknown =
            |types: &Types, schema| matches!(shape(types, schema, &[]), Shape::Unknown);
        let mut ambiguous = Vec::new();
        for def in self.types.values() {
            let TypeKind::Union(variants) = &def.kind else {
                continue;
            };
            let is_refused = |name: &String| {
                let owner = self.owners.get(name);
                owner.is_some_and(|owner| refused.contains(owner))
            };
            for (index, variant) in variants.iter().enumerate() {
                for other in &variants[index + 1..] {
                    let stands_in = [&variant.schema, &other.schema].iter().any(|schema| {
                        let has_stand_in =
                            is_refused(&def.name) || mentioned(schema).iter().any(is_refused);
                        has_stand_in && is_unknown(&self.types, schema)
                    });
                    if !stands_in && !are_distinct(&self.types, &variant.schema, &other.schema) {
                        ambiguous.push((def.clone(), variant.name.clone(), other.name.clone()));
                    }
                }
            }
        }
        for (def, one, other) in ambiguous {
            let message = format!("nothing tells the branches `{one}` and `{other}` apart");
            let hint = "require a property in both whose `enum` or `const` differs, or use different JSON types";
            self.refuse_type(&def, Code::AmbiguousUnion, message, hint);
        }
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
        Schema::Any => Shape::Unknown,
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
