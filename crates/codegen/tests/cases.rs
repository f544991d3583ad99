//! Each folder of `cases/` holds a document and what the generator makes of it; all of it compiles, and the vendor's and
//! those of `shared-errors` and `wire.yaml` are run: each client against its server. Of the documents in `PROBED`, each
//! operation is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use arklow_codegen::{Generated, GeneratedFile, Options, generate};

use super::{assert_file, entries, folder, options};

/// The same in every case, and compared with its source instead.
const SHARED: &str = "api/src/generated/runtime/";

fn case(folder: &Path) -> Vec<GeneratedFile> {
    let text = fs::read_to_string(folder.join("openapi.yaml")).expect("the case has a document");
    generate(&text, &options())
        .unwrap_or_else(|refusals| panic!("{}: {refusals:#?}", folder.display()))
        .files
}

#[test]
fn cases_give_the_files_beside_them() {
    for folder in entries(&folder("cases")) {
        let files = case(&folder);
        for file in files.iter().filter(|file| !file.path.starts_with(SHARED)) {
            assert_file(&folder.join(&file.path), &file.contents);
        }
        let surplus = ["api/src/generated", "client/src/generated"]
            .iter()
            .flat_map(|part| entries(&folder.join(part)))
            .find(|path| !files.iter().any(|file| folder.join(&file.path) == *path));
        assert_eq!(surplus, None, "a file that is no longer generated");
    }
}

#[test]
fn output_is_the_same_every_time() {
    for folder in entries(&folder("cases")) {
        assert_eq!(case(&folder), case(&folder));
    }
}

/// Documents of which each operation is called with made values.
const PROBED: [(&str, &str); 3] = [
    ("arklow", include_str!("cases/arklow/openapi.yaml")),
    ("contents", include_str!("contents.yaml")),
    ("shapes", include_str!("shapes.yaml")),
];

/// One workspace of all cases, and of a program that runs one of them, built with this workspace's own artifacts.
#[test]
fn cases_compile_and_the_vendor_case_runs() {
    let workspace = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("codegen-cases");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents: Vec<(String, Vec<GeneratedFile>)> = entries(&folder("cases"))
        .iter()
        .map(|folder| {
            (
                folder
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
                case(folder),
            )
        })
        .collect();
    for (name, text) in [
        ("obstacles", include_str!("obstacles.yaml")),
        ("wire", include_str!("wire.yaml")),
        ("access", include_str!("access.yaml")),
        ("routes", include_str!("routes.yaml")),
        ("shapes", include_str!("shapes.yaml")),
        ("contents", include_str!("contents.yaml")),
    ] {
        let generated = generate(text, &options());
        documents.push((name.to_owned(), generated.expect("it is carried").files));
    }
    let mut members = vec!["\"probe\"".to_owned()];
    for (name, text) in PROBED {
        let options = Options {
            probe: true,
            ..options()
        };
        let generated = generate(text, &options).expect("it is carried");
        let probe = generated.files.into_iter();
        let probe = probe.filter(|file| file.path.starts_with("probe/"));
        documents.push((name.to_owned(), probe.collect()));
        members.push(format!("\"{name}/probe\""));
    }
    for (name, files) in documents {
        for file in files {
            // A member of a workspace is not a workspace.
            let contents = file.contents.replace("\n[workspace]\n", "");
            write(&workspace.join(&name).join(&file.path), &contents);
        }
        if !members
            .iter()
            .any(|member| member.contains(&format!("{name}/api")))
        {
            members.push(format!("\"{name}/api\", \"{name}/client\""));
        }
    }
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[profile.dev]\ndebug = \"line-tables-only\"\n",
        members.join(", ")
    );
    write(&workspace.join("Cargo.toml"), &manifest);
    write(
        &workspace.join("probe/Cargo.toml"),
        include_str!("probe/Cargo.toml.txt"),
    );
    for (name, text) in [
        ("main.rs", include_str!("probe/main.rs")),
        ("shared.rs", include_str!("probe/shared.rs")),
        ("wire.rs", include_str!("probe/wire.rs")),
        ("access.rs", include_str!("probe/access.rs")),
        ("routes.rs", include_str!("probe/routes.rs")),
        ("shapes.rs", include_str!("probe/shapes.rs")),
        ("contents.rs", include_str!("probe/contents.rs")),
    ] {
        write(&workspace.join("probe/src").join(name), text);
    }
    // The versions of this repository, which were fetched to build this test.
    fs::copy(repository.join("Cargo.lock"), workspace.join("Cargo.lock"))
        .expect("the lock file can be copied");
    cargo(
        &workspace,
        &["check", "--workspace", "--all-features", "--quiet"],
    );
    cargo(&workspace, &["run", "--package", "probe", "--quiet"]);
    for (name, _) in PROBED {
        let package = format!("{name}-probe");
        cargo(&workspace, &["run", "--package", &package, "--quiet"]);
    }
}

