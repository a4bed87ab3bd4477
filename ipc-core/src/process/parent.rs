//! The parent of this process.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::current;
use crate::error::{Error, Result};
use crate::sys::incarnation::Incarnation;
use crate::{poll, sys};

/// The process that started this one, or `None` in the program's first process.
///
/// ```
/// # fn main() -> ipc_core::Result<()> {
/// assert!(ipc_core::parent().is_none());
/// let me = std::process::id();
/// let seen = ipc_core::spawn(|| ipc_core::parent().map(|parent| parent.pid()), ())?.join()?;
/// assert_eq!(seen, Some(me));
/// # Ok(())
/// # }
/// ```
pub fn parent() -> Option<Parent> {
    let id = current::parent_id()?;
    Some(Parent { name: id.name, pid: id.pid, here: current::is_thread().then(Incarnation::this) })
}

/// See [`parent`].
#[derive(Clone, Debug)]
pub struct Parent {
    name: String,
    pid: u32,
    /// A thread that stands for a process has its own process for a parent: this one.
    here: Option<Incarnation>,
}

impl Parent {
    /// Its name when it started this process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is running. Only a detached child can see `false` for long: the others end with their parent.
    pub fn is_alive(&self) -> bool {
        self.here.is_some_and(Incarnation::is_this) || self.is_my_parent()
    }

    /// Waits until it has ended; `false` when `timeout` passed first.
    ///
    /// # Errors
    /// [`Error::Os`] when the system cannot watch it.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_deadline(Instant::now().checked_add(timeout))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// As [`join_timeout`](Parent::join_timeout).
    pub fn join(&self) -> Result<()> {
        self.join_deadline(None).map(drop)
    }

    /// A descriptor that becomes readable when it has ended, for poll and its kin: its pidfd, or where it has ended one that is
    /// readable already. Each call opens one.
    ///
    /// ```
    /// # fn main() -> ipc_core::Result<()> {
    /// let watched = || ipc_core::parent().is_some_and(|parent| parent.sentinel().is_ok());
    /// assert!(ipc_core::spawn(watched, ())?.join()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`join_timeout`](Parent::join_timeout).
    pub fn sentinel(&self) -> Result<OwnedFd> {
        let failed = |e: std::io::Error| Error::os("could not watch the parent process", e);
        match self.pidfd().map_err(failed)? {
            Some(pidfd) => Ok(pidfd),
            None => eventfd(1, EventfdFlags::CLOEXEC).map_err(|e| failed(e.into())),
        }
    }

    fn join_deadline(&self, deadline: Option<Instant>) -> Result<bool> {
        let failed = |e: std::io::Error| Error::os("could not wait for the parent process", e);
        match self.pidfd().map_err(failed)? {
            Some(pidfd) => poll::wait(&[pidfd.as_fd()], deadline).map_err(failed),
            None => Ok(true),
        }
    }

    /// A descriptor for the parent; `None` when it has ended.
    fn pidfd(&self) -> std::io::Result<Option<OwnedFd>> {
        match sys::wait::pidfd_open(self.pid) {
            // The number was its own when it was opened if it still is now: a parent's number is not reused before its
            // children have been given to another.
            Ok(pidfd) if self.is_alive() => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn is_my_parent(&self) -> bool {
        rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() as u32 == self.pid)
    }
}
