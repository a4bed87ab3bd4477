//! What the crate asks of the kernel beyond rustix: a file per concern, each with a safe face.

pub(crate) mod exit;
pub(crate) mod fork_local;
pub(crate) mod inherit;
pub(crate) mod memfd;
pub(crate) mod socket;
pub(crate) mod wait;
