//! Every interleaving of the raw primitives, with death in it: `cargo xtask loom ipc-sync`.
//!
//! What is checked is the crate's own code; the kernel is a model (ipc-shm's), which does at a thread's death what the kernel does. A victim dies at each
//! named point in turn. A model that passes may have looked at nothing, so each mechanism has a *mutant*: the code broken in one place
//! (`primitive::mutant`), and the same model must fail.

#![cfg(ipc_loom)]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "loom/condition.rs"]
mod condition;
#[path = "loom/event.rs"]
mod event;
#[path = "../../ipc-shm/tests/loom/kernel.rs"]
#[allow(dead_code)]
mod kernel;
#[path = "loom/latch.rs"]
mod latch;
#[path = "loom/ring.rs"]
mod ring;
