//! Processes, told by when they started as well: a number alone may be another process's by now.
//!
//! Both stand in [proc_pid_stat(5)]. What it says of the start is by the clock of whoever reads it (time_namespaces(7)), so two processes in different time
//! namespaces do not agree about a third; whoever compares must know that they are in the same.
//!
//! [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::fork_local::ForkLocal;

/// A process in its pid namespace: its number, and when it started.
///
/// ```
/// use ipc_core::primitive::process::Life;
/// let this = Life::this()?;
/// assert_eq!(this.pid, std::process::id());
/// assert!(!this.is_over());
/// assert!(Life { started: this.started + 1, ..this }.is_over());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    pub started: u64,
}

/// What the kernel tells of a process.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Its first thread's state, by the letter.
    state: u8,
    /// How many threads it has; a dead one that nobody has waited for: one.
    threads: u64,
    /// When it started, in ticks since the machine did.
    pub started: u64,
}

impl Look {
    /// At the process of that number.
    ///
    /// # Errors
    /// There is none, or /proc does not tell.
    pub fn at(pid: u32) -> io::Result<Look> {
        let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
        parse(&stat).ok_or_else(|| io::Error::other("it is not as proc_pid_stat(5) says"))
    }

    /// Whether it is dead, and only its exit status is there still. (A process whose first thread alone has ended looks much the same.)
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'X' | b'x') || self.state == b'Z' && self.threads <= 1
    }
}

fn parse(stat: &[u8]) -> Option<Look> {
    // The name, in brackets, may hold anything, brackets too.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let threads = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    Some(Look { state, threads, started })
}

/// When this process started; 0: not asked yet.
static STARTED: ForkLocal<AtomicU64> = ForkLocal::new();

impl Life {
    /// The calling process.
    ///
    /// # Errors
    /// There is no /proc, or it does not tell; it is that of another pid namespace (after `unshare --pid` without `--mount-proc`), where the numbers are others'.
    pub fn this() -> io::Result<Life> {
        let pid = std::process::id();
        let known = STARTED.get_or_make(AtomicU64::default);
        let started = match known.load(Ordering::Relaxed) {
            0 => {
                if !is_of_this_namespace(pid) {
                    return Err(io::Error::other("/proc is that of another pid namespace: mount it anew"));
                }
                let started = Look::at(pid)?.started;
                known.store(started, Ordering::Relaxed);
                started
            }
            started => started,
        };
        Ok(Life { pid, started })
    }

    /// Whether it has ended, as far as can be told from here: where /proc does not tell, it lives.
    pub fn is_over(self) -> bool {
        match Look::at(self.pid) {
            Ok(look) => look.is_dead() || look.started != self.started,
            // A /proc that hides processes (hidepid) says the same of those that live.
            Err(error) => is_nothing(&error) && !exists(self.pid),
        }
    }
}

/// Whether /proc knows this process by its number; where it has no `self`, `stat` will tell.
fn is_of_this_namespace(pid: u32) -> bool {
    std::fs::read_link("/proc/self").map_or(true, |name| name.as_os_str() == OsStr::new(&pid.to_string()))
}

/// Whether an error of /proc says that there is no such process.
pub fn is_nothing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Whether there is a process of that number.
pub fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_fields() {
        let stat = b"7 (a) Z 1) R 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 12345 0 0";
        let look = parse(stat).unwrap();
        assert_eq!((look.state, look.threads, look.started), (b'R', 3, 12345));
        assert!(parse(b"7 (a) R 1 7").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn a_dead_child_is_over_before_anybody_waits_for_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let life = Life { pid: child.id(), started: Look::at(child.id()).unwrap().started };
        assert!(!life.is_over());
        child.kill().unwrap();
        assert!(ipc_testkit::wait_until(std::time::Duration::from_secs(60), || life.is_over()));
        child.wait().unwrap();
        assert!(life.is_over());
    }
}
