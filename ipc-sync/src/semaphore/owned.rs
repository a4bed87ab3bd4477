//! Permits that belong to processes: the handles.

use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_shm::raw::Shared;
use ipc_shm::{Arena, Segment, gate};
use serde::{Deserialize, Serialize};

use super::permit::{OwnedPermit, Permit};
use super::permits::MAX_PERMITS;
use super::raw_owned::RawSemaphore;
use crate::Result;
use crate::people::Here;

/// What both handles are, and permits refer to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Raw(Shared<RawSemaphore>);

impl Raw {
    fn new(permits: u32, bounded: bool, arena: Option<&Arena>) -> Result<Raw> {
        super::check(permits, MAX_PERMITS)?;
        let raw: Shared<RawSemaphore> = match arena {
            Some(arena) => Shared::new_with(0, arena)?,
            None => Shared::new(0)?,
        };
        raw.init(permits, bounded)?;
        Ok(Raw(raw))
    }

    #[inline]
    fn acquire(&self, permits: u32, until: Until) -> Result<Option<Permit<'_>>> {
        let acquired = self.0.acquire(gate::current()?, &Here, permits, until)?;
        Ok(acquired.then(|| Permit::new(self, permits)))
    }

    /// Without an end there is always one.
    #[inline]
    fn acquire_forever(&self, permits: u32) -> Result<Permit<'_>> {
        loop {
            if let Some(permit) = self.acquire(permits, Until::Forever)? {
                return Ok(permit);
            }
        }
    }

    #[inline]
    pub(super) fn release(&self, permits: u32) -> Result<()> {
        self.0.release(gate::current()?, &Here, permits)
    }

    /// What a dropped permit gives back: its process's own.
    #[inline]
    pub(super) fn give_back(&self, permits: u32) -> Result<()> {
        self.0.give_back(gate::current()?, &Here, permits)
    }

    fn acquire_owned(&self, permits: u32, until: Until) -> Result<Option<OwnedPermit>> {
        Ok(self.acquire(permits, until)?.map(Permit::into_owned))
    }

    fn acquire_owned_forever(&self, permits: u32) -> Result<OwnedPermit> {
        self.acquire_forever(permits).map(Permit::into_owned)
    }

    async fn acquire_owned_async(self, permits: u32) -> Result<OwnedPermit> {
        self.0.check_possible(permits)?;
        self.0.bell().wait(|| self.acquire_owned(permits, Until::Now)).await
    }

    async fn acquire_async(&self, permits: u32) -> Result<Permit<'_>> {
        self.0.check_possible(permits)?;
        self.0.bell().wait(|| self.acquire(permits, Until::Now)).await
    }
}

