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

/// Whether this cargo is of a version `1.90`, with any last number.
pub(crate) fn is_rust(cargo: &mut Command, version: &str) -> bool {
    let said = cargo.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    said.is_ok_and(|output| is_version(&String::from_utf8_lossy(&output.stdout), version))
}

/// `cargo 1.90.2 (…)` is `1.90` and `1.90.2`, not `1.9`.
fn is_version(said: &str, version: &str) -> bool {
    let rest = said.strip_prefix("cargo ").and_then(|rest| rest.strip_prefix(version));
    rest.is_some_and(|rest| rest.starts_with(['.', ' ', '-']))
}

/// The cargo of another toolchain, if rustup has it. (It must not fetch one: what is there is the machine's owner's choice.)
pub(crate) fn rust(version: &str) -> Option<Command> {
    let at = || {
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env("RUSTUP_AUTO_INSTALL", "0").arg(format!("+{version}"));
        command
    };
    is_rust(&mut at(), version).then(at)
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

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn versions_are_compared_number_by_number() {
        for said in ["cargo 1.90.0 (abc 2025-01-01)", "cargo 1.90.2", "cargo 1.90.0-nightly (abc)"] {
            assert!(
                is_version(said, "1.90") && !is_version(said, "1.9") && !is_version(said, "1.91"),
                "{said}"
            );
        }
        assert!(is_version("cargo 1.90.2 (abc)", "1.90.2"));
        assert!(!is_version("", "1.90"));
    }
}
