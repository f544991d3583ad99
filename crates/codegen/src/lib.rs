//! OpenAPI 3.0 and 3.1 to Rust: wire types, a server trait with its Dropshot adapter, and a Progenitor client.
//!
//! ```text
//! text ──spec──▶ tree with places ──analyze──▶ IR ──emit──▶ files
//!                     └──────── diagnostics ◀──┘
//! ```
//!
//! A library without I/O. What a document says is carried or refused with its place, all refusals at once; no input
//! makes it panic. The same text gives the same files, byte for byte.

mod allow;
mod analyze;
mod compare;
mod diagnostic;
mod emit;
mod file;
mod instances;
mod ir;
mod names;
mod report;
mod spec;

use quote::quote;

use analyze::Analysis;

pub use allow::{AllowList, Allowed};
pub use compare::{Break, Incomparable, Level, Version, compare};
pub use diagnostic::{Code, Diagnostic, Location, Owner};
pub use file::{GeneratedFile, MARK};
pub use report::{Note, OperationReport, Outcome, Report, SchemaReport};

/// How to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The command that the first line of each file names.
    pub command: String,
    /// Also the manifests and roots that make two crates of the files.
    pub scaffold: bool,
    /// A type such as `crate::Transport`, through which the client sends: its crate implements Progenitor's
    /// `ClientHooks` for it.
    pub client_hooks: Option<String>,
    /// The crate with the runtime of the server, such as `arklow_adapter`. Without it the generated crate gets a copy of
    /// the runtime, so that it needs nothing of this repository.
    pub adapter: Option<String>,
    /// Also a program that calls each operation of the server through the client, with values made from the schemas.
    pub probe: bool,
    /// What becomes of a document with parts that are not carried.
    pub unsupported: Unsupported,
}

/// What becomes of a document with parts that are not carried.
#[derive(Clone, Debug, Default)]
pub enum Unsupported {
    /// It is refused.
    #[default]
    Refuse,
    /// Every operation that reaches none of them is generated; the report lists the others.
    Skip,
    /// As with [`Skip`](Self::Skip), if the list allows each of them; otherwise the document is refused.
    Allow(AllowList),
}

/// The runtime of generated servers, by the path in a copy of it. It names its modules by `super`, so that a copy is a
/// module of a generated crate.
const RUNTIME: [(&str, &str); 14] = [
    ("mod", include_str!("../../adapter/src/lib.rs")),
    ("body", include_str!("../../adapter/src/body.rs")),
    ("by_schema", include_str!("../../adapter/src/by_schema.rs")),
    ("bytes", include_str!("../../adapter/src/bytes.rs")),
    ("error", include_str!("../../adapter/src/error.rs")),
    ("kind", include_str!("../../adapter/src/kind.rs")),
    ("operation", include_str!("../../adapter/src/operation.rs")),
    ("origin", include_str!("../../adapter/src/origin.rs")),
    ("request", include_str!("../../adapter/src/request.rs")),
    ("response", include_str!("../../adapter/src/response.rs")),
    ("routes", include_str!("../../adapter/src/routes.rs")),
    ("template", include_str!("../../adapter/src/template.rs")),
    ("timeout", include_str!("../../adapter/src/timeout.rs")),
    ("validate", include_str!("../../adapter/src/validate.rs")),
];

/// What came of a document.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The files of the api crate under `api/`, those of the client crate under `client/`.
    pub files: Vec<GeneratedFile>,
    /// What the generated code does other than the document says.
    pub notes: Vec<Note>,
    /// What became of each part of the document.
    pub report: Report,
}

/// Why nothing was generated.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// What cannot be carried and is not allowed to be left out, by place.
    pub refusals: Vec<Diagnostic>,
    /// The lines of the allow list that nothing needs any more.
    pub unneeded: Vec<Allowed>,
    /// What would become of each part, where the document can be read.
    pub report: Box<Report>,
}

