//! How a child ends.
//!
//! By default it leaves with `_exit`: half of the time from `exit()` to the parent's wake-up is the process's dying, and
//! what `exit` would add is not the child's to do (atexit handlers of the parent's libraries, C++
//! destructors). What is the child's own happens before: its exit hooks, its children, its buffered output
//! and, in a coverage build, its profile. `Builder::run_atexit(true)` asks for `exit` instead.
//!
//! The name of that profile is the affair of LLVM's runtime, which looks `%p` up when a program starts. So in `LLVM_PROFILE_FILE` it is the
//! pid of the executed process that a copy began as, the fork server's or the parent's, and all its copies append to that one
//! file; those that end at the same time may spoil it. `%m` is for that (`cargo llvm-cov` writes `%p-%m`): profiles are then merged under a
//! lock. What the original had counted before the copy was made counts once more in each copy: lines that have run are right, and how
//! often is too much.

use std::io::Write;

use crate::process::family;
use crate::sys;

/// Ends a child that has run: hooks and children first, then the buffers.
pub(crate) fn now(code: i32, run_atexit: bool) -> ! {
    // A hook that panics must not keep the child alive; `finish` catches what its hooks throw.
    family::finish();
    // Errors (a closed descriptor, a reader that is gone) must not change the exit code.
    let _ = std::io::stdout().flush();
    if run_atexit {
        std::process::exit(code);
    }
    sys::runtime::flush();
    at_once(code)
}

/// Ends a process that has not begun to run anything.
pub(crate) fn at_once(code: i32) -> ! {
    sys::process::exit_now(code)
}
