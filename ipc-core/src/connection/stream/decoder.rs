//! The frames of a stream, out of bytes that come in any pieces: no socket, no clock.

use rustix::io::Errno;

/// The length at the beginning.
pub const HEADER: usize = 8;

/// How much room is made at first for a content of unknown truth; as much again as is there later.
const STEP: usize = 64 * 1024;

/// Takes frames out of bytes, which may come in any pieces. No socket, no clock.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    /// How much of the header is there.
    begun: usize,
    /// Content and kind, as far as they are there.
    body: Vec<u8>,
    /// So much of a frame that is too long is still to come.
    skip: u64,
}

/// What a decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame: its kind, and its content.
    Frame(u8, Vec<u8>),
    /// A frame that is longer than allowed begins; it will be skipped.
    TooLong(u64),
    /// No frame can be of this length: what comes is no frame.
    Malformed,
}

impl Decoder {
    /// How many bytes it takes at most now, none of them beyond the frame.
    pub fn wants(&self) -> usize {
        if self.skip > 0 {
            return usize::try_from(self.skip).unwrap_or(usize::MAX).min(STEP);
        }
        if self.begun < HEADER {
            return HEADER - self.begun;
        }
        let left = self.length().saturating_sub(self.body.len() as u64);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.body.len().max(STEP))
    }

    /// Whether a frame has begun, also one that is skipped: what comes next is a part of it.
    pub fn is_amid(&self) -> bool {
        self.begun > 0 || self.skip > 0
    }

    /// How far it came with the frame: bytes there, and in all, as far as known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (
            (self.begun + self.body.len()) as u64,
            (self.begun == HEADER).then(|| self.length().saturating_add(HEADER as u64)),
        )
    }

    fn length(&self) -> u64 {
        u64::from_le_bytes(self.header)
    }

    /// As [`wants`](Self::wants), but leaves the last byte of a frame where it is.
    pub fn wants_but_last(&self) -> usize {
        let wants = self.wants();
        let is_last =
            self.skip == 0 && self.begun == HEADER && self.body.len() as u64 + wants as u64 == self.length();
        if is_last { wants - 1 } else { wants }
    }

    /// Has `read` fill a room of at most `room` bytes, and takes what it says to have written. A content may have `limit` bytes.
    ///
    /// # Errors
    /// Those of `read`, and `NOMEM`.
    pub fn fill(
        &mut self,
        room: usize,
        limit: usize,
        read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    ) -> rustix::io::Result<(usize, Option<Found>)> {
        let room = room.min(self.wants());
        if self.skip == 0 && self.begun < HEADER {
            let count = read(&mut self.header[self.begun..self.begun + room])?.min(room);
            self.begun += count;
            let found = if self.begun == HEADER { self.look(limit) } else { None };
            return Ok((count, found));
        }
        let there = self.body.len();
        self.body.try_reserve_exact(room).map_err(|_| Errno::NOMEM)?;
        self.body.resize(there + room, 0);
        let read = read(&mut self.body[there..]).map(|count| count.min(room));
        self.body.truncate(there + read.unwrap_or(0));
        let count = read?;
        if self.skip > 0 {
            self.body.clear();
            self.skip -= count as u64;
            return Ok((count, None));
        }
        if self.body.len() as u64 == self.length() {
            self.begun = 0;
            let mut content = std::mem::take(&mut self.body);
            let kind = content.pop().unwrap_or_default();
            return Ok((count, Some(Found::Frame(kind, content))));
        }
        Ok((count, None))
    }

    /// The header is there.
    fn look(&mut self, limit: usize) -> Option<Found> {
        match self.length() {
            0 => {
                self.begun = 0;
                Some(Found::Malformed)
            }
            length if length - 1 > limit as u64 => {
                self.skip = length;
                self.begun = 0;
                Some(Found::TooLong(length - 1))
            }
            _ => None,
        }
    }
}

/// What stands before and after a content of this length.
pub fn frame(kind: u8, length: usize) -> ([u8; HEADER], [u8; 1]) {
    ((length as u64 + 1).to_le_bytes(), [kind])
}
