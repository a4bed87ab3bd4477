//! Programs of `tests/fixtures`, built apart and run: for the tests of strangers here and of the crate above.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock};

/// Builds a program of the fixtures.
#[track_caller]
pub(crate) fn build(program: &str, profile: &str) -> PathBuf {
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

pub(crate) fn command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("MEET_KEY", "not guessed").stdin(Stdio::null());
    command
}

/// A server that is bound, and what it says from then on.
pub(crate) struct Server(Child, Lines<BufReader<ChildStdout>>);

impl Server {
    pub(crate) fn start(program: &Path, words: &[&str], address: &str) -> Server {
        let mut child = command(program, words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().map(Result::unwrap);
        let server = Server(child, lines);
        assert_eq!(first, Some(format!("at {address}")));
        server
    }

    pub(crate) fn ends(mut self) -> Vec<String> {
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

pub(crate) fn run(program: &Path, words: &[&str]) -> Output {
    command(program, words).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
