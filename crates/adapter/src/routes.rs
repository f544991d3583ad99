//! From the operations of a document to the routes of a Dropshot server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use dropshot::{
    ApiDescription, ApiDescriptionRegisterError, ApiEndpoint, ApiEndpointVersions, Body, HttpError,
    RawRequest, RequestContext,
};
use futures_util::FutureExt;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use super::Settings;
use super::body::{Unread, expects_continue};
use super::error::RequestError;
use super::operation::{Access, Errors, Handler, OperationId};
use super::origin::origin;
use super::request::{Input, path_parameters, refuse_other_paths, rest_parameters};
use super::response::{Reply, seconds};
use super::template::{Template, conflicts, segments_of};
use super::timeout::Budget;
use super::validate::RequestSchema;

/// An implementation with its settings: the context of the Dropshot server.
pub struct Served<A> {
    api: A,
    settings: Settings,
    schemas: BTreeMap<String, RequestSchema>,
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
        let schemas = schemas.operations.into_iter();
        let schemas = schemas.map(|(id, schema)| (id, RequestSchema::new(schema)));
        Self {
            api,
            running: Semaphore::new(settings.max_running.min(Semaphore::MAX_PERMITS)),
            settings,
            schemas: schemas.collect(),
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
        schemas,
        running,
    } = rqctx.context();
    // A server that logs or traces each request makes the span before it calls Dropshot.
    let span = input.span();
    span.record("operation", O::ID);
    span.record("request_id", &rqctx.request_id);
    let work = async {
        let mut budget = Budget::new(settings);
        let caller = O::Access::authenticate(api, origin(&rqctx, O::ID), input.head());
        let caller = {
            let _permit = permit(running)?;
            budget.spend(caller).await??
        };
        // Without a permit: a client that sends its body slowly must not keep others out.
        let request = input.read(settings, &schemas[O::ID]).await?;
        let _permit = permit(running)?;
        match budget.spend(O::call(api, caller, request)).await? {
            Ok(success) => O::reply(success),
            Err(error) => O::Errors::reply(api, error, &origin(&rqctx, O::ID), O::ERRORS),
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
    routes: Vec<Route<A>>,
}

/// An operation.
struct Route<A: Send + Sync + 'static> {
    method: Method,
    template: Template,
    /// Adds the operation.
    add: Register<A>,
    /// Adds HEAD, answered like the operation.
    add_head: Register<A>,
    /// Adds the methods that the path does not have.
    refuse_others: fn(&mut ApiDescription<Served<A>>, &str) -> Registered,
    /// Answers a request with these variables in its path.
    answer: fn(RequestContext<Served<A>>, Request<Body>, Value) -> Answering,
    /// Answers a request with a method that the path does not have.
    refuse: fn(RequestContext<Served<A>>, Arc<str>) -> Answering,
}

type Register<A> = fn(&mut ApiDescription<Served<A>>) -> Registered;
type Registered = Result<(), ApiDescriptionRegisterError>;
type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

impl<A: Send + Sync + 'static> Default for Routes<A> {
    fn default() -> Self {
        Self { routes: Vec::new() }
    }
}

impl<A: Send + Sync + 'static> Routes<A> {
    /// With an operation more.
    ///
    /// # Errors
    /// None.
    pub fn with<O: Handler<A>>(mut self) -> Result<Self, ApiDescriptionRegisterError> {
        self.routes.push(Route {
            method: O::METHOD,
            template: Template::new(O::PATH),
            add: |description| {
                let mut described = endpoint::<A, O>(O::METHOD).deprecated(O::DEPRECATED);
                if !O::SUMMARY.is_empty() {
                    described = described.summary(O::SUMMARY);
                }
                for tag in O::TAGS {
                    described = described.tag(tag);
                }
                description.register(described)
            },
            add_head: |description| {
                description.register(endpoint::<A, O>(Method::HEAD).visible(false))
            },
            refuse_others: refuse_other_methods::<A, O>,
            answer: |rqctx, request, path| {
                Box::pin(handle::<A, O>(rqctx, Input::new(path, request)))
            },
            refuse: |rqctx, allow| Box::pin(refuse_method::<A, O>(rqctx, allow)),
        });
        Ok(self)
    }

    /// All routes, to be served by Dropshot: the operations; HEAD like GET where the document does not declare it (RFC 9110
    /// §9.1); and 405 for every other method, which Dropshot would answer in its own format.
    ///
    /// Where Dropshot's router cannot tell paths apart, it gets one route for all that is below, and a `Dispatch` finds
    /// the operation.
    ///
    /// # Errors
    /// What Dropshot has against a route; nothing, for operations that were generated.
    pub fn finish(self) -> Result<ApiDescription<Served<A>>, ApiDescriptionRegisterError> {
        let conflicts = conflicts(self.routes.iter().map(|route| &route.template));
        let mut paths: BTreeMap<&str, Vec<Route<A>>> = BTreeMap::new();
        let mut dispatched: BTreeMap<Vec<&str>, Vec<Route<A>>> = BTreeMap::new();
        for route in self.routes {
            let segments = route.template.segments.iter().map(|segment| segment.text);
            let segments: Vec<&str> = segments.collect();
            match conflicts.iter().find(|prefix| segments.starts_with(prefix)) {
                Some(prefix) => dispatched.entry(prefix.clone()).or_default().push(route),
                None => paths.entry(route.template.path).or_default().push(route),
            }
        }
        let mut description = ApiDescription::new();
        for routes in paths.into_values() {
            for route in &routes {
                (route.add)(&mut description)?;
            }
            let allowed = allowed(&routes);
            let get = routes.iter().find(|route| route.method == Method::GET);
            if let Some(get) = get.filter(|_| routes.iter().all(|of| of.method != Method::HEAD)) {
                (get.add_head)(&mut description)?;
            }
            if let Some(any) = routes.first() {
                (any.refuse_others)(&mut description, &allowed)?;
            }
        }
        for (prefix, routes) in dispatched {
            Dispatch::new(routes).register(&prefix, &mut description)?;
        }
        Ok(description)
    }
}

