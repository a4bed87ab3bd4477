//! Waiting for many things at once: queues, rings, events, connections, children.
//!
//! Each of them has a descriptor that is readable when there may be something, and that is a hint: another process may have been faster. So who is found readable is
//! asked whether it is so ([`Waitable::is_ready`]), and only what is counts.
//!
//! | who dies | what happens |
//! |---|---|
//! | the last on the other side of a queue, ring or connection; a child | the kernel makes the descriptor readable: it is ready, with the end |
//! | who was about to ring | a tenth of a second later everything is looked at again |

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;

use crate::lifeline::LOOK;
use crate::queue::{QueueReceiver, QueueSender};
use crate::{Event, Pollable, Queue, Result};

/// What [`select`] can wait for.
pub trait Waitable {
    /// What is readable when it may be ready.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Whether it is; where it is not, the descriptor is not readable until it may be.
    fn is_ready(&self) -> bool;
}

/// There is an item, or nothing will come any more.
impl<T: 'static> Waitable for QueueReceiver<T> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        self.end().settle()
    }
}

/// There is room, or nobody will take anything any more.
impl<T: 'static> Waitable for QueueSender<T> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        self.end().settle()
    }
}

/// There is an item, or it is closed.
impl<T: 'static> Waitable for Queue<T> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.half().descriptor()
    }

    fn is_ready(&self) -> bool {
        self.half().is_ready()
    }
}

/// It is set. One in an arena has no descriptor: it is looked at ten times a second.
impl Waitable for Event {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.poll_or_look()
    }

    fn is_ready(&self) -> bool {
        self.is_ready_to_poll()
    }
}

/// It is set.
impl Waitable for Pollable<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        self.is_set()
    }
}

/// What is readable is ready.
macro_rules! as_it_is_read {
    ($($(#[$about:meta])* [$($parameters:tt)*] $what:ty;)*) => {$(
        $(#[$about])*
        impl<$($parameters)*> Waitable for $what {
            fn descriptor(&self) -> BorrowedFd<'_> {
                self.as_fd()
            }

            fn is_ready(&self) -> bool {
                ipc_core::wait(&[&self.as_fd()], Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty())
            }
        }
    )*};
}

as_it_is_read! {
    /// There is a message, or the sender is gone.
    [T, C] ipc_core::Receiver<T, C>;
    /// There is a message, or the peer is gone.
    [S, R, C] ipc_core::Connection<S, R, C>;
    /// Somebody wants to connect.
    [] ipc_core::Listener;
    /// It has ended.
    [T] ipc_core::Child<T>;
    /// It has ended.
    [] ipc_core::ActiveChild;
    /// It is readable.
    [] BorrowedFd<'_>;
    /// It is readable.
    [] OwnedFd;
}

/// Waits until at least one of them is ready; gives the places of all that are, in their order. None: `timeout` is over.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::{Event, Queue, select};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (jobs, stop) = (Queue::<u32>::bounded(10)?, Event::new()?);
/// let child = spawn(|jobs: Queue<u32>, stop: Event| {
///     jobs.put(7).unwrap();
///     stop.set();
/// }, (jobs.clone(), stop.clone()))?;
///
/// let (mut sum, mut over) = (0, false);
/// while !over {
///     for ready in select(&[&jobs, &stop], None)? {
///         match ready {
///             0 => sum += jobs.try_get()?.unwrap_or(0),
///             _ => over = true,
///         }
///     }
/// }
/// assert_eq!(sum, 7);
/// # child.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Message`](crate::Error::Message): what poll(2) says of the descriptors.
pub fn select(many: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>> {
    select_until(many, Until::within(timeout))
}

/// As [`select`], until `deadline`.
///
/// # Errors
/// As there.
pub fn select_deadline(many: &[&dyn Waitable], deadline: Instant) -> Result<Vec<usize>> {
    select_until(many, Until::Deadline(deadline))
}

fn select_until(many: &[&dyn Waitable], until: Until) -> Result<Vec<usize>> {
    // Asked for first: from now on they are rung for.
    let descriptors: Vec<_> = many.iter().map(|one| one.descriptor()).collect();
    let polled: Vec<&dyn AsFd> = descriptors.iter().map(|descriptor| descriptor as &dyn AsFd).collect();
    loop {
        let ready: Vec<_> = (0..many.len()).filter(|at| many[*at].is_ready()).collect();
        if !ready.is_empty() || until.is_over() {
            return Ok(ready);
        }
        ipc_core::wait(&polled, Some(until.left().map_or(LOOK, |left| left.min(LOOK))))?;
    }
}
