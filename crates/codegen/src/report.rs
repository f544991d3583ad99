//! The report on a document: for each operation and each schema, whether it is generated.

use std::fmt;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Location};

/// What became of a document, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the document's order.
    pub operations: Vec<OperationReport>,
    /// The entries of `components/schemas`, in the document's order.
    pub schemas: Vec<SchemaReport>,
    /// Everything that is not carried and that something reaches, by place: without any, the whole document is carried.
    pub refusals: Vec<Diagnostic>,
    /// The differences between document and code: schemas without a Rust type, defaults that are left out.
    pub adaptations: Vec<Diagnostic>,
    /// Refusals of what no operation reaches; they refuse nothing.
    pub unreached: Vec<Diagnostic>,
}

impl Report {
    /// How many operations came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let operations = self.operations.iter();
        operations.filter(|of| of.outcome == outcome).count()
    }
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationReport {
    /// As HTTP writes it.
    pub method: &'static str,
    /// As the document writes it.
    pub path: String,
    /// Its `operationId`; without one, a name of its method and path.
    pub id: String,
    /// Whether it is generated.
    pub outcome: Outcome,
    /// What the client or the server does other than the document says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapted: Vec<String>,
    /// Why it is not generated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<Diagnostic>,
}

/// Whether something is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As the document says.
    Carried,
    /// With differences, which are listed.
    Adapted,
    /// Not at all.
    Skipped,
}

/// What became of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaReport {
    /// As the document writes it.
    pub key: String,
    /// Its name in Rust, if it has a type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// Whether it has a type other than any JSON value.
    pub typed: bool,
    /// Where it stands.
    #[serde(flatten)]
    pub at: Location,
}

/// What the generated code does other than the document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The `operationId`, if it concerns one operation.
    pub operation: Option<String>,
    /// What it is, in lower case and without a full stop.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Some(id) => write!(f, "{id}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