/// Generates from the text of a document, YAML or JSON.
///
/// # Errors
///
/// Every part of the document that cannot be carried, as far as `options.unsupported` does not leave it out; a list of
/// what is allowed with lines that nothing needs.
pub fn generate(text: &str, options: &Options) -> Result<Generated, Refused> {
    let root = spec::read(text).map_err(|diagnostic| Refused {
        refusals: vec![diagnostic],
        ..Refused::default()
    })?;
    let Analysis {
        api,
        mut report,
        all_read,
        notes,
    } = analyze::analyze(&root);
    let unneeded = match &options.unsupported {
        Unsupported::Allow(list) => list.unneeded(&report.refusals),
        Unsupported::Refuse | Unsupported::Skip => Vec::new(),
    };
    let nothing_is_left = api.operations.is_empty();
    let is_left_out = |refusal: &Diagnostic| match &options.unsupported {
        _ if nothing_is_left || refusal.code == Code::Version => false,
        Unsupported::Refuse => false,
        Unsupported::Skip => true,
        Unsupported::Allow(list) => list.allows(refusal),
    };
    let mut refusals: Vec<_> = report
        .refusals
        .iter()
        .filter(|refusal| !is_left_out(refusal))
        .cloned()
        .collect();
    // An author sees all refusals at once.
    if matches!(options.unsupported, Unsupported::Refuse) && !refusals.is_empty() && !all_read {
        refusals.extend(report.unreached.iter().cloned());
        refusals.sort();
    }
    if !refusals.is_empty() || !unneeded.is_empty() {
        return Err(Refused {
            refusals,
            unneeded,
            report: Box::new(report),
        });
    }
    // From here on a failure is a defect of the generator; it is reported like a rejection, with the place in the document.
    let (files, lowered) = emit_all(&api, options).map_err(|error| {
        let start = Location { line: 1, column: 1 };
        let message = format!("the generator failed: {error}");
        Refused {
            refusals: vec![
                Diagnostic::new(Code::Generator, start, message)
                    .hint("this is a fault of the generator; please report it with the document"),
            ],
            ..Refused::default()
        }
    })?;
    let notes: Vec<Note> = notes
        .into_iter()
        .filter(|note| {
            let is_generated = |id: &String| api.operations.iter().any(|of| of.id == *id);
            note.operation.as_ref().is_none_or(is_generated)
        })
        .chain(lowered)
        .collect();
    for operation in &mut report.operations {
        let own = notes
            .iter()
            .filter(|note| note.operation.as_ref() == Some(&operation.id));
        if operation.outcome == Outcome::Carried {
            operation
                .adapted
                .extend(own.map(|note| note.message.clone()));
            if !operation.adapted.is_empty() {
                operation.outcome = Outcome::Adapted;
            }
        }
    }
    Ok(Generated {
        files,
        notes,
        report,
    })
}

