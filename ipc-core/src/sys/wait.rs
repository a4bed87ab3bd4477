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
//! A third has the zombie of a process that it traces, until it waits for it or ends. Then the pidfd is ready and waitid has
//! nothing: the caller looks again every [`KEPT`].
//!
//! [pidfd_open(2)]: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
//! [waitid(2)]: https://man7.org/linux/man-pages/man2/waitid.2.html

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, kill_process, pidfd_send_signal, waitid};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::process::exit::ExitStatus;
use crate::process::signal::Signal;
use crate::sys::switch;

/// How often to look for the status of a process that has ended and that a tracer keeps.
pub(crate) const KEPT: Duration = Duration::from_millis(10);

/// A descriptor that becomes readable after so long ([timerfd_create(2)]).
///
/// [timerfd_create(2)]: https://man7.org/linux/man-pages/man2/timerfd_create.2.html
pub(crate) fn timer(after: Duration) -> io::Result<OwnedFd> {
    let timer = unset_timer()?;
    set_timer(timer.as_fd(), Some(after))?;
    Ok(timer)
}

/// As [`timer`], and no time is set yet.
pub(crate) fn unset_timer() -> rustix::io::Result<OwnedFd> {
    timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
}

/// Has a timer become readable after so long, or never; what was set before is forgotten.
pub(crate) fn set_timer(timer: BorrowedFd<'_>, after: Option<Duration>) -> rustix::io::Result<()> {
    // To the kernel no time at all is never.
    let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(after).map_err(|_| Errno::INVAL)?,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// A descriptor for the process `pid`, closed on exec.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Ends a child for which no pidfd can be had, and waits for it.
///
/// By its number: only for one that nobody else knows of, and so nobody has waited for.
pub(crate) fn end_by_number(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // It fails where the child has ended, and the wait where somebody waits for every child; both leave nothing to do.
    let _ = kill_process(pid, rustix::process::Signal::KILL);
    while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), ended()) {}
}

/// __WALL: a child whose exit signal is not SIGCHLD (clone with 0) counts as well.
fn ended() -> WaitIdOptions {
    WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(libc::__WALL as u32)
}

/// Takes the exit status if the process has ended, and its zombie with it; `None` while it runs.
///
/// Once it has ended, every further call gives a status too: the same one where the kernel remembers it, else
/// unknown. The caller keeps the first.
pub(crate) fn try_reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    wait(pidfd, ended() | WaitIdOptions::NOHANG)
}

