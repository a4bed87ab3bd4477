//! Check every interleaving of the small models: `cargo xtask loom [--full] [CRATE]`.
//!
//! Each model of `CRATE/tests/loom*.rs` runs in a process of its own, optimised, in a target directory of its
//! own (`--cfg ipc_loom` is another world), with at most three preemptions; `--full` lifts that bound and
//! the time limit. A model that needs more than 30 seconds is killed and counts as failed: LOOM_MAX_DURATION
//! would end it silently, and a truncated model proves nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::exec::{self, Echo, Finished};
use crate::project::{Crate, Means, Project, cargo};
use crate::test::{self, Options, cell::Cell};

const MODEL_LIMIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(48 * 60 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `cargo xtask loom ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    test::run_means(Means::Loom, args)
}

/// One model: the binary it is in, and its name there.
struct Model {
    binary: String,
    executable: PathBuf,
    name: String,
}

pub(crate) fn cell(project: &Project, member: &Crate, options: &Options) -> Result<Cell> {
    let mut cell = Cell::of(member, Means::Loom);
    if member.tests_of(Means::Loom).next().is_some() {
        let models = build(project, member, &mut cell)?;
        let begin = std::time::Instant::now();
        let results = exec::run_all(&models, |model| check(project, member, options, model));
        cell.time = begin.elapsed();
        for (model, result) in models.iter().zip(results) {
            judge(&mut cell, member, options, model, &result?);
        }
    }
    cell.judge();
    Ok(cell)
}

fn flags() -> String {
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{given} --cfg ipc_loom").trim_start().to_owned()
}

fn preemptions(options: &Options) -> Option<&'static str> {
    match (options.full, options.quick) {
        (true, _) => None,
        (false, true) => Some("2"),
        (false, false) => Some("3"),
    }
}

fn build(project: &Project, member: &Crate, cell: &mut Cell) -> Result<Vec<Model>> {
    let mut command = cargo();
    command.current_dir(&project.root).args(["test", "-p", &member.name, "--release", "--no-run"]);
    command.args(member.selection(Means::Loom)).args(["--message-format", "json-render-diagnostics"]);
    command.env("RUSTFLAGS", flags()).env("CARGO_TARGET_DIR", project.target.join("loom"));
    let built = exec::run(command, BUILD_LIMIT, Echo::Text)?;
    cell.build = built.time;
    if !built.ok() {
        cell.failed += 1;
        cell.fail(format!("does not build: {}", built.why()));
        return Ok(Vec::new());
    }
    let mut models = Vec::new();
    for (binary, executable) in executables(&built.output) {
        let mut list = std::process::Command::new(&executable);
        list.args(["--list", "--format", "terse"]).current_dir(&member.dir);
        let listed = exec::run(list, BUILD_LIMIT, Echo::Nothing)?;
        let names = listed.output.lines().filter_map(|line| line.strip_suffix(": test"));
        models.extend(names.map(|name| Model {
            binary: binary.clone(),
            executable: executable.clone(),
            name: name.to_owned(),
        }));
    }
    Ok(models)
}

/// Name and path of the test binaries in cargo's messages.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == "test")
        .filter_map(|message| {
            Some((message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
        })
        .collect()
}

fn check(project: &Project, member: &Crate, options: &Options, model: &Model) -> Result<Finished> {
    let mut command = std::process::Command::new(&model.executable);
    command.args(["--exact", &model.name]).current_dir(&member.dir);
    command.env("CARGO_MANIFEST_DIR", &member.dir).env("CARGO_TARGET_DIR", project.target.join("loom"));
    command.env_remove("LOOM_MAX_DURATION").env_remove("LOOM_MAX_PREEMPTIONS").env_remove("RUST_BACKTRACE");
    if let Some(preemptions) = preemptions(options) {
        command.env("LOOM_MAX_PREEMPTIONS", preemptions);
    }
    let limit = if options.full { LONG } else { MODEL_LIMIT };
    let done = exec::run(command, limit, Echo::Nothing)?;
    let verdict = if passed(&done) { "ok".to_owned() } else { done.why() };
    println!("  {}::{} {}: {verdict}", model.binary, model.name, test::cell::show_time(done.time));
    Ok(done)
}

/// One test, and it passed: an ignored model exits 0 as well, having shown nothing.
fn passed(done: &Finished) -> bool {
    done.ok() && done.output.contains("test result: ok. 1 passed;")
}

fn judge(cell: &mut Cell, member: &Crate, options: &Options, model: &Model, done: &Finished) {
    cell.ran += 1;
    if passed(done) {
        cell.passed.push(format!("{}::{}::{}", member.name, model.binary, model.name));
        return;
    }
    println!("{}", done.output);
    cell.failed += 1;
    let bound = preemptions(options).map_or(String::new(), |bound| format!("LOOM_MAX_PREEMPTIONS={bound} "));
    if cell.failed == 1 {
        cell.command = format!(
            "RUSTFLAGS=\"--cfg ipc_loom\" {bound}cargo test --target-dir target/loom -p {} --release --test {} -- --exact {}",
            member.name, model.binary, model.name
        );
    }
    cell.fail(format!("model {}: {}", model.name, done.why()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_are_found_among_cargos_messages() {
        let messages = "   Compiling x\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"lib\"],\"name\":\"a\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"test\"],\"name\":\"loom\"},\"executable\":\"/t/loom-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [("loom".to_owned(), PathBuf::from("/t/loom-1"))]);
    }
}
