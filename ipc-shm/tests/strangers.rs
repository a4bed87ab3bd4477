//! Programs that are built apart from each other and from this one meet at an address, and share a lock and a value: the examples
//! `meet_server` and `meet_client`, and one that does not fit.
//!
//! They are `tests/fixtures`, a workspace of its own, built by cargo in two profiles when the test asks for them.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
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
    assert!(text(&refused.stderr).contains("layout is version 77, and this program's is 1"), "{refused:?}");
    assert_eq!(server.ends().len(), 1);
}