/// The operation as its users published it, into two crates that compile on their own.
#[test]
fn published_operation_compiles_on_its_own() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("codegen-published");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let generated =
        generate(include_str!("../../../tests/seed.yaml"), &options()).expect("it is carried");
    for file in generated.files {
        write(&root.join(&file.path), &file.contents);
    }
    for part in ["api", "client"] {
        fs::copy(&lock, root.join(part).join("Cargo.lock")).expect("the lock file can be copied");
        cargo(&root.join(part), &["check", "--all-features", "--quiet"]);
    }
}

/// A value that a URL parser folds would call another operation; that it is refused before it is sent is tried by `probe`.
#[test]
fn t41_clients_write_no_path_value_unchecked() {
    let documents = entries(&folder("cases"))
        .into_iter()
        .map(|folder| case(&folder));
    let wire = generate(include_str!("wire.yaml"), &options()).expect("it is carried");
    let mut checked = 0;
    for files in documents.chain([wire.files]) {
        let client = |file: &&GeneratedFile| file.path == "client/src/generated/mod.rs";
        let client = &files
            .iter()
            .find(client)
            .expect("there is a client")
            .contents;
        let unchecked = client.matches("encode_path(").count();
        let segments = client.matches("super::path_segment(").count();
        assert_eq!(
            unchecked,
            usize::from(segments > 0),
            "only `path_segment` encodes"
        );
        checked += segments;
    }
    assert!(checked >= 15, "only {checked} values");
}

/// One operation must not authenticate as another does because the names of their schemes join alike.
#[test]
fn choices_of_schemes_whose_names_join_alike_stay_apart() {
    let operation = |id: &str, schemes: [&str; 2]| {
        let [one, other] = schemes;
        format!(
            "  /{id}:
    get:
      operationId: {id}
      security: [{{ {one}: [] }}, {{ {other}: [] }}]
      responses: {{ '204': {{ description: Fine. }} }}
"
        )
    };
    let schemes = ["one", "twoOrThree", "oneOrTwo", "three"];
    let declared = schemes
        .map(|key| format!("    {key}: {{ type: apiKey, in: header, name: x-{key} }}\n"))
        .concat();
    let text = format!(
        "openapi: 3.1.0
info: {{ title: Alike, version: 0.1.0 }}
paths:
{}{}components:
  securitySchemes:
{declared}",
        operation("a", [schemes[0], schemes[1]]),
        operation("b", [schemes[2], schemes[3]]),
    );
    let files = generate(&text, &options()).expect("it is carried").files;
    let text_of = |path: &str| {
        let mut files = files.iter();
        let file = files.find(|file| file.path == format!("api/src/generated/{path}.rs"));
        file.expect("it is generated").contents.as_str()
    };
    for name in ["OneOrTwoOrThreeAccess", "OneOrTwoOrThreeAccess2"] {
        assert_eq!(
            text_of("server")
                .matches(&format!("pub struct {name};"))
                .count(),
            1
        );
        let used = format!("type Access = server::{name};");
        assert_eq!(text_of("operations").matches(&used).count(), 1);
    }
}

/// A method of the mocks is called after the status.
#[test]
fn status_without_a_name_costs_the_mocks_and_is_noted() {
    let named = include_str!("../../../tests/seed.yaml").to_owned();
    let nameless = named.replace("'200':", "'299':");
    assert_ne!(named, nameless);
    let generated = |text: &str| generate(text, &options()).expect("it is carried");
    let is_mock = |file: &GeneratedFile| file.path == "client/src/generated/mock.rs";
    let (named, nameless) = (generated(&named), generated(&nameless));
    assert!(named.files.iter().any(is_mock) && !nameless.files.iter().any(is_mock));
    let is_noted = |generated: &Generated| {
        let mut notes = generated.notes.iter().map(ToString::to_string);
        notes.any(|note| note == "the client has no mocks: status 299 has no name")
    };
    assert!(is_noted(&nameless) && !is_noted(&named));
    let declares = |file: &GeneratedFile| file.contents.contains("pub mod mock;");
    assert!(!nameless.files.iter().any(declares));
}

fn write(path: &Path, contents: &str) {
    if fs::read_to_string(path).is_ok_and(|text| text == contents) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
    fs::write(path, contents).expect("the file can be written");
}

#[track_caller]
fn cargo(workspace: &Path, arguments: &[&str]) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder");
    // The lock file names the Dropshot that this repository has, and without the network there is no other one.
    let dropshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vendor/dropshot");
    let patch = format!("patch.crates-io.dropshot.path='{}'", dropshot.display());
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--config", &patch])
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "")
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo {} failed:\n{said}",
        arguments.join(" ")
    );
    assert!(
        !said.contains("warning:"),
        "generated code has warnings:\n{said}"
    );
}
