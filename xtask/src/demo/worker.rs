//! What a worker process does, and how the parent knows what it has in hand.
//!
//! A worker is one child: it gets a batch and the write end of a pipe, counts the batch, and returns the
//! counts as its value. Nothing of a batch is counted before the whole value has arrived, so a worker
//! that is killed leaves nothing behind, and its batch is simply run again: no word is lost or
//! counted twice.
//!
//! On the pipe it says which piece it takes up and when it is done with it. Each [`Mark`] is one write
//! of 8 bytes, which a pipe takes whole or not at all, and what was written stays readable when the
//! writer is dead. So after a death the parent reads the pipe to its end and knows, not guesses,
//! whether a file was in hand and which.

use std::io::Write;

use ipc_core::Descriptor;
use serde::{Deserialize, Serialize};

use super::piece::{Outcome, Piece};
use super::words::{Counted, Tally};

/// The value of a worker.
#[derive(Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) counted: Counted,
    /// One for each piece of the batch.
    pub(super) outcomes: Vec<Outcome>,
}

/// What a worker reports while it works: the index of a piece in its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    TakenUp(usize),
    Done(usize),
}

/// Bytes of a mark on the pipe.
pub(super) const MARK: usize = 8;

impl Mark {
    fn to_bytes(self) -> [u8; MARK] {
        let (index, done) = match self {
            Mark::TakenUp(index) => (index, 0),
            Mark::Done(index) => (index, 1),
        };
        ((index as u64) << 1 | done).to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; MARK]) -> Mark {
        let value = u64::from_le_bytes(bytes);
        let index = (value >> 1) as usize;
        if value & 1 == 0 { Mark::TakenUp(index) } else { Mark::Done(index) }
    }
}

/// The function that runs in the worker processes.
pub(super) fn work(batch: Vec<Piece>, log: Descriptor) -> Found {
    let mut log = std::io::PipeWriter::from(std::os::fd::OwnedFd::from(log));
    let mut tally = Tally::default();
    let outcomes = count_batch(&batch, &mut tally, |mark| {
        // If nobody reads any more, the parent is gone, and this process is about to be.
        let _ = log.write_all(&mark.to_bytes());
    });
    Found { counted: tally.counted(), outcomes }
}

/// Counts a batch, in whatever process: the workers and the comparison with one process share it.
pub(super) fn count_batch(batch: &[Piece], tally: &mut Tally, mut report: impl FnMut(Mark)) -> Vec<Outcome> {
    let mut buffer = Vec::new();
    let count = |(index, piece): (usize, &Piece)| {
        report(Mark::TakenUp(index));
        let outcome = piece.count(tally, &mut buffer);
        report(Mark::Done(index));
        outcome
    };
    batch.iter().enumerate().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::Scratch;
    use super::*;

    #[test]
    fn marks_come_back_as_they_went() {
        for mark in [Mark::TakenUp(0), Mark::Done(0), Mark::TakenUp(70_000), Mark::Done(70_000)] {
            assert_eq!(Mark::from_bytes(mark.to_bytes()), mark);
        }
    }

    #[test]
    fn each_piece_is_taken_up_and_done_in_turn() {
        let scratch = Scratch::new();
        let piece =
            |name: &str| Piece { path: scratch.file(name, b"one two").into(), start: 0, end: 7, file_len: 7 };
        let (mut tally, mut marks) = (Tally::default(), Vec::new());
        let outcomes = count_batch(&[piece("a"), piece("b")], &mut tally, |mark| marks.push(mark));
        assert_eq!(marks, [Mark::TakenUp(0), Mark::Done(0), Mark::TakenUp(1), Mark::Done(1)]);
        assert_eq!(outcomes, vec![Outcome::Text { broken: false }; 2]);
        assert_eq!(tally.sorted(), [("one", 2), ("two", 2)]);
    }
}
