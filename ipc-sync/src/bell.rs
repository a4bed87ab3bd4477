//! Bells: an eventfd that is readable while it rings, for who waits in poll(2) or in a runtime. It travels with what it is the bell of.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl};

/// A silent one.
pub(crate) fn make() -> rustix::io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Whether what has come as a bell can be one: nobody waits in it, also where it is something else.
pub(crate) fn is_one(bell: impl AsFd) -> rustix::io::Result<bool> {
    Ok(fcntl_getfl(bell)?.contains(OFlags::NONBLOCK))
}

/// Makes it ring. In a signal handler, too.
pub(crate) fn ring(bell: impl AsFd) {
    // A refusal says that it is as full as it can be: it rings.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// Makes it silent. In a signal handler, too.
pub(crate) fn silence(bell: impl AsFd) {
    // A refusal says that it is.
    let _ = rustix::io::read(bell, &mut [0_u8; 8]);
}
