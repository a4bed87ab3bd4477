//! Shared memory for processes of one program, and locks that survive the death of their owner.
//!
//! ```
//! use ipc_core::spawn;
//! use ipc_shm::{Array, LockError, Value};
//!
//! fn set(num: Value<f64>, arr: Array<i32>) -> ipc_shm::Result<()> {
//!     *num.lock()? = 1024.0;
//!     for x in arr.lock()?.iter_mut() {
//!         *x = -*x;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let num = Value::new(0.0_f64)?;
//!     let arr = Array::from_iter([0_i32, 1, 2, 3, 4])?;
//!     spawn(set, (num.clone(), arr.clone()))?.join()??;
//!     assert_eq!((num.get()?, arr.to_vec()?), (1024.0, vec![0, -1, -2, -3, -4]));
//!
//!     match num.lock() {
//!         Ok(mut num) => *num += 1.0,
//!         Err(LockError::OwnerDied(died)) => *died.recover() = 0.0,    // died.pid() says who
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | [`Value`], [`Array`] | plain data behind a lock: its own, or one that is given |
//! | [`RawValue`], [`RawArray`] | the same without a lock; with one that its owner may take again: [`Synchronized`] |
//! | [`Atomic`] | an integer or a `bool` that changes in one step, and can be waited for |
//! | [`Lock`], [`RLock`] | a lock by itself; one that its owner may take again |
//! | [`Arena`] | one segment in which many of these stand, with one descriptor |
//! | [`Segment`], [`View`], [`Frozen`] | memory by the byte: to write, to read while others write, to read when nobody writes any more |
//! | [`ShareableList`] | items of mixed types ([`Item`]) behind a lock of its own |
//! | `SharedMemory`, `SharedMemoryScope` (feature `named`) | memory that others find by a name, as long as its owner lives; a scope of such names |
//! | [`raw::RawLock`], [`raw::RawRLock`] | the two locks for memory of one's own, and the contract of both ([`raw::Robust`]) |
//! | [`raw::Shared`], [`gate`] | structures of one's own in a segment or an arena, and how to sleep until one changes |
//!
//! All are handles that travel in arguments, results and messages of `ipc-core`, and are then handles on the same. Memory has no name, so nothing is
//! left behind by who is killed: it is freed with the last process that has it. A name is had on request, and is gone with its owner, however that dies.
//!
//! # Death is an ordinary event
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | a thread or process that has a lock | the kernel, at once | one who waits is woken; the next owner gets the guard as [`LockError::OwnerDied`], with the pid |
//! | who waits for a lock, or was just woken | the kernel | the next one is woken |
//! | who was told of a death, before it repaired anything | the kernel | the next owner is told, of this death |
//! | who has changed an atomic, before it woke anybody | the kernel | one who waits for it is woken, and wakes the next |
//! | who freezes, sends or receives a segment | nobody need | its memory is its others', or freed |
//! | who owns a name (feature `named`) | a small process of the family's, and whoever looks | the name goes, whoever has the memory keeps it |
//!
//! A lock belongs to the *thread* that took it, and a thread that ends with it is a dead owner. At most 2047 locks are held by a thread
//! ([`Error::TooManyLocks`]), the C library's robust mutexes among them: the kernel looks after no more. (Those are not refused by the C library; one
//! that is taken beyond the limit leaves this crate's oldest lock without the kernel's care.)
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `named` | `SharedMemory` and `SharedMemoryScope`, lists found by name. It turns `ipc-core`'s `hook` on: what removes the names of the dead is this program, executed again |
//! | `crash-points` | nothing for users: this crate's own crash tests |
//!
//! # How it works
//!
//! The word of a lock stands in the thread's robust list, which the kernel walks when the thread ends
//! ([robust futexes](https://docs.kernel.org/locking/robust-futexes.html)): glibc's own list, for a thread has but one. So locks of this crate and
//! robust pthread mutexes may be held in any order.
//!
//! # Whom it trusts
//!
//! Processes that share memory keep to the lock, but any may die at any time, and their bytes are not believed: headers, lengths and links are
//! compared with what this process knows by itself. Whoever writes over a lock can withhold it from the others for ever (a time-out still
//! holds) and keep the kernel from marking it; it cannot make them follow its pointers. The kernel does follow them, when a thread ends with a lock: in the memory of
//! that thread it sets one bit of a word that holds just that thread's number, and wakes a sleeper there.
//!
//! # Limits
//!
//! As `ipc-core`'s: Linux 5.4 or later, 64-bit, glibc; musl should work and is unverified. A process that calls exec on a thread
//! that is not its first, with a lock, leaves it taken: the kernel has changed the thread's number before it looks. Time-outs still hold.
//!
//! For tests, `IPC_SHM_WITHOUT=baton` in the environment makes the kernel look older than 6.2; see `gate.rs`.

