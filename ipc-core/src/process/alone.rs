//! For tests that change their process (its user, its limits, what it ignores) or end it: they run in one of their
//! own, the test program started again for that single test.

use std::process::{Command, Output};

const MARK: &str = "IPC_CORE_TEST_ALONE";

/// The test program, to run `test` (its full path) alone. Its main thread waits for the test's thread meanwhile.
pub(crate) fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]).env(MARK, test);
    command
}

/// Whether this process was started by [`command`] for `test`.
pub(crate) fn is_alone(test: &str) -> bool {
    std::env::var(MARK).is_ok_and(|mark| mark == test)
}

/// Runs `body` in a process of its own; called once there and once here. Gives the output, here.
pub(crate) fn alone(test: &str, body: impl FnOnce()) -> Option<Output> {
    if is_alone(test) {
        body();
        return None;
    }
    let output = command(test).output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("running 1 test"),
        "{test}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

/// Whether this is root; else says what is not tried, which is a failure where everything is to run.
pub(crate) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        ipc_testkit::not_run(&format!("{what}: run the tests as root"));
    }
    root
}

/// As [`alone`], in a process with one thread: forked from the one that `alone` starts.
pub(crate) fn single_threaded(test: &str, body: impl FnOnce()) {
    alone(test, || {
        let code = in_fork(|| {
            assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), 1);
            body();
            0
        });
        assert_eq!(code, 0);
    });
}

/// Runs `body` in a forked child and gives its exit code. For the processes of [`alone`].
pub(crate) fn in_fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the other thread of the process, if any, waits in the test harness and holds no lock, so the child may do
    // whatever it likes.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the child without its parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above; the status is written to a local.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "{status:#x}");
    libc::WEXITSTATUS(status)
}
