//! The consumers' side of a queue's log.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use ipc_shm::gate::{self, System};

use super::super::layout::BANDS;
use super::super::position::{GRANULE, Position};
use super::{HUGE, Held, Log, Memory, Record, ring};
use crate::{Error, Result};

/// The consumers' side, for the one who has its lock. What was read and not taken when it is dropped, is there still.
#[derive(Debug)]
pub struct Consumer<'a, S: System, M> {
    pub(super) log: Log<'a, M>,
    pub(super) system: &'a S,
    pub(super) heads: [Position; BANDS],
    pub(super) popped: [u32; BANDS],
    pub(super) _held: Held<'a, S>,
}

impl<S: System, M: Memory> Consumer<'_, S, M> {
    /// Reads the next item of the highest band that has one: its bytes go to the end of `to`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn read(&mut self, to: &mut Vec<u8>) -> Result<Option<Record>> {
        for band in self.log.bands().rev() {
            // Where a lower band's is read, a higher one may have got something since it was last looked at.
            let seen = &self.log.head.bands[band].1.0.tail;
            let mut there = Position(seen.load(Relaxed)).ahead_of(self.heads[band]);
            if there == 0 {
                let tail = self.log.tail(band).load(Acquire);
                seen.store(tail, Relaxed);
                there = Position(tail).ahead_of(self.heads[band]);
            }
            if there == 0 {
                continue;
            }
            if there > self.log.geometry.items {
                seen.store(self.log.tail(band).load(Acquire), Relaxed);
                return Err(Error::corrupt("a queue has more items than it may have"));
            }
            return self.read_in(band, to).map(Some);
        }
        Ok(None)
    }

    fn read_in(&mut self, band: usize, to: &mut Vec<u8>) -> Result<Record> {
        let log = self.log;
        let head = self.heads[band];
        let from = log.cursor(head)?;
        let before = to.len();
        let [low, high, descriptors, attempt] = log.header(from)?.each_ref().map(|word| word.load(Relaxed));
        let len = usize::try_from(u64::from(high) << 32 | u64::from(low)).unwrap_or(usize::MAX);
        let record = Record { band, number: head.count(), len, descriptors, attempt };
        if record.len > log.longest() {
            return Err(Error::corrupt(format!("a queue's item has {} bytes", record.len)));
        }
        // Before there is room for them: links that go in a circle make much of little.
        if record.len > HUGE && !log.memory.has(record.len) {
            return Err(Error::corrupt(format!(
                "a queue's item has {} bytes, and there are not as many",
                record.len
            )));
        }
        let start = log.start(from.offset, record.len);
        let bytes = log.pass(from, start)?;
        if mutant::is("the head is moved before the copy") {
            let behind = log.pass(from, start + record.len.next_multiple_of(GRANULE))?;
            log.front(band).store(head.after(behind.chunk, behind.offset).0, SeqCst);
        }
        if let Err(error) = log.pieces(bytes, len, |at, len| log.memory.append(at, len, to)) {
            to.truncate(before);
            return Err(error);
        }
        let behind = log.pass(from, start + record.len.next_multiple_of(GRANULE))?;
        self.heads[band] = head.after(behind.chunk, behind.offset);
        self.popped[band] += 1;
        Ok(record)
    }

    /// Passes over all that is there; gives how many that are.
    pub fn skip(&mut self) -> usize {
        let mut skipped = 0;
        for band in self.log.bands() {
            let tail = Position(self.log.tail(band).load(Acquire));
            let there = tail.ahead_of(self.heads[band]);
            skipped += there as usize;
            self.popped[band] += there;
            self.heads[band] = tail.open();
            // Or what was seen before would be behind the head.
            self.log.head.bands[band].1.0.tail.store(tail.0, Relaxed);
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
        (tail.ahead_of(self.heads[band]) == 0).then_some(attempt)
    }

    /// What was read so far.
    pub fn mark(&self) -> ([Position; BANDS], [u32; BANDS]) {
        (self.heads, self.popped)
    }

    /// What was read since then is not.
    pub fn back_to(&mut self, (heads, popped): ([Position; BANDS], [u32; BANDS])) {
        (self.heads, self.popped) = (heads, popped);
    }

    /// Whether nothing is left to be read.
    pub fn is_empty(&self) -> bool {
        let there = |band: usize| Position(self.log.tail(band).load(Acquire)).ahead_of(self.heads[band]);
        self.log.bands().all(|band| there(band) == 0)
    }

    /// From now on what was read is taken, and as many who wait for room are woken. Says whether their bell is to be rung.
    pub fn take(&mut self) -> bool {
        let log = self.log;
        let sleepers = log.room();
        for band in log.bands() {
            let popped = std::mem::take(&mut self.popped[band]);
            if popped == 0 {
                continue;
            }
            self.system.crash_point("consumer: about to take");
            let most = if mutant::is("nobody is woken for room") { 0 } else { popped };
            gate::update(self.system, &sleepers.gate, most, || {
                let order = if mutant::is("an item is taken relaxed") { Relaxed } else { AcqRel };
                (true, log.front(band).swap(self.heads[band].0, order))
            });
            self.system.crash_point("consumer: took");
        }
        ring(sleepers)
    }
}
