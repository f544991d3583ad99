//! `cargo xtask bench`: what it says before it builds anything.

use std::process::Command;

use crate::run;

#[test]
fn help_and_wrong_flags_are_answered_before_anything_is_built() {
    // There is no cargo on this path.
    let nothing = tempfile::tempdir().expect("a folder");
    let bench = |argument: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        run(command
            .args(["bench", argument])
            .env("PATH", nothing.path()))
    };
    for help in ["--help", "-h"] {
        let ended = bench(help);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for flag in ["--quick", "--only", "--seconds", "--flush", "--json"] {
            assert!(ended.stdout.contains(flag), "{}", ended.stdout);
        }
    }
    for (wrong, named) in [
        ("--only=nothing", "regenerate, codes"),
        ("--fast", "--fast"),
    ] {
        let ended = bench(wrong);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
    let ended = bench("--quick");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot run cargo"),
        "{}",
        ended.stderr
    );
}
