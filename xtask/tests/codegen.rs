//! `cargo xtask codegen`: what it writes, what it refuses to write, and what it says about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use super::{Ended, repository, xtask};

/// The smallest document with something in every generated file.
const DOCUMENT: &str = "\
openapi: 3.1.0
info: { title: Ping, version: 1.0.0 }
servers: [{ url: 'http://localhost:3123' }]
security: [{ key: [] }]
tags: [{ name: pings }]
paths:
  /v1/ping:
    get:
      operationId: get_v1_ping
      tags: [pings]
      responses:
        '200':
          description: A pong
          content: { application/json: { schema: { $ref: '#/components/schemas/Pong' } } }
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: x-key }
  schemas:
    Pong: { type: object, required: [at], properties: { at: { type: string, format: date-time } } }
";

/// The folders that hold generated files only.
const GENERATED: [&str; 2] = ["crates/api/src/generated", "crates/client/src/generated"];

/// A temporary folder with a document.
struct Workspace(TempDir);

impl Workspace {
    fn with_document(document: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("ping.yaml"), document).expect("the document can be written");
        Self(folder)
    }

    /// A copy of what the command reads and writes in this repository.
    fn with_repository() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let root = repository();
        for path in files_below(&root, GENERATED.iter().chain(&["openapi.yaml"])) {
            let to = folder.path().join(&path);
            fs::create_dir_all(to.parent().expect("a folder")).expect("the folder can be made");
            fs::copy(root.join(path), to).expect("the file can be copied");
        }
        Self(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    }

    fn append(&self, path: &str, more: &str) {
        let text = fs::read_to_string(self.path(path)).expect("the file is there");
        self.write(path, text + more);
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).expect("the file is there");
    }

    /// Everything that is here.
    fn state(&self) -> State {
        state(self.0.path(), [""])
    }

    /// `codegen --spec ping.yaml --out out` and `more`, from this folder.
    fn generate(&self, more: &[&str]) -> Ended {
        self.codegen(&[&["--spec", "ping.yaml", "--out", "out"], more].concat())
    }

    /// `codegen` on the copy of the repository.
    fn codegen_here(&self, more: &[&str]) -> Ended {
        self.codegen(&[&["--root", "."], more].concat())
    }

    fn codegen(&self, arguments: &[&str]) -> Ended {
        xtask(self.0.path(), [&["codegen"], arguments].concat())
    }
}

/// Files with their contents and when they were last written.
type State = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

fn state<P: AsRef<Path>>(root: &Path, parts: impl IntoIterator<Item = P>) -> State {
    files_below(root, parts)
        .into_iter()
        .map(|path| {
            let at = root.join(&path);
            let written = fs::metadata(&at).and_then(|data| data.modified());
            let contents = fs::read(at).expect("the file can be read");
            (path, (contents, written.expect("the file has a time")))
        })
        .collect()
}

/// The files that `parts` are or hold, relative to `root`.
fn files_below<P: AsRef<Path>>(root: &Path, parts: impl IntoIterator<Item = P>) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = parts.into_iter().map(|part| part.as_ref().into()).collect();
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if !root.join(&path).is_dir() {
            files.push(path);
            continue;
        }
        for entry in fs::read_dir(root.join(&path)).expect("the folder can be listed") {
            open.push(path.join(entry.expect("an entry").file_name()));
        }
    }
    files
}

