//! Make system calls fail, one at a time: `cargo xtask fault [--full] [CRATE] [--only CALL[:ERROR]] [--scenario NAME]`.
//!
//! SQLite's way. `CRATE/tests/fault.table` lists the calls that the crate's own `sys` makes and the errors
//! their man pages allow; `CRATE/examples/fault_walk` (see ipc_testkit::fault) walks through the crate's
//! operations in scenarios. Each listed call fails at its 1st, 2nd and 3rd time, with `--full` at every time until a run comes
//! through untouched (strace -e inject). Whatever fails, the program must answer `ok` or a clear `error: …`, within 10 s,
//! and leave no process and no descriptor behind. The count is of rows (call and error) that were hit; a
//! row never hit fails, and so does a call of the region that the table neither lists nor skips.

mod sweep;
mod table;
mod trace;
mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Result;
use crate::exec::{self, Echo};
use crate::project::{Crate, Means, Project, cargo};
use crate::test::{self, Options, cell::Cell, cell::Status};
use crate::tools;

use sweep::{Limits, Swept, sweep};
use table::Table;
use walk::Walker;

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `cargo xtask fault ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    test::run_means(Means::Fault, args)
}

pub(crate) fn cell(project: &Project, member: &Crate, options: &Options) -> Result<Cell> {
    let mut cell = Cell::of(member, Means::Fault);
    let Some(file) = member.fault_table() else {
        cell.judge();
        return Ok(cell);
    };
    if let Err(how) = tools::strace() {
        cell.status = Status::NotRun(how);
        return Ok(cell);
    }
    let limits = Limits {
        times: match (options.full, options.quick) {
            (true, _) => u32::MAX,
            (false, true) => 1,
            (false, false) => 3,
        },
        only: options.only.clone(),
        scenario: options.scenario.clone(),
    };
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let begin = Instant::now();
    let swept = Table::parse(&text).and_then(|table| {
        let (program, time) = build(project, &member.name, "fault_walk")?;
        cell.build = time;
        let walker = Walker { program, scratch: walk::scratch(&project.target)?, hang: walk::HANG };
        sweep(&walker, &table, &limits)
    });
    cell.time = begin.elapsed().saturating_sub(cell.build);
    match swept {
        Ok(swept) => fill(&mut cell, member, swept),
        Err(why) => {
            cell.failed += 1;
            cell.fail(why);
        }
    }
    // A part of the table keeps no promise, and breaks none.
    if options.only.is_some() || options.scenario.is_some() {
        cell.promised = 0;
    }
    cell.judge();
    Ok(cell)
}

fn fill(cell: &mut Cell, member: &Crate, swept: Swept) {
    cell.ran = swept.rows.iter().filter(|(_, hits)| *hits > 0).count() as u64;
    let bad: BTreeSet<&Option<String>> = swept.failures.iter().map(|failure| &failure.row).collect();
    cell.failed = bad.len() as u64;
    cell.note = format!(
        "{} injections: {} clear errors, {} succeeded all the same",
        swept.injections, swept.errors, swept.survived
    );
    let passed = swept.rows.iter().filter(|(row, hits)| *hits > 0 && !bad.contains(&Some(row.clone())));
    cell.passed = passed.map(|(row, _)| format!("{}::fault::{row}", member.name)).collect();
    for failure in &swept.failures {
        println!("  {}\n    repeat: cargo xtask fault {} {}", failure.what, member.name, failure.repeat);
    }
    if let Some(first) = swept.failures.first() {
        cell.command = format!("cargo xtask fault {} {}", member.name, first.repeat);
        cell.fail(first.what.clone());
    }
}

/// Builds an example and returns its path.
fn build(project: &Project, package: &str, example: &str) -> Result<(PathBuf, Duration)> {
    let mut command = cargo();
    command.current_dir(&project.root).args(["build", "-p", package, "--example", example]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let built = exec::run(command, BUILD_LIMIT, Echo::Text)?;
    if !built.ok() {
        return Err(format!("{example} does not build: {}", built.why()));
    }
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == example).then_some(())?;
        Some(Path::new(message["executable"].as_str()?).to_owned())
    };
    let program = built.output.lines().filter(|line| line.starts_with('{')).find_map(executable);
    Ok((program.ok_or(format!("cargo names no executable for {example}"))?, built.time))
}

#[cfg(test)]
mod tests;
