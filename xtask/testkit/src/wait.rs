//! Waiting for states, with a deadline that only guards against hanging.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// A deadline that no noise of a busy machine reaches.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// Polls until `condition` holds, and says whether it did before the deadline. Usually
/// `assert!(wait_until(GENEROUS, || …))`.
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(50);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Whether no such process runs any more. Somebody else's zombie is gone: it has ended, and when its parent
/// (pid 1 of a container may never) collects it is not the test's concern. A zombie that is this
/// process's own child is not gone: to collect it is the tested code's job.
pub fn process_gone(pid: u32) -> bool {
    match state_and_parent(pid) {
        None => true,
        Some((state, parent)) => matches!(state, 'Z' | 'X') && parent != std::process::id(),
    }
}

/// The state letter and the parent of a process, from `/proc/PID/stat`.
pub(crate) fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything, brackets too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_deadline_ends_the_wait() {
        assert!(!wait_until(Duration::from_millis(5), || false));
        let mut rounds = 0;
        assert!(wait_until(GENEROUS, || {
            rounds += 1;
            rounds == 3
        }));
    }

    #[test]
    fn a_zombie_of_our_own_is_not_gone_until_collected() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(wait_until(GENEROUS, || state_and_parent(pid).is_some_and(|(state, _)| state == 'Z')));
        assert!(!process_gone(pid));
        child.wait().unwrap();
        assert!(process_gone(pid));
    }
}
