//! Programs that answer a failing `open` well or badly: what `cargo xtask fault` itself is tested with.

use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};

use ipc_testkit::fault::{Region, walk};

fn main() -> ExitCode {
    walk(&[
        ("two_opens", two_opens),
        ("hangs", |region| badly(region, std::thread::park)),
        ("aborts", |region| badly(region, || -> () { std::process::abort() })),
        ("leaks_a_descriptor", |region| badly(region, leak_a_descriptor)),
        ("leaves_a_process", |region| badly(region, leave_a_process)),
        ("never_begins", |_| Ok(())),
        ("child_opens", child_opens),
    ])
}

/// Well: the first failure is reported, and one of the second can be done without.
fn two_opens(region: &mut Region) -> Result<(), String> {
    region.begin();
    File::open("/dev/null").map_err(|error| format!("first: {error}"))?;
    match File::open("/dev/zero") {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => Ok(()),
        other => other.map(drop).map_err(|error| format!("second: {error}")),
    }
}

/// Badly, and then as if nothing had happened.
fn badly(region: &mut Region, answer: impl Fn()) -> Result<(), String> {
    region.begin();
    if File::open("/dev/null").is_err() {
        answer();
    }
    Ok(())
}

fn leak_a_descriptor() {
    std::mem::forget(File::open("/dev/null"));
}

fn leave_a_process() {
    let started: io::Result<_> = Command::new("sleep").arg("1000").stdin(Stdio::inherit()).spawn();
    drop(started);
}

/// The loader of another program opens its libraries, in a process that the region bore.
fn child_opens(region: &mut Region) -> Result<(), String> {
    region.begin();
    let status = Command::new("/bin/true").status().map_err(|error| format!("true: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("true: {status}")) }
}
