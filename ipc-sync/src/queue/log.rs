//! The queue itself: for each band a log of records in a chain of chunks, a robust lock at each end.
//!
//! A record is a header of 16 bytes and the item's bytes, one after the other through as many chunks as that takes; bytes from 1 KiB on begin at a multiple of
//! 64, where copies are fast. Each end's position is one word. A producer writes records behind the tail, where nobody looks, and publishes
//! them by moving the tail; a consumer copies an item out, and takes it by moving the head.
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | a producer, before it published | the next producer, by the lock | nothing was put; what it had begun to take of the chain is finished (`chain.rs`) |
//! | a producer, after it published | the kernel | its items are there; one who sleeps is woken, and wakes the next |
//! | a consumer, before it moved the head | the next consumer, by the lock | the item is still there, for the next |
//! | a consumer, after it moved the head | | the item went with it; one who waits for room is woken by the kernel |
//! | a sleeper, just woken | the kernel | the next is woken |
//!
//! Nothing that stands in shared memory is believed: positions, links and lengths are compared with the queue's shape before they are used, and what
//! does not fit is [`Error::Corrupt`].

use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64, fence};
use ipc_core::primitive::time::Until;
use ipc_core::primitive::{MODEL, mutant};
use ipc_shm::gate::{self, Node, System};
use ipc_shm::modelled::word;
use ipc_shm::raw::Taken;

mod consumer;

pub use consumer::Consumer;

use super::chain::{Chain, corrupt};
use super::layout::{BANDS, Geometry, Head, Sleepers};
use super::position::{GRANULE, Position};
use crate::{Error, Result};

/// What stands before an item's bytes.
const HEADER: usize = 16;

/// Bytes of at least this length are aligned.
const LONG: usize = 1024;

/// To what.
const LINE: usize = 64;

/// Bytes of more than this length are looked for before they are believed.
const HUGE: usize = 1 << 20;

/// The memory of the chunks, one after the other.
pub trait Memory {
    /// The four words that begin there; `None`: beyond the end.
    fn header(&self, at: usize) -> Option<&[AtomicU32; 4]>;

    /// Copies bytes in; `false`: beyond the end.
    fn write(&self, at: usize, bytes: &[u8]) -> bool;

    /// Copies so many out, to the end of a vector; `false`: beyond the end.
    fn append(&self, at: usize, len: usize, to: &mut Vec<u8>) -> bool;

    /// Makes sure that a chunk that was not in use before has memory.
    ///
    /// # Errors
    /// There is none.
    fn reserve(&self, chunk: u32) -> Result<()>;

    /// Whether so many bytes were ever reserved.
    fn has(&self, bytes: usize) -> bool;
}

/// A queue in shared memory.
#[derive(Debug)]
pub struct Log<'a, M> {
    head: &'a Head,
    links: &'a [AtomicU32],
    geometry: Geometry,
    memory: &'a M,
}

impl<M> Clone for Log<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Log<'_, M> {}

/// An item, as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which band it stands in.
    pub band: usize,
    /// Which item of the band it is, modulo 2³¹.
    pub number: u32,
    /// How many bytes it has.
    pub len: usize,
    /// How many descriptors were sent beside it.
    pub descriptors: u32,
    /// By which they are known.
    pub attempt: u32,
}

/// What became of an item that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there, and will be published.
    Yes,
    /// There is no room.
    Full,
    /// The queue is closed.
    Closed,
}

/// A place in the chain.
#[derive(Clone, Copy)]
struct Cursor {
    chunk: u32,
    offset: usize,
}

impl<'a, M: Memory> Log<'a, M> {
    /// On a head that was [filled](Head::fill), with a link for each chunk.
    pub fn new(head: &'a Head, links: &'a [AtomicU32], geometry: Geometry, memory: &'a M) -> Log<'a, M> {
        Log { head, links, geometry, memory }
    }

    fn chain(&self) -> Chain<'a> {
        Chain { head: self.head, links: self.links, geometry: self.geometry }
    }

