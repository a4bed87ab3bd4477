//! Waiting at a barrier in an executor: a party that does not sleep.
//!
//! | the future | has | dropped |
//! |---|---|---|
//! | is not polled yet, or waits for those of the last time to leave | nothing | changes nothing |
//! | has arrived, and waits for the others | a seat | breaks the barrier, as a time that is over, and leaves; if all have come by then, they pass |
//! | is done | nothing any more | |
//!
//! A future that is forgotten and never polled again keeps its seat as long as its process lives, as a thread does that ended at the barrier.

use ipc_core::primitive::process::Incarnation;
use ipc_core::primitive::time::Until;
use ipc_shm::gate;

use super::raw::RawBarrier;
use crate::people::Here;
use crate::{Error, Result};

/// Arrives, and waits until all have, as long as is said; gives how many came after the caller.
pub(super) async fn pass(barrier: &RawBarrier, until: Until, action: Option<impl FnOnce()>) -> Result<u32> {
    let mut action = action;
    let bell = barrier.bell();
    let behind = bell.wait(|| barrier.try_arrive(gate::current()?, &Here, until, &mut action)).await?;
    let seat = Seat { barrier, of: Incarnation::this() };
    let passed = bell.wait(|| barrier.try_pass(gate::current()?, &Here, until)).await?;
    std::mem::forget(seat);
    if passed { Ok(behind) } else { Err(Error::BrokenBarrier) }
}

/// One has arrived, and not left. A forked copy has not: the ledger does not know it.
struct Seat<'a> {
    barrier: &'a RawBarrier,
    of: Incarnation,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.of.is_this()
            && let Ok(system) = gate::current()
        {
            let _ = self.barrier.give_up(system, &Here);
        }
    }
}
