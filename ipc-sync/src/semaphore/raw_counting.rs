//! Permits that belong to nobody: the raw form.

use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::raw::Layout;

use super::permits::{self, MAX_PERMITS};
use crate::futures::Bell;
use crate::{Error, Result};

/// A [`CountingSemaphore`](crate::CountingSemaphore) to be placed in shared memory by whoever has some; all zero is one without permits that
/// can have as many as any.
///
/// `system` is the calling thread's, [`gate::current`](ipc_shm::gate::current).
///
/// ```
/// use ipc_shm::{Until, gate};
/// use ipc_sync::raw::RawCountingSemaphore;
///
/// let full = RawCountingSemaphore::new(2, 2)?;
/// let system = gate::current()?;
/// assert!(full.acquire(system, 2, Until::Now));
/// assert!(!full.acquire(system, 1, Until::Now));
/// full.release(system, 2)?;
/// assert!(full.release(system, 1).is_err());
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[repr(C)]
pub struct RawCountingSemaphore {
    state: AtomicU64,
    /// The most permits there may be; 0: [`MAX_PERMITS`].
    most: AtomicU32,
    bell: Bell,
    gate: Node,
}

// SAFETY: `repr(C)`, of atomics and a gate, valid whatever is written over them; no pointers; zero is one without permits.
unsafe impl Layout for RawCountingSemaphore {
    type Item = ();
    const NAME: &'static str = "a CountingSemaphore";
    const VERSION: u32 = 1;
}

impl RawCountingSemaphore {
    /// One with so many permits, that has never more than `most`.
    ///
    /// # Errors
    /// [`Error::Invalid`]: `most` is none, or over [`MAX_PERMITS`], or there are more.
    pub fn new(permits: u32, most: u32) -> Result<RawCountingSemaphore> {
        let new = RawCountingSemaphore {
            state: AtomicU64::new(0),
            most: AtomicU32::new(0),
            bell: Bell::new(),
            gate: Node::new(),
        };
        new.init(permits, most)?;
        Ok(new)
    }

    /// Makes it one with so many permits, and at most so many; before others have it.
    ///
    /// # Errors
    /// As [`new`](RawCountingSemaphore::new).
    pub fn init(&self, permits: u32, most: u32) -> Result<()> {
        super::check(permits, most)?;
        self.most.store(most, Relaxed);
        permits::set(&self.state, permits);
        Ok(())
    }

    /// Takes so many permits, waiting for them as long as is said; whether it did.
    #[inline(always)]
    pub fn acquire<S: System>(&self, system: &S, permits: u32, until: Until) -> bool {
        self.take(permits) || self.wait(system, permits, until)
    }

    /// Takes so many permits if there are.
    #[inline(always)]
    pub(crate) fn take(&self, permits: u32) -> bool {
        permits::take(&self.state, permits)
    }

    #[cold]
    pub(crate) fn wait<S: System>(&self, system: &S, permits: u32, until: Until) -> bool {
        let look = |_| permits::take(&self.state, permits).then_some(());
        gate::wait(system, &self.gate, &self.state, until, look, |state| permits::count(state) > 0).is_some()
    }

    /// Puts so many permits there, and wakes as many who wait.
    ///
    /// # Errors
    /// [`Error::TooManyPermits`]; nothing has changed then.
    #[inline(always)]
    pub fn release<S: System>(&self, system: &S, permits: u32) -> Result<()> {
        let put = || {
            let put = permits::put(&self.state, permits, self.most());
            (put.is_ok() && permits > 0, put)
        };
        match gate::update(system, &self.gate, permits, put) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(available) => Err(Error::too_many_permits(available, permits, self.most())),
        }
    }

    /// How many permits there are, at this moment.
    pub fn available(&self) -> u32 {
        permits::count(self.state.load(Relaxed))
    }

    /// How many there may be.
    #[inline(always)]
    pub fn most(&self) -> u32 {
        match self.most.load(Relaxed) {
            0 => MAX_PERMITS,
            most => most,
        }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }
}
