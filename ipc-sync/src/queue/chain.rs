//! The chain of a band's chunks, and where producers get one more from.
//!
//! ```text
//! reuse → … → the head's → … → the tail's → spare, if a producer gave up or died
//! └ read ┘    └──── what is in the queue ────┘
//! ```
//!
//! Consumers only move the head along the chain, and never write to it: a chunk that the head has left is free by that alone, and producers take it from
//! the front of the chain, append it at the end, and so go round in a few chunks that stay in the cache. Where none is free, a fresh one is reserved. To take one
//! is four stores, so it is noted first what is about to be taken (`intent`), and whoever finds a dead producer's lock finishes it.
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

/// What is being taken: `chunk`, for the end of `band`'s chain, from the front of `source`'s chain, which is at `then` afterwards; or a fresh one.
#[derive(Clone, Copy, Debug)]
struct Intent {
    band: usize,
    source: Option<usize>,
    chunk: u32,
    then: u32,
}

impl Intent {
    fn word(self) -> u64 {
        let source = self.source.map_or(15, |source| source as u64);
        1 << 63 | source << 44 | (self.band as u64) << 40 | u64::from(self.chunk) << 20 | u64::from(self.then)
    }

    fn of(word: u64, geometry: Geometry) -> Option<Intent> {
        let bands = geometry.bands as usize;
        let source = match (word >> 44) as usize % 16 {
            15 => None,
            source if source < bands => Some(source),
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

    /// One more chunk behind `last`, which is the end of the band's chain; `None`: there is none. `reserve` is asked for a fresh one's memory.
    ///
    /// # Errors
    /// What `reserve` says; [`Error::Corrupt`].
    pub(crate) fn lengthen<S: System>(
        &self,
        system: &S,
        band: usize,
        last: u32,
        reserve: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Option<u32>> {
        let bands = self.geometry.bands as usize;
        let mut intent = None;
        // The band's own chunks first: they are in the cache.
        for source in std::iter::once(band).chain((0..bands).filter(|other| *other != band)) {
            let (tail, head) = &self.head.bands[source];
            let reuse = tail.0.reuse.load(Relaxed);
            if reuse != Position(head.0.at.load(Acquire)).chunk() {
                let then = self.after(reuse)?.ok_or_else(corrupt)?;
                intent = Some(Intent { band, source: Some(source), chunk: reuse, then });
                break;
            }
        }
        let intent = match intent {
            Some(intent) => intent,
            None => {
                let fresh = self.head.producers.0.fresh.load(Relaxed);
                if fresh >= self.geometry.chunks {
                    return Ok(None);
                }
                reserve(fresh)?;
                Intent { band, source: None, chunk: fresh, then: fresh + 1 }
            }
        };
        if !mutant::is("what is taken is not noted") {
            self.head.producers.0.intent.store(intent.word(), Relaxed);
        }
        system.crash_point("producer: chunk noted");
        self.take(system, intent, last)?;
        Ok(Some(intent.chunk))
    }

    fn take<S: System>(&self, system: &S, intent: Intent, last: u32) -> Result<()> {
        if intent.chunk == last {
            return Err(corrupt());
        }
        self.link(intent.chunk, None)?;
        system.crash_point("producer: chunk cut off");
        self.link(last, Some(intent.chunk))?;
        system.crash_point("producer: chunk appended");
        self.settle(system, intent);
        Ok(())
    }

    /// The last steps: it is not where it came from any more.
    fn settle<S: System>(&self, system: &S, intent: Intent) {
        match intent.source {
            Some(source) => self.head.bands[source].0.0.reuse.store(intent.then, Relaxed),
            None => self.head.producers.0.fresh.store(intent.then, Relaxed),
        }
        system.crash_point("producer: chunk taken");
        self.head.producers.0.intent.store(0, Relaxed);
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
        let mut last = Position(self.head.bands[intent.band].0.0.at.load(Relaxed)).chunk();
        for _ in 0..self.geometry.chunks {
            match self.after(last)? {
                Some(next) if next == intent.chunk => {
                    // Appended it is.
                    self.settle(system, intent);
                    return Ok(());
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