fn wait(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
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
        if let Some(status) = wait(pidfd, ended())? {
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

/// How long the kernel may take from announcing a death to having the zombie removed and its status stored.
const RELEASE: Duration = Duration::from_millis(100);

/// The status that the pidfd remembers: where the kernel does, and once the zombie is gone.
fn remembered(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    if switch::is_off("pidfd_info") {
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::process::alone::{alone, command, is_alone};

    /// A child that waits for its standard input to end before it does anything.
    fn waiting(script: &str) -> (Child, OwnedFd) {
        let script = format!("read go; {script}");
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd_open(child.id()).unwrap();
        (child, pidfd)
    }

    fn shell(script: &str) -> (Child, OwnedFd) {
        let (mut child, pidfd) = waiting(script);
        drop(child.stdin.take());
        (child, pidfd)
    }

    /// The deadline is a guard against hanging.
    fn end(pidfd: &OwnedFd) -> ExitStatus {
        assert!(wait_exited(pidfd.as_fd(), Some(Instant::now() + Duration::from_secs(60))).unwrap());
        assert!(has_exited(pidfd.as_fd()).unwrap());
        try_reap(pidfd.as_fd()).unwrap().unwrap()
    }

    #[test]
    fn codes_and_signals() {
        for (script, status) in [
            ("exit 0", ExitStatus::exited(0)),
            ("exit 255", ExitStatus::exited(255)),
            ("kill -9 $$", ExitStatus::killed(Signal::KILL, false)),
            ("ulimit -c 0; kill -SEGV $$", ExitStatus::killed(Signal::SEGV, false)),
            ("kill -34 $$", ExitStatus::killed(Signal::from_raw(34).unwrap(), false)),
        ] {
            let (child, pidfd) = shell(script);
            assert_eq!(end(&pidfd), status, "{script}");
            // The zombie is gone with it.
            assert!(!std::path::Path::new(&format!("/proc/{}", child.id())).exists());
        }
    }

    #[test]
    fn a_running_child_is_left_alone() {
        let (_child, pidfd) = waiting("exit 3");
        assert_eq!(try_reap(pidfd.as_fd()).unwrap(), None);
        assert!(!has_exited(pidfd.as_fd()).unwrap());
        assert!(!wait_exited(pidfd.as_fd(), Some(Instant::now() + Duration::from_millis(1))).unwrap());
        send_signal(pidfd.as_fd(), Signal::STOP).unwrap();
        // Stopping is no end.
        assert_eq!(try_reap(pidfd.as_fd()).unwrap(), None);
        send_signal(pidfd.as_fd(), Signal::TERM).unwrap();
        send_signal(pidfd.as_fd(), Signal::CONT).unwrap();
        assert_eq!(end(&pidfd), ExitStatus::killed(Signal::TERM, false));
    }

    #[test]
    fn signals_to_the_dead_are_no_error() {
        let (_child, pidfd) = shell("exit 0");
        assert!(wait_exited(pidfd.as_fd(), None).unwrap());
        send_signal(pidfd.as_fd(), Signal::KILL).unwrap();
        assert_eq!(end(&pidfd), ExitStatus::exited(0));
        send_signal(pidfd.as_fd(), Signal::KILL).unwrap();
        for number in 1..=64 {
            send_signal(pidfd.as_fd(), Signal::from_raw(number).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_foreign_process_that_runs_has_not_ended() {
        let own = pidfd_open(std::process::id()).unwrap();
        assert_eq!(try_reap(own.as_fd()).unwrap(), None);
    }

    #[test]
    fn no_such_process() {
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert!(pidfd_open(pid).is_err(), "{pid}");
        }
    }

    #[test]
    fn pidfds_are_closed_on_exec() {
        let (_child, pidfd) = shell("exit 0");
        assert!(rustix::io::fcntl_getfd(&pidfd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        end(&pidfd);
    }

    /// What the kernel remembers of a status that was lost: all of it from 6.15 on, else nothing.
    fn remembers(status: ExitStatus) -> ExitStatus {
        let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut parts = version.split(|byte: char| !byte.is_ascii_digit()).map(|part| part.parse::<u32>());
        let version = (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap());
        if version >= (6, 15) { status } else { ExitStatus::unknown() }
    }

    #[test]
    fn a_foreign_wait_takes_the_status() {
        for (script, status) in
            [("exit 7", ExitStatus::exited(7)), ("kill -9 $$", ExitStatus::killed(Signal::KILL, false))]
        {
            let (mut child, pidfd) = shell(script);
            child.wait().unwrap();
            assert_eq!(end(&pidfd), remembers(status));
        }
    }

    #[test]
    fn the_status_can_be_asked_for_again() {
        let (_child, pidfd) = shell("exit 7");
        assert_eq!(end(&pidfd), ExitStatus::exited(7));
        assert_eq!(end(&pidfd), remembers(ExitStatus::exited(7)));
    }

    #[test]
    fn sigchld_ignored() {
        alone("sys::wait::tests::sigchld_ignored", || {
            crate::sys::inherit::set_ignored(libc::SIGCHLD, true).unwrap();
            // Many, for the window between the announced death and the stored status is short.
            for round in 0..200 {
                let (_child, pidfd) = shell("exit 5");
                assert_eq!(end(&pidfd), remembers(ExitStatus::exited(5)), "{round}");
            }
        });
    }

    #[test]
    fn a_kernel_that_forgets() {
        let name = "sys::wait::tests::a_kernel_that_forgets";
        if !is_alone(name) {
            let output = command(name).env("IPC_CORE_WITHOUT", "pidfd_info").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let (mut child, pidfd) = shell("exit 7");
        child.wait().unwrap();
        assert!(end(&pidfd).is_unknown());
    }
}
