//! `cargo xtask corpus`: what the generator makes of a folder of documents, operation by operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arklow_codegen::{Code, Generated, Options, Outcome, Refused, Report, Unsupported};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::codegen::{files_below, write};
use crate::target;

/// How long a document may take.
const TIME: Duration = Duration::from_secs(60);
/// Of a thread that generates.
const STACK: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A folder of OpenAPI documents, and folders of them: `.json`, `.yaml` and `.yml`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the results are written as JSON, after each document. [default: target/corpus/results.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Goes on where an earlier run ended: documents in the results are not looked at again.
    #[arg(long)]
    resume: bool,
    /// Also writes the two crates of each document that something is generated of below this folder, in a folder of its name.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Generates from every document, with `--skip-unsupported`, and sums up.
///
/// # Errors
/// A document on which the generator panics, takes more than a minute, or fails with what it has accepted.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let default = target().join("corpus/results.json");
    let results = arguments.json.as_ref().unwrap_or(&default);
    let mut documents = if arguments.resume {
        earlier(results)?
    } else {
        Map::new()
    };
    let mut paths = files_below(&arguments.folder, "")?;
    paths.retain(|path| {
        [".json", ".yaml", ".yml"]
            .iter()
            .any(|end| path.ends_with(end))
    });
    paths.sort();
    let open: Vec<&String> = paths
        .iter()
        .filter(|path| !documents.contains_key(*path))
        .collect();
    if paths.is_empty() {
        bail!("no documents in {}", arguments.folder.display());
    }
    let mut faults = 0;
    for (index, path) in open.iter().enumerate() {
        // What is no text is no document.
        let Ok(text) = fs::read_to_string(arguments.folder.join(path)) else {
            continue;
        };
        let (attempt, seconds) = generated(&text);
        if let (Attempt::Generated(generated), Some(folder)) = (&attempt, &arguments.write) {
            write(
                &folder.join(path.replace(['/', '.'], "-")),
                &generated.files,
            )?;
        }
        let result = result(&attempt, seconds);
        let said = summary(&result);
        println!("{}/{} {path}: {said}", index + 1, open.len());
        faults += usize::from(result["fault"].is_string());
        documents.insert((*path).clone(), result);
        save(results, &documents)?;
    }
    print!("{}", totals(&documents));
    println!("written to {}", results.display());
    if faults > 0 {
        bail!("{faults} documents with a fault of the generator");
    }
    Ok(())
}

/// What came of a document; the text of an error is a fault of the generator.
enum Attempt {
    Generated(Box<Generated>),
    Refused(Refused),
    Fault(String),
}

/// Generates in a separate thread, because the generator may panic or hang.
fn generated(text: &str) -> (Attempt, f64) {
    let (done, outcome) = channel();
    let options = Options {
        command: "cargo xtask corpus".to_owned(),
        scaffold: true,
        client_hooks: None,
        adapter: None,
        probe: false,
        unsupported: Unsupported::Skip,
    };
    let text = text.to_owned();
    let started = Instant::now();
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        // After the time limit the receiver is gone.
        drop(done.send(arklow_codegen::generate(&text, &options)));
    });
    let of = match thread.map(|_| outcome.recv_timeout(TIME)) {
        Err(error) => Attempt::Fault(error.to_string()),
        Ok(Err(RecvTimeoutError::Timeout)) => Attempt::Fault("no end within a minute".to_owned()),
        Ok(Err(RecvTimeoutError::Disconnected)) => Attempt::Fault("a panic".to_owned()),
        Ok(Ok(Ok(generated))) => Attempt::Generated(Box::new(generated)),
        Ok(Ok(Err(refused))) => {
            let mut faults = refused.refusals.iter();
            match faults.find(|refusal| refusal.code == Code::Generator) {
                Some(fault) => Attempt::Fault(fault.message.clone()),
                None => Attempt::Refused(refused),
            }
        }
    };
    (of, started.elapsed().as_secs_f64())
}

