//! One cell of the matrix: a crate and a means, what was promised, and what really ran.

use std::time::Duration;

use serde_json::{Value, json};

use crate::counts::Counts;
use crate::project::{Crate, Means};

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    /// Nothing of this kind exists, and nothing was promised.
    Empty,
    Failed(String),
    /// A tool is missing; the text says how to install it.
    NotRun(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// The crate, or `workspace` for what concerns all of it.
    pub(crate) crate_name: String,
    pub(crate) means: String,
    pub(crate) promised: u64,
    pub(crate) ran: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) time: Duration,
    /// The part that went into building, not in `time`.
    pub(crate) build: Duration,
    pub(crate) status: Status,
    /// Repeats this cell alone.
    pub(crate) command: String,
    /// What the numbers do not say: kills by point, executions, injections.
    pub(crate) note: String,
    /// `CRATE::BINARY::NAME` of each test that passed.
    pub(crate) passed: Vec<String>,
}

impl Cell {
    pub(crate) fn new(crate_name: &str, means: &str, promised: u64, command: String) -> Cell {
        Cell {
            crate_name: crate_name.to_owned(),
            means: means.to_owned(),
            promised,
            ran: 0,
            failed: 0,
            skipped: 0,
            time: Duration::ZERO,
            build: Duration::ZERO,
            status: Status::Empty,
            command,
            note: String::new(),
            passed: Vec::new(),
        }
    }

    /// A cell of a crate, to be filled by its runner.
    pub(crate) fn of(member: &Crate, means: Means) -> Cell {
        let command = format!("cargo xtask test {} {}", member.name, means.name());
        Cell::new(&member.name, means.name(), member.promised(means), command)
    }

    pub(crate) fn count(&mut self, counts: Counts) {
        self.ran += counts.ran();
        self.failed += counts.failed;
        self.skipped += counts.skipped;
        let name = |test| format!("{}::{test}", self.crate_name);
        self.passed.extend(counts.names.into_iter().map(name));
        if let Some(first) = counts.failures.first() {
            let others = match counts.failures.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.fail(format!("{first}{others} failed"));
        }
    }

    /// The first reason stands, for later ones often follow from it.
    pub(crate) fn fail(&mut self, why: impl Into<String>) {
        if !matches!(self.status, Status::Failed(_)) {
            self.status = Status::Failed(why.into());
        }
    }

    /// The verdict, once everything has run: fewer than promised is a failure, and so is a failed test
    /// without a reason given.
    pub(crate) fn judge(&mut self) {
        if self.failed > 0 {
            self.fail(format!("{} failed", self.failed));
        }
        if matches!(self.status, Status::Empty) && self.ran > 0 {
            self.status = Status::Ok;
        }
        if matches!(self.status, Status::Ok | Status::Empty) && self.ran < self.promised {
            self.fail(format!("below its promise: {} of {}", self.ran, self.promised));
        }
    }

    /// What the table shows.
    pub(crate) fn show(&self) -> String {
        let count = match self.failed {
            0 => format!("{}/{}", self.ran, self.promised),
            failed => format!("{}/{} !{failed}", self.ran, self.promised),
        };
        let time = show_time(self.time);
        match &self.status {
            Status::Empty => "–".to_owned(),
            Status::NotRun(_) => "not run".to_owned(),
            Status::Ok => format!("{count} {time}"),
            Status::Failed(_) => format!("✗ {count} {time}"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "crate": self.crate_name,
            "means": self.means,
            "promised": self.promised,
            "ran": self.ran,
            "failed": self.failed,
            "seconds": (self.time.as_secs_f64() * 1000.0).round() / 1000.0,
            "build_seconds": (self.build.as_secs_f64() * 1000.0).round() / 1000.0,
            "status": match &self.status {
                Status::Ok => "ok".to_owned(),
                Status::Empty => "none".to_owned(),
                Status::Failed(why) => format!("failed: {why}"),
                Status::NotRun(how) => format!("not run: {how}"),
            },
            "note": self.note,
            "command": self.command,
        })
    }
}

/// `0.3s`, `42s`, `3m05s`.
pub(crate) fn show_time(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(promised: u64) -> Cell {
        Cell::new("a", "unit", promised, "repeat".to_owned())
    }

    fn counts(passed: u64, failures: &[&str]) -> Counts {
        Counts {
            passed,
            failed: failures.len() as u64,
            failures: failures.iter().map(|name| (*name).to_owned()).collect(),
            ..Counts::default()
        }
    }

    #[test]
    fn nothing_promised_and_nothing_there_is_a_dash() {
        let mut cell = cell(0);
        cell.judge();
        assert_eq!((cell.status.clone(), cell.show()), (Status::Empty, "–".to_owned()));
    }

    #[test]
    fn fewer_than_promised_fails_and_more_does_not() {
        let mut short = cell(3);
        short.count(counts(2, &[]));
        short.judge();
        assert_eq!(short.status, Status::Failed("below its promise: 2 of 3".to_owned()));
        let mut more = cell(3);
        more.count(counts(4, &[]));
        more.judge();
        assert_eq!(more.status, Status::Ok);
        let mut none = cell(1);
        none.judge();
        assert!(matches!(none.status, Status::Failed(_)));
    }

    #[test]
    fn a_failed_test_fails_its_cell_by_name() {
        let mut cell = cell(0);
        cell.count(counts(2, &["spawn::x", "spawn::y"]));
        cell.judge();
        assert_eq!(cell.status, Status::Failed("spawn::x and 1 more failed".to_owned()));
        assert_eq!(cell.json()["status"], "failed: spawn::x and 1 more failed");
        assert_eq!((cell.json()["ran"].as_u64(), cell.json()["failed"].as_u64()), (Some(4), Some(2)));
        assert!(cell.show().starts_with("✗ 4/0 !2"), "{}", cell.show());
    }

    #[test]
    fn times_are_short() {
        let show = |millis| show_time(Duration::from_millis(millis));
        assert_eq!((show(310), show(42_100), show(185_000)), ("0.3s".into(), "42s".into(), "3m05s".into()));
    }
}
