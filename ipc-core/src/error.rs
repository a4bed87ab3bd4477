//! What can go wrong, in one type.
//!
//! A process can fail in more ways than a function, and each of them is a variant of its own: [`Error`] says what all have in common. What
//! is known when a call fails (the limit behind its number: [`hint()`]; the child: [`Error::with_child`]; whether the function ran:
//! [`Error::with_ran`]) is added where it is known, on the way up.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::message::bytes::Bytes;
use crate::process::exit::ExitStatus;
use crate::process::signal::Signal;

mod hint;
pub mod io_error;
mod panic;

pub(crate) use hint::{Call, for_error as hint};
pub use panic::{Location, Panic};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The child an error speaks of, by name and process id.
///
/// ```
/// let child = ipc_core::ChildId { name: "p3".into(), pid: 4711 };
/// assert_eq!(child.to_string(), r#"child "p3" (pid 4711)"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChildId {
    /// The name it was given, or a number made by its parent. Names need not be unique.
    pub name: String,
    /// Its process id. Once the child was waited for, the system may give the number to another process.
    pub pid: u32,
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child {:?} (pid {})", self.name, self.pid)
    }
}

/// Whether the function that was to run in the child did run: the question to ask before running it again.
///
/// ```
/// use ipc_core::{Error, Ran};
///
/// fn may_try_again(error: &Error) -> bool {
///     error.ran() == Ran::DidNotRun
/// }
/// # let error = Error::Unsupported { what: "a".into(), why: "b".into() };
/// # assert!(may_try_again(&error));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ran {
    /// It was never called. Calling it again cannot do anything twice.
    DidNotRun,
    /// It was called, and came to an end: it returned or panicked.
    Ran,
    /// It may have been called, and may have come to an end or stopped half way.
    MayHaveRun,
}

