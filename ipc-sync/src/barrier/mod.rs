//! Barriers: all wait until the last has come, and then all go on.
//!
//! `raw` is the algorithm, and what is placed in memory; `awaiting` are the futures, and here is the handle. The names are those of [`std::sync::Barrier`], and of Python's for what that
//! one lacks: it can break, and a barrier between processes must be able to, for one of them may never come.

use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_shm::raw::Shared;
use ipc_shm::{Arena, Segment, gate};
use serde::{Deserialize, Serialize};

use crate::people::Here;
use crate::{Error, Result};

mod awaiting;
pub(crate) mod raw;

use raw::RawBarrier;

/// A barrier that processes, and their threads, wait at until all have come.
///
/// A handle: cloned and sent, it stays the same barrier. It is used again and again: as soon as all have passed, the next may come.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::Barrier;
///
/// fn work(barrier: Barrier) -> ipc_sync::Result<bool> {
///     // … the first half
///     let leader = barrier.wait()?.is_leader();
///     // … the second half, in which all may rely on the first
///     Ok(leader)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let barrier = Barrier::new(3)?;
/// let children: Vec<_> = (0..2).map(|_| spawn(work, (barrier.clone(),))).collect::<Result<_, _>>()?;
/// let mut leaders = usize::from(work(barrier)?);
/// for child in children {
///     leaders += usize::from(child.join()??);
/// }
/// assert_eq!(leaders, 1);
/// # Ok(())
/// # }
/// ```
///
/// # The action
///
/// What is to be done once, when all have come and before anybody goes on, does the last to come. A function cannot stand in shared memory, so each
/// gives its own, [`wait_with`](Barrier::wait_with), and usually all the same:
///
/// ```
/// # use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// # let barrier = ipc_sync::Barrier::new(1)?;
/// # let rounds = AtomicU32::new(0);
/// barrier.wait_with(|| { rounds.fetch_add(1, Relaxed); })?;
/// # assert_eq!(rounds.load(Relaxed), 1);
/// # Ok::<(), ipc_sync::Error>(())
/// ```
///
/// # When it breaks
///
/// By a time-out of one who waits, by [`abort`](Barrier::abort), by a panic of the action, by the death of one who has come, by the drop of a future that has come and is not
/// done. Then all who wait, and all who come, get
/// [`Error::BrokenBarrier`], until [`reset`](Barrier::reset). A time-out holds, whoever has died. (A process that is stopped, `SIGSTOP`, within some dozens
/// of instructions of its coming or going keeps those there who have come, also beyond their time, until it goes on or is killed; who is about to come is told
/// when the time is over, and the barrier is not broken by that.)
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | who notices | what happens |
/// |---|---|---|
/// | one who has come, or is at the action | those who wait, within 100 ms | it breaks; if all had come by then, they pass, and it breaks for the next time |
/// | one who is on its way | nobody can | a time-out breaks it |
/// | the last to come, before it woke the others | the kernel, at once | they pass |
/// | one that has passed, on its way out | who comes for the next time, within 100 ms | it breaks |
/// | a thread alone, its process lives | nobody | it counts as having come: the others pass with it when all have |
/// | a program, its process executes another (`exec`) while a thread waits | nobody | as a thread alone |
///
/// Up to 120 processes may wait at a time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Barrier {
    raw: Shared<RawBarrier>,
}

/// That one has passed a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarrierWaitResult {
    index: u32,
}

impl BarrierWaitResult {
    /// How many came after this one: 0 for the last, the number of parties less one for the first. Each is given once.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Whether it is the one with index 0.
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }
}

impl Barrier {
    /// One for so many parties, in a segment of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there must be one at least; those of [`Shared::new`].
    pub fn new(parties: u32) -> Result<Barrier> {
        raw::check(parties)?;
        Barrier::of(Shared::new(0)?, parties)
    }

    /// The same in an arena, with which it goes.
    ///
    /// # Errors
    /// As [`new`](Barrier::new), and those of [`Shared::new_with`].
    pub fn new_with(parties: u32, arena: &Arena) -> Result<Barrier> {
        raw::check(parties)?;
        Barrier::of(Shared::new_with(0, arena)?, parties)
    }

    fn of(raw: Shared<RawBarrier>, parties: u32) -> Result<Barrier> {
        raw.init(parties)?;
        Ok(Barrier { raw })
    }

    /// From now on, and for all handles, a wait that is given no time lasts so long at most. Python's `timeout` of the barrier.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Barrier {
        self.raw.set_timeout(timeout);
        self
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// [`Error::BrokenBarrier`]. [`Error::TooManyProcesses`]: 120 living processes wait at it. [`Error::Invalid`]: this process is in another time namespace than
    /// those that used it before. [`Error::Memory`]: a sandbox keeps this thread from what it waits with, or /proc cannot be read.
    pub fn wait(&self) -> Result<BarrierWaitResult> {
        self.pass(Until::within(self.raw.timeout()), None::<fn()>)
    }

