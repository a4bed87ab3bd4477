//! The tools that some means of verification need, and how to install each.
//!
//! Nothing but Rust and a C compiler is required: where a tool is missing its cells say so.

use std::process::{Command, Stdio};

use crate::project::cargo;

/// nextest is there.
pub(crate) fn nextest() -> bool {
    answers(cargo().args(["nextest", "--version"]))
}

/// How to call cargo-fuzz, or how to get it. It needs a nightly toolchain, or a stable one that is told to
/// pass for one.
pub(crate) fn fuzz() -> Result<Command, String> {
    if !answers(cargo().args(["fuzz", "--version"])) {
        return Err("cargo install --locked cargo-fuzz".to_owned());
    }
    // `cargo +nightly` is rustup's doing, so the proxy on the path is meant, not the cargo that runs us.
    let nightly = || {
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").arg("+nightly");
        command
    };
    if answers(nightly().arg("--version")) {
        return Ok(nightly());
    }
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

/// strace is there, or how to get it.
pub(crate) fn strace() -> Result<(), String> {
    match answers(Command::new("strace").arg("--version")) {
        true => Ok(()),
        false => Err("apt-get install strace".to_owned()),
    }
}

pub(crate) fn component(subcommand: &str, component: &str) -> Result<(), String> {
    match answers(cargo().args([subcommand, "--version"])) {
        true => Ok(()),
        false => Err(format!("rustup component add {component}")),
    }
}

fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
