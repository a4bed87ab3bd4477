//! One child, as its parent's process keeps it: shared by the handle, the registry and whoever waits.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Instant;

use super::child::error_of;
use super::exit::ExitStatus;
use super::ledger::{Ledger, Mail, Receipt, Source};
use super::registry::Member;
use super::relay::Relayed;
use super::signal::Signal;
use crate::entry::wire::{self, Failure};
use crate::error::{ChildId, Error, Result};
use crate::message::packet::{self, Frame, Received};
use crate::message::{self, descriptors};
use crate::start::fork_server::client::ForkServer;
use crate::sys::incarnation::Incarnation;
use crate::sys::private::Private;
use crate::{poll, sys};

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
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

/// What runs the function.
pub(crate) enum Body {
    Process {
        pidfd: Private,
        control: Private,
        lifeline: Mutex<Option<Private>>,
    },
    /// A thread of this process; the descriptor (an eventfd) becomes readable when it ends.
    Thread {
        ended: OwnedFd,
    },
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
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        // The name, in brackets, may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ended = matches!(fields.next(), None | Some("Z" | "X"));
        !ended && fields.next().is_some_and(|parent| parent.parse() == Ok(self.parent))
    }

    /// Waits until the child has ended; `None` when the deadline passed first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        self.check_owner("wait for")?;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(Some(status));
            }
            if !poll::wait(&[self.sentinel()], deadline)
                .map_err(|e| Error::os("could not wait for a child: poll", e))?
            {
                return Ok(None);
            }
        }
    }

    /// Waits for the value or the failure; `None` when the deadline passed first.
    pub(crate) fn take_mail(&self, deadline: Option<Instant>) -> Result<Option<Delivery>> {
        self.check_owner("join")?;
        let mut expired = false;
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
            let both = match &self.body {
                Body::Process { pidfd, control, .. } => &[control.as_fd(), pidfd.as_fd()][..],
                Body::Thread { ended } => &[ended.as_fd()],
            };
            expired =
                !poll::wait(both, deadline).map_err(|e| Error::os("could not wait for a child: poll", e))?;
        }
    }

    /// Waits until the child says that it begins, or that it cannot.
    pub(crate) fn wait_entered(&self) -> Result<()> {
        let Body::Process { pidfd, control, .. } = &self.body else { return Ok(()) };
        while !self.ledger.has_entered(self) {
            poll::wait(&[control.as_fd(), pidfd.as_fd()], None)
                .map_err(|e| Error::os("could not wait for a child: poll", e))?;
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
    /// The lifeline's end that this process holds must not close with it. It is sent to the child, which never reads it: a
    /// descriptor on its way counts as open as long as the receiving socket does, and that ends with the child.
    pub(crate) fn detach(&self) -> Result<()> {
        if let Body::Process { control, lifeline, .. } = &self.body {
            let mut lifeline = lifeline.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(parents_end) = lifeline.as_ref() {
                match packet::send(control.as_fd(), wire::DETACH, &[], &[parents_end.as_fd()]) {
                    Ok(()) => {}
                    Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {} // it has ended
                    Err(e) => return Err(Error::os(format!("could not detach {}: sendmsg", self.id()), e)),
                }
                *lifeline = None;
            }
        }
        self.detached.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Life {
    /// Lets go of the lifeline: the child dies, unless it was detached.
    pub(crate) fn cut(&self) -> Option<Private> {
        match &self.body {
            Body::Process { lifeline, .. } => lifeline.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Body::Thread { .. } => None,
        }
    }
}

impl Member for Life {
    fn has_ended(&self) -> bool {
        self.exit_status().is_some()
    }
}

impl Source for Life {
    type Mail = Delivery;

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
        let Body::Process { control, .. } = &self.body else { return Receipt::Empty };
        match packet::try_recv(control.as_fd()) {
            Ok(Received::Empty) => Receipt::Empty,
            Ok(Received::Closed) => Receipt::Closed,
            Ok(Received::Frame(frame)) => match frame.kind {
                wire::ENTERED => Receipt::Entered,
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
