//! The generator over documents: what it makes of them, and what it refuses.

mod cases;
mod compare;
mod refusals;
mod robustness;
mod skip;

use std::fs;
use std::path::{Path, PathBuf};

use arklow_codegen::{Options, Unsupported};

/// A folder next to this file.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Whether this run writes what the generator says now, instead of comparing with it.
fn is_update() -> bool {
    std::env::var_os("UPDATE_EXPECTED").is_some()
}

fn options() -> Options {
    Options {
        command: "cargo xtask codegen --spec openapi.yaml --out DIR".to_owned(),
        scaffold: true,
        client_hooks: None,
        adapter: None,
        probe: false,
        unsupported: Unsupported::Refuse,
    }
}

/// Compares `actual` with the file, or writes it there when updating.
#[track_caller]
fn assert_file(path: &Path, actual: &str) {
    if is_update() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        fs::write(path, actual).expect("the file can be written");
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what the generator says now; run `UPDATE_EXPECTED=1 cargo test -p arklow-codegen` and read the diff\n--- now ---\n{actual}",
        path.display()
    );
}

/// The entries of a folder in order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    entries
}
