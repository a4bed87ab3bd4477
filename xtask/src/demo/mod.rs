//! Short visible programs that do a real job with the crates. None stands here yet.

use crate::Result;

/// `cargo xtask demo ARGS`.
pub(crate) fn run(_args: &[String]) -> Result {
    Err("demo: there is no demo yet".to_owned())
}
