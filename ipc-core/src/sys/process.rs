//! Small system calls on the calling process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the process at once: no atexit handlers, no buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a number and does not return; nothing of this process needs to be valid after it.
    unsafe { libc::_exit(code) }
}

/// Whether the calling thread is the one that the process began with.
pub(crate) fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
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

/// The process that [`signal_when_ready`] has named last, if it is there, be it dead and not waited for.
pub(crate) fn signalled_when_ready(descriptor: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let pid = fcntl(descriptor, libc::F_GETOWN, 0)?;
    Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0))
}

/// Takes [`signal_when_ready`] back.
pub(crate) fn no_signal_when_ready(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(descriptor, libc::F_SETFL, 0)?;
    Ok(())
}

/// Whether the kernel lets the calling thread look into a process (ptrace(2), "Ptrace access mode checking", for reading). Asked
/// for by the cheapest call that is checked so: get_robust_list(2).
pub(crate) fn may_look_into(pid: u32) -> bool {
    let (mut head, mut size) = (std::ptr::null_mut::<libc::c_void>(), 0usize);
    // SAFETY: the kernel writes an address, which is not used, and a size to two locals.
    unsafe { libc::syscall(libc::SYS_get_robust_list, pid as i32, &raw mut head, &raw mut size) == 0 }
}

/// Whether a process is stopped, by a signal or a tracer.
pub(crate) fn is_stopped(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| matches!(state, 'T' | 't'))
}

/// The state letter and the parent of a process, from /proc/PID/stat (proc(5)); `None` where there is none.
pub(crate) fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
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
