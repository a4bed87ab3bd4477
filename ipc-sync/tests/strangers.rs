//! Programs that are built apart from each other and from this one meet at an address, and share a queue and an event: the examples
//! `share_server` and `share_client`, and one that does not fit.
//!
//! They are `tests/fixtures`, a workspace of its own, built by cargo in two profiles when the test asks for them.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use ipc_testkit::leaks;
use rustix::fs::{FlockOperation, flock};

/// Builds a program of the fixtures.
#[track_caller]
fn build(program: &str, profile: &str) -> PathBuf {
    // Where ipc-core's are: most of what both need is the same.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    fs::create_dir_all(&target).unwrap();
    let lock = File::create(target.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--bin", program, "--profile", profile]);
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    // What the surrounding run has set for its own builds.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "LLVM_PROFILE_FILE"] {
        cargo.env_remove(name);
    }
    let output = cargo.env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
    target.join(if profile == "dev" { "debug" } else { profile }).join(program)
}

fn command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("MEET_KEY", "not guessed").stdin(Stdio::null());
    command
}

/// A server that is bound, and what it says from then on.
struct Server(Child, Lines<BufReader<ChildStdout>>);

impl Server {
    fn start(program: &Path, words: &[&str], address: &str) -> Server {
        let mut child = command(program, words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().map(Result::unwrap);
        let server = Server(child, lines);
        assert_eq!(first, Some(format!("at {address}")));
        server
    }

    fn ends(mut self) -> Vec<String> {
        let said = self.1.by_ref().map(Result::unwrap).collect();
        assert!(self.0.wait().unwrap().success(), "{said:?}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where the test fails; otherwise it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &Path, words: &[&str]) -> Output {
    command(program, words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

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
