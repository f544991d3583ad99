//! `cargo xtask codegen`: reads the document, and writes or checks what the generator makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arklow_codegen::{GeneratedFile, MARK, Options};

use crate::root;

/// The folders that hold generated files only.
const FOLDERS: [&str; 2] = ["crates/api/src/generated", "crates/client/src/generated"];

/// Generates this repository's own crates.
pub(crate) fn this_repository(check: bool) -> anyhow::Result<()> {
    let root = root();
    let options = Options {
        command: "cargo xtask codegen".to_owned(),
        scaffold: false,
    };
    let mut files = generate(&root.join("openapi.yaml"), "openapi.yaml", &options)?;
    for file in &mut files {
        file.path.insert_str(0, "crates/");
    }
    let mut stale: Vec<String> = files
        .iter()
        .filter(|file| !is_current(&root, file))
        .map(|file| file.path.clone())
        .collect();
    let kept: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut surplus = Vec::new();
    for folder in FOLDERS {
        surplus.extend(
            files_below(&root, folder)?
                .into_iter()
                .filter(|path| !kept.contains(path.as_str())),
        );
    }
    if check {
        stale.extend(
            surplus
                .iter()
                .map(|path| format!("{path} (no longer generated)")),
        );
        return report(&stale, "cargo xtask codegen");
    }
    write(&root, &files)?;
    for path in &surplus {
        fs::remove_file(root.join(path)).with_context(|| format!("cannot remove {path}"))?;
    }
    Ok(())
}

/// Generates two crates from any document.
pub(crate) fn document(spec: &Path, out: &Path, check: bool) -> anyhow::Result<()> {
    let command = format!(
        "cargo xtask codegen --spec {} --out {}",
        spec.display(),
        out.display()
    );
    let name = spec.file_name().map_or_else(
        || spec.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    // The header names the document, not where somebody keeps it, so that two people get the same files.
    let options = Options {
        command: format!("cargo xtask codegen --spec {name} --out DIR"),
        scaffold: true,
    };
    let files = generate(spec, &spec.display().to_string(), &options)?;
    if check {
        let stale: Vec<String> = files
            .iter()
            .filter(|file| !is_current(out, file))
            .map(|file| file.path.clone())
            .collect();
        return report(&stale, &command);
    }
    for file in &files {
        let path = out.join(&file.path);
        let is_foreign = path.extension().is_none_or(|extension| extension != "json")
            && fs::read_to_string(&path).is_ok_and(|text| !text.contains(MARK));
        if is_foreign {
            bail!(
                "{} exists and was not generated; move it away or choose another folder",
                path.display()
            );
        }
    }
    write(out, &files)?;
    eprintln!(
        "wrote {} and {}",
        out.join("api").display(),
        out.join("client").display()
    );
    Ok(())
}

fn generate(spec: &Path, shown: &str, options: &Options) -> anyhow::Result<Vec<GeneratedFile>> {
    let bytes = fs::read(spec).with_context(|| format!("cannot read {shown}"))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{shown} is not UTF-8"))?;
    let generated = arklow_codegen::generate(&text, options).map_err(|refusals| {
        let lines: Vec<String> = refusals
            .iter()
            .map(|refusal| refusal.display(shown).to_string())
            .collect();
        let count = match lines.len() {
            1 => "1 refusal".to_owned(),
            count => format!("{count} refusals"),
        };
        anyhow::anyhow!("{}\n{count}; nothing was written", lines.join("\n"))
    })?;
    for note in &generated.notes {
        eprintln!("note: {note}");
    }
    Ok(generated.files)
}

fn is_current(root: &Path, file: &GeneratedFile) -> bool {
    fs::read_to_string(root.join(&file.path)).is_ok_and(|text| text == file.contents)
}

fn report(stale: &[String], command: &str) -> anyhow::Result<()> {
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "stale:\n  {}\nrun `{command}` and commit the result",
        stale.join("\n  ")
    )
}

/// Writes what differs, so that build times do not move without reason.
fn write(root: &Path, files: &[GeneratedFile]) -> anyhow::Result<()> {
    for file in files.iter().filter(|file| !is_current(root, file)) {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, &file.contents)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The files below a folder, relative to `root`; none if it does not exist.
fn files_below(root: &Path, folder: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(folder)];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", folder.display()));
            }
        };
        for entry in entries {
            let path = folder.join(entry?.file_name());
            if root.join(&path).is_dir() {
                open.push(path);
            } else {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}