mod arena;
mod array;
mod atomic;
mod crash;
mod error;
pub mod gate;
mod list;
mod lock;
#[cfg(feature = "named")]
pub mod named;
mod object;
mod raw_array;
mod raw_value;
mod segment;
mod shared;
mod switch;
mod synchronized;
mod sys;
mod text;
mod value;

pub use arena::Arena;
pub use array::Array;
pub use atomic::{Atomic, AtomicInteger, AtomicPrimitive};
pub use bytemuck;
pub use bytemuck::{Pod, Zeroable};
pub use error::{Error, Result};
/// The crate below, for what a program of this one needs of it: `spawn`, `Context`, `pipe`, errors.
pub use ipc_core;
pub use ipc_core::primitive::time::Until;
pub use list::guard::ListGuard;
pub use list::item::Item;
pub use list::{Items, ShareableList};
pub use lock::error::{LockError, OwnerDied, Poisoned};
pub use lock::guard::{Guard, Guarded, Locking, Released, ReleasedGuard, Relock};
pub use lock::handle::Lock;
pub use lock::recursive::{RLock, RLockGuard, RLocking, ReleasedRLock};
#[cfg(feature = "named")]
pub use named::{memory::SharedMemory, scope::SharedMemoryScope};
pub use object::{Home, Placed};
pub use raw_array::RawArray;
pub use raw_value::RawValue;
pub use segment::{FreezeError, Frozen, HugePage, Segment, View};
pub use synchronized::{Raw, Synchronized};
pub use value::Value;

/// Structures of one's own in shared memory, and locks to be placed there; what they sleep at, [the gate](crate::gate) has.
pub mod raw {
    pub use crate::lock::raw::RawLock;
    pub use crate::lock::raw_recursive::RawRLock;
    pub use crate::lock::robust::Robust;
    pub use crate::lock::word::{Refused, Taken};
    pub use crate::shared::{Layout, Shared};
}

/// What `tests/loom.rs` and `tests/crash.rs` check: no part of this crate's interface.
#[doc(hidden)]
pub mod modelled {
    pub use crate::gate;
    pub use crate::lock::{mirror, recursion, system, word};
    pub use crate::segment::users;

    /// What the fuzz target `record` reads.
    #[cfg(feature = "named")]
    pub mod record {
        pub use crate::named::bytes::{Found, found, of};
    }

    /// Where `tests/crash.rs` has processes killed.
    #[cfg(feature = "crash-points")]
    pub use crate::crash::POINTS;

    /// What another process may do at any time to memory that objects of this one stand in.
    #[cfg(feature = "crash-points")]
    pub fn scribble(segment: &crate::Segment, at: usize, bytes: &[u8]) -> crate::Result<()> {
        segment.poke(at, bytes)
    }

    /// What another process may see there.
    #[cfg(feature = "crash-points")]
    pub fn peek(segment: &crate::Segment, at: usize, into: &mut [u8]) -> crate::Result<()> {
        segment.peek(at, into)
    }
}
