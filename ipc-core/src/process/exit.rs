//! How a process ended.
//!
//! The shape is [`std::process::ExitStatus`]'s, with one state more. A process may be gone without anybody knowing
//! how: with SIGCHLD ignored the kernel discards the status, and a foreign `wait` takes it. std would have to answer
//! with an error or wait for ever; here the status itself is *unknown*.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// The end of a process: an exit code, a signal, or unknown.
///
/// ```
/// use ipc_core::{ExitStatus, Signal};
///
/// fn describe(status: ExitStatus) -> String {
///     match (status.code(), status.signal()) {
///         (Some(code), _) => format!("left with {code}"),
///         (_, Some(signal)) => format!("killed by {signal}"),
///         _ => "gone".into(),
///     }
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitStatus(End);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum End {
    Exited(i32),
    Killed { signal: Signal, core_dumped: bool },
    Unknown,
}

impl ExitStatus {
    /// Left with a code.
    pub(crate) const fn exited(code: i32) -> ExitStatus {
        ExitStatus(End::Exited(code))
    }

    /// Ended by a signal.
    pub(crate) const fn killed(signal: Signal, core_dumped: bool) -> ExitStatus {
        ExitStatus(End::Killed { signal, core_dumped })
    }

    /// Ended, and nobody knows how.
    pub(crate) const fn unknown() -> ExitStatus {
        ExitStatus(End::Unknown)
    }

    /// From the word that `wait(2)` gives. A process that merely stopped has no status, and neither has nonsense.
    pub(crate) fn from_wait_status(status: i32) -> Option<ExitStatus> {
        if libc::WIFEXITED(status) {
            return Some(ExitStatus::exited(libc::WEXITSTATUS(status)));
        }
        if !libc::WIFSIGNALED(status) {
            return None;
        }
        Some(ExitStatus::killed(Signal::from_raw(libc::WTERMSIG(status))?, libc::WCOREDUMP(status)))
    }

    /// Whether the process left with code 0.
    pub fn success(&self) -> bool {
        self.0 == End::Exited(0)
    }

    /// The code given to `exit`, 0 to 255; `None` if a signal ended the process, or nobody knows.
    pub fn code(&self) -> Option<i32> {
        match self.0 {
            End::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended the process; `None` if it left by itself, or nobody knows.
    pub fn signal(&self) -> Option<Signal> {
        match self.0 {
            End::Killed { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// Whether the signal made the system write a core dump.
    pub fn core_dumped(&self) -> bool {
        matches!(self.0, End::Killed { core_dumped: true, .. })
    }

    /// Whether the process is gone without a trace of how: SIGCHLD was ignored, or someone else waited for it.
    pub fn is_unknown(&self) -> bool {
        self.0 == End::Unknown
    }

    /// One number, as Python's `Process.exitcode`: the code, or minus the signal's number. `None` if unknown.
    pub fn exitcode(&self) -> Option<i32> {
        match self.0 {
            End::Exited(code) => Some(code),
            End::Killed { signal, .. } => Some(-signal.as_raw()),
            End::Unknown => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            End::Exited(code) => write!(f, "exit status: {code}"),
            End::Killed { signal, core_dumped } => {
                let dump = if core_dumped { " (core dumped)" } else { "" };
                write!(f, "signal: {} ({signal}){dump}", signal.as_raw())
            }
            End::Unknown => f.write_str("exit status: unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn every_wait_status_reads_and_shows_as_in_std() {
        // Bit 7 without a signal is no word that the kernel writes.
        for word in (0..=0xffff).filter(|word| word & 0xff != 0x80) {
            let std = std::process::ExitStatus::from_raw(word);
            match ExitStatus::from_wait_status(word) {
                Some(ours) => {
                    assert_eq!(ours.code(), std.code(), "{word:#x}");
                    assert_eq!(ours.signal().map(Signal::as_raw), std.signal(), "{word:#x}");
                    assert_eq!(ours.core_dumped(), std.signal().is_some() && std.core_dumped(), "{word:#x}");
                    assert_eq!(ours.success(), std.success(), "{word:#x}");
                    // std knows no names for the real-time signals.
                    if std.signal().is_none_or(|signal| signal < 32) {
                        assert_eq!(ours.to_string(), std.to_string(), "{word:#x}");
                    }
                }
                // 0x7f: stopped or continued; above 64: no signal.
                None => assert!(word & 0x7f == 0x7f || word & 0x7f > 64, "{word:#x}"),
            }
        }
    }

    #[test]
    fn one_number_as_pythons() {
        assert_eq!(ExitStatus::exited(0).exitcode(), Some(0));
        assert_eq!(ExitStatus::exited(7).exitcode(), Some(7));
        assert_eq!(ExitStatus::killed(Signal::KILL, false).exitcode(), Some(-9));
        assert_eq!(ExitStatus::unknown().exitcode(), None);
    }

    #[test]
    fn unknown_is_none_of_the_others() {
        let status = ExitStatus::unknown();
        assert!(status.is_unknown() && !status.success() && !status.core_dumped());
        assert_eq!((status.code(), status.signal()), (None, None));
        assert_eq!(status.to_string(), "exit status: unknown");
    }

    #[test]
    fn travels() {
        for status in [ExitStatus::exited(3), ExitStatus::killed(Signal::ABORT, true), ExitStatus::unknown()]
        {
            let bytes = postcard::to_stdvec(&status).unwrap();
            assert_eq!(postcard::from_bytes::<ExitStatus>(&bytes).unwrap(), status);
        }
    }
}
