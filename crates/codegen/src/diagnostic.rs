//! Diagnostics about a document: the place, the problem, and a hint.

use std::fmt;

/// A place in the document; both numbers count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One thing in the document that the generator cannot carry faithfully.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// Where the thing begins.
    pub at: Location,
    /// What it is, in lower case and without a full stop.
    pub message: String,
    /// What the author of the document can do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(at: Location, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The diagnostic as a line of `file:line:column: message` and, where there is one, a line with the hint.
    pub fn display(&self, file: &str) -> impl fmt::Display {
        let Location { line, column } = self.at;
        let mut text = format!("{file}:{line}:{column}: {}", self.message);
        if let Some(hint) = &self.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }
}
