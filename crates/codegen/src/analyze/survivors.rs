//! Which operations and types nothing was refused of, and what is said of the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::operation::shape_of;
use super::types::mentioned;
use super::{Analysis, Analyzer, Declared, errors};
use crate::diagnostic::{Code, Diagnostic, Owner};
use crate::emit::operations::references;
use crate::ir::{Additional, Api, Operation, Schema, TypeDef, TypeKind};
use crate::report::{OperationReport, Outcome, Report, SchemaReport};
use crate::spec::Entry;

impl Analyzer {
    /// Leaves in `api` what can be generated.
    pub(super) fn conclude(mut self, mut api: Api) -> Analysis {
        let edges: HashMap<String, Vec<String>> = self
            .types
            .values()
            .map(|def| (def.name.clone(), below(def)))
            .collect();
        let reached: HashMap<Owner, BTreeSet<String>> = api
            .operations
            .iter()
            .map(|operation| (owner_of(operation), reach(&edges, used_by(operation))))
            .collect();
        let mut faults = Faults::of(&self);
        let is_whole = |faults: &Faults, declared: &Declared| {
            let owner = declared.owner();
            let types = reached.get(&owner);
            types.is_some_and(|types| {
                faults
                    .of_operation(&owner, &declared.path, types)
                    .is_empty()
            })
        };
        let is_living: Vec<bool> = self
            .declared
            .iter()
            .map(|declared| is_whole(&faults, declared))
            .collect();
        self.refuse_conflicting_routes(&is_living);
        faults = Faults::of(&self);

        let adaptations = Faults::among(&self, &self.adaptations, BTreeMap::new());
        let mut report = Report::default();
        let mut skipped = HashSet::new();
        for declared in &self.declared {
            let owner = declared.owner();
            let nothing = BTreeSet::new();
            let types = reached.get(&owner).unwrap_or(&nothing);
            let why = faults.of_operation(&owner, &declared.path, types);
            let outcome = if why.is_empty() {
                Outcome::Carried
            } else {
                skipped.insert(owner);
                Outcome::Skipped
            };
            report.operations.push(OperationReport {
                method: declared.method,
                path: declared.path.clone(),
                id: declared.id.clone(),
                outcome,
                adapted: if why.is_empty() {
                    let adapted =
                        adaptations.of_operation(&declared.owner(), &declared.path, types);
                    adapted.into_iter().map(|of| of.message).collect()
                } else {
                    Vec::new()
                },
                why,
            });
        }
        api.operations
            .retain(|operation| !skipped.contains(&owner_of(operation)));

        let kept = self.kept(&api, &edges, &faults, &skipped);
        report.schemas = self.schemas(&kept);
        let types = std::mem::take(&mut self.types).into_values();
        api.types = types.filter(|def| kept.contains(&def.name)).collect();
        let used: HashSet<&String> = api
            .operations
            .iter()
            .flat_map(|of| of.security.keys())
            .collect();
        api.schemes = std::mem::take(&mut self.schemes);
        api.schemes.retain(|scheme| used.contains(&scheme.key));
        api.error_type = errors::error_type(&api);
        api.shared_errors = errors::shared_errors(&api);

        let is_read = |of: &Declared| !faults.is_own(&of.owner(), &of.path);
        let all_read = self.declared.iter().all(is_read);
        let some_reach: HashSet<&String> = reached.values().flatten().collect();
        let is_reached = |diagnostic: &Diagnostic| match &diagnostic.owner {
            _ if diagnostic.code.is_fault() || self.declared.is_empty() => true,
            Owner::Component {
                section: "securitySchemes",
                key,
            } => self.named_schemes.contains(key),
            Owner::Component { key, .. } => {
                let name = self.component_types.get(key);
                name.is_some_and(|name| some_reach.contains(name))
            }
            _ => true,
        };
        report.adaptations = std::mem::take(&mut self.adaptations);
        report.adaptations.sort();
        report.adaptations.dedup();
        let mut refusals = std::mem::take(&mut self.diagnostics);
        refusals.sort();
        refusals.dedup();
        (report.refusals, report.unreached) = refusals.into_iter().partition(is_reached);
        Analysis {
            api,
            report,
            all_read,
            notes: self.notes,
        }
    }

    /// Refuses operations of one route. Those that live come first: what is not generated takes no route.
    fn refuse_conflicting_routes(&mut self, is_living: &[bool]) {
        let Some(paths) = self.root.get("paths").cloned() else {
            return;
        };
        let (first, last): (Vec<_>, Vec<_>) = self
            .declared
            .iter()
            .zip(is_living)
            .partition(|(_, is_living)| **is_living);
        let mut taken: HashMap<(&str, String), (&str, usize)> = HashMap::new();
        let mut conflicts = Vec::new();
        for (declared, _) in first.into_iter().chain(last) {
            let Some(Entry { key, key_at, .. }) = paths.entry(&declared.path) else {
                continue;
            };
            let route = (declared.method, shape_of(key));
            match taken.get(&route) {
                Some((other, line)) => {
                    let message =
                        format!("the path `{key}` is the same route as `{other}` on line {line}");
                    conflicts.push((declared.owner(), *key_at, message));
                }
                None => drop(taken.insert(route, (&declared.path, key_at.line))),
            }
        }
        for (owner, at, message) in conflicts {
            self.within(owner, |analyzer| {
                analyzer.refuse(Code::RouteConflict, at, message);
            });
        }
    }

