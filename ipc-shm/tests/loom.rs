//! Every interleaving of the lock's word and of the gate, with death in it: `cargo xtask loom ipc-shm`.
//!
//! What is checked is the crate's own code (`lock/word.rs`, `lock/recursion.rs`, `lock/mirror.rs`, `segment/users.rs`, `gate.rs`); the kernel is a model (`loom/kernel.rs`), which does at a thread's death
//! what the kernel does: it looks at the locks that the thread holds, and at the word that it has announced. A victim dies at each named
//! point in turn.
//!
//! A model that passes may have looked at nothing, so each mechanism has a *mutant*: the code broken in one place
//! (`primitive::mutant`), and the same model must fail.

#![cfg(ipc_loom)]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "loom/counted.rs"]
mod counted;
#[path = "loom/gate.rs"]
mod gate;
#[path = "loom/kernel.rs"]
mod kernel;
#[path = "loom/lock.rs"]
mod lock;
#[path = "loom/mirror.rs"]
mod mirror;
#[path = "loom/poison.rs"]
mod poison;
#[path = "loom/recursive.rs"]
mod recursive;
#[path = "loom/users.rs"]
mod users;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Models in which somebody dies at one of the points, and the next. A life tells whether it came to that: some must, in each.
fn dies_at_each(points: &[&'static str], life: fn(&'static str) -> bool) {
    for &point in points {
        let died = Arc::new(AtomicBool::new(false));
        let theirs = died.clone();
        loom::model(move || _ = theirs.fetch_or(life(point), Relaxed));
        assert!(died.load(Relaxed), "nobody comes to {point}");
    }
}
