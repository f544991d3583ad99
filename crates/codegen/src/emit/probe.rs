//! A program that calls each operation of the server through the client, with values made from the schemas.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::{Map, Value, json};

use super::openapi30::{is_typed, plain_body, plain_parameter};
use super::operations::{complete, request_schema};
use super::schema::Dialect;
use super::server::{Success, error_type, free_headers, is_secured, success};
use super::{ident, rust_type};
use crate::instances::{Instances, Random};
use crate::ir::{
    Answer, Api, Codec, HeaderValue, In, KeyPlace, Operation, Parameter, Schema, SchemeKind,
    Status, Style,
};
use crate::names;

const MANIFEST: &str = include_str!("probe/Cargo.toml.txt");
/// The program, which knows no document.
pub(crate) const PROGRAM: &str = include_str!("probe/main.rs.txt");

pub(crate) fn manifest(package: &str) -> String {
    MANIFEST.replace("PACKAGE", package)
}

/// The calls of the operations, and the implementation of the server.
pub(crate) fn calls(api: &Api, package: &str) -> TokenStream {
    let crate_name = package.replace('-', "_");
    let (api_crate, client_crate) = (
        format_ident!("{crate_name}_api"),
        format_ident!("{crate_name}_client"),
    );
    let body = error_type(api);
    let error = error_instance(api).unwrap_or_default().to_string();
    let is_error = match &api.error_type {
        Some(_) => quote! { crate::read::<#body>(body).map(drop) },
        None => quote! { { let _ = body; Ok(()) } },
    };
    let secured = is_secured(api);
    let caller = secured.then(|| quote! { type Caller = (); });
    let caller_argument = secured.then(|| quote! { _: Option<()>, });
    let authenticate = secured.then(|| {
        quote! {
            async fn authenticate(
                &self,
                _: server::Origin,
                _: server::Credentials,
            ) -> Result<(), RequestError> {
                Ok(())
            }
        }
    });
    let shared = api.shared_errors.as_ref().map(|_| {
        quote! {
            type Error = RequestError;
            fn error(&self, error: RequestError, _: &server::Origin) -> server::Failure {
                error.into()
            }
        }
    });
    let calls = api.operations.iter().map(call);
    let arms = api.operations.iter().map(|operation| {
        let (id, name) = (&operation.name, ident(&operation.name));
        quote! { #id => Box::pin(each::#name(&client, case, value)).await, }
    });
    quote! {
        #[allow(unused_imports, reason = "not every operation names a type")]
        use #api_crate::types;
        use #api_crate::{server, unimplemented};
        use #client_crate::Client;
        use serde_json::Value;
        use server::RequestError;

        use crate::Case;

        struct Probe;

        impl unimplemented::Unimplemented for Probe {
            #caller
            #shared
            #authenticate

            fn request_error(&self, _: &RequestError) -> #body {
                serde_json::from_str(#error).expect("an error")
            }

            async fn fallback<O: unimplemented::Operation>(
                &self,
                #caller_argument
                request: O::Request,
            ) -> Result<O::Success, RequestError> {
                crate::answer::<O::Request, O::Success>(O::ID, request).map_err(|error| {
                    eprintln!("{}: the answer cannot be read: {error}", O::ID);
                    RequestError::Internal
                })
            }
        }

        /// Starts the server.
        pub fn serve() -> dropshot::HttpServer<impl dropshot::ServerContext> {
            let log = slog::Logger::root(slog::Discard, slog::o!());
            let description = server::api_description::<Probe>().expect("the routes");
            let served = server::context(Probe, server::Settings::default());
            let server = dropshot::ServerBuilder::new(description, served, log);
            server.start().expect("the server starts")
        }

        /// Fails unless this is the body of an error answer.
        pub fn is_error(body: &Value) -> Result<(), String> {
            #is_error
        }

        /// Calls an operation.
        pub async fn call(base: &str, case: &Case, value: &Value) -> Result<(), String> {
            let client = Client::new_with_client(base, crate::client(&case.credentials));
            match case.id.as_str() {
                #(#arms)*
                other => Err(format!("no operation `{other}`")),
            }
        }

        /// A function for each operation: in one, they would take the compiler gigabytes.
        #[allow(unused_imports, unused_mut, reason = "not every operation has something to set")]
        mod each {
            use super::{Case, Client, Value, server, types};

            #(#calls)*
        }
    }
}

fn call(operation: &Operation) -> TokenStream {
    let method = ident(&operation.name);
    let request = format_ident!("{}Request", operation.type_name);
    let parameters = operation.parameters.iter().map(|of| {
        let setter = ident(&names::progenitor_name(&of.field.wire));
        let (place, wire) = (of.place.key(), &of.field.wire);
        let value = match (plain_parameter(of), of.style) {
            (_, Style::List(_)) if of.place != In::Query => quote! { crate::joined(part) },
            (schema, _) => {
                let of = client_type(&schema);
                quote! { serde_json::from_value::<#of>(part.clone()).map_err(|error| error.to_string())? }
            }
        };
        quote! {
            if let Some(part) = value[#place].get(#wire) {
                builder = builder.#setter(#value);
            }
        }
    });
    let body = operation.body.as_ref().map(|body| {
        let value = match &body.codec {
            Codec::Bytes => quote! {
                serde_json::from_value::<server::Bytes>(part.clone()).map_err(|error| error.to_string())?.0
            },
            Codec::Text => quote! { crate::text(part) },
            Codec::Json | Codec::Form { .. } => {
                let of = client_type(&plain_body(body));
                quote! { serde_json::from_value::<#of>(part.clone()).map_err(|error| error.to_string())? }
            }
        };
        quote! {
            if let Some(part) = value.get("body") {
                builder = builder.body(#value);
            }
        }
    });
    let is_typed = is_typed(operation);
    let compared = is_typed.then(|| {
        quote! {
            let body = serde_json::to_value(answer.into_inner()).map_err(|error| error.to_string())?;
            if let Some(expected) = &case.body && !crate::kept(expected, &body) {
                return Err(format!("the answer {expected} came as {body}"));
            }
        }
    });
    quote! {
        pub async fn #method(client: &Client, case: &Case, value: &Value) -> Result<(), String> {
            let request: server::#request = crate::read(value)?;
            let mut builder = client.#method();
            #(#parameters)*
            #body
            let sent = builder.send().await;
            crate::seen(&request).map_err(|error| match &sent {
                Ok(_) => format!("{error}: {value}"),
                Err(answer) => format!("{error}: {value}: {answer}"),
            })?;
            let answer = match sent {
                Ok(answer) => answer,
                Err(_) if case.status >= 300 => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            if answer.status().as_u16() != case.status {
                return Err(format!("the status is {}", answer.status()));
            }
            #compared
            Ok(())
        }
    }
}

/// The type that a method of the client takes. Progenitor uses other types for maps.
fn client_type(schema: &Schema) -> TokenStream {
    match schema {
        Schema::Map { values, .. } if **values == Schema::Any => {
            quote! { ::serde_json::Map<String, ::serde_json::Value> }
        }
        Schema::Map { values, .. } => {
            let values = client_type(values);
            quote! { ::std::collections::HashMap<String, #values> }
        }
        Schema::Array { items, .. } => {
            let items = client_type(items);
            quote! { Vec<#items> }
        }
        Schema::Nullable(inner) => {
            let inner = client_type(inner);
            quote! { Option<#inner> }
        }
        other => rust_type(other, &quote! { types:: }),
    }
}

fn error_instance(api: &Api) -> Option<Value> {
    let name = api.error_type.as_ref()?;
    instance(api, &Schema::Ref(name.clone()), &mut Random::new(1))
}

fn instance(api: &Api, schema: &Schema, random: &mut Random) -> Option<Value> {
    let schema = complete(api, super::schema::json(schema, Dialect::Draft202012));
    let values = Instances::of(&schema, false)?.valid(2, random);
    values.into_iter().last()
}

/// The operations with values for each, as the program reads them.
pub(crate) fn cases(api: &Api) -> Value {
    let operations = api.operations.iter().enumerate();
    operations
        .map(|(index, operation)| case(api, operation, &mut Random::new(index as u64 + 7)))
        .collect()
}

fn case(api: &Api, operation: &Operation, random: &mut Random) -> Value {
    let schema = strict(request_schema(api, operation), operation);
    let mut requests = Vec::new();
    let mut faults = Vec::new();
    // The runtime reads some parts by their schema.
    let is_text = schema.get("x-by-schema").is_some();
    if let Some(instances) = Instances::of(&schema, is_text) {
        requests = instances.valid(3, random);
        requests.retain(can_be_sent);
        if let Some(first) = requests.last() {
            for within in ["/body", "/query", "/path"] {
                faults.extend(instances.invalid(first, within, 2, random));
            }
            faults.retain(|fault| is_plain_fault(operation, fault));
        }
    }
    let (status, answer, body) = answer_of(api, operation, random).unwrap_or_default();
    let is_plain = |of: &Parameter| matches!(of.style, Style::Plain | Style::List(_));
    let has_json = operation.body.iter().all(|body| body.codec == Codec::Json);
    let credentials = credentials(api, operation);
    let mut case = json!({
        "id": operation.name,
        "method": operation.method.verb(),
        "path": operation.path,
        "is_plain": has_json && operation.parameters.iter().all(is_plain),
        "requests": requests,
        "faults": faults,
        "status": status,
    });
    case["answer"] = match &credentials {
        Some(_) => answer,
        None => Value::Null,
    };
    case["credentials"] = json!(credentials.unwrap_or_default());
    case["body"] = body;
    case
}

/// A request whose texts a path and a header can carry: what they cannot is refused by the client before it is sent.
fn can_be_sent(request: &Value) -> bool {
    let texts = |place: &str| {
        let values = request[place].as_object().into_iter().flatten();
        let values: Vec<String> = values
            .map(|(_, value)| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .collect();
        values
    };
    let fits_path =
        |text: &String| !(text.is_empty() || text.contains('\\') || text.starts_with('.'));
    let fits_header = |text: &String| text.is_ascii() && text.trim() == text && !text.is_empty();
    texts("path").iter().all(fits_path) && texts("header").iter().all(fits_header)
}

/// Of a parameter only a text can be sent: it breaks a schema that wants something else.
fn is_plain_fault(operation: &Operation, fault: &Value) -> bool {
    let mut places = ["path", "query", "header"].iter();
    if !places.all(|place| fault.get(*place).is_none_or(Value::is_object)) {
        return false;
    }
    let mut parameters = operation.parameters.iter();
    let is_text = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    parameters.all(|of| match fault[of.place.key()].get(&of.field.wire) {
        None => of.place != In::Path,
        Some(Value::Array(items)) => {
            matches!(of.style, Style::List(_)) && !items.is_empty() && items.iter().all(is_text)
        }
        Some(Value::String(text)) => {
            of.style == Style::Plain && !text.is_empty() && !text.contains('\u{1}')
        }
        Some(value) => of.style == Style::Plain && is_text(value),
    })
}

/// The schema of the requests that a typed client can send: it has everything in it, and of what is a text nothing is empty.
fn strict(mut schema: Value, operation: &Operation) -> Value {
    schema["required"] = json!(
        In::ALL
            .iter()
            .filter(|place| operation.parameters.iter().any(|of| of.place == **place))
            .map(|place| place.key())
            .chain(operation.body.as_ref().map(|_| "body"))
            .collect::<Vec<_>>()
    );
    if operation
        .body
        .as_ref()
        .is_some_and(|body| body.codec == Codec::Bytes)
    {
        schema["properties"]["body"] = json!({ "const": "AP8=" });
    }
    // In a form and a query there is no text for what is empty.
    let full = json!({ "$ref": "#/$defs/_full" });
    schema["$defs"]["_full"] = json!({
        "type": ["string", "number", "boolean", "object", "array"],
        "minProperties": 1, "patternProperties": { "": full },
        "minItems": 1, "items": full,
    });
    let mut body = operation.body.iter();
    if body.any(|body| matches!(body.codec, Codec::Form { .. })) {
        let own = schema["properties"]["body"].take();
        schema["properties"]["body"] = json!({ "allOf": [own, full] });
    }
    for parameter in &operation.parameters {
        let pointer = format!("/properties/{}/properties", parameter.place.key());
        let Some(properties) = schema.pointer_mut(&pointer).and_then(Value::as_object_mut) else {
            continue;
        };
        if let Some(own) = properties.get_mut(&parameter.field.wire) {
            let mut parts = vec![own.take(), full.clone()];
            if parameter.place != In::Query {
                parts.push(json!({ "not": { "type": "string", "maxLength": 0 } }));
            }
            // A list of one item cannot be distinguished from a text.
            if matches!(parameter.style, Style::BySchema | Style::Exploded) {
                parts.push(json!({ "not": { "type": "array", "maxItems": 1 } }));
            }
            if matches!(parameter.style, Style::List(_)) {
                parts.push(json!({ "items": { "not": { "pattern": "[,|]| |^$" } } }));
            }
            *own = json!({ "allOf": parts });
        }
    }
    schema
}

/// A success of an operation: its status, itself and its body.
fn answer_of(api: &Api, operation: &Operation, random: &mut Random) -> Option<(u16, Value, Value)> {
    let is_success = |of: &&Answer| matches!(of.status, Status::Exact(200..300) | Status::Range(2));
    let mut answers = operation.answers.iter();
    let answer = answers
        .clone()
        .find(is_success)
        .or_else(|| answers.next())?;
    let body = match (&answer.body, &answer.codec) {
        (None, _) => Value::Null,
        (Some(_), Codec::Bytes) => json!("AP8="),
        (Some(schema), _) => instance(api, schema, random)?,
    };
    let expected = match answer.codec {
        Codec::Json => body.clone(),
        Codec::Form { .. } | Codec::Text | Codec::Bytes => Value::Null,
    };
    let (status, key) = match answer.status {
        Status::Exact(status) => (status, status.to_string()),
        Status::Range(class) => (class * 100 + 1, format!("{class}XX")),
        Status::Default => (418, "default".to_owned()),
    };
    if let Success::Body { status, .. } = success(api, operation) {
        return Some((status, body, expected));
    }
    let headers: Map<String, Value> = free_headers(answer)
        .filter(|header| header.required)
        .map(|header| {
            let value = match header.value {
                HeaderValue::Integer => json!(7),
                HeaderValue::Text | HeaderValue::Fixed(_) => json!("a text"),
            };
            (header.wire.to_ascii_lowercase(), value)
        })
        .collect();
    let has_status = !matches!(answer.status, Status::Exact(_));
    let value = if has_status || free_headers(answer).next().is_some() {
        let mut fields = headers;
        if has_status {
            fields.insert("status".to_owned(), json!(status));
        }
        if answer.body.is_some() {
            fields.insert("body".to_owned(), body);
        }
        json!({ key: fields })
    } else if answer.body.is_some() {
        json!({ key: body })
    } else {
        json!(key)
    };
    Some((status, value, expected))
}

/// Headers with the credentials of an operation; none if a client cannot send them so.
fn credentials(api: &Api, operation: &Operation) -> Option<Vec<(String, String)>> {
    if operation.security.is_public() || operation.security.is_optional {
        return Some(Vec::new());
    }
    let alternatives = operation.security.alternatives.iter();
    let sent = alternatives.filter_map(|requirement| {
        let headers = requirement.schemes.iter().map(|needed| {
            let scheme = api.schemes.iter().find(|scheme| scheme.key == needed.key)?;
            Some(match &scheme.kind {
                SchemeKind::ApiKey { place, name } => match place {
                    KeyPlace::Header => (name.to_ascii_lowercase(), "key".to_owned()),
                    KeyPlace::Cookie => ("cookie".to_owned(), format!("{name}=key")),
                    KeyPlace::Query => return None,
                },
                SchemeKind::Bearer => ("authorization".to_owned(), "Bearer token".to_owned()),
                SchemeKind::Basic => ("authorization".to_owned(), "Basic YTpi".to_owned()),
            })
        });
        let headers: Option<Vec<(String, String)>> = headers.collect();
        let headers = headers?;
        let names: Vec<&String> = headers.iter().map(|(name, _)| name).collect();
        let is_twice = |(index, name): (usize, &&String)| names[..index].contains(name);
        (!names.iter().enumerate().any(is_twice)).then_some(headers)
    });
    sent.into_iter().next()
}
