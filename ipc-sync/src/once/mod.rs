//! A value that is set once, and read by all from then on.
//!
//! `raw` is the algorithm, with what follows of each death, and what is placed in memory; here is the handle.

use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_shm::raw::Shared;
use ipc_shm::{Arena, Pod, Segment, gate};
use serde::{Deserialize, Serialize};

use crate::bare::Bare;
use crate::{Error, Result};

pub(crate) mod raw;

use raw::RawOnceLock;

/// A value that processes share, and that is set once: by the first who has one. std's `OnceLock`.
///
/// A handle: cloned and sent, it stays the same. The value is plain data ([`Pod`]: numbers, arrays of them, structures of one's own by its derive); once it is set, to read it costs one
/// load, and takes no lock.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::OnceLock;
///
/// fn work(seed: OnceLock<u64>) -> ipc_sync::Result<u64> {
///     // Whoever comes first makes it; all others get that.
///     let seed = seed.get_or_init(|| u64::from(std::process::id()))?;
///     Ok(*seed)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let seed = OnceLock::new()?;
/// let children: Vec<_> = (0..3).map(|_| spawn(work, (seed.clone(),))).collect::<Result<_, _>>()?;
/// for child in children {
///     let theirs = child.join()??;
///     assert_eq!(Some(&theirs), seed.get());
/// }
/// # Ok(())
/// # }
/// ```
///
/// A value is never taken out or changed again: others may be reading it at any time.
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | who makes the value, or writes it | it is not set: the next who waits in [`get_or_init`](OnceLock::get_or_init) or [`set`](OnceLock::set) makes it, at once |
/// | who has set it, before it woke anybody | it is set; the kernel wakes one who [waits](OnceLock::wait), and that one the next |
/// | who waits, asleep or just woken | the next is woken |
/// | who was to set it, and others only wait | they wait on: wait for the process as well, or with a time limit |
///
/// "The kernel wakes" means within microseconds; before Linux 6.2, and for futures, within 100 ms.
///
/// A forked copy of who makes the value sets nothing: its call ends in an error, and who makes it is the one that was forked.
///
/// A process that is stopped (`SIGSTOP`) while it makes the value keeps those waiting who would make one, too; not those who read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct OnceLock<T: Pod + Send + Sync> {
    raw: Shared<RawOnceLock<T>>,
}

impl<T: Pod + Send + Sync> OnceLock<T> {
    /// One that is not set, in a segment of its own: a page of memory, or as many as the value needs, and a descriptor.
    ///
    /// # Errors
    /// [`Error::Memory`], as of [`Segment::new`]; also where the kernel does not look after threads (a sandbox).
    pub fn new() -> Result<OnceLock<T>> {
        gate::current()?;
        Ok(OnceLock { raw: Shared::new(0)? })
    }

    /// One that is not set, in an arena. It is not freed by itself but goes with the arena.
    ///
    /// # Errors
    /// [`Error::Memory`], as of [`Shared::new_with`].
    pub fn new_with(arena: &Arena) -> Result<OnceLock<T>> {
        gate::current()?;
        Ok(OnceLock { raw: Shared::new_with(0, arena)? })
    }

    /// The value, if it is set by now. It waits for nobody.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.raw.get()
    }

    /// Sets it; if it was set already, it stays as it was, and the value comes back, as from std's. Where another is about to set it, this waits until that one has, or
    /// has died of it.
    ///
    /// ```
    /// let once = ipc_sync::OnceLock::new()?;
    /// assert_eq!(once.set(1)?, Ok(()));
    /// assert_eq!(once.set(2)?, Err(2));
    /// assert_eq!(once.get(), Some(&1));
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_or_init`](OnceLock::get_or_init).
    pub fn set(&self, value: T) -> Result<std::result::Result<(), T>> {
        Ok(if self.set_with(|| value)? { Ok(()) } else { Err(value) })
    }

    /// The value; if it is not set, it is set to what `make` gives first. Of all who come at once one is called, and the others wait for that; if it dies of it or panics, another is.
    ///
    /// ```
    /// let once = ipc_sync::OnceLock::new()?;
    /// assert_eq!(*once.get_or_init(|| 3.5)?, 3.5);
    /// assert_eq!(*once.get_or_init(|| unreachable!())?, 3.5);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`]: `make` has asked for what it is to make ([`ipc_shm::Error::AlreadyHeld`]), the thread has as many locks as the kernel looks after, or a
    /// sandbox keeps it from them; or `make` has come back in a forked copy of the process, which is not the one that sets it. [`Error::Corrupt`]: somebody has written over it. If it is set, there is none.
    #[inline]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<&T> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.make(make),
        }
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> T) -> Result<&T> {
        self.set_with(make)?;
        self.get().ok_or_else(|| Error::corrupt("what was set once is not set any more"))
    }

    fn set_with(&self, make: impl FnOnce() -> T) -> Result<bool> {
        match self.get() {
            Some(_) => Ok(false),
            None => self.raw.set_with(gate::current()?, make),
        }
    }

    /// Waits until it is set, by whomever, and gives the value.
    pub fn wait(&self) -> &T {
        loop {
            // Without a deadline it ends with a set only.
            if let Some(value) = self.wait_until(Until::Forever) {
                return value;
            }
        }
    }

    /// As [`wait`](OnceLock::wait), at most for `timeout`; `None`: it is not set.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.wait_until(Until::after(timeout))
    }

    /// As [`wait`](OnceLock::wait), at most until `deadline`; `None`: it is not set.
    pub fn wait_deadline(&self, deadline: Instant) -> Option<&T> {
        self.wait_until(Until::Deadline(deadline))
    }

    /// As [`wait`](OnceLock::wait), in any executor. Dropped before it is done, it leaves nothing behind.
    ///
    /// # Errors
    /// The system has no thread or no descriptor to wait with.
    pub async fn wait_async(&self) -> Result<&T> {
        self.raw.bell().wait(|| Ok(self.get())).await
    }

    fn wait_until(&self, until: Until) -> Option<&T> {
        match gate::current() {
            Ok(system) => self.raw.wait(system, until),
            Err(_) => self.raw.wait(&Bare::current(), until),
        }
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.raw.segment()
    }
}

impl<T: Pod + Send + Sync> TryFrom<Segment> for OnceLock<T> {
    type Error = Error;

    /// The one that has the segment for itself.
    ///
    /// # Errors
    /// It holds something else, a value of another type say, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<OnceLock<T>> {
        Ok(OnceLock { raw: Shared::try_from(segment)? })
    }
}

impl<T: Pod + Send + Sync + fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}