/// The methods of both handles.
macro_rules! semaphore {
    ($name:ident, $bounded:expr) => {
        impl $name {
            /// One with so many permits, in a segment of its own.
            ///
            /// # Errors
            /// [`Error::Invalid`](crate::Error::Invalid) for more than [`MAX_PERMITS`](crate::MAX_PERMITS); those of [`Shared::new`].
            pub fn new(permits: u32) -> Result<$name> {
                Raw::new(permits, $bounded, None).map($name)
            }

            /// As `new`, in an arena, with which it goes.
            ///
            /// # Errors
            /// As [`new`](Self::new), and those of [`Shared::new_with`].
            pub fn new_with(permits: u32, arena: &Arena) -> Result<$name> {
                Raw::new(permits, $bounded, Some(arena)).map($name)
            }

            /// Acquires a permit, and waits until there is one.
            ///
            /// # Errors
            /// [`Error::TooManyProcesses`](crate::Error::TooManyProcesses): 120 living processes have permits of it.
            /// [`Error::Invalid`](crate::Error::Invalid): this process is in another time namespace than those that used it before.
            /// [`Error::Memory`](crate::Error::Memory): a sandbox keeps this thread from what it waits with, or /proc cannot be read.
            #[inline]
            pub fn acquire(&self) -> Result<Permit<'_>> {
                self.0.acquire_forever(1)
            }

            /// Acquires so many permits together, and waits until there are as many.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire); [`Error::Invalid`](crate::Error::Invalid): of a bounded one, there are never as many. (Of one that is not bounded there
            /// may be, for anybody may [release](Self::release) more.)
            pub fn acquire_many(&self, permits: u32) -> Result<Permit<'_>> {
                self.0.acquire_forever(permits)
            }

            /// Acquires a permit if there is one. Those of dead processes are.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            #[inline]
            pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
                self.0.acquire(1, Until::Now)
            }

            /// Acquires so many permits together if there are as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn try_acquire_many(&self, permits: u32) -> Result<Option<Permit<'_>>> {
                self.0.acquire(permits, Until::Now)
            }

            /// Acquires a permit, and waits for one at most for `timeout`; `None`: there was none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>> {
                self.0.acquire(1, Until::after(timeout))
            }

            /// Acquires a permit, and waits for one at most until `deadline`; `None`: there was none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_deadline(&self, deadline: Instant) -> Result<Option<Permit<'_>>> {
                self.0.acquire(1, Until::Deadline(deadline))
            }

            /// Acquires so many permits together, and waits for them at most for `timeout`; `None`: there were not as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_timeout(
                &self,
                permits: u32,
                timeout: Duration,
            ) -> Result<Option<Permit<'_>>> {
                self.0.acquire(permits, Until::after(timeout))
            }

            /// Acquires so many permits together, and waits for them at most until `deadline`; `None`: there were not as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_deadline(
                &self,
                permits: u32,
                deadline: Instant,
            ) -> Result<Option<Permit<'_>>> {
                self.0.acquire(permits, Until::Deadline(deadline))
            }

            /// Acquires a permit, and waits until there is one, in any executor. Dropped before it is done, it has acquired none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire); the system has no thread or no descriptor to wait with.
            pub async fn acquire_async(&self) -> Result<Permit<'_>> {
                self.0.acquire_async(1).await
            }

            /// Acquires so many permits together, and waits until there are as many, in any executor. Dropped before it is done, it has acquired none.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many); the system has no thread or no descriptor to wait with.
            pub async fn acquire_many_async(&self, permits: u32) -> Result<Permit<'_>> {
                self.0.acquire_async(permits).await
            }

            /// Acquires a permit, and waits until there is one; it goes where it is wanted.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_owned(&self) -> Result<OwnedPermit> {
                self.0.acquire_owned_forever(1)
            }

            /// Acquires so many permits together, and waits until there are as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_owned(&self, permits: u32) -> Result<OwnedPermit> {
                self.0.acquire_owned_forever(permits)
            }

            /// Acquires a permit if there is one. Those of dead processes are.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn try_acquire_owned(&self) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(1, Until::Now)
            }

            /// Acquires so many permits together if there are as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn try_acquire_many_owned(&self, permits: u32) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(permits, Until::Now)
            }

            /// Acquires a permit, and waits for one at most for `timeout`; `None`: there was none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_owned_timeout(&self, timeout: Duration) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(1, Until::after(timeout))
            }

            /// Acquires a permit, and waits for one at most until `deadline`; `None`: there was none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_owned_deadline(&self, deadline: Instant) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(1, Until::Deadline(deadline))
            }

            /// Acquires so many permits together, and waits for them at most for `timeout`; `None`: there were not as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_owned_timeout(
                &self,
                permits: u32,
                timeout: Duration,
            ) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(permits, Until::after(timeout))
            }

            /// Acquires so many permits together, and waits for them at most until `deadline`; `None`: there were not as many.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_owned_deadline(
                &self,
                permits: u32,
                deadline: Instant,
            ) -> Result<Option<OwnedPermit>> {
                self.0.acquire_owned(permits, Until::Deadline(deadline))
            }

            /// Acquires a permit, and waits until there is one, in any executor. The future borrows nothing; dropped before it is done, it has acquired none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire); the system has no thread or no descriptor to wait with.
            pub fn acquire_owned_async(&self) -> impl Future<Output = Result<OwnedPermit>> + Send + use<> {
                self.0.clone().acquire_owned_async(1)
            }

            /// Acquires so many permits together, and waits until there are as many, in any executor. The future borrows nothing; dropped before it is done, it has
            /// acquired none.
            ///
            /// # Errors
            /// As [`acquire_many`](Self::acquire_many); the system has no thread or no descriptor to wait with.
            pub fn acquire_many_owned_async(
                &self,
                permits: u32,
            ) -> impl Future<Output = Result<OwnedPermit>> + Send + use<> {
                self.0.clone().acquire_owned_async(permits)
            }

            /// Gives a permit back, of which no [`Permit`] is there any more.
            ///
            /// # Errors
            /// As [`release_many`](Self::release_many).
            #[inline]
            pub fn release(&self) -> Result<()> {
                self.0.release(1)
            }

            /// Gives so many permits back, of which no [`Permit`] is there any more, and wakes as many who wait: first what this process has acquired,
            /// then what others have, from the one that has most.
            ///
            /// # Errors
            /// [`Error::TooManyPermits`](crate::Error::TooManyPermits): there would be more than there may be; nothing has changed then.
            /// [`Error::Memory`](crate::Error::Memory) as [`acquire`](Self::acquire).
            pub fn release_many(&self, permits: u32) -> Result<()> {
                self.0.release(permits)
            }

            /// How many permits there are, at this moment: Python's `get_value()`; its `locked()` is that there are none. Those of dead processes come
            /// to it when somebody acquires.
            pub fn available(&self) -> u32 {
                self.0.0.available()
            }

            /// The segment that it stands in: its own, for a process that cannot be sent a value, or that of its arena.
            pub fn segment(&self) -> &Segment {
                self.0.0.segment()
            }
        }

        impl TryFrom<Segment> for $name {
            type Error = crate::Error;

            /// The one that has the segment for itself.
            ///
            /// # Errors
            /// It holds something else, or was made by another version of this crate.
            fn try_from(segment: Segment) -> Result<$name> {
                Ok($name(Raw(Shared::try_from(segment)?)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("available", &self.available()).finish()
            }
        }
    };
}