    fn tail(&self, band: usize) -> &'a AtomicU64 {
        &self.head.bands[band].0.0.at
    }

    fn front(&self, band: usize) -> &'a AtomicU64 {
        &self.head.bands[band].1.0.at
    }

    fn bands(&self) -> std::ops::Range<usize> {
        0..self.geometry.bands as usize
    }

    /// Where consumers sleep.
    pub fn items(&self) -> &'a Sleepers {
        &self.head.items.0
    }

    /// Where producers sleep.
    pub fn room(&self) -> &'a Sleepers {
        &self.head.room.0
    }

    /// What consumers compare before they sleep. (Where there are more bands it stands for the first; the others' sleepers look again.)
    pub fn published(&self) -> &'a AtomicU64 {
        self.tail(0)
    }

    /// What producers compare before they sleep.
    pub fn taken(&self) -> &'a AtomicU64 {
        self.front(0)
    }

    /// How many items there are at this moment.
    pub fn len(&self) -> usize {
        self.bands().map(|band| self.len_of(band) as usize).sum()
    }

    fn len_of(&self, band: usize) -> u32 {
        // The head first: it does not come before a tail that is read later.
        let head = Position(self.front(band).load(Acquire));
        Position(self.tail(band).load(Acquire)).ahead_of(head)
    }

    /// Whether there is nothing at this moment.
    pub fn is_empty(&self) -> bool {
        self.bands().all(|band| self.len_of(band) == 0)
    }

    /// Whether as many items are there as there may be. (There may be room for no more bytes before.)
    pub fn is_full(&self) -> bool {
        self.len() >= self.geometry.items as usize
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        Position(self.tail(0).load(SeqCst)).is_closed()
    }

    /// The producers' side, as soon as no other producer has it.
    ///
    /// # Errors
    /// The lock is not free in time; [`Error::Corrupt`].
    pub fn producer<S: System>(&self, system: &'a S, until: Until) -> Result<Producer<'a, S, M>> {
        let lock = &self.head.producers.0.lock;
        let taken = word::take(system, lock, until).map_err(ipc_shm::Error::from)?;
        let held = Held { system, lock };
        if taken != Taken::Whole {
            if !mutant::is("a dead producer's work is left") {
                self.chain().repair(system)?;
            }
            self.bands().for_each(|band| self.head.bands[band].0.0.litter.store(1, Relaxed));
            self.begin_attempt();
            word::repaired(system, lock);
        }
        let at = |band: usize| Position(self.tail(band).load(Relaxed));
        let tails =
            std::array::from_fn(|band| if self.bands().contains(&band) { at(band) } else { Position(0) });
        Ok(Producer { log: *self, system, tails, written: [0; BANDS], _held: held })
    }

    /// The consumers' side, as soon as no other consumer has it.
    ///
    /// # Errors
    /// The lock is not free in time.
    pub fn consumer<S: System>(&self, system: &'a S, until: Until) -> Result<Consumer<'a, S, M>> {
        let lock = &self.head.consumers.0;
        let taken = word::take(system, lock, until).map_err(ipc_shm::Error::from)?;
        let held = Held { system, lock };
        if taken != Taken::Whole {
            // The head moves in one step: nothing is ever half done.
            word::repaired(system, lock);
        }
        let at = |band: usize| Position(self.front(band).load(Relaxed));
        let heads =
            std::array::from_fn(|band| if self.bands().contains(&band) { at(band) } else { Position(0) });
        Ok(Consumer { log: *self, system, heads, popped: [0; BANDS], _held: held })
    }

    /// Where so many bytes end that begin at a place: through the chain, which is long enough.
    fn pass(&self, from: Cursor, len: usize) -> Result<Cursor> {
        let chunk = self.geometry.chunk;
        let mut at = Cursor { offset: from.offset + len, ..from };
        while at.offset > chunk {
            at.chunk = self.chain().after(at.chunk)?.ok_or_else(corrupt)?;
            at.offset -= chunk;
        }
        Ok(at)
    }

    /// Calls `each` with the pieces of a stretch: where in memory each begins, and how long it is.
    fn pieces(
        &self,
        mut at: Cursor,
        mut len: usize,
        mut each: impl FnMut(usize, usize) -> bool,
    ) -> Result<()> {
        let chunk = self.geometry.chunk;
        while len > 0 {
            if at.offset == chunk {
                at = Cursor { chunk: self.chain().after(at.chunk)?.ok_or_else(corrupt)?, offset: 0 };
            }
            let piece = len.min(chunk - at.offset);
            if !each(at.chunk as usize * chunk + at.offset, piece) {
                return Err(corrupt());
            }
            at.offset += piece;
            len -= piece;
        }
        Ok(())
    }

    /// The header of the record that begins at a place.
    fn header(&self, at: Cursor) -> Result<&'a [AtomicU32; 4]> {
        let chunk = self.geometry.chunk;
        let at = match at.offset {
            offset if offset == chunk => self.chain().after(at.chunk)?.ok_or_else(corrupt)? as usize * chunk,
            offset => at.chunk as usize * chunk + offset,
        };
        self.memory.header(at).ok_or_else(corrupt)
    }

    fn cursor(&self, position: Position) -> Result<Cursor> {
        let at = Cursor { chunk: position.chunk(), offset: position.offset() };
        if at.chunk >= self.geometry.chunks || at.offset > self.geometry.chunk {
            return Err(corrupt());
        }
        Ok(at)
    }

    /// Where the heads stand: if not where they stood, something was taken since then.
    pub fn heads(&self) -> [u64; BANDS] {
        std::array::from_fn(
            |band| if self.bands().contains(&band) { self.front(band).load(SeqCst) } else { 0 },
        )
    }

    /// Descriptors sent from now on are told from those before.
    fn begin_attempt(&self) -> u32 {
        let attempts = &self.head.producers.0.attempts;
        let attempt = attempts.load(Relaxed).wrapping_add(1);
        // Whoever sees it sees what was published before it.
        attempts.store(attempt, Release);
        attempt
    }

    /// A producer found no room in the band's socket, and has nothing there: consumers are asked to look for litter. Says whether their bell is to be rung.
    pub fn ask_to_clear<S: System>(&self, system: &S, band: usize) -> bool {
        let litter = &self.head.bands[band].0.0.litter;
        gate::update(system, &self.items().gate, 1, || (true, litter.swap(1, AcqRel)));
        ring(self.items())
    }

    /// Whether nobody has looked for litter since then.
    pub fn is_asked_to_clear(&self, band: usize) -> bool {
        self.head.bands[band].0.0.litter.load(SeqCst) != 0
    }

    /// There may be room in sockets. Says whether producers' bell is to be rung.
    pub fn made_room<S: System>(&self, system: &S, most: u32) -> bool {
        gate::change(system, &self.room().gate, most, || ());
        fence(SeqCst);
        ring(self.room())
    }

    /// Where a record's bytes begin, from its header's beginning, if that is so far into a chunk.
    fn start(&self, offset: usize, len: usize) -> usize {
        // At the end of a chunk it begins at the next one's beginning.
        let offset = offset % self.geometry.chunk;
        if len < LONG { HEADER } else { (offset + HEADER).next_multiple_of(LINE) - offset }
    }

    /// How many bytes all items can have together, and some.
    pub fn bytes(&self) -> usize {
        self.geometry.chunks as usize * self.geometry.chunk
    }

    /// How many bytes one item can have at most.
    pub fn longest(&self) -> usize {
        // One chunk each may be where the other bands stand, and one is begun.
        let chunks = (self.geometry.chunks - self.geometry.bands) as usize;
        (chunks * self.geometry.chunk).saturating_sub(LINE + HEADER)
    }
}

