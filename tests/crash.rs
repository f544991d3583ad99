//! `kill -9` while codes are being regenerated: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arklow_client::types::RegenerateTotpRequest;
use arklow_domain::{BackupCode, CodeSet, Keyring};
use arklow_store::AuditFilter;
use futures_util::future::join_all;

use crate::harness::{Caller, Home, NO_LIMITS, TEST_TIMEOUT};

const ROUNDS: u64 = 50;
const DEVICES: usize = 4;

/// What one caller knows of its device.
struct Device {
    owner: Caller,
    /// The generation before the round, and the sets acknowledged during it.
    generation: i64,
    acknowledged: Vec<Vec<String>>,
    /// The last set ever acknowledged.
    last: Option<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_no_acknowledged_set_is_lost_in_fifty_kills() {
    let home = Home::new();
    let names = ["ada", "bob", "cyd", "dan"];
    let mut devices: Vec<Device> = names[..DEVICES]
        .iter()
        .map(|name| Device {
            owner: home.caller(name),
            generation: 0,
            acknowledged: Vec::new(),
            last: None,
        })
        .collect();
    let (mut acknowledged, mut in_flight) = (0, 0);
    for round in 0..ROUNDS {
        let server = home.serve(NO_LIMITS);
        let killed = Arc::new(AtomicBool::new(false));
        let shared: Vec<Mutex<&mut Device>> = devices.iter_mut().map(Mutex::new).collect();
        let load = shared.iter().map(|device| async {
            let (client, request) = {
                let device = device.lock().expect("nobody panicked");
                let request = RegenerateTotpRequest {
                    device_id: device.owner.device.clone(),
                };
                (server.client(&device.owner.token), request)
            };
            while !killed.load(Ordering::SeqCst) {
                let answer = client
                    .post_v1_self_mfa_regenerate_totp()
                    .body(request.clone())
                    .send()
                    .await;
                let Ok(answer) = answer else { break };
                let codes = answer.into_inner().data.expect("data").backup_codes;
                device
                    .lock()
                    .expect("nobody panicked")
                    .acknowledged
                    .push(codes);
            }
        });
        let kill = async {
            // Another moment in every round, from before the first commit to deep in the load; in every other
            // round, after something was acknowledged, however slow the machine is.
            let count = || {
                let known = shared
                    .iter()
                    .map(|device| device.lock().expect("nobody panicked"));
                known.map(|device| device.acknowledged.len()).sum::<usize>()
            };
            let deadline = Instant::now() + TEST_TIMEOUT;
            while round % 2 == 0 && count() < DEVICES && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(5 + (round * 37) % 120)).await;
            server.signal("KILL");
            killed.store(true, Ordering::SeqCst);
        };
        tokio::join!(join_all(load), kill);
        drop(shared);
        drop(server);

        let (store, keyring) = (home.store().await, home.keyring());
        for device in &mut devices {
            let id = device.owner.device.parse().expect("an id");
            let user = device.owner.user_id();
            let set = store.backup_code_set(user, id).await.expect("an answer");
            let generation = set.as_ref().map_or(0, |set| set.generation);
            let known =
                device.generation + i64::try_from(device.acknowledged.len()).expect("a count");
            assert!(
                generation == known || generation == known + 1,
                "round {round}: {known} known, {generation} kept"
            );
            acknowledged += device.acknowledged.len();
            in_flight += generation - known;
            device.last = device.acknowledged.pop().or(device.last.take());
            device.acknowledged.clear();
            device.generation = generation;
            if generation == known
                && let (Some(set), Some(last)) = (&set, &device.last)
            {
                assert_eq!(
                    matching(set, &keyring, device, last),
                    10,
                    "round {round}: the last acknowledged set"
                );
            } else if let (Some(set), Some(last)) = (&set, &device.last) {
                // A newer set was committed and its answer lost: then it is the newer one entirely.
                assert_eq!(
                    matching(set, &keyring, device, last),
                    0,
                    "round {round}: the set that was in flight"
                );
                device.last = None;
            }
            let filter = AuditFilter {
                device_id: Some(id),
                ..AuditFilter::default()
            };
            let records = store.audit_records(filter).await.expect("records");
            let generations: Vec<i64> = records
                .iter()
                .filter_map(|record| record.generation)
                .collect();
            assert_eq!(
                generations,
                (1..=generation).collect::<Vec<_>>(),
                "round {round}: the audit agrees"
            );
        }
        store.close().await;
    }
    println!(
        "{ROUNDS} kills: {acknowledged} acknowledged sets, none lost; {in_flight} committed unheard"
    );
    assert!(acknowledged >= DEVICES * 25, "there was load");
}

/// How many distinct slots of the set the codes fill.
fn matching(set: &CodeSet, keyring: &Keyring, device: &Device, codes: &[String]) -> usize {
    let slots = codes.iter().filter_map(|code| {
        let code = BackupCode::parse(code).expect("a code");
        let id = device.owner.device.parse().expect("an id");
        set.slot_of(keyring, device.owner.user_id(), id, &code)
            .expect("the set opens")
            .map(|slot| slot.bit())
    });
    slots.collect::<BTreeSet<u16>>().len()
}
