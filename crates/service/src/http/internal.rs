//! Health, metrics and the log level, on a listener that is not the public one (`--internal-listen`).
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /readyz` | 200 if requests can be served, else 503; what is wrong is in the body |
//! | `GET /metrics` | the metrics in the text format of Prometheus |
//! | `PUT /log-level` | sets the log level to the text of the body |
//!
//! There is no authentication: bind it to a loopback or private address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dropshot::{
    ApiDescription, ApiDescriptionRegisterError, ApiEndpoint, ApiEndpointVersions, Body, HttpError,
    RequestContext, UntypedBody,
};
use http::{Method, Response, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::app::App;
use crate::log;

/// How long the database may take to answer. Shorter than the timeout of a probe (1 s in Kubernetes, by default).
const DATABASE_TIMEOUT: Duration = Duration::from_millis(900);

/// How long reading the key file may take.
const KEYS_TIMEOUT: Duration = Duration::from_millis(500);

/// What the listener reports on.
pub(super) struct Internal {
    pub(super) app: Arc<App>,
    pub(super) metrics: PrometheusHandle,
    /// Held while the key file is read.
    pub(super) key_check: Arc<Mutex<()>>,
    /// Whether the server is about to stop.
    pub(super) is_draining: Arc<AtomicBool>,
}

type Context = RequestContext<Arc<Internal>>;
type Answered = Result<Response<Body>, HttpError>;

/// The routes of the listener.
pub(super) fn description() -> Result<ApiDescription<Arc<Internal>>, ApiDescriptionRegisterError> {
    let mut description = ApiDescription::new();
    description.register(get("/healthz", healthz))?;
    description.register(get("/readyz", readyz))?;
    description.register(get("/metrics", prometheus))?;
    description.register(ApiEndpoint::new(
        "set_log_level".to_owned(),
        set_log_level,
        Method::PUT,
        "application/octet-stream",
        "/log-level",
        ApiEndpointVersions::All,
    ))?;
    Ok(description)
}

fn get<H, F>(path: &'static str, handler: H) -> ApiEndpoint<Arc<Internal>>
where
    H: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    ApiEndpoint::new(
        path.trim_start_matches('/').to_owned(),
        handler,
        Method::GET,
        "application/json",
        path,
        ApiEndpointVersions::All,
    )
}

async fn healthz(_: Context) -> Answered {
    answer(StatusCode::OK, "application/json", r#"{"status":"ok"}"#)
}

async fn readyz(rqctx: Context) -> Answered {
    let internal = rqctx.context();
    let checks = check(internal).await;
    let is_ready = checks.iter().all(|(_, failed)| failed.is_none());
    let status = if is_ready { "ready" } else { "not ready" };
    let checks: serde_json::Map<String, Value> = checks
        .into_iter()
        .map(|(name, failed)| {
            (
                name.to_owned(),
                failed.unwrap_or_else(|| "ok".to_owned()).into(),
            )
        })
        .collect();
    let body = json!({ "status": status, "checks": checks }).to_string();
    let code = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(code, "application/json", body)
}

/// Each check, and why it fails.
async fn check(internal: &Internal) -> [(&'static str, Option<String>); 5] {
    let Internal {
        app, is_draining, ..
    } = internal;
    let health = app.store.health(DATABASE_TIMEOUT).await;
    let pending = health.as_ref().map_or(0, |health| health.pending.len());
    let stopping = is_draining.load(Ordering::Relaxed);
    let keys = check_keys(internal).await;
    [
        ("server", stopping.then(|| "is stopping".to_owned())),
        ("database", health.err().map(|error| log::chain(&error))),
        (
            "migrations",
            (pending > 0).then(|| format!("{pending} pending: run `arklow migrate up`")),
        ),
        ("keys", keys),
        ("disk", app.store.failure().map(|error| log::chain(&error))),
    ]
}

/// Reads the key file on a thread that may wait for it: on a network file system a read can hang. While one does, no other
/// begins, so that probes do not use up the threads.
async fn check_keys(internal: &Internal) -> Option<String> {
    let checking = async {
        let turn = Arc::clone(&internal.key_check).lock_owned().await;
        let app = Arc::clone(&internal.app);
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            app.keys.check().err().map(|error| log::chain(&error))
        });
        reading
            .await
            .unwrap_or_else(|error| Some(error.to_string()))
    };
    let checked = tokio::time::timeout(KEYS_TIMEOUT, checking).await;
    checked.unwrap_or_else(|_| Some("the key file cannot be read in time".to_owned()))
}

async fn prometheus(rqctx: Context) -> Answered {
    let Internal { app, metrics, .. } = &**rqctx.context();
    let health = app.store.health(DATABASE_TIMEOUT).await;
    crate::metrics::observe(app.store.load(), health.as_ref().ok(), app.clock.now());
    metrics.run_upkeep();
    answer(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        metrics.render(),
    )
}

async fn set_log_level(_: Context, body: UntypedBody) -> Answered {
    let text = body.as_str()?.trim();
    log::set_level(text).map_err(|message| HttpError::for_bad_request(None, message))?;
    answer(
        StatusCode::OK,
        "application/json",
        json!({ "log_level": text }).to_string(),
    )
}

fn answer(status: StatusCode, media_type: &str, body: impl Into<Body>) -> Answered {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CACHE_CONTROL, "no-store");
    response
        .body(body.into())
        .map_err(|error| HttpError::for_internal_error(error.to_string()))
}
