//! Watching a process through its pidfd: has it ended, how, and sending it a signal.
//!
//! A pid is a number that the system gives out again; a pidfd ([pidfd_open(2)]) means one process for ever. Waiting
//! ([waitid(2)] with `P_PIDFD`) needs no SIGCHLD handler and takes nobody else's child.
//!
//! The status can still be lost. With SIGCHLD ignored the kernel throws it away, and other code of the process may
//! call `wait(-1)`. Both times waitid answers ECHILD. From Linux 6.15 the pidfd itself remembers the status
//! (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`); on older kernels the answer is *unknown*. Never is it a hang: whether
//! the process has ended is read from the pidfd's readiness, which nothing can take away.
//!
//! [pidfd_open(2)]: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
//! [waitid(2)]: https://man7.org/linux/man-pages/man2/waitid.2.html

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::process::exit::ExitStatus;
use crate::process::signal::Signal;

/// A descriptor for the process `pid`, closed on exec.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Takes the exit status if the process has ended, and its zombie with it; `None` while it runs.
///
/// Once it has ended, every further call gives a status too: the same one where the kernel remembers it, else
/// unknown. The caller keeps the first.
pub(crate) fn try_reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    // __WALL: a child whose exit signal is not SIGCHLD (clone with 0) counts as well.
    let options =
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    loop {
        match waitid(WaitId::PidFd(pidfd), options) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                let ended = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Some(ExitStatus::exited(code)),
                    (_, Some(signal)) => {
                        Signal::from_raw(signal).map(|signal| ExitStatus::killed(signal, status.dumped()))
                    }
                    _ => None,
                };
                return Ok(Some(ended.unwrap_or(ExitStatus::unknown())));
            }
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) if !has_exited(pidfd)? => return Ok(None),
            Err(Errno::CHILD) => return Ok(Some(remembered(pidfd).unwrap_or(ExitStatus::unknown()))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the end and takes the exit status.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = try_reap(pidfd)? {
            return Ok(status);
        }
        wait_exited(pidfd, None)?;
    }
}

/// Whether the process has ended. Takes nothing: not the status, not the zombie.
pub(crate) fn has_exited(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    wait_exited(pidfd, Some(Instant::now()))
}

/// Waits until the process has ended, or the deadline has passed (`None`: for ever); says whether it has ended.
pub(crate) fn wait_exited(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    poll_until(pidfd, PollFlags::IN, deadline)
}

/// Sends a signal. A process that has ended already is no error: whoever signals cannot know.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: the number is from 1 to 64. The type would forbid the C library's own signals and the real-time ones
    // because a *handler* for them could be unsound; nothing is installed here, and the kernel checks the number.
    let signal = unsafe { rustix::process::Signal::from_raw_unchecked(signal.as_raw()) };
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn poll_until(pidfd: BorrowedFd<'_>, events: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&pidfd, events)], timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Set where a test wants the kernels before 6.15, which remember no status.
static FORGETFUL: AtomicBool = AtomicBool::new(false);

/// Behaves as on a kernel whose pidfds remember no exit status, so that tests can see *unknown*.
pub(crate) fn force_forgetful(forgetful: bool) {
    FORGETFUL.store(forgetful, Ordering::Relaxed);
}

/// How long the kernel may take from announcing a death to having the zombie removed and its status stored.
const RELEASE: Duration = Duration::from_millis(100);

/// The status that the pidfd remembers: where the kernel does, and once the zombie is gone.
fn remembered(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    if FORGETFUL.load(Ordering::Relaxed) || super::switch::is_off("pidfd_info") {
        return None;
    }
    let known = |info: libc::pidfd_info| info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    let mut info = info(pidfd)?;
    if !known(info) {
        // Announced, but not yet released: the pidfd hangs up when it is. (No event asked for means POLLHUP alone.)
        poll_until(pidfd, PollFlags::empty(), Some(Instant::now() + RELEASE)).ok()?;
        info = self::info(pidfd)?;
    }
    known(info).then(|| ExitStatus::from_wait_status(info.exit_code)).flatten()
}

fn info(pidfd: BorrowedFd<'_>) -> Option<libc::pidfd_info> {
    // SAFETY: a structure of integers, for which zero is a value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the request carries the size of the structure, and the kernel writes that many bytes at most.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    (done == 0).then_some(info)
}
