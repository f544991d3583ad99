//! The client and the mocks of its server: Progenitor's code over our types, with what it does wrong put right.

mod mend;
mod wire;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use proc_macro2::TokenStream;
use progenitor_impl::{
    GenerationSettings, Generator, HooksMode, InterfaceStyle, TagStyle, TypeImpl,
};
use quote::quote;
use serde_json::Value;

use crate::ir::{Api, Codec, In, Operation, Status, Style, TypeKind};
use crate::names;

/// Generates from the lowered document. Every component is replaced by the type of the api crate, so that Progenitor
/// makes no types.
///
/// # Errors
///
/// What Progenitor says; after a successful lowering that is a fault of this generator.
pub(crate) fn emit(
    api: &Api,
    lowered: &Value,
    api_crate: &str,
    hooks: Option<&str>,
) -> Result<TokenStream, String> {
    let document = document(api, lowered)?;
    let mut settings = settings(api, api_crate);
    if let Some(path) = hooks {
        let path: syn::Path = syn::parse_str(path).map_err(|error| error.to_string())?;
        settings
            .with_inner_type(quote! { #path })
            .with_hooks(HooksMode::Expected);
    }
    let tokens = told(|| Generator::new(&settings).generate_tokens(&document))?;
    match own_type(&tokens) {
        Some(name) => Err(format!("Progenitor generated its own type `{name}`")),
        None => Ok(wire::requests(api, mend::client(api, tokens))),
    }
}

/// Mocks of the server, for tests of programs that use the client: an extension of `httpmock`.
///
/// # Errors
///
/// What Progenitor cannot mock: a status without a name, after which it would call a method.
pub(crate) fn mock(api: &Api, lowered: &Value, api_crate: &str) -> Result<TokenStream, String> {
    let mut answers = api
        .operations
        .iter()
        .flat_map(|operation| &operation.answers);
    if let Some(status) = answers.find_map(|answer| match answer.status {
        Status::Exact(status) if answer.name == format!("Status{status}") => Some(status),
        _ => None,
    }) {
        return Err(format!("status {status} has no name"));
    }
    let mut parameters = api
        .operations
        .iter()
        .flat_map(|operation| &operation.parameters);
    if let Some(taken) =
        parameters.find(|of| names::progenitor_name(&of.field.wire) == "into_inner")
    {
        let wire = &taken.field.wire;
        return Err(format!(
            "the parameter `{wire}` has the name of a method of theirs"
        ));
    }
    let mut lists = api.operations.iter().flat_map(|of| &of.parameters);
    if let Some(list) = lists.find(|of| of.style != Style::Plain && of.place == In::Query) {
        let wire = &list.field.wire;
        return Err(format!("the parameter `{wire}` is a list or an object"));
    }
    let is_json = |of: &&Operation| of.body.iter().all(|body| body.codec == Codec::Json);
    if let Some(operation) = api.operations.iter().find(|of| !is_json(of)) {
        return Err(format!("the body of `{}` is not JSON", operation.id));
    }
    let document = document(api, lowered)?;
    let settings = settings(api, api_crate);
    told(|| Generator::new(&settings).httpmock(&document, "crate"))
        .map(|tokens| mend::mock(api, tokens))
}

/// The lowered document with what only Progenitor has to see.
fn document(api: &Api, lowered: &Value) -> Result<openapiv3::OpenAPI, String> {
    let keys: BTreeMap<&str, String> = (0..)
        .zip(&api.types)
        .map(|(index, def)| (def.name.as_str(), progenitor_key(index)))
        .collect();
    let mut lowered = lowered.clone();
    if let Some(schemas) = lowered["components"]["schemas"].as_object_mut() {
        *schemas = std::mem::take(schemas)
            .into_iter()
            .map(|(name, schema)| (keys.get(name.as_str()).cloned().unwrap_or(name), schema))
            .collect();
    }
    rename_references(&mut lowered, &keys);
    // The client sends its version as a header, and panics on one that cannot be.
    lowered["info"]["version"] = header_text(&api.version).into();
    serde_json::from_value(lowered).map_err(|error| error.to_string())
}

/// What a component is called before it is replaced by our type: Progenitor takes names such as `A1b` and `A1B` for one.
fn progenitor_key(index: usize) -> String {
    format!("Type{index}")
}

fn rename_references(value: &mut Value, keys: &BTreeMap<&str, String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let renamed = value
                    .as_str()
                    .filter(|_| key == "$ref")
                    .and_then(|text| text.strip_prefix("#/components/schemas/"))
                    .and_then(|name| keys.get(name));
                match renamed {
                    Some(name) => *value = format!("#/components/schemas/{name}").into(),
                    None => rename_references(value, keys),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| rename_references(item, keys)),
        _ => {}
    }
}

/// A text as it can stand in a header: what is not visible ASCII is percent-encoded.
fn header_text(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' '..=b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn settings(api: &Api, api_crate: &str) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Builder)
        .with_tag(TagStyle::Merged);
    for (index, def) in api.types.iter().enumerate() {
        let impls: &[TypeImpl] = match def.kind {
            TypeKind::Enum(_) => &[TypeImpl::Display],
            _ => &[],
        };
        let path = format!("::{api_crate}::types::{}", def.name);
        settings.with_replacement(progenitor_key(index), path, impls.iter().copied());
    }
    settings
}

/// Progenitor asserts what the lowering sees to; should that ever miss, the author still gets a sentence.
fn told(
    generate: impl FnOnce() -> progenitor_impl::Result<TokenStream>,
) -> Result<TokenStream, String> {
    std::panic::catch_unwind(AssertUnwindSafe(generate))
        .map_err(|_| "Progenitor panicked".to_owned())?
        .map_err(|error| error.to_string())
}

/// A type that was not replaced by ours, so that the two sides would not agree.
fn own_type(tokens: &TokenStream) -> Option<String> {
    let file: syn::File = syn::parse2(tokens.clone()).ok()?;
    let modules = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.ident == "types" => module.content,
        _ => None,
    });
    modules
        .flat_map(|(_, items)| items)
        .find_map(|item| match item {
            syn::Item::Struct(of) => Some(of.ident.to_string()),
            syn::Item::Enum(of) => Some(of.ident.to_string()),
            _ => None,
        })
}
