//! Every interleaving of the primitives in their raw forms, with death in it: `cargo xtask loom ipc-sync`.
//!
//! What is checked is the crate's own code; the kernel is `ipc-shm`'s model of it, which does at a thread's death what the kernel does. A victim dies at
//! each named point in turn.
//!
//! A model that passes may have looked at nothing, so each mechanism has a *mutant*: the code broken in one place
//! (`primitive::mutant`), and the same model must fail.

#![cfg(ipc_loom)]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "not all models use all of it")]
#[path = "../../ipc-shm/tests/loom/kernel.rs"]
mod kernel;
#[path = "loom/queue.rs"]
mod queue;
