//! The rules of `ARCHITECTURE.md` that Cargo can tell: what may depend on what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{cargo, repository};

const HEADING: &str = "## What may depend on what";

/// The row for what the tests of the service may use; the tests of other crates share the crate's row.
const SERVICE_TESTS: &str = "service (tests)";

/// The rows of the table: who may use which of our crates.
type Table = BTreeMap<String, BTreeSet<String>>;

/// A package of the workspace.
struct Member {
    /// The name of its folder, which is what people call it.
    name: String,
    manifest: PathBuf,
    edges: Vec<Edge>,
}

/// A dependency as its manifest declares it.
struct Edge {
    /// The crate that is depended on; for one of ours, its folder.
    to: String,
    is_ours: bool,
    is_dev: bool,
}

impl Member {
    fn row(&self, edge: &Edge) -> &str {
        match self.name.as_str() {
            "service" if edge.is_dev => SERVICE_TESTS,
            name => name,
        }
    }

    fn others(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(|edge| !edge.is_ours)
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_dev { "dev-dependency " } else { "" };
        write!(f, "{kind}`{}`", self.to)
    }
}

/// The workspace as its manifests declare it.
fn members() -> Vec<Member> {
    let metadata = cargo([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
        "--locked",
    ]);
    assert_eq!(metadata.code, Some(0), "{}", metadata.stderr);
    let metadata: Value = serde_json::from_str(&metadata.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Member {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let folder_name = |path: &Path| {
        let name = path.file_name().expect("a folder has a name");
        name.to_string_lossy().into_owned()
    };
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let dependencies = package["dependencies"].as_array().expect("a list");
    Member {
        name: folder_name(manifest.parent().expect("a manifest lies in a folder")),
        edges: dependencies
            .iter()
            .map(|dependency| {
                let path = dependency["path"].as_str();
                Edge {
                    to: path.map_or_else(
                        || text(&dependency["name"]),
                        |path| folder_name(Path::new(path)),
                    ),
                    is_ours: path.is_some(),
                    is_dev: dependency["kind"] == "dev",
                }
            })
            .collect(),
        manifest,
    }
}

/// The table below [`HEADING`].
fn table(text: &str) -> Table {
    let rows = text
        .lines()
        .skip_while(|line| line.trim_end() != HEADING)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        // The names of the columns, and the line below them.
        .skip(2);
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<String> = row
            .trim_matches(['|', ' '])
            .split('|')
            .map(|cell| cell.replace('`', "").trim().to_owned())
            .collect();
        let [name, uses, because] = cells.as_slice() else {
            panic!("the row `{row}` has not three cells");
        };
        assert!(!because.is_empty(), "the row of `{name}` gives no reason");
        let uses = uses.split(',').map(str::trim).filter(|name| *name != "–");
        let former = table.insert(name.clone(), uses.map(str::to_owned).collect());
        assert!(former.is_none(), "`{name}` has two rows");
    }
    table
}

/// What the members do that the table does not say, as sentences.
fn differences(table: &Table, members: &[Member]) -> Vec<String> {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let is_row = |name: &str| names.contains(name) || name == SERVICE_TESTS;
    let mut said = Vec::new();
    for name in names.iter().filter(|name| !table.contains_key(**name)) {
        said.push(format!("`{name}` has no row"));
    }
    for (row, uses) in table {
        if !is_row(row) {
            said.push(format!("the row `{row}` is of no crate"));
        }
        for name in uses.iter().filter(|name| !names.contains(name.as_str())) {
            said.push(format!(
                "the row `{row}` names `{name}`, which is no crate of ours"
            ));
        }
    }
    for member in members {
        for edge in member.edges.iter().filter(|edge| edge.is_ours) {
            let row = member.row(edge);
            if !table.get(row).is_some_and(|uses| uses.contains(&edge.to)) {
                said.push(format!(
                    "`{}` has the {edge}, which the row `{row}` does not allow",
                    member.name
                ));
            }
        }
    }
    said
}

#[test]
fn crates_depend_on_what_the_table_says() {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("the file is there");
    let said = differences(&table(&text), &members());
    assert!(
        said.is_empty(),
        "ARCHITECTURE.md, {HEADING}: {}",
        said.join("; ")
    );
}

#[test]
fn edge_that_the_table_does_not_allow_is_named() {
    let ours = |to: &str, is_dev| Edge {
        to: to.to_owned(),
        is_ours: true,
        is_dev,
    };
    let member = |name: &str, edges| Member {
        name: name.to_owned(),
        manifest: PathBuf::new(),
        edges,
    };
    let members = [
        member("domain", vec![ours("store", false)]),
        member("store", vec![ours("domain", false), ours("client", true)]),
        member("service", vec![ours("client", true), ours("client", false)]),
        member("client", vec![]),
    ];
    let text = "\
| crate | may use (of ours) | because |
| --- | --- | --- |
| another | table | stands here |

## What may depend on what

| crate | may use (of ours) | because |
| --- | --- | --- |
| `domain` | – | it is pure |
| `store` | `domain` | it keeps what the domain decides |
| `service` | `store`, `domian` | it joins them |
| `service (tests)` | `client` | they speak HTTP |
| `sdk` | – | it is gone |

| a third | table | below |
";
    assert_eq!(
        differences(&table(text), &members),
        [
            "`client` has no row",
            "the row `sdk` is of no crate",
            "the row `service` names `domian`, which is no crate of ours",
            "`domain` has the `store`, which the row `domain` does not allow",
            "`store` has the dev-dependency `client`, which the row `store` does not allow",
            "`service` has the `client`, which the row `service` does not allow",
        ]
    );
}

/// Every use of another's crate whose name `is` and that `may` not be.
#[track_caller]
fn assert_only(is: impl Fn(&str) -> bool, may: impl Fn(&Member, &Edge) -> bool, rule: &str) {
    for member in &members() {
        for edge in member.others().filter(|edge| is(&edge.to)) {
            assert!(
                may(member, edge),
                "`{}` has the {edge}, but {rule}",
                member.name
            );
        }
    }
}

#[test]
fn only_the_store_names_diesel() {
    assert_only(
        |name| name.starts_with("diesel"),
        // Tests of the service break rows on purpose, and the benchmark listens to what the store says.
        |member, edge| {
            ["store", "bench"].contains(&member.name.as_str())
                || (member.name == "service" && edge.is_dev)
        },
        "only `store` names Diesel, `bench`, and tests of `service`",
    );
}

#[test]
fn only_the_adapter_the_api_and_the_service_name_dropshot() {
    assert_only(
        |name| name.starts_with("dropshot"),
        |member, _| ["adapter", "api", "service"].contains(&member.name.as_str()),
        "only `adapter`, `api` and `service` name Dropshot",
    );
}

#[test]
fn domain_has_no_runtime_no_wire_and_no_database() {
    let banned = ["tokio", "serde", "diesel", "dropshot", "reqwest"];
    assert_only(
        |name| banned.iter().any(|banned| name.starts_with(banned)),
        |member, _| member.name != "domain",
        "`domain` is pure",
    );
}

/// What the client brings to everybody who uses it: crates, and the features that they have, such as `hyper feature "http1"`.
fn tree_of_the_client(options: &[&str]) -> BTreeSet<String> {
    let arguments = [
        &[
            "tree",
            "--package=arklow-client",
            "--edges=normal,features",
            "--prefix=none",
            "--format={p}",
            "--target=all",
            "--offline",
            "--locked",
        ],
        options,
    ];
    let tree = cargo(arguments.concat());
    assert_eq!(tree.code, Some(0), "{}", tree.stderr);
    let lines = tree.stdout.lines();
    lines
        .map(|line| match line.split_once(" feature ") {
            Some((name, feature)) => {
                let feature = feature.split(' ').next().unwrap_or_default();
                format!(
                    "{} feature {feature}",
                    name.split(' ').next().unwrap_or_default()
                )
            }
            None => line.split(' ').next().unwrap_or_default().to_owned(),
        })
        .collect()
}

/// What is of a server, of a database, or of the commands.
fn is_of_the_server(name: &str) -> bool {
    const BANNED: [&str; 14] = [
        "axum",
        "clap",
        "deadpool",
        "diesel",
        "dropshot",
        "jsonschema",
        "libsqlite3-sys",
        "rusqlite",
        "schemars",
        "slog",
        "tempfile",
        "tokio-postgres",
        "tracing-subscriber",
        "warp",
    ];
    let of_hyper = ["hyper feature \"server\"", "hyper-util feature \"server\""];
    BANNED.iter().any(|banned| name.starts_with(banned))
        || of_hyper.contains(&name)
        || name.starts_with("arklow") && !["arklow-api", "arklow-client"].contains(&crate_of(name))
        || name == "arklow-api feature \"server\""
}

fn crate_of(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
}

#[test]
fn client_brings_nothing_of_the_server() {
    let tree = tree_of_the_client(&[]);
    for expected in ["arklow-api", "reqwest", "hyper feature \"client\""] {
        assert!(
            tree.contains(expected),
            "the tree is listed, but for {expected}: {tree:?}"
        );
    }
    let brought: Vec<&String> = tree.iter().filter(|name| is_of_the_server(name)).collect();
    assert!(
        brought.is_empty(),
        "`client` brings {brought:?} to everybody who uses it"
    );
    assert!(
        !tree.contains("httpmock") && !tree.contains("regex"),
        "only with `mock`"
    );
}

/// The test above, tested: a stand-in for a server is one.
#[test]
fn mocks_of_the_client_are_behind_their_feature() {
    let tree = tree_of_the_client(&["--features=mock"]);
    assert!(tree.contains("httpmock") && tree.contains("regex"));
    let brought: Vec<&String> = tree.iter().filter(|name| is_of_the_server(name)).collect();
    assert_eq!(
        brought,
        ["hyper feature \"server\"", "hyper-util feature \"server\""]
    );
}

#[test]
fn every_crate_has_lints() {
    for member in members() {
        let manifest = fs::read_to_string(&member.manifest).expect("the manifest is there");
        assert!(
            manifest.lines().any(|line| line.starts_with("[lints")),
            "`{}` has no `[lints]`",
            member.name
        );
    }
}

/// The rows of a table of `docs/security.md`: their number, and the tests that they name in code.
fn claims(letter: char) -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(repository().join("docs/security.md")).expect("the page");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = cells.get(1)?.strip_prefix(letter)?;
        number.parse::<u32>().ok()?;
        // The last cell stands before the last `|`.
        let tests = cells[cells.len() - 2].split('`').skip(1).step_by(2);
        Some((
            format!("{letter}{number}"),
            tests.map(str::to_owned).collect(),
        ))
    });
    rows.collect()
}

