//! What the raw locks are to who is generic over them.

use ipc_core::primitive::time::Until;

use super::raw::RawLock;
use super::raw_recursive::RawRLock;
use super::word::{Refused, Taken};

/// A lock in shared memory that survives its owner: what the safe forms of crates above are built on.
///
/// # Safety
/// Whoever implements it says:
///
/// - All zero bits are a free lock, and any bits are a valid value: other processes write there at any time.
/// - Between a success of [`take`](Robust::take) and the matching [`free`](Robust::free) no other thread of any process that keeps to the lock has a
///   success, unless the owner has died. The *thread* that has taken it is the owner.
/// - When an owner ends, however it does, the lock can be taken again, and the next to take it is told ([`Taken::OwnerDied`]), and the next after that, until
///   somebody has said that the data is [`repaired`](Robust::repaired). Where one who was told frees it without, it is refused to all others
///   ([`Refused::Lost`]).
/// - A forked copy of the owner is not the owner: in it, `free` and `hand_on` change nothing.
///
/// ```
/// use ipc_shm::raw::{RawLock, RawRLock, Robust, Taken};
/// use ipc_shm::{Segment, Until};
///
/// fn once<L: Robust>(lock: &L) -> Taken {
///     // SAFETY: the caller keeps it mapped; it is given back at once.
///     unsafe {
///         let taken = lock.take(Until::Forever).unwrap();
///         lock.repaired();
///         lock.free();
///         taken
///     }
/// }
///
/// let segment = Segment::new(128)?;
/// let at = segment.as_ptr();
/// // SAFETY: zeros at a page boundary and 64 bytes on, mapped as long as `segment` is; nothing else uses them.
/// let (one, other) = unsafe { (at.cast::<RawLock>().as_ref(), at.add(64).cast::<RawRLock>().as_ref()) };
/// assert_eq!((once(one), once(other)), (Taken::Whole, Taken::Whole));
/// # Ok::<(), ipc_shm::Error>(())
/// ```
pub unsafe trait Robust: Send + Sync {
    /// Takes the lock for the calling thread, waiting for it as long as is said.
    ///
    /// # Errors
    /// See [`Refused`]; the lock was not taken then.
    ///
    /// # Safety
    /// From a success until [`free`](Robust::free), and as long as the call waits, this memory stays mapped at this address: the kernel and the
    /// thread's later locks find it through the thread's robust list.
    unsafe fn take(&self, until: Until) -> Result<Taken, Refused>;

    /// Frees it, and wakes one who waits. `false`: the links of the thread's list had been written over, and are mended.
    ///
    /// # Safety
    /// As for [`take`](Robust::take), until the call returns.
    unsafe fn free(&self) -> bool;

    /// As [`free`](Robust::free), by one who had no occasion to repair anything: the next is told what this one was told.
    ///
    /// # Safety
    /// As for [`free`](Robust::free).
    unsafe fn hand_on(&self) -> bool;

    /// Says that the data is whole again. Only its owner's word counts.
    fn repaired(&self);

    /// Says that the data cannot be repaired: whoever takes it after its owner is refused ([`Refused::Lost`]). Only its owner's word counts.
    fn abandon(&self);

    /// Notes that its owner panicked with the data in its hands ([`Taken::Panicked`]). Only its owner's word counts.
    fn poison(&self);

    /// Whether the calling thread has it.
    fn is_mine(&self) -> bool;

    /// Whether anybody has it, at this moment.
    fn is_locked(&self) -> bool;

    /// The process that has it, at this moment and as far as shared memory is to be believed.
    fn owner(&self) -> Option<u32>;
}

macro_rules! robust {
    ($($lock:ident)*) => {$(
        // SAFETY: the contract is that of the algorithm (`word.rs`), which its models check.
        unsafe impl Robust for $lock {
            #[inline(always)]
            unsafe fn take(&self, until: Until) -> Result<Taken, Refused> {
                // SAFETY: the caller's promise is the same.
                unsafe { $lock::take(self, until) }
            }

            #[inline(always)]
            unsafe fn free(&self) -> bool {
                // SAFETY: as above.
                unsafe { $lock::free(self) }
            }

            unsafe fn hand_on(&self) -> bool {
                // SAFETY: as above.
                unsafe { $lock::hand_on(self) }
            }

            fn repaired(&self) {
                $lock::repaired(self);
            }

            fn abandon(&self) {
                $lock::abandon(self);
            }

            fn poison(&self) {
                $lock::poison(self);
            }

            fn is_mine(&self) -> bool {
                $lock::is_mine(self)
            }

            fn is_locked(&self) -> bool {
                $lock::is_locked(self)
            }

            fn owner(&self) -> Option<u32> {
                $lock::owner(self)
            }
        }
    )*};
}

robust! { RawLock RawRLock }
