//! The ring in this process's memory: where its table and its lines are, and the bytes in them.
//!
//! All of the ring's unsafe code is here. The bytes of a line are written and read by whom the protocol lets: the sender from [`room`](RawRing::room) to
//! publishing, the receiver from there until it gives them back. The other side's process may be corrupted and write at any time; so what is decoded is
//! copied out first (as [`Shared`] copies, whatever others do there), and only who asks for a message in place ([`slice`](Memory::slice)) relies on the other side.

use std::ptr::NonNull;

use ipc_shm::Arena;
use ipc_shm::raw::{Layout, Shared};

use super::track::{LINE, Line, RawRing, longest};
use crate::{Error, Result};

// SAFETY: `repr(C)`, of atomics and a gate; the lines are atomics, also where they are used as bytes; no pointers; all zero is an empty ring.
unsafe impl Layout for RawRing {
    type Item = Line;
    const NAME: &'static str = "a ring";
    const VERSION: u32 = 1;
}

#[cold]
fn beyond(line: usize, len: usize) -> Error {
    Error::corrupt(format!("{len} bytes from line {line} on are beyond the end of a ring"))
}

/// The fewest lines of a ring.
const FEWEST: usize = 64;

/// A ring, mapped.
#[derive(Debug)]
pub(super) struct Memory {
    /// Keeps what the others point to.
    shared: Shared<RawRing>,
    head: NonNull<RawRing>,
    /// The table, and behind it the lines.
    items: NonNull<Line>,
    lines: usize,
}

// SAFETY: the pointers are into the mapping of `shared`, which belongs to the process and may be seen by all threads.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// One with room for so many bytes, rounded up to a power of two.
    pub(super) fn new(bytes: usize, arena: Option<&Arena>) -> Result<Memory> {
        let lines = bytes.div_ceil(LINE).max(FEWEST).checked_next_power_of_two();
        let items = lines.and_then(|lines| lines.checked_add(lines / 8));
        let items = items
            .ok_or_else(|| Error::invalid("a ring's size", format!("{bytes} bytes fit into no memory")))?;
        Memory::of(match arena {
            Some(arena) => Shared::new_with(items, arena)?,
            None => Shared::new(items)?,
        })
    }

    /// One that came from another process.
    pub(super) fn of(shared: Shared<RawRing>) -> Result<Memory> {
        let items = shared.items();
        // The largest power of two that has its table in front of it.
        let lines = (items.len() / 9 * 8).checked_ilog2().map_or(0, |log| 1 << log);
        if lines < FEWEST {
            return Err(Error::corrupt(format!("a ring of {} lines is none", items.len())));
        }
        let (head, items) = (NonNull::from(&*shared), NonNull::from(items).cast());
        Ok(Memory { shared, head, items, lines })
    }

    pub(super) fn shared(&self) -> &Shared<RawRing> {
        &self.shared
    }

    #[inline(always)]
    pub(super) fn ring(&self) -> &RawRing {
        // SAFETY: mapped as long as `shared` is there, and to be shared.
        unsafe { self.head.as_ref() }
    }

    /// A power of two.
    pub(super) fn lines(&self) -> u64 {
        self.lines as u64
    }

    /// The longest message, in bytes.
    pub(super) fn longest(&self) -> usize {
        longest(self.lines())
    }

    /// The headers' words.
    #[inline(always)]
    pub(super) fn table(&self) -> &[Line] {
        // SAFETY: there are so many items and more (`of`), mapped as long as `shared` is there, and to be shared.
        unsafe { std::slice::from_raw_parts(self.items.as_ptr(), self.lines / 8) }
    }

    /// Where so many bytes begin among the items, from a line on: within the ring, or it is an error.
    #[inline(always)]
    fn at(&self, line: usize, len: usize) -> Result<usize> {
        if line >= self.lines || len > (self.lines - line) * LINE {
            return Err(beyond(line, len));
        }
        Ok((self.lines / 8 + line) * LINE)
    }

    /// Where they stand.
    #[inline(always)]
    fn place(&self, line: usize, len: usize) -> Result<*mut u8> {
        let at = self.at(line, len)?;
        // SAFETY: so many lines stand behind the table, or it would not be a ring (`of`).
        Ok(unsafe { self.items.cast::<u8>().add(at) }.as_ptr())
    }

    /// Writes into lines that are this sender's.
    #[inline(always)]
    pub(super) fn write(&self, line: usize, bytes: &[u8]) -> Result<()> {
        let written = self.shared.write(self.at(line, bytes.len())?, bytes);
        if written { Ok(()) } else { Err(beyond(line, bytes.len())) }
    }

    /// A line will be written soon, and the next one.
    #[inline(always)]
    pub(super) fn prefetch(&self, line: usize) {
        let at = (self.lines / 8 + (line & (self.lines - 1))) * LINE;
        self.shared.prefetch(at);
        self.shared.prefetch(at + LINE);
    }

    /// Reads lines that are this receiver's.
    #[inline(always)]
    pub(super) fn read(&self, line: usize, into: &mut [u8]) -> Result<()> {
        let read = self.shared.read(self.at(line, into.len())?, into);
        if read { Ok(()) } else { Err(beyond(line, into.len())) }
    }

    /// Reads them to the end of a vector.
    #[inline(always)]
    pub(super) fn append(&self, line: usize, len: usize, to: &mut Vec<u8>) -> Result<()> {
        let read = self.shared.append(self.at(line, len)?, len, to);
        if read { Ok(()) } else { Err(beyond(line, len)) }
    }

    /// Bytes in place, aligned to 64.
    ///
    /// # Safety
    /// They are the caller's as long as the slice lives: a sender's before they are published, a receiver's before they are given back; and the
    /// process on the other side keeps to that.
    #[inline(always)]
    pub(super) unsafe fn slice(&self, line: usize, len: usize) -> Result<&[u8]> {
        let place = self.place(line, len)?;
        // SAFETY: mapped and long enough, as long as `self` is; nobody writes there (this function's contract).
        Ok(unsafe { std::slice::from_raw_parts(place, len) })
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// As [`slice`](Memory::slice), and nobody else has a slice of them.
    #[allow(clippy::mut_from_ref, reason = "it is shared memory; who calls it answers for there being one")]
    #[inline(always)]
    pub(super) unsafe fn slice_mut(&self, line: usize, len: usize) -> Result<&mut [u8]> {
        let place = self.place(line, len)?;
        // SAFETY: mapped and long enough, as long as `self` is; nobody else looks there (this function's contract).
        Ok(unsafe { std::slice::from_raw_parts_mut(place, len) })
    }
}
