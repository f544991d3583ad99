//! Which refusals a team accepts: what they concern is left out, and everything else still refuses the document.

use std::fmt;

use crate::diagnostic::{Code, Diagnostic, Location};

/// The refusals that are accepted.
///
/// A line of its text is the name of a [`Code`], or such a name and what it concerns: an operation (`GET /pets`), a path
/// (`/pets`) or a component (`components/schemas/Pet`). Empty lines and what follows `#` mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Allowed>,
}

/// A line of an [`AllowList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Where it stands.
    pub at: Location,
    code: Code,
    owner: Option<String>,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{} {owner}", self.code),
            None => self.code.fmt(f),
        }
    }
}

impl AllowList {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that does not begin with the name of a code.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = Location {
                line: index + 1,
                column: 1,
            };
            // A path may contain it, but only behind a slash.
            let line = match line.find(" #") {
                Some(end) => &line[..end],
                None => line,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, owner) = match line.split_once(char::is_whitespace) {
                Some((name, owner)) => (name, Some(owner.trim().to_owned())),
                None => (line, None),
            };
            let Some(code) = Code::ALL.iter().find(|code| code.name() == name) else {
                let message = format!("`{name}` is not the name of a refusal");
                return Err(Diagnostic::new(Code::Syntax, at, message)
                    .hint("a report lists the `code` of each refusal"));
            };
            entries.push(Allowed {
                at,
                code: *code,
                owner,
            });
        }
        Ok(Self { entries })
    }

    /// Whether a refusal is accepted.
    pub(crate) fn allows(&self, diagnostic: &Diagnostic) -> bool {
        self.entries.iter().any(|entry| entry.matches(diagnostic))
    }

    /// The lines that accept none of these.
    pub(crate) fn unneeded(&self, diagnostics: &[Diagnostic]) -> Vec<Allowed> {
        let is_needed = |entry: &&Allowed| diagnostics.iter().any(|of| entry.matches(of));
        let entries = self.entries.iter();
        entries.filter(|entry| !is_needed(entry)).cloned().collect()
    }
}

impl Allowed {
    fn matches(&self, diagnostic: &Diagnostic) -> bool {
        let owner = self.owner.as_deref();
        self.code == diagnostic.code
            && owner.is_none_or(|owner| owner == diagnostic.owner.to_string())
    }
}
