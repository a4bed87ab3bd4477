//! The table of a crate's system calls, `CRATE/tests/fault.table`.
//!
//! ```text
//! # the calls that the crate's sys makes, and the errors that their man pages allow
//! memfd_create EMFILE,ENFILE,ENOMEM        # memfd_create(2)
//! recvmsg      ENOBUFS           handshake # only in scenarios whose name holds this word
//! skip close munmap                        # their failure cannot be acted upon
//! ```
//!
//! Names are strace's. The reason after `#` is not optional: it is what a reader of the table looks for.

use std::collections::BTreeSet;

use crate::Result;

/// A call, and one error that it is made to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) call: String,
    pub(super) error: String,
    /// Only scenarios whose name holds this.
    pub(super) scenarios: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) skipped: BTreeSet<String>,
}

impl Table {
    pub(super) fn parse(text: &str) -> Result<Table> {
        let mut table = Table::default();
        for (number, line) in text.lines().enumerate() {
            table.line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
        }
        for row in &table.rows {
            if table.skipped.contains(&row.call) {
                return Err(format!("{} is both listed and skipped", row.call));
            }
        }
        Ok(table)
    }

    fn line(&mut self, line: &str) -> Result {
        let (entry, reason) = line.split_once('#').unwrap_or((line, ""));
        let words: Vec<&str> = entry.split_whitespace().collect();
        if words.is_empty() {
            return Ok(());
        }
        if reason.trim().is_empty() {
            return Err("no reason (or man page) after #".to_owned());
        }
        match words.as_slice() {
            ["skip"] => return Err("skip what?".to_owned()),
            ["skip", calls @ ..] => {
                for call in calls {
                    if !self.skipped.insert((*call).to_owned()) {
                        return Err(format!("{call} is skipped twice"));
                    }
                }
            }
            [call, errors] => self.rows(call, errors, None)?,
            [call, errors, filter] => self.rows(call, errors, Some(filter))?,
            _ => return Err("expected: CALL ERROR[,ERROR] [SCENARIO]  # reason".to_owned()),
        }
        Ok(())
    }

    fn rows(&mut self, call: &str, errors: &str, filter: Option<&str>) -> Result {
        for error in errors.split(',') {
            let capitals = error.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit());
            if !error.starts_with('E') || !capitals {
                return Err(format!("`{error}` is no error's name"));
            }
            let row =
                Row { call: call.to_owned(), error: error.to_owned(), scenarios: filter.map(str::to_owned) };
            if self.rows.contains(&row) {
                return Err(format!("{call} {error} stands there twice"));
            }
            self.rows.push(row);
        }
        Ok(())
    }

    /// Whether the table says anything of a call.
    pub(super) fn knows(&self, call: &str) -> bool {
        self.skipped.contains(call) || self.rows.iter().any(|row| row.call == call)
    }
}

impl Row {
    pub(super) fn applies(&self, scenario: &str) -> bool {
        self.scenarios.as_deref().is_none_or(|filter| scenario.contains(filter))
    }

    /// `CALL` or `CALL:ERROR`, as `--only` has it.
    pub(super) fn is(&self, only: &str) -> bool {
        match only.split_once(':') {
            Some((call, error)) => self.call == call && self.error == error,
            None => self.call == only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_row_for_each_error() {
        let table = Table::parse(
            "# comment\n\nopenat EMFILE,ENFILE # open(2)\nrecvmsg ENOMEM shake # recv(2)\nskip close munmap # no use\n",
        )
        .unwrap();
        let rows: Vec<_> = table.rows.iter().map(|row| format!("{} {}", row.call, row.error)).collect();
        assert_eq!(rows, ["openat EMFILE", "openat ENFILE", "recvmsg ENOMEM"]);
        assert!(table.rows[2].applies("handshake") && !table.rows[2].applies("spawn"));
        assert!(
            table.rows[0].applies("spawn") && table.rows[0].is("openat:EMFILE") && table.rows[1].is("openat")
        );
        assert!(table.knows("close") && table.knows("recvmsg") && !table.knows("read"));
    }

    #[test]
    fn bad_tables_are_refused() {
        for bad in [
            "openat EMFILE",
            "openat emfile # x",
            "openat # x",
            "skip # x",
            "a EIO b c # x",
            "openat EIO,EIO # x",
            "openat EIO # x\nskip openat # x",
            "skip a # x\nskip a # x",
        ] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
    }
}
