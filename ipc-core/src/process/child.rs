//! The handle of a child.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::{PoisonError, Weak};
use std::time::{Duration, Instant};

use super::exit::ExitStatus;
use super::family;
use super::life::{Delivery, Life, Pipes};
use super::signal::Signal;
use crate::entry::identity::Message;
use crate::entry::wire::Failure;
use crate::error::{ChildId, Error, Ran, Result};
use crate::message::descriptors;
use crate::primitive::sync::Arc;
use crate::sys::private::Private;

/// A function that runs in another process, and will return a `T`.
///
/// Made by [`spawn`](crate::spawn), [`Builder`](crate::Builder) and [`Context`](crate::Context). Dropping the handle leaves the
/// child running, as with [`std::thread::JoinHandle`]; at this process's exit it is waited for (a daemon is terminated then). Where it
/// ends before, nobody is woken for it: it stays a zombie until the next spawn, [`active_children`](crate::active_children) or the exit, which wait for
/// all that have ended. All methods but those that consume the handle may be called
/// from several threads at once.
///
/// ```
/// use ipc_core::spawn;
///
/// # fn main() -> ipc_core::Result<()> {
/// let child = spawn(|a: u32, b: u32| a + b, (2, 3))?;
/// assert_eq!(child.join()?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # When a child ends without a value
///
/// | the function | [`join`](Child::join) returns |
/// |---|---|
/// | returned, and the value arrived | `Ok(value)` |
/// | panicked | [`Error::Panicked`] with message, location and backtrace; exit code 101 |
/// | called `exit(n)`, 0 included | [`Error::Exited`] |
/// | was killed by a signal | [`Error::Killed`] |
/// | used up its stack, and was killed for it | [`Error::StackOverflow`], where that was seen; else [`Error::Killed`] |
/// | returned a value that cannot be encoded, or decoded here | [`Error::Encode`], [`Error::Decode`] |
/// | returned a value, and a limit of the child kept it from being sent | [`Error::Os`] |
/// | never ran | [`Error::Setup`], [`Error::NotStarted`] or [`Error::Decode`]; [`Error::ran`] tells them apart |
/// | is gone, and nobody knows how | [`Error::StatusUnknown`] |
pub struct Child<T> {
    life: Arc<Life>,
    value: PhantomData<fn() -> T>,
}

impl<T: Message> Child<T> {
    pub(crate) fn new(life: Arc<Life>) -> Child<T> {
        Child { life, value: PhantomData }
    }

    /// Waits until the child has ended, and returns the function's value.
    ///
    /// # Errors
    /// See the table above. [`Error::Taken`] if the value was handed out before, [`Error::NotParent`] in a process that
    /// did not start the child.
    pub fn join(self) -> Result<T> {
        self.finish(None).and_then(|value| value.ok_or_else(|| self.no_deadline()))
    }

    /// As [`join`](Child::join), but waits at most for `timeout`: `None` when the child is still running then.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.finish(Instant::now().checked_add(timeout))
    }

    /// As [`join`](Child::join), but waits at most until `deadline`: `None` when the child is still running then.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.finish(Some(deadline))
    }

    /// The value if the child has ended, `None` if it is still running.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn try_join(&self) -> Result<Option<T>> {
        self.join_timeout(Duration::ZERO)
    }

    /// The value as soon as it is there; the child's death is not awaited. About a third faster than [`join`](Child::join),
    /// of which half is the process's dying. Once dead the child is a zombie until the next spawn,
    /// [`active_children`](crate::active_children) or the exit, as one whose handle was dropped.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn value(self) -> Result<T> {
        self.receive(None).and_then(|value| value.ok_or_else(|| self.no_deadline()))
    }

    /// As [`value`](Child::value), but waits at most for `timeout`: `None` when there is no value then. The handle remains: the
    /// value first, and [`wait`](Child::wait) for the death later.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> ipc_core::Result<()> {
    /// let child = ipc_core::spawn(|a: u32| a + 1, (2,))?;
    /// let value = child.value_timeout(Duration::from_secs(20))?;
    /// assert_eq!(value, Some(3));
    /// assert!(child.wait()?.success());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn value_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.receive(Instant::now().checked_add(timeout))
    }

    /// As [`value`](Child::value), but waits at most until `deadline`: `None` when there is no value then.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn value_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.receive(Some(deadline))
    }

    /// The value if it is there, whether the child has ended or not; `None` if it is not there yet.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn try_value(&self) -> Result<Option<T>> {
        self.value_timeout(Duration::ZERO)
    }

    fn receive(&self, deadline: Option<Instant>) -> Result<Option<T>> {
        let mail = self.life.take_mail(deadline)?;
        // Not before: whoever wants the value alone waits for the child, and the server may be on its processor.
        self.life.renew_spare();
        mail.map(|delivery| self.open(delivery)).transpose()
    }

    fn finish(&self, deadline: Option<Instant>) -> Result<Option<T>> {
        self.life.renew_spare();
        // The death is awaited first where there is a deadline: a value must not be taken and then not be handed out.
        if deadline.is_some() && self.life.wait(deadline)?.is_none() {
            return Ok(None);
        }
        let delivery = self.life.take_mail(deadline);
        self.life.wait(None)?;
        family::registry().remove(&self.life);
        self.life.drain_relayed();
        delivery?.map(|delivery| self.open(delivery)).transpose()
    }

    fn open(&self, delivery: Delivery) -> Result<T> {
        let child = || self.life.id();
        let opened = match delivery {
            Delivery::Value(frame) => descriptors::decode(&frame.body, frame.descriptors)
                .map_err(|e| Error::decode(format!("the result of {}", child()), e).with_ran(Ran::Ran)),
            Delivery::Local(value) => value.downcast().map(|value| *value).map_err(|_| {
                Error::protocol(format!("{} returned a value of another type", child())).with_ran(Ran::Ran)
            }),
            Delivery::Failure(failure) => Err(error_of(child(), failure)),
            Delivery::Unread(operation, source) => {
                Err(Error::os(format!("could not receive the value of {}: {operation}", child()), source))
            }
            Delivery::Garbage(what) => Err(Error::protocol(format!("from {}: {what}", child()))),
        };
        opened.map_err(|e| e.with_child(child()))
    }

    /// For the paths that wait without a deadline and so cannot run out of time.
    fn no_deadline(&self) -> Error {
        Error::StillRunning { child: self.life.id() }
    }
}

