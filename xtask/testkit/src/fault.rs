//! The walk under which `cargo xtask fault` makes system calls fail.
//!
//! A crate has an example `fault_walk` whose `main` calls [`walk`] with its scenarios, each a few of the
//! crate's operations. The runner starts `fault_walk NAME`, which prepares what is not under test and calls
//! [`Region::begin`]. There the process stops itself (SIGSTOP), so that strace can attach: strace counts
//! calls per thread from the moment it attaches, so the first failing call is the first one in the region.
//! Two harmless system calls, `getpriority(PRIO_USER, 0x7a11)` and `0x7a12`, stand in the trace where the
//! region begins and ends.
//!
//! Afterwards the program itself looks for descriptors and children that were not there before, and says
//! `ok`, `error: …` (both exit 0: a clear error is a good answer to a failing call), or `leak: …` (exit 1).
//! By hand, `cargo run --example fault_walk NAME` runs a scenario undisturbed, without a name it lists them.

use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{PTracer, Signal, Uid};

use crate::leaks::{Allowed, Snapshot};
use crate::wait::wait_until;

/// The number that marks the beginning of the region in the trace.
pub const BEGIN: u32 = 0x7A11;
/// The number that marks its end.
pub const END: u32 = 0x7A12;

/// A scenario: its name and what it does. It prepares, calls [`Region::begin`], walks through the operations
/// and returns their first error in words.
pub type Scenario = (&'static str, fn(&mut Region) -> Result<(), String>);

/// The part of a scenario in which system calls fail.
#[derive(Debug, Default)]
pub struct Region {
    before: Option<Snapshot>,
    allowed: Allowed,
}

impl Region {
    /// From here on calls may fail.
    pub fn begin(&mut self) {
        // Taken first: what the scenario prepared is no leak, whether or not it is dropped at the end.
        self.before = Snapshot::take();
        if std::env::var_os("IPC_FAULT_STOP").is_some() {
            // Where Yama restricts ptrace(2), a process must name its tracer. Refused means not needed.
            let _ = rustix::process::set_ptracer(PTracer::Any);
            if rustix::process::kill_process(rustix::process::getpid(), Signal::STOP).is_err() {
                eprintln!("cannot stop myself for the tracer");
            }
        }
        mark(BEGIN);
    }

    /// So much may be there more at the end than at the beginning: what the crate keeps for the whole
    /// process, as a fork server that the region started.
    pub fn allow(&mut self, allowed: Allowed) {
        self.allowed = allowed;
    }
}

fn mark(number: u32) {
    // The answer is that nobody has such a process; the call is all that matters.
    let _ = rustix::process::getpriority_user(Uid::from_raw(number));
}

/// The `main` of `examples/fault_walk`.
pub fn walk(scenarios: &[Scenario]) -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        scenarios.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, scenario)) = scenarios.iter().find(|(name, _)| *name == wanted) else {
        eprintln!("no scenario `{wanted}`");
        return ExitCode::from(2);
    };
    let mut region = Region::default();
    let result = scenario(&mut region);
    mark(END);
    let Some(before) = region.before else {
        eprintln!("the scenario never began its region");
        return ExitCode::from(2);
    };
    let mut left = vec!["/proc could not be read".to_owned()];
    // A failing call may yet be owed to this thread: what cannot be read now is read the next time.
    wait_until(Duration::from_secs(5), || {
        if let Some(now) = Snapshot::take() {
            left = now.more_than(&before, region.allowed);
        }
        left.is_empty()
    });
    if !left.is_empty() {
        println!("leak: {} (after {result:?})", left.join("; "));
        return ExitCode::FAILURE;
    }
    match result {
        Ok(()) => println!("ok"),
        Err(error) => println!("error: {error}"),
    }
    ExitCode::SUCCESS
}
