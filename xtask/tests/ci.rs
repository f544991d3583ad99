//! `cargo xtask ci` and `.ci/run` are two lists of stages; the first is a part of the second.

use std::fs;

use super::{repository, xtask};

#[test]
fn every_stage_of_the_task_is_a_stage_of_the_script() {
    let script = fs::read_to_string(repository().join(".ci/run")).expect("the script is there");
    let listed = xtask(&repository(), ["ci", "--list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(
        listed.stdout.contains("stage tests cargo test"),
        "{}",
        listed.stdout
    );
    for stage in listed.stdout.lines() {
        assert!(
            script.lines().any(|line| line == stage),
            "`.ci/run` has no line `{stage}`"
        );
    }
}
