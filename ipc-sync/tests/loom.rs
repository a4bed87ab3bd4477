//! Every interleaving of the primitives in their raw forms, with death in it: `cargo xtask loom ipc-sync`.
//!
//! What is checked is the crate's own code; the kernel is `ipc-shm`'s model of it, which does at a thread's death what the kernel does. A victim dies at
//! each named point in turn. Where the code asks whether a *process* lives (`People`), each thread of a model is one; a sleep that ends after
//! a while ends when everybody else has come to rest.
//!
//! A model that passes may have looked at nothing, so each mechanism has a *mutant*: the code broken in one place
//! (`primitive::mutant`), and the same model must fail.

#![cfg(ipc_loom)]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "loom/barrier.rs"]
mod barrier;
#[path = "loom/condition.rs"]
mod condition;
#[path = "loom/counting.rs"]
mod counting;
#[path = "loom/event.rs"]
mod event;
#[allow(dead_code, reason = "the models of ipc-shm use all of it")]
#[path = "../../ipc-shm/tests/loom/kernel.rs"]
mod kernel;
#[path = "loom/latch.rs"]
mod latch;
#[path = "loom/once.rs"]
mod once;
#[path = "loom/people.rs"]
mod people;
#[path = "loom/queue.rs"]
mod queue;
#[path = "loom/ring.rs"]
mod ring;
#[path = "loom/semaphore.rs"]
mod semaphore;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A model with so many preemptions, where three are too many for the time that there is.
fn large(preemptions: usize, life: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A life with locks and ledgers in it is longer than loom's customary 1000.
    builder.max_branches = 10_000;
    builder.check(life);
}

/// Models in which somebody dies at one of the points, and the next. A life tells whether it came to that: some must, in each.
fn dies_at_each(points: &[&'static str], preemptions: usize, life: fn(&'static str) -> bool) {
    for &point in points {
        // Which one it was, for who reads of a failure.
        println!("dies at {point}");
        let died = Arc::new(AtomicBool::new(false));
        let theirs = died.clone();
        large(preemptions, move || _ = theirs.fetch_or(life(point), Relaxed));
        assert!(died.load(Relaxed), "nobody comes to {point}");
    }
}
