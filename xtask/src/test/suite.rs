//! The cells whose tests cargo runs: unit, doc, conformance, prop, crash.
//!
//! nextest runs them where it is installed, each test in a process of its own. The same unit and conformance
//! tests then run once more under `cargo test`, all tests of a file in one process: that our children find
//! their entry under both is a promise to users, so the count must be the same. Loads were borne in the first run: in the
//! second they are light (IPC_QUICK), and `--quick` leaves it out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Options;
use super::cell::Cell;
use crate::Result;
use crate::counts::{self, Counts};
use crate::exec::{self, Echo, Finished};
use crate::project::{Crate, Means, Project, cargo};
use crate::tools;

/// A guard against hanging, far above every budget.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const FULL_LIMIT: Duration = Duration::from_secs(48 * 60 * 60);

pub(crate) fn run(project: &Project, member: &Crate, means: Means, options: &Options) -> Result<Cell> {
    let mut cell = Cell::of(member, means);
    let selection = match means {
        // The documentation is that of all features.
        Means::Doc if member.has_lib => ["--doc", "--all-features"].map(str::to_owned).to_vec(),
        _ => member.selection(means),
    };
    let unrun = project.target.join(format!("not-run-{}", std::process::id()));
    let suite = Suite { project, member, means, options, light: options.quick, unrun: &unrun };
    if !selection.is_empty() {
        if means != Means::Doc && tools::nextest() {
            suite.nextest(&mut cell, &selection)?;
            if matches!(means, Means::Unit | Means::Conformance) && !options.quick && cell.ran > 0 {
                Suite { light: true, ..suite }.again_by_cargo_test(&mut cell, &selection)?;
            }
        } else {
            suite.cargo_test(&mut cell, &selection)?;
            if means != Means::Doc {
                suite.without_nextest(&mut cell);
            }
        }
    }
    for bare in member.bare_of(means) {
        suite.cargo_test(&mut cell, &["--test".to_owned(), bare.to_owned()])?;
    }
    if means == Means::Unit {
        for variant in &member.variants {
            let words: Vec<String> = variant.split_whitespace().map(str::to_owned).collect();
            suite.cargo_test(&mut cell, &words)?;
        }
    }
    note_what_did_not_run(&mut cell, &unrun);
    cell.judge();
    Ok(cell)
}

#[derive(Clone, Copy)]
struct Suite<'a> {
    project: &'a Project,
    member: &'a Crate,
    means: Means,
    options: &'a Options,
    /// Whether tests are told to bear light loads.
    light: bool,
    /// The file in which tests say that they could not run.
    unrun: &'a Path,
}

