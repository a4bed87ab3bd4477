//! Helpers that the tests of all crates share; not published, and small on purpose.
//!
//! - [`leaks`]: a test leaves no child, no descriptor and no segment behind.
//! - [`wait_until`], [`process_gone`]: tests wait for states, never for a time to pass.
//! - [`Rng`]: random decisions that a printed seed repeats.
//! - [`not_run`], [`not_here`]: a test says that it could not run here.
//! - [`kills`]: what a crash test reports to `cargo xtask test`.
//! - [`fault`]: the walk that `cargo xtask fault` makes system calls fail under.

#![forbid(unsafe_code)]

pub mod fault;
mod leaks;
mod not_run;
mod rng;
mod wait;

pub use leaks::{Allowed, LEAKS, LeakGuard, Snapshot, leaks};
pub use not_run::{NOT_RUN, not_here, not_run};
pub use rng::Rng;
pub use wait::{GENEROUS, process_gone, wait_until};

/// Whether `cargo xtask crash --full` asks for the whole number of kills (`IPC_CRASH_FULL`).
pub fn full() -> bool {
    std::env::var_os("IPC_CRASH_FULL").is_some()
}

/// Whether `cargo xtask test --quick` asks for a short run (`IPC_QUICK`).
pub fn quick() -> bool {
    std::env::var_os("IPC_QUICK").is_some()
}

/// Prints the line `kills POINT N` that the test matrix collects, and fails the test if the point was never hit.
///
/// # Panics
///
/// If `count` is zero: a crash point that nobody died at was not tested.
pub fn kills(point: &str, count: u64) {
    println!("kills {point} {count}");
    assert!(count > 0, "no process died at the crash point `{point}`");
}

/// The README of the repository runs as it stands there. (Here, for a published crate's package does not hold it.)
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
