//! A latch: a count that goes down once, and is waited for. C++'s `std::latch`.
//!
//! | count | means | left by |
//! |---|---|---|
//! | n | n steps are missing | `count_down`: less, but not below 0; at 0 all who wait are woken |
//! | 0 | it is open, for good | |
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who counts down | before the step | the step is missing for good: who was to make it is known to whoever started it |
//! | who counts down | after the last step, before it woke anybody | the kernel wakes one who waits, and that one the next |
//! | who waits | asleep, or just woken | the others are woken all the same |
//!
//! Futures are woken by a [bell](crate::futures) after the last step: they take no wake-up from a sleeper, and look again every 100 ms, for one may die before
//! it rings.

use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::raw::{Layout, Shared};
use ipc_shm::{Arena, Segment};
use serde::{Deserialize, Serialize};

use crate::bare::Bare;
use crate::futures::Bell;
use crate::{Error, Result};

/// A latch to be placed in shared memory; all zero is open. See [`Latch`] for the handle.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RawLatch {
    gate: Node,
    count: AtomicU32,
    bell: Bell,
}

// SAFETY: `repr(C)`, a gate and atomics, no pointers; all zero is a latch that is open.
unsafe impl Layout for RawLatch {
    type Item = ();
    const NAME: &str = "a Latch";
    const VERSION: u32 = 1;
}

impl RawLatch {
    /// One that so many steps are missing of.
    pub fn new(count: u32) -> RawLatch {
        RawLatch { count: AtomicU32::new(count), ..RawLatch::default() }
    }

    /// So many steps are made, of those that are missing; gives how many are missing still.
    pub fn count_down<S: System>(&self, system: &S, steps: u32) -> u32 {
        let (last, left) = gate::attempt(system, &self.gate, u32::MAX, || {
            let less = |count: u32| (count > 0).then(|| count.saturating_sub(steps));
            match self.count.fetch_update(SeqCst, SeqCst, less) {
                Ok(before) => {
                    let left = before.saturating_sub(steps);
                    (left == 0 && !mutant::is("the last step wakes nobody"), (left == 0, left))
                }
                Err(_) => (false, (false, 0)),
            }
        });
        if last {
            self.bell.ring();
        }
        left
    }

    /// How many steps are missing.
    pub fn missing(&self) -> u32 {
        self.count.load(SeqCst)
    }

    /// Waits until it is open; `false`: the time was over first.
    pub fn wait<S: System>(&self, system: &S, until: Until) -> bool {
        let open = |count| count == 0;
        gate::wait(system, &self.gate, &self.count, until, |count| open(count).then_some(()), open).is_some()
    }
}

/// A latch that processes share: it opens, once and for good, when so many steps have been made.
///
/// A handle: cloned and sent, it stays the same latch.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::Latch;
///
/// let ready = Latch::new(3)?;
/// let children: Vec<_> =
///     (0..3).map(|_| spawn(|ready: Latch| ready.count_down(1), (ready.clone(),))).collect::<Result<_, _>>()?;
/// ready.wait();
/// # for child in children { child.join()?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | who was to make a step | it is missing: wait for the process as well, or with a time limit |
/// | who has made the last step, before it woke anybody | the kernel wakes one who waits, and that one the next |
/// | who waits, asleep or just woken | the others are woken all the same |
///
/// "The kernel wakes" means within microseconds; before Linux 6.2, and for futures, within 100 ms.
#[derive(Clone, Serialize, Deserialize)]
pub struct Latch {
    shared: Shared<RawLatch>,
}

impl Latch {
    /// A new latch, in a segment of its own, that so many steps are missing of.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory), as of [`Segment::new`]; also where the kernel does not look after threads (a sandbox).
    pub fn new(count: u32) -> Result<Latch> {
        gate::current()?;
        Ok(Latch::of(Shared::new(0)?, count))
    }

    /// A new latch in an arena. It is not freed by itself but goes with the arena.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory), as of [`Shared::new_with`].
    pub fn new_with(count: u32, arena: &Arena) -> Result<Latch> {
        gate::current()?;
        Ok(Latch::of(Shared::new_with(0, arena)?, count))
    }

    fn of(shared: Shared<RawLatch>, count: u32) -> Latch {
        shared.count.store(count, SeqCst);
        Latch { shared }
    }

    /// Makes so many steps, of those that are missing; gives how many are missing still. In a signal handler, too.
    pub fn count_down(&self, steps: u32) -> u32 {
        self.shared.count_down(&Bare::current(), steps)
    }

    /// How many steps are missing, at this moment.
    pub fn missing(&self) -> u32 {
        self.shared.missing()
    }

    /// Whether it is open. C++'s `try_wait`.
    pub fn is_open(&self) -> bool {
        self.missing() == 0
    }

    /// Waits until it is open.
    pub fn wait(&self) {
        // Without a deadline it ends with the last step only.
        while !self.wait_until(Until::Forever) {}
    }

    /// As [`wait`](Latch::wait), at most for `timeout`; `false`: it is not open.
    #[must_use = "whether it is open"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Until::after(timeout))
    }

    /// As [`wait`](Latch::wait), at most until `deadline`; `false`: it is not open.
    #[must_use = "whether it is open"]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Until::Deadline(deadline))
    }

    /// As [`wait`](Latch::wait), in any executor: a future that is done when the latch is open. Dropped before, it leaves nothing behind.
    ///
    /// # Errors
    /// The system has no thread or no descriptor to wait with.
    pub async fn wait_async(&self) -> Result<()> {
        self.shared.bell.wait(|| Ok(self.is_open().then_some(()))).await
    }

    fn wait_until(&self, until: Until) -> bool {
        match gate::current() {
            Ok(system) => self.shared.wait(system, until),
            Err(_) => self.shared.wait(&Bare::current(), until),
        }
    }

    /// Makes one step, and waits until it is open.
    pub fn arrive_and_wait(&self) {
        self.count_down(1);
        self.wait();
    }

    /// Makes one step, and waits until it is open, at most for `timeout`; `false`: it is not open. The step is made all the same.
    #[must_use = "whether it is open"]
    pub fn arrive_and_wait_timeout(&self, timeout: Duration) -> bool {
        let until = Until::after(timeout);
        self.count_down(1);
        self.wait_until(until)
    }

    /// Makes one step, and waits until it is open, at most until `deadline`; `false`: it is not open. The step is made all the same.
    #[must_use = "whether it is open"]
    pub fn arrive_and_wait_deadline(&self, deadline: Instant) -> bool {
        self.count_down(1);
        self.wait_deadline(deadline)
    }

    /// Makes one step, when it is first polled, and waits until it is open, in any executor. Dropped after that it leaves the step.
    ///
    /// # Errors
    /// The system has no thread or no descriptor to wait with.
    pub async fn arrive_and_wait_async(&self) -> Result<()> {
        self.count_down(1);
        self.wait_async().await
    }

    /// The segment that it stands in: its own, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.shared.segment()
    }
}

impl TryFrom<Segment> for Latch {
    type Error = Error;

    /// The one that has the segment for itself.
    ///
    /// # Errors
    /// It holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Latch> {
        gate::current()?;
        Ok(Latch { shared: Shared::try_from(segment)? })
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("missing", &self.missing()).finish()
    }
}