/// What a failure that the child reported means to its parent.
pub(crate) fn error_of(child: ChildId, failure: Failure) -> Error {
    match failure {
        Failure::Setup { step, errno } => {
            Error::Setup { child, step, source: std::io::Error::from_raw_os_error(errno) }
        }
        Failure::Start(why) => Error::NotStarted { child, why },
        Failure::Arguments(why) => {
            Error::decode(format!("the arguments in {child}"), why).with_ran(Ran::DidNotRun).with_child(child)
        }
        Failure::Panicked(panic) => Error::Panicked { child, panic: Box::new(panic) },
        Failure::Reply { operation, errno, hint } => Error::Os {
            operation: format!("could not send the result in {child}: {operation}"),
            source: std::io::Error::from_raw_os_error(errno),
            hint,
            child: Some(child),
            ran: Ran::Ran,
        },
        Failure::Overflow => Error::StackOverflow { child },
        Failure::Result(why) => {
            Error::Encode { what: format!("the result in {child}"), why, child: Some(child), ran: Ran::Ran }
        }
    }
}

impl<T> Child<T> {
    /// Waits until the child has ended, and says how. The value stays where it is, to be joined for later.
    ///
    /// # Errors
    /// [`Error::NotParent`] in a process that did not start the child; [`Error::Os`] when the system cannot wait.
    pub fn wait(&self) -> Result<ExitStatus> {
        wait(&self.life)
    }

