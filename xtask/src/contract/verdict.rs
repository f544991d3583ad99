//! The goals of a run, besides finding no failure: a run whose requests were all rejected finds none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::Value;

const PHASES: [&str; 4] = ["examples", "coverage", "fuzzing", "stateful"];

/// The value in an answer that shows that the operation reached its goal: it is neither null nor false. An operation
/// that is not listed has to answer with a success.
const PROOFS: [(&str, &str); 5] = [
    (
        "post_v1_self_mfa_enroll_confirm",
        "/data/device/confirmed_at",
    ),
    ("post_v1_self_mfa_verify_totp", "/data/valid"),
    ("post_v1_self_mfa_verify_totp_backup", "/data/valid"),
    ("post_v1_self_mfa_regenerate_totp", "/data/backup_codes/9"),
    ("delete_v1_self_mfa_remove", "/data/removed"),
];

/// How often an operation gave each status, and did what it is for.
#[derive(Default)]
struct Reached {
    statuses: BTreeMap<u64, usize>,
    proven: usize,
}

/// Gives a table of what was reached, or an error that lists what was not.
///
/// `document` is the contract as the generator lowers it, `har` has the requests of a run, `report` is its own summary.
pub(super) fn judge(document: &Value, har: &Value, report: &Value) -> anyhow::Result<String> {
    let mut missing = Vec::new();
    for phase in PHASES {
        let status = &report["phases"][phase]["status"];
        if status != "success" {
            missing.push(format!("the phase `{phase}` ended with {status}"));
        }
    }
    if report["complete"] != true {
        missing.push(format!("the run ended early: {}", report["stop_reason"]));
    }
    let requests = har.pointer("/log/entries").and_then(Value::as_array);
    let requests = requests.context("the record of requests has no entries")?;
    let mut table = String::new();
    for (path, method, operation) in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or(path);
        let reached = reached(requests, path, method, id);
        let successes = operation["responses"].as_object().into_iter().flatten();
        for (status, _) in successes.filter(|(status, _)| status.starts_with('2')) {
            if !status
                .parse()
                .is_ok_and(|status| reached.statuses.contains_key(&status))
            {
                missing.push(format!("`{id}` was never answered with {status}"));
            }
        }
        if reached.proven == 0 {
            missing.push(format!("`{id}` never did what it is for"));
        }
        let statuses = reached
            .statuses
            .iter()
            .map(|(status, count)| format!("{status} ×{count}"));
        let statuses = statuses.collect::<Vec<_>>().join(", ");
        writeln!(table, "{id}: {} done; {statuses}", reached.proven)?;
    }
    if table.is_empty() {
        missing.push("the contract has no operations".to_owned());
    }
    if missing.is_empty() {
        return Ok(table);
    }
    bail!(
        "{table}the run found no fault, but proves too little:\n  {}",
        missing.join("\n  ")
    )
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .filter(|(_, operation)| operation["responses"].is_object())
            .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn reached(requests: &[Value], path: &str, method: &str, id: &str) -> Reached {
    let mut reached = Reached::default();
    let proof = PROOFS.iter().find(|(operation, _)| *operation == id);
    for entry in requests {
        let url = entry["request"]["url"].as_str().unwrap_or_default();
        let is_method = entry["request"]["method"]
            .as_str()
            .is_some_and(|of| of.eq_ignore_ascii_case(method));
        let Some(status) = entry["response"]["status"]
            .as_u64()
            .filter(|_| is_method && is_below(url, path))
        else {
            continue;
        };
        *reached.statuses.entry(status).or_default() += 1;
        let text = entry["response"]["content"]["text"]
            .as_str()
            .unwrap_or_default();
        let is_proof = (200..300).contains(&status)
            && proof.is_none_or(|(_, pointer)| {
                let answer: Value = serde_json::from_str(text).unwrap_or_default();
                let value = answer.pointer(pointer).unwrap_or(&Value::Null);
                !value.is_null() && *value != false
            });
        reached.proven += usize::from(is_proof);
    }
    reached
}

/// Whether a URL is of a path, the variables of which may be anything.
fn is_below(url: &str, path: &str) -> bool {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    // Past the scheme and the host.
    let found: Vec<&str> = url
        .splitn(4, '/')
        .nth(3)
        .unwrap_or_default()
        .split('/')
        .collect();
    let wanted: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(found, wanted)| wanted.starts_with('{') || *found == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let operation =
            |id: &str| json!({ "operationId": id, "responses": { "200": {}, "404": {} } });
        json!({ "paths": {
            "/v1/self/mfa/verify/totp": { "post": operation("post_v1_self_mfa_verify_totp") },
            "/v1/things/{id}": { "get": operation("get_thing") },
        }})
    }

    fn entry(method: &str, url: &str, status: u16, text: &str) -> Value {
        json!({
            "request": { "method": method, "url": format!("http://127.0.0.1:1{url}") },
            "response": { "status": status, "content": { "text": text } },
        })
    }

    const VALID: &str = r#"{"data":{"valid":true}}"#;

    fn entries() -> Vec<Value> {
        vec![
            entry("POST", "/v1/self/mfa/verify/totp", 200, VALID),
            entry("GET", "/v1/things/7?a=b", 200, "{}"),
            entry("GET", "/v1/things/8", 404, "{}"),
        ]
    }

    fn report() -> Value {
        let phases: serde_json::Map<_, _> = PHASES
            .iter()
            .map(|phase| ((*phase).to_owned(), json!({ "status": "success" })))
            .collect();
        json!({ "complete": true, "phases": phases })
    }

    #[track_caller]
    fn refused(entries: &[Value], report: &Value) -> String {
        let har = json!({ "log": { "entries": entries } });
        judge(&document(), &har, report)
            .expect_err("proves too little")
            .to_string()
    }

    #[test]
    fn run_that_reached_every_success_passes() {
        let har = json!({ "log": { "entries": entries() } });
        let table = judge(&document(), &har, &report()).expect("it passes");
        assert_eq!(
            table,
            "post_v1_self_mfa_verify_totp: 1 done; 200 ×1\nget_thing: 1 done; 200 ×1, 404 ×1\n"
        );
    }

    #[test]
    fn success_that_was_never_reached_is_named() {
        let mut without = entries();
        without.remove(1);
        let error = refused(&without, &report());
        assert!(
            error.contains("`get_thing` was never answered with 200"),
            "{error}"
        );
        // Another method, and a longer path, are not it.
        let mut other = entries();
        other[1] = entry("PUT", "/v1/things/7", 200, "{}");
        other.push(entry("GET", "/v1/things/7/parts", 200, "{}"));
        assert!(refused(&other, &report()).contains("`get_thing` was never"));
    }

    #[test]
    fn answer_that_says_no_is_no_proof() {
        for text in [
            r#"{"data":{"valid":false}}"#,
            r#"{"data":null}"#,
            "",
            "no JSON",
        ] {
            let mut entries = entries();
            entries[0] = entry("POST", "/v1/self/mfa/verify/totp", 200, text);
            let error = refused(&entries, &report());
            assert!(
                error.contains("`post_v1_self_mfa_verify_totp` never did what it is for"),
                "{error}"
            );
        }
    }

    #[test]
    fn phase_that_did_not_run_and_a_run_that_ended_early_are_told() {
        let mut skipped = report();
        skipped["phases"]["stateful"]["status"] = json!("skip");
        assert!(refused(&entries(), &skipped).contains("the phase `stateful` ended with \"skip\""));
        let mut early = report();
        early["complete"] = json!(false);
        assert!(refused(&entries(), &early).contains("the run ended early"));
    }
}