/// A lock that this thread has.
#[derive(Debug)]
struct Held<'a, S: System> {
    system: &'a S,
    lock: &'a Node,
}

impl<S: System> Drop for Held<'_, S> {
    fn drop(&mut self) {
        // A model's victim dies by unwinding, and does nothing any more.
        if MODEL && std::thread::panicking() {
            return;
        }
        word::free(self.system, self.lock);
    }
}

/// The producers' side, for the one who has its lock. What was written and not published when it is dropped, was never there.
#[derive(Debug)]
pub struct Producer<'a, S: System, M> {
    log: Log<'a, M>,
    system: &'a S,
    tails: [Position; BANDS],
    written: [u32; BANDS],
    _held: Held<'a, S>,
}

impl<S: System, M: Memory> Producer<'_, S, M> {
    /// A number that no other sending of descriptors has, of the last 2³².
    pub fn attempt(&self) -> u32 {
        self.log.begin_attempt()
    }

    /// Writes an item behind the band's tail. `send` is called when there is room, and before the item counts, with its record; if it says `false` there was
    /// no room after all.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it can never fit; no memory for a fresh chunk; what `send` says; [`Error::Corrupt`].
    pub fn write(
        &mut self,
        band: usize,
        bytes: &[u8],
        (descriptors, attempt): (u32, u32),
        send: impl FnOnce(Record) -> Result<bool>,
    ) -> Result<Written> {
        let log = self.log;
        let tail = self.tails[band];
        // One place says that it is closed, so that it is closed in one step.
        if self.tails[0].is_closed() {
            return Ok(Written::Closed);
        }
        if bytes.len() > log.longest() {
            let what = format!("an item of {} bytes", bytes.len());
            return Err(Error::invalid(what, format!("the queue has room for {} in all", log.longest())));
        }
        if self.is_full() {
            return Ok(Written::Full);
        }
        let from = log.cursor(tail)?;
        let start = log.start(from.offset, bytes.len());
        let end = from.offset + start + (bytes.len()).next_multiple_of(GRANULE);
        let mut last = from.chunk;
        for _ in 0..end.saturating_sub(1) / log.geometry.chunk {
            let next = match log.chain().after(last)? {
                Some(next) => Some(next),
                None => log
                    .chain()
                    .lengthen(self.system, (band, last), &self.tails, |chunk| log.memory.reserve(chunk))?,
            };
            match next {
                Some(next) => last = next,
                None => return Ok(Written::Full),
            }
        }
        let record = Record { band, number: tail.count(), len: bytes.len(), descriptors, attempt };
        let len = bytes.len() as u64;
        let words = [len as u32, (len >> 32) as u32, descriptors, attempt];
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
        if !send(record)? {
            return Ok(Written::Full);
        }
        let behind = log.pass(from, start + bytes.len().next_multiple_of(GRANULE))?;
        self.tails[band] = tail.after(behind.chunk, behind.offset);
        self.written[band] += 1;
        Ok(Written::Yes)
    }

    /// Whether as many items are there as there may be; the heads are looked at only if that is so by what was seen of them before.
    fn is_full(&self) -> bool {
        let log = self.log;
        let most = log.geometry.items;
        let seen = |band: usize| &log.head.bands[band].0.0.head;
        let there = |band: usize| self.tails[band].ahead_of(Position(seen(band).load(Relaxed)));
        let all = || log.bands().map(|band| u64::from(there(band))).sum::<u64>();
        if all() < u64::from(most) {
            return false;
        }
        for band in log.bands() {
            seen(band).store(log.front(band).load(Acquire), Relaxed);
        }
        all() >= u64::from(most)
    }

    /// From now on what was written is there, and as many who sleep are woken. Says whether the bell is to be rung.
    pub fn publish(&mut self) -> bool {
        let log = self.log;
        let sleepers = log.items();
        for band in log.bands() {
            let written = std::mem::take(&mut self.written[band]);
            if written == 0 {
                continue;
            }
            self.system.crash_point("producer: about to publish");
            let most = if mutant::is("nobody is woken for an item") { 0 } else { written };
            gate::update(self.system, &sleepers.gate, most, || {
                // One step that reads and writes, as `update` wants it.
                let order = if mutant::is("an item is published relaxed") { Relaxed } else { AcqRel };
                (true, log.tail(band).swap(self.tails[band].0, order))
            });
            self.system.crash_point("producer: published");
        }
        ring(sleepers)
    }

    /// Nobody puts anything any more; all who sleep are woken. Gives whether it was closed already.
    pub fn close(&mut self) -> bool {
        let was = self.tails[0].is_closed();
        self.tails[0] = self.tails[0].closed();
        self.system.crash_point("closer: about to close");
        let close = || (true, self.log.tail(0).swap(self.tails[0].0, AcqRel));
        let all = if mutant::is("nobody is woken at the end") { 0 } else { u32::MAX };
        gate::update(self.system, &self.log.items().gate, all, close);
        self.system.crash_point("closer: receivers told");
        gate::update(self.system, &self.log.room().gate, all, || {
            // It tells nobody anything, and need not stay: one who has looked before, and sleeps, is to find the state changed.
            let bit = if mutant::is("the end is no change") { 0 } else { Position(0).closed().0 };
            (true, self.log.taken().fetch_or(bit, AcqRel))
        });
        was
    }
}

/// Whether somebody waits for a bell, which is to be rung once.
fn ring(sleepers: &Sleepers) -> bool {
    // After a change that was a fence.
    sleepers.bell.load(Relaxed) != 0 && sleepers.bell.swap(0, AcqRel) != 0
}
