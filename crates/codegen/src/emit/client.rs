//! The client: Progenitor's code over our types.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use heck::ToPascalCase;
use proc_macro2::TokenStream;
use progenitor_impl::{GenerationSettings, Generator, InterfaceStyle, TagStyle, TypeImpl};
use serde_json::Value;

use crate::ir::{Api, TypeKind};

/// Generates from the lowered document. Every component is replaced by the type of the api crate, so that Progenitor
/// makes no types.
///
/// # Errors
///
/// What Progenitor says; after a successful lowering that is a fault of this generator.
pub(crate) fn emit(api: &Api, lowered: &Value, api_crate: &str) -> Result<TokenStream, String> {
    let document: openapiv3::OpenAPI =
        serde_json::from_value(lowered.clone()).map_err(|error| error.to_string())?;
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
    // Progenitor asserts what the lowering sees to; should that ever miss, the author still gets a sentence.
    let generate = || {
        Generator::new(&settings)
            .generate_tokens(&document)
            .map_err(|error| error.to_string())
    };
    let tokens = std::panic::catch_unwind(AssertUnwindSafe(generate))
        .unwrap_or_else(|_| Err("Progenitor panicked".to_owned()))?;
    match own_type(&tokens) {
        Some(name) => Err(format!("Progenitor made a type `{name}` of its own")),
        None => Ok(tokens),
    }
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
