//! Check Python's list against the tests: `cargo xtask parity`.
//!
//! `xtask/parity.md` has a row `| id | item | status |` for every item of the behaviour reference. The status is one of
//!
//!   test: CRATE::BINARY::NAME, …        BINARY is lib, bin, doc, fuzz, or a file of tests/; NAME as the runner
//!                                       shows it, for doc the item's path; a `*` stands for anything
//!   by type: why                        the signature rules it out; may name a compile-fail test: (test: …)
//!   differs: why (test: …)              with the test of our behaviour
//!   later: CRATE                        its turn has not come
//!   not: reason
//!
//! A row without status, an id given twice, a named test that does not exist fails; in `cargo xtask test` also one
//! that did not run and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use crate::Result;
use crate::exec::{self, Echo};
use crate::fuzz;
use crate::project::{Means, Project, cargo};

const FILE: &str = "xtask/parity.md";

/// `cargo xtask parity`.
pub(crate) fn run(args: &[String]) -> Result {
    if let Some(arg) = args.first() {
        return Err(format!("parity takes no argument, and `{arg}` is one"));
    }
    let project = Project::load()?;
    let found = check(&project, &existing(&project)?)?;
    found.print();
    if found.errors.is_empty() { Ok(()) } else { Err(format!("{FILE}: {} errors", found.errors.len())) }
}

/// What the table says, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: u64,
    pub(crate) errors: Vec<String>,
    by_status: BTreeMap<&'static str, u64>,
}

impl Found {
    pub(crate) fn print(&self) {
        self.errors.iter().for_each(|error| println!("parity: {error}"));
        println!("parity: {}", self.summary());
    }

    /// `310 rows: 200 test, 20 by type, …`
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> =
            self.by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
        format!("{} rows: {}", self.rows, counts.join(", "))
    }
}

/// Checks the table; `tests` are the names that count as run.
pub(crate) fn check(project: &Project, tests: &BTreeSet<String>) -> Result<Found> {
    let text = fs::read_to_string(project.root.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
    let crates: Vec<&str> = project.crates.iter().map(|member| member.name.as_str()).collect();
    Ok(judge(&text, &crates, tests))
}

fn judge(text: &str, crates: &[&str], tests: &BTreeSet<String>) -> Found {
    let mut found = Found::default();
    let mut ids = BTreeSet::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let Some(row) = row(line) else { continue };
        found.rows += 1;
        let [id, _, status] = row.as_slice() else {
            found.errors.push(format!("line {number}: {} cells, not 3", row.len()));
            continue;
        };
        if !ids.insert(id.clone()) {
            found.errors.push(format!("line {number}: id {id} stands there twice"));
        }
        match judge_status(status, crates, tests) {
            Ok(kind) => *found.by_status.entry(kind).or_default() += 1,
            Err(why) => found.errors.push(format!("line {number}: {id}: {why}")),
        }
    }
    if found.rows == 0 {
        found.errors.push("no row".to_owned());
    }
    found
}

/// The cells of a table's row; `None` for text, headings and rulers.
fn row(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    // A bar inside a cell is written `\|`.
    let inner = inner.replace("\\|", "\u{0}");
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
    let ruler = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|symbol| "-:".contains(symbol)));
    (!ruler && cells[0] != "id").then_some(cells)
}

fn judge_status(status: &str, crates: &[&str], tests: &BTreeSet<String>) -> Result<&'static str> {
    let Some((kind, rest)) = status.split_once(':') else {
        return Err(if status.is_empty() { "no status".into() } else { format!("`{status}` is no status") });
    };
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(format!("`{kind}:` says nothing"));
    }
    let in_brackets = rest.rsplit_once("(test:").map(|(_, names)| names.trim_end().trim_end_matches(')'));
    match kind.trim() {
        "test" => all_ran(rest, tests).map(|()| "test"),
        "by type" => in_brackets.map_or(Ok(()), |names| all_ran(names, tests)).map(|()| "by type"),
        "differs" => {
            let names = in_brackets.ok_or("differs, and names no test of our behaviour: (test: …)")?;
            all_ran(names, tests).map(|()| "differs")
        }
        "later" if crates.iter().any(|name| rest.split([' ', ',', ';']).next() == Some(name)) => Ok("later"),
        "later" => Err(format!("`{rest}` is no crate")),
        "not" => Ok("not"),
        other => Err(format!("`{other}` is no status")),
    }
}

fn all_ran(names: &str, tests: &BTreeSet<String>) -> Result {
    for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
        if !tests.iter().any(|test| matches(name, test)) {
            return Err(format!("test {name} does not exist, or did not run and pass"));
        }
    }
    Ok(())
}

