//! The algorithm of what is set once: a lock for who sets it, a state, a gate for who waits, and the value.
//!
//! | state | means | left by |
//! |---|---|---|
//! | 0 | it is not set; what stands in the value's place means nothing | who has the lock, and has written the value: `SET`; all who wait are woken |
//! | `SET` | it is set, for good | |
//!
//! **The value is written under the lock, and read without it.** Who sets it has the lock, has seen since then that it is not set, and writes the whole value before the
//! state; so nobody writes who has not the lock, nobody writes after `SET`, and nobody reads before. The lock is held while the value is made: who comes meanwhile
//! to make one, too, waits for that. A process may be forked meanwhile: the copy does not have the lock, and writes nothing.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who sets it | before it has the lock | nothing |
//! | who sets it | with the lock, before the state: the value is not made, or written in part | it is not set; the kernel gives the lock to the next, who makes the value anew and writes over what is there |
//! | who sets it | after the state, before its wake | it is set; the kernel wakes one who waits, and that one the next |
//! | who sets it | with the lock, after its wake | it is set; the next to have the lock sees that |
//! | a forked copy of who sets it | anywhere | nothing |
//! | who waits for the lock, or the value | asleep, or just woken | the next is woken |
//! | who reads it | anywhere | nobody need know |

use ipc_core::primitive::cell::UnsafeCell;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, SeqCst};
use ipc_core::primitive::time::Until;
use ipc_shm::Pod;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::modelled::word::{self, Refused, Taken};
use ipc_shm::raw::Layout;

use crate::Result;
use crate::futures::Bell;
use crate::inner::{Held, why};

/// It is set. No small number: who writes over it by mistake writes such.
const SET: u32 = 0x05e7_05e7;

/// A value to be set once, to be placed in shared memory; all zero is one that is not set. See [`OnceLock`](crate::OnceLock) for the handle.
///
/// `system` is the calling thread's, [`gate::current`](ipc_shm::gate::current).
///
/// ```
/// use ipc_shm::gate;
/// use ipc_sync::raw::RawOnceLock;
///
/// let once = RawOnceLock::<u64>::new();
/// let system = gate::current()?;
/// assert_eq!(once.get(), None);
/// assert!(once.set_with(system, || 7)?);
/// assert!(!once.set_with(system, || 8)?);
/// assert_eq!(once.get(), Some(&7));
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[repr(C)]
pub struct RawOnceLock<T: Pod + Send + Sync> {
    gate: Node,
    lock: Node,
    state: AtomicU32,
    bell: Bell,
    value: UnsafeCell<T>,
}

// SAFETY: all but the value are atomics. That one is written under the lock, before the state says that it is set, and read by references afterwards, when nobody
// writes it any more; any thread may have and refer to one (`Send + Sync`).
unsafe impl<T: Pod + Send + Sync> Sync for RawOnceLock<T> {}

// SAFETY: `repr(C)`, of atomics, a gate, a lock, and a cell of plain data, which are valid whatever bytes stand there and have no pointers; all zero is one that is not
// set. The cell is looked into under the lock, or when it is set, and then nobody of this code writes it any more. (How far others are trusted not to,
// `ipc-shm` says: as with the data behind a lock. What they write is a `T` in any case.)
unsafe impl<T: Pod + Send + Sync> Layout for RawOnceLock<T> {
    type Item = ();
    const NAME: &str = "a OnceLock";
    const VERSION: u32 = 1;
}

impl<T: Pod + Send + Sync> Default for RawOnceLock<T> {
    fn default() -> RawOnceLock<T> {
        RawOnceLock::new()
    }
}

impl<T: Pod + Send + Sync> RawOnceLock<T> {
    /// One that is not set.
    pub fn new() -> RawOnceLock<T> {
        RawOnceLock {
            gate: Node::new(),
            lock: Node::new(),
            state: AtomicU32::new(0),
            bell: Bell::new(),
            value: UnsafeCell::new(T::zeroed()),
        }
    }

    /// The value, if it is set.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        (self.state.load(Acquire) == SET).then(|| self.value())
    }

    /// What stands in the value's place. Only when it is set.
    #[inline(always)]
    fn value(&self) -> &T {
        // SAFETY: aligned and mapped as `self` is. Whoever set it had written the value before (`Acquire` has seen that, or the lock), and since then nobody writes it:
        // who writes has the lock, and has seen under it that it is not set. Any bits are a value (`Pod`).
        self.value.with(|value| unsafe { &*value })
    }

    /// Sets it to what `make` gives, if it is not set; `false`: it is, and nobody was called. Others who set it wait meanwhile. If `make` panics, it is not set.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory): the calling thread is at its `make`, or has as many locks as the kernel looks after; or `make` has come back in a forked
    /// copy of the process that is at it.
    /// [`Error::Corrupt`](crate::Error::Corrupt): somebody has written over it.
    pub fn set_with<S: System>(&self, system: &S, make: impl FnOnce() -> T) -> Result<bool> {
        if self.get().is_some() {
            return Ok(false);
        }
        match word::take(system, &self.lock, Until::Forever).map_err(why)? {
            Taken::Whole => {}
            // What a dead one has written of the value is written over.
            _ => word::repaired(system, &self.lock),
        }
        let _held = Held { system, lock: &self.lock };
        system.crash_point("once: has the lock");
        if self.get().is_some() && !mutant::is("who has waited for the lock does not look again") {
            return Ok(false);
        }
        let value = make();
        system.crash_point("once: made");
        if !system.holds(&self.lock) {
            return Err(why(Refused::Copied));
        }
        if mutant::is("it is set before it is written") {
            self.state.swap(SET, SeqCst);
        }
        // SAFETY: aligned and mapped as `self` is. Who writes has the lock, which is one; who reads has seen that it is set, and it was not just now.
        self.value.with_mut(|place| unsafe { place.write(value) });
        system.crash_point("once: written");
        gate::update(system, &self.gate, u32::MAX, || {
            self.state.swap(SET, SeqCst);
            (!mutant::is("who waits for the value is not woken"), ())
        });
        system.crash_point("once: set");
        self.bell.ring();
        Ok(true)
    }

    /// Waits until it is set; `None`: the time was over first.
    pub fn wait<S: System>(&self, system: &S, until: Until) -> Option<&T> {
        let set = |state| state == SET;
        gate::wait(system, &self.gate, &self.state, until, |state| set(state).then_some(()), set)?;
        Some(self.value())
    }

    /// What futures are woken by.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }
}
