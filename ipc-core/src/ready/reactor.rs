//! Inside a tokio runtime its own driver waits: no second thread between an event and its task.
//!
//! The driver registers a descriptor by its number, once; so a future gives it a duplicate, which lives as long as the future waits.
//! A runtime without the driver (`enable_io` was not called) says so by a panic alone; that is caught, and the helper thread waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::epoll::READ;
use crate::sys::incarnation::Incarnation;

/// What one future has arranged with the runtime that it was polled in.
#[derive(Default)]
pub(crate) struct Arranged {
    owner: Option<Incarnation>,
    registered: Option<AsyncFd<OwnedFd>>,
}

impl Arranged {
    /// Waits by the runtime's driver; `None` where there is none, or none any more.
    pub(crate) fn wait(
        &mut self,
        descriptor: BorrowedFd<'_>,
        interest: u8,
        context: &mut Context<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        if !self.is_ours() {
            // A copy's driver is not in this process; to drop the registration would take the original's out of the set that both share.
            std::mem::forget(self.registered.take());
        }
        if self.registered.is_none() {
            tokio::runtime::Handle::try_current().ok()?;
            self.registered = Some(match register(descriptor, interest)? {
                Ok(registered) => registered,
                Err(e) => return Some(Poll::Ready(Err(e))),
            });
            self.owner = Some(Incarnation::this());
        }
        let waits = poll(self.registered.as_ref()?, interest, context);
        if waits.is_none() {
            // Its runtime has ended. The next poll asks the one that it is in.
            self.registered = None;
        }
        waits
    }

    fn is_ours(&self) -> bool {
        self.owner.is_some_and(Incarnation::is_this)
    }

    pub(crate) fn leave(&mut self) {
        if self.is_ours() {
            self.registered = None;
        }
    }
}

impl Drop for Arranged {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.registered.take());
        }
    }
}

fn register(descriptor: BorrowedFd<'_>, interest: u8) -> Option<io::Result<AsyncFd<OwnedFd>>> {
    let duplicate = match descriptor.try_clone_to_owned() {
        Ok(duplicate) => duplicate,
        Err(e) => return Some(Err(e)),
    };
    let interest = if interest == READ { Interest::READABLE } else { Interest::WRITABLE };
    // Its successor is unsafe, for descriptors that are not owned as this one is, and is not in older versions.
    #[allow(deprecated)]
    let register = || AsyncFd::with_interest(duplicate, interest);
    catch_unwind(AssertUnwindSafe(register)).ok()
}

/// Ready or pending with the waker known to the driver; `None` where the driver has ended. A readiness that the driver remembers may be
/// over: it is asked anew then, after a look at the descriptor itself.
fn poll(
    registered: &AsyncFd<OwnedFd>,
    interest: u8,
    context: &mut Context<'_>,
) -> Option<Poll<io::Result<()>>> {
    loop {
        let guard = if interest == READ {
            registered.poll_read_ready(context)
        } else {
            registered.poll_write_ready(context)
        };
        let mut guard = match guard {
            Poll::Ready(Ok(guard)) => guard,
            // The only error it has is that it is being shut down.
            Poll::Ready(Err(_)) => return None,
            Poll::Pending => return Some(Poll::Pending),
        };
        match super::is_ready(registered.get_ref().as_fd(), interest) {
            Ok(true) => return Some(Poll::Ready(Ok(()))),
            Ok(false) => guard.clear_ready(),
            Err(e) => return Some(Poll::Ready(Err(e))),
        }
    }
}
