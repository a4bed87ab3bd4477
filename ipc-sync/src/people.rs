//! Processes, as a ledger tells them apart: which one this is, and which of those that have entries are dead.
//!
//! A process is its number and when it started ([`Life`]). The start is read by the clock of the reader's time namespace, so processes that
//! share a ledger must share that clock: the ledger notes whose it is. Asking the system each time would cost more than a lock does, so
//! what a process knows of itself is kept by its threads, until they are another process's (a fork's).

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;

use ipc_core::primitive::process::{Incarnation, Life, is_nothing};

use crate::Result;

/// What ledgers ask of the system: the seam at which a model takes its place.
pub trait People {
    /// The calling process.
    ///
    /// # Errors
    /// /proc does not tell.
    fn this(&self) -> Result<Person>;

    /// Whether a process is dead, as far as can be told: where it cannot, it lives.
    fn is_over(&self, life: Life) -> bool;

    /// Milliseconds, of a clock that goes on evenly and that all who share a ledger have in common.
    fn now(&self) -> u64;
}

/// A process, and the clock that its start is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The process.
    pub life: Life,
    /// The number of its time namespace; never 0.
    pub clock: u64,
}

/// The real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

thread_local! {
    static KNOWN: Cell<Option<(Incarnation, Person)>> = const { Cell::new(None) };
}

impl People for Here {
    #[inline]
    fn this(&self) -> Result<Person> {
        match KNOWN.get() {
            Some((incarnation, person)) if incarnation.is_this() => Ok(person),
            _ => ask(),
        }
    }

    fn is_over(&self, life: Life) -> bool {
        life.is_over()
    }

    fn now(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        (now.tv_sec as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
    }
}

#[cold]
fn ask() -> Result<Person> {
    let failed = |source| ipc_shm::Error::Os { operation: "could not read /proc/self".into(), source };
    let life = Life::this().map_err(failed)?;
    // A system without time namespaces has one clock.
    let clock = match std::fs::metadata("/proc/self/ns/time") {
        Ok(namespace) => namespace.ino().max(1),
        Err(why) if is_nothing(&why) => 1,
        Err(why) => return Err(failed(why).into()),
    };
    let person = Person { life, clock };
    KNOWN.set(Some((Incarnation::this(), person)));
    Ok(person)
}
