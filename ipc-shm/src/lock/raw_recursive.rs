//! The raw lock that its owner may take again.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use ipc_core::primitive::time::Until;

use super::raw::{RawLock, kernel};
use super::recursion;
use super::word::{Refused, Taken};

/// A [`RawLock`] that its owner may take again, of the same 40 bytes; all zero is free.
///
/// It belongs to the *thread* that took it, and is free when that has given it back as often. See [`RLock`](crate::RLock) for the safe form.
///
/// Whether a lock is of this kind is not in its bytes: all who use one must take it for the same.
///
/// ```
/// use ipc_shm::raw::{RawRLock, Taken};
/// use ipc_shm::{Segment, Until};
///
/// let segment = Segment::new(64)?;                     // zeros
/// // SAFETY: 40 bytes at a page boundary, mapped as long as `segment` is; nothing else uses them.
/// let lock = unsafe { segment.as_ptr().cast::<RawRLock>().as_ref() };
/// // SAFETY: it is given back before `segment` goes.
/// unsafe {
///     assert_eq!(lock.take(Until::Forever), Ok(Taken::Whole));
///     assert_eq!(lock.take(Until::Forever), Ok(Taken::Whole));
///     assert_eq!(lock.depth(), 2);
///     lock.free();
///     assert!(lock.is_mine());
///     lock.free();
/// }
/// assert!(!lock.is_locked());
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[repr(transparent)]
#[derive(Default)]
pub struct RawRLock(RawLock);

impl RawRLock {
    /// A free lock.
    pub fn new() -> RawRLock {
        RawRLock::default()
    }

    /// A lock that all who use it take for one of this kind.
    #[inline]
    pub(crate) fn of(lock: &RawLock) -> &RawRLock {
        // SAFETY: of the same layout (`transparent`), and borrowed as long.
        unsafe { &*std::ptr::from_ref(lock).cast() }
    }

    /// Takes the lock for the calling thread, waiting for it as long as is said; or takes it once more, if the thread has it. Then it is
    /// [`Taken::Whole`]: what there was to tell, the first time has told.
    ///
    /// # Errors
    /// See [`Refused`]; the lock was not taken then, nor taken once more. [`Refused::AlreadyHeld`] is not among them, but
    /// [`Refused::TooDeep`].
    ///
    /// # Safety
    /// As for [`RawLock::take`]: from a success until the lock is [given back](RawRLock::free) for the last time, and as long as the call
    /// waits, this memory stays mapped at this address.
    pub unsafe fn take(&self, until: Until) -> Result<Taken, Refused> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.take_if(until, || true) }
    }

    /// The same, if what it guards is alive.
    ///
    /// # Safety
    /// As for [`take`](RawRLock::take).
    pub(crate) unsafe fn take_if(&self, until: Until, alive: impl Fn() -> bool) -> Result<Taken, Refused> {
        recursion::take_if(kernel()?, self.0.node(), until, alive)
    }

    /// Gives it back once; the last time it is free, and one who waits is woken. Whoever does not have it, a forked copy of its owner say,
    /// changes nothing. Gives what [`RawLock::free`] gives.
    ///
    /// # Safety
    /// As for [`take`](RawRLock::take), until the call returns.
    pub unsafe fn free(&self) -> bool {
        // Without a list there is nothing that this thread could have taken.
        kernel().map_or(true, |kernel| recursion::free(kernel, self.0.node()))
    }

    /// As [`free`](RawRLock::free), by one who was told of a death and had no occasion to repair anything: the last time, the next is told as
    /// well, and nothing is lost.
    ///
    /// # Safety
    /// As for [`free`](RawRLock::free).
    #[cold]
    pub unsafe fn hand_on(&self) -> bool {
        kernel().map_or(true, |kernel| recursion::hand_on(kernel, self.0.node()))
    }

    /// As [`free`](RawRLock::free) or, where what was told was not repaired, as [`hand_on`](RawRLock::hand_on).
    ///
    /// # Safety
    /// As for [`free`](RawRLock::free).
    pub(crate) unsafe fn give_back(&self) -> bool {
        kernel().map_or(true, |kernel| recursion::free_as_told(kernel, self.0.node()))
    }

    /// Gives it back as often as the calling thread has it, which is given; 0 if another has it.
    ///
    /// # Safety
    /// As for [`free`](RawRLock::free).
    pub(crate) unsafe fn free_all(&self) -> u32 {
        kernel().map_or(0, |kernel| recursion::free_all(kernel, self.0.node()))
    }

    /// So often more than before it took it just now the calling thread has it from now on; `false`: that would be too often.
    pub(crate) fn restore(&self, depth: u32) -> bool {
        kernel().is_ok_and(|kernel| recursion::restore(kernel, self.0.node(), depth))
    }

    /// How often the calling thread has it; 0 if another has.
    pub fn depth(&self) -> u32 {
        kernel().map_or(0, |kernel| recursion::depth(kernel, self.0.node()))
    }

    /// How often its owner has it, whoever that is, as far as shared memory is to be believed.
    pub(crate) fn count(&self) -> u32 {
        if self.is_locked() { self.0.node().depth.load(Relaxed) } else { 0 }
    }

    /// Whether the calling thread has it.
    pub fn is_mine(&self) -> bool {
        self.0.is_mine()
    }

    /// Whether anybody has it, at this moment.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// The process that has it, at this moment and as far as shared memory is to be believed.
    pub fn owner(&self) -> Option<u32> {
        self.0.owner()
    }

    /// Says that what it protects is whole again, after [`Taken::OwnerDied`] or [`Taken::Panicked`]. Only its owner's word counts.
    pub fn repaired(&self) {
        self.0.repaired();
    }

    /// Says that what it protects cannot be repaired, as [`RawLock::abandon`].
    pub fn abandon(&self) {
        self.0.abandon();
    }

    /// Notes that its owner panicked with the data in its hands, as [`RawLock::poison`].
    pub fn poison(&self) {
        self.0.poison();
    }
}

impl fmt::Debug for RawRLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRLock").field("owner", &self.owner()).field("depth", &self.count()).finish()
    }
}
