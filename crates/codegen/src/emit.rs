//! Emitters: each prints the IR in one language and decides nothing.

pub(crate) mod client;
pub(crate) mod openapi30;
pub(crate) mod operations;
pub(crate) mod probe;
pub(crate) mod scaffold;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod types;
pub(crate) mod unimplemented;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use crate::ir::{IntegerFormat, Schema};

/// An identifier; names in the IR are valid ones.
fn ident(name: &str) -> proc_macro2::Ident {
    format_ident!("{name}")
}

/// Document text as a doc comment.
fn doc(text: &str) -> TokenStream {
    // Also names of the wire stand in comments.
    let text = crate::names::readable(text);
    let lines = text.trim_end().lines().map(|line| {
        let line = if line.is_empty() {
            String::new()
        } else {
            format!(" {}", line.trim_end())
        };
        quote! { #[doc = #line] }
    });
    quote! { #(#lines)* }
}

fn maybe_doc(text: Option<&String>) -> TokenStream {
    text.map(|text| doc(text)).unwrap_or_default()
}

/// The Rust type of a schema; named types are found under `path`.
fn rust_type(schema: &Schema, path: &TokenStream) -> TokenStream {
    match schema {
        Schema::Any => quote! { ::serde_json::Value },
        Schema::Null => quote! { () },
        Schema::Boolean => quote! { bool },
        Schema::Integer { format, .. } => match format {
            IntegerFormat::I32 => quote! { i32 },
            IntegerFormat::I64 => quote! { i64 },
            IntegerFormat::U32 => quote! { u32 },
            IntegerFormat::U64 => quote! { u64 },
        },
        Schema::Number { .. } => quote! { f64 },
        Schema::String { format, .. } => match format.as_deref() {
            Some("date-time") => quote! { ::chrono::DateTime<::chrono::Utc> },
            Some("date") => quote! { ::chrono::NaiveDate },
            _ => quote! { String },
        },
        Schema::Array { items, .. } => {
            let items = rust_type(items, path);
            quote! { Vec<#items> }
        }
        Schema::Map { values, .. } => {
            let values = rust_type(values, path);
            quote! { ::std::collections::BTreeMap<String, #values> }
        }
        Schema::Nullable(inner) => {
            let inner = rust_type(inner, path);
            quote! { Option<#inner> }
        }
        Schema::Ref(name) => {
            let name = ident(name);
            quote! { #path #name }
        }
        Schema::Bytes => quote! { runtime::Bytes },
    }
}
