//! Waiting until descriptors are ready, until a deadline on the monotonic clock.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Whether there is something to read, or the other side is gone.
pub(crate) fn is_ready(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    // No deadline and no list: a fresh child calls this, and pays for every page that it touches.
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

/// Waits until one of them is ready to be read (or its other side is gone); `false` when the deadline passed first.
///
/// Interrupted waits go on: a signal handler may run in between, the deadline stays.
pub(crate) fn wait(descriptors: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds: Vec<_> = descriptors.iter().map(|d| PollFd::from_borrowed_fd(*d, PollFlags::IN)).collect();
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