/// Every error of this crate.
///
/// A process can fail in more ways than a function: it may never have started, it may have panicked, left with an
/// exit code, been killed by a signal, or be gone without anybody knowing how. Each of these is a variant of its
/// own, and each message names three things: the operation, the child (name and pid), and the reason the system or
/// the child gave; where there is a remedy, that too.
///
/// What a program asks of an error, whichever it is: [`ran`](Error::ran) says whether the function ran, for who wants to try again;
/// [`child`](Error::child) which child it is about; [`signal`](Error::signal), [`code`](Error::code) and [`panic`](Error::panic) how that
/// ended.
///
/// Errors are messages too: a child may return one, so `Error` implements serde. An [`io::Error`] travels as its
/// number where it has one, as its text otherwise.
///
/// ```
/// use ipc_core::{ChildId, Error, Signal};
///
/// let error = Error::Killed {
///     child: ChildId { name: "p3".into(), pid: 4711 },
///     signal: Signal::SEGV,
///     core_dumped: false,
/// };
/// assert_eq!(error.to_string(), r#"child "p3" (pid 4711) was killed by SIGSEGV"#);
/// assert_eq!(error.signal(), Some(Signal::SEGV));
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// This program has no entrance for children: the feature `hook` is off, and [`init`](crate::init) did not run
    /// first in `main`.
    NoEntry,
    /// The file that would be run is not the program that is running, or cannot be compared with it.
    Image {
        /// What was found.
        why: String,
    },
    /// A system call failed.
    Os {
        /// What was to be done, and the call: `could not start a child: clone`.
        operation: String,
        /// The system's error.
        #[serde(with = "io_error")]
        source: io::Error,
        /// The limit that was met and what to do, where the error number tells.
        hint: Option<String>,
        /// The child that it is about, where one was known.
        child: Option<ChildId>,
        /// Whether the function ran.
        ran: Ran,
    },
    /// A value could not be serialised.
    Encode {
        /// Which value, and whose: `the result in child "p3" (pid 4711)`.
        what: String,
        /// What the codec said.
        why: String,
        /// The child that it is about, where one was known.
        child: Option<ChildId>,
        /// Whether the function ran.
        ran: Ran,
    },
    /// A value could not be deserialised.
    Decode {
        /// Which value, and whose: `the result in child "p3" (pid 4711)`.
        what: String,
        /// What the codec said.
        why: String,
        /// The child that it is about, where one was known.
        child: Option<ChildId>,
        /// Whether the function ran.
        ran: Ran,
    },
    /// The child could not take over what its builder asked for (working directory, user, limits), and ended before
    /// it called the function.
    Setup {
        /// The child.
        child: ChildId,
        /// The step that failed, with its value: `change to the directory "/nowhere"`.
        step: String,
        /// The system's error.
        #[serde(with = "io_error")]
        source: io::Error,
    },
    /// The function panicked.
    Panicked {
        /// The child.
        child: ChildId,
        /// Message, place and backtrace.
        panic: Box<Panic>,
    },
    /// No function is registered under the name ([`register!`](crate::register)).
    NotRegistered {
        /// The name, or the function that has none.
        name: String,
        /// The version that was asked for.
        version: Option<u32>,
        /// The versions of the name that there are.
        versions: Vec<u32>,
    },
    /// A function that was called by its name panicked.
    CallPanicked {
        /// The function: name and version.
        function: String,
        /// Message, place and backtrace.
        panic: Box<Panic>,
    },
    /// The child left with an exit code before it returned a value.
    Exited {
        /// The child.
        child: ChildId,
        /// The code it gave to `exit`.
        code: i32,
    },
    /// The child was killed by a signal.
    Killed {
        /// The child.
        child: ChildId,
        /// The signal.
        signal: Signal,
        /// Whether the system wrote a core dump.
        core_dumped: bool,
    },
    /// The function used up its stack, and the child was killed for it (SIGSEGV). Seen where this crate's handler stands, on the thread
    /// that an executed child or a fork server's child begins with; elsewhere it is [`Killed`](Error::Killed).
    StackOverflow {
        /// The child.
        child: ChildId,
    },
    /// The child is gone without a value, and nobody can tell any more how it ended: SIGCHLD is ignored in this
    /// process, or other code of it waited for the child.
    StatusUnknown {
        /// The child.
        child: ChildId,
    },
    /// The child ended, or could not be made, before it was ready to call the function.
    NotStarted {
        /// The child.
        child: ChildId,
        /// What is known.
        why: String,
    },
    /// The value was handed out before: a child's value can be taken once.
    Taken {
        /// The child.
        child: ChildId,
    },
    /// The child is still running, and the operation needs one that has ended.
    StillRunning {
        /// The child.
        child: ChildId,
    },
    /// The handle belongs to another process: only the one that started a child can wait for it.
    NotParent {
        /// The child.
        child: ChildId,
        /// What was to be done.
        operation: String,
    },
    /// What was asked for cannot be had here: on this kernel, with this start method, in this sandbox.
    Unsupported {
        /// What was asked for.
        what: String,
        /// What is missing, and what to do instead.
        why: String,
    },
    /// A value given by the caller is not acceptable.
    Invalid {
        /// Which value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The function that a fork server runs once at its start failed, so that it has no children to give.
    Preload {
        /// What happened.
        why: String,
    },
    /// A message of the family broke the protocol: its sender was killed, corrupted, or is not of this program.
    Protocol {
        /// What was received, and what was expected.
        what: String,
        /// The child that it is about, where one was known.
        child: Option<ChildId>,
        /// Whether the function ran.
        ran: Ran,
    },
    /// The other side of a connection has closed its end, or is gone.
    Disconnected {
        /// What was to be done, and how far it came: `could not receive: the peer has closed its end or died`.
        how: String,
    },
    /// The time was over, or there was none to wait, before it was done.
    TimedOut {
        /// What was to be done: `send a value`.
        what: String,
    },
    /// A message is longer than its receiver allows; it was not received, and the connection goes on.
    TooLong {
        /// Its length in bytes.
        length: u64,
        /// The receiver's limit.
        limit: usize,
    },
    /// A message is longer than the buffer it was to be received in. Here it is.
    BufferTooShort {
        /// The whole message.
        message: Bytes,
        /// The length of the buffer.
        room: usize,
    },
    /// The other side of a connection did not prove that it has the key, or is not who it should be.
    Unauthenticated {
        /// What was missing.
        why: String,
    },
}

impl Error {
    /// A failed system call. The limit behind the error, where its number names one, is looked up here and now.
    pub(crate) fn os(operation: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::os_in(Call::Other, operation, source)
    }

