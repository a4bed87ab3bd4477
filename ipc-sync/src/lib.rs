//! Semaphores, conditions, events, barriers, rings and queues between processes, which notice the death of a party.
//!
//! ```
//! use ipc_core::spawn;
//! use ipc_sync::{Event, Queue, QueueReceiver, QueueSender};
//!
//! fn square(numbers: QueueReceiver<u64>, squares: QueueSender<u64>, ready: Event) -> ipc_sync::Result<()> {
//!     ready.set();
//!     for number in numbers {
//!         let number = number?;
//!         squares.put(number * number)?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (numbers, taken) = Queue::bounded(100)?.split();
//!     let (put, squares) = Queue::bounded(100)?.split();
//!     let ready = Event::new()?;
//!     let child = spawn(square, (taken, put, ready.clone()))?;
//!     ready.wait();
//!     for number in 1..=10 {
//!         numbers.put(number)?;
//!     }
//!     drop(numbers);                                          // the last sender: the child's loop ends
//!     let mut sum = 0;
//!     for square in squares {                                 // and so does this one, when the child is gone
//!         sum += square?;
//!     }
//!     child.join()??;
//!     assert_eq!(sum, 385);
//!     Ok(())
//! }
//! ```
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | [`Queue`], [`QueueSender`], [`QueueReceiver`] | many put, many get: values of any size, with descriptors inside; bounded or not, with bands of priority, joined if wanted ([`QueueBuilder`]). What could not be put comes back ([`PutError`]) |
//! | [`ring()`], [`ring_with`]: [`RingSender`], [`RingReceiver`] | one sends, one receives: the fastest way. Values ([`RingIter`]), or bytes where they stand ([`Loan`], [`RingMessage`]). What could not be sent comes back ([`SendError`]) |
//! | [`Event`], [`Pollable`] | a flag that is set, cleared and waited for, in a signal handler too; the same as a descriptor |
//! | [`Semaphore`], [`BoundedSemaphore`], [`Permit`], [`OwnedPermit`] | so many at once; a permit is its process's, and comes back when that dies |
//! | [`CountingSemaphore`] | signals that are counted, and nobody's; up to [`MAX_PERMITS`] |
//! | [`Condition`] | waiting with a lock of `ipc-shm` given back meanwhile, in the shape of std's `Condvar` |
//! | [`Barrier`], [`BarrierWaitResult`] | all wait until the last has come, asleep or in an executor |
//! | [`Latch`] | a count that goes down once |
//! | [`OnceLock`] | a value that is set once, and then read without a lock; who was to make it and dies leaves that to the next |
//! | [`select()`], [`select_deadline`], [`Waitable`] | waiting for many queues, rings and events at once, and for connections and children |
//! | [`Error`], [`Result`] | what can go wrong |
//! | [`raw`], [`gate`] | the primitives for memory of one's own; how to sleep until something changes |
//!
//! All but permits, loans and the like are handles that travel in arguments, results and messages of `ipc-core`, and inside each other's items, and are then handles on the same;
//! an end of a ring moves instead. Programs that were built apart share them, too (`examples/share_server.rs`).
//!
//! Whatever waits for other processes' work does so in four ways: `wait`, `try_…` where that makes sense, `wait_timeout` and `wait_deadline`, by the monotonic clock; and where the method has a twin
//! that ends in `_async`, as a future in any runtime. What waits for a moment in another's call alone has one: `close`, `discard`, `release`, `notify_one` and their like; and so have [`OnceLock::set`] and
//! [`get_or_init`](OnceLock::get_or_init), which wait for whoever is making the value: [`OnceLock::wait_timeout`] waits without making it. What takes many items as bytes (`put_many_bytes`,
//! `get_many_into`) waits plainly or with a time-out.
//!
//! # When a process dies
//!
//! `kill -9` may fall between any two instructions of any process.
//!
//! | who dies | who notices | what happens |
//! |---|---|---|
//! | who puts into a queue, or sends into a ring | the next, or the other side | the item is there or not, whole; what was put before stays |
//! | the last on one side of a queue or ring | the other side, within 100 ms | [`Error::Disconnected`], or one of which [`is_disconnected`](Error::is_disconnected) says so; when all is taken, or with the value |
//! | who has taken items of a queue that is joined, and is not done | who joins, within 100 ms | [`Error::Abandoned`], with their number |
//! | who has set an event, before it woke anybody | the kernel, at once | those who wait are woken |
//! | who has permits of a semaphore | who waits, within 100 ms | they come back; of a counting one they are nobody's |
//! | who waits for a condition, notified or not | the kernel, at once | the notification goes to another who waited |
//! | who has come to a barrier | those who wait, within 100 ms | it breaks: [`Error::BrokenBarrier`] |
//! | who was to count a latch down | nobody | the step is missing; whoever started it knows |
//! | who makes the value of a `OnceLock` | the kernel, at once | it is not set; the next makes it |
//! | who waits anywhere, or was just woken | the kernel, at once | the next is woken |
//!
//! A forked child (`Context::fork`, `Builder::fork`) has the ends of queues and rings that it was given, and keeps no others open.
//!
//! Each type's documentation has the whole of its table. Two mechanisms carry it, both of `ipc-shm`: *robust locks*, whose dead owner the kernel tells of, and *gates*
//! ([`ipc_shm::gate`]), at which a wake-up is not lost with the one it was given to, nor with the one who owed it. What belongs to a *process* and not
//! to a thread (a permit, a seat at a barrier) is entered in a ledger of processes (`ledger.rs`); whoever depends on it looks ten times a second whether
//! they live.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `tokio` | futures are woken by the tokio runtime that polls them, where its I/O driver is on, instead of a helper thread |
//! | `crash-points` | nothing for users: this crate's own crash tests |
//!
//! # Limits
//!
//! As `ipc-shm`'s: Linux 5.4 or later, 64-bit, glibc. Before Linux 6.2 the kernel does not give a dead one's wake-up to the next, and sleepers look again by themselves.
//! 120 processes at a time may have permits of a semaphore, wait at a barrier, or have items of a queue that is joined ([`Error::TooManyProcesses`]); they must share a pid and a time namespace.
//!
//! A lock for many readers or one writer is not among them: each reader would need a robust word of its own, so that its death is noticed, and with it
//! a bound on their number, and a writer would wait on all of these words.

