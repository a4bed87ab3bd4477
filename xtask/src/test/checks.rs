//! What is checked once for the whole workspace: form, lints, documentation, examples, the demo, the oldest Rust, parity.

use std::process::Command;
use std::time::{Duration, Instant};

use super::cell::{Cell, Status};
use crate::Result;
use crate::exec::{self, Echo};
use crate::project::{Project, cargo};
use crate::{parity, tidy, tools};

const LIMIT: Duration = Duration::from_secs(30 * 60);

/// A check that a command of cargo's makes, with the component it needs.
struct Check {
    name: &'static str,
    component: Option<&'static str>,
    env: Option<(&'static str, &'static str)>,
    words: &'static [&'static str],
}

const CHECKS: &[Check] = &[
    Check { name: "fmt", component: Some("rustfmt"), env: None, words: &["fmt", "--all", "--check"] },
    Check {
        name: "clippy",
        component: Some("clippy"),
        env: None,
        words: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    },
    Check {
        name: "clippy bare",
        component: Some("clippy"),
        env: None,
        words: &[
            "clippy",
            "-p",
            "ipc-core",
            "--all-targets",
            "--no-default-features",
            "--",
            "-D",
            "warnings",
        ],
    },
    Check {
        name: "clippy all",
        component: Some("clippy"),
        env: None,
        words: &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    },
    Check {
        name: "rustdoc",
        component: None,
        env: Some(("RUSTDOCFLAGS", "-D warnings")),
        words: &["doc", "--workspace", "--no-deps", "--all-features"],
    },
    Check {
        name: "examples",
        component: None,
        env: None,
        words: &["build", "--workspace", "--examples", "--all-features"],
    },
    // As the README says it: the alias, and no argument.
    Check { name: "demo", component: None, env: None, words: &["xtask", "demo"] },
];

pub(crate) fn run(project: &Project) -> Result<Vec<Cell>> {
    let mut cells = vec![tidy(project)?];
    for check in CHECKS {
        println!("\n== {}: cargo {}", check.name, check.words.join(" "));
        cells.push(by_cargo(project, check)?);
    }
    cells.push(oldest_rust(project)?);
    Ok(cells)
}

/// The `rust-version` of the workspace is that of a compiler which has built it: the one that all other cells use, or else one
/// that is installed beside it.
fn oldest_rust(project: &Project) -> Result<Cell> {
    const WORDS: &[&str] = &["check", "--workspace", "--all-targets"];
    let promised = env!("CARGO_PKG_RUST_VERSION");
    println!("\n== rust-version: {promised}");
    let command = format!("cargo +{promised} {}", WORDS.join(" "));
    let mut cell = Cell::new("workspace", "rust-version", 1, command);
    if tools::is_rust(&mut cargo(), promised) {
        cell.note = format!("{promised} is what everything here was built with");
    } else if let Some(mut older) = tools::rust(promised) {
        older.current_dir(&project.root).args(WORDS);
        older.env("CARGO_TARGET_DIR", project.target.join("rust-version"));
        let done = exec::run(older, LIMIT, Echo::Text)?;
        cell.build = done.time;
        if !done.ok() {
            cell.failed = 1;
            cell.fail(done.why());
        }
    } else {
        cell.status = Status::NotRun(format!("rustup toolchain install {promised}"));
        return Ok(cell);
    }
    cell.ran = 1;
    cell.judge();
    Ok(cell)
}

fn by_cargo(project: &Project, check: &Check) -> Result<Cell> {
    let env = check.env.map_or(String::new(), |(name, value)| format!("{name}=\"{value}\" "));
    let mut cell = Cell::new("workspace", check.name, 1, format!("{env}cargo {}", check.words.join(" ")));
    if let Some(component) = check.component
        && let Err(how) = tools::component(check.words[0], component)
    {
        cell.status = Status::NotRun(how);
        return Ok(cell);
    }
    let mut command: Command = cargo();
    command.current_dir(&project.root).args(check.words).envs(check.env);
    let done = exec::run(command, LIMIT, Echo::Text)?;
    // They are builds, nearly all of them.
    cell.build = done.time;
    cell.ran = 1;
    if !done.ok() {
        cell.failed = 1;
        cell.fail(done.why());
    }
    cell.judge();
    Ok(cell)
}

fn tidy(project: &Project) -> Result<Cell> {
    println!("== tidy");
    let begin = Instant::now();
    let mut cell = Cell::new("workspace", "tidy", 1, "cargo xtask tidy".to_owned());
    let found = tidy::check(project)?;
    found.print();
    cell.ran = 1;
    cell.time = begin.elapsed();
    if !found.errors.is_empty() {
        cell.failed = 1;
        cell.fail(format!("{} found", found.errors.len()));
    }
    cell.judge();
    Ok(cell)
}

/// Python's list against the tests that passed in this run.
pub(crate) fn parity(project: &Project, cells: &[Cell]) -> Cell {
    println!("\n== parity");
    // One check, not a test a row: the tests that the rows name are counted where they ran.
    let mut cell = Cell::new("workspace", "parity", 1, "cargo xtask parity".to_owned());
    let passed = cells.iter().flat_map(|cell| cell.passed.iter().cloned()).collect();
    cell.ran = 1;
    match parity::check(project, &passed) {
        Err(why) => {
            cell.failed = 1;
            cell.fail(why);
        }
        Ok(found) => {
            found.print();
            cell.note = found.summary();
            if let Some(first) = found.errors.first() {
                cell.failed = 1;
                cell.note += &format!("; {} errors", found.errors.len());
                cell.fail(first.clone());
            }
        }
    }
    cell.judge();
    cell
}