    /// A failed system call whose kind says more about the limit.
    pub(crate) fn os_in(call: Call, operation: impl Into<String>, source: impl Into<io::Error>) -> Error {
        let source = source.into();
        let hint = hint(call, &source);
        Error::Os { operation: operation.into(), source, hint, child: None, ran: Ran::MayHaveRun }
    }

    /// A value that could not be serialised: because of itself, or because the system would not duplicate what is in it.
    pub(crate) fn encode(what: impl Into<String>, why: crate::message::Error) -> Error {
        let what = what.into();
        match why {
            crate::message::Error::Os { operation, source } => {
                Error::os(format!("could not serialise {what}: {operation}"), source)
            }
            why => Error::Encode { what, why: why.to_string(), child: None, ran: Ran::MayHaveRun },
        }
    }

    /// A value that could not be deserialised.
    pub(crate) fn decode(what: impl Into<String>, why: impl fmt::Display) -> Error {
        Error::Decode { what: what.into(), why: why.to_string(), child: None, ran: Ran::MayHaveRun }
    }

    /// A message that is not what the protocol says.
    pub(crate) fn protocol(what: impl Into<String>) -> Error {
        Error::Protocol { what: what.into(), child: None, ran: Ran::MayHaveRun }
    }

    /// What became of a child that ended without a value.
    ///
    /// Status 0 is such an end as well: the function called `exit(0)`.
    pub(crate) fn from_status(child: ChildId, status: ExitStatus) -> Error {
        match (status.code(), status.signal()) {
            (Some(code), _) => Error::Exited { child, code },
            (_, Some(signal)) => Error::Killed { child, signal, core_dumped: status.core_dumped() },
            _ => Error::StatusUnknown { child },
        }
    }

    /// The same error where it is known whether the function ran. Variants that imply the answer keep it.
    pub(crate) fn with_ran(mut self, known: Ran) -> Error {
        if let Error::Os { ran, .. }
        | Error::Encode { ran, .. }
        | Error::Decode { ran, .. }
        | Error::Protocol { ran, .. } = &mut self
        {
            *ran = known;
        }
        self
    }

    /// The same error where it is known which child it is about. Variants that always name theirs keep it.
    pub(crate) fn with_child(mut self, known: ChildId) -> Error {
        if let Error::Os { child, .. }
        | Error::Encode { child, .. }
        | Error::Decode { child, .. }
        | Error::Protocol { child, .. } = &mut self
        {
            *child = Some(known);
        }
        self
    }

    /// Whether something was sent to a process that has closed its end, or is gone.
    pub(crate) fn is_hung_up(&self) -> bool {
        let number = self.io_error().and_then(io::Error::raw_os_error);
        matches!(number, Some(libc::EPIPE | libc::ECONNRESET))
    }

    /// Whether the function ran, did not run, or may have run.
    pub fn ran(&self) -> Ran {
        match self {
            Error::Os { ran, .. }
            | Error::Encode { ran, .. }
            | Error::Decode { ran, .. }
            | Error::Protocol { ran, .. } => *ran,
            Error::Panicked { .. } | Error::CallPanicked { .. } | Error::Taken { .. } => Ran::Ran,
            Error::NoEntry
            | Error::NotRegistered { .. }
            | Error::Image { .. }
            | Error::Setup { .. }
            | Error::NotStarted { .. }
            | Error::Unsupported { .. }
            | Error::Invalid { .. }
            | Error::Preload { .. } => Ran::DidNotRun,
            Error::Exited { .. }
            | Error::Killed { .. }
            | Error::StackOverflow { .. }
            | Error::StatusUnknown { .. }
            | Error::StillRunning { .. }
            | Error::NotParent { .. }
            | Error::Disconnected { .. }
            | Error::TimedOut { .. }
            | Error::TooLong { .. }
            | Error::BufferTooShort { .. }
            | Error::Unauthenticated { .. } => Ran::MayHaveRun,
        }
    }

