//! The time of answers that must be indistinguishable: thousands of samples of each kind, interleaved, so that other load on
//! the machine affects all kinds alike.
//!
//! The effect size is Cliff's delta: how much more often a sample of one kind is slower than one of the other than the
//! other way round, from -1 to 1. For two kinds that do not differ it strays by 0.018 with 2,000 samples of each.

use std::time::{Duration, Instant};

use arklow_domain::{BackupCode, SystemRandom};
use serde_json::{Value, json};

use crate::harness::{Home, NO_LIMITS, Server, place};

const SAMPLES: usize = 2_000;
/// More than five times what chance does.
const BOUND: f64 = 0.1;

/// The orders of three kinds, so that none always comes first.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
    [0, 2, 1],
    [1, 0, 2],
];

/// One connection, as an attacker keeps it.
struct Stopwatch {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Stopwatch {
    fn new(server: &Server, operation: &str, token: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: format!("{}{}", server.base, place(operation).0),
            token: token.to_owned(),
        }
    }

    /// How long the answer takes, to its last byte.
    async fn time(&self, body: &Value, status: u16) -> Duration {
        let request = self
            .http
            .post(&self.url)
            .header("x-arklow-auth", &self.token)
            .json(body);
        let started = Instant::now();
        let answer = request.send().await.expect("an answer");
        let (answered, body) = (answer.status(), answer.bytes().await);
        let took = started.elapsed();
        assert_eq!(answered, status, "{body:?}");
        took
    }
}

/// How much more often a sample of `one` is greater than one of `other`.
fn cliffs_delta(one: &[Duration], other: &[Duration]) -> f64 {
    let mut sorted = other.to_vec();
    sorted.sort_unstable();
    let balance: i64 = one
        .iter()
        .map(|sample| {
            let below = sorted.partition_point(|other| other < sample);
            let above = sorted.len() - sorted.partition_point(|other| other <= sample);
            below as i64 - above as i64
        })
        .sum();
    balance as f64 / (one.len() * other.len()) as f64
}

fn median(samples: &[Duration]) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Prints the measurements, and fails if two kinds can be distinguished.
fn compare(what: &str, names: [&str; 3], samples: &[Vec<Duration>; 3]) {
    for (name, samples) in names.iter().zip(samples) {
        let median = median(samples);
        println!(
            "{what}: {name}: {} samples, median {median:?}",
            samples.len()
        );
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let delta = cliffs_delta(&samples[one], &samples[other]);
        println!(
            "{what}: {} against {}: Cliff's delta {delta:+.3}",
            names[one], names[other]
        );
        assert!(
            delta.abs() < BOUND,
            "{what}: {} against {}: {delta}",
            names[one],
            names[other]
        );
    }
}

#[test]
fn effect_size_is_that_of_its_definition() {
    let of = |samples: &[u64]| -> Vec<Duration> {
        samples.iter().map(|n| Duration::from_micros(*n)).collect()
    };
    let (low, high) = (of(&[1, 2, 3]), of(&[4, 5]));
    assert_eq!(cliffs_delta(&high, &low), 1.0);
    assert_eq!(cliffs_delta(&low, &high), -1.0);
    assert_eq!(cliffs_delta(&low, &low), 0.0);
    assert_eq!(cliffs_delta(&of(&[2]), &low), 0.0);
    assert_eq!(cliffs_delta(&of(&[3, 3]), &of(&[2, 3])), 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_unknown_foreign_and_removed_devices_take_the_same_time() {
    let home = Home::new();
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let removed = home.device(&ada.user, true);
    home.run(&["device", "remove", &removed]);
    let server = home.serve(NO_LIMITS);
    let watch = Stopwatch::new(&server, "post_v1_self_mfa_verify_totp", &ada.token);
    // As long as the others.
    let unknown = format!("{}", (1_i64 << 62) + 12_345);
    let bodies = [&unknown, &eve.device, &removed]
        .map(|device| json!({ "device_id": device, "code": "123456" }));
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..SAMPLES {
        for kind in ORDERS[round % ORDERS.len()] {
            let took = watch.time(&bodies[kind], 404).await;
            samples[kind].push(took);
        }
    }
    compare("device", ["unknown", "foreign", "removed"], &samples);
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_wrong_used_and_foreign_codes_take_the_same_time() {
    let home = Home::new();
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let server = home.serve(NO_LIMITS);
    let own = server.by(&ada).regenerate().await.backup_codes();
    let foreign = server.by(&eve).regenerate().await.backup_codes();
    let used = &own[..5];
    for code in used {
        server.by(&ada).redeem(code).await.assert_valid();
    }
    let watch = Stopwatch::new(&server, "post_v1_self_mfa_verify_totp_backup", &ada.token);
    let mut vandal = home.vandal();
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..SAMPLES {
        let wrong = BackupCode::random(&SystemRandom::new())
            .expect("a code")
            .expose();
        let codes = [&wrong, &used[round % 5], &foreign[round % 10]];
        for kind in ORDERS[round % ORDERS.len()] {
            let body = json!({ "device_id": ada.device, "code": codes[kind] });
            let took = watch.time(&body, 200).await;
            samples[kind].push(took);
        }
        // Three failures do not lock the user yet.
        vandal.run("UPDATE users SET mfa_failures = 0");
    }
    compare("code", ["wrong", "used", "foreign"], &samples);
}
