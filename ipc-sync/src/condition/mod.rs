//! Conditions: waiting, with a lock given back meanwhile, until another says that something has changed.
//!
//! The shape is that of std's `Condvar`: `wait` takes a guard and gives one back. Each guard of `ipc-shm` will do: of a [`Lock`](ipc_shm::Lock), of a
//! [`Value`](ipc_shm::Value) or an [`Array`](ipc_shm::Array), with the data in it, and of an [`RLock`](ipc_shm::RLock), however often its thread has it. CPython's has its waiters acknowledge
//! that they are awake before `notify` returns, so that one who was killed blocks it for ever; here a notification is a number in shared memory, good for whoever waited when it was
//! given, until one of them has taken it (`raw.rs`).
//!
//! `raw` is the algorithm; `awaiting` the futures.

use std::fmt;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

use ipc_shm::gate;
use ipc_shm::raw::{Layout, Shared};
use ipc_shm::{Arena, LockError, Released, Relock, Segment, Until};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

mod awaiting;
pub(crate) mod raw;

use raw::{Outer, RawCondition};

/// A condition that processes share: one waits until another notifies. Python's `Condition`, in the shape of std's `Condvar`.
///
/// A handle: cloned and sent, it stays the same condition. All who wait for it at a time use the same lock.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::Value;
/// use ipc_sync::Condition;
///
/// fn serve(stock: Value<u32>, changed: Condition) -> ipc_sync::Result<()> {
///     for _ in 0..3 {
///         *stock.lock()? += 1;
///         changed.notify_one()?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (stock, changed) = (Value::new(0)?, Condition::new()?);
/// let child = spawn(serve, (stock.clone(), changed.clone()))?;
/// let mut guard = changed.wait_while(stock.lock()?, |stock| *stock < 3)?;
/// *guard -= 3;
/// drop(guard);
/// child.join()??;
/// # Ok(())
/// # }
/// ```
///
/// # What a notification is
///
/// It is given to those who wait at that moment: [`notify_one`](Condition::notify_one) gets one of them through, [`notify`](Condition::notify) so many, [`notify_all`](Condition::notify_all) all; if nobody
/// waits, it is not remembered. Who comes later does not get it. Notifying waits for nobody, and does not need the lock; without it a waiter that has looked and does not wait yet is missed, as everywhere.
///
/// Nobody is woken without a notification, as long as nobody dies. After a death somebody may be: so the predicate is looked at again, as [`wait_while`](Condition::wait_while) and
/// [`wait_for`](Condition::wait_for) do.
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | who waits, asleep | the others are notified all the same; it goes on being counted (below) |
/// | who was notified, before it has the lock again | another who waited at that time gets the notification, at once |
/// | who was notified, with the lock | the next to take the lock is told, as of any owner's death |
/// | who notifies, half way | those whom it had notified get through; the kernel wakes them |
/// | who has the lock, while one is to have it again | that one gets the guard as [`LockError::OwnerDied`](ipc_shm::LockError::OwnerDied), as from `lock` |
///
/// A waiter that was killed is never counted off, for a ticket in shared memory does not say whose it is, and one who was stopped must find its notification when it goes on. So a
/// notification may be given that nobody takes, and stays; from then on each notification wakes all who wait, of whom the others sleep on: some microseconds for each, for as
/// long as there is this condition. Where workers are killed all the time and many wait, a new condition now and then costs less, or a [`Queue`](crate::Queue) or
/// [`CountingSemaphore`](crate::CountingSemaphore), which the dead cost nothing.
///
/// Who waits uses no time of a CPU, and does not depend on a living process to be woken. "The kernel wakes" means within microseconds; before Linux 6.2, within 100 ms.
#[derive(Clone, Serialize, Deserialize)]
pub struct Condition {
    shared: Shared<RawCondition>,
}

// SAFETY: `repr(C)`, gates, locks and atomics, no pointers; all zero is a condition that nobody waits for.
unsafe impl Layout for RawCondition {
    type Item = ();
    const NAME: &str = "a Condition";
    const VERSION: u32 = 2;
}

impl Condition {
    /// A new condition, in a segment of its own: a page of memory, and a descriptor.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory), as of [`Segment::new`]; also where the kernel does not look after threads (a sandbox).
    pub fn new() -> Result<Condition> {
        gate::current()?;
        Ok(Condition { shared: Shared::new(0)? })
    }

    /// A new condition in an arena. It is not freed by itself but goes with the arena.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory), as of [`Shared::new_with`].
    pub fn new_with(arena: &Arena) -> Result<Condition> {
        gate::current()?;
        Ok(Condition { shared: Shared::new_with(0, arena)? })
    }

