//! Where one end of a queue's log stands: in one word, so that it moves in one step.
//!
//! | bits | what |
//! |---|---|
//! | 0..13 | how far into the chunk, in granules of 16 bytes; a whole chunk means: at the beginning of the next |
//! | 13..32 | the chunk |
//! | 32..63 | how many items have passed, modulo 2³¹ |
//! | 63 | of the first band's tail: the queue is closed (of its head it means nothing) |

use std::fmt;

/// What records and chunks are multiples of, in bytes.
pub(crate) const GRANULE: usize = 16;

/// Items are counted modulo this.
pub(crate) const COUNTS: u32 = 1 << 31;

/// More chunks than a position can name.
pub(crate) const CHUNKS: u32 = 1 << 19;

/// The longest chunk that a position can stand in, in bytes.
pub(crate) const LONGEST_CHUNK: usize = 64 << 10;

const CLOSED: u64 = 1 << 63;

/// See the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position(pub(crate) u64);

impl Position {
    /// At the beginning of a chunk, before anything has passed.
    pub(crate) fn start(chunk: u32) -> Position {
        Position(u64::from(chunk % CHUNKS) << 13)
    }

    pub(crate) fn count(self) -> u32 {
        (self.0 >> 32) as u32 % COUNTS
    }

    pub(crate) fn chunk(self) -> u32 {
        (self.0 >> 13) as u32 % CHUNKS
    }

    /// In bytes; of a position in shared memory it may be beyond the chunk.
    pub(crate) fn offset(self) -> usize {
        (self.0 as usize % (1 << 13)) * GRANULE
    }

    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(crate) fn closed(self) -> Position {
        Position(self.0 | CLOSED)
    }

    /// A tail's place, for a head.
    pub(crate) fn open(self) -> Position {
        Position(self.0 & !CLOSED)
    }

    /// One item further, behind which it stands there.
    pub(crate) fn after(self, chunk: u32, offset: usize) -> Position {
        let count = u64::from((self.count() + 1) % COUNTS);
        Position(self.0 & CLOSED | count << 32 | Position::start(chunk).0 | (offset / GRANULE) as u64)
    }

    /// How many items have passed it and not `other`, which is behind.
    pub(crate) fn ahead_of(self, other: Position) -> u32 {
        self.count().wrapping_sub(other.count()) % COUNTS
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = if self.is_closed() { ", closed" } else { "" };
        write!(f, "item {} at {}:{}{closed}", self.count(), self.chunk(), self.offset())
    }
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let mut position = Position((u64::from(COUNTS - 1) << 32) | Position::start(CHUNKS - 1).0).closed();
        assert_eq!((position.count(), position.chunk(), position.offset()), (COUNTS - 1, CHUNKS - 1, 0));
        let before = position;
        position = position.after(5, LONGEST_CHUNK);
        assert_eq!((position.count(), position.chunk(), position.offset()), (0, 5, LONGEST_CHUNK));
        assert!(position.is_closed());
        assert_eq!(position.ahead_of(before), 1);
        assert_eq!(before.ahead_of(position), COUNTS - 1);
    }
}
