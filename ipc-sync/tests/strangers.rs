//! Programs that are built apart from each other and from this one meet at an address, and share a queue and an event: the examples
//! `share_server` and `share_client`, and one that does not fit.
//!
//! They are `tests/fixtures`, a workspace of its own, built by cargo in two profiles when the test asks for them.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

#[path = "../../ipc-shm/tests/meeting/mod.rs"]
mod meeting;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use ipc_testkit::leaks;
use meeting::{Server, build, command, run, text};

#[test]
fn programs_that_were_built_apart_share_a_queue_and_an_event() {
    let _leaks = leaks();
    let (server, client) = (build("share_server", "dev"), build("share_client", "apart"));
    let address = format!("@ipc-sync-strangers-{}", std::process::id());
    let server = Server::start(&server, &[&address, "3", "200"], &address);
    let start = |words: &[&str]| command(&client, words).stdout(Stdio::piped()).spawn().unwrap();
    let clients = [start(&[&address]), start(&[&address, "die"]), start(&[&address])];
    let pids = clients.each_ref().map(Child::id);
    let [one, dead, other] = clients.map(|client| client.wait_with_output().unwrap());
    assert_eq!(dead.status.signal(), Some(libc::SIGABRT), "{dead:?}");
    let put = [&one, &other].map(|client| {
        assert!(client.status.success(), "{client:?}");
        let said = text(&client.stdout).trim_end().strip_prefix("told to stop after ");
        said.and_then(|number| number.parse::<u64>().ok()).unwrap_or_else(|| panic!("{client:?}"))
    });
    // What was put before a death is there, and so is all that the others put.
    let mut all = [(pids[0], put[0]), (pids[1], 10), (pids[2], put[1])];
    all.sort_unstable();
    let sum = put[0] + put[1] + 10;
    assert!(sum >= 200, "{sum}");
    let mut expected: Vec<String> = all
        .iter()
        .filter(|(_, put)| *put > 0)
        .map(|(pid, put)| format!("process {pid} has put {put}"))
        .collect();
    expected.push(format!("{sum} in all"));
    assert_eq!(server.ends(), expected);
}

#[test]
fn the_server_is_told_when_all_have_died() {
    let _leaks = leaks();
    let (server, client) = (build("share_server", "dev"), build("share_client", "apart"));
    let address = format!("@ipc-sync-dead-{}", std::process::id());
    let server = Server::start(&server, &[&address, "1", "200"], &address);
    let dead = command(&client, &[&address, "die"]).spawn().unwrap();
    let pid = dead.id();
    assert!(!dead.wait_with_output().unwrap().status.success());
    assert_eq!(server.ends(), [format!("process {pid} has put 10"), "10 in all".to_owned()]);
}

#[test]
fn what_does_not_fit_is_a_clear_error() {
    let _leaks = leaks();
    let (server, misfit) = (build("share_server", "dev"), build("misfit", "apart"));
    for (part, why) in [
        ("type", "it is something else than a queue, or of another version or element type"),
        ("half", "an end of a queue is not acceptable: it is the other end"),
        ("event", "it is something else than a CountingSemaphore, or of another version or element type"),
    ] {
        let address = format!("@ipc-sync-misfit-{part}-{}", std::process::id());
        let server = Server::start(&server, &[&address, "1", "200"], &address);
        let refused = run(&misfit, &[part, &address]);
        assert!(refused.status.success() && text(&refused.stdout).contains(why), "{refused:?}");
        // And nobody waits for the one that has gone.
        assert_eq!(server.ends(), ["0 in all"]);
    }
}