mod bare;
mod barrier;
mod bell;
mod condition;
mod crash;
mod error;
mod event;
mod futures;
mod inner;
mod latch;
mod ledger;
mod lifeline;
mod once;
mod people;
pub mod queue;
mod ring;
mod select;
mod semaphore;
mod waiting;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condition::Condition;
pub use error::{Error, PutError, Result, SendError};
pub use event::{Event, Pollable};
pub use ipc_shm::gate;
/// The crates below, for what a program of this one needs of them: `spawn`, `Context`, locks, arenas.
pub use ipc_shm::{self, ipc_core};
pub use latch::Latch;
pub use once::OnceLock;
pub use queue::{Queue, QueueBuilder, QueueReceiver, QueueSender};
pub use ring::{Iter as RingIter, Loan, RingMessage, RingReceiver, RingSender, ring, ring_with};
pub use select::{Waitable, select, select_deadline};
pub use semaphore::{BoundedSemaphore, CountingSemaphore, MAX_PERMITS, OwnedPermit, Permit, Semaphore};

/// Primitives to be placed in shared memory by whoever has some.
pub mod raw {
    pub use crate::barrier::raw::RawBarrier;
    pub use crate::condition::raw::{Outer, RawCondition};
    pub use crate::event::raw::RawEvent;
    pub use crate::latch::RawLatch;
    pub use crate::once::raw::RawOnceLock;
    pub use crate::people::{Here, People, Person};
    pub use crate::semaphore::raw_counting::RawCountingSemaphore;
    pub use crate::semaphore::raw_owned::RawSemaphore;
}

/// The README's code runs as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
