//! Locks that survive the death of their owner.
//!
//! `word` is the algorithm, against what `system` says of kernel and thread, and `recursion` the count of a lock that its owner takes again, `mirror` what a
//! thread knows of the locks that it has; `raw`
//! and `raw_recursive` are the locks to be placed in memory, `robust` what both are to who is generic over them; `guard` is what users hold, `error` why they do not; `handle` and `recursive` are locks
//! by themselves.

pub(crate) mod error;
pub(crate) mod guard;
pub(crate) mod handle;
pub mod mirror;
pub(crate) mod raw;
pub(crate) mod raw_recursive;
pub mod recursion;
pub(crate) mod recursive;
pub(crate) mod robust;
pub mod system;
pub mod word;
