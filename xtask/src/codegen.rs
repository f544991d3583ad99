//! `cargo xtask codegen`: reads the document, and writes or checks what the generator makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arklow_codegen::{
    AllowList, GeneratedFile, MARK, Options, Outcome, Refused, Report, Unsupported,
};
use clap::Args;

/// What becomes of the parts of a document that are not carried.
#[derive(Debug, Args)]
pub(crate) struct Parts {
    /// Leaves out every operation that the generator does not carry; without it such a document is refused.
    #[arg(long, requires = "spec")]
    skip_unsupported: bool,
    /// A list of refusals to accept: what they concern is left out, and any other refuses the document. A line is the `code`
    /// of a report, or such a code and its `owner`. A line that nothing needs any more is an error.
    #[arg(
        long,
        value_name = "FILE",
        requires = "spec",
        conflicts_with = "skip_unsupported"
    )]
    allow: Option<PathBuf>,
    /// Where to write as JSON what became of each operation and each schema, also of a document that is refused.
    #[arg(long, value_name = "FILE", requires = "spec")]
    report: Option<PathBuf>,
    /// Also writes a program, `probe`, that calls each operation of the server through the client, with values made from the
    /// schemas, and sends requests that break them.
    #[arg(long, requires = "spec")]
    probe: bool,
}

impl Parts {
    fn unsupported(&self) -> anyhow::Result<Unsupported> {
        let Some(path) = &self.allow else {
            return Ok(match self.skip_unsupported {
                true => Unsupported::Skip,
                false => Unsupported::Refuse,
            });
        };
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let list = AllowList::parse(&text)
            .map_err(|fault| anyhow::anyhow!("{}", fault.display(&shown)))?;
        Ok(Unsupported::Allow(list))
    }

    fn write(&self, document: &str, report: &Report) -> anyhow::Result<()> {
        let Some(path) = &self.report else {
            return Ok(());
        };
        let report = serde_json::json!({
            "document": document,
            "carried": report.count(Outcome::Carried),
            "adapted": report.count(Outcome::Adapted),
            "skipped": report.count(Outcome::Skipped),
            "operations": report.operations,
            "schemas": report.schemas,
            "refusals": report.refusals,
            "adaptations": report.adaptations,
            "unreached": report.unreached,
        });
        fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Generates the repository's own crates.
pub(crate) fn repository(root: &Path, check: bool) -> anyhow::Result<()> {
    let options = Options {
        command: "cargo xtask codegen".to_owned(),
        scaffold: false,
        client_hooks: Some("crate::transport::Transport".to_owned()),
        adapter: Some("arklow_adapter".to_owned()),
        probe: false,
        unsupported: Unsupported::Refuse,
    };
    let document = root.join("openapi.yaml");
    let mut files = generate(&document, "openapi.yaml", &options, None, check)?;
    files.push(GeneratedFile {
        path: "api/src/generated/openapi.json".to_owned(),
        contents: json(&fs::read_to_string(&document)?)?,
    });
    Output::below(root, "crates/", files).sync(check, "cargo xtask codegen")
}

/// A YAML document as JSON, with its keys in the same order: what the server serves, so that it parses no YAML.
fn json(yaml: &str) -> anyhow::Result<String> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut json);
    serde_saphyr::with_deserializer_from_str(yaml, |deserializer| {
        serde_transcode::transcode(deserializer, &mut serializer).map_err(serde::de::Error::custom)
    })
    .map_err(|error| anyhow::anyhow!("cannot convert openapi.yaml to JSON: {error}"))?;
    Ok(String::from_utf8(json)?)
}

/// Generates two crates from any document.
pub(crate) fn document(spec: &Path, out: &Path, parts: &Parts, check: bool) -> anyhow::Result<()> {
    let command = format!(
        "cargo xtask codegen --spec {} --out {}",
        spec.display(),
        out.display()
    );
    let name = spec.file_name().map_or_else(
        || spec.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    // The header names the document without its folder, so that every machine generates the same files.
    let options = Options {
        command: format!("cargo xtask codegen --spec {name} --out DIR"),
        scaffold: true,
        client_hooks: None,
        adapter: None,
        probe: parts.probe,
        unsupported: parts.unsupported()?,
    };
    let files = generate(
        spec,
        &spec.display().to_string(),
        &options,
        Some(parts),
        check,
    )?;
    let output = Output::below(out, "", files);
    if !check {
        output.refuse_to_overwrite()?;
    }
    output.sync(check, &command)?;
    if !check {
        let (api, client) = (out.join("api"), out.join("client"));
        eprintln!("wrote {} and {}", api.display(), client.display());
        if parts.probe {
            let probe = out.join("probe").display().to_string();
            eprintln!("wrote {probe}: `cargo run` there calls each operation");
        }
    }
    Ok(())
}

/// The files of a run, and the folder that they belong below.
struct Output<'a> {
    root: &'a Path,
    files: Vec<GeneratedFile>,
    /// The folders that hold generated files only.
    folders: [String; 2],
}