    /// The types to generate: all that are whole, without those that only a skipped part has.
    fn kept(
        &self,
        api: &Api,
        edges: &HashMap<String, Vec<String>>,
        faults: &Faults,
        skipped: &HashSet<Owner>,
    ) -> HashSet<String> {
        let living = reach(edges, api.operations.iter().flat_map(used_by).collect());
        let tainted = tainted(edges, faults.types());
        let is_of_skipped = |name: &String| {
            self.owners.get(name).is_some_and(|owner| match owner {
                Owner::Component { key, .. } => {
                    let name = self.component_types.get(key);
                    name.is_some_and(|name| tainted.contains(name))
                }
                owner => skipped.contains(owner),
            })
        };
        self.types
            .keys()
            .filter(|name| {
                living.contains(*name) || !(tainted.contains(*name) || is_of_skipped(name))
            })
            .cloned()
            .collect()
    }

    fn schemas(&self, kept: &HashSet<String>) -> Vec<SchemaReport> {
        let components = self.root.get("components");
        let schemas = components.and_then(|components| components.get("schemas"));
        let entries = schemas.map_or(&[][..], |node| node.entries());
        let report = |Entry { key, key_at, .. }: &Entry| {
            let name = self
                .component_types
                .get(key)
                .filter(|name| kept.contains(*name));
            let def = name.and_then(|name| self.types.get(name));
            SchemaReport {
                key: key.clone(),
                typed: def.is_some_and(|def| !matches!(def.kind, TypeKind::Alias(Schema::Any))),
                type_name: def.map(|def| def.name.clone()),
                at: *key_at,
            }
        };
        entries.iter().map(report).collect()
    }
}

/// The refusals by what they concern.
struct Faults {
    of_owners: HashMap<Owner, Vec<Diagnostic>>,
    /// Also those of the components, by their types.
    of_types: BTreeMap<String, Vec<Diagnostic>>,
}

impl Faults {
    fn of(analyzer: &Analyzer) -> Self {
        Self::among(analyzer, &analyzer.diagnostics, analyzer.faulty.clone())
    }

    fn among(
        analyzer: &Analyzer,
        diagnostics: &[Diagnostic],
        mut of_types: BTreeMap<String, Vec<Diagnostic>>,
    ) -> Self {
        let mut of_owners: HashMap<Owner, Vec<Diagnostic>> = HashMap::new();
        for diagnostic in diagnostics {
            if let Owner::Component {
                section: "schemas",
                key,
            } = &diagnostic.owner
            {
                let name = analyzer
                    .component_types
                    .get(key)
                    .cloned()
                    .unwrap_or_default();
                let faults = of_types.entry(name).or_default();
                if !faults.contains(diagnostic) {
                    faults.push(diagnostic.clone());
                }
            }
            let faults = of_owners.entry(diagnostic.owner.clone()).or_default();
            faults.push(diagnostic.clone());
        }
        Self {
            of_owners,
            of_types,
        }
    }

    /// Everything that keeps an operation from being generated, in the order of places.
    fn of_operation(&self, owner: &Owner, path: &str, types: &BTreeSet<String>) -> Vec<Diagnostic> {
        let path = Owner::Path(path.to_owned());
        let own = [owner, &path].into_iter();
        let own = own.filter_map(|owner| self.of_owners.get(owner));
        let reached = types.iter().filter_map(|name| self.of_types.get(name));
        let mut why: Vec<Diagnostic> = own.chain(reached).flatten().cloned().collect();
        why.sort();
        why.dedup();
        why
    }

    /// Whether something was refused of an operation itself, or of its path.
    fn is_own(&self, owner: &Owner, path: &str) -> bool {
        let path = Owner::Path(path.to_owned());
        self.of_owners.contains_key(owner) || self.of_owners.contains_key(&path)
    }

    fn types(&self) -> impl Iterator<Item = &String> {
        self.of_types.keys()
    }
}

fn owner_of(operation: &Operation) -> Owner {
    Owner::Operation {
        method: operation.method.verb(),
        path: operation.path.clone(),
    }
}

/// The types that an operation names.
fn used_by(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().map(|of| &of.field.schema);
    let bodies = operation.body.iter().map(|body| &body.schema);
    let answers = operation.answers.iter().filter_map(|of| of.body.as_ref());
    let schemas = parameters.chain(bodies).chain(answers);
    schemas.flat_map(mentioned).collect()
}

/// The types that a type names.
fn below(def: &TypeDef) -> Vec<String> {
    let mut names = match &def.kind {
        TypeKind::Alias(schema) => mentioned(schema),
        TypeKind::Union(variants) => variants
            .iter()
            .flat_map(|variant| mentioned(&variant.schema))
            .collect(),
        TypeKind::Struct(of) => {
            let mut names: Vec<String> = of
                .fields
                .iter()
                .flat_map(|field| mentioned(&field.schema))
                .collect();
            if let Additional::Kept(values) = &of.additional {
                names.extend(mentioned(values));
            }
            names
        }
        TypeKind::Enum(_) => Vec::new(),
    };
    names.extend(def.valid.iter().flat_map(references));
    names
}

/// The names in `start`, and what they reach.
fn reach(edges: &HashMap<String, Vec<String>>, start: Vec<String>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = start;
    while let Some(name) = open.pop() {
        if reached.insert(name.clone()) {
            open.extend(edges.get(&name).into_iter().flatten().cloned());
        }
    }
    reached
}

/// The types that reach one of `faulty`, itself included.
fn tainted<'a>(
    edges: &HashMap<String, Vec<String>>,
    faulty: impl Iterator<Item = &'a String>,
) -> BTreeSet<String> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for (user, used) in edges {
        for name in used {
            users.entry(name.clone()).or_default().push(user.clone());
        }
    }
    reach(&users, faulty.cloned().collect())
}
