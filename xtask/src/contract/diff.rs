//! The working contract against an older one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow, bail};
use arklow_codegen::{Break, Version, compare};
use serde_json::json;

use super::breaks::{self, Entry};

const CONTRACT: &str = "openapi.yaml";
/// The branches that others build against, the first that there is.
const MAIN: [&str; 2] = ["origin/main", "main"];

pub(super) fn run(root: &Path, against: Option<&str>, json: Option<&Path>) -> anyhow::Result<()> {
    let git = Git { root };
    let Some(base) = git.base(against)? else {
        eprintln!("HEAD is the first commit: there is no older contract");
        return Ok(());
    };
    let old = git.file(&base, CONTRACT)?;
    let path = root.join(CONTRACT);
    let new = fs::read(&path).with_context(|| format!("cannot read {CONTRACT}"))?;
    let new = String::from_utf8(new).map_err(|_| anyhow!("{CONTRACT} is not UTF-8"))?;
    let found = compare(&old, &new).map_err(|fault| {
        let file = file(fault.version, &base);
        anyhow!("{}", fault.diagnostic.display(&file))
    })?;
    let entries = breaks::read(root)?;
    if let Some(path) = json {
        write(path, &report(&found, &entries, &base))?;
    }
    say(&found, &entries, &base)
}

/// A revision, as it was found and as it is named in messages.
struct Base {
    commit: String,
    name: String,
    /// How it was chosen.
    why: String,
}

fn file(version: Version, base: &Base) -> String {
    match version {
        Version::Old => format!("{CONTRACT}@{}", base.name),
        Version::New => CONTRACT.to_owned(),
    }
}

/// Prints each break, and fails if one has no entry.
fn say(found: &[Break], entries: &[Entry], base: &Base) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for found in found {
        let Break {
            level,
            at,
            message,
            id,
            ..
        } = found;
        let file = file(found.version, base);
        eprintln!("{file}:{}:{}: {level}: {message}", at.line, at.column);
        if !found.operations.is_empty() {
            let operations: Vec<&str> = found.operations.iter().map(String::as_str).collect();
            eprintln!("  for: {}", operations.join(", "));
        }
        match entries.iter().find(|entry| entry.id == *id) {
            Some(entry) => eprintln!("  meant: {}", entry.reason),
            None => {
                eprintln!("  id: {id}");
                missing.push(id);
            }
        }
    }
    for entry in stale(found, entries) {
        let file = breaks::FILE;
        eprintln!(
            "note: {file}:{}: nothing breaks `{}` any more; remove the entry",
            entry.line, entry.id
        );
    }
    let count = match found.len() {
        0 => "nothing breaks".to_owned(),
        1 => "1 break".to_owned(),
        count => format!("{count} breaks"),
    };
    eprintln!("{count} against {} ({})", base.name, base.why);
    if missing.is_empty() {
        return Ok(());
    }
    let items: String = missing
        .iter()
        .map(|id| format!("\n- `{id}`: WHY"))
        .collect();
    bail!(
        "{} without an entry in {}; if they are meant, add\n{items}",
        missing.len(),
        breaks::FILE
    )
}

fn stale<'a>(found: &'a [Break], entries: &'a [Entry]) -> impl Iterator<Item = &'a Entry> {
    let is_stale = |entry: &&Entry| !found.iter().any(|found| found.id == entry.id);
    entries.iter().filter(is_stale)
}

fn report(found: &[Break], entries: &[Entry], base: &Base) -> serde_json::Value {
    let breaks = found.iter().map(|found| {
        let entry = entries.iter().find(|entry| entry.id == found.id);
        json!({
            "id": found.id,
            "level": found.level.to_string(),
            "kind": found.kind,
            "file": CONTRACT,
            "revision": match found.version {
                Version::Old => Some(&base.commit),
                Version::New => None,
            },
            "line": found.at.line,
            "column": found.at.column,
            "message": found.message,
            "operations": found.operations,
            "reason": entry.map(|entry| &entry.reason),
        })
    });
    let stale = stale(found, entries)
        .map(|entry| json!({ "id": entry.id, "file": breaks::FILE, "line": entry.line }));
    json!({
        "against": { "revision": base.name, "commit": base.commit },
        "breaks": breaks.collect::<Vec<_>>(),
        "stale": stale.collect::<Vec<_>>(),
    })
}

