//! What can go wrong, in one type.
//!
//! Shared memory fails late and badly where nobody looks: a reservation beyond a limit ends in SIGXFSZ or the OOM killer, a page that
//! cannot be had in SIGBUS. So the limits are compared first, and each refusal is an error that names what was needed, what there was
//! and whose limit it is ([`Error::NoMemory`]). What comes from another process is looked at before it is used
//! ([`Error::NotASegment`]).
//!
//! Errors are messages too: a child may return one, so `Error` implements serde. An [`io::Error`] travels as its number where it has
//! one, as its text otherwise.

use std::fmt;
use std::io;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::lock::word::Refused;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
///
/// ```
/// use ipc_shm::Error;
///
/// let limit = "RLIMIT_FSIZE of this process".to_owned();
/// let error = Error::NoMemory { needed: 8192, available: 4096, limit };
/// assert_eq!(
///     error.to_string(),
///     "could not have 8192 bytes of shared memory: RLIMIT_FSIZE of this process leaves 4096"
/// );
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Os {
        /// What was to be done, and the call: `could not make a segment: memfd_create`.
        operation: String,
        /// The system's error.
        #[serde(with = "ipc_core::primitive::io_error")]
        source: io::Error,
    },
    /// There is not as much memory, or not as much of it is allowed. Nothing was kept of what was reserved before.
    NoMemory {
        /// How many bytes were needed; of a large segment, how many still were.
        needed: u64,
        /// How many there were.
        available: u64,
        /// Whose limit it is: the machine's (`MemAvailable in /proc/meminfo`), the process's (`RLIMIT_AS of this process`), or the
        /// file of the control group that has it.
        limit: String,
    },
    /// A value given by the caller is not acceptable.
    Invalid {
        /// Which value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be done as long as others use it.
    InUse {
        /// What was to be done: `freeze a segment`.
        what: String,
        /// Who uses it.
        why: String,
    },
    /// A descriptor is not what a segment, a view or frozen data is made of: no memory file, not sealed, of another size.
    NotASegment {
        /// What is wrong with it.
        why: String,
    },
    /// The process that had the lock died with the data in its hands.
    OwnerDied {
        /// Which process; the system may have given the number to another one meanwhile.
        pid: u32,
    },
    /// An owner panicked with the data in its hands.
    Poisoned,
    /// An owner died with the data in its hands, and who was told of it has given it up.
    Lost,
    /// It stood in an [`Arena`](crate::Arena), and was freed there.
    Freed,
    /// The calling thread has the lock already: to wait for it would be for ever.
    AlreadyHeld,
    /// The calling thread has as many locks as the kernel looks after when it dies: 2047, less those robust mutexes of the C library that
    /// it holds.
    TooManyLocks,
    /// A recursive lock was taken 2³²−1 times.
    TooDeep,
    /// Somebody has the lock, and there was no time to wait for it.
    WouldBlock,
    /// The time is over, and somebody has the lock.
    TimedOut,
    /// Somebody has written over the lock: it says that this thread has it, which is not so.
    Damaged,
    /// An index beyond the end.
    OutOfBounds {
        /// The index.
        index: usize,
        /// How many elements there are.
        len: usize,
    },
    /// What is asked for cannot be had here.
    Unsupported {
        /// What is asked for.
        what: String,
        /// Why it cannot be had.
        why: String,
    },
    /// A text or bytes longer than its place in a list.
    TooLong {
        /// How many bytes it has.
        needed: usize,
        /// How many the place has, as it was made.
        available: usize,
    },
    /// Somebody has written over shared memory: what stands there is not what this crate puts there.
    Corrupt {
        /// What stands there: `item 3 of a list`.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has the name: a living owner, or a program that does not use this crate.
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// Nobody has the name, or not any more.
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is another process's: only its owner takes it away.
    NotOwner {
        /// The name.
        name: String,
    },
    /// The process that removes the names of dead owners could not be found, started or talked to. No name was made.
    Reaper {
        /// Why.
        why: String,
    },
}

impl Error {
    /// A failed system call. Where no descriptor is left, the limit is named.
    pub(crate) fn os(operation: impl Into<String>, source: impl Into<io::Error>) -> Error {
        let (mut operation, source) = (operation.into(), source.into());
        if source.raw_os_error() == Some(libc::EMFILE) {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            operation.push_str(&format!(" (RLIMIT_NOFILE of this process is {limit})"));
        }
        Error::Os { operation, source }
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    pub(crate) fn not_a_segment(why: impl Into<String>) -> Error {
        Error::NotASegment { why: why.into() }
    }

    /// A lock that was refused for a reason that waiting does not change.
    pub(crate) fn refused(refused: Refused) -> Error {
        let unsupported = |why| Error::Unsupported { what: "a lock that survives its owner".into(), why };
        match refused {
            Refused::Busy => Error::WouldBlock,
            Refused::TimedOut => Error::TimedOut,
            Refused::AlreadyHeld => Error::AlreadyHeld,
            Refused::TooMany => Error::TooManyLocks,
            Refused::TooDeep => Error::TooDeep,
            Refused::Lost => Error::Lost,
            Refused::Freed => Error::Freed,
            Refused::Copied => unsupported("the thread is a forked copy of the one that began".into()),
            Refused::Damaged => Error::Damaged,
            Refused::NoRobustList(errno) => unsupported(format!(
                "get_robust_list: {}; a sandbox may refuse it",
                io::Error::from_raw_os_error(errno)
            )),
            Refused::OtherLayout(offset) => unsupported(format!(
                "the C library lays its robust mutexes out otherwise (offset {offset}, and ours is -32)"
            )),
        }
    }

    /// The system's error behind this one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Error::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        Error::refused(refused)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Os { operation, source } => write!(f, "{operation}: {source}"),
            Error::NoMemory { needed, available, limit } => {
                write!(f, "could not have {needed} bytes of shared memory: {limit} leaves {available}")
            }
            Error::Invalid { what, why } => write!(f, "{what} is not acceptable: {why}"),
            Error::InUse { what, why } => write!(f, "could not {what}: {why}"),
            Error::NotASegment { why } => write!(f, "a descriptor cannot be used as shared memory: {why}"),
            Error::OwnerDied { pid } => {
                write!(f, "process {pid} died while it had the lock: what it protects may be half changed")
            }
            Error::Poisoned => {
                f.write_str("a panic while the lock was held: what it protects may be half changed")
            }
            Error::Lost => f.write_str(
                "what the lock protects is lost: its owner died, and who was told has given it up",
            ),
            Error::Freed => f.write_str("it stood in an arena, and was freed there"),
            Error::AlreadyHeld => f.write_str("this thread has the lock already"),
            Error::TooManyLocks => {
                f.write_str("this thread has 2047 locks, and the kernel looks after no more when it dies")
            }
            Error::TooDeep => f.write_str("the recursive lock was taken 4294967295 times"),
            Error::WouldBlock => f.write_str("the lock is taken"),
            Error::TimedOut => f.write_str("the lock was not free in time"),
            Error::Damaged => f.write_str("the lock has been written over: it says that this thread has it"),
            Error::OutOfBounds { index, len } => write!(f, "no element {index}: there are {len}"),
            Error::Unsupported { what, why } => write!(f, "{what} cannot be had here: {why}"),
            Error::TooLong { needed, available } => {
                write!(f, "{needed} bytes are too long for a place of {available}")
            }
            Error::Corrupt { what, why } => write!(f, "{what} has been written over: {why}"),
            Error::AlreadyExists { name } => write!(f, "somebody has the name {name:?}"),
            Error::NotFound { name } => write!(f, "nobody has the name {name:?}"),
            Error::NotOwner { name } => write!(f, "only its owner may remove the name {name:?}"),
            Error::Reaper { why } => {
                write!(f, "could not have the process that removes the names of the dead: {why}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests;
