//! `cargo xtask corpus`: it counts and resumes, and finds no fault in documents from outside.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::xtask;

fn results(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the results are written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn folder_is_counted_operation_by_operation_and_a_second_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join("documents").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    };
    let two = "openapi: 3.1.0
info: { title: T, version: 1 }
paths:
  /a: { get: { operationId: a, responses: { '204': { description: d } } } }
  /b: { get: { operationId: b, responses: { '200': { description: d, content: { text/xml: {} } } } } }
";
    write("two.yaml", two);
    write(
        "below/one.json",
        r#"{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/a":{"get":{"operationId":"a","responses":{"204":{"description":"d"}}}}}}"#,
    );
    write("none.yml", "swagger: '2.0'\n");
    write("notes.txt", "no document\n");
    let run = |more: &[&str]| {
        xtask(
            folder.path(),
            [&["corpus", "documents", "--json", "r.json"], more].concat(),
        )
    };
    let first = run(&["--write", "out"]);
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    assert!(
        first.stdout.contains("3/3 two.yaml: 1 of 2 operations, "),
        "{}",
        first.stdout
    );
    assert!(
        first.stdout.contains("| media-type | 1 | 1 | 1 |\n"),
        "{}",
        first.stdout
    );
    assert!(
        first
            .stdout
            .contains("\n3 documents, 1 of them whole; 2 of 3 operations\n"),
        "{}",
        first.stdout
    );
    let documents = &results(&folder.path().join("r.json"))["documents"];
    assert_eq!(
        documents["two.yaml"]["blocked"],
        json!({ "media-type": [1, 1] })
    );
    assert_eq!(documents["below/one.json"]["whole"], true);
    assert_eq!(documents["none.yml"]["refusal"], "no `openapi` version");
    assert!(
        folder
            .path()
            .join("out/below-one-json/client/src/generated/mod.rs")
            .exists()
    );

    write("three.yaml", two);
    let second = run(&["--resume"]);
    assert!(
        second.stdout.starts_with("1/1 three.yaml: "),
        "{}",
        second.stdout
    );
    assert!(
        second
            .stdout
            .contains("\n4 documents, 1 of them whole; 3 of 5 operations\n"),
        "{}",
        second.stdout
    );
}

#[test]
fn documents_of_others_show_no_fault_of_the_generator() {
    let Some(corpus) = std::env::var_os("CODEGEN_CORPUS") else {
        return super::note_skipped("CODEGEN_CORPUS names no folder");
    };
    let folder = tempfile::tempdir().expect("a folder");
    copy_small(Path::new(&corpus), &folder.path().join("sample"));
    let ended = xtask(folder.path(), ["corpus", "sample", "--json", "r.json"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    let documents = results(&folder.path().join("r.json"));
    let documents = documents["documents"].as_object().expect("documents");
    let sum = |key: &str| -> u64 { documents.values().filter_map(|of| of[key].as_u64()).sum() };
    // What is carried once stays carried.
    assert!(
        sum("carried") >= CARRIED,
        "{} of {} operations",
        sum("carried"),
        sum("operations")
    );
}

/// How many operations of the sample of the documents that `CODEGEN_CORPUS` is for are carried at least.
const CARRIED: u64 = 950;
/// The size of the largest document of the sample, in bytes: a debug build takes minutes for all documents.
const LARGEST: u64 = 400 * 1024;

fn copy_small(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be listed") {
        let entry = entry.expect("an entry");
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_small(&path, &copy);
        } else if entry.metadata().expect("its size").len() <= LARGEST {
            fs::copy(path, copy).expect("it can be copied");
        }
    }
}
