//! What is given out in an arena, and what is free: under the arena's lock, and so that a death leaves nothing half done.
//!
//! One word, `under way`, says what somebody with the lock is about to do. Each of its values names something that is *not to be there* in
//! the end unless the word is cleared first, so that whoever finds it does the same whatever was done of it already:
//!
//! | under way | since | who finds it | cleared |
//! |---|---|---|---|
//! | nothing | | | |
//! | data: granules from .. to | before they are marked as used | marks them as free, but for pages of entries | when an entry names them, or the page is marked as one of entries |
//! | making an entry | when it names its data | frees it, and what it names | when its generation is odd: from here on it lives |
//! | freeing an entry | before its generation is even | if it is still odd, nothing was done yet, and it lives; otherwise as above | when all is free |
//!
//! Nothing that stands here is believed: numbers are compared with the arena's [shape](super::shape) before they are used, and the worst that
//! somebody achieves who writes over it is that places are given out twice, or never.
//!
//! std's atomics and not those of the seam for loom: all this is under a lock. What a death between any two steps leaves is what
//! `tests.rs` goes through.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use ipc_core::primitive::time::Until;

use super::Ticket;
use super::shape::{
    ENTRY, GENERATION, GRANULE, NEXT_GRANULE, NEXT_PAGE, PAGE, PAGE_ENTRIES, PAGE_GRANULES, RECORD, SMALL,
    Shape, UNDER_WAY,
};
use crate::lock::word::Refused;
use crate::object::{Claim, SMALL_LEN};
use crate::sys::place::Place;
use crate::{Error, Result, Segment};

/// Where an object's data stands, and how many elements it has.
pub(crate) use crate::object::Spot;

/// The books of an arena.
pub(super) struct Ledger<'a> {
    segment: &'a Segment,
    shape: Shape,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    Nothing,
    Data { start: usize, count: usize },
    Making(u32),
    Freeing(u32),
}

/// The last generation of an entry: a dead one.
const USED_UP: u32 = u32::MAX - 1;

const BITS: u32 = 31;
const MASK: u64 = (1 << BITS) - 1;

impl UnderWay {
    fn to_word(self) -> u64 {
        match self {
            UnderWay::Nothing => 0,
            UnderWay::Data { start, count } => 1 << 62 | (start as u64) << BITS | count as u64,
            UnderWay::Making(entry) => 2 << 62 | u64::from(entry),
            UnderWay::Freeing(entry) => 3 << 62 | u64::from(entry),
        }
    }