/// Whether a name in the table means this test. A documentation example is known by its item: the runner
/// shows `CRATE::doc::FILE - ITEM (line N)`, and lines move.
fn matches(name: &str, test: &str) -> bool {
    if let Some((member, example)) = test.split_once("::doc::") {
        let item = example.split_once(" - ").map_or(example, |(_, item)| item);
        let item = item.split_once("(line").map_or(item, |(item, _)| item).trim();
        return glob(name, &format!("{member}::doc::{item}"));
    }
    glob(name, test)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| glob(tail, &rest[at..]))
        }),
    }
}

/// All tests there are, as the runner lists them. Loom's models exist only under their cfg, and fuzz targets
/// in a package of their own: of these the source is asked.
fn existing(project: &Project) -> Result<BTreeSet<String>> {
    let mut tests = BTreeSet::new();
    for member in &project.crates {
        let mut list = cargo();
        list.current_dir(&project.root).args(["test", "-p", &member.name, "--all-features", "--", "--list"]);
        let done = exec::run(list, Duration::from_secs(1800), Echo::Nothing)?;
        if !done.ok() {
            return Err(format!("cannot list the tests of {}: {}\n{}", member.name, done.why(), done.output));
        }
        tests.extend(listed(&done.output).into_iter().map(|test| format!("{}::{test}", member.name)));
        for file in member.tests_of(Means::Loom) {
            let source = fs::read_to_string(member.dir.join(format!("tests/{file}.rs"))).unwrap_or_default();
            let functions =
                source.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split_once("()"));
            tests.extend(functions.map(|(name, _)| format!("{}::{file}::{name}", member.name)));
        }
        tests.extend(
            fuzz::targets(member)?.into_iter().map(|target| format!("{}::fuzz::{target}", member.name)),
        );
    }
    Ok(tests)
}

/// `BINARY::NAME` of each test in the output of `cargo test -- --list`.
fn listed(output: &str) -> Vec<String> {
    let mut binary = "lib".to_owned();
    let mut names = Vec::new();
    for line in output.lines() {
        if let Some(started) = crate::counts::started(line.trim_start()) {
            binary = started;
        } else if let Some(name) = line.strip_suffix(": test") {
            names.push(format!("{binary}::{name}"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let tests = [
            "ipc-core::spawn::daemons_end",
            "ipc-core::conformance::fork_server::test_daemon",
            "ipc-core::doc::ipc-core/src/lib.rs - spawn (line 3)",
        ];
        judge(text, &["ipc-core", "ipc-sync"], &tests.into_iter().map(str::to_owned).collect()).errors
    }

    #[test]
    fn a_good_table_has_no_errors() {
        let good = "# Parity\n\n| id | item | status |\n|---|:--|---|\n\
            | P1 | daemon | test: ipc-core::spawn::daemons_end, `ipc-core::doc::spawn` |\n\
            | P2 | a \\| b | test: ipc-core::conformance::*::test_daemon |\n\
            | P3 | kwargs | by type: arguments are one value |\n\
            | P4 | name | differs: shorter (test: ipc-core::spawn::daemons_end) |\n\
            | P5 | Lock | later: ipc-sync |\n| P6 | win32 | not: Linux only |\n";
        assert_eq!(errors(good), [""; 0]);
    }

    #[test]
    fn each_fault_is_found() {
        let rows = [
            ("| 1 | x |  |", "no status"),
            ("| 1 | x | test: ipc-core::spawn::gone |", "does not exist"),
            ("| 1 | x | test: |", "says nothing"),
            ("| 1 | x | done |", "is no status"),
            ("| 1 | x | differs: so |", "names no test"),
            ("| 1 | x | differs: so (test: ipc-core::a::b) |", "does not exist"),
            ("| 1 | x | by type: so (test: ipc-core::a::b) |", "does not exist"),
            ("| 1 | x | later: ipc-moon |", "is no crate"),
            ("| 1 | x | not: y |\n| 1 | z | not: y |", "twice"),
            ("| 1 | x | y | not: z |", "4 cells"),
            ("", "no row"),
        ];
        for (row, wanted) in rows {
            let found = errors(row);
            assert!(found.len() == 1 && found[0].contains(wanted), "{row}: {found:?}");
        }
    }

    #[test]
    fn the_runners_list_is_read() {
        let output = "     Running tests/spawn.rs (target/debug/deps/spawn-1)\ndaemons_end: test\n\n1 test, 0 benchmarks\n   \
            Doc-tests ipc_core\nipc-core/src/lib.rs - spawn (line 3): test\n";
        assert_eq!(listed(output), ["spawn::daemons_end", "doc::ipc-core/src/lib.rs - spawn (line 3)"]);
    }
}
