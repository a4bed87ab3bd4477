//! Programs that are built apart from each other and from this one meet at an address, and share a lock and a value: the examples
//! `meet_server` and `meet_client`, and one that does not fit.
//!
//! They are `tests/fixtures`, a workspace of its own, built by cargo in two profiles when the test asks for them.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod meeting;

use ipc_testkit::leaks;
use meeting::{Server, build, command, run, text};

#[test]
fn programs_that_were_built_apart_share_a_lock_and_a_value() {
    let _leaks = leaks();
    let (server, client) = (build("meet_server", "dev"), build("meet_client", "apart"));
    let address = format!("@ipc-shm-strangers-{}", std::process::id());
    let server = Server::start(&server, &[&address, "3"], &address);
    let first = run(&client, &[&address]);
    assert_eq!(text(&first.stdout), "there are 1000 by now\n", "{first:?}");
    let dead = command(&client, &[&address, "die"]).spawn().unwrap();
    let pid = dead.id();
    assert!(!dead.wait_with_output().unwrap().status.success());
    let last = run(&client, &[&address]);
    let told = format!("process {pid} has died with the total\nthere are 2010 by now\n");
    assert_eq!(text(&last.stdout), told, "{last:?}");
    let said = server.ends();
    let added = "a client has added 1000";
    assert_eq!(said, [added, "a client has gone without a word", added, "2010 in all"]);
}

#[test]
fn another_type_and_another_version_are_errors() {
    let _leaks = leaks();
    let (server, client, misfit) =
        (build("meet_server", "dev"), build("meet_client", "apart"), build("misfit", "apart"));
    let address = format!("@ipc-shm-misfits-{}", std::process::id());
    let server = Server::start(&server, &[&address, "1"], &address);
    let refused = run(&misfit, &["type", &address]);
    assert!(
        refused.status.success() && text(&refused.stdout).contains("another type than f64"),
        "{refused:?}"
    );
    assert_eq!(server.ends(), ["a client has gone without a word", "0 in all"]);

    let server = Server::start(&misfit, &["version", &address], &address);
    let refused = run(&client, &[&address]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(text(&refused.stderr).contains("layout is version 77"), "{refused:?}");
    assert_eq!(server.ends().len(), 1);
}

/// Each child has as little memory of its own as one that reads nothing.
#[test]
fn a_large_data_set_is_read_without_a_copy() {
    let _leaks = leaks();
    let dataset = build("dataset", "dev");
    let ran = run(&dataset, &["32", "3"]);
    let said = text(&ran.stdout);
    let all = (0..32_u64 << 18).map(|n| n % 1000).sum::<u64>();
    assert!(ran.status.success() && said.contains(&format!("{all} in all, by 3 processes")), "{ran:?}");
    let besides = said.lines().filter_map(|line| line.strip_suffix(" kB besides")?.rsplit(' ').next());
    let besides: Vec<u64> = besides.map(|number| number.parse().unwrap()).collect();
    assert!(besides.len() == 3 && besides.iter().all(|kilobytes| (1..8 << 10).contains(kilobytes)), "{said}");
}
