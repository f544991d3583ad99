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
use super::body::{BodyMode, Unread, parse_json, read_body};
use super::by_schema::BySchema;
use super::bytes::Bytes;
use super::error::{In, RequestError, Violation};
use super::kind::Kind;
use super::operation::{Operation, Parameter, Parameters};
use super::validate::{
    MAX_TEXT, RequestSchema, Violations, escape, missing_body, pointer_of, shorten_keys, split,
    violations_of,
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
        schema: &RequestSchema,
    ) -> Result<O::Request, RequestError> {
        let mut violations = Violations::default();
        let RequestSchema { validator, .. } = schema;
        let by_schema = BySchema::new(&schema.texts);
        let query = self.query(&by_schema, &mut violations);
        let header = self.header_parameters(&by_schema, &mut violations);
        let path = self.path_parameters(&by_schema, &mut violations);
        let mut request = serde_json::json!({ "path": path, "query": query, "header": header });
        let mut is_broken = false;
        if !matches!(O::BODY, BodyMode::None)
            && let Some(bytes) = read_body(
                &self.head.headers,
                self.body,
                settings,
                &O::BODY,
                O::MEDIA_TYPE,
            )
            .await?
        {
            match body_value(&O::BODY, bytes, &by_schema, &mut violations) {
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

    fn query(&self, by_schema: &BySchema<'_>, violations: &mut Violations) -> Value {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(self.head.uri.query().unwrap_or_default())
                .unwrap_or_default();
        let is_other = |name: &str, key: &str| {
            let mut all = O::Parameters::ALL.iter();
            all.any(|of| of.place == In::Query && of.name == key && of.name != name)
        };
        collect::<O::Parameters>(
            In::Query,
            by_schema,
            violations,
            |name| {
                pairs
                    .iter()
                    .filter(|(key, _)| key == name)
                    .map(|(_, value)| Some(value.clone()))
                    .collect()
            },
            |parameter, violations| match parameter.kind {
                Kind::Exploded => {
                    let is_other = |key: &str| is_other(parameter.name, key);
                    by_schema.exploded(parameter.name, &pairs, is_other, violations)
                }
                _ => by_schema.deep(parameter.name, &pairs, violations),
            },
        )
    }

    fn header_parameters(&self, by_schema: &BySchema<'_>, violations: &mut Violations) -> Value {
        let texts = |name: &str| {
            let values = self.head.headers.get_all(name).iter();
            values
                .map(|value| value.to_str().ok().map(str::to_owned))
                .collect()
        };
        collect::<O::Parameters>(In::Header, by_schema, violations, texts, |_, _| None)
    }

    fn path_parameters(&self, by_schema: &BySchema<'_>, violations: &mut Violations) -> Value {
        let texts = |name: &str| {
            let value = self.path.get(name).and_then(Value::as_str);
            vec![value.map(str::to_owned)]
        };
        collect::<O::Parameters>(In::Path, by_schema, violations, texts, |_, _| None)
    }
}

/// The body as JSON. The error is the message and the rule of a violation.
fn body_value(
    mode: &BodyMode,
    bytes: Vec<u8>,
    by_schema: &BySchema<'_>,
    violations: &mut Violations,
) -> Result<Value, (String, &'static str)> {
    let is_no_text = || ("is not UTF-8".to_owned(), "type");
    match mode {
        BodyMode::Json | BodyMode::None => parse_json(&bytes, violations),
        BodyMode::Form => {
            let pairs: Vec<(String, String)> =
                serde_urlencoded::from_bytes(&bytes).map_err(|_| is_no_text())?;
            Ok(by_schema.form(&pairs, violations))
        }
        BodyMode::Text(kind) => {
            let text = String::from_utf8(bytes).map_err(|_| is_no_text())?;
            Ok(kind.read(&text))
        }
        // It takes all bytes.
        BodyMode::Bytes => Ok(serde_json::to_value(Bytes(bytes)).unwrap_or_default()),
    }
}

/// The parameters of one place as an object. `texts` finds all values of a name, `None` for one that is not text; `spread`
/// finds the value of a parameter that has several names.
fn collect<P: Parameters>(
    place: In,
    by_schema: &BySchema<'_>,
    violations: &mut Violations,
    texts: impl Fn(&str) -> Vec<Option<String>>,
    spread: impl Fn(&Parameter, &mut Violations) -> Option<Value>,
) -> Value {
    let mut object = serde_json::Map::new();
    for parameter in P::ALL.iter().filter(|parameter| parameter.place == place) {
        if matches!(parameter.kind, Kind::Exploded | Kind::Deep) {
            let value = spread(parameter, violations);
            object.extend(value.map(|value| (parameter.name.to_owned(), value)));
            continue;
        }
        let given = texts(parameter.name);
        if given.is_empty() {
            continue;
        }
        let count = given.len();
        let texts: Vec<String> = given.into_iter().flatten().collect();
        let pointer = format!("/{}", escape(parameter.name));
        if texts.len() < count {
            violations.add(place, &pointer, "is not text", "type");
            continue;
        }
        let value = match parameter.kind {
            Kind::BySchema => by_schema.texts(place, parameter.name, texts, violations),
            _ => {
                let value = parameter.kind.read_all(&texts);
                if value.is_none() {
                    violations.add(place, &pointer, "is given more than once", "unique");
                }
                value
            }
        };
        object.extend(value.map(|value| (parameter.name.to_owned(), value)));
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
