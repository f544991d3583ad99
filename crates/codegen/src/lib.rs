//! OpenAPI 3.0 and 3.1 to Rust: wire types, a server trait with its Dropshot adapter, and a Progenitor client.
//!
//! ```text
//! text ──spec──▶ tree with places ──analyze──▶ IR ──emit──▶ files
//!                     └──────── diagnostics ◀──┘
//! ```
//!
//! A library without I/O. What a document says is carried or refused with its place, all refusals at once; no input
//! makes it panic. The same text gives the same files, byte for byte.

mod analyze;
mod compare;
mod diagnostic;
mod emit;
mod file;
mod ir;
mod names;
mod spec;

use quote::quote;

pub use compare::{Break, Incomparable, Level, Version, compare};
pub use diagnostic::{Diagnostic, Location};
pub use file::{GeneratedFile, MARK};

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
}

/// The runtime of generated servers, by the path in a copy of it. It names its modules by `super`, so that a copy is a
/// module of a generated crate.
const RUNTIME: [(&str, &str); 10] = [
    ("mod", include_str!("../../adapter/src/lib.rs")),
    ("body", include_str!("../../adapter/src/body.rs")),
    ("error", include_str!("../../adapter/src/error.rs")),
    ("operation", include_str!("../../adapter/src/operation.rs")),
    ("origin", include_str!("../../adapter/src/origin.rs")),
    ("request", include_str!("../../adapter/src/request.rs")),
    ("response", include_str!("../../adapter/src/response.rs")),
    ("routes", include_str!("../../adapter/src/routes.rs")),
    ("timeout", include_str!("../../adapter/src/timeout.rs")),
    ("validate", include_str!("../../adapter/src/validate.rs")),
];

/// What came of a document.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The files of the api crate under `api/`, those of the client crate under `client/`.
    pub files: Vec<GeneratedFile>,
    /// What the client does not carry, an operation at a time.
    pub notes: Vec<String>,
}

/// Generates from the text of a document, YAML or JSON.
///
/// # Errors
///
/// Every part of the document that cannot be carried.
pub fn generate(text: &str, options: &Options) -> Result<Generated, Vec<Diagnostic>> {
    let root = spec::read(text).map_err(|diagnostic| vec![diagnostic])?;
    let api = analyze::analyze(&root)?;
    // From here on a failure is a defect of the generator; it is reported like a rejection, with the place in the document.
    emit_all(&api, options).map_err(|error| {
        let diagnostic = Diagnostic::new(
            Location { line: 1, column: 1 },
            format!("the generator failed: {error}"),
        );
        vec![
            diagnostic.hint("this is a fault of the generator; please report it with the document"),
        ]
    })
}

fn emit_all(api: &ir::Api, options: &Options) -> Result<Generated, String> {
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
        Err(error) => notes.push(format!("the client has no mocks: {error}")),
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
    Ok(Generated { files, notes })
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
