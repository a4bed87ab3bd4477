//! The lock inside a primitive: it is held for some dozens of instructions, and what it protects can be made whole by whoever comes next.

use ipc_core::primitive::time::Until;
use ipc_core::primitive::{MODEL, mutant};
use ipc_shm::gate::{Node, System};
use ipc_shm::modelled::word::{self, Refused, Taken};

use crate::lifeline::LOOK;
use crate::{Error, Result};

/// Does `what` with the lock, after `repair` where an owner died or panicked; `None`: the time was over before the lock was free. If `what` panics, the next repairs.
///
/// Who does not wait at all waits for those dozens of instructions all the same, and gives up after [`LOOK`]: somebody was stopped there.
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
    let taken = if word::take_at_once(system, lock, || true) {
        Ok(Taken::Whole)
    } else {
        let until = if until == Until::Now { Until::after(LOOK) } else { until };
        word::take_in_full(system, lock, until, &|| true)
    };
    match taken {
        Ok(Taken::Whole) => {}
        Ok(Taken::OwnerDied(_) | Taken::Panicked) => {
            let told = Unfinished { system, lock, free: word::hand_on };
            if !mutant::is("nothing is repaired") {
                repair()?;
            }
            std::mem::forget(told);
            word::repaired(system, lock);
        }
        Err(Refused::Busy | Refused::TimedOut) => return Ok(None),
        Err(refused) => return Err(why(refused)),
    }
    let unfinished = Unfinished { system, lock, free: poison_and_free };
    let done = what();
    std::mem::forget(unfinished);
    word::free(system, lock);
    done.map(Some)
}

/// A lock of one who has not come to an end with what it protects: whoever takes it next is told.
struct Unfinished<'a, S: System> {
    system: &'a S,
    lock: &'a Node,
    free: fn(&S, &Node) -> bool,
}

impl<S: System> Drop for Unfinished<'_, S> {
    #[cold]
    fn drop(&mut self) {
        // A model's victim dies by unwinding, and does nothing any more.
        if !(MODEL && std::thread::panicking()) {
            (self.free)(self.system, self.lock);
        }
    }
}

#[cold]
fn poison_and_free<S: System>(system: &S, lock: &Node) -> bool {
    word::poison(system, lock);
    word::free(system, lock)
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

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn after_a_panic_it_is_free_and_the_next_repairs() -> Result<()> {
        let (system, lock, repairs) = (ipc_shm::gate::current()?, Node::new(), Cell::new(0));
        let repair = || {
            repairs.set(repairs.get() + 1);
            Ok(())
        };
        let panics =
            || locked(system, &lock, Until::Now, repair, || -> Result<()> { panic!("with the lock") });
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        let fails = || Err(Error::corrupt("it cannot be repaired"));
        assert!(locked(system, &lock, Until::Now, fails, || Ok(())).is_err());
        let panics = || -> Result<()> { panic!("while it repairs") };
        assert!(
            catch_unwind(AssertUnwindSafe(|| locked(system, &lock, Until::Now, panics, || Ok(())))).is_err()
        );
        for _ in 0..2 {
            assert!(locked(system, &lock, Until::Now, repair, || Ok(()))?.is_some());
        }
        assert_eq!(repairs.get(), 1);
        Ok(())
    }
}
