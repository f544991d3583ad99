//! From the operations of a document to the routes of a Dropshot server.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use dropshot::{
    ApiDescription, ApiDescriptionRegisterError, ApiEndpoint, ApiEndpointVersions, Body, HttpError,
    RawRequest, RequestContext,
};
use futures_util::FutureExt;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use super::Settings;
use super::body::{Unread, expects_continue};
use super::error::RequestError;
use super::operation::{Access, Errors, Handler, OperationId};
use super::origin::origin;
use super::request::{Input, path_parameters, refuse_other_paths};
use super::response::{Reply, seconds};
use super::timeout::Budget;
use super::validate::validator;

/// An implementation with its settings: the context of the Dropshot server.
pub struct Served<A> {
    api: A,
    settings: Settings,
    validators: BTreeMap<String, jsonschema::Validator>,
    /// A permit for each request that the implementation may work on.
    running: Semaphore,
}

impl<A> Served<A> {
    /// Joins an implementation and its settings; `schemas` is the text of the generated file `schemas.json`.
    pub fn new(api: A, settings: Settings, schemas: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Schemas {
            operations: BTreeMap<String, Value>,
        }
        let schemas: Schemas =
            serde_json::from_str(schemas).expect("the file was generated with this code");
        let validators = schemas.operations.into_iter();
        let validators = validators.map(|(id, schema)| (id, validator(&schema)));
        Self {
            api,
            running: Semaphore::new(settings.max_running.min(Semaphore::MAX_PERMITS)),
            settings,
            validators: validators.collect(),
        }
    }

    /// The implementation.
    pub fn api(&self) -> &A {
        &self.api
    }
}

/// A response, or Dropshot's error for a path that the document does not have.
type Answered = Result<Response<Body>, HttpError>;

/// Answers a request to an operation.
async fn handle<A, O>(rqctx: RequestContext<Served<A>>, input: Input<O>) -> Answered
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    let Served {
        api,
        settings,
        validators,
        running,
    } = rqctx.context();
    // A server that logs or traces each request makes the span before it calls Dropshot.
    let span = input.span();
    span.record("operation", O::ID);
    span.record("request_id", &rqctx.request_id);
    let work = async {
        let mut budget = Budget::new(settings);
        let caller = O::Access::authenticate(api, origin(&rqctx), input.head());
        let caller = {
            let _permit = permit(running)?;
            budget.spend(caller).await??
        };
        // Without a permit: a client that sends its body slowly must not keep others out.
        let request = input.read(settings, &validators[O::ID]).await?;
        let _permit = permit(running)?;
        match budget.spend(O::call(api, caller, request)).await? {
            Ok(success) => O::reply(success),
            Err(error) => O::Errors::reply(api, error, &origin(&rqctx), O::ERRORS),
        }
    };
    let mut response = answer::<A, O>(&rqctx, work).instrument(span).await;
    response.extensions_mut().insert(OperationId(O::ID));
    Ok(response)
}

fn permit(running: &Semaphore) -> Result<SemaphorePermit<'_>, RequestError> {
    let unavailable = RequestError::Unavailable { retry_after: None };
    running.try_acquire().map_err(|_| unavailable)
}

/// Runs `work` and answers, whatever becomes of it: an error, a panic, an answer that cannot be written.
async fn answer<A, O>(
    rqctx: &RequestContext<Served<A>>,
    work: impl Future<Output = Result<Reply, RequestError>>,
) -> Response<Body>
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    let Served { api, settings, .. } = rqctx.context();
    let outcome = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_payload| {
            // The payload may quote anything, so the log has none of it; the panic hook says where it happened.
            slog::error!(rqctx.log, "the implementation panicked; answering 500");
            Err(RequestError::Internal)
        });
    let error = match outcome {
        Ok(reply) => return reply.into_response(),
        Err(error) => error,
    };
    let mut reply = Reply::new(error.status());
    let body = std::panic::catch_unwind(AssertUnwindSafe(|| O::Errors::body(api, &error)));
    reply.body = body.ok().and_then(Result::ok);
    let headers = &mut reply.headers;
    match &error {
        RequestError::Unauthenticated => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(O::Access::CHALLENGE),
            );
        }
        RequestError::MethodNotAllowed { allow } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(header::ALLOW, allow);
            }
        }
        RequestError::DeadlineExceeded | RequestError::Unavailable { retry_after: None } => {
            headers.insert(header::RETRY_AFTER, seconds(settings.retry_after));
        }
        RequestError::Unavailable {
            retry_after: Some(after),
        } => {
            headers.insert(header::RETRY_AFTER, seconds(*after));
        }
        RequestError::PayloadTooLarge { .. }
        | RequestError::RequestTimeout
        | RequestError::InvalidRequest(_)
        | RequestError::UnsupportedMediaType
        | RequestError::NotImplemented
        | RequestError::Internal => {}
        RequestError::Undeclared(what) => {
            let id = O::ID;
            slog::error!(rqctx.log, "`{id}` does not declare {what}; answering 500");
        }
    }
    let is_unread = matches!(
        &error,
        RequestError::PayloadTooLarge { .. } | RequestError::RequestTimeout
    );
    // What is left of the body is not read, so the connection cannot carry another request. Whether a client that was
    // not told to continue sends its body is not known (RFC 9110 §10.1.1).
    if is_unread || expects_continue(rqctx.request.headers()) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply.into_response()
}

