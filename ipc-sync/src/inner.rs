//! The lock inside a primitive: it is held for some dozens of instructions, and what it protects can be made whole by whoever comes next.

use ipc_core::primitive::time::Until;
use ipc_core::primitive::{MODEL, mutant};
use ipc_shm::gate::{Node, System};
use ipc_shm::modelled::word::{self, Refused, Taken};

use crate::{Error, Result};

/// Does `what` with the lock, after `repair` where an owner died; `None`: the time was over before the lock was free.
///
/// # Errors
/// That the lock cannot be taken, or those of `what`.
#[inline(always)]
pub(crate) fn locked<S: System, R>(
    system: &S,
    lock: &Node,
    until: Until,
    repair: impl FnOnce() -> Result<()>,
    what: impl FnOnce() -> Result<R>,
) -> Result<Option<R>> {
    match word::take(system, lock, until) {
        Ok(Taken::Whole) => {}
        Ok(Taken::OwnerDied(_) | Taken::Panicked) => {
            if !mutant::is("nothing is repaired")
                && let Err(error) = repair()
            {
                // The next one is told as well.
                word::hand_on(system, lock);
                return Err(error);
            }
            word::repaired(system, lock);
        }
        Err(Refused::Busy | Refused::TimedOut) => return Ok(None),
        Err(refused) => return Err(why(refused)),
    }
    let done = what();
    word::free(system, lock);
    done.map(Some)
}

/// A lock that this thread has, until this is dropped; by a panic, too. In a forked copy of its owner nothing is freed.
#[derive(Debug)]
pub(crate) struct Held<'a, S: System> {
    pub(crate) system: &'a S,
    pub(crate) lock: &'a Node,
}

impl<S: System> Drop for Held<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        // A model's victim dies by unwinding, and does nothing any more.
        if MODEL && std::thread::panicking() {
            return;
        }
        word::free(self.system, self.lock);
    }
}

#[cold]
pub(crate) fn why(refused: Refused) -> Error {
    match refused {
        Refused::TooMany | Refused::AlreadyHeld | Refused::Copied => ipc_shm::Error::from(refused).into(),
        refused => Error::corrupt(format!("the lock inside says {refused:?}")),
    }
}
