//! Switches that force the fall-backs for older or stricter kernels, so that tests run them here.
//!
//! `IPC_CORE_WITHOUT=close_range,tid_address,pidfd_info,clone,wipe_on_fork,futex_waitv` in the environment makes the named facilities
//! look absent. Children inherit it with the environment. Read once, at the first use.

use std::sync::OnceLock;

/// Whether a facility is switched off.
pub(crate) fn is_off(facility: &str) -> bool {
    static OFF: OnceLock<String> = OnceLock::new();
    let off = OFF.get_or_init(|| std::env::var("IPC_CORE_WITHOUT").unwrap_or_default());
    !off.is_empty() && off.split(',').any(|name| name == facility)
}