impl Suite<'_> {
    fn nextest(&self, cell: &mut Cell, selection: &[String]) -> Result {
        let mut words = ["nextest", "run", "-p", &self.member.name].map(str::to_owned).to_vec();
        words.extend_from_slice(selection);
        let build = words.clone();
        words.extend(["--config-file".to_owned(), self.config()]);
        let profile = match self.means {
            Means::Crash if self.options.full => "full",
            Means::Crash => "crash",
            _ => "default",
        };
        words.extend(
            ["--profile", profile, "--no-tests", "pass", "--no-fail-fast", "--color", "never"]
                .map(str::to_owned),
        );
        words.extend(["--status-level", "pass", "--final-status-level", "none"].map(str::to_owned));
        if self.means == Means::Crash {
            // Their kills stand in what they print.
            words.extend(["--success-output", "immediate"].map(str::to_owned));
        }
        let repeat = format!("cargo nextest run -p {} {}", self.member.name, selection.join(" "));
        let Some(done) = self.build_and_run(cell, &build, &words, &repeat)? else { return Ok(()) };
        match counts::nextest(&done.output) {
            Some(counts) => self.take(cell, counts, &done, &repeat),
            None => self.broken(cell, format!("nextest gave no summary: {}", done.why()), &repeat),
        }
        Ok(())
    }

    fn cargo_test(&self, cell: &mut Cell, selection: &[String]) -> Result {
        let Some((counts, done, repeat)) = self.by_cargo_test(cell, selection)? else { return Ok(()) };
        self.take(cell, counts, &done, &repeat);
        Ok(())
    }

    /// The tests ran, but not under nextest, which is half of what they are to show.
    fn without_nextest(&self, cell: &mut Cell) {
        let how = "not run under nextest: cargo install --locked cargo-nextest".to_owned();
        if self.options.ci {
            self.broken(cell, how, &cell.command.clone());
        } else {
            cell.note = [std::mem::take(&mut cell.note), how].join(" ").trim_start().to_owned();
        }
    }

    /// What ran under nextest must pass under `cargo test` as well; it is the same test, counted once.
    fn again_by_cargo_test(&self, cell: &mut Cell, selection: &[String]) -> Result {
        let (ran, skipped, failed) = (cell.ran, cell.skipped, cell.failed);
        let Some((counts, done, repeat)) = self.by_cargo_test(cell, selection)? else { return Ok(()) };
        let (again, failed_again) = (counts.ran(), counts.failed);
        self.take(cell, counts, &done, &repeat);
        // The first run's count stands, and what failed twice is one failure.
        (cell.ran, cell.skipped) = (ran, skipped);
        cell.failed -= failed.min(failed_again);
        cell.passed.sort();
        cell.passed.dedup();
        if again != ran {
            self.broken(cell, format!("{ran} tests under nextest, {again} under cargo test"), &repeat);
        }
        cell.note = format!("also under cargo test: {again}");
        Ok(())
    }

    fn by_cargo_test(
        &self,
        cell: &mut Cell,
        selection: &[String],
    ) -> Result<Option<(Counts, Finished, String)>> {
        let mut words = ["test", "-p", &self.member.name].map(str::to_owned).to_vec();
        words.extend_from_slice(selection);
        let build = words.clone();
        words.extend(["--no-fail-fast", "--color", "never"].map(str::to_owned));
        if self.means == Means::Crash {
            words.extend(["--", "--show-output"].map(str::to_owned));
        }
        let repeat = format!("cargo test -p {} {}", self.member.name, selection.join(" "));
        let Some(done) = self.build_and_run(cell, &build, &words, &repeat)? else {
            return Ok(None);
        };
        let ok = done.status.is_some_and(|status| status.success());
        Ok(Some((counts::libtest(&done.output, ok), done, repeat)))
    }

    /// Builds, then runs, so that the two are timed apart. `None`: it did not build.
    fn build_and_run(
        &self,
        cell: &mut Cell,
        build: &[String],
        words: &[String],
        repeat: &str,
    ) -> Result<Option<Finished>> {
        // There is no building documentation examples apart from running them.
        if self.means != Means::Doc {
            let mut command = self.command(build);
            command.arg("--no-run");
            let built = exec::run(command, LIMIT, Echo::Text)?;
            cell.build += built.time;
            if !built.ok() {
                self.broken(cell, format!("does not build: {}", built.why()), repeat);
                return Ok(None);
            }
        }
        let limit = if self.options.full { FULL_LIMIT } else { LIMIT };
        let done = exec::run(self.command(words), limit, Echo::Text)?;
        cell.time += done.time;
        Ok(Some(done))
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = cargo();
        command.current_dir(&self.project.root).args(words).env(ipc_testkit::NOT_RUN, self.unrun);
        self.options.tell(&mut command);
        if self.light {
            command.env("IPC_QUICK", "1");
        }
        // All of them have guards.
        if self.means == Means::Crash {
            command.env(ipc_testkit::LEAKS, "1");
        }
        command
    }

    fn take(&self, cell: &mut Cell, counts: Counts, done: &Finished, repeat: &str) {
        let failed = counts.failed;
        if failed > 0 {
            repeat.clone_into(&mut cell.command);
        }
        cell.count(counts);
        if !done.ok() && (failed == 0 || !done.left.is_empty()) {
            self.broken(cell, done.why(), repeat);
        }
        if self.means == Means::Crash {
            self.kills(cell, done);
        }
    }

    /// A failure that is no test's: it counts as one, so that it shows in the numbers.
    fn broken(&self, cell: &mut Cell, why: String, repeat: &str) {
        cell.failed += 1;
        cell.fail(why);
        repeat.clone_into(&mut cell.command);
    }

    fn kills(&self, cell: &mut Cell, done: &Finished) {
        let points = counts::kills(&done.output);
        let total: u64 = points.iter().map(|(_, kills)| kills).sum();
        let each: Vec<String> = points.iter().map(|(point, kills)| format!("{point} {kills}")).collect();
        cell.note = format!("{total} kills: {}", each.join(", "));
        if let Some((point, _)) = points.iter().find(|(_, kills)| *kills == 0) {
            self.broken(cell, format!("crash point never hit: {point}"), &cell.command.clone());
        }
        if total < self.member.kills && !self.options.quick {
            let why = format!("{total} kills of {} promised", self.member.kills);
            self.broken(cell, why, &cell.command.clone());
        }
    }

    fn config(&self) -> String {
        self.project.root.join("xtask/nextest.toml").display().to_string()
    }
}

/// What the tests that could not run have said goes into the notes, each line once; the file goes.
fn note_what_did_not_run(cell: &mut Cell, unrun: &Path) {
    // No file: all have run.
    let Ok(said) = fs::read_to_string(unrun) else { return };
    let _ = fs::remove_file(unrun);
    let lines: BTreeSet<&str> = said.lines().collect();
    let notes = [std::mem::take(&mut cell.note)].into_iter().filter(|note| !note.is_empty());
    cell.note = notes.chain(lines.into_iter().map(str::to_owned)).collect::<Vec<_>>().join("; ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_could_not_run_are_noted_once() {
        let unrun = std::env::temp_dir().join(format!("xtask-not-run-{}", std::process::id()));
        let mut cell = Cell::new("a", "unit", 0, "repeat".to_owned());
        note_what_did_not_run(&mut cell, &unrun);
        assert_eq!(cell.note, "");
        cell.note = "also under cargo test: 2".to_owned();
        // Under nextest and again under cargo test.
        fs::write(&unrun, "b: not run: no root\na: not run: no tool\nb: not run: no root\n").unwrap();
        note_what_did_not_run(&mut cell, &unrun);
        assert_eq!(cell.note, "also under cargo test: 2; a: not run: no tool; b: not run: no root");
        assert!(!unrun.exists());
    }
}