impl Ended {
    #[track_caller]
    fn assert_done(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// Failed, and said exactly this.
    #[track_caller]
    fn assert_failed(&self, said: &str) {
        assert_eq!(
            (self.stderr.as_str(), self.stdout.as_str(), self.code),
            (said, "", Some(1))
        );
    }

    /// Was called wrongly, and said so.
    #[track_caller]
    fn assert_misused(&self, said: &str) {
        assert!(self.stderr.contains(said), "{}", self.stderr);
        assert_eq!((self.stdout.as_str(), self.code), ("", Some(2)));
    }
}

#[test]
fn this_repository_is_current_and_checking_it_writes_nothing() {
    let parts = || GENERATED.iter().chain(&["openapi.yaml", "Cargo.lock"]);
    let before = state(&repository(), parts());
    xtask(&repository(), ["codegen", "--check"]).assert_done();
    assert!(
        before == state(&repository(), parts()),
        "something was written"
    );
}

#[test]
fn checking_a_repository_lists_changed_missing_and_surplus_files() {
    let workspace = Workspace::with_repository();
    workspace.append("crates/api/src/generated/types.rs", "// by hand\n");
    workspace.remove("crates/client/src/generated/mod.rs");
    workspace.write("crates/api/src/generated/old/gone.rs", "// @generated\n");
    let before = workspace.state();
    workspace.codegen_here(&["--check"]).assert_failed(
        "stale:
  crates/api/src/generated/types.rs
  crates/client/src/generated/mod.rs
  crates/api/src/generated/old/gone.rs (no longer generated)
run `cargo xtask codegen` and commit the result
",
    );
    assert!(before == workspace.state(), "something was written");
}

#[test]
fn generating_a_repository_mends_what_checking_lists_and_leaves_the_rest() {
    let workspace = Workspace::with_repository();
    let before = workspace.state();
    workspace.append("crates/api/src/generated/types.rs", "// by hand\n");
    workspace.remove("crates/client/src/generated/mod.rs");
    workspace.write("crates/api/src/generated/gone.rs", "// @generated\n");
    workspace.codegen_here(&[]).assert_done();
    let after = workspace.state();
    workspace.codegen_here(&["--check"]).assert_done();

    assert!(before.keys().eq(after.keys()), "the same files");
    let rewritten: Vec<&str> = before
        .iter()
        .filter(|(path, was)| after[*path].1 != was.1)
        .filter_map(|(path, _)| path.to_str())
        .collect();
    assert_eq!(
        rewritten,
        [
            "crates/api/src/generated/types.rs",
            "crates/client/src/generated/mod.rs"
        ]
    );
}

#[test]
fn refusing_the_document_of_a_repository_leaves_its_crates_alone() {
    let workspace = Workspace::with_repository();
    workspace.write("openapi.yaml", "openapi: 4.0.0\n");
    let before = workspace.state();
    let ended = workspace.codegen_here(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.starts_with("openapi.yaml:1:"),
        "{}",
        ended.stderr
    );
    assert!(before == workspace.state(), "something was written");
}

#[test]
fn any_document_becomes_two_crates() {
    let workspace = Workspace::with_document(DOCUMENT);
    let ended = workspace.generate(&[]);
    ended.assert_done();
    assert!(
        ended.stderr.ends_with("wrote out/api and out/client\n"),
        "{}",
        ended.stderr
    );
    let written: Vec<_> = state(workspace.0.path(), ["out"]).into_keys().collect();
    assert_eq!(
        written,
        [
            "out/api/Cargo.toml",
            "out/api/src/generated/mod.rs",
            "out/api/src/generated/openapi-3.0.json",
            "out/api/src/generated/operations.rs",
            "out/api/src/generated/runtime/body.rs",
            "out/api/src/generated/runtime/by_schema.rs",
            "out/api/src/generated/runtime/bytes.rs",
            "out/api/src/generated/runtime/error.rs",
            "out/api/src/generated/runtime/kind.rs",
            "out/api/src/generated/runtime/mod.rs",
            "out/api/src/generated/runtime/operation.rs",
            "out/api/src/generated/runtime/origin.rs",
            "out/api/src/generated/runtime/request.rs",
            "out/api/src/generated/runtime/response.rs",
            "out/api/src/generated/runtime/routes.rs",
            "out/api/src/generated/runtime/template.rs",
            "out/api/src/generated/runtime/timeout.rs",
            "out/api/src/generated/runtime/validate.rs",
            "out/api/src/generated/schemas.json",
            "out/api/src/generated/server.rs",
            "out/api/src/generated/types.rs",
            "out/api/src/generated/unimplemented.rs",
            "out/api/src/lib.rs",
            "out/client/Cargo.toml",
            "out/client/src/generated/mock.rs",
            "out/client/src/generated/mod.rs",
            "out/client/src/lib.rs",
        ]
        .map(PathBuf::from)
    );
    workspace.generate(&["--check"]).assert_done();
}

#[test]
fn generating_again_writes_nothing() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace.generate(&[]).assert_done();
    let before = workspace.state();
    workspace.generate(&[]).assert_done();
    assert!(before == workspace.state(), "something was written");
}

