//! Corrects the requests of the client where Progenitor does not write them as the document describes them.
//!
//! - It knows four media types.
//! - Its forms have no lists and no objects.
//! - Its query parameters have no objects in objects, and no brackets.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use quote::quote;

use super::mend::{arguments, is_word, rewrite};
use crate::ir::{Api, Body, Codec, In, JSON, OCTETS, Operation, Style};

/// The client with the requests of the document.
pub(super) fn requests(api: &Api, tokens: TokenStream) -> TokenStream {
    let odd = api.operations.iter().filter(|of| is_odd(of));
    let odd: BTreeMap<&str, &Operation> = odd.map(|of| (of.name.as_str(), of)).collect();
    if odd.is_empty() {
        return tokens;
    }
    let is_form = |of: &&&Operation| of.body.as_ref().is_some_and(is_form);
    let form = odd.values().find(is_form).map(|_| form_fields());
    let has_parameters = |of: &&&Operation| !spread(of).is_empty();
    let query = odd.values().find(has_parameters).map(|_| query_fields());
    let fields = (form.is_some() || query.is_some()).then(add_fields);
    let tokens = each(tokens, &odd);
    quote! {
        #tokens
        #form
        #query
        #fields
    }
}

fn is_form(body: &Body) -> bool {
    matches!(body.codec, Codec::Form { .. })
}

/// The query parameters that are no plain text and no list, and whether they have brackets.
fn spread(operation: &Operation) -> Vec<(&str, bool)> {
    let query = operation.parameters.iter();
    let query = query.filter(|of| of.place == In::Query);
    query
        .filter_map(|of| match of.style {
            Style::Plain | Style::List(_) => None,
            Style::BySchema | Style::Exploded => Some((of.field.wire.as_str(), false)),
            Style::Deep => Some((of.field.wire.as_str(), true)),
        })
        .collect()
}

fn is_odd(operation: &Operation) -> bool {
    let body = operation.body.as_ref();
    !spread(operation).is_empty() || body.is_some_and(|body| is_form(body) || has_type(body))
}

/// Whether the body has a media type that Progenitor does not send. Of a range, the caller's hooks choose one.
fn has_type(body: &Body) -> bool {
    let sent = match body.codec {
        Codec::Json => JSON,
        Codec::Form { .. } => return false,
        Codec::Text => "text/plain",
        Codec::Bytes => OCTETS,
    };
    body.media_type != sent && !body.media_type.contains('*')
}

/// Rewrites the block of each of these operations, which names its id.
fn each(tokens: TokenStream, odd: &BTreeMap<&str, &Operation>) -> TokenStream {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut output = TokenStream::new();
    for tree in trees {
        output.extend([match tree {
            TokenTree::Group(group) => {
                let delimiter = group.delimiter();
                let stream = match id_within(&group).and_then(|id| odd.get(id.as_str())) {
                    Some(operation) => request(operation, group.stream()),
                    None => each(group.stream(), odd),
                };
                TokenTree::Group(Group::new(delimiter, stream))
            }
            other => other,
        }]);
    }
    output
}

/// `{ … OperationInfo { operation_id: "…" } … }`
fn id_within(block: &Group) -> Option<String> {
    if block.delimiter() != Delimiter::Brace {
        return None;
    }
    let tokens: Vec<TokenTree> = block.stream().into_iter().collect();
    let at = tokens
        .iter()
        .position(|token| is_word(Some(token), "OperationInfo"))?;
    let TokenTree::Group(fields) = tokens.get(at + 1)? else {
        return None;
    };
    let mut literals = fields.stream().into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => text_of(&literal),
        _ => None,
    });
    literals.next()
}

fn text_of(literal: &Literal) -> Option<String> {
    let text = syn::parse_str::<syn::LitStr>(&literal.to_string()).ok()?;
    Some(text.value())
}

fn request(operation: &Operation, tokens: TokenStream) -> TokenStream {
    let spread = spread(operation);
    let body = operation.body.as_ref();
    rewrite(tokens, &|_, rest| {
        parameter(&spread, rest).or_else(|| content(body?, rest))
    })
}

