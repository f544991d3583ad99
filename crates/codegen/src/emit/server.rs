//! The server trait, the requests and answers of its operations, and the Dropshot adapter.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::{Map, Value, json};

use super::schema::{Dialect, definition, json, structure};
use super::types::{
    Nullables, helpers_for, operation_doc, structure as rust_structure, structure_field,
};
use super::{doc, ident, rust_type};
use crate::ir::{
    Additional, Answer, Api, Field, Header, HeaderValue, In, Operation, Schema, SchemeKind, Status,
    Struct, TypeKind,
};

pub(crate) fn emit(api: &Api) -> TokenStream {
    let types = quote! { types:: };
    let nullables = Nullables { api };
    let requests = api
        .operations
        .iter()
        .map(|operation| request(operation, &nullables, &types));
    let answers = api
        .operations
        .iter()
        .map(|operation| answer(operation, &types));
    let request_fields: Vec<Field> = api.operations.iter().flat_map(request_fields).collect();
    let helpers = helpers_for(request_fields.iter(), &nullables);
    let credentials = credentials(api);
    let the_trait = the_trait(api);
    let adapter = adapter(api);
    quote! {
        use std::future::Future;

        use dropshot::{ApiDescription, Body, HttpError, RequestContext, StubContext};
        use http::{Response, StatusCode};

        use super::runtime::{self, BodyMode, Budget, Input, Nothing, Parameter, Reply, Route};
        pub use super::runtime::{RequestError, Origin, In, Secret, Settings, Violation};
        use super::types;

        #the_trait
        #credentials
        #(#requests)*
        #(#answers)*
        #adapter
        #helpers
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

fn request_schema(api: &Api, operation: &Operation) -> Value {
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
    let mut defs: BTreeMap<String, Value> = BTreeMap::new();
    let mut open = references(&schema);
    while let Some(name) = open.pop() {
        if defs.contains_key(&name) {
            continue;
        }
        if let Some(def) = api.types.iter().find(|def| def.name == name) {
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
fn references(value: &Value) -> Vec<String> {
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

fn fields_in(operation: &Operation, place: In) -> Vec<Field> {
    operation
        .parameters
        .iter()
        .filter(|parameter| parameter.place == place)
        .map(|parameter| parameter.field.clone())
        .collect()
}

fn plain_struct(fields: Vec<Field>) -> Struct {
    Struct {
        fields,
        additional: Additional::Ignored,
        min_properties: None,
        max_properties: None,
    }
}

fn body_field(operation: &Operation) -> Option<Field> {
    operation.body.as_ref().map(|body| Field {
        wire: "body".to_owned(),
        name: "body".to_owned(),
        description: Some(
            body.description
                .clone()
                .unwrap_or_else(|| "The body.".to_owned()),
        ),
        schema: body.schema.clone(),
        required: body.required,
        default: None,
        secret: false,
        boxed: false,
    })
}

fn request_fields(operation: &Operation) -> Vec<Field> {
    operation
        .parameters
        .iter()
        .map(|parameter| parameter.field.clone())
        .chain(body_field(operation))
        .collect()
}

fn place_type(operation: &Operation, place: In) -> proc_macro2::Ident {
    let suffix = match place {
        In::Path => "Path",
        In::Query => "Query",
        In::Header => "Header",
    };
    format_ident!("{}{}", operation.type_name, suffix)
}

fn request(operation: &Operation, nullables: &Nullables<'_>, types: &TokenStream) -> TokenStream {
    let name = format_ident!("{}Request", operation.type_name);
    let docs = doc(&format!("What `{}` is asked.", operation.name));
    let mut structs = Vec::new();
    let mut members = Vec::new();
    for place in In::ALL {
        let fields = fields_in(operation, place);
        if fields.is_empty() {
            continue;
        }
        let member = ident(place.key());
        let of = place_type(operation, place);
        let what = match place {
            In::Path => "The variables of the path",
            In::Query => "The query parameters",
            In::Header => "The header parameters",
        };
        let member_docs = doc(&format!("{what}."));
        members.push(quote! { #member_docs pub #member: #of, });
        let struct_docs = doc(&format!("{what} of `{}`.", operation.name));
        structs.push(rust_structure(
            &of.to_string(),
            &struct_docs,
            &plain_struct(fields),
            nullables,
            types,
        ));
    }
    let body = body_field(operation).map(|field| structure_field("", &field, nullables, types));
    quote! {
        #(#structs)*
        #docs
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize, ::serde::Serialize)]
        pub struct #name {
            #(#members)*
            #body
        }
    }
}

fn answer(operation: &Operation, types: &TokenStream) -> TokenStream {
    let name = format_ident!("{}Answer", operation.type_name);
    let docs = doc(&format!(
        "What `{}` answers: one variant for each status that the document declares.\n\n\
         It is read from JSON by a key for the status, `{{\"200\": …}}`, and below it the body, or an object of `body` and \
         the headers that have to be given.",
        operation.name
    ));
    let variants = operation.answers.iter().map(|of| answer_variant(of, types));
    let statuses = operation.answers.iter().map(answer_status);
    let common = common_headers(&operation.answers);
    let constant = common
        .iter()
        .map(|(wire, value)| quote! { .header(#wire, #value)? });
    let replies = replies(&operation.answers, &common, types);
    quote! {
        #docs
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
        pub enum #name {
            #(#variants)*
        }
        impl #name {
            /// The status of this answer.
            pub fn status(&self) -> StatusCode {
                match self {
                    #(#statuses)*
                }
            }

            fn into_reply(self) -> Result<Reply, RequestError> {
                // No header has a field of this name.
                let reply_ = Reply::new(self.status()) #(#constant)*;
                match self {
                    #(#replies)*
                }
            }
        }
    }
}

/// The headers that have to be given with an answer.
fn free_headers(answer: &Answer) -> impl Iterator<Item = &Header> {
    answer
        .headers
        .iter()
        .filter(|header| !matches!(header.value, HeaderValue::Fixed(_)))
}

/// Whether a variant is a struct rather than a tuple of its body.
fn has_fields(answer: &Answer) -> bool {
    !matches!(answer.status, Status::Exact(_)) || free_headers(answer).next().is_some()
}

fn answer_variant(answer: &Answer, types: &TokenStream) -> TokenStream {
    let name = ident(&answer.name);
    let key = match answer.status {
        Status::Exact(status) => status.to_string(),
        Status::Range(class) => format!("{class}XX"),
        Status::Default => "default".to_owned(),
    };
    let key = quote! { #[serde(rename = #key)] };
    let docs = doc(&answer.description);
    let body = answer.body.as_ref().map(|body| rust_type(body, types));
    if !has_fields(answer) {
        let body = body.map(|body| quote! { (#body) });
        return quote! { #docs #key #name #body, };
    }
    let status = (!matches!(answer.status, Status::Exact(_))).then(|| {
        quote! {
            /// A status of this class.
            #[serde(deserialize_with = "runtime::read_status")]
            status: StatusCode,
        }
    });
    let body = body.map(|body| {
        quote! {
            /// The body.
            body: #body,
        }
    });
    let headers = free_headers(answer).map(|header| {
        let name = ident(&header.name);
        let docs = doc(header.description.as_deref().unwrap_or(&header.wire));
        let of = match header.value {
            HeaderValue::Integer => quote! { i64 },
            HeaderValue::Text | HeaderValue::Fixed(_) => quote! { String },
        };
        let of = if header.required {
            of
        } else {
            quote! { Option<#of> }
        };
        let wire = header.wire.to_ascii_lowercase();
        quote! { #docs #[serde(rename = #wire)] #name: #of, }
    });
    quote! { #docs #key #name { #status #body #(#headers)* }, }
}

fn answer_status(answer: &Answer) -> TokenStream {
    let name = ident(&answer.name);
    match answer.status {
        Status::Exact(status) => {
            let pattern = match (has_fields(answer), &answer.body) {
                (true, _) => quote! { { .. } },
                (false, Some(_)) => quote! { (_) },
                (false, None) => quote! {},
            };
            let status = proc_macro2::Literal::u16_unsuffixed(status);
            quote! { Self::#name #pattern => runtime::status(#status), }
        }
        Status::Range(_) | Status::Default => quote! { Self::#name { status, .. } => *status, },
    }
}

/// The headers that every answer of an operation has with the same value, by name on the wire.
fn common_headers(answers: &[Answer]) -> Vec<(String, String)> {
    let fixed = |answer: &Answer| -> Vec<(String, String)> {
        let headers = answer.headers.iter();
        headers
            .filter_map(|header| match &header.value {
                HeaderValue::Fixed(value) => {
                    Some((header.wire.to_ascii_lowercase(), value.clone()))
                }
                HeaderValue::Text | HeaderValue::Integer => None,
            })
            .collect()
    };
    let mut all = answers.iter().map(fixed);
    let mut common = all.next().unwrap_or_default();
    for headers in all {
        common.retain(|header| headers.contains(header));
    }
    common
}

/// One arm for each way to make a reply, with the answers that are made so.
fn replies(
    answers: &[Answer],
    common: &[(String, String)],
    types: &TokenStream,
) -> Vec<TokenStream> {
    let mut arms: Vec<(Vec<TokenStream>, String, TokenStream)> = Vec::new();
    for answer in answers {
        let (pattern, reply) = answer_reply(answer, common);
        let body = answer.body.as_ref().map(|body| rust_type(body, types));
        let key = format!("{} {} {reply}", quote! { #body }, has_fields(answer));
        match arms.iter_mut().find(|(_, known, _)| *known == key) {
            Some((patterns, _, _)) => patterns.push(pattern),
            None => arms.push((vec![pattern], key, reply)),
        }
    }
    arms.into_iter()
        .map(|(patterns, _, reply)| quote! { #(#patterns)|* => #reply, })
        .collect()
}

/// The pattern of an answer, and its reply.
fn answer_reply(answer: &Answer, common: &[(String, String)]) -> (TokenStream, TokenStream) {
    let name = ident(&answer.name);
    let fixed = answer
        .headers
        .iter()
        .filter_map(|header| match &header.value {
            HeaderValue::Fixed(value) => {
                let wire = header.wire.to_ascii_lowercase();
                let is_common = common.contains(&(wire.clone(), value.clone()));
                (!is_common).then(|| quote! { .header(#wire, #value)? })
            }
            HeaderValue::Text | HeaderValue::Integer => None,
        });
    let required = free_headers(answer)
        .filter(|header| header.required)
        .map(|header| {
            let (wire, name) = (header.wire.to_ascii_lowercase(), ident(&header.name));
            quote! { .header(#wire, #name)? }
        });
    let reply = quote! { reply_ #(#fixed)* #(#required)* };
    let result = match answer.body {
        Some(_) => quote! { #reply.json(&body) },
        None => quote! { Ok(#reply) },
    };
    if !has_fields(answer) {
        let pattern = answer.body.is_some().then(|| quote! { (body) });
        return (quote! { Self::#name #pattern }, result);
    }
    let status = (!matches!(answer.status, Status::Exact(_))).then(|| quote! { status, });
    let guard = match answer.status {
        // An answer outside its class is a fault of the implementation.
        Status::Range(class) => quote! {
            if status.as_u16() / 100 != #class {
                return Err(RequestError::Internal);
            }
        },
        Status::Default => quote! { let _ = status; },
        Status::Exact(_) => quote! {},
    };
    let body = answer.body.is_some().then(|| quote! { body, });
    let names = free_headers(answer).map(|header| ident(&header.name));
    let optional: Vec<TokenStream> = free_headers(answer)
        .filter(|header| !header.required)
        .map(|header| {
            let (wire, name) = (header.wire.to_ascii_lowercase(), ident(&header.name));
            quote! {
                if let Some(value) = #name {
                    reply_ = reply_.header(#wire, value)?;
                }
            }
        })
        .collect();
    let reply = if optional.is_empty() {
        quote! { { #guard #result } }
    } else {
        quote! {
            {
                #guard
                let mut reply_ = #result?;
                #(#optional)*
                Ok(reply_)
            }
        }
    };
    (quote! { Self::#name { #status #body #(#names,)* } }, reply)
}

fn is_secured(api: &Api) -> bool {
    api.operations
        .iter()
        .any(|operation| !operation.security.is_empty())
}

fn credentials(api: &Api) -> TokenStream {
    if !is_secured(api) {
        return quote! {};
    }
    let variants = api.schemes.iter().map(|scheme| {
        let name = ident(&scheme.name);
        let docs = match (&scheme.kind, &scheme.description) {
            (_, Some(description)) => doc(description),
            (SchemeKind::ApiKey { header }, None) => doc(&format!("The value of `{header}`.")),
            (SchemeKind::Bearer, None) => doc("The bearer token."),
        };
        quote! { #docs #name(Secret), }
    });
    quote! {
        /// What a request brought to say who is calling; not verified.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Credentials {
            #(#variants)*
        }
    }
}

/// The type of an answer to a fault.
fn fault_type(api: &Api) -> TokenStream {
    match &api.fault_type {
        Some(name) => {
            let name = ident(name);
            quote! { types::#name }
        }
        None => quote! { ::serde_json::Value },
    }
}

fn the_trait(api: &Api) -> TokenStream {
    let docs = doc(&format!(
        "The operations of {} {}.\n\nOne method for each, which can be called without HTTP. Over HTTP the adapter calls it; a request reaches a method only as a valid one, and where the document asks for credentials only with an authenticated caller.",
        api.title, api.version
    ));
    let fault = fault_type(api);
    let authentication = is_secured(api).then(|| {
        quote! {
            /// Who is calling, once that is known.
            type Caller: Send + Sync;

            /// Finds out who is calling.
            ///
            /// `Err` answers the request: [`RequestError::Unauthenticated`] for credentials that are not accepted.
            fn authenticate(
                &self,
                origin: Origin,
                credentials: Credentials,
            ) -> impl Future<Output = Result<Self::Caller, RequestError>> + Send;
        }
    });
    let methods = api.operations.iter().map(|operation| {
        let name = ident(&operation.name);
        let route = format!("`{} {}`", operation.method.verb(), operation.path);
        let docs = operation_doc(
            operation.summary.as_ref(),
            operation.description.as_ref(),
            &route,
        );
        let request = format_ident!("{}Request", operation.type_name);
        let answer = format_ident!("{}Answer", operation.type_name);
        let who = if operation.security.is_empty() {
            quote! { origin: Origin }
        } else {
            quote! { caller: Self::Caller }
        };
        quote! {
            #docs
            fn #name(&self, #who, request: #request) -> impl Future<Output = #answer> + Send;
        }
    });
    quote! {
        #docs
        pub trait Api: Send + Sync + 'static {
            #authentication

            /// The body of the answer to a request that never reached its operation.
            fn fault(&self, fault: &RequestError) -> #fault;

            #(#methods)*
        }
    }
}

fn adapter(api: &Api) -> TokenStream {
    let context = quote! { RequestContext<Self::Context> };
    let declarations = api.operations.iter().map(|operation| {
        let name = ident(&operation.name);
        let parameters = format_ident!("{}Parameters", operation.type_name);
        let method = ident(&operation.method.verb());
        let (path, tags) = (&operation.path, &operation.tags);
        let docs = operation_doc(operation.summary.as_ref(), operation.description.as_ref(), &operation.name);
        let deprecated = operation.deprecated.then(|| quote! { deprecated = true, });
        let id = &operation.name;
        quote! {
            #docs
            #[endpoint { method = #method, path = #path, operation_id = #id, tags = [#(#tags),*], #deprecated }]
            async fn #name(rqctx: #context, input: Input<#parameters>) -> Result<Response<Body>, HttpError>;
        }
    });
    let handlers = api
        .operations
        .iter()
        .map(|operation| handler(api, operation));
    let parameters = api
        .operations
        .iter()
        .map(|operation| parameters(api, operation));
    let routes = routes(api);
    quote! {
        /// An implementation with its settings: the context of the Dropshot server.
        pub struct Served<A> {
            api: A,
            settings: Settings,
            validators: ::std::collections::BTreeMap<String, jsonschema::Validator>,
        }

        impl<A> Served<A> {
            /// Joins an implementation and its settings.
            pub fn new(api: A, settings: Settings) -> Self {
                Self { api, settings, validators: validators() }
            }

            /// The implementation.
            pub fn api(&self) -> &A {
                &self.api
            }
        }

        impl<A: Api> Served<A> {
            /// Does the work and answers, whatever becomes of it.
            async fn answer(
                &self,
                rqctx: &RequestContext<Self>,
                challenge: &'static str,
                work: impl Future<Output = Result<Reply, RequestError>>,
            ) -> Result<Response<Body>, HttpError> {
                let fault_body = |fault: &RequestError| ::serde_json::to_vec(&self.api.fault(fault));
                Ok(runtime::answer(rqctx, &self.settings, challenge, fault_body, work).await)
            }
        }

        fn validators() -> ::std::collections::BTreeMap<String, jsonschema::Validator> {
            #[derive(::serde::Deserialize)]
            struct Schemas {
                operations: ::std::collections::BTreeMap<String, ::serde_json::Value>,
            }
            let schemas: Schemas =
                ::serde_json::from_str(include_str!("schemas.json")).expect("this file was written with schemas.json");
            schemas.operations.into_iter().map(|(name, schema)| (name, runtime::validator(&schema))).collect()
        }

        /// The routes of an implementation, to be served by Dropshot.
        ///
        /// # Errors
        ///
        /// What Dropshot has against the routes; none for a document that was generated from.
        pub fn api_description<A: Api>()
        -> Result<ApiDescription<Served<A>>, Box<dyn std::error::Error + Send + Sync>> {
            let mut description = routes_mod::api_description::<Adapter<A>>()?;
            #routes
            Ok(description)
        }

        /// The published routes without an implementation, for Dropshot to describe.
        ///
        /// # Errors
        ///
        /// As [`api_description`].
        pub fn stub_api_description() -> Result<ApiDescription<StubContext>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(routes_mod::stub_api_description()?)
        }

        #[dropshot::api_description]
        trait Routes {
            type Context;
            #(#declarations)*
        }

        struct Adapter<A>(std::marker::PhantomData<A>);

        impl<A: Api> Routes for Adapter<A> {
            type Context = Served<A>;
            #(#handlers)*
        }

        #(#parameters)*
    }
}

fn challenge(api: &Api, operation: &Operation) -> String {
    let schemes = api
        .schemes
        .iter()
        .filter(|scheme| operation.security.contains(&scheme.key));
    let challenges = schemes.map(|scheme| match &scheme.kind {
        SchemeKind::ApiKey { header } => format!("ApiKey header=\"{header}\""),
        SchemeKind::Bearer => "Bearer".to_owned(),
    });
    challenges.collect::<Vec<_>>().join(", ")
}

fn handler(api: &Api, operation: &Operation) -> TokenStream {
    let name = ident(&operation.name);
    let id = &operation.name;
    let parameters = format_ident!("{}Parameters", operation.type_name);
    let request = format_ident!("{}Request", operation.type_name);
    let challenge = challenge(api, operation);
    let mode = match &operation.body {
        None => quote! { BodyMode::None },
        Some(_) => quote! { BodyMode::Json },
    };
    let (authenticate, who) = if operation.security.is_empty() {
        (quote! {}, quote! { runtime::origin(&rqctx) })
    } else {
        let attempts = api
            .schemes
            .iter()
            .filter(|scheme| operation.security.contains(&scheme.key))
            .map(|scheme| {
                let variant = ident(&scheme.name);
                let find = match &scheme.kind {
                    SchemeKind::ApiKey { header } => {
                        let header = header.to_ascii_lowercase();
                        quote! { runtime::credential(input.headers(), #header)? }
                    }
                    SchemeKind::Bearer => quote! { runtime::bearer(input.headers())? },
                };
                quote! { if let Some(secret) = #find { Credentials::#variant(secret) } else }
            });
        (
            quote! {
                let credentials = #(#attempts)* { return Err(RequestError::Unauthenticated) };
                let caller = budget.spend(served.api.authenticate(runtime::origin(&rqctx), credentials)).await??;
            },
            quote! { caller },
        )
    };
    quote! {
        async fn #name(
            rqctx: RequestContext<Self::Context>,
            input: Input<#parameters>,
        ) -> Result<Response<Body>, HttpError> {
            let served = rqctx.context();
            let work = async {
                let mut budget = Budget::new(&served.settings);
                #authenticate
                let validator = &served.validators[#id];
                let request: #request = input.read(&served.settings, validator, #mode).await?;
                budget.spend(served.api.#name(#who, request)).await?.into_reply()
            };
            served.answer(&rqctx, #challenge, work).await
        }
    }
}

/// The description of an operation's parameters for Dropshot: names, locations and JSON types.
fn parameters(api: &Api, operation: &Operation) -> TokenStream {
    let name = format_ident!("{}Parameters", operation.type_name);
    let mut described = Vec::new();
    let mut associated = Vec::new();
    for place in In::ALL {
        let member = ident(match place {
            In::Path => "Path",
            In::Query => "Query",
            In::Header => "Header",
        });
        let fields = fields_in(operation, place);
        if fields.is_empty() {
            associated.push(quote! { type #member = Nothing; });
            continue;
        }
        // No type of another operation ends so, whatever its name.
        let raw = format_ident!("{}{}Description", operation.type_name, member);
        let members = fields.iter().map(|field| {
            let field_name = ident(&field.name);
            let wire = &field.wire;
            let rename = (field.name != field.wire).then(|| quote! { #[serde(rename = #wire)] });
            // The path's values are read as they are and judged with the rest.
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
        described.push(quote! {
            #[derive(::serde::Deserialize, ::serde::Serialize, schemars::JsonSchema)]
            struct #raw {
                #(#members)*
            }
        });
        associated.push(quote! { type #member = #raw; });
    }
    let all = operation.parameters.iter().map(|parameter| {
        let place = ident(match parameter.place {
            In::Path => "Path",
            In::Query => "Query",
            In::Header => "Header",
        });
        let wire = &parameter.field.wire;
        let kind = ident(kind(api, &parameter.field.schema));
        quote! { Parameter { place: In::#place, name: #wire, kind: runtime::Kind::#kind } }
    });
    let docs = doc(&format!("The parameters of `{}`.", operation.name));
    let route = &operation.path;
    quote! {
        #(#described)*
        #docs
        struct #name;
        impl runtime::Parameters for #name {
            #(#associated)*
            const ALL: &'static [Parameter] = &[#(#all),*];
            const ROUTE: &'static str = #route;
        }
    }
}

/// How the text of a parameter is read.
fn kind(api: &Api, schema: &Schema) -> &'static str {
    match schema {
        Schema::Integer { .. } | Schema::Number { .. } => "Number",
        Schema::Boolean => "Boolean",
        Schema::Nullable(inner) => kind(api, inner),
        Schema::Ref(name) => match api
            .types
            .iter()
            .find(|def| def.name == *name)
            .map(|def| &def.kind)
        {
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
        Schema::Ref(name) => match api
            .types
            .iter()
            .find(|def| def.name == *name)
            .map(|def| &def.kind)
        {
            Some(TypeKind::Alias(inner)) => described_type(api, inner),
            _ => quote! { String },
        },
        _ => quote! { String },
    }
}

fn routes(api: &Api) -> TokenStream {
    let mut by_path: Vec<(&str, Vec<&Operation>)> = Vec::new();
    for operation in &api.operations {
        match by_path.iter_mut().find(|(path, _)| *path == operation.path) {
            Some((_, operations)) => operations.push(operation),
            None => by_path.push((&operation.path, vec![operation])),
        }
    }
    let routes = by_path.iter().map(|(path, operations)| {
        let parameters = format_ident!("{}Parameters", operations[0].type_name);
        let mut methods: Vec<String> = operations.iter().map(|of| of.method.verb()).collect();
        let of_method = |verb: &str| operations.iter().find(|of| of.method.verb() == verb);
        // HEAD is answered like GET, unless the document declares HEAD.
        let head = of_method("GET").filter(|_| of_method("HEAD").is_none()).map(|get| {
            methods.push("HEAD".to_owned());
            let (id, name) = (&get.name, ident(&get.name));
            quote! {
                runtime::answer_head(&mut description, &ROUTE, #id, <Adapter<A> as Routes>::#name)?;
            }
        });
        methods.sort();
        let allow = methods.join(", ");
        quote! {
            const ROUTE: Route = Route { path: #path, allow: #allow };
            #head
            runtime::refuse_other_methods::<_, #parameters, _, _>(&mut description, &ROUTE, refuse::<A>)?;
        }
    });
    let blocks = routes.map(|route| quote! { { #route } });
    quote! {
        async fn refuse<A: Api>(
            rqctx: RequestContext<Served<A>>,
            fault: RequestError,
        ) -> Result<Response<Body>, HttpError> {
            rqctx.context().answer(&rqctx, "", std::future::ready(Err(fault))).await
        }
        #(#blocks)*
    }
}
