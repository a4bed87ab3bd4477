//! Readiness by [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html), one-shot, by the numbers of descriptors.
//!
//! rustix takes a borrowed descriptor where one is added; here one is armed *again* by a thread that knows its number alone. Giving the
//! kernel a number that means something else by now is harmless: it tells of readiness, which whoever is woken looks at itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::private::Private;

/// What is waited for, as bits.
pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;

/// A set of descriptors to wait for.
#[derive(Debug)]
pub(crate) struct Epoll(Private);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers.
        let number = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if number == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let set = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Epoll(set.into()))
    }

    /// One event is to come once the descriptor is ready for one of `interest` (or broken); now, if it is.
    pub(crate) fn arm(&self, number: RawFd, interest: u8) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_MOD, number, interest) {
            // A new one; or one that was closed meanwhile, and its number is another's.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                self.control(libc::EPOLL_CTL_ADD, number, interest)
            }
            other => other,
        }
    }

    /// No event is to come.
    pub(crate) fn disarm(&self, number: RawFd) {
        // It fails where the descriptor is not in the set, and that is what is wanted.
        let _ = self.control(libc::EPOLL_CTL_DEL, number, 0);
    }

    fn control(&self, operation: i32, number: RawFd, interest: u8) -> io::Result<()> {
        let mut events = libc::EPOLLONESHOT as u32;
        for (bit, event) in [(READ, libc::EPOLLIN), (WRITE, libc::EPOLLOUT)] {
            if interest & bit != 0 {
                events |= event as u32;
            }
        }
        let mut event = libc::epoll_event { events, u64: number as u64 };
        // SAFETY: the event is one, and read during the call only.
        let done = unsafe { libc::epoll_ctl(self.0.as_fd().as_raw_fd(), operation, number, &raw mut event) };
        if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for events, without end: the numbers, and what they are ready for (both where they are broken).
    pub(crate) fn wait(&self, ready: &mut Vec<(RawFd, u8)>) -> io::Result<()> {
        const MOST: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let set = self.0.as_fd().as_raw_fd();
        // SAFETY: the kernel writes at most `MOST` events into the array.
        let count = unsafe { libc::epoll_wait(set, events.as_mut_ptr(), MOST as i32, -1) };
        if count == -1 {
            return Err(io::Error::last_os_error());
        }
        ready.clear();
        ready.extend(events.iter().take(count as usize).map(|event| {
            let events = event.events as i32;
            let broken = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            let read = if broken || events & libc::EPOLLIN != 0 { READ } else { 0 };
            let write = if broken || events & libc::EPOLLOUT != 0 { WRITE } else { 0 };
            (event.u64 as RawFd, read | write)
        }));
        Ok(())
    }
}
