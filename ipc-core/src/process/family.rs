//! What a process does for its children when it exits.

use crate::process::hooks;
use crate::sys::exit;

/// Makes sure that [`at_exit`] runs when this process exits normally. A forked child inherits the registration.
pub(crate) fn ensure_registered() {
    exit::at_exit_once(at_exit);
}

extern "C" fn at_exit() {
    hooks::run_at_exit(0);
    hooks::run_at_exit(i32::MIN);
}
