//! Every interleaving of this crate's shared state: `cargo xtask loom`, or
//! `RUSTFLAGS="--cfg ipc_loom" LOOM_MAX_PREEMPTIONS=3 cargo test --release --test loom`.
//!
//! What is checked is the crate's own code: its ledger of one child, its registry of all, its stock of newborns,
//! its ends that threads share. Only the
//! kernel and the processes are models: a child is a thread that sends and dies, a fork server one that answers,
//! and each may be killed between any two of its steps. One model a row of each state table.
//!
//! A model that passes may have looked at nothing, so each mechanism has a *mutant*: the same model, the code
//! broken in one place (`primitive::mutant`), and it must fail. Shared things are `std::sync::Arc`s: loom's would abort
//! the test binary where a mutant deadlocks.

#![cfg(ipc_loom)]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "loom/connection.rs"]
mod connection;
#[path = "loom/kernel.rs"]
mod kernel;
#[path = "loom/ledger.rs"]
mod ledger;
#[path = "loom/made_once.rs"]
mod made_once;
#[path = "loom/owed.rs"]
mod owed;
#[path = "loom/ready.rs"]
mod ready;
#[path = "loom/registry.rs"]
mod registry;
#[path = "loom/server.rs"]
mod server;
#[path = "loom/supply.rs"]
mod supply;
