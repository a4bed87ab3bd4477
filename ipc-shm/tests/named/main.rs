//! Named memory between real processes: who owns a name, who finds it, and who removes it.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs;
use std::path::PathBuf;

use ipc_core::{AuthKey, Builder, Child, Connection, Context, Function, Message, duplex};
use ipc_shm::{Error, Result, Segment, SharedMemory};
use ipc_testkit::{GENEROUS, LeakGuard, wait_until};

mod memory;
mod reaper;
mod scope;

/// The reaper stays as long as its process: a child, its handle's descriptors, and the connection.
fn leaks() -> LeakGuard {
    ipc_testkit::leaks().allow(1, 5, 0)
}

fn exec() -> Builder {
    Context::exec().builder()
}

/// A name that no other test has.
fn fresh(what: &str) -> String {
    let random = SharedMemory::new(1).unwrap();
    format!("test-{what}-{}", random.name())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}

/// Whether there is a file of that name, whatever it is.
fn stands(name: &str) -> bool {
    fs::symlink_metadata(path(name)).is_ok()
}

#[track_caller]
fn gone(name: &str) {
    assert!(wait_until(GENEROUS, || !stands(name)), "{name} is there still");
}

#[track_caller]
fn joined<F, A>(builder: Builder, f: F, args: A) -> F::Output
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    builder.spawn(f, args).unwrap().join().unwrap_or_else(|error| panic!("the child: {error}"))
}

/// Runs a test in a family of its own, which has a reaper of its own: others may be killed beside it.
#[track_caller]
fn in_a_family<F: Function<(), Output = ()>>(f: F) {
    joined(exec().authkey(AuthKey::random().unwrap()), f, ());
}

/// A process that owns a name until it is told otherwise, or is killed.
struct Owner {
    child: Child<()>,
    line: Connection<(), String>,
    name: String,
}

impl Owner {
    fn start(builder: Builder, name: &str) -> Owner {
        let (line, theirs) = duplex().unwrap();
        let child = builder.spawn(own, (name.to_owned(), theirs)).unwrap();
        let name = line.recv_timeout(GENEROUS).unwrap().unwrap();
        Owner { child, line, name }
    }

    fn kill(self) -> String {
        self.child.kill().unwrap();
        self.child.join().unwrap_err();
        self.name
    }

    fn end(self) -> String {
        drop(self.line);
        self.child.join().unwrap();
        self.name
    }
}

fn own(name: String, theirs: Connection<String, ()>) {
    let memory = SharedMemory::create(name, 100).unwrap();
    memory.write(0, b"owned").unwrap();
    theirs.send(memory.name().to_owned()).unwrap();
    // Until the other side is gone.
    let _ = theirs.recv();
}

/// The reapers that this process has started: children that lead a session.
fn reapers() -> Vec<u32> {
    let me = std::process::id().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let leads = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        // State, parent, group, session.
        fields.len() > 3 && fields[0] != "Z" && fields[1] == me && fields[3] == pid.to_string()
    };
    pids.filter(leads).collect()
}

/// The one that this process has started; it leads its session a moment after it answers nobody yet.
#[track_caller]
fn reaper() -> u32 {
    assert!(wait_until(GENEROUS, || reapers().len() == 1), "{:?}", reapers());
    reapers()[0]
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[track_caller]
fn text(memory: &SharedMemory) -> String {
    let mut bytes = [0; 5];
    memory.read(0, &mut bytes).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
