//! A running worker, as its parent sees it.

use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};

use ipc_core::{Child, Descriptor, Error, spawn};

use super::super::piece::Piece;
use super::super::worker::{Found, MARK, Mark, work};

pub(super) struct Worker {
    pub(super) child: Child<Found>,
    /// Its line in the display, the same from its start to its end.
    pub(super) seat: usize,
    pub(super) batch: usize,
    /// The piece in hand.
    pub(super) in_hand: Option<usize>,
    /// Bytes of the pieces it is done with.
    pub(super) done: u64,
    /// The killer has chosen it.
    pub(super) shot: bool,
    log: PipeReader,
    /// It has closed its end of the log, and is about to return.
    log_ended: bool,
}

impl Worker {
    /// Starts a process for the batch of this number.
    pub(super) fn start(seat: usize, batch: usize, pieces: &[Piece]) -> Result<Worker, String> {
        let (log, write) = io::pipe().map_err(|error| format!("a pipe for its log: {error}"))?;
        rustix::io::ioctl_fionbio(&log, true).map_err(|error| format!("the pipe of its log: {error}"))?;
        let child =
            spawn(work, (pieces.to_vec(), Descriptor::from(write))).map_err(|error| error.to_string())?;
        Ok(Worker { child, seat, batch, in_hand: None, done: 0, shot: false, log, log_ended: false })
    }

    /// What to wait on: its sentinel and its log. An ended log would be ready all the time, so the
    /// sentinel stands in for it.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        let sentinel = self.child.as_fd();
        [sentinel, if self.log_ended { sentinel } else { self.log.as_fd() }]
    }

    /// Takes in what it has reported so far about the pieces of its batch.
    pub(super) fn read_log(&mut self, pieces: &[Piece]) -> Result<(), String> {
        let mut buffer = [0; 512 * MARK];
        loop {
            let read = match self.log.read(&mut buffer) {
                Ok(0) => {
                    self.log_ended = true;
                    return Ok(());
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("the log of worker {}: {error}", self.child.pid())),
            };
            for mark in buffer[..read].as_chunks::<MARK>().0 {
                match Mark::from_bytes(*mark) {
                    Mark::TakenUp(index) => self.in_hand = Some(index),
                    Mark::Done(index) => {
                        self.in_hand = None;
                        self.done += pieces.get(index).map_or(0, Piece::len);
                    }
                }
            }
        }
    }
}

/// Whether the process died, as against a function that failed.
pub(super) fn is_death(error: &Error) -> bool {
    matches!(error, Error::Killed { .. } | Error::NotStarted { .. } | Error::StatusUnknown { .. })
}
