//! The operations as the adapter sees them, and the schemas of their requests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use heck::ToShoutySnakeCase;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::{Map, Value, json};

use super::schema::{Dialect, definition, json, structure};
use super::server::{
    Success, access_name, arguments, body_of, common_headers, fields_in, free_headers, media_type,
    place_type, plain_struct, result, success, success_type,
};
use super::{doc, ident, rust_type};
use crate::ir::{
    Answer, Api, Codec, HeaderValue, In, JSON, Operation, Schema, Separator, Status, Style,
    TypeKind,
};

pub(crate) fn emit(api: &Api) -> TokenStream {
    let table = ErrorTable::of(api);
    let answers = table.rows.iter().map(|(name, row)| {
        quote! { const #name: runtime::ErrorAnswer = #row; }
    });
    let operations = api.operations.iter().map(|of| operation(api, &table, of));
    let described: Vec<_> = api
        .operations
        .iter()
        .flat_map(|of| described(api, of))
        .collect();
    // In a separate module: an operation may have any of their names.
    let described = (!described.is_empty()).then(|| {
        quote! {
            /// Parameters, as Dropshot describes them.
            pub mod described {
                #(#described)*
            }
        }
    });
    quote! {
        use super::{runtime, server, types};

        #(#operations)*
        #described
        #(#answers)*
    }
}

/// The schema of each operation's request, for the validator.
pub(crate) fn schemas(api: &Api) -> Value {
    api.operations
        .iter()
        .map(|operation| (operation.name.clone(), request_schema(api, operation)))
        .collect::<Map<_, _>>()
        .into()
}

pub(super) fn request_schema(api: &Api, operation: &Operation) -> Value {
    let mut properties = Map::new();
    for place in In::ALL {
        let fields = fields_in(operation, place);
        if !fields.is_empty() {
            properties.insert(
                place.key().to_owned(),
                structure(&plain_struct(fields), Dialect::Draft202012),
            );
        }
    }
    let mut required: Vec<&str> = Vec::new();
    if let Some(body) = &operation.body {
        properties.insert("body".to_owned(), json(&body.schema, Dialect::Draft202012));
        if body.required {
            required.push("body");
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties, "required": required });
    let mut styles = operation.parameters.iter().map(|of| of.style);
    let is_form = |body: &crate::ir::Body| matches!(body.codec, Codec::Form { .. });
    if operation.body.as_ref().is_some_and(is_form)
        || styles.any(|of| matches!(of, Style::BySchema | Style::Exploded | Style::Deep))
    {
        // For the runtime, which reads texts by the schema then.
        schema["x-by-schema"] = true.into();
    }
    complete(api, schema)
}

/// A schema with the types that it reaches.
pub(super) fn complete(api: &Api, mut schema: Value) -> Value {
    let mut defs: BTreeMap<String, Value> = BTreeMap::new();
    let mut open = references(&schema);
    while let Some(name) = open.pop() {
        if defs.contains_key(&name) {
            continue;
        }
        if let Some(def) = api.named(&name) {
            let value = definition(def, Dialect::Draft202012);
            open.extend(references(&value));
            defs.insert(name, value);
        }
    }
    if !defs.is_empty() {
        schema["$defs"] = json!(defs);
    }
    schema
}

/// The names behind `#/$defs/` anywhere in a schema that this generator wrote.
pub(crate) fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| {
                match value
                    .as_str()
                    .and_then(|text| text.strip_prefix("#/$defs/"))
                {
                    Some(name) if key == "$ref" => vec![name.to_owned()],
                    _ => references(value),
                }
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The different error answers of a document, each with the name of its constant.
#[derive(Default)]
struct ErrorTable {
    rows: Vec<(proc_macro2::Ident, TokenStream)>,
    /// By the text of the row.
    names: BTreeMap<String, proc_macro2::Ident>,
}

impl ErrorTable {
    fn of(api: &Api) -> Self {
        let mut table = Self::default();
        if api.shared_errors.is_none() {
            return table;
        }
        let answers = api.operations.iter().flat_map(|of| &of.answers);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for answer in answers.filter(|answer| answer.status.is_error()) {
            let row = error_row(answer);
            let Entry::Vacant(entry) = table.names.entry(row.to_string()) else {
                continue;
            };
            let stem = answer.name.to_shouty_snake_case();
            let count = counts.entry(stem.clone()).or_default();
            *count += 1;
            let name = match *count {
                1 => ident(&stem),
                count => format_ident!("{stem}_{count}"),
            };
            table.rows.push((entry.insert(name).clone(), row));
        }
        table
    }

    fn name(&self, answer: &Answer) -> Option<&proc_macro2::Ident> {
        self.names.get(&error_row(answer).to_string())
    }
}

fn error_row(answer: &Answer) -> TokenStream {
    let status = match answer.status {
        Status::Exact(status) => {
            let status = proc_macro2::Literal::u16_unsuffixed(status);
            quote! { runtime::Declared::Exact(#status) }
        }
        Status::Range(class) => {
            let class = proc_macro2::Literal::u16_unsuffixed(class);
            quote! { runtime::Declared::Class(#class) }
        }
        Status::Default => quote! { runtime::Declared::Default },
    };
    let codes = &answer.codes;
    let constant = answer
        .headers
        .iter()
        .filter_map(|header| match &header.value {
            HeaderValue::Fixed(value) => {
                let wire = header.wire.to_ascii_lowercase();
                Some(quote! { (#wire, #value) })
            }
            HeaderValue::Text | HeaderValue::Integer => None,
        });
    let media_type = media_type(answer).map(|of| quote! { ("content-type", #of) });
    let constant = constant.chain(media_type);
    let free = free_headers(answer).map(|header| {
        let (wire, required) = (header.wire.to_ascii_lowercase(), header.required);
        quote! { (#wire, #required) }
    });
    quote! {
        runtime::ErrorAnswer {
            status: #status,
            codes: &[#(#codes),*],
            constant: &[#(#constant),*],
            free: &[#(#free),*],
        }
    }
}

fn operation(api: &Api, table: &ErrorTable, operation: &Operation) -> TokenStream {
    let name = ident(&operation.type_name);
    let docs = doc(&format!("`{} {}`", operation.method.verb(), operation.path));
    let request = format_ident!("{}Request", operation.type_name);
    let here = quote! { server:: };
    let success_type = success_type(api, operation, &here);
    let has_parameters = !operation.parameters.is_empty();
    let parameters = has_parameters.then(|| parameters(api, operation));
    let of_parameters = match has_parameters {
        true => quote! { Self },
        false => quote! { runtime::NoParameters },
    };
    let (id, path) = (&operation.name, &operation.path);
    let method = ident(operation.method.verb());
    let summary = operation
        .summary
        .as_ref()
        .map(|summary| quote! { const SUMMARY: &'static str = #summary; });
    let tags = &operation.tags;
    let tags =
        (!tags.is_empty()).then(|| quote! { const TAGS: &'static [&'static str] = &[#(#tags),*]; });
    let deprecated = operation
        .deprecated
        .then(|| quote! { const DEPRECATED: bool = true; });
    let body = operation.body.as_ref().map(|body| {
        let media_type = (body.media_type != JSON).then(|| {
            let media_type = &body.media_type;
            quote! { const MEDIA_TYPE: &'static str = #media_type; }
        });
        let mode = match &body.codec {
            Codec::Json => quote! { Json },
            Codec::Form { .. } => quote! { Form },
            Codec::Text => {
                let kind = ident(kind(api, &body.schema));
                quote! { Text(runtime::Kind::#kind) }
            }
            Codec::Bytes => quote! { Bytes },
        };
        quote! {
            const BODY: runtime::BodyMode = runtime::BodyMode::#mode;
            #media_type
        }
    });
    let errors: Vec<_> = operation
        .answers
        .iter()
        .filter(|answer| answer.status.is_error())
        .filter_map(|answer| table.name(answer))
        .collect();
    let errors = (!errors.is_empty()).then(|| {
        quote! { const ERRORS: &'static [&'static runtime::ErrorAnswer] = &[#(&#errors),*]; }
    });
    let reply = reply(api, operation);
    let handler = handler(api, operation);
    quote! {
        #docs
        pub struct #name;

        impl runtime::Operation for #name {
            type Parameters = #of_parameters;
            type Request = server::#request;
            type Success = #success_type;
            const ID: &'static str = #id;
            const METHOD: ::http::Method = ::http::Method::#method;
            const PATH: &'static str = #path;
            #summary
            #tags
            #deprecated
            #body
            #errors

            fn reply(success: #success_type) -> Result<runtime::Reply, server::RequestError> {
                #reply
            }
        }

        #parameters
        #handler
    }
}

fn reply(api: &Api, operation: &Operation) -> TokenStream {
    let Success::Body { status, answer } = success(api, operation) else {
        return quote! { success.into_reply() };
    };
    let status = proc_macro2::Literal::u16_unsuffixed(status);
    let headers = common_headers(&[answer]);
    let headers = headers
        .iter()
        .map(|(wire, value)| quote! { .header(#wire, #value)? });
    let reply = quote! { runtime::Reply::new(runtime::status(#status)) #(#headers)* };
    let media_type = media_type(answer).map(|of| quote! { .header("content-type", #of)? });
    match answer.body {
        Some(_) => {
            let body = body_of(answer, &quote! { success });
            quote! { #reply #media_type #body }
        }
        None => quote! { let () = success; Ok(#reply) },
    }
}

fn handler(api: &Api, operation: &Operation) -> TokenStream {
    let (type_name, name) = (ident(&operation.type_name), ident(&operation.name));
    // An operation may be called like the parameter.
    let type_name = if operation.type_name == "A" {
        quote! { self::#type_name }
    } else {
        quote! { #type_name }
    };
    let here = quote! { server:: };
    let access = if operation.security.is_public() {
        quote! { runtime::Public }
    } else {
        let access = access_name(api, operation);
        quote! { server::#access }
    };
    let arguments = arguments(operation, &quote! { A::Caller }, &here);
    let who = if operation.security.is_public() {
        quote! { origin }
    } else {
        quote! { caller }
    };
    let result = result(api, operation, &quote! { A }, &here);
    quote! {
        impl<A: server::Api> runtime::Handler<A> for #type_name {
            type Access = #access;
            type Errors = server::Errors;

            async fn call(api: &A, #arguments) -> #result {
                api.#name(#who, request).await
            }
        }
    }
}

/// What Dropshot has to know of an operation's parameters, and how each is read.
fn parameters(api: &Api, operation: &Operation) -> TokenStream {
    let name = ident(&operation.type_name);
    let associated = In::ALL.map(|place| {
        let member = member_of(place);
        if fields_in(operation, place).is_empty() {
            quote! { type #member = runtime::Nothing; }
        } else {
            let described = place_type(operation, place);
            quote! { type #member = described::#described; }
        }
    });
    let all = operation.parameters.iter().map(|parameter| {
        let place = member_of(parameter.place);
        let wire = &parameter.field.wire;
        let kind = ident(kind(api, &parameter.field.schema));
        let kind = match parameter.style {
            Style::Plain => quote! { runtime::Kind::#kind },
            Style::BySchema => quote! { runtime::Kind::BySchema },
            Style::Exploded => quote! { runtime::Kind::Exploded },
            Style::Deep => quote! { runtime::Kind::Deep },
            Style::List(separator) => {
                let separator = match separator {
                    Separator::Repeated => quote! { Repeated },
                    Separator::Comma => quote! { Comma },
                    Separator::Space => quote! { Space },
                    Separator::Pipe => quote! { Pipe },
                };
                quote! { runtime::Kind::List(&runtime::Kind::#kind, runtime::Separator::#separator) }
            }
        };
        quote! { runtime::Parameter { place: runtime::In::#place, name: #wire, kind: #kind } }
    });
    quote! {
        impl runtime::Parameters for #name {
            #(#associated)*
            const ALL: &'static [runtime::Parameter] = &[#(#all),*];
        }
    }
}

fn member_of(place: In) -> proc_macro2::Ident {
    ident(match place {
        In::Path => "Path",
        In::Query => "Query",
        In::Header => "Header",
    })
}

/// The parameters of an operation for Dropshot, a type for each place: names and JSON types.
fn described(api: &Api, operation: &Operation) -> Vec<TokenStream> {
    let places = In::ALL
        .into_iter()
        .map(|place| (place, fields_in(operation, place)));
    let places = places.filter(|(_, fields)| !fields.is_empty());
    let types = places.map(|(place, fields)| {
        let name = place_type(operation, place);
        let docs = doc(&format!("Of `{}`.", operation.name));
        let members = fields.iter().map(|field| {
            let field_name = ident(&field.name);
            let wire = &field.wire;
            let rename = (field.name != field.wire).then(|| quote! { #[serde(rename = #wire)] });
            // The path's values are read as they are and checked with the rest.
            let of = if place == In::Path {
                quote! { String }
            } else {
                described_type(api, &field.schema)
            };
            let of = if field.required {
                of
            } else {
                quote! { Option<#of> }
            };
            quote! { #rename #field_name: #of, }
        });
        quote! {
            #docs
            #[derive(::serde::Deserialize, ::serde::Serialize, schemars::JsonSchema)]
            pub struct #name {
                #(#members)*
            }
        }
    });
    types.collect()
}

/// How the text of a parameter, or of an item of it, is read.
fn kind(api: &Api, schema: &Schema) -> &'static str {
    match schema {
        Schema::Integer { .. } | Schema::Number { .. } => "Number",
        Schema::Boolean => "Boolean",
        Schema::Nullable(inner) | Schema::Array { items: inner, .. } => kind(api, inner),
        Schema::Ref(name) => match api.kind_of(name) {
            Some(TypeKind::Alias(inner)) => kind(api, inner),
            _ => "Text",
        },
        _ => "Text",
    }
}

fn described_type(api: &Api, schema: &Schema) -> TokenStream {
    match schema {
        Schema::Boolean | Schema::Integer { .. } | Schema::Number { .. } => {
            rust_type(schema, &quote! {})
        }
        Schema::Nullable(inner) => described_type(api, inner),
        Schema::Ref(name) => match api.kind_of(name) {
            Some(TypeKind::Alias(inner)) => described_type(api, inner),
            _ => quote! { String },
        },
        _ => quote! { String },
    }
}
