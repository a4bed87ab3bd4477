//! What a process that outlives its starter does not hear.

/// Ignores the signals that a terminal and a session's end send to all of a group, and the polite one to end.
pub(crate) fn ignore_endings() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: to ignore a signal runs no code of this process. The calls cannot fail for these numbers.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
