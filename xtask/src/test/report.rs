//! The end of a run: the table, the failures with the commands that repeat them, the JSON, the closing line.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Options;
use super::cell::{Cell, Status, show_time};
use crate::Result;
use crate::project::{Means, Project};

pub(crate) fn finish(project: &Project, options: &Options, cells: &[Cell], time: Duration) -> Result {
    println!("\n{}", table(project, cells));
    for cell in cells.iter().filter(|cell| !cell.note.is_empty()) {
        println!("{} {}: {}", cell.crate_name, cell.means, cell.note);
    }
    println!("\n{}", budget(cells, time));
    if let Some(file) = &options.json {
        let list: Vec<Value> = cells.iter().map(Cell::json).collect();
        let text = serde_json::to_string_pretty(&list).map_err(|error| error.to_string())?;
        fs::write(file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    let bad = failures(cells, options.ci);
    for line in &bad {
        println!("{line}");
    }
    println!("{}", closing(cells, options.ci));
    // The lines above said it all, and the closing one is to be the last.
    if bad.iter().any(|line| line.starts_with("FAILED")) { Err(String::new()) } else { Ok(()) }
}

/// Rows are crates, columns means; the workspace's checks follow in a line each.
fn table(project: &Project, cells: &[Cell]) -> String {
    let means: Vec<&str> = Means::ALL
        .iter()
        .map(|means| means.name())
        .filter(|means| cells.iter().any(|cell| cell.means == *means))
        .collect();
    let mut rows = Vec::new();
    if !means.is_empty() {
        rows.push(["ran/promised"].iter().chain(&means).map(|word| (*word).to_owned()).collect::<Vec<_>>());
    }
    for member in &project.crates {
        let mine: Vec<&Cell> = cells.iter().filter(|cell| cell.crate_name == member.name).collect();
        if mine.is_empty() {
            continue;
        }
        let show = |means: &&str| {
            mine.iter().find(|cell| cell.means == **means).map_or(String::new(), |cell| cell.show())
        };
        rows.push(std::iter::once(member.name.clone()).chain(means.iter().map(show)).collect());
    }
    let mut text = aligned(&rows);
    let checks: Vec<Vec<String>> = cells
        .iter()
        .filter(|cell| cell.crate_name == "workspace")
        .map(|cell| vec![cell.means.clone(), cell.show(), show_time(cell.build)])
        .collect();
    if !checks.is_empty() {
        text += "\n";
        text += &aligned(&checks);
    }
    text
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The minutes of each kind of work from a cold cache on two cores (VERIFICATION.md).
const BUDGET: [(&str, u64); 5] = [("builds", 15), ("loom", 10), ("crash", 6), ("fuzz", 4), ("the rest", 5)];

/// When `.ci/run` began, in seconds since 1970: it installs tools before the matrix begins.
const CI_BEGAN: &str = "IPC_CI_BEGAN";

/// The time by kind of work, each with its budget. Over a part's is said, and no failure: one may be slow where another is
/// quick.
fn budget(cells: &[Cell], time: Duration) -> String {
    let spent = |part: &str| -> Duration {
        let named = |cell: &&Cell| BUDGET.iter().any(|(name, _)| *name == cell.means);
        match part {
            "builds" => cells.iter().map(|cell| cell.build).sum(),
            "the rest" => cells.iter().filter(|cell| !named(cell)).map(|cell| cell.time).sum(),
            means => cells.iter().filter(|cell| cell.means == means).map(|cell| cell.time).sum(),
        }
    };
    let words: Vec<String> = BUDGET
        .iter()
        .map(|(part, minutes)| {
            let time = spent(part);
            let over = if time.as_secs() > minutes * 60 { " OVER BUDGET" } else { "" };
            format!("{part} {} of {minutes}m{over}", show_time(time))
        })
        .collect();
    let began = std::env::var(CI_BEGAN).ok().and_then(|seconds| seconds.parse().ok());
    let began = began.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let whole = began.and_then(|began| began.elapsed().ok());
    let whole = whole.map_or(String::new(), |whole| format!(" ({} since .ci/run began)", show_time(whole)));
    format!("time {}{whole}: {}", show_time(time), words.join(", "))
}

/// What a whole run in CI may take is a promise like others: a check of its own, which fails beyond the sum of the budget. (The
/// tools' installation is not in it: once they are there it takes no time.)
pub(crate) fn in_time(time: Duration) -> Cell {
    let minutes: u64 = BUDGET.iter().map(|(_, minutes)| minutes).sum();
    let mut cell = Cell::new("workspace", "time", 1, "cargo xtask test --ci".to_owned());
    cell.ran = 1;
    cell.note = format!("{} of {minutes}m", show_time(time));
    if time > Duration::from_secs(minutes * 60) {
        cell.failed = 1;
        cell.fail(format!("took {}, {minutes}m are the most", show_time(time)));
    }
    cell.judge();
    cell
}

fn failures(cells: &[Cell], ci: bool) -> Vec<String> {
    let name = |cell: &Cell| format!("{} {}", cell.crate_name, cell.means);
    let mut lines = Vec::new();
    for cell in cells {
        match &cell.status {
            Status::Failed(why) => {
                lines.push(format!("FAILED {}: {why}\n       repeat: {}", name(cell), cell.command));
            }
            Status::NotRun(how) if ci => lines.push(format!("FAILED {}: not run: {how}", name(cell))),
            Status::NotRun(how) => lines.push(format!("not run {}: {how}", name(cell))),
            Status::Ok | Status::Empty => {}
        }
    }
    lines
}

/// `N passed, N failed, N skipped`, alone on the last line, for who reads only that.
fn closing(cells: &[Cell], ci: bool) -> String {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for cell in cells {
        passed += cell.ran.saturating_sub(cell.failed);
        skipped += cell.skipped;
        match cell.status {
            Status::NotRun(_) if ci => failed += 1,
            Status::NotRun(_) => skipped += 1,
            // Below its promise, say, without one that failed.
            Status::Failed(_) => failed += cell.failed.max(1),
            Status::Ok | Status::Empty => {}
        }
    }
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(means: &str, ran: u64, failed: u64, status: Status) -> Cell {
        let mut cell = Cell::new("ipc-core", means, 2, format!("repeat {means}"));
        (cell.ran, cell.failed, cell.status) = (ran, failed, status);
        cell
    }

    fn some() -> Vec<Cell> {
        vec![
            cell("unit", 5, 0, Status::Ok),
            cell("doc", 3, 1, Status::Failed("doc::x failed".to_owned())),
            cell("loom", 1, 0, Status::Failed("below its promise: 1 of 2".to_owned())),
            cell("fuzz", 0, 0, Status::NotRun("cargo install cargo-fuzz".to_owned())),
        ]
    }

    #[test]
    fn the_closing_line_counts_what_ran() {
        assert_eq!(closing(&some(), false), "8 passed, 2 failed, 1 skipped");
        assert_eq!(closing(&some(), true), "8 passed, 3 failed, 0 skipped");
    }

    #[test]
    fn failures_name_the_command_that_repeats_them() {
        let lines = failures(&some(), false).join("\n");
        assert!(lines.contains("repeat doc") && lines.contains("repeat loom"), "{lines}");
        assert!(lines.contains("not run ipc-core fuzz: cargo install"), "{lines}");
        assert!(failures(&some(), true).join("\n").contains("FAILED ipc-core fuzz"));
    }

    #[test]
    fn the_table_has_a_column_a_means_and_aligns() {
        let project = Project::load().unwrap();
        let table = table(&project, &some());
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("ran/promised  unit"), "{table}");
        assert_eq!(lines[0].find("unit"), lines[1].find("5/2"), "{table}");
        assert!(lines[1].contains("not run"), "{table}");
    }

    #[test]
    fn a_budget_overrun_is_said() {
        let mut slow = cell("loom", 1, 0, Status::Ok);
        slow.time = Duration::from_secs(601);
        let said = budget(&[slow, cell("unit", 1, 0, Status::Ok)], Duration::ZERO);
        assert!(said.contains("loom 10m01s of 10m OVER") && said.ends_with("the rest 0.0s of 5m"), "{said}");
    }

    #[test]
    fn a_run_above_forty_minutes_fails() {
        let minutes = |minutes: u64| in_time(Duration::from_secs(minutes * 60 + 1));
        assert_eq!(minutes(39).status, Status::Ok);
        let late = minutes(40);
        assert_eq!(late.status, Status::Failed("took 40m01s, 40m are the most".to_owned()));
        assert_eq!(closing(&[late], true), "0 passed, 1 failed, 0 skipped");
    }
}