    /// As [`wait`](Child::wait), at most for `timeout`: `None` when the child is still running then.
    ///
    /// # Errors
    /// As [`wait`](Child::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.life.wait(Instant::now().checked_add(timeout))
    }

    /// How the child ended; `None` while it is running.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.life.exit_status()
    }

    /// Whether the child is running.
    pub fn is_alive(&self) -> bool {
        self.life.is_alive()
    }

    /// The child's process id. Once the child was waited for, the system may give the number to another process; the methods of this
    /// handle go on meaning the child.
    pub fn pid(&self) -> u32 {
        self.life.pid
    }

    /// The child's name, as this handle calls it.
    pub fn name(&self) -> String {
        self.life.id().name
    }

    /// Changes what this handle, errors that come from it, and [relayed](crate::Stdio::relay) lines call the child. What the child calls itself it decides
    /// ([`Current::set_name`](crate::Current::set_name)).
    pub fn set_name(&self, name: impl Into<String>) {
        let name = name.into();
        self.life.relayed.iter().for_each(|relayed| relayed.rename(&name));
        *self.life.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Whether this process's normal exit terminates the child instead of joining it.
    pub fn is_daemon(&self) -> bool {
        self.life.daemon
    }

    /// Asks the child to end: SIGTERM. A child that has ended is no error.
    ///
    /// # Errors
    /// [`Error::Os`] when the system refuses (the child runs as another user); [`Error::Unsupported`] for a thread.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the child: SIGKILL. A child that has ended is no error.
    ///
    /// # Errors
    /// As [`terminate`](Child::terminate).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Interrupts the child as Ctrl-C does: SIGINT. A child that has ended is no error.
    ///
    /// # Errors
    /// As [`terminate`](Child::terminate).
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Sends the child a signal. A child that has ended is no error: the signal goes nowhere, never to another process.
    ///
    /// # Errors
    /// As [`terminate`](Child::terminate).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(&self.life, signal)
    }

    /// A descriptor that becomes readable when the child has ended, for poll and its kin: the child's pidfd
    /// ([pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)).
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.life.sentinel()
    }

    /// Frees everything that belongs to a child that has ended, its value included.
    ///
    /// # Errors
    /// [`CloseError`], with the handle, while the child is running.
    pub fn close(self) -> Result<(), CloseError<T>> {
        if self.is_alive() {
            let error = Error::StillRunning { child: self.life.id() };
            return Err(CloseError { child: self, error });
        }
        family::registry().remove(&self.life);
        Ok(())
    }

    /// Cuts the child loose: it is neither joined nor ended when this process ends, and its value is lost.
    ///
    /// # Errors
    /// [`Error::Os`] when the child cannot be reached; then it is not detached.
    pub fn detach(self) -> Result<()> {
        self.life.detach().map_err(|e| e.with_child(self.life.id()))
    }

    /// The writing end of the child's standard input, if it was [piped](crate::Stdio::piped) and not taken before.
    ///
    /// Until it is taken, no forked sibling has a copy of it. What was taken is an ordinary descriptor of this process, which
    /// children that are forked afterwards have as well: the child sees the end of its input when all of them have closed it or ended.
    /// The same holds for the other two streams. In a process that did not start the child there is nothing to take.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.take(|pipes| pipes.stdin.take())
    }

    /// The reading end of the child's standard output, if it was [piped](crate::Stdio::piped) and not taken before.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.take(|pipes| pipes.stdout.take())
    }

    /// The reading end of the child's standard error, if it was [piped](crate::Stdio::piped) and not taken before.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.take(|pipes| pipes.stderr.take())
    }

    /// From here on it is the caller's, and forked children have it as they have all that is their parent's.
    fn take<P: From<OwnedFd>>(&self, f: impl FnOnce(&mut Pipes) -> Option<Private>) -> Option<P> {
        if !self.life.owner.is_this() {
            return None;
        }
        let end = f(&mut self.life.pipes.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(OwnedFd::from(end).into())
    }
}

impl<T> AsFd for Child<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl<T> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("Child", &self.life, f)
    }
}

pub(super) fn wait(life: &Life) -> Result<ExitStatus> {
    match life.wait(None)? {
        Some(status) => Ok(status),
        None => Err(Error::StillRunning { child: life.id() }),
    }
}

pub(super) fn signal_to(life: &Life, signal: Signal) -> Result<()> {
    life.signal(signal).map_err(|e| e.with_child(life.id()))
}

pub(super) fn describe(kind: &str, life: &Life, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut out = f.debug_struct(kind);
    out.field("name", &life.id().name).field("pid", &life.pid);
    out.field("parent", &life.parent).field("daemon", &life.daemon);
    match life.exit_status() {
        None => out.field("status", &"running"),
        Some(status) => out.field("status", &status.to_string()),
    };
    out.finish()
}

/// How long a join waits for the last lines of a child whose pipe a grandchild keeps open.
const DRAIN: Duration = Duration::from_secs(1);

impl Life {
    /// Has the fork server make the next spare, while this process waits for a child's end anyway, or has its value.
    pub(crate) fn renew_spare(&self) {
        if let Some(server) = self.server.as_ref().and_then(Weak::upgrade) {
            server.renew();
        }
    }

    /// Waits until the lines that the child wrote before its end have been passed on.
    pub(crate) fn drain_relayed(&self) {
        for relayed in &self.relayed {
            relayed.drain(DRAIN);
        }
        #[cfg(any(feature = "log", feature = "tracing"))]
        crate::logging::flush();
    }
}

/// [`Child::close`] was called on a child that is running; gives the handle back.
pub struct CloseError<T> {
    child: Child<T>,
    error: Error,
}

impl<T> CloseError<T> {
    /// The handle.
    pub fn into_child(self) -> Child<T> {
        self.child
    }

    /// The reason.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl<T> From<CloseError<T>> for Error {
    fn from(error: CloseError<T>) -> Error {
        error.error
    }
}

impl<T> fmt::Debug for CloseError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<T> fmt::Display for CloseError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for CloseError<T> {}
