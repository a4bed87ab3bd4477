//! What ties a child's life to its parent's.
//!
//! A pipe is made for each child; nothing is ever written to it or read from it. The parent keeps the end
//! for writing, and with the parent, however it ends, that end is closed. The child asks the kernel to send it a
//! signal when something happens on its end (`O_ASYNC`, fcntl(2)), names itself as the receiver
//! (`F_SETOWN`) and SIGKILL as the signal (`F_SETSIG`). So the kernel ends the child some 0.3 ms after its parent,
//! without a thread that watches, and also when the child spins, is stopped or traced, or blocks all signals.
//!
//! | who dies | who notices | within |
//! |---|---|---|
//! | the parent | the kernel, for each child | 0.3 ms here |
//! | the child | nobody needs to: the pipe ends with it | |
//!
//! Rules, each of them tried:
//! - Only the parent may hold the writing end. It is close-on-exec, forked children of ours close it; a plain
//!   `fork()` in foreign code that keeps running keeps the child alive.
//! - Arming is followed by one look: the parent may have died before.
//! - The kernel checks the credentials of whoever called `F_SETOWN`: after a change of uid arm again.
//! - Process 1 of a pid namespace takes no signals from inside but those it handles, SIGKILL included; it asks for
//!   `PR_SET_PDEATHSIG` instead. Elsewhere that would be wrong, it fires when the *thread* that forked ends.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::{poll, sys};

/// A new lifeline: the parent's end and the child's.
pub(crate) fn new() -> io::Result<(OwnedFd, OwnedFd)> {
    let (childs, parents) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((parents, childs))
}

/// Ties this process to the other end; returns only if that is still open.
pub(crate) fn arm(childs_end: BorrowedFd<'_>) -> io::Result<()> {
    if std::process::id() == 1 {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    } else {
        sys::process::signal_when_ready(childs_end, libc::SIGKILL, std::process::id())?;
    }
    if poll::is_ready(childs_end)? {
        sys::process::exit_now(1);
    }
    Ok(())
}

/// Ties a child that was just born, in its place: until it does so itself it may be stopped, and then would not notice
/// the end of its parent. (Whom a description signals is its own property, whoever sets it.)
///
/// Nothing is lost where this fails, or where the child is process 1 of a namespace: it ties itself as soon as it runs.
pub(crate) fn arm_newborn(childs_end: BorrowedFd<'_>, pid: u32) {
    let _ = sys::process::signal_when_ready(childs_end, libc::SIGKILL, pid);
}

/// Cuts this process loose.
pub(crate) fn disarm(childs_end: BorrowedFd<'_>) -> io::Result<()> {
    if std::process::id() == 1 {
        rustix::process::set_parent_process_death_signal(None)?;
        return Ok(());
    }
    sys::process::no_signal_when_ready(childs_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn nothing_is_ready_while_the_parent_lives() {
        let (parents, childs) = new().unwrap();
        assert!(!poll::is_ready(childs.as_fd()).unwrap());
        drop(parents);
        assert!(poll::is_ready(childs.as_fd()).unwrap());
    }
}
