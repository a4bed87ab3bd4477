//! Small system calls on the calling process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the process at once: no atexit handlers, no buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a number and does not return; nothing of this process needs to be valid after it.
    unsafe { libc::_exit(code) }
}

fn fcntl(descriptor: BorrowedFd<'_>, command: i32, argument: i32) -> io::Result<i32> {
    // SAFETY: all callers here pass commands of fcntl(2) whose argument is a number.
    match unsafe { libc::fcntl(descriptor.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Has the kernel send `signal` to the process `pid` when the descriptor becomes ready (fcntl(2), `O_ASYNC`). The
/// descriptor is a blocking one: its other status flags are cleared.
pub(crate) fn signal_when_ready(descriptor: BorrowedFd<'_>, signal: i32, pid: u32) -> io::Result<()> {
    fcntl(descriptor, libc::F_SETOWN, pid as i32)?;
    fcntl(descriptor, F_SETSIG, signal)?;
    fcntl(descriptor, libc::F_SETFL, libc::O_ASYNC)?;
    Ok(())
}

/// Takes [`signal_when_ready`] back.
pub(crate) fn no_signal_when_ready(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(descriptor, libc::F_SETFL, 0)?;
    Ok(())
}

/// `F_SETSIG` of fcntl(2), the same on every Linux; the libc crate lacks it.
const F_SETSIG: i32 = 10;

static CLONED: AtomicBool = AtomicBool::new(false);

/// Notes that this process is such a copy as [`was_cloned`] speaks of.
pub(crate) fn set_cloned() {
    CLONED.store(true, Ordering::Relaxed);
}

/// Whether this process began as a copy: of a fork server, or of its parent.
pub(crate) fn was_cloned() -> bool {
    CLONED.load(Ordering::Relaxed)
}