    /// As [`wait`](Barrier::wait), at most for `timeout`, which breaks the barrier for all.
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait); [`Error::BrokenBarrier`] also when the time is over ([`is_timed_out`](Error::is_timed_out) does not say so).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult> {
        self.pass(Until::after(timeout), None::<fn()>)
    }

    /// As [`wait`](Barrier::wait), at most until `deadline`, which breaks the barrier for all.
    ///
    /// # Errors
    /// As [`wait_timeout`](Barrier::wait_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult> {
        self.pass(Until::Deadline(deadline), None::<fn()>)
    }

    /// As [`wait`](Barrier::wait); if the caller is the last to come, it does the action first. If that panics the barrier breaks, and so it does if the action
    /// calls [`abort`](Barrier::abort).
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait); [`Error::Memory`] in a forked copy of the process that the action has made: the one that was forked passes.
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<BarrierWaitResult> {
        self.pass(Until::within(self.raw.timeout()), Some(action))
    }

    /// As [`wait_with`](Barrier::wait_with), at most for `timeout`, which breaks the barrier for all, also while another is at its action.
    ///
    /// # Errors
    /// As [`wait_timeout`](Barrier::wait_timeout).
    pub fn wait_timeout_with(&self, timeout: Duration, action: impl FnOnce()) -> Result<BarrierWaitResult> {
        self.pass(Until::after(timeout), Some(action))
    }

    /// As [`wait_with`](Barrier::wait_with), at most until `deadline`, which breaks the barrier for all, also while another is at its action.
    ///
    /// # Errors
    /// As [`wait_timeout`](Barrier::wait_timeout).
    pub fn wait_deadline_with(&self, deadline: Instant, action: impl FnOnce()) -> Result<BarrierWaitResult> {
        self.pass(Until::Deadline(deadline), Some(action))
    }

    /// As [`wait`](Barrier::wait), in any executor. It arrives when it is first polled; dropped after that and before it is done it breaks the barrier, as a time-out
    /// does: the others would wait for one who is not there. A [time limit](Barrier::with_timeout) of the barrier holds to 100 ms.
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
    /// use ipc_sync::Barrier;
    ///
    /// let barrier = Barrier::new(2)?;
    /// let child = ipc_core::spawn(|barrier: Barrier| barrier.wait(), (barrier.clone(),))?;
    /// let mine = block_on(barrier.wait_async())?;
    /// let theirs = child.join()??;
    /// assert_eq!(mine.index() + theirs.index(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait); the system has no thread or no descriptor to wait with, which breaks the barrier for the others, too, if it has come by then.
    pub async fn wait_async(&self) -> Result<BarrierWaitResult> {
        self.pass_async(None::<fn()>).await
    }

    /// As [`wait_async`](Barrier::wait_async); if the caller is the last to come, it does the action first, while it is polled. If that panics the barrier breaks.
    ///
    /// # Errors
    /// As [`wait_async`](Barrier::wait_async).
    pub async fn wait_with_async(&self, action: impl FnOnce()) -> Result<BarrierWaitResult> {
        self.pass_async(Some(action)).await
    }

    async fn pass_async(&self, action: Option<impl FnOnce()>) -> Result<BarrierWaitResult> {
        let until = Until::within(self.raw.timeout());
        let index = awaiting::pass(&self.raw, until, action).await?;
        Ok(BarrierWaitResult { index })
    }

    fn pass(&self, until: Until, action: Option<impl FnOnce()>) -> Result<BarrierWaitResult> {
        let index = self.raw.wait(gate::current()?, &Here, until, action)?;
        Ok(BarrierWaitResult { index })
    }

    /// Breaks it.
    ///
    /// # Errors
    /// [`Error::Memory`], as [`wait`](Barrier::wait).
    pub fn abort(&self) -> Result<()> {
        self.raw.abort(gate::current()?, &Here)
    }

    /// Makes it as new. Those who wait get [`Error::BrokenBarrier`]; who comes next, and there may be some before those have gone, waits at a barrier that is not
    /// broken.
    ///
    /// # Errors
    /// [`Error::Memory`], as [`wait`](Barrier::wait).
    pub fn reset(&self) -> Result<()> {
        self.raw.reset(gate::current()?, &Here)
    }

    /// How many must come.
    pub fn parties(&self) -> usize {
        self.raw.parties() as usize
    }

    /// How many have come and wait, at this moment. Python's `n_waiting`.
    pub fn waiting(&self) -> usize {
        self.raw.waiting() as usize
    }

    /// Whether it is broken. Python's `broken`.
    pub fn is_broken(&self) -> bool {
        self.raw.is_broken()
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.raw.segment()
    }
}

impl TryFrom<Segment> for Barrier {
    type Error = Error;

    /// The one that has the segment for itself.
    ///
    /// # Errors
    /// It holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Barrier> {
        Ok(Barrier { raw: Shared::try_from(segment)? })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}
