//! The other files of the two crates, for documents that have no crates yet.

/// The manifest of the api crate.
pub(crate) fn api_manifest(package: &str) -> String {
    format!(
        r#"[package]
name = "{package}-api"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
# What a description shows as code is no test.
doctest = false

[features]
default = ["server"]
# The server trait and its Dropshot adapter; without it, only the wire types.
server = [
    "dep:async-trait", "dep:base64", "dep:dropshot", "dep:futures-util", "dep:http", "dep:http-body-util",
    "dep:hyper", "dep:jsonschema", "dep:percent-encoding", "dep:schemars", "dep:serde_path_to_error",
    "dep:serde_urlencoded", "dep:slog", "dep:tokio", "dep:tracing",
]

[dependencies]
async-trait = {{ version = "0.1.89", optional = true }}
base64 = {{ version = "0.23.1", default-features = false, features = ["std"], optional = true }}
chrono = {{ version = "0.4.45", default-features = false, features = ["serde", "std"] }}
dropshot = {{ version = "0.18.0", optional = true }}
futures-util = {{ version = "0.3.34", default-features = false, features = ["std"], optional = true }}
http = {{ version = "1.4.0", optional = true }}
http-body-util = {{ version = "0.1.5", optional = true }}
hyper = {{ version = "1.8.1", optional = true }}
jsonschema = {{ version = "0.61.2", default-features = false, optional = true }}
percent-encoding = {{ version = "2.3.2", optional = true }}
schemars = {{ version = "0.8.22", optional = true }}
serde = {{ version = "1.0.229", features = ["derive"] }}
serde_json = "1.0.150"
serde_path_to_error = {{ version = "0.1.20", optional = true }}
serde_urlencoded = {{ version = "0.7.1", optional = true }}
slog = {{ version = "2.8.2", optional = true }}
tokio = {{ version = "1.54.1", features = ["sync", "time"], optional = true }}
tracing = {{ version = "0.1.44", default-features = false, features = ["std"], optional = true }}

# The runtime serves any document, so this one may leave parts of it unused.
[lints.rust]
dead_code = "allow"
unused_imports = "allow"
unused_mut = "allow"

# How long a type or a text is follows from the document.
[lints.clippy]
all = "allow"

[workspace]
"#
    )
}

/// The manifest of the client crate.
pub(crate) fn client_manifest(package: &str) -> String {
    format!(
        r#"[package]
name = "{package}-client"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
# What a description shows as code is no test.
doctest = false

[features]
# Mocks of the server, for tests of programs that use the client.
mock = ["dep:httpmock", "dep:regex"]

[dependencies]
{package}-api = {{ path = "../api", default-features = false }}
chrono = {{ version = "0.4.45", default-features = false, features = ["serde", "std"] }}
httpmock = {{ version = "0.9.0", default-features = false, optional = true }}
progenitor-client = "0.15.1"
regex = {{ version = "1.12.2", default-features = false, features = ["std"], optional = true }}
reqwest = {{ version = "0.13.5", default-features = false, features = ["json", "query", "rustls", "stream"] }}
serde = {{ version = "1.0.229", features = ["derive"] }}
serde_json = "1.0.150"

# Progenitor imports what only some documents need.
[lints.rust]
dead_code = "allow"
unused_imports = "allow"

# How long a type or a text is follows from the document.
[lints.clippy]
all = "allow"

[workspace]
"#
    )
}

/// The root of the api crate.
pub(crate) fn api_lib(title: &str) -> String {
    format!(
        "//! Wire types of {title} and, with feature `server`, its server trait.\n\n#[rustfmt::skip]\nmod generated;\n\npub use generated::*;\n"
    )
}

/// The root of the client crate.
pub(crate) fn client_lib(title: &str, api_crate: &str) -> String {
    format!(
        "//! Client of {title}.\n\n#[rustfmt::skip]\nmod generated;\n\npub use {api_crate}::types;\npub use generated::*;\n"
    )
}
