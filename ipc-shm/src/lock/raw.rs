//! Locks to be placed in shared memory by whoever has some: the raw forms.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use ipc_core::primitive::time::Until;

use super::system::{Node, OWNER};
use super::word::{self, Refused, Taken};
use crate::sys::robust_list::{NoList, Thread};

/// A lock in shared memory, 40 bytes of it; all zero is free.
///
/// It belongs to the *thread* that took it. It protects nothing by itself: see [`Lock`](crate::Lock) for the safe form.
///
/// It is for memory of one's own: here a segment, in which it stands before what it protects.
///
/// ```
/// use std::cell::UnsafeCell;
///
/// use ipc_core::spawn;
/// use ipc_shm::raw::{RawLock, Taken};
/// use ipc_shm::{Segment, Until};
///
/// #[repr(C)]
/// struct Counter {
///     lock: RawLock,
///     count: UnsafeCell<u64>,
/// }
///
/// fn add(segment: Segment, n: u64) -> u64 {
///     // SAFETY: 48 bytes at a page boundary, mapped as long as `segment` is, and nothing else's. Zeros are a free lock.
///     let counter = unsafe { segment.as_ptr().cast::<Counter>().as_ref() };
///     // SAFETY: mapped until it is freed, below.
///     match unsafe { counter.lock.take(Until::Forever) } {
///         Ok(Taken::Whole) => {}
///         Ok(_) => counter.lock.repaired(),            // one number is never half changed
///         Err(refused) => panic!("{refused:?}"),
///     }
///     // SAFETY: whoever touches the count has the lock.
///     let count = unsafe { &mut *counter.count.get() };
///     *count += n;
///     let now = *count;
///     // SAFETY: as above.
///     unsafe { counter.lock.free() };
///     now
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let segment = Segment::new(size_of::<Counter>())?;
/// let child = spawn(add, (segment.clone(), 20))?;
/// add(segment.clone(), 1);
/// child.join()?;
/// assert_eq!(add(segment, 21), 42);
/// # Ok(())
/// # }
/// ```
#[repr(transparent)]
#[derive(Default)]
pub struct RawLock(Node);

impl RawLock {
    /// A free lock.
    pub fn new() -> RawLock {
        RawLock::default()
    }

    /// Takes the lock for the calling thread, waiting for it as long as is said.
    ///
    /// # Errors
    /// See [`Refused`]; the lock was not taken then.
    ///
    /// # Safety
    /// From a success until [`free`](RawLock::free), and as long as the call waits, this memory stays mapped at this address: the
    /// kernel and the thread's later locks find it through the thread's robust list.
    #[inline(always)]
    pub unsafe fn take(&self, until: Until) -> Result<Taken, Refused> {
        let alive = || true;
        // SAFETY: the caller's promise is the same.
        unsafe { if self.take_at_once(alive) { Ok(Taken::Whole) } else { self.take_in_full(until, &alive) } }
    }

    /// Takes it, if it is free and whole, the thread has no other, and what it guards is alive: the usual case.
    ///
    /// # Safety
    /// As for [`take`](RawLock::take).
    #[inline(always)]
    pub(crate) unsafe fn take_at_once(&self, alive: impl Fn() -> bool) -> bool {
        Thread::last().is_some_and(|thread| word::take_at_once(thread, &self.0, alive))
    }

    /// Takes it as [`take`](RawLock::take), if what it guards is alive.
    ///
    /// # Safety
    /// As for [`take`](RawLock::take).
    #[inline(never)]
    pub(crate) unsafe fn take_in_full(
        &self,
        until: Until,
        alive: &dyn Fn() -> bool,
    ) -> Result<Taken, Refused> {
        word::take_in_full(kernel()?, &self.0, until, alive)
    }

    /// Frees it, and wakes one who waits. Whoever does not have it, a forked copy of its owner say, changes nothing. Gives `false` where
    /// the links of the thread's list had been written over (by somebody else: shared memory is nobody's own); they are mended.
    ///
    /// # Safety
    /// As for [`take`](RawLock::take), until the call returns.
    #[inline(always)]
    pub unsafe fn free(&self) -> bool {
        // Without a list there is nothing that this thread could have taken.
        Thread::last().is_none_or(|thread| word::free(thread, &self.0))
    }

    /// As [`free`](RawLock::free), by one who was told of a death and had no occasion to repair anything: the next is told as well, and
    /// nothing is lost.
    ///
    /// # Safety
    /// As for [`free`](RawLock::free).
    #[cold]
    #[inline(never)]
    pub unsafe fn hand_on(&self) -> bool {
        kernel().map_or(true, |kernel| word::hand_on(kernel, &self.0))
    }

    /// Whether the calling thread has it.
    #[inline]
    pub fn is_mine(&self) -> bool {
        kernel().is_ok_and(|kernel| kernel.holds(&self.0))
    }

    /// Whether anybody has it, at this moment.
    pub fn is_locked(&self) -> bool {
        self.0.word.load(Relaxed) & OWNER != 0
    }

    /// The process that has it, at this moment and as far as shared memory is to be believed.
    pub fn owner(&self) -> Option<u32> {
        Some(self.0.owner.load(Relaxed)).filter(|owner| *owner != 0 && self.is_locked())
    }

    /// Says that the data is whole again, after [`Taken::OwnerDied`] or [`Taken::Panicked`]. Only its owner's word counts.
    pub fn repaired(&self) {
        if let Ok(kernel) = kernel() {
            word::repaired(kernel, &self.0);
        }
    }

    /// Says that the data cannot be repaired, after [`Taken::OwnerDied`]: from now on the lock is [refused](Refused::Lost). Only its owner's word counts, who has it
    /// still.
    pub fn abandon(&self) {
        if let Ok(kernel) = kernel() {
            word::abandon(kernel, &self.0);
        }
    }

    /// Notes that its owner panicked with the data in its hands; the next owners are told, until one says that it is
    /// [repaired](RawLock::repaired). Only its owner's word counts.
    pub fn poison(&self) {
        if let Ok(kernel) = kernel() {
            word::poison(kernel, &self.0);
        }
    }

    /// Nothing is known any more of what it protected: for an arena, before it becomes another object's.
    pub(crate) fn forget(&self) {
        self.0.state.store(0, Relaxed);
        self.0.dead.store(0, Relaxed);
        self.0.depth.store(0, Relaxed);
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0
    }
}

/// The calling thread, with its list.
#[inline(always)]
pub(crate) fn kernel() -> Result<&'static Thread, Refused> {
    Thread::current().map_err(refusal)
}

/// Why a thread cannot take locks.
#[cold]
pub(crate) fn refusal(why: NoList) -> Refused {
    match why {
        NoList::Refused(errno) => Refused::NoRobustList(errno),
        NoList::Offset(offset) => Refused::OtherLayout(offset),
    }
}

impl fmt::Debug for RawLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawLock").field("locked", &self.is_locked()).field("owner", &self.owner()).finish()
    }
}
