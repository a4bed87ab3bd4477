//! Being called when the process exits: [atexit(3)].
//!
//! [atexit(3)]: https://man7.org/linux/man-pages/man3/atexit.3.html

use std::sync::atomic::{AtomicBool, Ordering};

/// Has `f` called when the process returns from `main` or calls `exit`. The first call registers its function, later
/// ones do nothing: a process has one, and a forked child keeps it. A panic in `f` aborts.
///
/// It takes no lock: one that a fork found held would be held for ever in the child.
pub(crate) fn at_exit_once(f: extern "C" fn()) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: the function is static, and extern "C" lets no panic out. Registering fails when memory is
        // exhausted; then nothing runs at exit, as after a signal.
        let _ = unsafe { libc::atexit(f) };
    }
}
