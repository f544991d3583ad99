//! `cargo xtask contract diff` in repositories of every kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ended, run, xtask};

const DOCUMENT: &str = "\
openapi: 3.1.0
info: { title: T, version: 1.0.0 }
paths:
  /v1/ping:
    get:
      operationId: ping
      responses:
        '200':
          description: d
";

/// A repository with one commit on `main`, the document in it.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn with(document: &str) -> Self {
        let repository = Self {
            folder: TempDir::new().expect("a temporary folder"),
        };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository.commit(document);
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).expect("the file can be written");
    }

    fn commit(&self, document: &str) {
        self.write("openapi.yaml", document);
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "x"]);
    }

    fn diff(&self, arguments: &[&str]) -> Ended {
        diff(self.path(), arguments)
    }
}

/// Runs git without any user's configuration.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.com",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "git {arguments:?}: {}", ended.stderr);
    ended.stdout.trim().to_owned()
}

fn diff(folder: &Path, arguments: &[&str]) -> Ended {
    let root = folder.to_str().expect("a path");
    let arguments = [&["contract", "diff", "--root", root], arguments].concat();
    xtask(folder, arguments)
}

fn renamed() -> String {
    DOCUMENT.replace("operationId: ping", "operationId: pong")
}

/// The id of what `renamed` breaks.
const RENAMED: &str = "operation-renamed #/paths/~1v1~1ping/get/operationId";

#[test]
fn break_on_a_branch_is_found_against_the_merge_base() {
    let repository = Repository::with(DOCUMENT);
    repository.git(&["checkout", "--quiet", "-b", "branch"]);
    repository.commit(&renamed());
    // What main did meanwhile is none of the branch's doing.
    repository.git(&["checkout", "--quiet", "main"]);
    repository.commit(&DOCUMENT.replace("'200':", "'202':"));
    repository.git(&["checkout", "--quiet", "branch"]);

    let ended = repository.diff(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        said[0],
        "openapi.yaml:6:7: source: the operation `ping` is called `pong`"
    );
    assert_eq!(said[2], format!("  id: {RENAMED}"));
    assert!(
        said[3].starts_with("1 break against ") && said[3].ends_with("(the merge base with main)"),
        "{said:?}"
    );
    assert!(
        ended.stderr.contains(&format!("- `{RENAMED}`: WHY")),
        "{said:?}"
    );
    assert!(!ended.stderr.contains("202"), "{said:?}");
}

#[test]
fn change_that_is_not_committed_yet_is_found_too() {
    let repository = Repository::with(DOCUMENT);
    repository.git(&["checkout", "--quiet", "-b", "branch"]);
    repository.write("openapi.yaml", &renamed());
    assert_eq!(repository.diff(&["--against", "HEAD"]).code, Some(1));
    assert_eq!(repository.diff(&["--against", "main"]).code, Some(1));
}