    /// Whether the other side of a connection has closed its end, or is gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Error::Disconnected { .. })
    }

    /// Whether the time was over, or there was none to wait (`try_…`).
    pub fn is_timed_out(&self) -> bool {
        matches!(self, Error::TimedOut { .. })
    }

    /// The child the error speaks of, where there is one.
    pub fn child(&self) -> Option<&ChildId> {
        match self {
            Error::Setup { child, .. }
            | Error::Panicked { child, .. }
            | Error::Exited { child, .. }
            | Error::Killed { child, .. }
            | Error::StackOverflow { child }
            | Error::StatusUnknown { child }
            | Error::NotStarted { child, .. }
            | Error::Taken { child }
            | Error::StillRunning { child }
            | Error::NotParent { child, .. } => Some(child),
            Error::Os { child, .. }
            | Error::Encode { child, .. }
            | Error::Decode { child, .. }
            | Error::Protocol { child, .. } => child.as_ref(),
            _ => None,
        }
    }

    /// The signal that killed the child.
    pub fn signal(&self) -> Option<Signal> {
        match self {
            Error::Killed { signal, .. } => Some(*signal),
            Error::StackOverflow { .. } => Some(Signal::SEGV),
            _ => None,
        }
    }

    /// The exit code of a child that left before it returned a value.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Exited { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The panic of the function.
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Error::Panicked { panic, .. } | Error::CallPanicked { panic, .. } => Some(panic),
            _ => None,
        }
    }

    /// The system's error behind this one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Error::Os { source, .. } | Error::Setup { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoEntry => f.write_str(
                "could not start a child: this program has no entrance for one; turn on the feature `hook` of \
                 ipc-core, or call `ipc_core::init()` as the first line of `main`",
            ),
            Error::Image { why } => write!(
                f,
                "could not start a child: /proc/self/exe is not known to be the program that is running: {why}"
            ),
            Error::Os { operation, source, hint: None, .. } => write!(f, "{operation}: {source}"),
            Error::Os { operation, source, hint: Some(hint), .. } => {
                write!(f, "{operation}: {source}; {hint}")
            }
            Error::Encode { what, why, .. } => write!(f, "could not serialise {what}: {why}"),
            Error::Decode { what, why, .. } => write!(f, "could not deserialise {what}: {why}"),
            Error::Setup { child, step, source } => {
                write!(f, "{child} could not be set up and did not call its function: {step}: {source}")
            }
            Error::Panicked { child, panic } => write!(f, "{child} {panic}"),
            Error::NotRegistered { name, version, versions } => {
                crate::registry::describe_missing(f, name, *version, versions)
            }
            Error::CallPanicked { function, panic } => write!(f, "the function {function}, {panic}"),
            Error::Exited { child, code } => {
                write!(f, "{child} exited with code {code} before it returned a value")
            }
            Error::Killed { child, signal, core_dumped } => {
                let dump = if *core_dumped { " (core dumped)" } else { "" };
                write!(f, "{child} was killed by {signal}{dump}")
            }
            Error::StackOverflow { child } => write!(f, "{child} overflowed its stack, and was killed"),
            Error::StatusUnknown { child } => write!(
                f,
                "{child} ended without a value, and its exit status is lost: SIGCHLD is ignored in this process, \
                 or other code of it waited for the child"
            ),
            Error::NotStarted { child, why } => write!(f, "{child} did not start: {why}"),
            Error::Taken { child } => write!(f, "the value of {child} was already taken"),
            Error::StillRunning { child } => write!(f, "{child} is still running"),
            Error::NotParent { child, operation } => write!(
                f,
                "could not {operation} {child}: this process did not start it, and only the one that did can"
            ),
            Error::Unsupported { what, why } => write!(f, "{what} is not supported here: {why}"),
            Error::Invalid { what, why } => write!(f, "{what} is not acceptable: {why}"),
            Error::Preload { why } => write!(f, "the preload function of the fork server failed: {why}"),
            Error::Protocol { what, .. } => write!(f, "a message broke the protocol: {what}"),
            Error::Disconnected { how } => f.write_str(how),
            Error::TimedOut { what } => write!(f, "could not {what} in the time given"),
            Error::TooLong { length, limit } => {
                write!(f, "could not receive a message of {length} bytes: at most {limit} are allowed here")
            }
            Error::BufferTooShort { message, room } => write!(
                f,
                "could not receive a message of {} bytes into a buffer of {room}; the error holds it",
                message.len()
            ),
            Error::Unauthenticated { why } => write!(f, "the other side is not who it should be: {why}"),
        }
    }
}

/// For what takes anything that can be made into a value, and is given that value.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Error {
        match never {}
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests;