/// The files, and what the client does not carry.
fn emit_all(api: &ir::Api, options: &Options) -> Result<(Vec<GeneratedFile>, Vec<Note>), String> {
    let command = options.command.as_str();
    let package = names::package_name(&api.title);
    let api_crate = format!("{}_api", package.replace('-', "_"));
    let (lowered, mut notes) = emit::openapi30::lower(api);
    let lowered = sorted(lowered);
    let schemas = sorted(emit::operations::schemas(api));
    check_schemas(&schemas)?;
    let about = |what: &str| {
        format!(
            "{what} of {} {}.",
            api.title.replace('\n', " "),
            api.version.replace('\n', " ")
        )
    };
    let runtime = match &options.adapter {
        Some(adapter) => {
            let adapter = quote::format_ident!("{adapter}");
            quote! { use #adapter as runtime; }
        }
        None => quote! { mod runtime; },
    };
    let modules = quote! {
        #[cfg(feature = "server")]
        #runtime
        #[cfg(feature = "server")]
        pub mod operations;
        #[cfg(feature = "server")]
        pub mod server;
        pub mod types;
        #[cfg(feature = "server")]
        pub mod unimplemented;
    };
    let hooks = options.client_hooks.as_deref();
    let mut client = emit::client::emit(api, &lowered, &api_crate, hooks)?;
    // A document that cannot be mocked has a client all the same.
    let mock = emit::client::mock(api, &lowered, &api_crate);
    match &mock {
        Ok(_) => client.extend(quote! {
            #[cfg(feature = "mock")]
            pub mod mock;
        }),
        Err(error) => notes.push(Note {
            operation: None,
            message: format!("the client has no mocks: {error}"),
        }),
    }
    let mut files = vec![
        json(
            "api/src/generated/openapi-3.0.json",
            command,
            lowered.clone(),
        ),
        json(
            "api/src/generated/schemas.json",
            command,
            serde_json::json!({ "operations": schemas }),
        ),
        file::rust(
            "api/src/generated/mod.rs",
            &about("The modules"),
            command,
            modules,
        )?,
        file::rust(
            "api/src/generated/types.rs",
            &about("The wire types"),
            command,
            emit::types::emit(api),
        )?,
        file::rust(
            "api/src/generated/server.rs",
            &about("The server trait"),
            command,
            emit::server::emit(api),
        )?,
        file::rust(
            "api/src/generated/operations.rs",
            &about("The operations"),
            command,
            emit::operations::emit(api),
        )?,
        file::rust(
            "api/src/generated/unimplemented.rs",
            &about("A base for tests and mocks"),
            command,
            emit::unimplemented::emit(api),
        )?,
        file::rust(
            "client/src/generated/mod.rs",
            &about("The client"),
            command,
            client,
        )?,
    ];
    if options.adapter.is_none() {
        files.extend(RUNTIME.map(|(name, text)| {
            file::rust_text(
                &format!("api/src/generated/runtime/{name}.rs"),
                text,
                command,
            )
        }));
    }
    if let Ok(mock) = mock {
        files.push(file::rust(
            "client/src/generated/mock.rs",
            &about("Stand-ins for the server"),
            command,
            mock,
        )?);
    }
    if options.probe {
        let program = emit::probe::calls(api, &package);
        let cases = serde_json::to_string_pretty(&emit::probe::cases(api));
        files.push(file::rust(
            "probe/src/calls.rs",
            &about("Calls of the operations"),
            command,
            program,
        )?);
        for (path, contents) in [
            ("probe/Cargo.toml", emit::probe::manifest(&package)),
            ("probe/src/main.rs", emit::probe::PROGRAM.to_owned()),
            (
                "probe/cases.json",
                cases.map_err(|error| error.to_string())?,
            ),
        ] {
            files.push(GeneratedFile {
                path: path.to_owned(),
                contents,
            });
        }
    }
    if options.scaffold {
        let title = api.title.replace('\n', " ");
        let scaffold = [
            (
                "api/Cargo.toml",
                format!(
                    "# {}\n{}",
                    file::mark(command),
                    emit::scaffold::api_manifest(&package)
                ),
            ),
            (
                "api/src/lib.rs",
                format!(
                    "// {}\n{}",
                    file::mark(command),
                    emit::scaffold::api_lib(&title)
                ),
            ),
            (
                "client/Cargo.toml",
                format!(
                    "# {}\n{}",
                    file::mark(command),
                    emit::scaffold::client_manifest(&package)
                ),
            ),
            (
                "client/src/lib.rs",
                format!(
                    "// {}\n{}",
                    file::mark(command),
                    emit::scaffold::client_lib(&title, &api_crate)
                ),
            ),
        ];
        files.extend(scaffold.map(|(path, contents)| GeneratedFile {
            path: path.to_owned(),
            contents,
        }));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok((files, notes))
}

/// JSON has no comments, so the mark is a key.
fn json(path: &str, command: &str, mut value: serde_json::Value) -> GeneratedFile {
    value["x-generated"] = file::mark(command).into();
    GeneratedFile {
        path: path.to_owned(),
        contents: format!("{:#}\n", sorted(value)),
    }
}

/// The same value with its keys in order: serde_json keeps another one when some crate of the build asks for it.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// The generated code compiles these schemas when it starts, so they are compiled here first.
fn check_schemas(schemas: &serde_json::Value) -> Result<(), String> {
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_ignore_unknown_formats(true)
            .build(schema)
            .map_err(|error| format!("the schema of `{name}`: {}", error.masked()))?;
    }
    Ok(())
}
