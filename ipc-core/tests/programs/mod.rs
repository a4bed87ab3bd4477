//! What the tests of weather, lifetime and entry share: programs of their own, and processes that change themselves.
//!
//! A test that changes its whole process does it in a child; a test about the beginning or the end of a program
//! runs its own executable once more ([`Program`]), or one of the fixtures ([`fixture`]).

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod family;
pub(crate) mod fixture;
pub(crate) mod program;
pub(crate) mod sandbox;

use std::os::fd::OwnedFd;

use ipc_core::{Child, Context};
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use ipc_testkit::not_run;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use program::{Program, role};

/// The methods that make processes of a program afresh, by the names that roles carry.
pub(crate) const METHODS: [&str; 2] = ["exec", "fork_server"];

/// A new context by its name in [`METHODS`].
pub(crate) fn context(method: &str) -> Context {
    match method {
        "exec" => Context::exec(),
        "fork_server" => Context::fork_server(),
        other => panic!("no method {other:?}"),
    }
}

/// Runs `test` by exec and by a fork server of its own, which is gone afterwards.
pub(crate) fn each_method(test: impl Fn(&Context)) {
    for method in METHODS {
        println!("by {method}");
        test(&context(method));
    }
}

/// Runs the child to its end; what failed in it fails here, with its words.
#[track_caller]
pub(crate) fn joined<T: ipc_core::Message>(child: Child<T>) -> T {
    child.join().unwrap_or_else(|error| panic!("{error}"))
}

/// Copies a program by another process: while this one had the copy open for writing, a child that any thread starts in
/// that moment would have it too, and running the copy would fail (ETXTBSY).
pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("--").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp {from:?} {to:?}");
}

/// A descriptor for any process, which is ready once that has ended.
pub(crate) fn pidfd(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open")
}

/// Whether the process behind a pidfd ends before a generous deadline.
pub(crate) fn ends(pidfd: &OwnedFd) -> bool {
    let timeout = rustix::event::Timespec { tv_sec: ipc_testkit::GENEROUS.as_secs() as i64, tv_nsec: 0 };
    loop {
        let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return ready == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Whether the process behind a pidfd has ended.
pub(crate) fn ended(pidfd: &OwnedFd) -> bool {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&now)) == Ok(1)
}

/// Sends a signal by pid.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// The state letter of a process, from /proc.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

/// A field of /proc/self/status.
pub(crate) fn status_field(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in the status")).trim().to_owned()
}