/// `progenitor_client::QueryParam::new("name", &value)`
fn parameter(spread: &[(&str, bool)], rest: &[TokenTree]) -> Option<(TokenStream, usize)> {
    let is_call = is_word(rest.first(), "progenitor_client")
        && is_word(rest.get(3), "QueryParam")
        && is_word(rest.get(6), "new");
    let inside = arguments(rest.get(7)).filter(|_| is_call)?;
    let TokenTree::Literal(name) = inside.first()? else {
        return None;
    };
    let text = text_of(name)?;
    let (_, has_brackets) = spread.iter().find(|(of, _)| *of == text)?;
    let value: TokenStream = inside.get(2..)?.iter().cloned().collect();
    Some((
        quote! { super::query_fields(#name, #value, #has_brackets)? },
        8,
    ))
}

/// `form_urlencoded(&body)?`, `json(&body)`, and the media type of what is sent as it is.
fn content(body: &Body, rest: &[TokenTree]) -> Option<(TokenStream, usize)> {
    let media_type = &body.media_type;
    match &body.codec {
        Codec::Form { deep } => {
            arguments(rest.get(1)).filter(|_| is_word(rest.first(), "form_urlencoded"))?;
            Some((
                quote! { form_urlencoded(&super::form_fields(&body, &[#(#deep),*])?)? },
                3,
            ))
        }
        Codec::Json if has_type(body) => {
            let inside = arguments(rest.get(1)).filter(|_| is_word(rest.first(), "json"))?;
            let inside: TokenStream = inside.into_iter().collect();
            let header = quote! { ::reqwest::header::HeaderValue::from_static(#media_type) };
            let tokens = quote! {
                header(::reqwest::header::CONTENT_TYPE, #header).json(#inside)
            };
            Some((tokens, 2))
        }
        Codec::Text | Codec::Bytes if has_type(body) => {
            let is_call = is_word(rest.first(), "from_static");
            let inside = arguments(rest.get(1)).filter(|_| is_call)?;
            let [TokenTree::Literal(sent)] = inside.as_slice() else {
                return None;
            };
            let sent = text_of(sent).filter(|sent| sent == OCTETS || sent == "text/plain");
            sent.map(|_| (quote! { from_static(#media_type) }, 2))
        }
        Codec::Json | Codec::Text | Codec::Bytes => None,
    }
}

fn form_fields() -> TokenStream {
    quote! {
        /// The fields of a form. Objects and lists of objects are JSON, except in the properties `deep`, where they have
        /// brackets.
        ///
        /// # Errors
        ///
        /// A body that is no JSON object: nothing is sent.
        fn form_fields<E>(
            body: &impl ::serde::Serialize,
            deep: &[&str],
        ) -> Result<Vec<(String, String)>, Error<E>> {
            let Ok(::serde_json::Value::Object(object)) = ::serde_json::to_value(body) else {
                return Err(Error::InvalidRequest("the form is not an object".to_owned()));
            };
            let mut fields = Vec::new();
            for (name, value) in object {
                let has_brackets = deep.contains(&name.as_str());
                add_fields(&mut fields, name, value, has_brackets);
            }
            Ok(fields)
        }
    }
}

fn query_fields() -> TokenStream {
    quote! {
        /// A parameter of the query. Each property of an object is a parameter, unless it has brackets.
        ///
        /// # Errors
        ///
        /// What JSON cannot write: nothing is sent.
        fn query_fields<E>(
            name: &str,
            value: &impl ::serde::Serialize,
            has_brackets: bool,
        ) -> Result<Vec<(String, String)>, Error<E>> {
            let value = ::serde_json::to_value(value)
                .map_err(|error| Error::InvalidRequest(error.to_string()))?;
            let mut fields = Vec::new();
            match value {
                ::serde_json::Value::Object(object) if !has_brackets => {
                    for (name, value) in object {
                        add_fields(&mut fields, name, value, false);
                    }
                }
                value => add_fields(&mut fields, name.to_owned(), value, has_brackets),
            }
            Ok(fields)
        }
    }
}

fn add_fields() -> TokenStream {
    quote! {
        /// Adds a value under its name, or in brackets behind it.
        fn add_fields(
            fields: &mut Vec<(String, String)>,
            name: String,
            value: ::serde_json::Value,
            has_brackets: bool,
        ) {
            use ::serde_json::Value;
            match value {
                Value::Null => {}
                Value::String(text) => fields.push((name, text)),
                Value::Object(object) if has_brackets => {
                    for (key, value) in object {
                        add_fields(fields, format!("{name}[{key}]"), value, true);
                    }
                }
                Value::Array(items) if has_brackets => {
                    for (index, value) in items.into_iter().enumerate() {
                        add_fields(fields, format!("{name}[{index}]"), value, true);
                    }
                }
                Value::Array(items) if !items.iter().any(|of| of.is_object() || of.is_array()) => {
                    for value in items {
                        add_fields(fields, name.clone(), value, false);
                    }
                }
                other => fields.push((name, other.to_string())),
            }
        }
    }
}
