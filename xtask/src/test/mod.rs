//! Run everything the README promises: `cargo xtask test [matrix] [--quick] [--ci] [--json FILE] [CRATE] [MEANS]`.
//!
//! For each crate the means of VERIFICATION.md (unit, doc, conformance, loom, prop, crash, fault, fuzz), and for the workspace
//! the checks: fmt, tidy, clippy (also without ipc-core's default features, and with all features), documentation, examples,
//! the demo, rust-version, parity.
//! Documentation and its examples are built with all features; tests with the default ones, and what a crate lists as
//! `variants` as it says there.
//! Prints what it does while it runs; at the end a table crate × means with what really ran / what the
//! crate's Cargo.toml promises ([package.metadata.verify]), and the time; then each failure with the command that
//! repeats it alone. `test` and `test matrix` are the same.
//!
//!   CRATE, MEANS   only these (`checks` is a MEANS: the workspace's checks); parity is then left out
//!   --quick        fewer preemptions (2), N = 1 in the fault sweep, fuzzing 3 s, IPC_QUICK for the tests,
//!                  and no second run of the unit tests under `cargo test`; no kills are promised then
//!   --ci           a missing tool is a failure, not a cell "not run: how to install", and so is a test that
//!                  could not run here; without it such tests stand in the notes of their cells. The whole
//!                  matrix may then take no more than its budget of 40 minutes
//!   --json FILE    the same table as a list of {crate, means, promised, ran, failed, seconds, status, command, …}
//!
//! A new crate joins by being a member of the workspace; a new file of tests by its name (`tests/prop*.rs` are prop,
//! and so on); what it must not fall below stands in its Cargo.toml.

pub(crate) mod cell;
mod checks;
mod report;
mod suite;

use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::project::{Crate, Means, Project};
use crate::{exec, fault, fuzz, loom};

use cell::Cell;

/// What was asked for, by `test` and by the commands that are one of its means.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) ci: bool,
    pub(crate) full: bool,
    pub(crate) json: Option<String>,
    pub(crate) seed: Option<u64>,
    /// Seconds for a fuzz target.
    pub(crate) time: Option<u64>,
    /// A fuzz target.
    pub(crate) target: Option<String>,
    /// Of the fault sweep: `CALL` or `CALL:ERROR`, and a scenario.
    pub(crate) only: Option<String>,
    pub(crate) scenario: Option<String>,
    pub(crate) member: Option<String>,
    pub(crate) means: Option<Means>,
    pub(crate) checks: bool,
}

impl Options {
    fn parse(project: &Project, means: Option<Means>, args: &[String]) -> Result<Options> {
        let mut options = Options { means, ..Options::default() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(format!("{arg} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{arg}: `{text}` is no number"));
            match (arg.as_str(), means) {
                ("--quick", _) => options.quick = true,
                ("--ci", _) => options.ci = true,
                ("--json", _) => options.json = Some(value()?),
                ("--full", Some(_)) => options.full = true,
                ("--seed", Some(Means::Crash)) => options.seed = Some(number(value()?)?),
                ("--time", Some(Means::Fuzz)) => options.time = Some(number(value()?)?),
                ("--only", Some(Means::Fault)) => options.only = Some(value()?),
                ("--scenario", Some(Means::Fault)) => options.scenario = Some(value()?),
                ("matrix", None) => {}
                ("checks", None) => options.checks = true,
                (name, _) if project.find(name).is_some() => options.member = Some(name.to_owned()),
                (name, None) if Means::parse(name).is_some() => options.means = Means::parse(name),
                (name, Some(Means::Fuzz)) if !name.starts_with('-') => options.target = Some(name.to_owned()),
                (other, _) => return Err(unknown(project, other)),
            }
        }
        if means == Some(Means::Fuzz) && options.time.is_none() {
            options.time = Some(60);
        }
        Ok(options)
    }

    /// All of the workspace, so that parity can be judged by what ran.
    fn whole(&self) -> bool {
        self.member.is_none() && self.means.is_none() && !self.checks
    }

