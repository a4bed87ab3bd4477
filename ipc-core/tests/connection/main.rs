//! Connections: what is sent is received, whole, in order and once, and everything that goes wrong has a clear end.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod bytes;
mod deaths;
mod ends;
mod long;
mod memory;
mod raw;
mod sharing;
mod travel;
mod values;

use std::time::Duration;

/// Long enough for what must happen at once, and against hanging only.
const SOON: Duration = ipc_testkit::GENEROUS;

/// Nothing stays but the program's shared fork server, the spare that it keeps, and their sockets.
fn with_server() -> ipc_testkit::LeakGuard {
    ipc_testkit::leaks().allow(2, 8, 0)
}

/// Bytes that tell where they belong.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}
