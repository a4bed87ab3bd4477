//! What can go wrong, in one type.
//!
//! What shared memory itself refuses comes up from `ipc-shm` ([`Error::Memory`]). Errors are messages too: a child may return one, so `Error` implements
//! serde. Operations that take a value have an error of their own, which gives it back (`PutError`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// Shared memory could not be had, or is not what it was taken for; a lock could not be taken.
    Memory(ipc_shm::Error),
    /// A value could not be sent or received, a descriptor not be waited for.
    Message(ipc_core::Error),
    /// A value given by the caller is not acceptable.
    Invalid {
        /// Which value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A system call failed.
    Os {
        /// What was to be done, and the call.
        operation: String,
        /// The system's error.
        #[serde(with = "ipc_core::primitive::io_error")]
        source: std::io::Error,
    },
    /// There is no room, and there was none as long as was waited.
    Full,
    /// It was closed: nothing more is put, and all that was is taken.
    Closed,
    /// Nobody is left on the other side.
    Disconnected,
    /// Processes have died with items in their hands that they were not done with.
    Abandoned {
        /// How many items.
        items: u64,
    },
    /// Somebody has written over shared memory: what stands there is not what this crate puts there.
    Corrupt {
        /// What was found.
        why: String,
    },
    /// More permits were to be released than there may be: of a [`BoundedSemaphore`](crate::BoundedSemaphore), more than were acquired.
    TooManyPermits {
        /// How many there are.
        available: u32,
        /// How many were to be released.
        released: u32,
        /// How many there may be.
        most: u32,
    },
    /// As many living processes have something of it as its ledger has room for.
    TooManyProcesses {
        /// So many have.
        most: u32,
    },
    /// The barrier is broken: by a time-out, by [`abort`](crate::Barrier::abort), by the death of one who had arrived, by a panic of its action, by the drop of a future that had arrived; or it was
    /// [reset](crate::Barrier::reset) while one waited.
    BrokenBarrier,
}

impl Error {
    /// Whether it is the end: it was closed, or nobody is left on the other side.
    pub fn is_end(&self) -> bool {
        matches!(self, Error::Closed) || self.is_disconnected()
    }

    /// Whether the other side has closed its end, or is gone.
    pub fn is_disconnected(&self) -> bool {
        match self {
            Error::Disconnected => true,
            Error::Message(error) => error.is_disconnected(),
            _ => false,
        }
    }

    /// Whether the time was over, or there was none to wait (`try_…`).
    ///
    /// [`BrokenBarrier`](Error::BrokenBarrier) is no such: whoever's time is over at a barrier has broken it for all, and gets the error that all get, as in Python. Whose
    /// time it was, tells that one's clock.
    pub fn is_timed_out(&self) -> bool {
        match self {
            Error::Full | Error::Memory(ipc_shm::Error::TimedOut | ipc_shm::Error::WouldBlock) => true,
            Error::Message(error) => error.is_timed_out(),
            _ => false,
        }
    }

    #[cold]
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    #[cold]
    pub(crate) fn corrupt(why: impl Into<String>) -> Error {
        Error::Corrupt { why: why.into() }
    }

    #[cold]
    pub(crate) fn too_many_permits(available: u32, released: u32, most: u32) -> Error {
        Error::TooManyPermits { available, released, most }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Memory(error) => error.fmt(f),
            Error::Message(error) => error.fmt(f),
            Error::Invalid { what, why } => write!(f, "{what} is not acceptable: {why}"),
            Error::Os { operation, source } => write!(f, "{operation}: {source}"),
            Error::Full => f.write_str("there is no room"),
            Error::Closed => f.write_str("it is closed"),
            Error::Abandoned { items } => {
                write!(f, "{items} items were in the hands of processes that died, and not done")
            }
            Error::Disconnected => f.write_str("nobody is left on the other side"),
            Error::Corrupt { why } => write!(f, "somebody has written over shared memory: {why}"),
            Error::TooManyPermits { available, released, most } => {
                write!(f, "{released} permits too many: there are {available}, and there may be {most}")
            }
            Error::TooManyProcesses { most } => {
                write!(f, "{most} living processes have something of it, and its ledger has room for no more")
            }
            Error::BrokenBarrier => f.write_str("the barrier is broken"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Memory(error) => error.source(),
            Error::Message(error) => error.source(),
            Error::Os { source, .. } => Some(source),
            Error::Invalid { .. }
            | Error::Corrupt { .. }
            | Error::Full
            | Error::Closed
            | Error::Disconnected
            | Error::Abandoned { .. }
            | Error::TooManyPermits { .. }
            | Error::TooManyProcesses { .. }
            | Error::BrokenBarrier => None,
        }
    }
}

impl From<ipc_shm::Error> for Error {
    fn from(error: ipc_shm::Error) -> Error {
        Error::Memory(error)
    }
}

impl<G: ipc_shm::Guarded> From<ipc_shm::LockError<G>> for Error {
    fn from(error: ipc_shm::LockError<G>) -> Error {
        Error::Memory(error.into())
    }
}

/// A value could not be sent through a ring; it comes back. `?` turns it into the crate's [`Error`].
///
/// ```
/// let (mut sender, receiver) = ipc_sync::ring::<String>(4096)?;
/// drop(receiver);
/// let failed = sender.send("kept".into()).unwrap_err();
/// assert!(failed.error().is_disconnected());
/// assert_eq!(failed.into_value(), "kept");
/// # Ok::<(), ipc_sync::Error>(())
/// ```
pub type SendError<T> = ipc_core::SendError<T, Error>;

/// A value could not be put into a queue; it comes back. `?` turns it into the crate's [`Error`].
///
/// ```
/// use ipc_sync::{Error, Queue};
///
/// let queue = Queue::bounded(1)?;
/// queue.put("first".to_string())?;
/// let full = queue.try_put("second".to_string()).unwrap_err();
/// assert!(matches!(full.error(), Error::Full));
/// assert_eq!(full.into_value(), "second");
/// # Ok::<(), Error>(())
/// ```
pub type PutError<T> = ipc_core::SendError<T, Error>;

impl<T> From<ipc_core::SendError<T, Error>> for Error {
    fn from(error: ipc_core::SendError<T, Error>) -> Error {
        error.into_parts().1
    }
}

impl From<ipc_core::Error> for Error {
    fn from(error: ipc_core::Error) -> Error {
        Error::Message(error)
    }
}
