//! The producers' side of a queue's log.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ipc_shm::gate::{self, System};

use super::super::position::{GRANULE, Position};
use super::{Cursor, LINE, Log, Memory, Record, Written, ring, tell_place};
use crate::inner::Held;
use crate::{Error, Result};

/// So far behind the tail a producer asks for lines that it will write next: what was read there last belongs to a consumer's CPU, and publishing waits until it
/// has come. (Two CPUs, 64 bytes an item: half the time, and a third where the CPUs are far from each other.)
const AHEAD: usize = 256;

/// The producers' side, for the one who has its lock. What was written and not published when it is dropped, was never there.
#[derive(Debug)]
pub struct Producer<'l, S: System, M> {
    log: &'l Log<'l, M>,
    held: Held<'l, S>,
    band: usize,
    /// Behind what was written.
    tail: Position,
    written: u32,
}

impl<'l, S: System, M: Memory> Producer<'l, S, M> {
    #[inline(always)]
    pub(super) fn new(log: &'l Log<'l, M>, held: Held<'l, S>, band: usize) -> Self {
        Producer { log, held, band, tail: Position(log.tail(band).load(Relaxed)), written: 0 }
    }

    /// A number that no other sending of descriptors has, of the last 2³².
    pub fn attempt(&self) -> u32 {
        self.log.begin_attempt()
    }

    /// One place says that it is closed, so that it is closed in one step.
    #[inline(always)]
    fn is_closed(&self) -> bool {
        match self.band {
            0 => self.tail.is_closed(),
            _ => Position(self.log.tail(0).load(Relaxed)).is_closed(),
        }
    }

    /// Writes an item behind the band's tail. `send` is called when there is room, and before the item counts, with its record; if it says `false` there was
    /// no room after all.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it can never fit; no memory for a fresh chunk; what `send` says; [`Error::Corrupt`].
    #[inline(always)]
    pub fn write(
        &mut self,
        bytes: &[u8],
        (descriptors, attempt): (u32, u32),
        send: impl FnOnce(Record) -> Result<bool>,
    ) -> Result<Written> {
        let log = self.log;
        let tail = self.tail;
        if self.is_closed() {
            return Ok(Written::Closed);
        }
        if self.is_full() {
            return Ok(Written::Full);
        }
        let from = log.cursor(tail)?;
        let start = log.start(from.offset, bytes.len());
        let len = start + bytes.len().next_multiple_of(GRANULE);
        if from.offset + len > log.geometry.chunk && !self.lengthen(from, len, bytes.len())? {
            return Ok(Written::Full);
        }
        let long = bytes.len() as u64;
        let words = [long as u32, (long >> 32) as u32, descriptors, attempt];
        let header = log.header(from)?;
        for (place, word) in header.iter().zip(words) {
            place.store(word, Relaxed);
        }
        let mut rest = bytes;
        log.pieces(log.pass(from, start)?, bytes.len(), |at, len| {
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            log.memory.write(at, piece)
        })?;
        let record = Record { band: self.band, number: tail.count(), len: bytes.len(), descriptors, attempt };
        if !send(record)? {
            return Ok(Written::Full);
        }
        let behind = log.pass(from, len)?;
        let ahead = behind.chunk as usize * log.geometry.chunk + behind.offset + AHEAD;
        log.memory.prefetch(ahead);
        log.memory.prefetch(ahead + LINE);
        self.tail = tail.after(behind.chunk, behind.offset);
        self.written += 1;
        Ok(Written::Yes)
    }

    /// Makes the chain as long as it takes for so many bytes, of which so many are an item's. `false`: it cannot be now.
    ///
    /// # Errors
    /// As [`write`](Producer::write).
    #[cold]
    #[inline(never)]
    fn lengthen(&self, from: Cursor, len: usize, item: usize) -> Result<bool> {
        let log = self.log;
        if item > log.longest() {
            let what = format!("an item of {item} bytes");
            return Err(Error::invalid(what, format!("the queue has room for {} in all", log.longest())));
        }
        let mut last = from.chunk;
        let mut room = log.geometry.chunk;
        while from.offset + len > room {
            let next = match log.chain().after(last)? {
                Some(next) => Some(next),
                None => {
                    let reserve = |chunk| log.memory.reserve(chunk);
                    log.chain().lengthen(self.held.system, (self.band, last), reserve)?
                }
            };
            let Some(next) = next else { return Ok(false) };
            last = next;
            room += log.geometry.chunk;
        }
        Ok(true)
    }

    /// Whether as many items are there as there may be; the heads are looked at only if that is so by what was seen of them before.
    #[inline(always)]
    fn is_full(&self) -> bool {
        let most = u64::from(self.log.geometry.items);
        if self.count() < most {
            return false;
        }
        self.look_at_heads();
        self.count() >= most
    }

    /// How many are there, by what was seen of the heads.
    #[inline(always)]
    fn count(&self) -> u64 {
        let log = self.log;
        let seen = |band: usize| Position(log.head.bands[band].0.0.head.load(Relaxed));
        if log.geometry.bands == 1 {
            return self.tail.ahead_of(seen(0)).into();
        }
        let tail = |band| match band == self.band {
            true => self.tail,
            false => Position(log.tail(band).load(Relaxed)),
        };
        log.bands().map(|band| u64::from(tail(band).ahead_of(seen(band)))).sum()
    }

    #[cold]
    fn look_at_heads(&self) {
        for band in self.log.bands() {
            self.log.head.bands[band].0.0.head.store(self.log.front(band).load(Acquire), Relaxed);
        }
    }

    /// From now on what was written is there, and as many who sleep are woken. Says whether the bell is to be rung.
    #[inline(always)]
    pub fn publish(&mut self) -> bool {
        let log = self.log;
        let sleepers = log.items();
        let written = std::mem::take(&mut self.written);
        if written > 0 {
            self.held.system.crash_point("producer: about to publish");
            let most = if mutant::is("nobody is woken for an item") { 0 } else { written };
            gate::update(self.held.system, &sleepers.gate, most, || {
                // One step that reads and writes, as `update` wants it.
                let order = if mutant::is("an item is published relaxed") { Relaxed } else { AcqRel };
                (true, log.tail(self.band).swap(self.tail.0, order))
            });
            self.held.system.crash_point("producer: published");
            tell_place(log.room(), self.tail, written);
        }
        ring(sleepers)
    }

    /// Nobody puts anything any more; all who sleep are woken. Gives whether it was closed already. For who has the first band.
    pub fn close(&mut self) -> bool {
        let was = self.tail.is_closed();
        self.tail = self.tail.closed();
        self.held.system.crash_point("closer: about to close");
        let close = || (true, self.log.tail(0).swap(self.tail.0, AcqRel));
        let all = if mutant::is("nobody is woken at the end") { 0 } else { u32::MAX };
        gate::update(self.held.system, &self.log.items().gate, all, close);
        self.held.system.crash_point("closer: receivers told");
        gate::update(self.held.system, &self.log.room().gate, all, || {
            // It tells nobody anything, and need not stay: one who has looked before, and sleeps, is to find the state changed.
            let bit = if mutant::is("the end is no change") { 0 } else { Position(0).closed().0 };
            (true, self.log.taken().fetch_or(bit, AcqRel))
        });
        was
    }
}
