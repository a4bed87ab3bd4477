//! Semaphores, conditions, events, barriers, rings and queues between processes, which notice the death of a party.
//!
//! # Death is an ordinary event
//!
//! `kill -9` may fall between any two instructions of any process. Each module's documentation says, in a table, who notices, who repairs, who is
//! woken, and within what time. Two mechanisms carry it, both of `ipc-shm`: *robust locks*, whose dead owner the kernel tells of, and *gates*
//! ([`ipc_shm::gate`]), at which a wake-up is not lost with the one it was given to, nor with the one who owed it. What belongs to a *process* and not
//! to a thread (a permit, a seat at a barrier) is entered in a ledger of processes (`ledger.rs`); whoever depends on it looks ten times a second whether
//! they live.

mod crash;
mod error;
pub mod queue;

mod ring;
mod waiting;

pub use error::{Error, Result};
pub use ipc_shm::gate;
pub use queue::{PutError, Queue, QueueBuilder, QueueReceiver, QueueSender};
pub use ring::{Iter as RingIter, Loan, RingMessage, RingReceiver, RingSender, SendError, ring, ring_with};

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
    pub use crate::ring::track;
}