#[test]
fn what_is_gone_has_its_place_in_the_old_file() {
    let repository = Repository::with(DOCUMENT);
    repository.git(&["tag", "v1.0.0"]);
    repository.commit(
        &DOCUMENT
            .replace("ping:", "other:")
            .replace("    get:", "    post:"),
    );
    let ended = repository.diff(&[]);
    assert!(
        ended
            .stderr
            .starts_with("openapi.yaml@v1.0.0:5:5: wire: `GET /v1/ping` is gone\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn main_branch_is_compared_with_its_last_release_or_the_commit_before() {
    let repository = Repository::with(DOCUMENT);
    repository.commit(&renamed());
    let ended = repository.diff(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("(the commit before HEAD; HEAD is on the main branch)"),
        "{}",
        ended.stderr
    );

    repository.git(&["tag", "v0.2.0", "HEAD^"]);
    repository.commit(&renamed());
    let ended = repository.diff(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("1 break against v0.2.0 (the last release; HEAD is on the main branch)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn repository_without_a_main_branch_is_compared_with_the_commit_before() {
    let repository = Repository::with(DOCUMENT);
    repository.commit(&renamed());
    repository.git(&["branch", "--move", "trunk"]);
    let ended = repository.diff(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("(the commit before HEAD; there is no main branch here)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn entry_lets_a_break_pass_and_one_without_a_break_is_reported() {
    let repository = Repository::with(DOCUMENT);
    repository.write("openapi.yaml", &renamed());
    repository.write(
        "contract-breaks.md",
        &format!("# Breaks\n\n- `{RENAMED}`: a better\n  word\n- `gone #/x`: once\n"),
    );
    let ended = repository.diff(&["--against", "main"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("  meant: a better word"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("note: contract-breaks.md:5: nothing breaks `gone #/x` any more"),
        "{}",
        ended.stderr
    );

    repository.write("contract-breaks.md", "- operation-renamed: no code\n");
    let ended = repository.diff(&["--against", "main"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("contract-breaks.md:1: not an entry"),
        "{}",
        ended.stderr
    );
}

#[test]
fn json_says_the_same_for_programs() {
    let repository = Repository::with(DOCUMENT);
    let commit = repository.git(&["rev-parse", "HEAD"]);
    repository.write("openapi.yaml", &renamed().replace("'200':", "'202':"));
    repository.write(
        "contract-breaks.md",
        &format!("- `{RENAMED}`: a better word\n- `gone`: once\n"),
    );
    let ended = repository.diff(&["--against", "main", "--json", "-"]);
    assert_eq!(ended.code, Some(1));
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON alone");
    assert_eq!(
        report["against"],
        json!({ "revision": "main", "commit": commit })
    );
    assert_eq!(
        report["breaks"][0],
        json!({
            "id": RENAMED, "level": "source", "kind": "operation-renamed", "file": "openapi.yaml", "revision": null,
            "line": 6, "column": 7, "message": "the operation `ping` is called `pong`", "operations": ["ping"],
            "reason": "a better word",
        })
    );
    let gone = &report["breaks"][2];
    assert_eq!(
        (
            &gone["kind"],
            &gone["revision"],
            &gone["line"],
            &gone["reason"]
        ),
        (
            &json!("response-removed"),
            &json!(commit),
            &json!(8),
            &Value::Null
        )
    );
    assert_eq!(
        report["stale"],
        json!([{ "id": "gone", "file": "contract-breaks.md", "line": 2 }])
    );

    let file = repository.path().join("out/diff.json");
    repository.diff(&[
        "--against",
        "main",
        "--json",
        file.to_str().expect("a path"),
    ]);
    assert_eq!(fs::read_to_string(file).expect("written"), ended.stdout);
}

#[test]
fn harmless_change_passes() {
    let repository = Repository::with(DOCUMENT);
    repository.write(
        "openapi.yaml",
        &DOCUMENT.replace("description: d", "description: A pong"),
    );
    let ended = repository.diff(&["--against", "main"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "nothing breaks against main (as asked)\n")
    );
}

#[test]
fn first_commit_has_nothing_to_be_compared_with() {
    let ended = Repository::with(DOCUMENT).diff(&[]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            Some(0),
            "HEAD is the first commit: there is no older contract\n"
        )
    );
}

#[track_caller]
fn assert_refused(ended: &Ended, said: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn older_contract_that_cannot_be_had_is_told_with_what_to_do() {
    let repository = Repository::with(DOCUMENT);
    assert_refused(
        &repository.diff(&["--against", "nope"]),
        "there is no revision `nope`",
    );
    assert_refused(
        &repository.diff(&["--against=--output=x"]),
        "there is no revision `--output=x`",
    );
    repository.git(&["rm", "--quiet", "--cached", "openapi.yaml"]);
    repository.git(&["commit", "--quiet", "--message", "without it"]);
    assert_refused(
        &repository.diff(&["--against", "HEAD"]),
        "HEAD has no openapi.yaml",
    );
    fs::remove_file(repository.path().join("openapi.yaml")).expect("it was there");
    assert_refused(
        &repository.diff(&["--against", "HEAD^"]),
        "cannot read openapi.yaml",
    );

    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("openapi.yaml"), DOCUMENT).expect("the document can be written");
    assert_refused(&diff(folder.path(), &[]), "is not in a git repository");
    git(folder.path(), &["init", "--quiet"]);
    assert_refused(&diff(folder.path(), &[]), "HEAD names no commit yet");
}

#[test]
fn shallow_clone_is_told_how_to_get_the_rest() {
    let repository = Repository::with(DOCUMENT);
    repository.commit(&renamed());
    let clones = TempDir::new().expect("a temporary folder");
    let url = format!("file://{}", repository.path().display());
    git(
        clones.path(),
        &["clone", "--quiet", "--depth", "1", &url, "shallow"],
    );
    let shallow: PathBuf = clones.path().join("shallow");
    let advice = "this clone is shallow: `git fetch --unshallow` gets the rest";
    assert_refused(&diff(&shallow, &[]), advice);
    assert_refused(&diff(&shallow, &["--against", "HEAD^"]), advice);
    git(&shallow, &["fetch", "--quiet", "--unshallow"]);
    assert_refused(&diff(&shallow, &[]), RENAMED);
}

#[test]
fn document_that_cannot_be_read_is_told_with_its_revision_and_line() {
    let repository = Repository::with("paths: [\n");
    let ended = repository.diff(&["--against", "main"]);
    assert_refused(&ended, "openapi.yaml@main:");
    repository.commit(DOCUMENT);
    repository.write("openapi.yaml", "a: 1\na: 2\n");
    assert_refused(
        &repository.diff(&["--against", "HEAD"]),
        "openapi.yaml:2:1: key `a` was given before, on line 1",
    );
}
