//! The word of a lock with a scripted kernel: interleavings that no model comes to within its limits, step by step.
//!
//! The models of `tests/loom.rs` run the same script, with the code broken in that place as well.

#![cfg(not(ipc_loom))]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "loom/counted.rs"]
mod counted;
#[allow(dead_code, reason = "the models use all of it")]
#[path = "loom/kernel.rs"]
mod kernel;

#[test]
fn who_went_to_sleep_meanwhile_is_counted() {
    counted::who_went_to_sleep_meanwhile();
}
