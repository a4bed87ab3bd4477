//! What is said at the end, on stdout.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use super::input::{DEFAULT_LIMIT, Input};
use super::killer::{Kill, Killer};
use super::totals::Totals;

/// So many of the most frequent words are shown, and so many of each kind of remark on files. (Who was killed is named in
/// full: whoever doubts the number can count.)
const WORDS: usize = 15;
const REMARKS: usize = 5;

/// One way of doing the whole job, and how long it took.
pub(super) struct Speed {
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

impl Speed {
    fn per_second(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// All that is to be said about the job.
pub(super) struct Report<'a> {
    pub(super) root: &'a Path,
    pub(super) input: &'a Input,
    pub(super) totals: &'a Totals,
    pub(super) workers: usize,
    pub(super) batches: usize,
    pub(super) method: String,
    pub(super) together: Speed,
    pub(super) alone: Speed,
    /// One process counted all of it, and the same.
    pub(super) compared: bool,
    pub(super) fire: Option<UnderFire>,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { input, totals, .. } = self;
        writeln!(f, "Words under {}", self.root.display())?;
        if input.cut_short {
            writeln!(
                f,
                "(the first {} of it; name a path to count all that is there)",
                bytes(DEFAULT_LIMIT)
            )?;
        }
        writeln!(f)?;
        for (word, count) in totals.tally.sorted().iter().take(WORDS) {
            writeln!(f, "{:>14}  {word}", number(*count))?;
        }
        writeln!(
            f,
            "\nwords       {}, {} different",
            number(totals.tally.total()),
            number(totals.tally.distinct() as u64)
        )?;
        writeln!(f, "files       {} of text, {}", number(totals.text_files), bytes(totals.text_bytes))?;
        self.remarks(f)?;
        let (together, alone) = (self.together.per_second(), self.alone.per_second());
        writeln!(
            f,
            "throughput  {}/s by {} worker processes ({} batches, a process each, {}, {:.2} s)",
            bytes(together as u64),
            self.workers,
            number(self.batches as u64),
            self.method,
            self.together.took.as_secs_f64()
        )?;
        let part = if self.compared { "" } else { ", on a part of the input" };
        writeln!(
            f,
            "            {}/s by one process, this one, in one thread ({:.2} s{part})",
            bytes(alone as u64),
            self.alone.took.as_secs_f64()
        )?;
        writeln!(f, "speed-up    {:.2} over one process", together / alone.max(1.0))?;
        if cfg!(debug_assertions) {
            writeln!(f, "            (a debug build; time it with: cargo run --release -p xtask -- demo)")?;
        }
        if self.compared {
            writeln!(f, "checked     one process counted the same: {}", self.how_many())?;
        } else {
            let first = bytes(self.alone.bytes);
            writeln!(
                f,
                "unchecked   one process counted only the first {first}: no count was compared with its own"
            )?;
        }
        self.fire.as_ref().map_or(Ok(()), |fire| self.under_fire(f, fire))
    }
}

impl Report<'_> {
    /// What was seen and not counted, or not wholly.
    fn remarks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { input, totals, .. } = self;
        if totals.binary_files > 0 {
            let size = bytes(totals.binary_bytes);
            writeln!(f, "            {} binary, {size}: not counted", number(totals.binary_files))?;
        }
        if input.not_files > 0 {
            let count = number(input.not_files);
            writeln!(f, "            {count} links, pipes, sockets or devices: passed over")?;
        }
        if !totals.broken.is_empty() {
            let count = number(totals.broken.len() as u64);
            writeln!(f, "            {count} of text, but not all UTF-8: counted without the broken bytes")?;
            list(f, REMARKS, totals.broken.iter().map(|path| self.name(path.as_ref())))?;
        }
        let dirs = input.unreadable.iter().map(|(path, why)| format!("{}: {why}", self.name(path)));
        let files = totals.unreadable.iter();
        let files = files.map(|(path, why)| format!("{}: {why}", self.name(path.as_ref())));
        let unreadable = input.unreadable.len() + totals.unreadable.len();
        if unreadable > 0 {
            writeln!(f, "            {} unreadable", number(unreadable as u64))?;
            list(f, REMARKS, dirs.chain(files))?;
        }
        Ok(())
    }
}

/// The job under fire: what was killed, and that it changed nothing.
pub(super) struct UnderFire {
    pub(super) killer: Killer,
    pub(super) passes: u32,
}

impl Report<'_> {
    fn under_fire(&self, f: &mut Formatter<'_>, UnderFire { killer, passes }: &UnderFire) -> fmt::Result {
        let hits = killer.hits.len() as u64;
        writeln!(
            f,
            "under fire  {} workers killed with a file in hand, {} without one, {} too late (seed {})",
            number(hits),
            number(killer.misses.into()),
            number(killer.too_late.into()),
            killer.seed
        )?;
        let hit = |kill: &Kill| {
            let file = self.name(&kill.file);
            format!("pid {}, batch {} of pass {}, had {file}", kill.pid, kill.batch, kill.pass)
        };
        list(f, usize::MAX, killer.hits.iter().map(hit))?;
        let again = number(hits + u64::from(killer.misses));
        writeln!(f, "            their {again} batches were run again, in {passes} passes over the input")?;
        writeln!(f, "checked     every pass counted what the undisturbed one did: {}", self.how_many())
    }

    fn how_many(&self) -> String {
        let tally = &self.totals.tally;
        format!("{} different words, {} in all", number(tally.distinct() as u64), number(tally.total()))
    }

    /// A file as shown: relative to the root.
    fn name(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.root).ok().filter(|name| !name.as_os_str().is_empty());
        inside.unwrap_or(path).display().to_string()
    }
}

/// The first few, and how many more.
fn list(f: &mut Formatter<'_>, few: usize, mut lines: impl Iterator<Item = String>) -> fmt::Result {
    for line in lines.by_ref().take(few) {
        writeln!(f, "              {line}")?;
    }
    match lines.count() {
        0 => Ok(()),
        more => writeln!(f, "              and {} more", number(more as u64)),
    }
}

/// With a comma at each thousand.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In decimal units.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1234567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 1500, 78_100_000, 2_000_000_000].map(bytes), ["12 B", "1.5 kB", "78.1 MB", "2.0 GB"]);
    }

    #[test]
    fn whether_one_process_counted_the_same_is_said() {
        let (input, totals) = (Input::default(), Totals::default());
        let speed = |bytes| Speed { bytes, took: Duration::from_secs(1) };
        let report = |compared, bytes| {
            let report = Report {
                root: Path::new("/"),
                input: &input,
                totals: &totals,
                workers: 2,
                batches: 2,
                method: String::new(),
                together: speed(2_000_000),
                alone: speed(bytes),
                compared,
                fire: None,
            };
            report.to_string()
        };
        let (whole, part) = (report(true, 2_000_000), report(false, 1_000_000));
        assert!(whole.contains("\nchecked ") && !whole.contains("unchecked"), "{whole}");
        assert!(part.contains("\nunchecked   one process counted only the first 1.0 MB"), "{part}");
        assert!(!part.contains("\nchecked ") && part.contains("on a part of the input"), "{part}");
    }

    #[test]
    fn a_long_list_is_cut_short() {
        struct List(usize);
        impl Display for List {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                list(f, REMARKS, (0..self.0).map(|i| i.to_string()))
            }
        }
        assert_eq!(List(2).to_string().lines().count(), 2);
        assert!(List(1005).to_string().ends_with("and 1,000 more\n"));
    }
}
