//! A lock that its owner may take again.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ipc_core::primitive::process::Incarnation;
use ipc_core::primitive::time::Until;
use serde::{Deserialize, Serialize};

use super::error::LockError;
use super::guard::{Guarded, Released, Relock, sealed as sealed_guard};
use super::raw::RawLock;
use super::word::{Refused, Taken};
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
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | who notices | what happens |
/// |---|---|---|
/// | who has the lock, a process or a thread of it | the kernel, at once | one who waits is woken; the next to take it, and whoever comes after, is told with the guard ([`LockError::OwnerDied`](crate::LockError::OwnerDied)), until one [recovers](crate::LockError::recover) it |
/// | who frees it, and does nothing else any more | the kernel | one who waits is woken; nobody is told, for nothing was in its hands |
/// | who waits for it, or was just woken | the kernel | the next one is woken |
/// | who was told of a death | the kernel | the next is told, of this death |
/// | the last process with a handle | the kernel | the memory is freed |
#[derive(Clone, Serialize, Deserialize)]
pub struct RLock(Value<Recursive>);

/// A type of its own, so that an [`RLock`] is not taken for a `Lock`.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Recursive {
    reserved: u64,
}

/// An [`RLock`] taken once more; it stays on its thread.
///
/// ```compile_fail,E0277
/// # use ipc_shm::RLock;
/// let lock = RLock::new().unwrap();
/// let guard = lock.lock().unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(guard));
/// });
/// ```
///
/// Nor does it outlive what it stands in:
///
/// ```compile_fail,E0505
/// # use ipc_shm::RLock;
/// let lock = RLock::new().unwrap();
/// let guard = lock.lock().unwrap();
/// drop(lock);
/// drop(guard);
/// ```
#[must_use = "the lock is given back as soon as this is dropped"]
pub struct RLockGuard<'a> {
    place: &'a Place<Recursive>,
    panicking: bool,
    /// Whose it is: a forked copy of its process has a copy of it, which gives nothing back.
    of: Incarnation,
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
    /// [`LockError::OwnerDied`] and [`LockError::Poisoned`] come with the guard; who has the lock already was told, and is not told again.
    /// [`LockError::Lost`]; [`Error::TooManyLocks`]; [`Error::TooDeep`] after 2³²−1 times.
    pub fn lock(&self) -> RLocking<'_> {
        self.take(Until::Forever)
    }

    /// As [`lock`](RLock::lock), without waiting.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if another thread has it; otherwise as [`lock`](RLock::lock).
    pub fn try_lock(&self) -> RLocking<'_> {
        self.take(Until::Now)
    }

    /// As [`lock`](RLock::lock), at most for `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] when another thread has it still; otherwise as [`lock`](RLock::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> RLocking<'_> {
        self.take(Until::after(timeout))
    }

    /// As [`lock`](RLock::lock), at most until `deadline`.
    ///
    /// # Errors
    /// As [`lock_timeout`](RLock::lock_timeout).
    pub fn lock_deadline(&self, deadline: Instant) -> RLocking<'_> {
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
        let place = self.0.place();
        if place.is_freed() { 0 } else { place.rlock().depth() }
    }

    fn take(&self, until: Until) -> RLocking<'_> {
        let place = self.0.place();
        RLockGuard::of(place, place.take_again(until).map_err(LockError::refused)?)
    }
}

/// What taking an [`RLock`] gives.
pub type RLocking<'a> = std::result::Result<RLockGuard<'a>, LockError<RLockGuard<'a>>>;

impl<'a> RLockGuard<'a> {
    /// Of a lock that was taken so.
    fn of(place: &'a Place<Recursive>, taken: Taken) -> RLocking<'a> {
        let (panicking, of) = (std::thread::panicking(), Incarnation::this());
        let guard = RLockGuard { place, panicking, of, thread: PhantomData };
        LockError::told(taken, guard)
    }
}

/// The lock of an [`RLockGuard`], given back as often as its thread had it.
pub struct ReleasedRLock<'a> {
    place: &'a Place<Recursive>,
    depth: u32,
}

impl sealed_guard::Sealed for RLockGuard<'_> {}
impl sealed_guard::Sealed for ReleasedRLock<'_> {}

impl Guarded for RLockGuard<'_> {
    fn raw(&self) -> &RawLock {
        self.place.lock()
    }

    // Which of several guards goes last is not known when one is made: the lock itself knows what was told.
    fn answer_for(&mut self) {}
}

impl<'a> Relock for RLockGuard<'a> {
    type Released = ReleasedRLock<'a>;

    fn release(self) -> ReleasedRLock<'a> {
        let place = self.place;
        let depth = place.free_all();
        // Its guard has nothing to give back any more.
        ReleasedRLock { place, depth }
    }
}

impl<'a> Released for ReleasedRLock<'a> {
    type Guard = RLockGuard<'a>;

    fn relock(self) -> RLocking<'a> {
        let ReleasedRLock { place, depth } = self;
        let taken = place.take_again(Until::Forever).map_err(LockError::refused)?;
        let is_restored = place.rlock().restore(depth);
        let guard = RLockGuard::of(place, taken);
        if is_restored { guard } else { Err(LockError::refused(Refused::TooDeep)) }
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        if !self.of.is_this() {
            return;
        }
        if !self.panicking && std::thread::panicking() {
            self.place.rlock().poison();
        }
        self.place.free_once();
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = self.0.place().rlock();
        f.debug_struct("RLock").field("owner", &self.0.owner()).field("depth", &lock.count()).finish()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("depth", &self.place.rlock().depth()).finish()
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