#[test]
fn files_do_not_tell_where_the_document_lies() {
    let (one, other) = (
        Workspace::with_document(DOCUMENT),
        Workspace::with_document(DOCUMENT),
    );
    one.generate(&[]).assert_done();
    let (spec, out) = (other.path("ping.yaml"), other.path("out"));
    xtask(
        Path::new("/"),
        [
            "codegen".as_ref(),
            "--spec".as_ref(),
            spec.as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ],
    )
    .assert_done();
    let contents = |workspace: &Workspace| -> Vec<_> {
        let files = workspace.state().into_iter();
        files
            .map(|(path, (contents, _))| (path, contents))
            .collect()
    };
    assert!(contents(&one) == contents(&other), "the same files");
}

#[test]
fn checking_two_crates_lists_what_is_stale_and_names_the_command() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace.generate(&[]).assert_done();
    workspace.append("out/api/src/generated/types.rs", "// by hand\n");
    workspace.remove("out/client/Cargo.toml");
    let before = workspace.state();
    workspace.generate(&["--check"]).assert_failed(
        "stale:
  api/src/generated/types.rs
  client/Cargo.toml
run `cargo xtask codegen --spec ping.yaml --out out` and commit the result
",
    );
    assert!(before == workspace.state(), "something was written");
}

#[test]
fn checking_what_was_never_generated_lists_everything_and_makes_no_folder() {
    let workspace = Workspace::with_document(DOCUMENT);
    let ended = workspace.generate(&["--check"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.matches("\n  ").count(), 27, "{}", ended.stderr);
    assert!(!workspace.path("out").exists());
}

#[test]
fn refusals_come_all_at_once_with_places_and_hints_and_nothing_is_written() {
    let workspace = Workspace::with_document(
        DOCUMENT
            .replace("tags: [pings]\n      responses", "tags: 7\n      responses")
            .replace("format: date-time", "pattern: '('"),
    );
    for more in [&[][..], &["--check"]] {
        workspace.generate(more).assert_failed(
            "ping.yaml:10:13: `tags` is a number, not a list
ping.yaml:19:86: a `pattern` that is not an ECMAScript regular expression
2 refusals; nothing was written
",
        );
        assert!(!workspace.path("out").exists());
    }
}

#[test]
fn document_that_is_missing_is_named_with_the_cause() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace.remove("ping.yaml");
    workspace
        .generate(&[])
        .assert_failed("cannot read ping.yaml: No such file or directory (os error 2)\n");
    assert!(!workspace.path("out").exists());
}

#[test]
fn document_that_is_a_folder_is_named_with_the_cause() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace
        .codegen(&["--spec", ".", "--out", "out"])
        .assert_failed("cannot read .: Is a directory (os error 21)\n");
    assert!(!workspace.path("out").exists());
}

#[test]
fn document_that_is_not_utf8_is_an_error() {
    let workspace = Workspace::with_document(b"openapi: 3.1.0 # caf\xe9\n");
    workspace
        .generate(&[])
        .assert_failed("ping.yaml is not UTF-8\n");
    assert!(!workspace.path("out").exists());
}

#[test]
fn document_and_folder_need_each_other() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace
        .codegen(&["--spec", "ping.yaml"])
        .assert_misused("--out <DIR>");
    workspace
        .codegen(&["--out", "out"])
        .assert_misused("--spec <FILE>");
    assert!(!workspace.path("out").exists());
}

#[test]
fn arguments_and_exit_codes_are_in_the_help() {
    let ended = xtask(Path::new("/"), ["codegen", "--help"]);
    ended.assert_done();
    for said in ["--check", "--spec <FILE>", "--out <DIR>", "Exit codes: "] {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
}

#[test]
fn file_that_was_written_by_hand_is_neither_overwritten_nor_removed() {
    let files: [(&str, &[u8]); 4] = [
        ("out/client/src/lib.rs", b"// mine\n"),
        ("out/client/src/lib.rs", b"// caf\xe9, mine\n"),
        ("out/api/src/generated/schemas.json", b"{}\n"),
        ("out/api/src/generated/notes.txt", b"mine\n"),
    ];
    for (path, text) in files {
        let workspace = Workspace::with_document(DOCUMENT);
        workspace.write(path, text);
        let before = workspace.state();
        workspace.generate(&[]).assert_failed(&format!(
            "{path} exists and was not generated; move it away or choose another folder\n"
        ));
        assert!(before == workspace.state(), "something was written");
    }
}

#[test]
fn what_an_earlier_run_left_is_listed_and_removed() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace.generate(&[]).assert_done();
    let before = workspace.state();
    workspace.write("out/api/src/generated/gone.rs", "// @generated\n");
    workspace.generate(&["--check"]).assert_failed(
        "stale:
  api/src/generated/gone.rs (no longer generated)
run `cargo xtask codegen --spec ping.yaml --out out` and commit the result
",
    );
    workspace.generate(&[]).assert_done();
    assert!(before.keys().eq(workspace.state().keys()), "the same files");
}

