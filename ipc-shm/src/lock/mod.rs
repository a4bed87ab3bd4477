//! Locks that survive the death of their owner.
//!
//! `word` is the algorithm, against what `system` says of kernel and thread; `raw` is the lock to be placed in memory, `guard` what users
//! hold, `error` why they do not; `handle` and `recursive` are locks by themselves.

pub(crate) mod error;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod raw;
pub(crate) mod recursive;
pub mod system;
pub mod word;
