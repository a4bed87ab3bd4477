//! Locks by themselves, as handles: what they protect is their users' affair.

use std::fmt;
use std::time::{Duration, Instant};

use super::guard::Locking;
use crate::object::{Placed, sealed};
use crate::sys::place::Place;
use crate::{Arena, Error, Result, Segment, Value};

/// A lock that processes share, for something that is not in it: a file, a device, several values at once.
///
/// It belongs to the thread that took it, and outlives it: if the owner dies, the next is told. Python's `Lock`, which anybody may release,
/// is a semaphore of one: `CountingSemaphore` of `ipc-sync`.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::{Lock, LockError};
///
/// fn append(lock: Lock, line: String) -> ipc_shm::Result<()> {
///     // Whoever has died with it has left nothing half done that matters here.
///     let _guard = lock.lock().or_else(LockError::recover)?;
///     // … one process at a time comes here
///     println!("{line}");
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = Lock::new()?;
/// let first = spawn(append, (lock.clone(), "one".to_string()))?;
/// let second = spawn(append, (lock, "two".to_string()))?;
/// first.join()??;
/// second.join()??;
/// # Ok(())
/// # }
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
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Lock(Value<()>);

impl Lock {
    /// A new, free lock.
    ///
    /// # Errors
    /// As [`Value::new`].
    pub fn new() -> Result<Lock> {
        Value::new(()).map(Lock)
    }

    /// A new, free lock in an arena.
    ///
    /// # Errors
    /// As [`Value::new_with`].
    pub fn new_with(arena: &Arena) -> Result<Lock> {
        Value::new_with((), arena).map(Lock)
    }

    pub(crate) fn place(&self) -> &Place<()> {
        self.0.place()
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// As [`Value::lock`].
    #[inline]
    pub fn lock(&self) -> Locking<'_, ()> {
        self.0.lock()
    }

    /// As [`lock`](Lock::lock), without waiting.
    ///
    /// # Errors
    /// As [`Value::try_lock`].
    #[inline]
    pub fn try_lock(&self) -> Locking<'_, ()> {
        self.0.try_lock()
    }

    /// As [`lock`](Lock::lock), at most for `timeout`.
    ///
    /// # Errors
    /// As [`Value::lock_timeout`].
    pub fn lock_timeout(&self, timeout: Duration) -> Locking<'_, ()> {
        self.0.lock_timeout(timeout)
    }

    /// As [`lock`](Lock::lock), at most until `deadline`.
    ///
    /// # Errors
    /// As [`Value::lock_deadline`].
    pub fn lock_deadline(&self, deadline: Instant) -> Locking<'_, ()> {
        self.0.lock_deadline(deadline)
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
}

impl TryFrom<Segment> for Lock {
    type Error = Error;

    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Lock> {
        Value::try_from(segment).map(Lock)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("owner", &self.0.owner()).finish()
    }
}

impl sealed::Sealed for Lock {
    fn free_in(&self, arena: &Arena) -> Result<()> {
        self.0.free_in(arena)
    }
}

impl Placed for Lock {}