/// The methods of a path, with HEAD where there is GET, as `Allow` lists them.
fn allowed<A: Send + Sync + 'static>(routes: &[Route<A>]) -> String {
    let mut names: BTreeSet<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if names.contains("GET") {
        names.insert("HEAD");
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Operations that Dropshot's router cannot tell apart.
struct Dispatch<A: Send + Sync + 'static> {
    /// By the number of segments, those first that match less.
    paths: HashMap<usize, Vec<Vec<Route<A>>>>,
}

impl<A: Send + Sync + 'static> Dispatch<A> {
    fn new(routes: Vec<Route<A>>) -> Self {
        let mut shapes: BTreeMap<Vec<String>, Vec<Route<A>>> = BTreeMap::new();
        for route in routes {
            let shape = route.template.shape();
            shapes.entry(shape).or_default().push(route);
        }
        let mut paths: HashMap<usize, Vec<Vec<Route<A>>>> = HashMap::new();
        for (shape, routes) in shapes {
            paths.entry(shape.len()).or_default().push(routes);
        }
        for paths in paths.values_mut() {
            paths.sort_by_cached_key(|routes| routes[0].template.ranks());
        }
        Self { paths }
    }

    /// Adds one route for each method, below `prefix`.
    fn register(self, prefix: &[&str], description: &mut ApiDescription<Served<A>>) -> Registered {
        let variables = prefix.iter().filter_map(|segment| {
            let name = segment.strip_prefix('{')?;
            name.strip_suffix('}')
        });
        let variables: Vec<&str> = variables.collect();
        let mut rest = "rest".to_owned();
        while variables.contains(&rest.as_str()) {
            rest.push('_');
        }
        let begin: String = prefix.iter().map(|segment| format!("/{segment}")).collect();
        let path = format!("{begin}/{{{rest}:.*}}");
        let dispatch = Arc::new(self);
        for method in METHODS {
            let dispatch = Arc::clone(&dispatch);
            let handler = move |rqctx: RequestContext<Served<A>>, request: RawRequest| {
                let dispatch = Arc::clone(&dispatch);
                async move { dispatch.answer(rqctx, request.into_inner()).await }
            };
            let name = format!("{method} {path}");
            let versions = ApiEndpointVersions::All;
            let endpoint =
                ApiEndpoint::new(name, handler, method, "application/json", &path, versions);
            let mut endpoint = endpoint.visible(false);
            endpoint.parameters = rest_parameters(&variables, &rest);
            description.register(endpoint)?;
        }
        Ok(())
    }

    async fn answer(&self, rqctx: RequestContext<Served<A>>, request: Request<Body>) -> Answered {
        let path = request.uri().path();
        let found = segments_of(path).and_then(|segments| Some((self.find(&segments)?, segments)));
        let Some((routes, segments)) = found else {
            drop(unread(request));
            let message = "no operation has this path".to_owned();
            return Err(HttpError::for_not_found(None, message));
        };
        let method = request.method();
        let of = |method: &Method| routes.iter().find(|route| route.method == *method);
        let like_get = || of(&Method::GET).filter(|_| *method == Method::HEAD);
        let Some(route) = of(method).or_else(like_get) else {
            let refused = refuse_other_paths(path, routes[0].template.path);
            drop(unread(request));
            refused?;
            return (routes[0].refuse)(rqctx, allowed(routes).into()).await;
        };
        if let Err(refused) = refuse_other_paths(path, route.template.path) {
            drop(unread(request));
            return Err(refused);
        }
        // Each operation has its own names for the variables.
        let variables = route.template.variables(&segments).unwrap_or_default();
        (route.answer)(rqctx, request, Value::Object(variables)).await
    }

    /// The operations of the first path that matches.
    fn find(&self, segments: &[String]) -> Option<&[Route<A>]> {
        let paths = self.paths.get(&segments.len())?;
        let matches = |routes: &&Vec<Route<A>>| routes[0].template.variables(segments).is_some();
        paths.iter().find(matches).map(Vec::as_slice)
    }
}

fn unread(request: Request<Body>) -> Unread {
    let (head, body) = request.into_parts();
    Unread::new(&head.headers, body)
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

/// The methods for which Dropshot has routes.
const METHODS: [Method; 8] = [
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// Answers a method that the path of `O` does not have.
async fn refuse_method<A, O>(rqctx: RequestContext<Served<A>>, allow: Arc<str>) -> Answered
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    let work = std::future::ready(Err(RequestError::MethodNotAllowed { allow }));
    Ok(answer::<A, O>(&rqctx, work).await)
}

/// Adds the methods that the path of `O` does not have.
fn refuse_other_methods<A, O>(
    description: &mut ApiDescription<Served<A>>,
    allow: &str,
) -> Registered
where
    A: Send + Sync + 'static,
    O: Handler<A>,
{
    for method in METHODS
        .into_iter()
        .filter(|method| !allow.split(", ").any(|name| name == method.as_str()))
    {
        let allow: Arc<str> = allow.into();
        let handler = move |rqctx: RequestContext<Served<A>>, request: RawRequest| {
            let allow = Arc::clone(&allow);
            let request = request.into_inner();
            let refused = refuse_other_paths(request.uri().path(), O::PATH);
            drop(unread(request));
            async move {
                refused?;
                refuse_method::<A, O>(rqctx, allow).await
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