/// The names of all test functions in this repository.
fn test_functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![repository().join("crates"), repository().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let mut is_test = false;
                for line in text.lines().map(str::trim) {
                    let name = line
                        .strip_prefix("async fn ")
                        .or_else(|| line.strip_prefix("fn "))
                        .and_then(|rest| rest.split(['(', '<']).next());
                    match name {
                        Some(name) if is_test => drop(names.insert(name.to_owned())),
                        _ => {}
                    }
                    is_test = line.starts_with("#[test]")
                        || line.starts_with("#[tokio::test")
                        // Between the attribute and the function.
                        || is_test && line.starts_with("#[ignore");
                }
            }
        }
    }
    names
}

#[test]
fn every_threat_and_every_requirement_names_tests_that_exist() {
    let functions = test_functions();
    for (letter, count) in [('T', 46), ('R', 32)] {
        let claims = claims(letter);
        let numbers: Vec<&str> = claims.iter().map(|(number, _)| &**number).collect();
        let expected: Vec<String> = (1..=count).map(|n| format!("{letter}{n}")).collect();
        assert_eq!(numbers, expected, "the rows of docs/security.md");
        for (number, tests) in &claims {
            assert!(!tests.is_empty(), "{number} names no test");
            for test in tests {
                assert!(
                    functions.contains(test),
                    "{number} names `{test}`, which is no test"
                );
            }
        }
    }
    // And the other way round: a test with the number of a threat stands in its row.
    let claims: BTreeMap<String, Vec<String>> = claims('T').into_iter().collect();
    for test in &functions {
        let number = test
            .strip_prefix('t')
            .and_then(|rest| rest.get(..2))
            .and_then(|digits| digits.parse::<u32>().ok());
        if let Some(number) = number.filter(|_| test.get(3..4) == Some("_")) {
            let row = &claims[&format!("T{number}")];
            assert!(
                row.contains(test),
                "the row of T{number} does not name `{test}`"
            );
        }
    }
}
