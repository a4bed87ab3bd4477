//! Waiting until descriptors are ready, until a deadline on the monotonic clock.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

pub use crate::primitive::time::Until;

/// How many steps of receiving may bring no message when the time is over: some MiB of a long one.
pub(crate) const STEPS: usize = 64;

/// How long to go on with steps that bring nothing: a peer that has another one ready each time must hold nobody beyond the time
/// that was given.
///
/// When the time is over, so many more are made, lest one who gives no time at all never gets past what lies before a message.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Until,
    more: usize,
}

impl Patience {
    /// Until then, and for `more` steps.
    pub(crate) fn new(until: Until, more: usize) -> Patience {
        Patience { until, more }
    }

    /// Whether to go on, asked after each step that brought nothing.
    pub(crate) fn lasts(&mut self) -> bool {
        if !self.until.is_over() {
            return true;
        }
        let more = self.more.checked_sub(1);
        self.more = more.unwrap_or(0);
        more.is_some()
    }
}

/// Waits until `descriptor` is ready for `flags`, or broken, which the next call on it will tell; `false` when the time is over.
pub(crate) fn ready(descriptor: BorrowedFd<'_>, flags: PollFlags, until: Until) -> rustix::io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, flags)];
    loop {
        let timeout = until.left().map(timespec);
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

/// Waits until one of these is ready for what it is polled for, or the time is over; their events then say. Gives how many.
pub(crate) fn any(polled: &mut [PollFd<'_>], until: Until) -> rustix::io::Result<usize> {
    loop {
        let timeout = until.left().map(timespec);
        match rustix::event::poll(polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

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
        let timeout = left.map(timespec);
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
