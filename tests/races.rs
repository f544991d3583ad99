//! Regenerations at the same time: exactly one of the answers holds the codes that work.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::harness::{Caller, Home, NO_LIMITS, Server};

const ROUNDS: i64 = 30;
const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn t01_one_of_eight_parallel_regenerations_wins_on_one_server() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = Arc::new(home.serve(NO_LIMITS));
    race(&home, &ada, &[server]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_one_of_eight_parallel_regenerations_wins_on_two_servers() {
    let home = Home::new();
    let ada = home.caller("ada");
    let servers = [
        Arc::new(home.serve(NO_LIMITS)),
        Arc::new(home.serve(NO_LIMITS)),
    ];
    race(&home, &ada, &servers).await;
}

async fn race(home: &Home, ada: &Caller, servers: &[Arc<Server>]) {
    for round in 1..=ROUNDS {
        let answers =
            (0..CALLERS).map(|n| servers[n % servers.len()].regenerate(&ada.token, &ada.device));
        let sets: Vec<Vec<String>> = join_all(answers)
            .await
            .iter()
            .map(|answer| answer.backup_codes())
            .collect();
        let mut working = Vec::new();
        for codes in &sets {
            working.push(home.working(ada, codes).await);
        }
        working.sort_unstable();
        assert_eq!(working, [0, 0, 0, 0, 0, 0, 0, 10], "round {round}");
    }
    let records = home.records().await;
    let generations: Vec<Option<i64>> = records.iter().map(|record| record.generation).collect();
    let expected: Vec<Option<i64>> = (1..=ROUNDS * CALLERS as i64).map(Some).collect();
    assert_eq!(generations, expected, "one record for each, in order");
    println!(
        "{CALLERS} parallel regenerations x {ROUNDS} rounds on {} server(s): one set worked each time",
        servers.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_two_servers_together() {
    let home = Home::new();
    let ada = home.caller("ada");
    let limits = ["--limit-regenerate", "7/1h", "--limit-enroll", "5/1h"];
    let servers = [home.serve(&limits), home.serve(&limits)];
    let count = |answers: Vec<crate::harness::Answer>| {
        let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
        for answer in refused {
            answer.assert(429, "RATE_LIMITED");
        }
        done.len()
    };
    let regenerated =
        join_all((0..40).map(|n| servers[n % servers.len()].regenerate(&ada.token, &ada.device)));
    assert_eq!(count(regenerated.await), 7);
    let started = join_all((0..40).map(|n| servers[n % servers.len()].start(&ada.token, "New")));
    assert_eq!(count(started.await), 5);
    // Of those that were begun, each has taken the place of the one before it.
    let listed = servers[0].by(&ada).devices().await;
    assert_eq!(listed.body["data"]["count"], 2);
}
