//! One child, as its parent's process keeps it: shared by the handle, the registry and whoever waits.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::child::error_of;
use super::exit::ExitStatus;
use super::ledger::{Ledger, Mail, Receipt, Source};
use super::registry::Member;
use super::relay::Relayed;
use super::signal::Signal;
use crate::entry::wire::{self, Failure};
use crate::error::{ChildId, Error, Result};
use crate::message::packet::{self, Begun, Frame, Received};
use crate::message::{self, descriptors};
use crate::start::fork_server::client::ForkServer;
use crate::sys::incarnation::Incarnation;
use crate::sys::private::Private;
use crate::{poll, sys};

/// Sends a child the parent's end of its lifeline, so that it does not close with the parent.
///
/// A child that waits to be told what to be keeps it until it has let go of its own end. A child that runs never reads it, and a
/// descriptor on its way counts as open as long as the receiving socket does, which ends with the child.
pub(crate) fn give_lifeline(control: BorrowedFd<'_>, parents_end: BorrowedFd<'_>) -> io::Result<()> {
    match packet::send(control, wire::DETACH, &[], &[parents_end]) {
        Err(e) if wire::is_gone(&e) => Ok(()), // it has ended
        sent => sent,
    }
}

/// What a child leaves behind.
pub(crate) enum Delivery {
    /// The encoded value.
    Value(Frame),
    /// A value that never left this process.
    Local(Box<dyn Any + Send>),
    Failure(Failure),
    /// Something that is no message of a child.
    Garbage(String),
    /// Something, and this process could not receive it.
    Unread(&'static str, io::Error),
}

/// The parent's ends of a child's piped streams.
#[derive(Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<Private>,
    pub(crate) stdout: Option<Private>,
    pub(crate) stderr: Option<Private>,
}

/// What runs the function.
pub(crate) enum Body {
    Process {
        pidfd: Private,
        control: Private,
        /// What has come of a message that is not complete; drawn from by the ledger alone.
        begun: Mutex<Begun>,
        lifeline: Mutex<Option<Private>>,
    },
    /// A thread of this process; the descriptor (an eventfd) becomes readable when it ends.
    Thread { ended: OwnedFd },
}

/// See the module's documentation.
pub(crate) struct Life {
    pub(crate) name: Mutex<String>,
    pub(crate) pid: u32,
    /// The process that started it, the only one that can wait for it; and its number.
    pub(crate) owner: Incarnation,
    pub(crate) parent: u32,
    pub(crate) daemon: bool,
    pub(crate) detached: AtomicBool,
    pub(crate) body: Body,
    pub(crate) ledger: Ledger<Delivery>,
    pub(crate) pipes: Mutex<Pipes>,
    pub(crate) relayed: Vec<Relayed>,
    /// The server it came from, which makes the next spare while this one dies.
    pub(crate) server: Option<Weak<ForkServer>>,
}

impl Life {
    pub(crate) fn id(&self) -> ChildId {
        ChildId { name: self.name.lock().unwrap_or_else(PoisonError::into_inner).clone(), pid: self.pid }
    }

