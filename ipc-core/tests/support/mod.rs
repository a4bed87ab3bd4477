//! What the integration tests share: the start methods as back ends, programs to run a test's body in, and gates to block children
//! at.
//!
//! A body that forks runs in a *program*: a child that was executed, has one thread and none of libtest's. There the
//! contract of [`Context::fork`] holds to the letter, and what a test changes of its process (signals, directory, limits) ends with
//! it. A body that must be somebody's *first process* is the test itself, executed again ([`first_process`]).

#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Output};

use ipc_core::{Context, Descriptor, Function, Message, Signal, StartMethod};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use serde::{Deserialize, Serialize};

/// A back end of the tests; travels to children, which may then start their own by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    Exec,
    ForkServer,
    Fork,
    Threads,
}

impl Method {
    /// The back ends that are processes.
    pub const PROCESSES: [Method; 3] = [Method::Exec, Method::ForkServer, Method::Fork];
    pub const ALL: [Method; 4] = [Method::Exec, Method::ForkServer, Method::Fork, Method::Threads];

    /// A context of its own, so that a test's fork server ends with the test.
    pub fn context(self) -> Context {
        match self {
            Method::Exec => Context::exec(),
            Method::ForkServer => Context::fork_server(),
            // SAFETY: `run` and `each_method` give this method to bodies in programs of one thread only; bodies with
            // threads of their own say what these hold.
            Method::Fork => unsafe { Context::fork() },
            Method::Threads => Context::threads(),
        }
    }

    pub fn start_method(self) -> StartMethod {
        match self {
            Method::Exec => StartMethod::Spawn,
            Method::ForkServer => StartMethod::ForkServer,
            Method::Fork => StartMethod::Fork,
            Method::Threads => StartMethod::Thread,
        }
    }
}

/// Runs a body over one back end; nothing of it may stay behind.
pub fn run<F: Function<(Method,), Output = ()>>(method: Method, body: F) {
    let _leaks = leaks();
    if method == Method::Fork {
        program(move |method: Method| tidy(method, body), (method,));
    } else {
        tidy(method, body);
    }
}

/// Runs a body over every back end that is processes, and says which one fails.
pub fn each_method<F: Function<(Method,), Output = ()>>(body: F) {
    for method in Method::PROCESSES {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(method, body))) {
            eprintln!("the start method was {method:?}");
            resume_unwind(panic);
        }
    }
}

fn tidy<F: Function<(Method,), Output = ()>>(method: Method, body: F) {
    let _leaks = leaks();
    let result = catch_unwind(AssertUnwindSafe(|| body.call((method,))));
    if result.is_err() && method == Method::Fork {
        // They hold copies of the gates they wait at, and this program's end would wait for them.
        ipc_core::active_children().iter().for_each(|child| drop(child.kill()));
    }
    // Sweeps out what was waited for and not joined.
    ipc_core::active_children();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Runs `f` in a process of its own, which has one thread.
///
/// # Panics
/// If `f` does, or ends otherwise without a value.
pub fn program<F, A>(f: F, args: A) -> F::Output
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let child = Context::exec().spawn(f, args).unwrap();
    child.join().unwrap_or_else(|error| panic!("the test's program: {error}"))
}

const FIRST: &str = "IPC_CORE_TEST_PROGRAM";

/// Runs `f` in a first process: `test`, the calling test, is executed again and comes here a second time. Gives its output in the
/// test, `None` in the process where `f` was run.
pub fn first_process(test: &str, f: impl FnOnce()) -> Option<Output> {
    if std::env::var(FIRST).is_ok_and(|name| name == test) {
        f();
        return None;
    }
    let _leaks = leaks();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FIRST, test)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

/// Where children wait until they are let through, one byte each. (Not the end of a file: a forked child has a copy of the writing
/// end as well.)
pub struct Gate {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Gate {
    pub fn new() -> Gate {
        let (reader, writer) = pipe().unwrap();
        Gate { reader, writer }
    }

    /// A child's side, for [`wait_at`].
    pub fn entrance(&self) -> Descriptor {
        Descriptor::from(self.reader.try_clone().unwrap())
    }

    /// The other side, for a child that lets its parent through by [`open`].
    pub fn key(&self) -> Descriptor {
        Descriptor::from(self.writer.try_clone().unwrap())
    }

    /// Lets one through.
    pub fn open(&self) {
        (&self.writer).write_all(&[1]).unwrap();
    }

    /// Waits to be let through oneself.
    pub fn wait(&self) {
        assert_eq!((&self.reader).read(&mut [0]).unwrap(), 1, "the other side is gone");
    }
}

/// Waits at a gate; also let through when the gate is gone.
pub fn wait_at(gate: Descriptor) {
    let mut gate: PipeReader = gate.into_inner();
    let _ = gate.read(&mut [0]).unwrap();
}

/// Lets one through a gate.
pub fn open(gate: Descriptor) {
    let mut gate: PipeWriter = gate.into_inner();
    gate.write_all(&[1]).unwrap();
}

/// A child's function: says that it runs, then stays until it is killed.
pub fn stay(ready: Descriptor) {
    open(ready);
    loop {
        std::thread::park();
    }
}

/// A child's function: waits at the gate, then returns the number.
pub fn number_after(gate: Descriptor, number: u32) -> u32 {
    wait_at(gate);
    number
}

/// State letter and parent of a process.
pub fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether there is a process of this number that is this process's child, dead or alive.
pub fn is_child(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(_, parent)| parent == std::process::id())
}

/// Waits until a process of this process has ended, without waiting for it as its parent.
pub fn await_end(pid: u32) {
    let ended = || state_and_parent(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'));
    assert!(wait_until(GENEROUS, ended), "process {pid} goes on");
}

/// What this process's open descriptors are, by number.
pub fn descriptors() -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some((entry.file_name().to_str()?.parse().ok()?, target))
    });
    let mut all: Vec<_> = entries.collect();
    // The directory that was read is gone.
    all.retain(|(_, target)| *target != format!("/proc/{}/fd", std::process::id()));
    all
}

/// Sends a signal to any process.
pub fn kill(pid: u32, signal: Signal) {
    // SAFETY: kill takes two numbers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal.as_raw()) }, 0);
}
