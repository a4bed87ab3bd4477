//! Why there is no guard, or one that wants to be looked at first.

use std::fmt;

use super::guard::Guarded;
use super::word::{Refused, Taken};
use crate::Error;

/// Why a lock gave no guard, or gave it with a warning.
///
/// `?` turns it into an [`Error`], also into one in a `Box<dyn Error>`. (So it is no [`std::error::Error`] itself: it borrows the lock, and would go
/// into no box that leaves the function.) A guard that comes with a warning is given back then, and the next to lock is warned as well: until
/// somebody [recovers](LockError::recover) it. Who can go on whatever a dead owner has left, says so:
///
/// ```
/// use ipc_shm::{LockError, Value};
/// let lines = Value::new(0_u64)?;
/// *lines.lock().or_else(LockError::recover)? += 1;
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[non_exhaustive]
pub enum LockError<G: Guarded> {
    /// The lock is taken, and its last owner died with the data in its hands, killed perhaps half way through a change.
    OwnerDied(OwnerDied<G>),
    /// The lock is taken, and an owner panicked with the data in its hands.
    Poisoned(Poisoned<G>),
    /// An owner died, and whoever was told could not repair what it left, and [said so](OwnerDied::abandon). Nobody gets the data any more.
    Lost,
    /// Somebody has it, and there was no time to wait (`try_lock`).
    WouldBlock,
    /// The time is over.
    TimedOut,
    /// The lock was not taken, for a reason that is no other process's: it is in the error.
    Error(Error),
}

impl<G: Guarded> LockError<G> {
    /// The guard of a lock that was taken so.
    pub(crate) fn told(taken: Taken, guard: G) -> Result<G, LockError<G>> {
        match taken {
            Taken::Whole => Ok(guard),
            Taken::OwnerDied(pid) => Err(LockError::OwnerDied(OwnerDied { guard, pid })),
            Taken::Panicked => Err(LockError::Poisoned(Poisoned { guard })),
        }
    }

    pub(crate) fn refused(refused: Refused) -> LockError<G> {
        match refused {
            Refused::Busy => LockError::WouldBlock,
            Refused::TimedOut => LockError::TimedOut,
            Refused::Lost => LockError::Lost,
            other => LockError::Error(Error::refused(other)),
        }
    }

    /// The guard, if it comes with a warning: as if nothing had happened, and later owners are not warned any more. Whoever calls it answers for
    /// the data being as it should be when the guard is dropped.
    ///
    /// # Errors
    /// What it is otherwise.
    pub fn recover(self) -> Result<G, Error> {
        match self {
            LockError::OwnerDied(died) => Ok(died.recover()),
            LockError::Poisoned(poisoned) => Ok(poisoned.recover()),
            other => Err(other.into()),
        }
    }

    /// The process that died, where that is what happened.
    pub fn pid(&self) -> Option<u32> {
        match self {
            LockError::OwnerDied(died) => Some(died.pid()),
            _ => None,
        }
    }
}

/// A guard whose data a dead owner may have left half changed.
///
/// Dropped as it is, it frees the lock, and the next owner is told as well: whoever comes is told, until somebody has repaired the data and
/// [says so](OwnerDied::recover), or [gives it up](OwnerDied::abandon).
#[must_use = "the lock is held as long as this is there"]
pub struct OwnerDied<G: Guarded> {
    pub(crate) guard: G,
    pub(crate) pid: u32,
}

impl<G: Guarded> OwnerDied<G> {
    /// The process that had it. The system may have given the number to another process meanwhile.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The data as it was left, to look at before it is decided what to do.
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// The guard, as if nothing had happened: whoever calls it answers for the data being as it should be when the guard is dropped. (Who dies
    /// before that is reported like any owner.)
    pub fn recover(mut self) -> G {
        self.guard.raw().repaired();
        self.guard.answer_for();
        self.guard
    }

    /// Gives the data up: whoever locks it from now on, in whatever process, gets [`LockError::Lost`], for good. It is what a robust pthread mutex makes of a lock
    /// that is freed before it is consistent again.
    pub fn abandon(self) {
        self.guard.raw().abandon();
    }
}

/// A guard whose data an owner that panicked may have left half changed.
#[must_use = "the lock is held as long as this is there"]
pub struct Poisoned<G: Guarded> {
    pub(crate) guard: G,
}

impl<G: Guarded> Poisoned<G> {
    /// The data as it was left.
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// The guard; later owners are warned as well, as with std's mutex.
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// The guard; later owners are not warned any more.
    pub fn recover(self) -> G {
        self.guard.raw().repaired();
        self.guard
    }
}

impl<G: Guarded> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Error {
        match error {
            // The guard is dropped, which hands on what it was told.
            LockError::OwnerDied(died) => Error::OwnerDied { pid: died.pid },
            LockError::Poisoned(_) => Error::Poisoned,
            LockError::Lost => Error::Lost,
            LockError::WouldBlock => Error::WouldBlock,
            LockError::TimedOut => Error::TimedOut,
            LockError::Error(error) => error,
        }
    }
}

impl<G: Guarded> From<Error> for LockError<G> {
    fn from(error: Error) -> LockError<G> {
        LockError::Error(error)
    }
}

impl<G: Guarded> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(died) => Error::OwnerDied { pid: died.pid }.fmt(f),
            LockError::Poisoned(_) => Error::Poisoned.fmt(f),
            LockError::Lost => Error::Lost.fmt(f),
            LockError::WouldBlock => Error::WouldBlock.fmt(f),
            LockError::TimedOut => Error::TimedOut.fmt(f),
            LockError::Error(error) => error.fmt(f),
        }
    }
}

impl<G: Guarded> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockError({self})")
    }
}

impl<'e, G: Guarded> From<LockError<G>> for Box<dyn std::error::Error + 'e> {
    fn from(error: LockError<G>) -> Self {
        Error::from(error).into()
    }
}

impl<'e, G: Guarded> From<LockError<G>> for Box<dyn std::error::Error + Send + Sync + 'e> {
    fn from(error: LockError<G>) -> Self {
        Error::from(error).into()
    }
}
