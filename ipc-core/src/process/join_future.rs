//! Joining a child as a future: its sentinel says when, [`Child::try_join`] does the rest.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::child::Child;
use crate::entry::identity::Message;
use crate::error::{Error, Result};
use crate::ready::Waiting;
use crate::sys;

impl<T: Message> Child<T> {
    /// [`join`](Child::join) as a future, for any executor (see [`ready`](crate::ready)). Dropped before it is done, it leaves the child as it is;
    /// awaiting the child itself gives its handle away as well.
    ///
    /// Once the child has ended, the future's last poll takes what is left: the value, and lines that are still to be
    /// [relayed](crate::Stdio::relay), for which it may wait a moment.
    ///
    /// # Errors
    /// As [`join`](Child::join).
    pub fn join_async(&self) -> Joining<'_, T> {
        Joining { child: self, wait: Wait::default() }
    }
}

impl<T: Message> IntoFuture for Child<T> {
    type Output = Result<T>;
    type IntoFuture = Joined<T>;

    fn into_future(self) -> Joined<T> {
        Joined { child: self, wait: Wait::default() }
    }
}

/// The future of [`Child::join_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Joining<'a, T> {
    child: &'a Child<T>,
    wait: Wait,
}

/// The future that a [`Child`] becomes when it is awaited. Dropped before it is done, it leaves the child running, as a dropped handle does.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Joined<T> {
    child: Child<T>,
    wait: Wait,
}

impl<T: Message> Future for Joining<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Joining { child, wait } = &mut *self;
        poll(child, wait, context)
    }
}

impl<T: Message> Future for Joined<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Joined { child, wait } = &mut *self;
        poll(child, wait, context)
    }
}

/// What a future waits for. (The waiting is dropped before the descriptor that it is for.)
#[derive(Default)]
struct Wait {
    waiting: Waiting,
    /// Readable when the next look at a child is due that has ended and is a tracer's still.
    pause: Option<OwnedFd>,
}

fn poll<T: Message>(child: &Child<T>, wait: &mut Wait, context: &mut Context<'_>) -> Poll<Result<T>> {
    loop {
        let awaited = wait.pause.as_ref().map_or_else(|| child.sentinel(), AsFd::as_fd);
        if wait.waiting.poll_readable(awaited, context)?.is_pending() {
            return Poll::Pending;
        }
        match child.try_join() {
            Ok(Some(value)) => return Poll::Ready(Ok(value)),
            Err(e) => return Poll::Ready(Err(e)),
            // The sentinel is ahead of the status that can be waited for.
            Ok(None) => {
                let timer = sys::wait::timer(sys::wait::KEPT);
                let failed = |e| Error::os("could not wait for a child: timerfd", e);
                wait.pause = Some(timer.map_err(failed)?);
            }
        }
    }
}

impl<T> fmt::Debug for Joining<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joining").field(&self.child).finish()
    }
}

impl<T> fmt::Debug for Joined<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joined").field(&self.child).finish()
    }
}