/// A document's entry in the results.
fn result(of: &Attempt, seconds: f64) -> Value {
    let report = match of {
        Attempt::Generated(generated) => &generated.report,
        Attempt::Refused(refused) => &refused.report,
        Attempt::Fault(fault) => return json!({ "fault": fault, "seconds": seconds }),
    };
    let operations = report.operations.len();
    let carried = match of {
        Attempt::Generated(_) => operations - report.count(Outcome::Skipped),
        _ => 0,
    };
    let is_whole = matches!(of, Attempt::Generated(_)) && report.refusals.is_empty();
    let refusal = match of {
        Attempt::Refused(refused) if operations == 0 => {
            refused.refusals.first().map(|first| first.message.clone())
        }
        _ => None,
    };
    json!({
        "operations": operations,
        "carried": carried,
        "whole": is_whole,
        "refusals": report.refusals.len(),
        "refusal": refusal,
        "seconds": seconds,
        "blocked": blocked(report),
    })
}

/// By code, how many operations it is a reason to skip, and of how many it is the only one.
fn blocked(report: &Report) -> Value {
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for operation in &report.operations {
        let codes: BTreeSet<&str> = operation.why.iter().map(|of| of.code.name()).collect();
        for code in &codes {
            let count = counts.entry(code).or_default();
            count[0] += 1;
            count[1] += u64::from(codes.len() == 1);
        }
    }
    json!(counts)
}

fn summary(result: &Value) -> String {
    if let Some(fault) = result["fault"].as_str() {
        return format!("FAULT: {fault}");
    }
    let (carried, operations) = (&result["carried"], &result["operations"]);
    let seconds = result["seconds"].as_f64().unwrap_or_default();
    let whole = if result["whole"] == true {
        ", whole"
    } else {
        ""
    };
    format!("{carried} of {operations} operations{whole}, {seconds:.2} s")
}

fn totals(documents: &Map<String, Value>) -> String {
    let sum = |key: &str| -> u64 {
        let documents = documents.values();
        documents
            .filter_map(|document| document[key].as_u64())
            .sum()
    };
    let whole = documents.values().filter(|of| of["whole"] == true).count();
    let mut codes: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for blocked in documents
        .values()
        .filter_map(|of| of["blocked"].as_object())
    {
        for (code, counts) in blocked {
            let count = codes.entry(code).or_default();
            count[0] += counts[0].as_u64().unwrap_or_default();
            count[1] += counts[1].as_u64().unwrap_or_default();
            count[2] += 1;
        }
    }
    let mut rows: Vec<_> = codes.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows: String = rows
        .iter()
        .map(|(code, [all, alone, documents])| {
            format!("| {code} | {all} | {alone} | {documents} |\n")
        })
        .collect();
    format!(
        "\n| reason to skip | operations | only this | documents |\n| --- | --- | --- | --- |\n{rows}\n\
         {} documents, {whole} of them whole; {} of {} operations\n",
        documents.len(),
        sum("carried"),
        sum("operations"),
    )
}

fn earlier(results: &Path) -> anyhow::Result<Map<String, Value>> {
    let shown = results.display();
    let text = match fs::read_to_string(results) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    let mut value: Value =
        serde_json::from_str(&text).with_context(|| format!("{shown} has no results"))?;
    match value["documents"].take() {
        Value::Object(documents) => Ok(documents),
        _ => bail!("{shown} has no results"),
    }
}

fn save(results: &Path, documents: &Map<String, Value>) -> anyhow::Result<()> {
    if let Some(parent) = results.parent() {
        fs::create_dir_all(parent)?;
    }
    let text = format!("{:#}\n", json!({ "documents": documents }));
    // A run that is stopped leaves whole results.
    let partial = results.with_extension("partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, results))
        .with_context(|| format!("cannot write {}", results.display()))
}
