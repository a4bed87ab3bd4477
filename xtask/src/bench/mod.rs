//! Measure this workspace and its peers, interleaved in one run. No group stands here yet.

use crate::Result;

/// `cargo xtask bench ARGS`.
pub(crate) fn run(_args: &[String]) -> Result {
    Err("bench: there is no benchmark group yet".to_owned())
}