fn write(path: &Path, report: &serde_json::Value) -> anyhow::Result<()> {
    let text = format!("{report:#}\n");
    if path == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The repository's history.
struct Git<'a> {
    root: &'a Path,
}

impl Git<'_> {
    /// The revision to compare with; none if there is only one.
    fn base(&self, against: Option<&str>) -> anyhow::Result<Option<Base>> {
        let head = self.commit("HEAD")?.context(
            "HEAD names no commit yet: commit something, or name a revision with --against",
        )?;
        if let Some(name) = against {
            let commit = self
                .commit(name)?
                .ok_or_else(|| self.without_history(&format!("there is no revision `{name}`")))?;
            let (name, why) = (name.to_owned(), "as asked".to_owned());
            return Ok(Some(Base { commit, name, why }));
        }
        let mut main = None;
        for name in MAIN {
            if self.commit(name)?.is_some() {
                main = Some(name);
                break;
            }
        }
        let Some(main) = main else {
            return self.before_head("there is no main branch here");
        };
        let base = self.ask(&["merge-base", "HEAD", main])?;
        let commit = base.ok_or_else(|| {
            self.without_history(&format!("HEAD and {main} have no common commit"))
        })?;
        if commit != head {
            let (name, why) = (short(&commit), format!("the merge base with {main}"));
            return Ok(Some(Base { commit, name, why }));
        }
        self.before_head("HEAD is on the main branch")
    }

    /// Without a branch to merge into: the last version that was released, or else the commit before.
    fn before_head(&self, because: &str) -> anyhow::Result<Option<Base>> {
        let Some(previous) = self.commit("HEAD^")? else {
            // The parent of a shallow clone's last commit exists, elsewhere.
            return match self.is_shallow() {
                true => Err(self.without_history("HEAD has no parent here")),
                false => Ok(None),
            };
        };
        let tag = self.ask(&[
            "describe",
            "--tags",
            "--abbrev=0",
            "--match",
            "v[0-9]*",
            "HEAD^",
        ])?;
        if let Some(name) = tag
            && let Some(commit) = self.commit(&name)?
        {
            let why = format!("the last release; {because}");
            return Ok(Some(Base { commit, name, why }));
        }
        let (name, why) = (
            short(&previous),
            format!("the commit before HEAD; {because}"),
        );
        Ok(Some(Base {
            commit: previous,
            name,
            why,
        }))
    }

    /// The text of a file in a revision.
    fn file(&self, base: &Base, name: &str) -> anyhow::Result<String> {
        // From here, should the repository be a part of a larger one.
        let output = self.output(&["show", &format!("{}:./{name}", base.commit)])?;
        if !output.status.success() {
            bail!("{} has no {name}", base.name);
        }
        String::from_utf8(output.stdout).map_err(|_| anyhow!("{name}@{} is not UTF-8", base.name))
    }

    fn commit(&self, revision: &str) -> anyhow::Result<Option<String>> {
        self.ask(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{revision}^{{commit}}"),
        ])
    }

    fn is_shallow(&self) -> bool {
        let answer = self.ask(&["rev-parse", "--is-shallow-repository"]);
        answer.is_ok_and(|answer| answer.as_deref() == Some("true"))
    }

    /// `message`, and what to do if the history is not all here.
    fn without_history(&self, message: &str) -> anyhow::Error {
        match self.is_shallow() {
            true => anyhow!(
                "{message}; this clone is shallow: `git fetch --unshallow` gets the rest of its history"
            ),
            false => anyhow!("{message}"),
        }
    }

    /// What git answers; none if it says no.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<Option<String>> {
        let output = self.output(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output.status.success() && !text.is_empty()).then_some(text))
    }

    fn output(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.root)
            .args(arguments)
            .output();
        let output =
            output.context("cannot run git, which knows the older contract; install it")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("not a git repository") {
            bail!(
                "{} is not in a git repository, so there is no older contract",
                self.root.display()
            );
        }
        // Git's message has the remedy.
        if said.contains("dubious ownership") {
            bail!("{}", said.trim());
        }
        Ok(output)
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}
