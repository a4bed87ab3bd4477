//! What the crate asks of the kernel, a file per concern, each with a safe face.

pub(crate) mod memfd;
pub(crate) mod socket;
