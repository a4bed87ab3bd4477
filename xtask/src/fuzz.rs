//! Feed hostile bytes to the decoders: `cargo xtask fuzz [CRATE] [TARGET] [--time SECONDS]`.
//!
//! Runs the targets of `CRATE/fuzz` under cargo-fuzz, each for some seconds (60 by hand; the matrix gives
//! each 8, `--quick` 3). `--list` names them. New inputs are kept under the target directory and used again;
//! `CRATE/fuzz/seeds/TARGET` and `CRATE/fuzz/corpus/TARGET` are read if they exist. An input that breaks a target is kept
//! under `CRATE/fuzz/artifacts`, and the command that repeats it is printed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::exec::{self, Echo};
use crate::project::{Crate, Means, Project, sections};
use crate::test::{self, Options, cell::Cell, cell::Status};
use crate::tools;

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `cargo xtask fuzz ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    if args.iter().any(|arg| arg == "--list") {
        let project = Project::load()?;
        for member in &project.crates {
            for target in targets(member)? {
                println!("{} {target}", member.name);
            }
        }
        return Ok(());
    }
    test::run_means(Means::Fuzz, args)
}

pub(crate) fn cell(project: &Project, member: &Crate, options: &Options) -> Result<Cell> {
    let mut cell = Cell::of(member, Means::Fuzz);
    // One target of several keeps no promise, and breaks none.
    if options.target.is_some() {
        cell.promised = 0;
    }
    let wanted = |target: &String| options.target.as_ref().is_none_or(|wanted| wanted == target);
    let targets: Vec<String> = targets(member)?.into_iter().filter(wanted).collect();
    if let Some(dir) = member.fuzz_dir().filter(|_| !targets.is_empty()) {
        match tools::fuzz() {
            Err(how) => cell.status = Status::NotRun(how),
            Ok(_) => {
                let mut notes = Vec::new();
                for target in &targets {
                    smoke(project, member, &dir, target, options, &mut cell, &mut notes)?;
                }
                cell.note = format!("executions: {}", notes.join(", "));
            }
        }
    }
    if !matches!(cell.status, Status::NotRun(_)) {
        cell.judge();
    }
    Ok(cell)
}

/// The binaries of the fuzz package, as its manifest names them.
pub(crate) fn targets(member: &Crate) -> Result<Vec<String>> {
    let Some(dir) = member.fuzz_dir() else { return Ok(Vec::new()) };
    let manifest = dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let names = sections(&text, "bin").flatten().filter(|(key, _)| key == "name");
    Ok(names.map(|(_, name)| name).collect())
}

fn smoke(
    project: &Project,
    member: &Crate,
    dir: &Path,
    target: &str,
    options: &Options,
    cell: &mut Cell,
    notes: &mut Vec<String>,
) -> Result {
    let seconds = options.time.unwrap_or(if options.quick { 3 } else { 8 });
    let corpus = project.target.join("fuzz-corpus").join(&member.name).join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let fuzz = |subcommand: &str| -> Result<std::process::Command> {
        let mut command = tools::fuzz()?;
        command.current_dir(&member.dir).args(["fuzz", subcommand, "--fuzz-dir"]).arg(dir).arg(target);
        command.env("CARGO_TARGET_DIR", project.target.join("fuzz"));
        Ok(command)
    };
    let built = exec::run(fuzz("build")?, BUILD_LIMIT, Echo::Text)?;
    cell.build += built.time;
    cell.ran += 1;
    if !built.ok() {
        cell.failed += 1;
        cell.fail(format!("{target} does not build: {}", built.why()));
        return Ok(());
    }
    let mut command = fuzz("run")?;
    command.arg(&corpus);
    command
        .args(["seeds", "corpus"].map(|kind| dir.join(kind).join(target)).iter().filter(|dir| dir.is_dir()));
    command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-print_final_stats=1"]);
    let done = exec::run(command, Duration::from_secs(seconds * 2 + 120), Echo::Nothing)?;
    cell.time += done.time;
    let executions = executions(&done.output);
    println!("  {target}: {executions} executions in {seconds} s: {}", done.why());
    notes.push(format!("{target} {executions}"));
    if done.ok() && executions > 0 {
        cell.passed.push(format!("{}::fuzz::{target}", member.name));
    } else {
        println!("{}", done.output);
        cell.failed += 1;
        cell.command = format!("cargo xtask fuzz {} {target} --time {seconds}", member.name);
        cell.fail(format!("{target}: {}", done.why()));
    }
    Ok(())
}

/// libFuzzer's own count: `stat::number_of_executed_units: 1234`.
fn executions(output: &str) -> u64 {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_libfuzzers_own_count() {
        assert_eq!(executions("Done 9 runs\nstat::number_of_executed_units: 1234\nstat::x: 3\n"), 1234);
        assert_eq!(executions("crashed"), 0);
    }
}
