//! Permits that belong to nobody: the handle.

use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_shm::raw::Shared;
use ipc_shm::{Arena, Segment, gate};
use serde::{Deserialize, Serialize};

use super::check_many;
use super::permits::MAX_PERMITS;
use super::raw_counting::RawCountingSemaphore;
use crate::Result;

/// A semaphore whose permits belong to nobody: whoever releases them, and whoever dies, they are a number. It is for signals; C++ has it under this name,
/// POSIX as `sem_t`.
///
/// A handle: cloned and sent, it stays the same semaphore. Where a permit stands for something that a process *has*, take a
/// [`Semaphore`](crate::Semaphore): its permits come back when that process dies.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::CountingSemaphore;
///
/// fn produce(made: CountingSemaphore) -> ipc_sync::Result<()> {
///     for _ in 0..3 {
///         // … something is made, and put where the others find it
///         made.release()?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let made = CountingSemaphore::new(0)?;
/// let child = spawn(produce, (made.clone(),))?;
/// for _ in 0..3 {
///     made.acquire()?;
/// }
/// assert_eq!(made.available(), 0);
/// child.join()??;
/// # Ok(())
/// # }
/// ```
///
/// # A lock that anybody may release
///
/// Python's `Lock` is one of these, with one permit and never more:
///
/// ```
/// use ipc_sync::{CountingSemaphore, Error};
///
/// let lock = CountingSemaphore::with_max(1, 1)?;
/// lock.acquire()?;
/// std::thread::scope(|scope| scope.spawn(|| lock.release()).join().unwrap())?;
/// assert!(matches!(lock.release(), Err(Error::TooManyPermits { .. })));       // Python's ValueError
/// # Ok::<(), ipc_sync::Error>(())
/// ```
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | who acquired a permit, and would have released it | nothing: it is gone |
/// | who releases, before the permits are there | nothing has changed |
/// | who releases, before it woke anybody | the kernel wakes one who waits, and that one the next |
/// | who waits, asleep or just woken | the next one is woken |
///
/// "The kernel wakes" means within microseconds; before Linux 6.2, and for futures, within 100 ms.
///
/// Nobody stands in a queue: whoever comes by when there are permits takes them, and who waits for many may see others take few before.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CountingSemaphore {
    raw: Shared<RawCountingSemaphore>,
}

impl CountingSemaphore {
    /// One with so many permits, in a segment of its own; there may be up to [`MAX_PERMITS`].
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for more than [`MAX_PERMITS`]; those of [`Shared::new`].
    pub fn new(permits: u32) -> Result<CountingSemaphore> {
        CountingSemaphore::with_max(permits, MAX_PERMITS)
    }

    /// One with so many permits, of which there are never more than `most`.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid): there are more permits than that, or `most` is 0 or over [`MAX_PERMITS`]; those of [`Shared::new`].
    pub fn with_max(permits: u32, most: u32) -> Result<CountingSemaphore> {
        super::check(permits, most)?;
        CountingSemaphore::of(Shared::new(0)?, permits, most)
    }

    /// As [`with_max`](CountingSemaphore::with_max), in an arena, with which it goes.
    ///
    /// # Errors
    /// As there, and those of [`Shared::new_with`].
    pub fn new_with(permits: u32, most: u32, arena: &Arena) -> Result<CountingSemaphore> {
        super::check(permits, most)?;
        CountingSemaphore::of(Shared::new_with(0, arena)?, permits, most)
    }

    fn of(raw: Shared<RawCountingSemaphore>, permits: u32, most: u32) -> Result<CountingSemaphore> {
        raw.init(permits, most)?;
        Ok(CountingSemaphore { raw })
    }

    /// Takes a permit, and waits until there is one.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory): a sandbox keeps this thread from what it waits with.
    #[inline]
    pub fn acquire(&self) -> Result<()> {
        self.take(1, Until::Forever).map(drop)
    }

    /// Takes so many permits together, and waits until there are as many; 0 are there always.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid): there are never as many; otherwise as [`acquire`](CountingSemaphore::acquire).
    pub fn acquire_many(&self, permits: u32) -> Result<()> {
        self.take(permits, Until::Forever).map(drop)
    }

