//! procspawn 1.0.2: a function in an exec'd process, its defaults; its `join` awaits value and death.

use std::io;
use std::process::ExitCode;

use peers::protocol::{Call, VALUE, contend, serve, timed};

fn main() -> ExitCode {
    procspawn::init();
    contend(std::env::args().skip(1), parent)
}

fn parent(call: Call) -> io::Result<()> {
    call.placement.enter()?;
    let nothing = || procspawn::spawn((), |()| ());
    match call.task.as_str() {
        "join" => serve(|| Ok(timed(|| nothing().join().map_err(io::Error::other))?.0)),
        "start" => serve(|| {
            let (time, child) = timed(|| Ok(nothing()))?;
            child.join().map_err(io::Error::other)?;
            Ok(time)
        }),
        "value" => {
            serve(|| Ok(timed(|| procspawn::spawn((), |()| VALUE).join().map_err(io::Error::other))?.0))
        }
        _ => Err(call.unknown()),
    }
}