    fn wants(&self, member: &Crate, means: Means) -> bool {
        !self.checks
            && self.member.as_ref().is_none_or(|name| *name == member.name)
            && self.means.is_none_or(|wanted| wanted == means)
    }

    /// Passes on what the tests themselves can know.
    fn tell(&self, command: &mut Command) {
        if self.ci {
            // A test that cannot run here is a failure then (`ipc_testkit::not_run`).
            command.env("CI", "true");
        }
        if self.full {
            command.env("IPC_CRASH_FULL", "1");
        }
        if let Some(seed) = self.seed {
            command.env("IPC_CRASH_SEED", seed.to_string());
        }
    }
}

fn unknown(project: &Project, arg: &str) -> String {
    let crates: Vec<&str> = project.crates.iter().map(|member| member.name.as_str()).collect();
    let means = Means::ALL.map(Means::name);
    format!("`{arg}`: no such option, crate ({}) or means ({}, checks)", crates.join(", "), means.join(", "))
}

/// `cargo xtask test ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    let project = Project::load()?;
    let options = Options::parse(&project, None, args)?;
    matrix(&project, &options)
}

/// The commands that are one means of all crates: crash, loom, fault, fuzz.
pub(crate) fn run_means(means: Means, args: &[String]) -> Result {
    let project = Project::load()?;
    let options = Options::parse(&project, Some(means), args)?;
    matrix(&project, &options)
}

fn matrix(project: &Project, options: &Options) -> Result {
    let begin = Instant::now();
    exec::become_subreaper();
    let mut cells = Vec::new();
    if options.whole() || options.checks {
        cells.extend(checks::run(project)?);
    }
    for means in Means::ALL {
        for member in project.crates.iter().filter(|member| options.wants(member, means)) {
            if !member.has(means) {
                let mut cell = Cell::of(member, means);
                cell.judge();
                cells.push(cell);
                continue;
            }
            println!("\n== {} {}", member.name, means.name());
            let mut cell = one(project, member, means, options)?;
            for stranger in exec::strangers() {
                println!("left running: {stranger}");
                cell.failed += 1;
                cell.fail(format!("left running: {stranger}"));
            }
            println!("== {} {}: {}", member.name, means.name(), cell.show());
            cells.push(cell);
        }
    }
    if options.whole() {
        cells.push(checks::parity(project, &cells));
        if options.ci {
            cells.push(report::in_time(begin.elapsed()));
        }
    }
    report::finish(project, options, &cells, begin.elapsed())
}

fn one(project: &Project, member: &Crate, means: Means, options: &Options) -> Result<Cell> {
    match means {
        Means::Loom => loom::cell(project, member, options),
        Means::Fault => fault::cell(project, member, options),
        Means::Fuzz => fuzz::cell(project, member, options),
        _ => suite::run(project, member, means, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(means: Option<Means>, line: &str) -> Result<Options> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&Project::load()?, means, &args)
    }

    #[test]
    fn crate_and_means_may_stand_anywhere() {
        let options = parse(None, "matrix --quick loom --json x ipc-core").unwrap();
        assert_eq!((options.member.as_deref(), options.means), (Some("ipc-core"), Some(Means::Loom)));
        assert!(options.quick && !options.whole() && options.json.as_deref() == Some("x"));
        assert!(parse(None, "matrix --ci").unwrap().whole());
        assert!(parse(None, "checks").unwrap().checks);
    }

    #[test]
    fn options_belong_to_their_command() {
        let options = parse(Some(Means::Fuzz), "header --time 5").unwrap();
        assert_eq!((options.target.as_deref(), options.time), (Some("header"), Some(5)));
        assert_eq!(parse(Some(Means::Crash), "--seed 7 --full").unwrap().seed, Some(7));
        assert!(parse(None, "--seed 7").is_err());
        assert!(parse(None, "--json").unwrap_err().contains("value"));
        assert!(parse(None, "ipc-cor").unwrap_err().contains("ipc-core"));
    }
}
