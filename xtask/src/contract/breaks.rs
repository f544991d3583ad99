//! `contract-breaks.md`: the breaks that are meant.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};

/// The file, below the root.
pub(super) const FILE: &str = "contract-breaks.md";

/// One entry, a list item: the id of a break in code, a colon and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) id: String,
    pub(super) reason: String,
}

/// The entries of the file; none if there is no file.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Entry>> {
    match fs::read_to_string(root.join(FILE)) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {FILE}")),
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // A reason may go on, indented.
        if let (Some(rest), Some(entry)) = (line.strip_prefix("  "), entries.last_mut()) {
            entry.reason.push(' ');
            entry.reason.push_str(rest.trim());
            continue;
        }
        let Some(item) = line.strip_prefix("- ") else {
            continue;
        };
        let parts = item
            .strip_prefix('`')
            .and_then(|rest| rest.split_once("`:"));
        match parts.map(|(id, reason)| (id, reason.trim())) {
            Some((id, reason)) if !id.is_empty() && !reason.is_empty() => entries.push(Entry {
                line: number,
                id: id.to_owned(),
                reason: reason.to_owned(),
            }),
            _ => bail!("{FILE}:{number}: not an entry; write \"- `ID`: why\""),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_list_items_with_an_id_and_a_reason() {
        let text = "# Head\n\n```\n- `an example`: not read\n```\n\n- `a #/b`: because\n  of `it`\n- `c`: x\n";
        let entry = |line, id: &str, reason: &str| Entry {
            line,
            id: id.to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(
            parse(text).expect("entries"),
            [entry(7, "a #/b", "because of `it`"), entry(9, "c", "x")]
        );
    }

    #[test]
    fn item_without_id_or_reason_is_refused_with_its_line() {
        for item in ["- a: b", "- `a`", "- `a`: ", "- `a` b", "- ``: b"] {
            let error = parse(&format!("x\n{item}\n")).expect_err(item).to_string();
            assert!(
                error.starts_with("contract-breaks.md:2: not an entry"),
                "{error}"
            );
        }
    }
}