#[test]
fn folder_that_is_a_file_is_an_error() {
    let workspace = Workspace::with_document(DOCUMENT);
    workspace.write("out", "a file");
    workspace
        .generate(&[])
        .assert_failed("cannot create out/api: Not a directory (os error 20)\n");
}

/// [`DOCUMENT`] with a second operation, which is not carried.
fn with_xml() -> String {
    DOCUMENT.replace(
        "components:\n",
        "  /v1/feed:
    get: { operationId: get_v1_feed, responses: { '200': { description: d, content: { application/xml: {} } } } }
components:\n",
    )
}

#[test]
fn operations_that_are_not_carried_can_be_left_out_and_are_reported() {
    let workspace = Workspace::with_document(with_xml());
    let refused = workspace.generate(&["--report", "report.json"]);
    refused.assert_failed(
        "ping.yaml:16:87: the media type `application/xml` of an answer
  hint: JSON, forms, texts and bytes are generated; serve others by hand
1 refusal; nothing was written
1 of 2 operations can be generated: see --skip-unsupported
",
    );
    let report = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(workspace.path(name)).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(
        report("report.json")["operations"][1]["why"][0]["code"],
        "media-type"
    );

    let skipped = workspace.generate(&["--skip-unsupported", "--report", "skipped.json"]);
    skipped.assert_done();
    let end = "skipped GET /v1/feed:
  ping.yaml:16:87: the media type `application/xml` of an answer
  hint: JSON, forms, texts and bytes are generated; serve others by hand
1 of 2 operations are generated, 1 skipped
wrote out/api and out/client
";
    assert!(skipped.stderr.ends_with(end), "{}", skipped.stderr);
    let report = report("skipped.json");
    let expected = serde_json::json!({
        "method": "GET",
        "path": "/v1/feed",
        "id": "get_v1_feed",
        "outcome": "skipped",
        "why": [{
            "line": 16,
            "column": 87,
            "code": "media-type",
            "owner": "GET /v1/feed",
            "message": "the media type `application/xml` of an answer",
            "hint": "JSON, forms, texts and bytes are generated; serve others by hand",
        }],
    });
    assert_eq!(report["operations"][1], expected);
    assert_eq!(
        (&report["carried"], &report["skipped"]),
        (&1.into(), &1.into())
    );
    assert_eq!(report["schemas"][0]["type"], "Pong");
    workspace
        .generate(&["--skip-unsupported", "--check"])
        .assert_done();
}

#[test]
fn allow_list_lets_named_operations_out_and_must_be_needed() {
    let workspace = Workspace::with_document(with_xml());
    workspace.write("allow.txt", "media-type GET /v1/feed # served by hand\n");
    workspace.generate(&["--allow", "allow.txt"]).assert_done();
    workspace.write("allow.txt", "media-type GET /v1/feed\n\nall-of\n");
    workspace
        .generate(&["--allow", "allow.txt", "--check"])
        .assert_failed(
            "allow.txt:3: nothing needs `all-of`; remove the line\n1 refusal; nothing was written\n",
        );
    workspace.write("allow.txt", "everything\n");
    workspace.generate(&["--allow", "allow.txt"]).assert_failed(
        "allow.txt:1:1: `everything` is not the name of a refusal
  hint: a report lists the `code` of each refusal
",
    );
    workspace
        .generate(&["--allow", "allow.txt", "--skip-unsupported"])
        .assert_misused("cannot be used with");
    xtask(workspace.0.path(), ["codegen", "--skip-unsupported"]).assert_misused("--spec");
}
