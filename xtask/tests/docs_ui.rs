//! `cargo xtask docs-ui`: what is vendored is what npm published, and a difference is named.

use std::fs;
use std::path::Path;

use super::sdk::with_node;
use super::{repository, xtask};

const FOLDER: &str = "crates/service/swagger-ui";

#[test]
fn vendored_swagger_ui_is_the_published_one() {
    if let Some(checked) = with_node(&["docs-ui", "--check"]) {
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    }
}

#[test]
fn vendored_file_that_differs_is_named_and_replaced() {
    let copy = tempfile::tempdir().expect("a folder can be made");
    let folder = copy.path().join(FOLDER);
    let vendored = folder.join("vendored");
    fs::create_dir_all(&vendored).expect("a folder");
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(repository().join(FOLDER).join(name), folder.join(name)).expect("a copy");
    }
    let root = copy.path().to_str().expect("a path of text");
    let Some(written) = with_node(&["docs-ui", "--root", root]) else {
        return;
    };
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let run = |more: &[&str]| xtask(copy.path(), [&["docs-ui", "--root", root], more].concat());
    let committed = names(&repository().join(FOLDER).join("vendored"));
    assert_eq!(names(&vendored), committed);

    let write = |name: &str, bytes: &[u8]| fs::write(vendored.join(name), bytes).expect("a file");
    let bundle = fs::read(vendored.join("swagger-ui-bundle.js.gz")).expect("the bundle");
    write("swagger-ui-bundle.js.gz", &bundle[..bundle.len() / 2]);
    write("NOTICE", b"another");
    write("surplus.js", b"");
    let checked = run(&["--check"]);
    assert_eq!(checked.code, Some(1));
    for name in ["swagger-ui-bundle.js.gz", "NOTICE", "surplus.js"] {
        let named = format!("{FOLDER}/vendored/{name}");
        assert!(checked.stderr.contains(&named), "{}", checked.stderr);
    }
    assert!(!checked.stderr.contains("LICENSE"), "{}", checked.stderr);

    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(run(&["--check"]).code, Some(0));
    write("SHA256SUMS", b"");
    let checked = run(&["--check"]);
    assert!(checked.stderr.contains("SHA256SUMS"), "{}", checked.stderr);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
