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
//! - The kernel checks the credentials of whoever called `F_SETOWN`: after a change of uid arm again. The crate does where it makes
//!   the change ([`Builder::uid`](crate::Builder::uid)); a child that makes one itself calls [`rearm`].
//! - It is close-on-exec: what a child starts beside itself does not have it. A child that *becomes* another program calls
//!   [`keep_across_exec`] before.
//! - Process 1 of a pid namespace takes no signals from inside but those it handles, SIGKILL included; it asks for
//!   `PR_SET_PDEATHSIG` instead. Elsewhere that would be wrong, it fires when the *thread* that forked ends.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::entry::bootstrap;
use crate::error::{Error, Result};
use crate::sys::private::{self, Private};
use crate::{poll, sys};

/// Ties this process to its parent anew, after it has changed its user by itself.
///
/// The kernel ends a child with its parent only where the user who has armed the lifeline may send the child signals, and that user is
/// the one this process was then: `setuid` and its kin may make it another. Call this after the last of them. It does nothing in
/// the first process of a program and in a detached child. Where the parent has died already, it ends this process.
///
/// ```
/// use ipc_core::{lifeline, spawn};
///
/// # fn main() -> ipc_core::Result<()> {
/// let child = spawn(|| {
///     // setuid(2), by any crate; then:
///     lifeline::rearm().unwrap();
/// }, ())?;
/// child.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Os`] when the system refuses; then the lifeline is as it was.
pub fn rearm() -> Result<()> {
    match bootstrap::tied_by() {
        Some([_, lifeline]) => arm(lifeline).map_err(|e| Error::os("could not arm the lifeline: fcntl", e)),
        None => Ok(()),
    }
}

/// Keeps this process tied to its parent when it becomes another program, by
/// [`exec`](std::os::unix::process::CommandExt::exec) say: without this call such a program goes on when the parent ends.
///
/// Two descriptors then stay open in the new program, the lifeline and the socket over which the parent would detach it; it has to
/// leave them alone. So call this right before the exec: whatever this process starts otherwise inherits them as well. To the
/// parent the new program is a child that ends without a value. It does nothing in the first process of a program and in a detached
/// child.
///
/// ```
/// use std::os::unix::process::CommandExt;
/// use ipc_core::{lifeline, spawn};
///
/// # fn main() -> ipc_core::Result<()> {
/// let child = spawn(|| -> u8 {
///     lifeline::keep_across_exec().unwrap();
///     panic!("{}", std::process::Command::new("true").exec());
/// }, ())?;
/// assert!(child.wait()?.success());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Os`] when the system refuses.
pub fn keep_across_exec() -> Result<()> {
    for own in bootstrap::tied_by().into_iter().flatten() {
        rustix::io::fcntl_setfd(own, rustix::io::FdFlags::empty())
            .map_err(|e| Error::os("could not keep the lifeline across an exec: fcntl", e))?;
    }
    Ok(())
}

/// A new lifeline: the parent's end and the child's.
pub(crate) fn new() -> io::Result<[Private; 2]> {
    private::make(|| {
        let (childs, parents) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok([parents, childs])
    })
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
        let [parents, childs] = new().unwrap();
        assert!(!poll::is_ready(childs.as_fd()).unwrap());
        drop(parents);
        assert!(poll::is_ready(childs.as_fd()).unwrap());
    }
}