/// The routes of an implementation.
pub struct Routes<A: Send + Sync + 'static> {
    description: ApiDescription<Served<A>>,
    paths: BTreeMap<&'static str, Path<A>>,
}

/// A path of the document.
struct Path<A: Send + Sync + 'static> {
    methods: Vec<Method>,
    /// Adds HEAD, answered like GET.
    add_head: Option<Register<A>>,
    /// Adds the methods that the path does not have.
    refuse_others: fn(&mut ApiDescription<Served<A>>, &str) -> Registered,
}

type Register<A> = fn(&mut ApiDescription<Served<A>>) -> Registered;
type Registered = Result<(), ApiDescriptionRegisterError>;

impl<A: Send + Sync + 'static> Default for Routes<A> {
    fn default() -> Self {
        Self {
            description: ApiDescription::new(),
            paths: BTreeMap::new(),
        }
    }
}

impl<A: Send + Sync + 'static> Routes<A> {
    /// With an operation more.
    ///
    /// # Errors
    /// What Dropshot has against the route; nothing, for an operation that was generated.
    pub fn with<O: Handler<A>>(mut self) -> Result<Self, ApiDescriptionRegisterError> {
        let mut described = endpoint::<A, O>(O::METHOD).deprecated(O::DEPRECATED);
        if !O::SUMMARY.is_empty() {
            described = described.summary(O::SUMMARY);
        }
        for tag in O::TAGS {
            described = described.tag(tag);
        }
        self.description.register(described)?;
        let path = self.paths.entry(O::PATH).or_insert(Path {
            methods: Vec::new(),
            add_head: None,
            refuse_others: refuse_other_methods::<A, O>,
        });
        if O::METHOD == Method::GET {
            path.add_head = Some(|description| {
                description.register(endpoint::<A, O>(Method::HEAD).visible(false))
            });
        }
        path.methods.push(O::METHOD);
        Ok(self)
    }

    /// All routes, to be served by Dropshot: the operations; HEAD like GET where the document does not declare it (RFC 9110
    /// §9.1); and 405 for every other method, which Dropshot would answer in its own format.
    ///
    /// # Errors
    /// As [`Routes::with`].
    pub fn finish(self) -> Result<ApiDescription<Served<A>>, ApiDescriptionRegisterError> {
        let mut description = self.description;
        for mut path in self.paths.into_values() {
            if let Some(add_head) = path.add_head
                && !path.methods.contains(&Method::HEAD)
            {
                add_head(&mut description)?;
                path.methods.push(Method::HEAD);
            }
            let mut names: Vec<&str> = path.methods.iter().map(Method::as_str).collect();
            names.sort_unstable();
            (path.refuse_others)(&mut description, &names.join(", "))?;
        }
        Ok(description)
    }
}

fn endpoint<A, O>(method: Method) -> ApiEndpoint<Served<A>>
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    let id = O::ID.to_owned();
    let versions = ApiEndpointVersions::All;
    ApiEndpoint::new(
        id,
        handle::<A, O>,
        method,
        "application/json",
        O::PATH,
        versions,
    )
}

/// Answers the methods that the path of `O` does not have.
fn refuse_other_methods<A, O>(
    description: &mut ApiDescription<Served<A>>,
    allow: &str,
) -> Registered
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    let known = [
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
        Method::TRACE,
    ];
    for method in known
        .into_iter()
        .filter(|method| !allow.split(", ").any(|name| name == method.as_str()))
    {
        let allow: Arc<str> = allow.into();
        let handler = move |rqctx: RequestContext<Served<A>>, request: RawRequest| {
            let allow = Arc::clone(&allow);
            let (head, body) = request.into_inner().into_parts();
            drop(Unread::new(&head.headers, body));
            let refused = refuse_other_paths(head.uri.path(), O::PATH);
            async move {
                refused?;
                let work = std::future::ready(Err(RequestError::MethodNotAllowed { allow }));
                Answered::Ok(answer::<A, O>(&rqctx, work).await)
            }
        };
        let name = format!("{method} {}", O::PATH);
        let versions = ApiEndpointVersions::All;
        let endpoint =
            ApiEndpoint::new(name, handler, method, "application/json", O::PATH, versions);
        let mut endpoint = endpoint.visible(false);
        endpoint.parameters = path_parameters::<O::Parameters>();
        description.register(endpoint)?;
    }
    Ok(())
}
