//! What the crate asks of the kernel and the C library beyond rustix: the code that needs `unsafe`, a file per concern, each
//! with a safe face.

pub(crate) mod clone;
pub(crate) mod conjure;
#[cfg(feature = "hook")]
mod constructors;
#[cfg(feature = "crash-points")]
pub(crate) mod crash;
pub(crate) mod descriptor;
pub(crate) mod elf;
pub(crate) mod environment;
pub(crate) mod epoll;
pub(crate) mod exit;
pub(crate) mod fork_local;
pub(crate) mod futex;
pub(crate) mod incarnation;
pub(crate) mod inherit;
pub(crate) mod life;
pub(crate) mod memfd;
pub(crate) mod peer;
#[cfg(feature = "hook")]
pub(crate) mod prepare;
pub(crate) mod private;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod runtime;
pub(crate) mod scatter;
pub(crate) mod socket;
pub(crate) mod switch;
pub(crate) mod wait;