    fn of_word(word: u64) -> UnderWay {
        match word >> 62 {
            1 => UnderWay::Data { start: (word >> BITS & MASK) as usize, count: (word & MASK) as usize },
            2 => UnderWay::Making(word as u32),
            3 => UnderWay::Freeing(word as u32),
            _ => UnderWay::Nothing,
        }
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn new(segment: &'a Segment, shape: Shape) -> Ledger<'a> {
        Ledger { segment, shape }
    }

    /// Makes an object: see [`Arena::make`](super::Arena::make).
    pub(super) fn make(
        &self,
        claim: Claim,
        len: usize,
        bytes: usize,
        contents: &[u8],
    ) -> Result<(Ticket, Spot)> {
        let entry = self.free_entry(bytes)?;
        let (data, granules) = if claim.is_small(bytes) {
            (entry as usize * ENTRY + SMALL, 0)
        } else {
            let count = bytes.div_ceil(GRANULE).max(1);
            (self.take_granules(count, bytes)? * GRANULE, count)
        };
        self.fill(data, contents, if granules == 0 { SMALL_LEN } else { granules * GRANULE })?;
        step("arena: data taken");
        let record = Record {
            kind: claim.kind as u32,
            granules: granules as u32,
            element: claim.element,
            guard: claim.guard,
            len: len as u64,
            data: data as u64,
        };
        self.set_record(entry, &record);
        self.under_way(UnderWay::Making(entry));
        step("arena: entry names its data");
        self.live(entry).fetch_or(bit(entry), Relaxed);
        step("arena: entry is used");
        let generation = self.generation(entry);
        let odd = generation.load(Relaxed) | 1;
        generation.store(odd, Release);
        step("arena: entry lives");
        self.under_way(UnderWay::Nothing);
        Ok((Ticket { entry, generation: odd }, Spot { data, len }))
    }

    /// Frees an object, for who has the lock that guards it: see [`Arena::free`](super::Arena::free).
    pub(super) fn free(&self, ticket: Ticket) -> Result<()> {
        let entry = ticket.entry;
        if !self.is_entry(entry) || self.generation(entry).load(Acquire) != ticket.generation {
            return Err(Error::Freed);
        }
        self.under_way(UnderWay::Freeing(entry));
        step("arena: about to free");
        self.generation(entry).fetch_add(1, SeqCst);
        fence(Release);
        step("arena: entry is dead");
        self.release(entry);
        self.under_way(UnderWay::Nothing);
        Ok(())
    }

    /// Finishes what somebody has begun who died, if anything.
    pub(super) fn finish(&self) {
        match UnderWay::of_word(self.segment.long(UNDER_WAY).load(Acquire)) {
            UnderWay::Nothing => {
                // Or a word that means nothing.
            }
            UnderWay::Data { start, count } => self.mark_free(start, count),
            UnderWay::Making(entry) if self.is_entry(entry) => {
                let generation = self.generation(entry);
                if generation.load(Relaxed) % 2 == 1 {
                    generation.fetch_add(1, SeqCst);
                }
                step("arena: unmade");
                self.release(entry);
            }
            UnderWay::Freeing(entry)
                if self.is_entry(entry) && self.generation(entry).load(Relaxed).is_multiple_of(2) =>
            {
                self.release(entry);
            }
            UnderWay::Making(_) | UnderWay::Freeing(_) => {}
        }
        self.under_way(UnderWay::Nothing);
    }

    /// Looks for the object of a ticket: see [`super::find`].
    pub(super) fn find(&self, ticket: Ticket, claim: Claim) -> Result<Spot> {
        let entry = ticket.entry;
        if !self.is_entry(entry) {
            return Err(Error::not_a_segment(format!("the arena has no place {entry}")));
        }
        let lives =
            || ticket.generation % 2 == 1 && self.generation(entry).load(Acquire) == ticket.generation;
        if !lives() {
            return Err(Error::Freed);
        }
        let record = self.record(entry);
        fence(Acquire);
        // It was all of one object.
        if !lives() {
            return Err(Error::Freed);
        }
        claim.check(record.kind, record.element, record.guard)?;
        let spot = claim.bytes(record.len).and_then(|bytes| {
            let spot =
                Spot { data: usize::try_from(record.data).ok()?, len: usize::try_from(record.len).ok()? };
            if claim.is_small(bytes) {
                return (spot.data == entry as usize * ENTRY + SMALL).then_some(spot);
            }
            let range = self.granules(spot.data / GRANULE, bytes.div_ceil(GRANULE).max(1))?;
            let all_used = self.next_granule(range.clone(), false).is_none();
            (spot.data.is_multiple_of(GRANULE) && all_used && self.is_data(range)).then_some(spot)
        });
        spot.ok_or_else(|| Error::not_a_segment("the arena's entry for it has been written over"))
    }

    pub(super) fn free_granules(&self) -> usize {
        let pages = self.shape.first_page()..self.shape.pages();
        pages.map(|page| self.used(first_granule(page)).load(Relaxed).count_zeros() as usize).sum()
    }

    fn live(&self, entry: u32) -> &AtomicU32 {
        self.segment.word(self.shape.live(entry as usize / PAGE_ENTRIES))
    }

    pub(super) fn objects(&self) -> usize {
        let pages = (self.shape.first_page()..self.shape.pages()).filter(|page| self.holds_entries(*page));
        pages.map(|page| self.live(first_of(page)).load(Relaxed).count_ones() as usize).sum()
    }

    fn under_way(&self, what: UnderWay) {
        self.segment.long(UNDER_WAY).store(what.to_word(), SeqCst);
    }

    /// Frees what an entry names, and the entry.
    fn release(&self, entry: u32) {
        let record = self.record(entry);
        if record.granules > 0 && record.data.is_multiple_of(GRANULE as u64) {
            self.mark_free((record.data / GRANULE as u64) as usize, record.granules as usize);
        }
        step("arena: data freed");
        // One whose generations are used up is never given out again: a handle of long ago would be good once more.
        if self.generation(entry).load(Relaxed) != USED_UP {
            self.live(entry).fetch_and(!bit(entry), Relaxed);
        }
        let next = self.segment.word(NEXT_PAGE);
        next.store(next.load(Relaxed).min(entry / PAGE_ENTRIES as u32), Relaxed);
        step("arena: entry freed");
    }

    /// An entry that nobody uses, with a lock like new. Needed for an object of so many bytes.
    fn free_entry(&self, bytes: usize) -> Result<u32> {
        let (first, pages) = (self.shape.first_page(), self.shape.pages());
        let next = self.segment.word(NEXT_PAGE);
        let from = (next.load(Relaxed) as usize).clamp(first, pages);
        for page in (from..pages).chain(first..from).filter(|page| self.holds_entries(*page)) {
            if let Some(entry) = self.free_entry_of(page)? {
                next.store(page as u32, Relaxed);
                return Ok(entry);
            }
        }
        // From the end on, so that what lies before them stays in one piece.
        let page = (first..pages).rev().find(|page| self.used(first_granule(*page)).load(Relaxed) == 0);
        let page = page.ok_or_else(|| self.full(bytes))?;
        self.mark_used(first_granule(page), PAGE_GRANULES);
        self.fill(page * PAGE, &[], PAGE)?;
        step("arena: page is empty");
        self.entries(page).fetch_or(1 << (page % 64), Relaxed);
        self.segment.word(self.shape.live(page)).store(0, Relaxed);
        step("arena: page holds entries");
        self.under_way(UnderWay::Nothing);
        next.store(page as u32, Relaxed);
        self.free_entry_of(page)?.ok_or_else(|| self.full(bytes))
    }

    fn free_entry_of(&self, page: usize) -> Result<Option<u32>> {
        let mut free = !self.live(first_of(page)).load(Relaxed);
        while free != 0 {
            let entry = first_of(page) + free.trailing_zeros();
            if self.renew_lock(entry)? {
                return Ok(Some(entry));
            }
            free &= free - 1;
        }
        Ok(None)
    }

    /// Makes the lock of an entry as new. `false`: somebody with a handle of what was freed has it at this very moment.
    fn renew_lock(&self, entry: u32) -> Result<bool> {
        let lock = self.lock(entry);
        lock.lock().forget();
        match lock.take(Until::Now) {
            Ok((_, held)) => {
                held.lock().forget();
                Ok(true)
            }
            Err(Refused::TooMany) => Err(Error::refused(Refused::TooMany)),
            Err(_) => Ok(false),
        }
    }

    /// Takes granules that lie side by side, for so many bytes; they are under way until an entry names them. The first is given.
    fn take_granules(&self, count: usize, bytes: usize) -> Result<usize> {
        let (first, end) = (self.shape.first_granule(), self.shape.granules());
        let next = self.segment.word(NEXT_GRANULE);
        let from = (next.load(Relaxed) as usize).clamp(first, end);
        let found = self.search(from..end, count);
        let found = found.or_else(|| self.search(first..end.min(from.saturating_add(count)), count));
        let start = found.ok_or_else(|| self.full(bytes))?;
        self.mark_used(start, count);
        next.store((start + count) as u32, Relaxed);
        Ok(start)
    }

    fn mark_used(&self, start: usize, count: usize) {
        self.under_way(UnderWay::Data { start, count });
        step("arena: about to take data");
        self.each_word(start..start + count, |word, mask| word.fetch_or(mask, Relaxed));
        step("arena: granules marked");
    }

    /// The first of `count` free granules in a range.
    fn search(&self, range: Range<usize>, count: usize) -> Option<usize> {
        let mut at = range.start;
        loop {
            at = self.next_granule(at..range.end, false)?;
            let end = at.checked_add(count).filter(|end| *end <= range.end)?;
            match self.next_granule(at..end, true) {
                None => return Some(at),
                Some(used) => at = used + 1,
            }
        }
    }

    /// The first granule in a range that is used, or the first that is not.
    fn next_granule(&self, range: Range<usize>, used: bool) -> Option<usize> {
        let mut at = range.start;
        while at < range.end {
            let word = self.used(at).load(Relaxed);
            let wanted = if used { word } else { !word } >> (at % 64);
            if wanted != 0 {
                return Some(at + wanted.trailing_zeros() as usize).filter(|found| *found < range.end);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    fn mark_free(&self, start: usize, count: usize) {
        let Some(range) = self.granules(start, count) else { return };
        self.each_word(range.clone(), |word, mask| word.fetch_and(!mask, Relaxed));
        let next = self.segment.word(NEXT_GRANULE);
        next.store(next.load(Relaxed).min(range.start as u32), Relaxed);
    }

    /// The granules of a range by words; those of pages of entries are left out.
    fn each_word(&self, range: Range<usize>, change: impl Fn(&AtomicU64, u64) -> u64) {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (end - at))) << (at % 64);
            if !self.holds_entries(at / PAGE_GRANULES) {
                change(self.used(at), mask);
            }
            at = end;
        }
    }

    /// These granules, if they are the arena's to give.
    fn granules(&self, start: usize, count: usize) -> Option<Range<usize>> {
        let end = start.checked_add(count)?;
        (start >= self.shape.first_granule() && end <= self.shape.granules()).then_some(start..end)
    }

    /// Whether no page of entries is among these granules: looked at by words of 64 pages, for a handle may name much.
    fn is_data(&self, granules: Range<usize>) -> bool {
        let (mut page, end) = (granules.start / PAGE_GRANULES, granules.end.div_ceil(PAGE_GRANULES));
        while page < end {
            let next = end.min((page / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (next - page))) << (page % 64);
            if self.entries(page).load(Relaxed) & mask != 0 {
                return false;
            }
            page = next;
        }
        true
    }

    fn used(&self, granule: usize) -> &AtomicU64 {
        self.segment.long(self.shape.used() + granule / 64 * 8)
    }

    fn entries(&self, page: usize) -> &AtomicU64 {
        self.segment.long(self.shape.entries(page))
    }

    fn holds_entries(&self, page: usize) -> bool {
        self.entries(page).load(Relaxed) >> (page % 64) & 1 == 1
    }

    fn is_entry(&self, entry: u32) -> bool {
        let page = entry as usize / PAGE_ENTRIES;
        (self.shape.first_page()..self.shape.pages()).contains(&page) && self.holds_entries(page)
    }

    fn generation(&self, entry: u32) -> &AtomicU32 {
        self.segment.word(entry as usize * ENTRY + GENERATION)
    }

    fn lock(&self, entry: u32) -> Place<()> {
        Place::by_itself(self.segment.clone(), entry as usize * ENTRY)
    }

    fn fill(&self, at: usize, contents: &[u8], len: usize) -> Result<()> {
        self.segment.poke(at, contents)?;
        const ZEROS: [u8; PAGE] = [0; PAGE];
        for from in (contents.len()..len).step_by(PAGE) {
            self.segment.poke(at + from, &ZEROS[..PAGE.min(len - from)])?;
        }
        Ok(())
    }

    fn full(&self, needed: usize) -> Error {
        Error::NoMemory {
            needed: needed as u64,
            available: (self.free_granules() * GRANULE) as u64,
            limit: format!("an arena of {} bytes, in pieces,", self.segment.len()),
        }
    }

    fn record(&self, entry: u32) -> Record {
        let at = entry as usize * ENTRY + RECORD;
        Record {
            kind: self.segment.word(at).load(Relaxed),
            granules: self.segment.word(at + 8).load(Relaxed),
            element: self.segment.long(at + 12).load(Relaxed),
            len: self.segment.long(at + 20).load(Relaxed),
            data: self.segment.long(at + 28).load(Relaxed),
            guard: self.segment.long(at + 36).load(Relaxed),
        }
    }

    fn set_record(&self, entry: u32, record: &Record) {
        let at = entry as usize * ENTRY + RECORD;
        self.segment.word(at).store(record.kind, Relaxed);
        self.segment.word(at + 8).store(record.granules, Relaxed);
        self.segment.long(at + 12).store(record.element, Relaxed);
        self.segment.long(at + 20).store(record.len, Relaxed);
        self.segment.long(at + 28).store(record.data, Relaxed);
        self.segment.long(at + 36).store(record.guard, Relaxed);
    }
}

/// What an entry says of its object.
struct Record {
    kind: u32,
    /// How many granules of data; 0 if it is small.
    granules: u32,
    element: u64,
    len: u64,
    data: u64,
    /// The lock that guards it; 0 for that of the entry.
    guard: u64,
}

fn first_granule(page: usize) -> usize {
    page * PAGE_GRANULES
}

fn first_of(page: usize) -> u32 {
    (page * PAGE_ENTRIES) as u32
}

fn bit(entry: u32) -> u32 {
    1 << (entry % PAGE_ENTRIES as u32)
}

/// A place where a test ends what is under way: the process, or what a unit test takes for one.
#[cfg(not(test))]
use crate::crash::reached as step;

#[cfg(test)]
use tests::step;

#[cfg(test)]
mod tests;
