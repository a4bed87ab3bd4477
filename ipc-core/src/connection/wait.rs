//! Waiting for the first of many.
//!
//! Everything of these crates that can become ready has a descriptor for it: a receiver when there is something to receive or the
//! peer is gone, a listener when somebody has connected, a child when it has ended. So waiting for many is poll(2) over their
//! descriptors, and std's sockets and pipes, timers and events of other crates may stand among them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::{Error, Result};
use crate::poll::{self, Until};

/// Waits until one of `many` is ready, or `timeout` is over (`None`: for ever); gives the places of all that are ready, in order.
///
/// Ready means that there is something to read, or that the other side is gone. None are ready when the time is over; an empty
/// list is never waited for, and nothing of it is ready.
///
/// ```
/// use ipc_core::{spawn, wait};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let mut children = vec![spawn(|| 1, ())?, spawn(|| 2, ())?];
/// let mut sum = 0;
/// while !children.is_empty() {
///     let many: Vec<_> = children.iter().map(|child| child as &dyn AsFd).collect();
///     // The last first, so that places stay what they are.
///     for place in wait(&many, None)?.into_iter().rev() {
///         sum += children.remove(place).join()?;
///     }
/// }
/// assert_eq!(sum, 3);
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Os`], where the kernel cannot: more descriptors than the process may open, no memory.
pub fn wait(many: &[&dyn AsFd], timeout: Option<Duration>) -> Result<Vec<usize>> {
    until(many, Until::within(timeout))
}

/// As [`wait`], until an instant, which may be over.
///
/// # Errors
/// As [`wait`].
pub fn wait_deadline(many: &[&dyn AsFd], deadline: Instant) -> Result<Vec<usize>> {
    until(many, Until::Deadline(deadline))
}

fn until(many: &[&dyn AsFd], until: Until) -> Result<Vec<usize>> {
    if many.is_empty() {
        return Ok(Vec::new());
    }
    let mut polled: Vec<_> =
        many.iter().map(|one| PollFd::from_borrowed_fd(one.as_fd(), PollFlags::IN)).collect();
    let operation = || format!("could not wait for {} descriptors: poll", many.len());
    poll::any(&mut polled, until).map_err(|error| Error::os(operation(), error))?;
    let ready = polled.iter().enumerate().filter(|(_, one)| !one.revents().is_empty());
    Ok(ready.map(|(place, _)| place).collect())
}
