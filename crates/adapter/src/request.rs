//! Reads the parameters and the body of a request as one value, and checks it.

use std::marker::PhantomData;

use dropshot::{
    ApiEndpointBodyContentType, ApiEndpointParameter, ApiEndpointParameterLocation, Body,
    ExclusiveExtractor, ExtensionMode, ExtractorMetadata, HttpError, RequestContext, ServerContext,
    SharedExtractor,
};
use http::Request;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Span;

use super::Settings;
use super::body::{Unread, parse_json, read_body};
use super::error::{In, RequestError, Violation};
use super::operation::{BodyMode, Operation, Parameters};
use super::validate::{
    MAX_TEXT, Violations, escape, missing_body, pointer_of, shorten_keys, split, violations_of,
};

type Path<O> = <<O as Operation>::Parameters as Parameters>::Path;
type Query<O> = <<O as Operation>::Parameters as Parameters>::Query;
type Header<O> = <<O as Operation>::Parameters as Parameters>::Header;

/// A request that was not checked yet.
///
/// This extractor fails only for a path that the document does not have: its error can carry
/// neither headers nor the document's error type.
pub(super) struct Input<O> {
    path: Value,
    head: http::request::Parts,
    body: Unread,
    operation: PhantomData<fn() -> O>,
}

#[async_trait::async_trait]
impl<O: Operation> ExclusiveExtractor for Input<O> {
    async fn from_request<C: ServerContext>(
        rqctx: &RequestContext<C>,
        request: Request<Body>,
    ) -> Result<Self, HttpError> {
        refuse_other_paths(request.uri().path(), O::PATH)?;
        let path = <dropshot::Path<Path<O>> as SharedExtractor>::from_request(rqctx).await?;
        let path = serde_json::to_value(path.into_inner()).unwrap_or_default();
        Ok(Self::new(path, request))
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        let path = <dropshot::Path<Path<O>> as SharedExtractor>::metadata(content_type.clone());
        let query = <dropshot::Query<Query<O>> as SharedExtractor>::metadata(content_type.clone());
        let header = <dropshot::Header<Header<O>> as SharedExtractor>::metadata(content_type);
        let parameters = [path, query, header]
            .into_iter()
            .flat_map(|metadata| metadata.parameters)
            .collect();
        ExtractorMetadata {
            extension_mode: ExtensionMode::None,
            parameters,
        }
    }
}

impl<O: Operation> Input<O> {
    /// A request, with the variables of its path as strings.
    pub(super) fn new(path: Value, request: Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        let body = Unread::new(&head.headers, body);
        Self {
            path,
            head,
            body,
            operation: PhantomData,
        }
    }

    /// The span that the server put into the extensions of the request.
    pub(super) fn span(&self) -> Span {
        self.head.extensions.get().cloned().unwrap_or(Span::none())
    }

    /// Everything before the body.
    pub(super) fn head(&self) -> &http::request::Parts {
        &self.head
    }

    /// Reads the whole request and checks it: media type, size, JSON, schema, in this order.
    pub(super) async fn read(
        self,
        settings: &Settings,
        validator: &jsonschema::Validator,
    ) -> Result<O::Request, RequestError> {
        let mut violations = Violations::default();
        let query = self.query(&mut violations);
        let header = self.header_parameters(&mut violations);
        let path = self.path_parameters();
        let mut request = serde_json::json!({ "path": path, "query": query, "header": header });
        let mut is_broken = false;
        if O::BODY == BodyMode::Json
            && let Some(bytes) =
                read_body(&self.head.headers, self.body, settings, O::MEDIA_TYPE).await?
        {
            match parse_json(&bytes, &mut violations) {
                Ok(body) => request["body"] = body,
                Err((message, rule)) => {
                    violations.add(In::Body, "", &message, rule);
                    is_broken = true;
                }
            }
        }
        if validator.is_valid(&request) && violations.is_empty() {
            // What a schema cannot say, such as the range of a date, is found by reading the value.
            return serde_path_to_error::deserialize(request).map_err(|error| {
                let (place, pointer) = split(&pointer_of(error.path()));
                let mut violations = Violations::default();
                violations.add(place, &pointer, "is out of range", "format");
                violations.into_error()
            });
        }
        if let Some(body) = request.get_mut("body") {
            shorten_keys(body, 4 * MAX_TEXT);
        }
        for error in validator.iter_errors(&request) {
            if violations.is_full() {
                violations.more += 1;
                continue;
            }
            for violation in violations_of(&error) {
                // A body that is no JSON is not missing.
                if !(is_broken && violation == missing_body()) {
                    let Violation {
                        place,
                        pointer,
                        message,
                        rule,
                    } = violation;
                    violations.add(place, &pointer, &message, &rule);
                }
            }
        }
        Err(violations.into_error())
    }

