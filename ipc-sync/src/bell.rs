//! Bells: an eventfd that is readable while it rings, for who waits in poll(2) or in a runtime. It travels with what it is the bell of.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// A silent one.
pub(crate) fn make() -> rustix::io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Whether what has come as a bell can be one: nobody waits in it, also where it is something else.
pub(crate) fn is_one(bell: impl AsFd) -> rustix::io::Result<bool> {
    Ok(fcntl_getfl(bell)?.contains(OFlags::NONBLOCK))
}

/// Makes it ring. In a signal handler, too.
///
/// Whether a descriptor waits is no property of a process's own: whoever else has the bell may change it, and may fill it. So it is asked whether there is room.
pub(crate) fn ring(bell: impl AsFd) {
    if is_ready(&bell, PollFlags::OUT) {
        // A refusal says that it is as full as it can be: it rings.
        let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
    }
}

/// Makes it silent. In a signal handler, too.
pub(crate) fn silence(bell: impl AsFd) {
    let mut count = [0_u8; 8];
    // Which does not wait, whatever others have made of the descriptor.
    let read = preadv2(&bell, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
    // Before Linux 5.8 that is not known of an eventfd. All other refusals say that it is silent.
    if read == Err(Errno::OPNOTSUPP) && is_ready(&bell, PollFlags::IN) {
        let _ = rustix::io::read(bell, &mut count);
    }
}

fn is_ready(bell: impl AsFd, how: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Where that cannot be told, it is tried.
    !matches!(poll(&mut [PollFd::new(&bell, how)], Some(&now)), Ok(0))
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_rings_and_is_silent_whatever_others_make_of_the_descriptor() {
        let bell = make().unwrap();
        let rings = || is_ready(&bell, PollFlags::IN);
        for flags in [OFlags::NONBLOCK, OFlags::empty()] {
            rustix::fs::fcntl_setfl(&bell, flags).unwrap();
            assert!(is_one(&bell).unwrap() == flags.contains(OFlags::NONBLOCK) && !rings());
            silence(&bell);
            ring(&bell);
            ring(&bell);
            assert!(rings());
            silence(&bell);
            assert!(!rings());
            // As full as it can be.
            rustix::io::write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            ring(&bell);
            assert!(rings());
            silence(&bell);
            assert!(!rings());
        }
    }
}