    /// Takes a permit if there is one; whether it did.
    ///
    /// # Errors
    /// As [`acquire`](CountingSemaphore::acquire).
    #[inline]
    pub fn try_acquire(&self) -> Result<bool> {
        self.take(1, Until::Now)
    }

    /// Takes so many permits together if there are as many; whether it did.
    ///
    /// # Errors
    /// As [`acquire_many`](CountingSemaphore::acquire_many).
    pub fn try_acquire_many(&self, permits: u32) -> Result<bool> {
        self.take(permits, Until::Now)
    }

    /// Takes a permit, and waits for one at most for `timeout`; whether it did.
    ///
    /// # Errors
    /// As [`acquire`](CountingSemaphore::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool> {
        self.take(1, Until::after(timeout))
    }

    /// Takes a permit, and waits for one at most until `deadline`; whether it did.
    ///
    /// # Errors
    /// As [`acquire`](CountingSemaphore::acquire).
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<bool> {
        self.take(1, Until::Deadline(deadline))
    }

    /// Takes so many permits together, and waits for them at most for `timeout`; whether it did.
    ///
    /// # Errors
    /// As [`acquire_many`](CountingSemaphore::acquire_many).
    pub fn acquire_many_timeout(&self, permits: u32, timeout: Duration) -> Result<bool> {
        self.take(permits, Until::after(timeout))
    }

    /// Takes so many permits together, and waits for them at most until `deadline`; whether it did.
    ///
    /// # Errors
    /// As [`acquire_many`](CountingSemaphore::acquire_many).
    pub fn acquire_many_deadline(&self, permits: u32, deadline: Instant) -> Result<bool> {
        self.take(permits, Until::Deadline(deadline))
    }

    /// Takes a permit, and waits until there is one, in any executor. Dropped before it is done, it has taken none.
    ///
    /// # Errors
    /// The system has no thread or no descriptor to wait with.
    pub async fn acquire_async(&self) -> Result<()> {
        self.acquire_many_async(1).await
    }

    /// Takes so many permits together, and waits until there are as many, in any executor. Dropped before it is done, it has taken none.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid): there are never as many; otherwise as [`acquire_async`](CountingSemaphore::acquire_async).
    pub async fn acquire_many_async(&self, permits: u32) -> Result<()> {
        check_many(permits, self.raw.most())?;
        self.raw.bell().wait(|| Ok(self.raw.take(permits).then_some(()))).await
    }

    #[inline(always)]
    fn take(&self, permits: u32, until: Until) -> Result<bool> {
        if self.raw.take(permits) {
            return Ok(true);
        }
        self.wait(permits, until)
    }

    #[cold]
    fn wait(&self, permits: u32, until: Until) -> Result<bool> {
        check_many(permits, self.raw.most())?;
        Ok(self.raw.wait(gate::current()?, permits, until))
    }

    /// Puts a permit there, and wakes one who waits. Not in a signal handler.
    ///
    /// # Errors
    /// [`Error::TooManyPermits`](crate::Error::TooManyPermits): there are as many as there may be; otherwise as [`acquire`](CountingSemaphore::acquire).
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.release_many(1)
    }

    /// Puts so many permits there, and wakes as many who wait.
    ///
    /// # Errors
    /// As [`release`](CountingSemaphore::release); none are put there then.
    #[inline]
    pub fn release_many(&self, permits: u32) -> Result<()> {
        self.raw.release(gate::current()?, permits)
    }

    /// How many permits there are, at this moment. Python's `get_value()`; its `locked()` is that there are none.
    pub fn available(&self) -> u32 {
        self.raw.available()
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.raw.segment()
    }
}

impl TryFrom<Segment> for CountingSemaphore {
    type Error = crate::Error;

    /// The one that has the segment for itself.
    ///
    /// # Errors
    /// It holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<CountingSemaphore> {
        Ok(CountingSemaphore { raw: Shared::try_from(segment)? })
    }
}

impl fmt::Debug for CountingSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingSemaphore").field("available", &self.available()).finish()
    }
}