    fn query(&self, violations: &mut Violations) -> Value {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(self.head.uri.query().unwrap_or_default())
                .unwrap_or_default();
        collect::<O::Parameters>(In::Query, violations, |name| {
            pairs
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| Some(value.clone()))
                .collect()
        })
    }

    fn header_parameters(&self, violations: &mut Violations) -> Value {
        collect::<O::Parameters>(In::Header, violations, |name| {
            let values = self.head.headers.get_all(name).iter();
            values
                .map(|value| value.to_str().ok().map(str::to_owned))
                .collect()
        })
    }

    fn path_parameters(&self) -> Value {
        collect::<O::Parameters>(In::Path, &mut Violations::default(), |name| {
            vec![
                self.path
                    .get(name)
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            ]
        })
    }
}

/// The parameters of one place as an object; `texts` finds all values of a name, `None` for one that is not text.
fn collect<P: Parameters>(
    place: In,
    violations: &mut Violations,
    texts: impl Fn(&str) -> Vec<Option<String>>,
) -> Value {
    let mut object = serde_json::Map::new();
    for parameter in P::ALL.iter().filter(|parameter| parameter.place == place) {
        let mut violate = |message: &str, rule: &str| {
            let pointer = format!("/{}", escape(parameter.name));
            violations.add(place, &pointer, message, rule);
        };
        let given = texts(parameter.name);
        if given.is_empty() {
            continue;
        }
        let count = given.len();
        let texts: Vec<String> = given.into_iter().flatten().collect();
        match parameter.kind.read_all(&texts) {
            _ if texts.len() < count => violate("is not text", "type"),
            Some(value) => drop(object.insert(parameter.name.to_owned(), value)),
            None => violate("is given more than once", "unique"),
        }
    }
    Value::Object(object)
}

/// Refuses a path that Dropshot routes to `route` by skipping empty segments, `//v1//self/` for `/v1/self/`: a proxy in
/// front sees another path, and an empty value of a variable would lead to another operation. Only the slash at the end of
/// `route` may be missing.
pub(super) fn refuse_other_paths(path: &str, route: &str) -> Result<(), HttpError> {
    if path.contains("//") || path.ends_with('/') && !route.ends_with('/') {
        let message = "the path has an empty segment".to_owned();
        return Err(HttpError::for_not_found(None, message));
    }
    Ok(())
}

/// Dropshot wants the variables of a path declared on every endpoint that has it.
pub(super) fn path_parameters<P: Parameters>() -> Vec<ApiEndpointParameter> {
    declared::<P::Path>()
}

fn declared<P>() -> Vec<ApiEndpointParameter>
where
    P: DeserializeOwned + JsonSchema + Send + Sync + 'static,
{
    <dropshot::Path<P> as SharedExtractor>::metadata(ApiEndpointBodyContentType::Json).parameters
}

/// The declarations of these variables, each of which is a segment, and of `rest`, which is what follows them.
pub(super) fn rest_parameters(names: &[&str], rest: &str) -> Vec<ApiEndpointParameter> {
    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Segment {
        segment: String,
    }
    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Rest {
        rest: Vec<String>,
    }
    let named = |name: &str, parameters: Vec<ApiEndpointParameter>| {
        let place = ApiEndpointParameterLocation::Path;
        parameters
            .into_iter()
            .map(move |of| {
                let examples = Vec::new();
                ApiEndpointParameter::new_named(
                    &place,
                    name.to_owned(),
                    None,
                    true,
                    of.schema,
                    examples,
                )
            })
            .collect::<Vec<_>>()
    };
    let segments = names
        .iter()
        .flat_map(|name| named(name, declared::<Segment>()));
    segments.chain(named(rest, declared::<Rest>())).collect()
}
