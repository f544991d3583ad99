//! The server trait, and the requests and answers of its operations.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::types::{
    Nullables, helpers_for, operation_doc, structure as rust_structure, structure_field,
};
use super::{doc, ident, maybe_doc, rust_type};
use crate::ir::{
    Additional, Answer, Api, Codec, Field, Header, HeaderValue, In, JSON, KeyPlace, Operation,
    Requirement, Schema, Scheme, SchemeKind, Security, SharedErrors, Status, Struct,
};
use crate::names;

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
        .map(|operation| answer(api, operation, &types));
    let request_fields: Vec<Field> = api.operations.iter().flat_map(request_fields).collect();
    let helpers = helpers_for(request_fields.iter(), &nullables);
    let the_trait = the_trait(api);
    let credentials = credentials(api);
    let failure = api
        .shared_errors
        .as_ref()
        .map(|errors| failure(api, errors));
    let serving = serving(api);
    let accesses = accesses(api);
    let errors = errors(api);
    quote! {
        use std::future::Future;

        use super::{operations, runtime, types};
        pub use super::runtime::{Bytes, In, OperationId, Origin, RequestError, Secret, Served, Settings, Violation, forwarded_for};

        #the_trait
        #credentials
        #failure
        #serving
        #(#requests)*
        #(#answers)*
        #(#accesses)*
        #errors
        #helpers
    }
}

/// What a method of the trait returns for a success.
pub(super) enum Success<'a> {
    /// The body of its only success, which has no header to give.
    Body { status: u16, answer: &'a Answer },
    /// An enum of these answers.
    Answers(Vec<&'a Answer>),
}

pub(super) fn success<'a>(api: &Api, operation: &'a Operation) -> Success<'a> {
    let answers = operation.answers.iter();
    let answers: Vec<&Answer> = answers
        .filter(|answer| api.shared_errors.is_none() || !answer.status.is_error())
        .collect();
    match answers.as_slice() {
        [answer] if api.shared_errors.is_some() && !has_fields(answer) => match answer.status {
            Status::Exact(status) => Success::Body { status, answer },
            Status::Range(_) | Status::Default => Success::Answers(answers),
        },
        _ => Success::Answers(answers),
    }
}

