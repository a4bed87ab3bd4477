//! `std::process::Command`: what everyone has without any crate.
//!
//! It starts the binary named after the placement, which is the very file that ours execs, with an argument that makes
//! it leave `main` at once (or write eight bytes first). Its stdio is inherited: the least that `Command` can do.

use std::io::{self, Read};
use std::process::{Command, ExitCode, Stdio};

use peers::protocol::{COMMAND_EXIT, COMMAND_VALUE, Call, contend, serve, timed, was_command_child};

fn main() -> ExitCode {
    match was_command_child() {
        Ok(true) => ExitCode::SUCCESS,
        _ => contend(std::env::args().skip(1), parent),
    }
}

fn parent(call: Call) -> io::Result<()> {
    let program = match call.more.first() {
        Some(path) => path.into(),
        None => std::env::current_exe()?,
    };
    let child_cpu = call.placement.child().map(|cpu| cpu.to_string());
    let command = |what: &str| {
        let mut command = Command::new(&program);
        command.arg(what).args(&child_cpu).env_remove(peers::CHILD_CPU);
        command
    };
    call.placement.enter()?;
    match call.task.as_str() {
        "join" => serve(|| Ok(timed(|| command(COMMAND_EXIT).spawn()?.wait())?.0)),
        "start" => serve(|| {
            let (time, mut child) = timed(|| command(COMMAND_EXIT).spawn())?;
            child.wait()?;
            Ok(time)
        }),
        "value" => serve(|| {
            let mut value = [0; 8];
            let (time, mut child) = timed(|| {
                let mut child = command(COMMAND_VALUE).stdout(Stdio::piped()).spawn()?;
                if let Some(stdout) = &mut child.stdout {
                    stdout.read_exact(&mut value)?;
                }
                Ok(child)
            })?;
            child.wait()?;
            Ok(time)
        }),
        _ => Err(call.unknown()),
    }
}
