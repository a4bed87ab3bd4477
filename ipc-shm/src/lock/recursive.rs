//! A lock that its owner may take again.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use serde::{Deserialize, Serialize};

use super::word::{Refused, Taken};
use crate::crash;
use crate::object::{Placed, sealed};
use crate::sys::place::Place;
use crate::{Arena, Error, Result, Segment, Value};

/// A lock that processes share and that its owner, a thread, may take again: it is free when each guard is dropped. Python's `RLock`.
///
/// As two guards may be there at once, none of them gives access to data.
///
/// ```
/// use ipc_shm::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// assert_eq!(lock.depth(), 2);
/// drop((outer, inner));
/// assert!(!lock.is_locked());
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct RLock(Value<Recursive>);

/// A type of its own, so that an [`RLock`] is not taken for a `Lock`.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Recursive {
    reserved: u64,
}

/// An [`RLock`] taken once more; it stays on its thread.
#[must_use = "the lock is given back as soon as this is dropped"]
pub struct RLockGuard<'a> {
    place: &'a Place<Recursive>,
    panicking: bool,
    thread: PhantomData<*const ()>,
}

impl RLock {
    /// A new, free lock.
    ///
    /// # Errors
    /// As [`Value::new`].
    pub fn new() -> Result<RLock> {
        Value::new(Recursive { reserved: 0 }).map(RLock)
    }

    /// A new, free lock in an arena.
    ///
    /// # Errors
    /// As [`Value::new_with`].
    pub fn new_with(arena: &Arena) -> Result<RLock> {
        Value::new_with(Recursive { reserved: 0 }, arena).map(RLock)
    }

    /// Takes the lock, or takes it once more; waits while another thread has it.
    ///
    /// # Errors
    /// [`Error::OwnerDied`], once: the lock is free then, and what it protects may be half changed; [`Error::Poisoned`] likewise after an owner's panic.
    /// [`Error::TooManyLocks`]; [`Error::TooDeep`] after 2³²−1 times.
    pub fn lock(&self) -> Result<RLockGuard<'_>> {
        self.take(Until::Forever)
    }

    /// As [`lock`](RLock::lock), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if another thread has it; otherwise as [`lock`](RLock::lock).
    pub fn try_lock(&self) -> Result<RLockGuard<'_>> {
        self.take(Until::Now)
    }

    /// As [`lock`](RLock::lock), at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when another thread has it still; otherwise as [`lock`](RLock::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>> {
        self.take(Until::after(timeout))
    }

    /// As [`lock`](RLock::lock), at most until `deadline`.
    ///
    /// # Errors
    /// As [`lock_timeout`](RLock::lock_timeout).
    pub fn lock_deadline(&self, deadline: Instant) -> Result<RLockGuard<'_>> {
        self.take(Until::Deadline(deadline))
    }

    /// Whether somebody has it, at this moment. Python's `locked()`.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// The process that has it, at this moment and as far as shared memory is to be believed.
    pub fn owner(&self) -> Option<u32> {
        self.0.owner()
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`]), or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.0.segment()
    }

    /// How often the calling thread has it.
    pub fn depth(&self) -> u32 {
        let lock = self.0.place().lock();
        if lock.is_mine() && !self.0.place().is_freed() { lock.depth() } else { 0 }
    }

    fn take(&self, until: Until) -> Result<RLockGuard<'_>> {
        let place = self.0.place();
        let lock = place.lock();
        // What stands there now may be another's, and this thread may have that one's lock.
        if place.is_freed() {
            return Err(Error::Freed);
        }
        if lock.is_mine() {
            let deeper = lock.depth().checked_add(1).ok_or(Error::TooDeep)?;
            lock.set_depth(deeper);
            crash::reached("recursive: taken once more");
        } else {
            let (taken, held) = place.take(until).map_err(|refused| match refused {
                Refused::Busy => Error::WouldBlock,
                Refused::TimedOut => Error::TimedOut,
                other => Error::refused(other),
            })?;
            // There is no data of ours that could be wrong: who is told of a death need not repair anything here.
            lock.repaired();
            lock.set_depth(0);
            match taken {
                Taken::Whole => {}
                Taken::OwnerDied(pid) => return Err(Error::OwnerDied { pid }),
                Taken::Panicked => return Err(Error::Poisoned),
            }
            lock.set_depth(1);
            crash::reached("recursive: taken");
            // From here on it is the guards that hold it.
            std::mem::forget(held);
        }
        Ok(RLockGuard { place, panicking: std::thread::panicking(), thread: PhantomData })
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        let lock = self.place.lock();
        // A forked copy of its owner has the guard as well, and not the lock.
        if !lock.is_mine() {
            return;
        }
        if !self.panicking && std::thread::panicking() {
            lock.poison();
        }
        let left = lock.depth().saturating_sub(1);
        // Before the word is free: the next owner counts from the beginning.
        lock.set_depth(left);
        if left == 0 {
            crash::reached("recursive: given back");
            self.place.free();
        } else {
            crash::reached("recursive: given back once");
        }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.0.place().lock();
        let depth = if lock.is_locked() { lock.depth() } else { 0 };
        f.debug_struct("RLock").field("owner", &self.0.owner()).field("depth", &depth).finish()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("depth", &self.place.lock().depth()).finish()
    }
}

impl TryFrom<Segment> for RLock {
    type Error = Error;

    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<RLock> {
        Value::try_from(segment).map(RLock)
    }
}

impl sealed::Sealed for RLock {
    fn free_in(&self, arena: &Arena) -> Result<()> {
        self.0.free_in(arena)
    }
}

impl Placed for RLock {}
