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
//! does not fit is [`Error::Corrupt`](crate::Error::Corrupt).

use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64, fence};
use ipc_core::primitive::time::Until;
use ipc_core::primitive::{hint, mutant};
use ipc_shm::gate::{self, Node, System};
use ipc_shm::modelled::word;
use ipc_shm::raw::Taken;

mod consumer;
mod producer;

pub use consumer::Consumer;
pub use producer::Producer;

use super::chain::{Chain, corrupt};
use super::layout::{BANDS, Geometry, Head, Sleepers};
use super::position::Position;
use crate::Result;
use crate::inner::Held;
use crate::lifeline::LOOK;
use crate::waiting::GATHER;

/// What stands before an item's bytes.
const HEADER: usize = 16;

/// Bytes of at least this length are aligned.
const LONG: usize = 1024;

/// To what.
const LINE: usize = 64;

/// After so many items one tells where it runs.
const SILENT: u32 = 16;

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

    /// The line there will be written soon.
    fn prefetch(&self, _at: usize) {}

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

    /// The producers' side, as soon as no other producer has it. (It is given before it is a [`Producer`], so that this one is made where it stays: to
    /// move it costs more than anything else here.)
    ///
    /// # Errors
    /// The lock is not free in time; [`Error::Corrupt`].
    #[inline(always)]
    pub fn producers<'l, S: System>(&'l self, system: &'l S, until: Until) -> Result<Producers<'l, S>> {
        let lock = &self.head.producers.0.lock;
        if !word::take_at_once(system, lock, || true) {
            self.lock_producers(system, until)?;
        }
        Ok(Producers(Held { system, lock }))
    }

    /// The side of one band's.
    #[inline(always)]
    pub fn producer<'l, S: System>(&'l self, held: Producers<'l, S>, band: usize) -> Producer<'l, S, M> {
        Producer::new(self, held.0, band)
    }

    #[cold]
    #[inline(never)]
    fn lock_producers<S: System>(&self, system: &S, until: Until) -> Result<()> {
        let lock = &self.head.producers.0.lock;
        if lock_in_full(system, lock, until)? == Taken::Whole {
            return Ok(());
        }
        let held = Held { system, lock };
        if !mutant::is("a dead producer's work is left") {
            self.chain().repair(system)?;
        }
        self.bands().for_each(|band| self.head.bands[band].0.0.litter.store(1, Relaxed));
        self.begin_attempt();
        word::repaired(system, lock);
        std::mem::forget(held);
        Ok(())
    }

    /// The consumers' side, as soon as no other consumer has it.
    ///
    /// # Errors
    /// The lock is not free in time.
    #[inline(always)]
    pub fn consumers<'l, S: System>(&'l self, system: &'l S, until: Until) -> Result<Consumers<'l, S>> {
        let lock = &self.head.consumers.0;
        if !word::take_at_once(system, lock, || true) && lock_in_full(system, lock, until)? != Taken::Whole {
            // The head moves in one step: nothing is ever half done.
            word::repaired(system, lock);
        }
        Ok(Consumers(Held { system, lock }))
    }

    /// What is read and taken with it.
    #[inline(always)]
    pub fn consumer<'l, S: System>(&'l self, held: Consumers<'l, S>) -> Consumer<'l, S, M> {
        Consumer::new(self, held.0)
    }

    /// Where so many bytes end that begin at a place: through the chain, which is long enough.
    #[inline(always)]
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
    #[inline(always)]
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
    #[inline(always)]
    fn header(&self, at: Cursor) -> Result<&'a [AtomicU32; 4]> {
        let chunk = self.geometry.chunk;
        let at = match at.offset {
            offset if offset == chunk => self.chain().after(at.chunk)?.ok_or_else(corrupt)? as usize * chunk,
            offset => at.chunk as usize * chunk + offset,
        };
        self.memory.header(at).ok_or_else(corrupt)
    }

    #[inline(always)]
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

    /// Whether somebody asks to look for litter.
    #[inline(always)]
    pub fn is_littered(&self) -> bool {
        self.bands().any(|band| self.is_asked_to_clear(band))
    }

    /// A producer found no room in the band's socket, and has nothing there: consumers are asked to look for litter. Says whether their bell is to be rung.
    pub fn ask_to_clear<S: System>(&self, system: &S, band: usize) -> bool {
        let litter = &self.head.bands[band].0.0.litter;
        gate::update(system, &self.items().gate, 1, || (true, litter.swap(1, AcqRel)));
        ring(self.items())
    }

    /// Whether nobody has looked for litter since then.
    #[inline(always)]
    pub fn is_asked_to_clear(&self, band: usize) -> bool {
        self.head.bands[band].0.0.litter.load(SeqCst) != 0
    }

    /// There may be room in sockets. Says whether producers' bell is to be rung.
    pub fn made_room<S: System>(&self, system: &S, most: u32) -> bool {
        gate::change(system, &self.room().gate, most, || ());
        fence(SeqCst);
        ring(self.room())
    }

    /// Before a look for items: who has caught up with a stream waits for a moment. Each look at the tail takes its line away from the producers, and for what
    /// came meanwhile one will do.
    #[inline(always)]
    pub fn let_gather(&self) {
        let front = &self.head.bands[0].1.0;
        let place = |word: &AtomicU64| Position(word.load(Relaxed)).count();
        if self.geometry.bands == 1 && front.found.load(Relaxed) > 1 && place(&front.tail) == place(&front.at)
        {
            (0..GATHER).for_each(|_| hint::spin_loop());
        }
    }

    /// Where a record's bytes begin, from its header's beginning, if that is so far into a chunk.
    #[inline(always)]
    fn start(&self, offset: usize, len: usize) -> usize {
        // At the end of a chunk it begins at the next one's beginning.
        let offset = offset & (self.geometry.chunk - 1);
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

/// Takes a side's lock that is not simply free.
///
/// # Errors
/// It is not free in time.
#[cold]
#[inline(never)]
fn lock_in_full<S: System>(system: &S, lock: &Node, until: Until) -> Result<Taken> {
    // Nobody holds it for longer than a copy takes, unless it was stopped: who looks whether there is anything waits as long as that.
    let until = match until.left() {
        Some(left) if left < LOOK => Until::after(LOOK),
        _ => until,
    };
    Ok(word::take_in_full(system, lock, until, &|| true).map_err(ipc_shm::Error::from)?)
}

/// The producers' lock, for the one who has it.
#[derive(Debug)]
pub struct Producers<'l, S: System>(Held<'l, S>);

/// The consumers' lock, for the one who has it.
#[derive(Debug)]
pub struct Consumers<'l, S: System>(Held<'l, S>);

/// From time to time, one who puts or takes tells where it runs, for those who wait for it: it does not wait itself, perhaps.
#[inline(always)]
fn tell_place(own: &Sleepers, at: Position, moved: u32) {
    if moved > 1 || at.count().is_multiple_of(SILENT) {
        own.place.tell();
    }
}

/// Whether somebody waits for a bell, which is to be rung once.
#[inline(always)]
fn ring(sleepers: &Sleepers) -> bool {
    // After a change that was a fence.
    sleepers.bell.load(Relaxed) != 0 && sleepers.bell.swap(0, AcqRel) != 0
}