/// The type of a success, and of an error, where `Self` or a parameter is `implementation`. `here` is the path of this file.
pub(super) fn result(
    api: &Api,
    operation: &Operation,
    implementation: &TokenStream,
    here: &TokenStream,
) -> TokenStream {
    let success = success_type(api, operation, here);
    let error = match &api.shared_errors {
        Some(_) => quote! { #implementation::Error },
        None => quote! { #here RequestError },
    };
    quote! { Result<#success, #error> }
}

pub(super) fn success_type(api: &Api, operation: &Operation, here: &TokenStream) -> TokenStream {
    match success(api, operation) {
        Success::Body { answer, .. } => match &answer.body {
            Some(Schema::Bytes) => quote! { #here Bytes },
            Some(body) => rust_type(body, &quote! { types:: }),
            None => quote! { () },
        },
        Success::Answers(_) => {
            let name = format_ident!("{}Answer", operation.type_name);
            quote! { #here #name }
        }
    }
}

pub(super) fn fields_in(operation: &Operation, place: In) -> Vec<Field> {
    operation
        .parameters
        .iter()
        .filter(|parameter| parameter.place == place)
        .map(|parameter| parameter.field.clone())
        .collect()
}

pub(super) fn plain_struct(fields: Vec<Field>) -> Struct {
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

pub(super) fn place_type(operation: &Operation, place: In) -> proc_macro2::Ident {
    let suffix = match place {
        In::Path => "Path",
        In::Query => "Query",
        In::Header => "Header",
    };
    format_ident!("{}{}", operation.type_name, suffix)
}

fn request(operation: &Operation, nullables: &Nullables<'_>, types: &TokenStream) -> TokenStream {
    let name = format_ident!("{}Request", operation.type_name);
    let docs = doc(&format!("The request of `{}`.", operation.name));
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

/// The enum of an operation that has several answers to choose from.
fn answer(api: &Api, operation: &Operation, types: &TokenStream) -> TokenStream {
    let Success::Answers(answers) = success(api, operation) else {
        return quote! {};
    };
    let name = format_ident!("{}Answer", operation.type_name);
    let docs = doc(&format!(
        "The answers of `{}`, by status.\n\n\
         An answer is read from JSON as an object with its status as the key, `{{\"200\": …}}`. The value is\n\
         the body, or an object of `body` and the headers that have to be given.",
        operation.name
    ));
    let variants = answers.iter().map(|of| answer_variant(of, types));
    let statuses = answers.iter().map(|of| answer_status(of));
    let common = common_headers(&answers);
    let constant = common
        .iter()
        .map(|(wire, value)| quote! { .header(#wire, #value)? });
    let replies = replies(&answers, &common, types);
    quote! {
        #docs
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
        pub enum #name {
            #(#variants)*
        }
        impl #name {
            /// The status of this answer.
            pub fn status(&self) -> ::http::StatusCode {
                match self {
                    #(#statuses)*
                }
            }

            pub(super) fn into_reply(self) -> Result<runtime::Reply, RequestError> {
                // No header has a field of this name.
                let reply_ = runtime::Reply::new(self.status()) #(#constant)*;
                match self {
                    #(#replies)*
                }
            }
        }
    }
}

/// The media type of an answer, if it is another one.
pub(super) fn media_type(answer: &Answer) -> Option<String> {
    let media_type = match answer.codec {
        Codec::Text => format!("{}; charset=utf-8", answer.media_type),
        Codec::Json | Codec::Form { .. } | Codec::Bytes => answer.media_type.clone(),
    };
    (answer.body.is_some() && media_type != JSON).then_some(media_type)
}

/// Adds the body of an answer to its reply.
pub(super) fn body_of(answer: &Answer, body: &TokenStream) -> TokenStream {
    match answer.codec {
        Codec::Json | Codec::Form { .. } => quote! { .json(&#body) },
        Codec::Text => quote! { .text(&#body) },
        Codec::Bytes => quote! { .bytes(#body) },
    }
}

/// The headers that have to be given with an answer.
pub(super) fn free_headers(answer: &Answer) -> impl Iterator<Item = &Header> {
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
            status: ::http::StatusCode,
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
        let of = header_type(header);
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

fn header_type(header: &Header) -> TokenStream {
    match header.value {
        HeaderValue::Integer => quote! { i64 },
        HeaderValue::Text | HeaderValue::Fixed(_) => quote! { String },
    }
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
pub(super) fn common_headers(answers: &[&Answer]) -> Vec<(String, String)> {
    let fixed = |answer: &&Answer| -> Vec<(String, String)> {
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
    answers: &[&Answer],
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
    let media_type = media_type(answer).map(|of| quote! { .header("content-type", #of)? });
    let result = match answer.body {
        Some(_) => {
            let body = body_of(answer, &quote! { body });
            quote! { #reply #media_type #body }
        }
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

pub(super) fn is_secured(api: &Api) -> bool {
    api.operations
        .iter()
        .any(|operation| !operation.security.is_public())
}

fn credentials(api: &Api) -> TokenStream {
    if !is_secured(api) {
        return quote! {};
    }
    let mut kinds: Vec<Vec<&Scheme>> = api.schemes.iter().map(|scheme| vec![scheme]).collect();
    let alternatives = api
        .operations
        .iter()
        .flat_map(|of| &of.security.alternatives);
    for requirement in alternatives {
        let schemes = schemes_of(api, requirement);
        if !kinds.contains(&schemes) {
            kinds.push(schemes);
        }
    }
    let variants = kinds.iter().map(|schemes| {
        let name = variant_of(schemes);
        let secrets = schemes.iter().map(|_| quote! { Secret });
        let (scopes, more) = match has_scopes(api, schemes) {
            true => (
                Some(quote! { Scopes }),
                " With the scopes that the operation needs.",
            ),
            false => (None, ""),
        };
        let docs: Vec<String> = schemes.iter().map(|scheme| about(scheme)).collect();
        let docs = doc(&format!("{}{more}", docs.join(" And: ")));
        quote! { #docs #name(#(#secrets,)* #scopes), }
    });
    let scopes = kinds
        .iter()
        .any(|schemes| has_scopes(api, schemes))
        .then(|| {
            quote! {
                /// What a caller must be allowed, as the document names it.
                pub type Scopes = &'static [&'static str];
            }
        });
    quote! {
        #scopes

        /// The credentials of a request, not verified.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Credentials {
            #(#variants)*
        }
    }
}

fn about(scheme: &Scheme) -> String {
    match (&scheme.kind, &scheme.description) {
        (_, Some(description)) => description.clone(),
        (SchemeKind::ApiKey { place, name }, None) => match place {
            KeyPlace::Header => format!("The value of `{name}`."),
            KeyPlace::Query => format!("The value of `{name}` in the query."),
            KeyPlace::Cookie => format!("The value of the cookie `{name}`."),
        },
        (SchemeKind::Bearer, None) => "The bearer token.".to_owned(),
        (SchemeKind::Basic, None) => {
            "What follows `Basic`: user and password in Base64 (RFC 7617).".to_owned()
        }
    }
}

/// The variant of the credentials for these schemes together.
fn variant_of(schemes: &[&Scheme]) -> proc_macro2::Ident {
    let names: Vec<&str> = schemes.iter().map(|scheme| scheme.name.as_str()).collect();
    ident(&names.join("And"))
}

fn schemes_of<'a>(api: &'a Api, requirement: &Requirement) -> Vec<&'a Scheme> {
    let keys = requirement.schemes.iter().map(|needed| &needed.key);
    keys.filter_map(|key| api.schemes.iter().find(|scheme| scheme.key == *key))
        .collect()
}

/// Whether some operation asks for scopes of these schemes together.
fn has_scopes(api: &Api, schemes: &[&Scheme]) -> bool {
    let alternatives = api
        .operations
        .iter()
        .flat_map(|of| &of.security.alternatives);
    alternatives
        .filter(|requirement| schemes_of(api, requirement) == schemes)
        .flat_map(|requirement| &requirement.schemes)
        .any(|needed| !needed.scopes.is_empty())
}

/// The type of the body of an error answer.
pub(super) fn error_type(api: &Api) -> TokenStream {
    match &api.error_type {
        Some(name) => {
            let name = ident(name);
            quote! { types::#name }
        }
        None => quote! { ::serde_json::Value },
    }
}

/// The members of the trait that are no operations. `error` is the bound of the error type.
pub(super) fn common_methods(api: &Api, here: &TokenStream, error: &TokenStream) -> TokenStream {
    let body = error_type(api);
    let caller = is_secured(api).then(|| {
        quote! {
            /// Who is calling.
            type Caller: Send + Sync;
        }
    });
    let error_type = api.shared_errors.as_ref().map(|_| {
        quote! {
            /// Why an operation fails.
            type Error: #error;
        }
    });
    let authenticate = is_secured(api).then(|| {
        quote! {
            /// Finds out who is calling. `Err` answers the request, with [`RequestError::Unauthenticated`] for
            /// credentials that are not accepted.
            fn authenticate(
                &self,
                origin: #here Origin,
                credentials: #here Credentials,
            ) -> impl Future<Output = Result<Self::Caller, #here RequestError>> + Send;
        }
    });
    let answer = api.shared_errors.as_ref().map(|_| {
        quote! {
            /// The answer of an operation that failed.
            fn error(&self, error: Self::Error, origin: &#here Origin) -> #here Failure;
        }
    });
    quote! {
        #caller
        #error_type
        #authenticate

        /// The body of the answer to a request that its operation did not answer.
        fn request_error(&self, error: &#here RequestError) -> #body;

        #answer
    }
}

/// The arguments of a method of the trait behind `&self`.
pub(super) fn arguments(
    operation: &Operation,
    caller: &TokenStream,
    here: &TokenStream,
) -> TokenStream {
    let request = format_ident!("{}Request", operation.type_name);
    if operation.security.is_public() {
        quote! { origin: #here Origin, request: #here #request }
    } else if operation.security.is_optional {
        quote! { caller: Option<#caller>, request: #here #request }
    } else {
        quote! { caller: #caller, request: #here #request }
    }
}

fn the_trait(api: &Api) -> TokenStream {
    let docs = doc(&format!(
        "The operations of {} {}.\n\n\
         Each is a method, which can also be called without HTTP. The adapter calls it with requests that are\n\
         valid, and where the document asks for credentials only for an authenticated caller.",
        api.title, api.version
    ));
    let here = quote! {};
    let common = common_methods(api, &here, &quote! { Send });
    let methods = api.operations.iter().map(|operation| {
        let name = ident(&operation.name);
        let docs = operation_doc(operation);
        let arguments = arguments(operation, &quote! { Self::Caller }, &here);
        let result = result(api, operation, &quote! { Self }, &here);
        quote! {
            #docs
            fn #name(&self, #arguments) -> impl Future<Output = #result> + Send;
        }
    });
    quote! {
        #docs
        pub trait Api: Send + Sync + 'static {
            #common
            #(#methods)*
        }
    }
}

/// The type of the error answers.
fn failure(api: &Api, errors: &SharedErrors) -> TokenStream {
    let body = error_type(api);
    let key = if errors.codes.is_empty() {
        quote! {
            /// Its status. One that the operation does not declare is answered with 500.
            status: ::http::StatusCode,
        }
    } else {
        quote! {
            /// Decides the status. A code that the operation does not declare is answered with 500.
            code: types::ErrorCode,
        }
    };
    let headers = errors.headers.iter().map(|header| {
        let name = ident(&header.name);
        let docs = maybe_doc(header.description.as_ref());
        let of = header_type(header);
        quote! { #docs #name: Option<#of>, }
    });
    quote! {
        /// The answer of an operation that failed.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Failure {
            /// An error answer of the document. Of its headers those are sent that the answer declares.
            Declared {
                #key
                /// The body.
                body: #body,
                #(#headers)*
            },
            /// An error that any request may have.
            Request(RequestError),
        }

        impl From<RequestError> for Failure {
            fn from(error: RequestError) -> Self {
                Self::Request(error)
            }
        }
    }
}

fn serving(api: &Api) -> TokenStream {
    let operations = api.operations.iter().map(|operation| {
        let name = ident(&operation.type_name);
        quote! { .with::<operations::#name>()? }
    });
    quote! {
        /// An implementation with its settings, as the context of a Dropshot server.
        pub fn context<A: Api>(api: A, settings: Settings) -> Served<A> {
            Served::new(api, settings, include_str!("schemas.json"))
        }

        /// The routes of an implementation, to be served by Dropshot.
        ///
        /// # Errors
        ///
        /// What Dropshot has against the routes; none for a document that was generated from.
        pub fn api_description<A: Api>()
        -> Result<::dropshot::ApiDescription<Served<A>>, ::dropshot::ApiDescriptionRegisterError> {
            runtime::Routes::default()
                #(#operations)*
                .finish()
        }
    }
}

/// The name of the type that stands for a choice of credentials. It is numbered where names joined of schemes are equal.
pub(super) fn access_name(api: &Api, operation: &Operation) -> proc_macro2::Ident {
    let stem_of = |security: &Security| {
        let names = security.alternatives.iter();
        let names = names.map(|of| variant_of(&schemes_of(api, of)).to_string());
        let optional = if security.is_optional { "Optional" } else { "" };
        format!("{optional}{}", names.collect::<Vec<_>>().join("Or"))
    };
    let stem = stem_of(&operation.security);
    let mut alike: Vec<&Security> = Vec::new();
    for other in &api.operations {
        if stem_of(&other.security) == stem && !alike.contains(&&other.security) {
            alike.push(&other.security);
        }
    }
    match alike.iter().position(|other| **other == operation.security) {
        None | Some(0) => format_ident!("{stem}Access"),
        Some(earlier) => format_ident!("{stem}Access{}", earlier + 1),
    }
}

/// A type for each choice of credentials.
fn accesses(api: &Api) -> Vec<TokenStream> {
    let mut names = Vec::new();
    let secured = api.operations.iter().filter(|of| !of.security.is_public());
    let mut accesses = Vec::new();
    for operation in secured {
        let name = access_name(api, operation);
        if names.contains(&name) {
            continue;
        }
        let challenge = challenge(api, operation);
        let alternatives = operation.security.alternatives.iter();
        let attempts = alternatives.map(|requirement| attempt(api, requirement));
        let (caller, missing, found) = if operation.security.is_optional {
            (
                quote! { Option<A::Caller> },
                quote! { return Ok(None) },
                quote! { api.authenticate(origin, credentials).await.map(Some) },
            )
        } else {
            (
                quote! { A::Caller },
                quote! { return Err(RequestError::Unauthenticated) },
                quote! { api.authenticate(origin, credentials).await },
            )
        };
        accesses.push(quote! {
            /// How callers are authenticated.
            pub struct #name;

            impl<A: Api> runtime::Access<A> for #name {
                type Caller = #caller;
                const CHALLENGE: &'static str = #challenge;

                async fn authenticate(
                    api: &A,
                    origin: Origin,
                    head: &::http::request::Parts,
                ) -> Result<#caller, RequestError> {
                    let credentials = #(#attempts)* { #missing };
                    #found
                }
            }
        });
        names.push(name);
    }
    accesses
}

/// Takes what an alternative needs from the head of a request, if it is there.
fn attempt(api: &Api, requirement: &Requirement) -> TokenStream {
    let schemes = schemes_of(api, requirement);
    let variant = variant_of(&schemes);
    let finds = schemes.iter().map(|scheme| match &scheme.kind {
        SchemeKind::ApiKey { place, name } => match place {
            KeyPlace::Header => {
                let name = name.to_ascii_lowercase();
                quote! { runtime::credential(&head.headers, #name)? }
            }
            KeyPlace::Query => quote! { runtime::query_credential(&head.uri, #name)? },
            KeyPlace::Cookie => quote! { runtime::cookie(&head.headers, #name)? },
        },
        SchemeKind::Bearer => quote! { runtime::bearer(&head.headers)? },
        SchemeKind::Basic => quote! { runtime::basic(&head.headers)? },
    });
    let scopes = has_scopes(api, &schemes).then(|| {
        let scopes = requirement.schemes.iter().flat_map(|needed| &needed.scopes);
        quote! { &[#(#scopes),*] }
    });
    if let [_] = schemes.as_slice() {
        let scopes = scopes.map(|scopes| quote! { , #scopes });
        return quote! { if let Some(secret) = #(#finds)* { Credentials::#variant(secret #scopes) } else };
    }
    let secrets: Vec<_> = (1..=schemes.len())
        .map(|number| format_ident!("secret{number}"))
        .collect();
    quote! {
        if let (#(Some(#secrets)),*) = (#(#finds),*) {
            Credentials::#variant(#(#secrets,)* #scopes)
        } else
    }
}

/// How errors are answered.
fn errors(api: &Api) -> TokenStream {
    let (error, reply) = match &api.shared_errors {
        None => (
            quote! { RequestError },
            quote! { let _ = (api, origin, answers); Err(error) },
        ),
        Some(errors) => {
            let (field, key) = if errors.codes.is_empty() {
                (
                    quote! { status },
                    quote! { runtime::ErrorKey::Status(status) },
                )
            } else {
                (
                    quote! { code },
                    quote! { runtime::ErrorKey::Code(code.as_str()) },
                )
            };
            let names: Vec<_> = errors
                .headers
                .iter()
                .map(|header| ident(&header.name))
                .collect();
            let headers = errors.headers.iter().zip(&names).map(|(header, name)| {
                let wire = header.wire.to_ascii_lowercase();
                let text = match header.value {
                    HeaderValue::Integer => quote! { #name.map(|value| value.to_string()) },
                    HeaderValue::Text | HeaderValue::Fixed(_) => quote! { #name },
                };
                quote! { (#wire, #text) }
            });
            let reply = quote! {
                match api.error(error, origin) {
                    Failure::Declared { #field, body, #(#names),* } => {
                        runtime::error_reply(answers, #key, &body, &[#(#headers),*])
                    }
                    Failure::Request(error) => Err(error),
                }
            };
            (quote! { A::Error }, reply)
        }
    };
    quote! {
        /// How errors are answered.
        pub struct Errors;

        impl<A: Api> runtime::Errors<A> for Errors {
            type Error = #error;

            fn body(api: &A, error: &RequestError) -> ::serde_json::Result<Vec<u8>> {
                ::serde_json::to_vec(&api.request_error(error))
            }

            fn reply(
                api: &A,
                error: Self::Error,
                origin: &Origin,
                answers: &[&runtime::ErrorAnswer],
            ) -> Result<runtime::Reply, RequestError> {
                #reply
            }
        }
    }
}

fn challenge(api: &Api, operation: &Operation) -> String {
    let keys: Vec<&String> = operation.security.keys().collect();
    let schemes = api
        .schemes
        .iter()
        .filter(|scheme| keys.contains(&&scheme.key));
    let mut challenges: Vec<String> = Vec::new();
    for scheme in schemes {
        let challenge = match &scheme.kind {
            // In a quoted string of a header (RFC 9110 §5.6.4).
            SchemeKind::ApiKey { place, name } if names::is_header_name(name) => {
                format!("ApiKey {}=\"{name}\"", place.key())
            }
            SchemeKind::ApiKey { .. } => "ApiKey".to_owned(),
            SchemeKind::Bearer => "Bearer".to_owned(),
            SchemeKind::Basic => "Basic realm=\"api\"".to_owned(),
        };
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    challenges.join(", ")
}