    /// Readable once the child has ended.
    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        match &self.body {
            Body::Process { pidfd, .. } => pidfd.as_fd(),
            Body::Thread { ended } => ended.as_fd(),
        }
    }

    /// # Errors
    /// [`Error::NotParent`] in a process that has this handle from a fork.
    pub(crate) fn check_owner(&self, operation: &str) -> Result<()> {
        if self.owner.is_this() {
            return Ok(());
        }
        Err(Error::NotParent { child: self.id(), operation: operation.into() })
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        if !self.owner.is_this() {
            return None;
        }
        self.ledger.status(self)
    }

    /// Whether the child is running, as far as a copy of this in a forked process can tell: it has no descriptor of the child, so
    /// it asks for a living child of this number and of that parent.
    pub(crate) fn is_alive(&self) -> bool {
        if self.owner.is_this() {
            return self.exit_status().is_none();
        }
        let found = sys::process::state_and_parent(self.pid);
        found.is_some_and(|(state, parent)| !matches!(state, 'Z' | 'X') && parent == self.parent)
    }

    /// Waits until the child has ended; `None` when the deadline passed first.
    ///
    /// Of a child that another process traces the sentinel says at once that it has ended, and its status is the tracer's until that
    /// lets go. Nothing tells when: so it is looked for now and then.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        self.check_owner("wait for")?;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(Some(status));
            }
            if !self.poll(&[self.sentinel()], deadline)? {
                return Ok(None);
            }
            if let Some(status) = self.exit_status() {
                return Ok(Some(status));
            }
            if is_over(deadline) {
                return Ok(None);
            }
            std::thread::sleep(until_next_look(deadline));
        }
    }

    fn poll(&self, descriptors: &[BorrowedFd<'_>], deadline: Option<Instant>) -> Result<bool> {
        poll::wait(descriptors, deadline).map_err(|e| Error::os("could not wait for a child: poll", e))
    }

    /// Waits for the value or the failure; `None` when the deadline passed first.
    pub(crate) fn take_mail(&self, deadline: Option<Instant>) -> Result<Option<Delivery>> {
        self.check_owner("join")?;
        let (mut expired, mut woken) = (false, false);
        loop {
            match self.ledger.take(self) {
                Mail::Here(delivery) => return Ok(Some(delivery)),
                Mail::Taken => return Err(Error::Taken { child: self.id() }),
                Mail::None => {
                    return match self.wait(deadline)? {
                        Some(status) => Err(Error::from_status(self.id(), status)),
                        None => Ok(None),
                    };
                }
                Mail::Awaited if expired => return Ok(None),
                Mail::Awaited => {}
            }
            woken = match &self.body {
                // Woken for nothing by its end, which a tracer has (see `wait`). Then only its socket says something new.
                Body::Process { pidfd, control, .. }
                    if woken && poll::is_ready(pidfd.as_fd()).is_ok_and(|r| r) =>
                {
                    self.poll(&[control.as_fd()], Instant::now().checked_add(until_next_look(deadline)))?
                }
                Body::Process { pidfd, control, .. } => {
                    self.poll(&[control.as_fd(), pidfd.as_fd()], deadline)?
                }
                Body::Thread { ended } => self.poll(&[ended.as_fd()], deadline)?,
            };
            // Not only where nothing came: a child may send for ever what is no mail.
            expired = is_over(deadline);
        }
    }

    /// Waits until the child says that it begins, or that it cannot.
    pub(crate) fn wait_entered(&self) -> Result<()> {
        let Body::Process { pidfd, control, .. } = &self.body else { return Ok(()) };
        while !self.ledger.has_entered(self) {
            self.poll(&[control.as_fd(), pidfd.as_fd()], None)?;
        }
        Ok(())
    }

    /// If the child has reported that it could not become what it should: why.
    pub(crate) fn setup_failure(&self) -> Option<Error> {
        let setup = |delivery: &Delivery| matches!(delivery, Delivery::Failure(Failure::Setup { .. }));
        let Some(Delivery::Failure(failure)) = self.ledger.take_if(setup) else { return None };
        // It is leaving. Where its death cannot be awaited now, whoever looks at all children will find it.
        let _ = self.wait(None);
        Some(error_of(self.id(), failure))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.check_owner("send a signal to")?;
        match &self.body {
            // As of a process: it has ended, and what the signal was to do is done.
            Body::Thread { .. } if self.exit_status().is_some() => Ok(()),
            Body::Process { pidfd, .. } => {
                let failed = |e| Error::os(format!("could not send {signal} to {}: pidfd_send_signal", self.id()), e);
                sys::wait::send_signal(pidfd.as_fd(), signal).map_err(failed)
            }
            Body::Thread { .. } => Err(Error::Unsupported {
                what: format!("sending {signal} to {}", self.id()),
                why: "it is a thread of this process (Context::threads), and a thread cannot be ended from outside"
                    .into(),
            }),
        }
    }

    /// Cuts the child loose: it survives this process.
    ///
    /// The lifeline's end that this process holds must not close with it: see [`give_lifeline`].
    pub(crate) fn detach(&self) -> Result<()> {
        if let Body::Process { control, lifeline, .. } = &self.body {
            let mut lifeline = lifeline.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(parents_end) = lifeline.as_ref() {
                give_lifeline(control.as_fd(), parents_end.as_fd())
                    .map_err(|e| Error::os(format!("could not detach {}: sendmsg", self.id()), e))?;
                *lifeline = None;
            }
        }
        self.detached.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// How long to leave a child alone that a tracer keeps; until the deadline at most.
fn until_next_look(deadline: Option<Instant>) -> Duration {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    left.map_or(sys::wait::KEPT, |left| left.min(sys::wait::KEPT))
}

impl Member for Life {
    fn has_ended(&self) -> bool {
        self.exit_status().is_some()
    }
}

impl Source for Life {
    type Mail = Delivery;

    /// What went wrong is the same for everybody who asks, as an exit status is.
    fn again(mail: &Delivery) -> Option<Delivery> {
        match mail {
            Delivery::Value(_) | Delivery::Local(_) => None,
            Delivery::Failure(failure) => Some(Delivery::Failure(failure.clone())),
            Delivery::Garbage(what) => Some(Delivery::Garbage(what.clone())),
            Delivery::Unread(operation, error) => Some(Delivery::Unread(
                operation,
                error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
            )),
        }
    }

    fn reap(&self) -> Option<ExitStatus> {
        match &self.body {
            // An error means that the kernel does not know the process any more; then nobody will.
            Body::Process { pidfd, .. } => {
                sys::wait::try_reap(pidfd.as_fd()).unwrap_or(Some(ExitStatus::unknown()))
            }
            Body::Thread { ended } => {
                poll::is_ready(ended.as_fd()).is_ok_and(|r| r).then_some(ExitStatus::unknown())
            }
        }
    }

    fn receive(&self) -> Receipt<Delivery> {
        let Body::Process { control, begun, .. } = &self.body else { return Receipt::Empty };
        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        match packet::try_recv(control.as_fd(), &mut begun) {
            Ok(Received::Empty) => Receipt::Empty,
            Ok(Received::Closed) => Receipt::Closed,
            Ok(Received::Frame(frame)) => match frame.kind {
                wire::ENTERED => Receipt::Entered,
                wire::OVERFLOWED => {
                    let failure = Failure::Overflow;
                    let code = failure.exit_code();
                    Receipt::Mail(Delivery::Failure(failure), code)
                }
                wire::RESULT => Receipt::Mail(Delivery::Value(frame), 0),
                wire::FAILED => match descriptors::decode::<Failure>(&frame.body, frame.descriptors) {
                    Ok(failure) => {
                        let code = failure.exit_code();
                        Receipt::Mail(Delivery::Failure(failure), code)
                    }
                    Err(e) => Receipt::Mail(Delivery::Garbage(e.to_string()), 1),
                },
                kind => Receipt::Mail(Delivery::Garbage(format!("a frame of unknown kind {kind}")), 1),
            },
            Err(e) if is_reset(&e) => Receipt::Closed,
            // It died in the middle: its status says more.
            Err(message::Error::Unfinished { .. }) => Receipt::Closed,
            Err(message::Error::Os { operation, source }) => {
                Receipt::Mail(Delivery::Unread(operation, source), 1)
            }
            Err(e) => Receipt::Mail(Delivery::Garbage(e.to_string()), 1),
        }
    }
}

/// The child died with a start message unread: its end is closed, and says so in this way.
fn is_reset(error: &crate::message::Error) -> bool {
    matches!(error, message::Error::Os { source, .. } if source.raw_os_error() == Some(libc::ECONNRESET))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To detach a child that had died before it read what it was to be was an error.
    #[test]
    fn a_child_that_died_with_its_start_message_unread_is_detached() {
        let [ours, theirs] = crate::start::socket_pair().unwrap();
        packet::send(ours.as_fd(), wire::START, &[], &[]).unwrap();
        drop(theirs);
        // The kernel says so by two numbers, one after the other.
        give_lifeline(ours.as_fd(), ours.as_fd()).unwrap();
        give_lifeline(ours.as_fd(), ours.as_fd()).unwrap();
    }
}
