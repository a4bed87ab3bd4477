//! Futures, for any executor: a descriptor is ready, a child has ended, a word in memory has changed.
//!
//! What these crates wait for is a descriptor where it can be one, and [`readable`] and [`writable`] make a future of any. They need no
//! runtime: a future that has to wait lends its descriptor's number to one helper thread of the process, which does nothing but wait and
//! wake wakers, and costs nothing while nobody is woken. With the feature `tokio`, and polled inside a tokio runtime whose I/O
//! driver is on, they use that driver instead.
//!
//! ```no_run
//! # async fn example() -> Result<(), ipc_core::Error> {
//! let child = ipc_core::spawn(|n: u64| (1..=n).product::<u64>(), (20,))?;
//! let value = child.await?;
//! # let _ = value;
//! let (reader, writer) = std::io::pipe().unwrap();
//! ipc_core::ready::readable(&reader).await?;
//! # drop(writer);
//! # Ok(())
//! # }
//! ```
//!
//! Connections have futures of their own: [`recv_async`](crate::Receiver::recv_async), [`send_async`](crate::Sender::send_async) and those for
//! bytes; clients are awaited by [`accept_async`](crate::Listener::accept_async). Connecting itself has no future.
//!
//! For what has no descriptor there is [`word`]: it waits for a word of memory as futex(2) does, also one that other processes write to.
//!
//! # What a future leaves behind
//!
//! Nothing: dropped at any time, it takes back what it had arranged. It borrows or owns its descriptor meanwhile, so no number is waited for
//! that has become another's. Readiness is a hint, as everywhere: another thread may have taken what was there.
//!
//! | who ends | what happens to a waiting future |
//! |---|---|
//! | the peer of its descriptor, also by `kill -9` | it is ready: the end can be read |
//! | the process, by fork | the copy's futures start a helper of the copy's own when they are polled; the original's go on |
//! | the executor's thread | nothing: whoever polls it next goes on |

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::sys::epoll::{READ, WRITE};

mod helper;
#[cfg(feature = "tokio")]
mod reactor;
pub(crate) mod table;
mod words;

pub use words::{Word, wake_one, word};

/// A future that is done when something can be read from the descriptor, or its other side is gone.
///
/// It takes the descriptor's owner or a reference to it.
pub fn readable<F: AsFd>(descriptor: F) -> Ready<F> {
    Ready { descriptor, interest: READ, waiting: Waiting::default() }
}

/// A future that is done when something can be written to the descriptor, or its other side is gone.
///
/// It takes the descriptor's owner or a reference to it.
pub fn writable<F: AsFd>(descriptor: F) -> Ready<F> {
    Ready { descriptor, interest: WRITE, waiting: Waiting::default() }
}

/// The future of [`readable`] and [`writable`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ready<F> {
    descriptor: F,
    interest: u8,
    waiting: Waiting,
}

impl<F: AsFd + Unpin> Future for Ready<F> {
    /// An error where the system has no thread or no descriptor for the helper.
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Ready { descriptor, interest, waiting } = &mut *self;
        waiting.poll(descriptor.as_fd(), *interest, context)
    }
}

impl<F: AsFd> fmt::Debug for Ready<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = if self.interest == READ { "readable" } else { "writable" };
        f.debug_struct("Ready")
            .field("descriptor", &self.descriptor.as_fd())
            .field("wanted", &wanted)
            .finish()
    }
}

/// One future's waiting for descriptors: what every future of this crate is made of.
///
/// Whoever has one keeps the descriptor open as long as it waits.
#[derive(Default)]
pub(crate) struct Waiting {
    helper: helper::Arranged,
    #[cfg(feature = "tokio")]
    reactor: reactor::Arranged,
}

impl Waiting {
    /// Ready if the descriptor is; else the waker of `context` is called when it is.
    pub(crate) fn poll(
        &mut self,
        descriptor: BorrowedFd<'_>,
        interest: u8,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let wait = |e| Error::os("could not wait for a descriptor", e);
        if is_ready(descriptor, interest).map_err(wait)? {
            self.leave();
            return Poll::Ready(Ok(()));
        }
        #[cfg(feature = "tokio")]
        if let Some(waits) = self.reactor.wait(descriptor, interest, context) {
            return waits.map_err(wait);
        }
        match self.helper.wait(descriptor.as_raw_fd(), interest, context.waker()) {
            Ok(()) => Poll::Pending,
            Err(e) => Poll::Ready(Err(wait(e))),
        }
    }

    /// Takes back what was arranged.
    pub(crate) fn leave(&mut self) {
        self.helper.leave();
        #[cfg(feature = "tokio")]
        self.reactor.leave();
    }

    /// [`poll`](Self::poll) for reading.
    pub(crate) fn poll_readable(
        &mut self,
        descriptor: BorrowedFd<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        self.poll(descriptor, READ, context)
    }

    /// [`poll`](Self::poll) for writing.
    pub(crate) fn poll_writable(
        &mut self,
        descriptor: BorrowedFd<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        self.poll(descriptor, WRITE, context)
    }
}

fn is_ready(descriptor: BorrowedFd<'_>, interest: u8) -> io::Result<bool> {
    let flags = if interest == READ { PollFlags::IN } else { PollFlags::OUT };
    let mut polled = [PollFd::from_borrowed_fd(descriptor, flags)];
    loop {
        match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

#[cfg(test)]
mod tests;
