//! What a whole pass over the input has found: the counts, and what became of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::piece::{Outcome, Piece};
use super::words::Tally;

#[derive(Default)]
pub(super) struct Totals {
    pub(super) tally: Tally,
    pub(super) text_files: u64,
    pub(super) text_bytes: u64,
    pub(super) binary_files: u64,
    pub(super) binary_bytes: u64,
    /// Text files with bytes that are not UTF-8.
    pub(super) broken: BTreeSet<OsString>,
    pub(super) unreadable: BTreeMap<OsString, String>,
}

impl Totals {
    /// Takes in what became of a batch; its counts go to `tally`. A file counts with its first piece.
    pub(super) fn add(&mut self, batch: &[Piece], outcomes: Vec<Outcome>) {
        for (piece, outcome) in batch.iter().zip(outcomes) {
            let file = u64::from(piece.start == 0);
            match outcome {
                Outcome::Text { broken } => {
                    self.text_files += file;
                    self.text_bytes += piece.len();
                    if broken {
                        self.broken.insert(piece.path.clone());
                    }
                }
                Outcome::Binary => {
                    self.binary_files += file;
                    self.binary_bytes += piece.len();
                }
                Outcome::Unreadable(why) => {
                    self.unreadable.insert(piece.path.clone(), why);
                }
            }
        }
    }

    /// Where this pass and another one differ, in words; nothing if they agree in everything.
    pub(super) fn differences(&self, other: &Totals) -> Option<String> {
        const SHOWN: usize = 10;
        let mut lines = Vec::new();
        let mut compare = |what: &str, here: u64, there: u64| {
            if here != there {
                lines.push(format!("{what}: {here}, not {there}"));
            }
        };
        compare("text files", self.text_files, other.text_files);
        compare("bytes of text", self.text_bytes, other.text_bytes);
        compare("binary files", self.binary_files, other.binary_files);
        compare("unreadable files", self.unreadable.len() as u64, other.unreadable.len() as u64);
        let words = self.tally.differences(&other.tally);
        for (word, here, there) in words.iter().take(SHOWN) {
            compare(&format!("`{word}`"), *here, *there);
        }
        if words.len() > SHOWN {
            lines.push(format!("and {} words more", words.len() - SHOWN));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(path: &str, start: u64) -> Piece {
        Piece { path: path.into(), start, end: start + 10, file_len: 20 }
    }

    #[test]
    fn a_file_in_two_pieces_is_one_file() {
        let mut totals = Totals::default();
        let text = |broken| Outcome::Text { broken };
        totals.add(&[piece("a", 0), piece("b", 0)], vec![text(true), Outcome::Binary]);
        totals.add(&[piece("a", 10), piece("b", 10)], vec![text(true), Outcome::Binary]);
        totals.add(&[piece("c", 0)], vec![Outcome::Unreadable("no".to_owned())]);
        assert_eq!((totals.text_files, totals.text_bytes, totals.broken.len()), (1, 20, 1));
        assert_eq!((totals.binary_files, totals.binary_bytes, totals.unreadable.len()), (1, 20, 1));
    }

    #[test]
    fn one_word_too_many_is_a_difference() {
        let (mut here, mut there) = (Totals::default(), Totals::default());
        here.tally.count(b"a b");
        there.tally.count(b"a b");
        assert_eq!(here.differences(&there), None);
        here.tally.count(b"b");
        here.add(&[piece("a", 0)], vec![Outcome::Binary]);
        assert_eq!(here.differences(&there).unwrap(), "binary files: 1, not 0\n`b`: 2, not 1");
    }
}