impl<'a> Output<'a> {
    fn below(root: &'a Path, prefix: &str, mut files: Vec<GeneratedFile>) -> Self {
        for file in &mut files {
            file.path.insert_str(0, prefix);
        }
        let folders = ["api", "client"].map(|part| format!("{prefix}{part}/src/generated"));
        Self {
            root,
            files,
            folders,
        }
    }

    /// Makes the files on disk equal to these, or reports that they are not.
    ///
    /// Checking never writes, so a green check is a statement about what is on disk.
    fn sync(&self, check: bool, command: &str) -> anyhow::Result<()> {
        let surplus = self.surplus()?;
        if !check {
            write(self.root, &self.files)?;
            for path in &surplus {
                fs::remove_file(self.root.join(path))
                    .with_context(|| format!("cannot remove {path}"))?;
            }
            return Ok(());
        }
        let stale = self
            .files
            .iter()
            .filter(|file| !is_current(self.root, file));
        let mut stale: Vec<String> = stale.map(|file| file.path.clone()).collect();
        stale.extend(
            surplus
                .iter()
                .map(|path| format!("{path} (no longer generated)")),
        );
        if stale.is_empty() {
            return Ok(());
        }
        bail!(
            "stale:\n  {}\nrun `{command}` and commit the result",
            stale.join("\n  ")
        )
    }

    /// What an earlier run left in the folders of generated files.
    fn surplus(&self) -> anyhow::Result<Vec<String>> {
        let kept: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let mut surplus = Vec::new();
        for folder in &self.folders {
            surplus.extend(files_below(self.root, folder)?);
        }
        surplus.retain(|path| !kept.contains(path.as_str()));
        Ok(surplus)
    }

    /// Files that were written by hand stay.
    fn refuse_to_overwrite(&self) -> anyhow::Result<()> {
        let paths = self.files.iter().map(|file| file.path.clone());
        for path in paths.chain(self.surplus()?) {
            let path = self.root.join(path);
            let is_foreign =
                fs::read(&path).is_ok_and(|bytes| !String::from_utf8_lossy(&bytes).contains(MARK));
            if is_foreign {
                bail!(
                    "{} exists and was not generated; move it away or choose another folder",
                    path.display()
                );
            }
        }
        Ok(())
    }
}

fn generate(
    spec: &Path,
    shown: &str,
    options: &Options,
    parts: Option<&Parts>,
    check: bool,
) -> anyhow::Result<Vec<GeneratedFile>> {
    let bytes = fs::read(spec).with_context(|| format!("cannot read {shown}"))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{shown} is not UTF-8"))?;
    let outcome = arklow_codegen::generate(&text, options);
    if let Some(parts) = parts {
        match &outcome {
            Ok(generated) => parts.write(shown, &generated.report)?,
            Err(refused) => parts.write(shown, &refused.report)?,
        }
    }
    let generated = outcome.map_err(|refused| said(&refused, shown, parts))?;
    // Said when it is written; a check has nothing new to say.
    if check {
        return Ok(generated.files);
    }
    for note in &generated.notes {
        eprintln!("note: {note}");
    }
    let operations = &generated.report.operations;
    let skipped = generated.report.count(Outcome::Skipped);
    for operation in operations.iter().filter(|of| !of.why.is_empty()) {
        let (method, path) = (&operation.method, &operation.path);
        eprintln!("skipped {method} {path}:");
        for why in &operation.why {
            eprintln!("  {}", why.display(shown));
        }
    }
    if skipped > 0 {
        let carried = operations.len() - skipped;
        let all = operations.len();
        eprintln!("{carried} of {all} operations are generated, {skipped} skipped");
    }
    Ok(generated.files)
}

/// Why nothing was written.
fn said(refused: &Refused, shown: &str, parts: Option<&Parts>) -> anyhow::Error {
    let mut lines: Vec<String> = refused
        .refusals
        .iter()
        .map(|refusal| refusal.display(shown).to_string())
        .collect();
    let list = parts.and_then(|parts| parts.allow.as_ref());
    let list = list.map_or_else(String::new, |path| path.display().to_string());
    for allowed in &refused.unneeded {
        let line = allowed.at.line;
        lines.push(format!(
            "{list}:{line}: nothing needs `{allowed}`; remove the line"
        ));
    }
    let count = match lines.len() {
        1 => "1 refusal".to_owned(),
        count => format!("{count} refusals"),
    };
    let mut said = format!("{}\n{count}; nothing was written", lines.join("\n"));
    let report = &refused.report;
    let others = report.operations.len() - report.count(Outcome::Skipped);
    if others > 0 && list.is_empty() && parts.is_some() {
        let all = report.operations.len();
        said += &format!("\n{others} of {all} operations can be generated: see --skip-unsupported");
    }
    anyhow::anyhow!(said)
}

fn is_current(root: &Path, file: &GeneratedFile) -> bool {
    fs::read_to_string(root.join(&file.path)).is_ok_and(|text| text == file.contents)
}

/// Writes what differs, so that build times do not move without reason.
pub(crate) fn write(root: &Path, files: &[GeneratedFile]) -> anyhow::Result<()> {
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
pub(crate) fn files_below(root: &Path, folder: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(folder)];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
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
