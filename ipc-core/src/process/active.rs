//! A child as the list of all children has it: whatever its function returns, it can be looked at, waited for and ended.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

#[cfg(doc)]
use super::child::Child;
use super::child::{describe, signal_to, wait};
use super::exit::ExitStatus;
use super::life::Life;
use super::signal::Signal;
use crate::error::Result;
use crate::primitive::sync::Arc;

/// A running child, as [`active_children`](crate::active_children) lists it: all that can be done without knowing what its
/// function returns.
#[derive(Clone)]
pub struct ActiveChild(pub(crate) Arc<Life>);

impl ActiveChild {
    /// As [`Child::pid`].
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// As [`Child::name`].
    pub fn name(&self) -> String {
        self.0.id().name
    }

    /// As [`Child::is_daemon`].
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// As [`Child::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// As [`Child::exit_status`].
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.exit_status()
    }

    /// As [`Child::wait`].
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait(&self) -> Result<ExitStatus> {
        wait(&self.0)
    }

    /// As [`Child::wait_timeout`].
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.0.wait(Instant::now().checked_add(timeout))
    }

    /// As [`Child::signal`].
    ///
    /// # Errors
    /// As [`Child::terminate`].
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(&self.0, signal)
    }

    /// As [`Child::terminate`].
    ///
    /// # Errors
    /// As [`Child::terminate`].
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// As [`Child::kill`].
    ///
    /// # Errors
    /// As [`Child::terminate`].
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// As [`Child::interrupt`].
    ///
    /// # Errors
    /// As [`Child::terminate`].
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// As [`Child::sentinel`].
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.sentinel()
    }
}

impl AsFd for ActiveChild {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.sentinel()
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("ActiveChild", &self.0, f)
    }
}
