//! The consumers' side of a queue's log.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use ipc_shm::gate::{self, System};

use super::super::position::{GRANULE, Position};
use super::{HUGE, Log, Memory, Record, ring, tell_place};
use crate::inner::Held;
use crate::{Error, Result};

/// The consumers' side, for the one who has its lock. What was read and not taken when it is dropped, is there still.
#[derive(Debug)]
pub struct Consumer<'l, S: System, M> {
    log: &'l Log<'l, M>,
    held: Held<'l, S>,
    /// Where it has read, and behind what; nothing as long as it has read nothing.
    band: usize,
    head: Position,
    popped: u32,
}

/// What a consumer had read at some time.
#[derive(Clone, Copy, Debug)]
pub struct Mark(Position, u32);

impl<'l, S: System, M: Memory> Consumer<'l, S, M> {
    #[inline(always)]
    pub(super) fn new(log: &'l Log<'l, M>, held: Held<'l, S>) -> Self {
        Consumer { log, held, band: 0, head: Position(0), popped: 0 }
    }

    /// Reads the next item of the highest band that has one, and then of the same: its bytes go to the end of `to`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline(always)]
    pub fn read(&mut self, to: &mut Vec<u8>) -> Result<Option<Record>> {
        if self.popped > 0 {
            return match self.has_more(self.band, self.head)? {
                true => self.read_on(to).map(Some),
                false => Ok(None),
            };
        }
        for band in self.log.bands().rev() {
            let head = Position(self.log.front(band).load(Relaxed));
            if self.has_more(band, head)? {
                (self.band, self.head) = (band, head);
                return self.read_on(to).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether there is something in the band behind a place; its tail is looked at only if there is nothing by what was seen of it before.
    #[inline(always)]
    fn has_more(&self, band: usize, head: Position) -> Result<bool> {
        // Where a lower band's is read, a higher one may have got something since it was last looked at.
        let seen = &self.log.head.bands[band].1.0.tail;
        let mut there = Position(seen.load(Relaxed)).ahead_of(head);
        if there == 0 {
            let tail = self.log.tail(band).load(Acquire);
            seen.store(tail, Relaxed);
            there = Position(tail).ahead_of(head);
            self.log.head.bands[band].1.0.found.store(there, Relaxed);
        }
        if there > self.log.geometry.items {
            seen.store(self.log.tail(band).load(Acquire), Relaxed);
            return Err(too_many());
        }
        Ok(there > 0)
    }

    #[inline(always)]
    fn read_on(&mut self, to: &mut Vec<u8>) -> Result<Record> {
        let log = self.log;
        let head = self.head;
        let from = log.cursor(head)?;
        let before = to.len();
        let [low, high, descriptors, attempt] = log.header(from)?.each_ref().map(|word| word.load(Relaxed));
        let len = usize::try_from(u64::from(high) << 32 | u64::from(low)).unwrap_or(usize::MAX);
        let record = Record { band: self.band, number: head.count(), len, descriptors, attempt };
        // Before there is room for them: links that go in a circle make much of little.
        if len > log.longest() || len > HUGE && !log.memory.has(len) {
            return Err(too_long(len));
        }
        let start = log.start(from.offset, len);
        let whole = start + len.next_multiple_of(GRANULE);
        let bytes = log.pass(from, start)?;
        if mutant::is("the head is moved before the copy") {
            let behind = log.pass(from, whole)?;
            log.front(self.band).store(head.after(behind.chunk, behind.offset).0, SeqCst);
        }
        if let Err(error) = log.pieces(bytes, len, |at, len| log.memory.append(at, len, to)) {
            to.truncate(before);
            return Err(error);
        }
        let behind = log.pass(from, whole)?;
        self.head = head.after(behind.chunk, behind.offset);
        self.popped += 1;
        Ok(record)
    }

    /// Takes all that is there; gives how many that were.
    pub fn skip(&mut self) -> usize {
        let mut skipped = 0;
        for band in self.log.bands() {
            let tail = Position(self.log.tail(band).load(Acquire));
            let there = tail.ahead_of(Position(self.log.front(band).load(Relaxed)));
            // Or what was seen before would be behind the head.
            self.log.head.bands[band].1.0.tail.store(tail.0, Relaxed);
            (self.band, self.head, self.popped) = (band, tail.open(), there);
            self.take();
            skipped += there as usize;
        }
        skipped
    }

    /// Whether the band's socket is to be cleared, of packets of attempts before the one that is given: no item that is there, or will be, asks for them.
    pub fn litter(&self, band: usize) -> Option<u32> {
        let litter = &self.log.head.bands[band].0.0.litter;
        if litter.load(Relaxed) == 0 {
            return None;
        }
        litter.store(0, SeqCst);
        let attempt = self.log.head.producers.0.attempts.load(Acquire);
        // Afterwards: what was published before that attempt is seen here.
        let tail = Position(self.log.tail(band).load(Acquire));
        let head = Position(self.log.front(band).load(Relaxed));
        (tail.ahead_of(head) == 0).then_some(attempt)
    }

    /// What was read so far.
    pub fn mark(&self) -> Mark {
        Mark(self.head, self.popped)
    }

    /// What was read since then is not.
    pub fn back_to(&mut self, Mark(head, popped): Mark) {
        (self.head, self.popped) = (head, popped);
    }

    /// From now on what was read is taken, and as many who wait for room are woken. Says whether their bell is to be rung.
    #[inline(always)]
    pub fn take(&mut self) -> bool {
        let log = self.log;
        let sleepers = log.room();
        let popped = std::mem::take(&mut self.popped);
        if popped > 0 {
            self.held.system.crash_point("consumer: about to take");
            let most = if mutant::is("nobody is woken for room") { 0 } else { popped };
            gate::update(self.held.system, &sleepers.gate, most, || {
                let order = if mutant::is("an item is taken relaxed") { Relaxed } else { AcqRel };
                (true, log.front(self.band).swap(self.head.0, order))
            });
            self.held.system.crash_point("consumer: took");
            tell_place(log.items(), self.head, popped);
        }
        ring(sleepers)
    }
}

#[cold]
fn too_many() -> Error {
    Error::corrupt("a queue has more items than it may have")
}

#[cold]
fn too_long(len: usize) -> Error {
    Error::corrupt(format!("a queue's item has {len} bytes, and there are not as many"))
}
