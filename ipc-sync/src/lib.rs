//! Semaphores, conditions, events, barriers, rings and queues between processes, which notice the death of a party.
//!
//! # Death is an ordinary event
//!
//! `kill -9` may fall between any two instructions of any process. Each module's documentation says, in a table, who notices, who repairs, who is
//! woken, and within what time. Two mechanisms carry it, both of `ipc-shm`: *robust locks*, whose dead owner the kernel tells of, and *gates*
//! ([`ipc_shm::gate`]), at which a wake-up is not lost with the one it was given to, nor with the one who owed it. What belongs to a *process* and not
//! to a thread (a permit, a seat at a barrier) is entered in a ledger of processes (`ledger.rs`); whoever depends on it looks ten times a second whether
//! they live.
//!
//! A lock for many readers or one writer is not among them: each reader would need a robust word of its own, so that its death is noticed, and with it
//! a bound on their number, and a writer would wait on all of these words.

mod bare;
mod barrier;
mod condition;
mod crash;
mod error;
mod event;
mod inner;
mod latch;
mod ledger;
mod people;
pub mod queue;
mod ring;
mod select;
mod semaphore;
mod waiting;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condition::Condition;
pub use error::{Error, Result};
pub use event::{Event, Pollable};
pub use ipc_shm::gate;
pub use latch::Latch;
pub use queue::{PutError, Queue, QueueBuilder, QueueReceiver, QueueSender};
pub use ring::{Iter as RingIter, Loan, RingMessage, RingReceiver, RingSender, SendError, ring, ring_with};
pub use select::{Waitable, select, select_deadline};
pub use semaphore::{BoundedSemaphore, CountingSemaphore, MAX_PERMITS, Permit, Semaphore};

/// Primitives to be placed in shared memory by whoever has some.
pub mod raw {
    pub use crate::barrier::raw::RawBarrier;
    pub use crate::condition::raw::{Outer, RawCondition};
    pub use crate::event::raw::RawEvent;
    pub use crate::latch::RawLatch;
    pub use crate::people::{Here, People, Person};
    pub use crate::semaphore::raw_counting::RawCountingSemaphore;
    pub use crate::semaphore::raw_owned::RawSemaphore;
}

/// What `tests/loom.rs` and `tests/crash.rs` check: no part of this crate's interface.
#[doc(hidden)]
pub mod modelled {
    /// What a queue is made of.
    pub mod queue {
        pub use crate::queue::chain;
        pub use crate::queue::layout;
        pub use crate::queue::log;
        pub use crate::queue::position;
        #[cfg(feature = "crash-points")]
        pub use crate::queue::segment_of;
    }

    /// Where `tests/crash.rs` has processes killed.
    #[cfg(feature = "crash-points")]
    pub use crate::crash::POINTS;
    #[cfg(feature = "crash-points")]
    pub use crate::ring::segment as segment_of_ring;
    pub use crate::ring::track;
}
