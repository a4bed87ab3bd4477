//! The system calls that need `unsafe`, one file per concern, each with a safe face.

pub(crate) mod exit;
pub(crate) mod fork_local;
pub(crate) mod inherit;
pub(crate) mod wait;
