//! Our side of every benchmark group: `bench-ours GROUP TASK PLACEMENT [MORE]`, called by `cargo xtask bench`.
//!
//! The peer `command` execs this very file too: an argument then makes it leave at once.

#[path = "../protocol.rs"]
mod protocol;
mod spawn;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Ok(true) = protocol::was_command_child() {
        return ExitCode::SUCCESS;
    }
    let mut args = std::env::args().skip(1);
    let group = args.next().unwrap_or_default();
    protocol::contend(args, |call| match group.as_str() {
        "spawn" => spawn::serve(&call),
        _ => Err(call.unknown()),
    })
}
