//! Traces for an OpenTelemetry collector, over OTLP (HTTP, protobuf). Off unless `--otlp-endpoint` is given.
//!
//! The span of a request continues the trace of the caller (`traceparent`, W3C Trace Context), and each call of the store
//! is a span below it. Sampling, batching and headers follow the variables of the OpenTelemetry specification, such as
//! `OTEL_TRACES_SAMPLER` and `OTEL_EXPORTER_OTLP_HEADERS`.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arklow_store::TRANSACTION;
use clap::Args;
use http::{HeaderMap, StatusCode};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as Export};
use reqwest::Url;
use tracing::{Level, Span, Subscriber, info, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long the last spans may take to be exported at the end.
const FLUSH: Duration = Duration::from_secs(3);

/// Where traces go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TraceArgs {
    /// The OpenTelemetry collector that spans are sent to over OTLP (HTTP, protobuf), such as http://localhost:4318.
    ///
    /// Sampling and headers are set by OpenTelemetry's own variables: OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS.
    #[arg(long, env = "ARKLOW_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<Collector>,
}

/// The URL of a collector.
#[derive(Debug, Clone)]
pub(crate) struct Collector(Url);

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a URL such as http://localhost:4318";
        let url = Url::parse(text).map_err(|_| expected)?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        match is_http && url.username().is_empty() && url.password().is_none() {
            true => Ok(Self(url)),
            false => Err(format!(
                "{expected}, without a password: OTEL_EXPORTER_OTLP_HEADERS is for secrets"
            )),
        }
    }
}

/// What exports spans, if traces are on.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends the spans of requests and of the store to a collector.
///
/// # Errors
/// A message, if that cannot be set up.
pub(crate) fn layer<S>(collector: &Collector) -> Result<impl Layer<S>, String>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let base = collector.0.as_str().trim_end_matches('/');
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder()
        .with_service_name("arklow")
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(Named {
            exporter,
            is_failing: AtomicBool::new(false),
        })
        .build();
    let tracer = provider.tracer("arklow");
    // Only a second call finds one there.
    drop(PROVIDER.set(provider));
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false);
    // Of our log lines only errors become events of spans.
    let ours = Targets::new()
        .with_target("arklow", Level::ERROR)
        .with_target(TRANSACTION, Level::INFO);
    Ok(spans.with_filter(ours))
}

/// Exports what is left.
pub(crate) fn end() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(FLUSH)
    {
        warn!("the last spans were not exported: {error}");
    }
}

/// Continues the trace of the caller in the span of a request, and returns its id; `None` if traces are off.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) -> Option<String> {
    PROVIDER.get()?;
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // An error means that the span is not exported.
    span.set_parent(parent).ok()?;
    let context = span.context();
    let trace_id = context.span().span_context().trace_id();
    Some(trace_id.to_string())
}

/// Records the answer in the span of a request.
pub(crate) fn answered(span: &Span, method: &str, status: StatusCode) {
    if PROVIDER.get().is_none() {
        return;
    }
    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(status.to_string()));
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Names spans by what they are about, and logs when the collector takes none.
struct Named {
    exporter: SpanExporter,
    is_failing: AtomicBool,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

impl Export for Named {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(name);
        let exported = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !was_failing => {
                warn!("the collector takes no spans (--otlp-endpoint): {error}");
            }
            Ok(()) if was_failing => info!("the collector takes spans again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Names the span of a request after its operation, and that of the store after its statements.
fn name(span: &mut SpanData) {
    let (attribute, kind) = match &*span.name {
        "request" => ("operation", SpanKind::Server),
        _ => ("statements", SpanKind::Client),
    };
    let found = span
        .attributes
        .iter()
        .find(|pair| pair.key.as_str() == attribute);
    if let Some(pair) = found {
        span.name = pair.value.as_str().into_owned().into();
    }
    span.span_kind = kind;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collector_is_a_url_without_a_password() {
        for (text, is_one) in [
            ("http://localhost:4318", true),
            ("https://otel.example.com/base/", true),
            ("localhost:4318", false),
            ("http://ada:hunter2@localhost:4318", false),
        ] {
            let parsed = text.parse::<Collector>();
            assert_eq!(parsed.is_ok(), is_one, "{text}");
            if let Err(error) = parsed {
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
    }
}
