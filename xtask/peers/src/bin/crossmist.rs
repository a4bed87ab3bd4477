//! crossmist 1.1.2: a function in an exec'd process, by its `#[func]`; its `join` awaits value and death.

use std::io;

use peers::protocol::{Call, VALUE, contend, serve, timed};

#[crossmist::func]
fn nothing() {}

#[crossmist::func]
fn value() -> u64 {
    VALUE
}

#[crossmist::main]
fn main() {
    // The macro admits no exit code; the harness reads the error line.
    let _ = contend(std::env::args().skip(1), parent);
}

fn parent(call: Call) -> io::Result<()> {
    call.placement.enter()?;
    match call.task.as_str() {
        "join" => serve(|| Ok(timed(|| nothing.spawn()?.join())?.0)),
        "start" => serve(|| {
            let (time, child) = timed(|| nothing.spawn())?;
            child.join()?;
            Ok(time)
        }),
        "value" => serve(|| Ok(timed(|| value.spawn()?.join())?.0)),
        _ => Err(call.unknown()),
    }
}
