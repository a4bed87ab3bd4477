//! Switches that force the fall-backs for older kernels, so that tests run them here: `IPC_SHM_WITHOUT=baton,noexec_seal` in the environment.

use std::sync::OnceLock;

/// Whether a facility is switched off.
pub(crate) fn is_off(facility: &str) -> bool {
    static OFF: OnceLock<String> = OnceLock::new();
    let off = OFF.get_or_init(|| std::env::var("IPC_SHM_WITHOUT").unwrap_or_default());
    !off.is_empty() && off.split(',').any(|name| name == facility)
}