    /// Gives the guard's lock back, waits to be notified, and has the lock again. Of an [`RLock`](ipc_shm::RLock) all is given back that its thread has, and it
    /// has it as often afterwards.
    ///
    /// # Errors
    /// As `lock` of what the guard is of: a guard with a warning, [`LockError::OwnerDied`](ipc_shm::LockError::OwnerDied) say, comes in the error. If this thread has as many locks as the kernel looks after: [`ipc_shm::Error::TooManyLocks`].
    pub fn wait<G: Relock>(&self, guard: G) -> Result<G, LockError<G>> {
        self.wait_until(guard, Until::Forever).map(|(guard, _)| guard)
    }

    /// As [`wait`](Condition::wait), at most for `timeout` (and as long as the lock takes); `true`: it was notified, `false`: it was not in
    /// that time. (Python's answer; std's `WaitTimeoutResult` says the opposite, whether the time was over.)
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_timeout<G: Relock>(&self, guard: G, timeout: Duration) -> Result<(G, bool), LockError<G>> {
        self.wait_until(guard, Until::after(timeout))
    }

    /// As [`wait`](Condition::wait), at most until `deadline`; `false`: it was not notified by then.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_deadline<G: Relock>(&self, guard: G, deadline: Instant) -> Result<(G, bool), LockError<G>> {
        self.wait_until(guard, Until::Deadline(deadline))
    }

    /// Waits as long as `condition` says so of the data, which is asked first and after each notification.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_while<G: Relock + DerefMut>(
        &self,
        guard: G,
        mut condition: impl FnMut(&mut G::Target) -> bool,
    ) -> Result<G, LockError<G>> {
        self.wait_for(guard, |guard| (!condition(guard)).then_some(())).map(|(guard, ())| guard)
    }

    /// As [`wait_while`](Condition::wait_while), at most for `timeout`; `false`: `condition` said so to the end.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_timeout_while<G: Relock + DerefMut>(
        &self,
        guard: G,
        timeout: Duration,
        mut condition: impl FnMut(&mut G::Target) -> bool,
    ) -> Result<(G, bool), LockError<G>> {
        let there = self.wait_for_timeout(guard, timeout, |guard| (!condition(guard)).then_some(()))?;
        Ok((there.0, there.1.is_some()))
    }

    /// As [`wait_while`](Condition::wait_while), at most until `deadline`; `false`: `condition` said so to the end.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_deadline_while<G: Relock + DerefMut>(
        &self,
        guard: G,
        deadline: Instant,
        mut condition: impl FnMut(&mut G::Target) -> bool,
    ) -> Result<(G, bool), LockError<G>> {
        let there = self.wait_for_deadline(guard, deadline, |guard| (!condition(guard)).then_some(()))?;
        Ok((there.0, there.1.is_some()))
    }

    /// Waits until `predicate` gives something, which is asked first and after each notification; gives that. Python's `wait_for`.
    ///
    /// ```
    /// # use ipc_shm::RLock;
    /// # use ipc_sync::Condition;
    /// let (lock, condition) = (RLock::new()?, Condition::new()?);
    /// let (guard, found) = condition.wait_for(lock.lock()?, |_| "7".parse::<u32>().ok())?;
    /// assert_eq!(found, 7);
    /// # drop(guard);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_for<G: Relock, R>(
        &self,
        mut guard: G,
        mut predicate: impl FnMut(&mut G) -> Option<R>,
    ) -> Result<(G, R), LockError<G>> {
        loop {
            if let Some(found) = predicate(&mut guard) {
                return Ok((guard, found));
            }
            guard = self.wait(guard)?;
        }
    }

    /// As [`wait_for`](Condition::wait_for), at most for `timeout`; `None`: `predicate` gave nothing to the end.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_for_timeout<G: Relock, R>(
        &self,
        guard: G,
        timeout: Duration,
        predicate: impl FnMut(&mut G) -> Option<R>,
    ) -> Result<(G, Option<R>), LockError<G>> {
        self.wait_for_until(guard, Until::after(timeout), predicate)
    }

    /// As [`wait_for`](Condition::wait_for), at most until `deadline`; `None`: `predicate` gave nothing to the end.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    pub fn wait_for_deadline<G: Relock, R>(
        &self,
        guard: G,
        deadline: Instant,
        predicate: impl FnMut(&mut G) -> Option<R>,
    ) -> Result<(G, Option<R>), LockError<G>> {
        self.wait_for_until(guard, Until::Deadline(deadline), predicate)
    }

    fn wait_for_until<G: Relock, R>(
        &self,
        mut guard: G,
        until: Until,
        mut predicate: impl FnMut(&mut G) -> Option<R>,
    ) -> Result<(G, Option<R>), LockError<G>> {
        let mut notified = true;
        loop {
            let found = predicate(&mut guard);
            if found.is_some() || !notified {
                return Ok((guard, found));
            }
            (guard, notified) = self.wait_until(guard, until)?;
        }
    }

    /// As [`wait`](Condition::wait), in any executor. It waits from its first poll on, which gives the lock back; dropped after that, it leaves the lock free, and a notification
    /// that was given for it goes to another who waits.
    ///
    /// The lock is had again where the future is polled, which blocks that thread as `lock` does, for as long as somebody has it. And a guard stays on its thread: so the future is for
    /// an executor that polls it there (`block_on`, a `LocalSet`).
    ///
    /// ```
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark {
    /// #         fn wake(self: std::sync::Arc<Self>) {
    /// #             self.0.unpark();
    /// #         }
    /// #     }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(value) => return value,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// use ipc_shm::Value;
    /// use ipc_sync::{Condition, Result};
    ///
    /// fn work((value, done): (Value<u32>, Condition)) -> Result<()> {
    ///     *value.lock()? = 42;
    ///     done.notify_one()
    /// }
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let (value, done) = (Value::new(0)?, Condition::new()?);
    /// let child = ipc_core::spawn(work, ((value.clone(), done.clone()),))?;
    /// let value = block_on(done.wait_while_async(value.lock()?, |value| *value == 0))?;
    /// assert_eq!(*value, 42);
    /// drop(value);
    /// child.join()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Condition::wait); the system has no thread or no descriptor to wait with, and then the lock is free.
    pub async fn wait_async<G: Relock>(&self, guard: G) -> Result<G, LockError<G>> {
        awaiting::wait(&self.shared, guard).await
    }

    /// As [`wait_while`](Condition::wait_while), in any executor, as [`wait_async`](Condition::wait_async).
    ///
    /// # Errors
    /// As [`wait_async`](Condition::wait_async).
    pub async fn wait_while_async<G: Relock + DerefMut>(
        &self,
        mut guard: G,
        mut condition: impl FnMut(&mut G::Target) -> bool,
    ) -> Result<G, LockError<G>> {
        while condition(&mut guard) {
            guard = self.wait_async(guard).await?;
        }
        Ok(guard)
    }

    fn wait_until<G: Relock>(&self, guard: G, until: Until) -> Result<(G, bool), LockError<G>> {
        let system = gate::current()?;
        let mut lock = Between::Held(guard);
        let notified = self.shared.wait(system, until, &mut lock);
        match lock {
            Between::Held(guard) => Ok((guard, notified.map_err(ipc_shm::Error::from)?)),
            Between::Refused(error) => Err(error),
            // `wait` has it again in any case.
            Between::Released(released) => Ok((released.relock()?, false)),
            Between::Gone => Err(ipc_shm::Error::Damaged.into()),
        }
    }

    /// Gets one of those through who wait at this moment.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory): this thread has as many locks as the kernel looks after, or somebody has written over the condition.
    pub fn notify_one(&self) -> Result<()> {
        self.notify(1)
    }

    /// Gets so many of those through who wait at this moment, at most.
    ///
    /// # Errors
    /// As [`notify_one`](Condition::notify_one).
    pub fn notify(&self, number: usize) -> Result<()> {
        let system = gate::current()?;
        self.shared.notify(system, number as u64).map_err(ipc_shm::Error::from)?;
        Ok(())
    }

    /// Gets all through who wait at this moment.
    ///
    /// # Errors
    /// As [`notify_one`](Condition::notify_one).
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX)
    }

    /// The segment that it stands in: its own, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.shared.segment()
    }
}

impl TryFrom<Segment> for Condition {
    type Error = Error;

    /// The one that has the segment for itself.
    ///
    /// # Errors
    /// It holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Condition> {
        gate::current()?;
        Ok(Condition { shared: Shared::try_from(segment)? })
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiting", &self.shared.waiting()).finish()
    }
}

/// The outer lock of one who waits.
enum Between<G: Relock> {
    Held(G),
    Released(G::Released),
    /// It came back otherwise than whole.
    Refused(LockError<G>),
    Gone,
}

impl<G: Relock> Outer for Between<G> {
    fn unlock(&mut self) {
        *self = match std::mem::replace(self, Between::Gone) {
            Between::Held(guard) => Between::Released(guard.release()),
            other => other,
        };
    }

    fn relock(&mut self) -> bool {
        *self = match std::mem::replace(self, Between::Gone) {
            Between::Released(released) => released.relock().map_or_else(Between::Refused, Between::Held),
            other => other,
        };
        matches!(self, Between::Held(_))
    }
}