/// A semaphore whose permits belong to the process that acquired them: its death gives them back.
///
/// A handle: cloned and sent, it stays the same semaphore. Named and used as tokio's: a [`Permit`] borrows from it, an [`OwnedPermit`] does not.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::Semaphore;
///
/// fn fetch(connections: Semaphore) -> ipc_sync::Result<()> {
///     let _permit = connections.acquire()?;
///     // … two processes at once come here
///     Ok(())
/// }
///
/// fn die(connections: Semaphore) {
///     connections.acquire().unwrap().forget();
///     std::process::abort();
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connections = Semaphore::new(2)?;
/// let children: Vec<_> = (0..3).map(|_| spawn(fetch, (connections.clone(),))).collect::<Result<_, _>>()?;
/// for child in children {
///     child.join()??;
/// }
/// spawn(die, (connections.clone(),))?.join().unwrap_err();
/// let both = connections.acquire_many(2)?;                // the dead one's, too
/// # drop(both);
/// # Ok(())
/// # }
/// ```
///
/// # Who releases
///
/// A [`Permit`] does, when it is dropped, and gives back nothing but what its process has. [`forget`](Permit::forget) leaves that to [`release`](Semaphore::release), as Python's `acquire` and `release` do it, and
/// then another process may, too: the *debt* moves, from the process that released to the one that has acquired. If the releaser has acquired nothing
/// itself, it is the process that has most; if nobody has anything, there is one permit more from then on, as in Python. For semaphores that are
/// used so throughout, to signal, there is [`CountingSemaphore`](crate::CountingSemaphore).
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | who notices | what happens |
/// |---|---|---|
/// | a process that has permits | who waits, within 100 ms; who wants one and finds none, at once | they come back |
/// | one that is acquiring or releasing | the kernel, and who comes next | its permits come back, the others' are counted anew |
/// | one that has released, before it woke anybody | the kernel, at once | one who waits is woken |
/// | who waits, or was just woken | the kernel, at once; the others, within 100 ms | the next one is woken |
/// | a thread alone, its process lives | nobody need | its permits are the process's |
/// | a program, its process executes another (`exec`) | nobody can | its permits stay the process's: release them before |
///
/// Up to 120 processes may have permits at a time. Whoever waits while other processes use the semaphore wakes ten times a second for that, and one
/// of them looks into /proc then. They must share a time namespace, by which they tell when a process started.
///
/// A process that is stopped (`SIGSTOP`) in the middle of acquiring or releasing, some dozens of instructions, keeps the others from it; their time-outs
/// hold, and `try_…` gives up after a tenth of a second. [`release`](Semaphore::release), and the drop of a [`Permit`], wait until it goes on or is killed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore(Raw);

semaphore!(Semaphore, false);

/// A [`Semaphore`] that never has more permits than at first: to release more than were acquired is an error.
///
/// ```
/// use ipc_sync::{BoundedSemaphore, Error};
///
/// let two = BoundedSemaphore::new(2)?;
/// let permit = two.acquire()?;
/// assert_eq!(two.available(), 1);
/// drop(permit);
/// assert!(matches!(two.release(), Err(Error::TooManyPermits { .. })));       // Python's ValueError
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundedSemaphore(Raw);

semaphore!(BoundedSemaphore, true);
