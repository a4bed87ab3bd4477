//! Waiting for a notification in an executor: a waiter that does not sleep.
//!
//! | the future | has | dropped |
//! |---|---|---|
//! | is not polled yet | the guard | frees the lock |
//! | waits, or was notified | a ticket | gives up: what was given for it goes to another who waits |
//! | is done | the guard, which it gives | |
//!
//! A future that is forgotten and never polled again is counted among the waiting for good, as a waiter that was killed.

use ipc_core::primitive::process::Incarnation;
use ipc_shm::{LockError, Released, Relock, gate};

use super::raw::RawCondition;
use crate::Error;

/// Gives the lock back, waits to be notified, and has the lock again.
pub(super) async fn wait<G: Relock>(condition: &RawCondition, guard: G) -> Result<G, LockError<G>> {
    let ticket = condition.enrol(gate::current()?).map_err(ipc_shm::Error::from)?;
    let ticket = Ticket { condition, ticket, of: Incarnation::this() };
    let mut released = guard.release();
    loop {
        let notified = || Ok(condition.is_notified(ticket.ticket).then_some(()));
        condition.bell().wait(notified).await.map_err(of_memory)?;
        let guard = released.relock()?;
        if condition.take(gate::current()?, ticket.ticket).map_err(ipc_shm::Error::from)? {
            std::mem::forget(ticket);
            return Ok(guard);
        }
        // Another who waited was faster.
        released = guard.release();
    }
}

/// What waiting for a bell says is of the crates below.
fn of_memory(error: Error) -> ipc_shm::Error {
    match error {
        Error::Memory(error) => error,
        other => ipc_shm::Error::Os {
            operation: "could not wait for a notification".to_owned(),
            source: std::io::Error::other(other),
        },
    }
}

/// One waits. A forked copy does not: it was not counted.
struct Ticket<'a> {
    condition: &'a RawCondition,
    ticket: u64,
    of: Incarnation,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.of.is_this()
            && let Ok(system) = gate::current()
        {
            let _ = self.condition.give_up(system, self.ticket);
        }
    }
}
