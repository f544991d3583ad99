//! The metrics, by name. [`docs/monitor.md`](../../../docs/monitor.md) describes each.
//!
//! Nothing is recorded unless [`install`] was called, which `--internal-listen` does.

use std::time::Duration;

use arklow_store::{BATCH_JOBS, Health, Load, SYNC_SECONDS};
use chrono::{DateTime, Utc};
use http::StatusCode;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const REQUESTS: &str = "arklow_http_requests_total";
const REQUEST_SECONDS: &str = "arklow_http_request_seconds";
const REGENERATIONS: &str = "arklow_regenerations_total";
const CODES: &str = "arklow_codes_total";
const LOCKS: &str = "arklow_locks_total";
const LIMITED: &str = "arklow_limited_total";
const QUEUED: &str = "arklow_store_queued_jobs";
const CONNECTIONS: &str = "arklow_store_connections";
const WAL_BYTES: &str = "arklow_store_wal_bytes";
const OUTBOX_AGE: &str = "arklow_outbox_oldest_seconds";
const NOTIFICATIONS: &str = "arklow_notifications_total";
const CERTIFICATE: &str = "arklow_tls_certificate_expires_timestamp_seconds";
const KEY_AGE: &str = "arklow_key_age_seconds";
const UP: &str = "arklow_database_up";
const INFO: &str = "arklow_build_info";

/// The upper bounds of the latency histograms, in seconds: of a read that is cached to the deadline of a request.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];
/// The upper bounds of the sizes of batches.
const JOBS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 4096.0];

/// Starts recording, for the whole process.
///
/// # Errors
/// A text, if metrics are recorded already.
pub(crate) fn install() -> Result<PrometheusHandle, String> {
    let buckets = [
        (REQUEST_SECONDS, &SECONDS[..]),
        (SYNC_SECONDS, &SECONDS),
        (BATCH_JOBS, &JOBS),
    ];
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in buckets {
        let matcher = Matcher::Full(name.to_owned());
        builder = builder
            .set_buckets_for_metric(matcher, bounds)
            .map_err(|error| error.to_string())?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    describe();
    Ok(handle)
}

fn describe() {
    describe_counter!(
        REQUESTS,
        "Requests that were answered, by operation and status"
    );
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "From the head of a request to its answer"
    );
    describe_counter!(REGENERATIONS, "Sets of backup codes that were replaced");
    describe_counter!(
        CODES,
        "Codes that were checked, by kind (totp, backup_code) and result (accepted, rejected)"
    );
    describe_counter!(
        LOCKS,
        "Locks that failures began, by what is locked (user, factor)"
    );
    describe_counter!(
        LIMITED,
        "Requests that a rate limit denied, by limit (address, denied, user)"
    );
    describe_counter!(
        NOTIFICATIONS,
        "Attempts to deliver a message to a user, by result (delivered, failed, dead)"
    );
    // Prometheus sees no increase in a counter that begins above zero, and one dead letter is enough for an alert.
    for result in ["delivered", "failed", "dead"] {
        counter!(NOTIFICATIONS, "result" => result).absolute(0);
    }
    describe_gauge!(
        QUEUED,
        "Jobs that wait for the database, by lane (read, write)"
    );
    describe_gauge!(
        CONNECTIONS,
        "Threads with a connection to the database, by state (busy, idle)"
    );
    describe_gauge!(
        WAL_BYTES,
        Unit::Bytes,
        "Size of the write-ahead log of SQLite"
    );
    describe_histogram!(BATCH_JOBS, "Changes that one commit of SQLite made durable");
    describe_histogram!(
        SYNC_SECONDS,
        Unit::Seconds,
        "Duration of a sync of the write-ahead log of SQLite"
    );
    describe_gauge!(
        OUTBOX_AGE,
        Unit::Seconds,
        "Age of the oldest message in the outbox that is not delivered; 0 if there is none"
    );
    describe_gauge!(
        KEY_AGE,
        Unit::Seconds,
        "Time since each root key was first used, without retired ones"
    );
    describe_gauge!(
        CERTIFICATE,
        Unit::Seconds,
        "When the certificate of each listener expires, since the Unix epoch"
    );
    describe_gauge!(UP, "1 if the database answered within a second, else 0");
    describe_gauge!(INFO, "Always 1; the version is a label");
    gauge!(INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Counts an answer. `operation` is `None` for what is no operation: the documentation, unknown paths.
pub(crate) fn answered(operation: Option<&'static str>, status: StatusCode, latency: Duration) {
    let operation = operation.unwrap_or("none");
    let status = status.as_u16().to_string();
    counter!(REQUESTS, "operation" => operation, "status" => status).increment(1);
    histogram!(REQUEST_SECONDS, "operation" => operation).record(latency);
}

pub(crate) fn regenerated() {
    counter!(REGENERATIONS).increment(1);
}

/// Counts a code that was checked.
pub(crate) fn checked(kind: &'static str, is_accepted: bool) {
    let result = if is_accepted { "accepted" } else { "rejected" };
    counter!(CODES, "kind" => kind, "result" => result).increment(1);
}

/// Counts a lock that a failure began.
pub(crate) fn locked(what: &'static str) {
    counter!(LOCKS, "what" => what).increment(1);
}

/// Counts a request that a rate limit denied.
pub(crate) fn limited(limit: &'static str) {
    counter!(LIMITED, "limit" => limit).increment(1);
}

/// Counts an attempt to deliver a message. `dead` is the last one of a message.
pub(crate) fn notified(result: &'static str) {
    counter!(NOTIFICATIONS, "result" => result).increment(1);
}

/// Sets when the certificate of a listener expires.
pub(crate) fn certificate(listener: &'static str, not_after: DateTime<Utc>) {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let seconds = not_after.timestamp() as f64;
    gauge!(CERTIFICATE, "listener" => listener).set(seconds);
}

/// Sets the gauges. `health` is what the database answered, if it did.
pub(crate) fn observe(load: Load, health: Option<&Health>, now: DateTime<Utc>) {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let count = |number: usize| number as f64;
    gauge!(QUEUED, "lane" => "read").set(count(load.queued_reads));
    gauge!(QUEUED, "lane" => "write").set(count(load.queued_writes));
    gauge!(CONNECTIONS, "state" => "busy").set(count(load.threads - load.idle));
    gauge!(CONNECTIONS, "state" => "idle").set(count(load.idle));
    if let Some(bytes) = load.wal_bytes {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
        gauge!(WAL_BYTES).set(bytes as f64);
    }
    gauge!(UP).set(if health.is_some() { 1.0 } else { 0.0 });
    let Some(health) = health else { return };
    let age = |at: DateTime<Utc>| (now - at).as_seconds_f64().max(0.0);
    gauge!(OUTBOX_AGE).set(health.oldest_message.map_or(0.0, age));
    for (id, at) in &health.keys {
        gauge!(KEY_AGE, "key" => id.to_string()).set(age(*at));
    }
}
