//! The client and the mocks of its server: Progenitor's code over our types.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use heck::ToPascalCase;
use proc_macro2::TokenStream;
use progenitor_impl::{
    GenerationSettings, Generator, HooksMode, InterfaceStyle, TagStyle, TypeImpl,
};
use quote::quote;
use serde_json::Value;

use crate::ir::{Api, Status, TypeKind};

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
    let document = document(lowered)?;
    let mut settings = settings(api, api_crate)?;
    if let Some(path) = hooks {
        let path: syn::Path = syn::parse_str(path).map_err(|error| error.to_string())?;
        settings
            .with_inner_type(quote! { #path })
            .with_hooks(HooksMode::Expected);
    }
    let tokens = told(|| Generator::new(&settings).generate_tokens(&document))?;
    match own_type(&tokens) {
        Some(name) => Err(format!("Progenitor made a type `{name}` of its own")),
        None => Ok(tokens),
    }
}

/// Stand-ins for the server, for the tests of whoever uses the client: an extension of `httpmock`.
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
    let document = document(lowered)?;
    let settings = settings(api, api_crate)?;
    told(|| Generator::new(&settings).httpmock(&document, "crate"))
}

fn document(lowered: &Value) -> Result<openapiv3::OpenAPI, String> {
    serde_json::from_value(lowered.clone()).map_err(|error| error.to_string())
}

fn settings(api: &Api, api_crate: &str) -> Result<GenerationSettings, String> {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Builder)
        .with_tag(TagStyle::Merged);
    let mut replaced = BTreeSet::new();
    for def in &api.types {
        let impls: &[TypeImpl] = match def.kind {
            TypeKind::Enum(_) => &[TypeImpl::Display],
            _ => &[],
        };
        // typify looks for a replacement under its own spelling of the name.
        let spelling = def.name.to_pascal_case();
        let path = format!("::{api_crate}::types::{}", def.name);
        settings.with_replacement(&spelling, path, impls.iter().copied());
        if !replaced.insert(spelling) {
            return Err(format!(
                "another type is the same as `{}` to Progenitor",
                def.name
            ));
        }
    }
    Ok(settings)
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
