//! Users of a server with ten times as many connections as it allows.

use crate::{repository, xtask};

#[test]
fn users_are_served_under_ten_times_the_connections_that_the_server_allows() {
    if cfg!(not(target_os = "linux")) {
        println!("skipped: overload, for only Linux has many loopback addresses");
        return;
    }
    let ended = xtask(
        &repository(),
        [
            "overload",
            "--debug",
            "--seconds",
            "15",
            "--connections",
            "100",
        ],
    );
    println!("{}", ended.stdout);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}
