//! Whether there is anybody on the other side: of a queue, of a ring.
//!
//! Each side has one socket of a pair, which travels with it; the kernel closes it with the last process that has it, however that dies.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How often who waits looks whether those live on whom it depends.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Whether nobody has the other socket of the pair.
pub(crate) fn has_hung_up(socket: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    loop {
        match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Err(Errno::INTR) => {}
            // An error is the system's lack of memory: the next look will tell.
            _ => return polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP),
        }
    }
}
