//! Our side of every benchmark group: `bench-ours GROUP TASK PLACEMENT [MORE]`, called by `cargo xtask bench`.
//!
//! The peer `command` execs this very file too: an argument then makes it leave at once.

#[path = "../counting.rs"]
mod counting;
mod crowd;
mod lock;
#[path = "../memory.rs"]
mod memory;
#[path = "../parcel.rs"]
mod parcel;
mod pipe;
#[path = "../protocol.rs"]
mod protocol;
mod queue;
mod ring;
mod shm;
mod spawn;
mod sync;
#[path = "../traffic.rs"]
mod traffic;

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Ok(true) = protocol::was_command_child() {
        return ExitCode::SUCCESS;
    }
    let mut args = std::env::args().skip(1);
    let group = args.next().unwrap_or_default();
    protocol::contend(args, |call| match group.as_str() {
        "spawn" => spawn::serve(&call),
        "pipe" => pipe::serve(&call),
        "lock" => lock::serve(&call),
        "shm" => shm::serve(&call),
        "sync" => sync::serve(&call),
        "queue" => queue::serve(&call),
        _ => Err(call.unknown()),
    })
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
