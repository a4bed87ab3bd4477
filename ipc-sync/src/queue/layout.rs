//! What stands in a queue's segment, in front of its chunks.
//!
//! | lines of 64 bytes | what | written by |
//! |---|---|---|
//! | 0 | the shape | who makes it |
//! | 1 | the producers' side: their lock, what they alone use | producers |
//! | 2 | the consumers' side: their lock | consumers |
//! | 3, 4 | where consumers sleep, where producers sleep | who sleeps, who wakes |
//! | 5, 7, … | each band's tail, and which of its chunks can be used again | producers |
//! | 6, 8, … | each band's head | consumers |
//! | then | the chain: for each chunk which one follows it | producers |
//!
//! The chunks follow on the next page boundary.

use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_shm::gate::Node;

use super::position::{LONGEST_CHUNK, Position};
use crate::waiting::Place;

/// How many bands of priority a queue can have.
pub(crate) const BANDS: usize = 8;

/// How a queue's memory is divided: the same for all who have it, and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The length of a chunk in bytes: a power of two, at most 64 KiB.
    pub chunk: usize,
    /// How many chunks there may be.
    pub chunks: u32,
    /// How many items there may be at a time.
    pub items: u32,
    /// How many bands of priority it has: 1 to 8.
    pub bands: u32,
}

impl Geometry {
    /// Of a queue that holds so many bytes.
    pub(crate) fn of(bytes: usize, items: u32, bands: u32) -> Option<Geometry> {
        let chunk = if bytes >= 8 * LONGEST_CHUNK { LONGEST_CHUNK } else { 4096 };
        // One for each band to stand in while it is empty, and one to go on to.
        let chunks = bytes.div_ceil(chunk).checked_add(bands as usize + 1)?;
        let chunks = u32::try_from(chunks).ok().filter(|chunks| *chunks < super::position::CHUNKS)?;
        Some(Geometry { chunk, chunks, items, bands })
    }
}

/// A side of its own cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Line<T>(pub(crate) T);

/// What was decided when the queue was made.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Shape {
    pub(crate) chunk: AtomicU32,
    pub(crate) chunks: AtomicU32,
    pub(crate) items: AtomicU32,
    pub(crate) bands: AtomicU32,
}

/// What producers alone use, under their lock.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Producers {
    pub(crate) lock: Node,
    /// How many chunks have been used at all.
    pub(crate) fresh: AtomicU32,
    /// How often descriptors were sent beside an item.
    pub(crate) attempts: AtomicU32,
    /// Which chunk is being taken (`chain.rs`); 0 for none.
    pub(crate) intent: AtomicU64,
}

/// Where one side sleeps.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Sleepers {
    /// What they sleep at.
    pub gate: Node,
    /// Not 0: somebody waits for the bell.
    pub(crate) bell: AtomicU32,
    /// Not 0: perhaps there is nobody left on the other side.
    pub(crate) alone: AtomicU32,
    /// Where the last of this side runs.
    pub(crate) place: Place,
}

/// A band's tail.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Tail {
    pub(crate) at: AtomicU64,
    /// Where the head was when a producer last looked: it has come further, if anything, and looking costs a cache line.
    pub(crate) head: AtomicU64,
    /// The first chunk of its chain that is not in use any more, if it is not the head's.
    pub(crate) reuse: AtomicU32,
    /// Not 0: there may be packets in the band's socket that belong to no item; who finds the band empty drops them.
    pub(crate) litter: AtomicU32,
}

/// A band's head.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Front {
    pub(crate) at: AtomicU64,
    /// Where the tail was when a consumer last looked.
    pub(crate) tail: AtomicU64,
    /// How many items it found then.
    pub(crate) found: AtomicU32,
}

/// See the module's documentation.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Head {
    pub(crate) shape: Line<Shape>,
    pub(crate) producers: Line<Producers>,
    pub(crate) consumers: Line<Node>,
    /// Consumers, until there are items.
    pub(crate) items: Line<Sleepers>,
    /// Producers, until there is room.
    pub(crate) room: Line<Sleepers>,
    pub(crate) bands: [(Line<Tail>, Line<Front>); BANDS],
}

impl Head {
    /// One that was all zero becomes that of an empty queue.
    pub fn fill(&self, geometry: Geometry) {
        use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
        let shape = &self.shape.0;
        shape.chunk.store(geometry.chunk as u32, Relaxed);
        shape.chunks.store(geometry.chunks, Relaxed);
        shape.items.store(geometry.items, Relaxed);
        shape.bands.store(geometry.bands, Relaxed);
        self.producers.0.fresh.store(geometry.bands, Relaxed);
        for (band, (tail, head)) in (0..geometry.bands).zip(&self.bands) {
            tail.0.reuse.store(band, Relaxed);
            for word in [&tail.0.at, &tail.0.head, &head.0.at, &head.0.tail] {
                word.store(Position::start(band).0, Relaxed);
            }
        }
    }

    /// Which geometry it claims to have; `None`: none that a queue can have.
    pub fn geometry(&self) -> Option<Geometry> {
        use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
        let shape = &self.shape.0;
        let geometry = Geometry {
            chunk: shape.chunk.load(Relaxed) as usize,
            chunks: shape.chunks.load(Relaxed),
            items: shape.items.load(Relaxed),
            bands: shape.bands.load(Relaxed),
        };
        let is_one = geometry.chunk.is_power_of_two()
            && (4096..=LONGEST_CHUNK).contains(&geometry.chunk)
            && (1..=BANDS as u32).contains(&geometry.bands)
            && (geometry.bands + 1..super::position::CHUNKS).contains(&geometry.chunks)
            && (1..super::position::COUNTS / 2).contains(&geometry.items);
        is_one.then_some(geometry)
    }
}
