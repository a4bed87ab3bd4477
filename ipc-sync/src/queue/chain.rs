//! The chain of a band's chunks, and where producers get one more from.
//!
//! ```text
//! reuse → … → the head's → … → the tail's → spare → …, if a producer gave up or died
//! └ read ┘    └──── what is in the queue ────┘
//! ```
//!
//! Consumers only move the head along the chain, and never write to it: a chunk that the head has left is free by that alone, and producers take it from
//! the front of the chain, append it at the end, and so go round in a few chunks that stay in the cache. Where none is free, a fresh one is reserved; where there
//! is none either, another band's spare one is taken, from behind its tail's. To take one is four stores, so it is noted first what is about to be taken (`intent`), and whoever finds a dead producer's lock finishes it.
//!
//! | who dies | the next producer finds |
//! |---|---|
//! | before the intent | nothing changed |
//! | after it | the intent, and does all of it: each step once more, or for the first time |
//! | after the chunk was appended, before anything is published in it | a spare chunk at the end, and uses it first |

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed};
use ipc_shm::gate::System;

use super::layout::{Geometry, Head};
use super::position::Position;
use crate::{Error, Result};

/// Chunks by number, chained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'a> {
    pub(crate) head: &'a Head,
    pub(crate) links: &'a [AtomicU32],
    pub(crate) geometry: Geometry,
}

/// Where a chunk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The front of this band's chain.
    Front(usize),
    /// The end of this band's chain: the first behind its tail's.
    Spare(usize),
    /// It was not in use before.
    Fresh,
}

/// What is being taken: `chunk`, for the end of `band`'s chain. `then` is what the source is at afterwards: a chunk, or a link (0: to nowhere).
#[derive(Clone, Copy, Debug)]
struct Intent {
    band: usize,
    source: Source,
    chunk: u32,
    then: u32,
}

impl Intent {
    fn word(self) -> u64 {
        let source = match self.source {
            Source::Front(band) => band as u64,
            Source::Spare(band) => 1 << 4 | band as u64,
            Source::Fresh => 15,
        };
        1 << 63 | source << 44 | (self.band as u64) << 40 | u64::from(self.chunk) << 20 | u64::from(self.then)
    }

    fn of(word: u64, geometry: Geometry) -> Option<Intent> {
        let bands = geometry.bands as usize;
        let source = match (word >> 44) as usize % 32 {
            15 => Source::Fresh,
            band if band < bands => Source::Front(band),
            spare if spare >= 16 && spare - 16 < bands => Source::Spare(spare - 16),
            _ => return None,
        };
        let chunk = |at: u32| (word >> at) as u32 % (1 << 20);
        let intent = Intent { band: (word >> 40) as usize % 16, source, chunk: chunk(20), then: chunk(0) };
        let is_one = intent.band < bands && intent.chunk < geometry.chunks && intent.then <= geometry.chunks;
        is_one.then_some(intent)
    }
}

impl Chain<'_> {
    /// The chunk after this one, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub(crate) fn after(&self, chunk: u32) -> Result<Option<u32>> {
        let link = self.links.get(chunk as usize).ok_or_else(corrupt)?.load(Relaxed);
        match link.checked_sub(1) {
            Some(next) if next >= self.geometry.chunks => Err(corrupt()),
            next => Ok(next),
        }
    }

    fn link(&self, chunk: u32, next: Option<u32>) -> Result<()> {
        let link = self.links.get(chunk as usize).ok_or_else(corrupt)?;
        link.store(next.map_or(0, |next| next + 1), Relaxed);
        Ok(())
    }

    /// One more chunk behind `last`, which is the end of the band's chain; `None`: there is none. `reserve` is asked for a fresh one's
    /// memory. In the other bands nothing is written that is not published.
    ///
    /// # Errors
    /// What `reserve` says; [`Error::Corrupt`].
    pub(crate) fn lengthen<S: System>(
        &self,
        system: &S,
        (band, last): (usize, u32),
        reserve: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Option<u32>> {
        let Some(intent) = self.find(band, reserve)? else { return Ok(None) };
        if !mutant::is("what is taken is not noted") {
            self.head.producers.0.intent.store(intent.word(), Relaxed);
        }
        system.crash_point("producer: chunk noted");
        self.take(system, intent, last)?;
        Ok(Some(intent.chunk))
    }

    /// What can be taken for the band.
    fn find(&self, band: usize, reserve: impl FnOnce(u32) -> Result<()>) -> Result<Option<Intent>> {
        let others = (0..self.geometry.bands as usize).filter(|other| *other != band);
        // The band's own chunks first: they are in the cache.
        for source in std::iter::once(band).chain(others.clone()) {
            let (tail, head) = &self.head.bands[source];
            let reuse = tail.0.reuse.load(Relaxed);
            let head = Position(head.0.at.load(Acquire)).chunk();
            if reuse != head || mutant::is("the head's own chunk is used again") {
                let then = self.after(reuse)?.ok_or_else(corrupt)?;
                return Ok(Some(Intent { band, source: Source::Front(source), chunk: reuse, then }));
            }
        }
        let fresh = self.head.producers.0.fresh.load(Relaxed);
        if fresh < self.geometry.chunks {
            reserve(fresh)?;
            return Ok(Some(Intent { band, source: Source::Fresh, chunk: fresh, then: fresh + 1 }));
        }
        for source in others {
            if mutant::is("spares stay where they are") {
                continue;
            }
            if let Some(spare) = self.after(self.tail(source).chunk())? {
                let then = self.after(spare)?.map_or(0, |next| next + 1);
                return Ok(Some(Intent { band, source: Source::Spare(source), chunk: spare, then }));
            }
        }
        Ok(None)
    }

    fn tail(&self, band: usize) -> Position {
        Position(self.head.bands[band].0.0.at.load(Relaxed))
    }

    fn take<S: System>(&self, system: &S, intent: Intent, last: u32) -> Result<()> {
        if intent.chunk == last {
            return Err(corrupt());
        }
        self.link(intent.chunk, None)?;
        system.crash_point("producer: chunk cut off");
        self.link(last, Some(intent.chunk))?;
        system.crash_point("producer: chunk appended");
        self.settle(system, intent)
    }

    /// The last steps: it is not where it came from any more.
    fn settle<S: System>(&self, system: &S, intent: Intent) -> Result<()> {
        match intent.source {
            Source::Front(band) => self.head.bands[band].0.0.reuse.store(intent.then, Relaxed),
            Source::Spare(band) => self.link(self.tail(band).chunk(), intent.then.checked_sub(1))?,
            Source::Fresh => self.head.producers.0.fresh.store(intent.then, Relaxed),
        }
        system.crash_point("producer: chunk taken");
        self.head.producers.0.intent.store(0, Relaxed);
        Ok(())
    }

    /// Finishes what a dead producer has begun.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(crate) fn repair<S: System>(&self, system: &S) -> Result<()> {
        let word = self.head.producers.0.intent.load(Relaxed);
        if word == 0 {
            return Ok(());
        }
        let intent = Intent::of(word, self.geometry).ok_or_else(corrupt)?;
        let mut last = self.tail(intent.band).chunk();
        for _ in 0..self.geometry.chunks {
            match self.after(last)? {
                Some(next) if next == intent.chunk => {
                    // Appended it is.
                    return self.settle(system, intent);
                }
                Some(next) => last = next,
                None => return self.take(system, intent, last),
            }
        }
        Err(corrupt())
    }
}

#[cold]
pub(crate) fn corrupt() -> Error {
    Error::corrupt("a queue's chain of chunks leads nowhere")
}
