//! The sending end.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Kind, SendHalf};
use super::memory::{self, Item, Sending};
use super::send_error::SendError;
use crate::entry::Message;
use crate::error::{Error, Result};
use crate::message::codec::{Codec, Postcard};
use crate::message::descriptors;
use crate::poll::Until;

/// The sending end of a [`pipe`](crate::pipe()), or the sending half of a [`Connection`](crate::Connection).
///
/// Cloning is cheap, and all clones are one end, which closes with the last of them. Any number of threads may send at
/// once; messages stay whole. It travels inside values.
///
/// ```
/// use ipc_core::{pipe, spawn, Sender};
///
/// # fn main() -> ipc_core::Result<()> {
/// let (sender, receiver) = pipe::<u64>()?;
/// let child = spawn(|sender: Sender<u64>, n: u64| sender.send(n * n).map_err(ipc_core::Error::from), (sender, 12))?;
/// assert_eq!(receiver.recv()?, 144);
/// child.join()??;
/// # Ok(())
/// # }
/// ```
pub struct Sender<T, C = Postcard> {
    pub(super) way: Way<T>,
    codec: PhantomData<fn() -> C>,
}

pub(super) enum Way<T> {
    Socket(Arc<SendHalf>),
    Memory(Arc<Sending<T>>),
}

impl<T, C> Sender<T, C> {
    pub(crate) fn over(half: SendHalf) -> Sender<T, C> {
        Sender { way: Way::Socket(Arc::new(half)), codec: PhantomData }
    }

    pub(super) fn in_memory(sending: Sending<T>) -> Sender<T, C> {
        Sender { way: Way::Memory(Arc::new(sending)), codec: PhantomData }
    }
}

impl<T, C> Sender<T, C> {
    /// The same end with values in another format, which the other side must use as well.
    pub fn with_codec<D: Codec + Default>(self) -> Sender<T, D> {
        Sender { way: self.way, codec: PhantomData }
    }
}

impl<T: Message, C: Codec + Default> Sender<T, C> {
    /// Sends a value; waits for room as long as it takes.
    ///
    /// # Errors
    /// The value comes back. [`Error::Disconnected`]: the receiver has closed its end or died. [`Error::Encode`]: the value could not
    /// be serialised. [`Error::Os`]: a system call failed. Nothing of the value is received then.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Forever)
    }

    /// Sends a value if there is room for all of it now.
    ///
    /// A value that is longer, encoded, than the socket's buffer (some hundred KiB, where the system does not say otherwise) never finds that
    /// room, however idle the receiver is: give such a one some time.
    ///
    /// # Errors
    /// As [`send`](Sender::send), and [`Error::TimedOut`].
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Now)
    }

    /// Sends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    /// As [`send`](Sender::send), and [`Error::TimedOut`]. A part that was sent is dropped by the receiver; over TCP it cannot be, and the
    /// direction ends there, which the error says: both sides get [`Error::Disconnected`] from then on.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_until(value, Until::after(timeout))
    }

    /// Sends a value; waits for room at most until `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Sender::send_timeout).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Deadline(deadline))
    }

    pub(crate) fn send_until(&self, value: T, until: Until) -> Result<(), SendError<T>> {
        match &self.way {
            Way::Socket(half) => {
                let buffer = ENCODED.try_with(Cell::take).unwrap_or_default();
                let sent = descriptors::encode_into(&C::default(), &value, buffer)
                    .map_err(|why| Error::encode("a value", why))
                    .and_then(|mut encoded| {
                        crash_point!("sender: value encoded");
                        let sent = half.link.send(Kind::Value, &encoded.body, &encoded.descriptors, until);
                        if sent.is_err() {
                            encoded.take_back();
                        }
                        crash_point!("sender: message sent");
                        keep(encoded.body);
                        sent
                    });
                sent.map_err(|error| SendError::new(value, error))
            }
            Way::Memory(sending) => match sending.0.send(Item::Value(value), until) {
                Err((Item::Value(value), why)) => Err(SendError::new(value, refused("send a value", why))),
                // What comes back is what was given.
                _ => Ok(()),
            },
        }
    }
}

thread_local! {
    /// What the thread's values are encoded into, kept from one to the next.
    static ENCODED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn keep(mut buffer: Vec<u8>) {
    const MOST: usize = 1 << 20;
    if buffer.capacity() <= MOST {
        buffer.clear();
        let _ = ENCODED.try_with(|kept| kept.set(buffer));
    }
}

impl<T, C> Sender<T, C> {
    /// Sends bytes as one message, for [`recv_bytes`](crate::Receiver::recv_bytes) and [`recv_into`](crate::Receiver::recv_into).
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Until::Forever)
    }

    /// Sends bytes if there is room for all of them now.
    ///
    /// # Errors
    /// As [`try_send`](Sender::try_send).
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Until::Now)
    }

    /// Sends bytes; waits for room at most for `timeout`.
    ///
    /// # Errors
    /// As [`send_timeout`](Sender::send_timeout).
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.send_bytes_until(bytes, Until::after(timeout))
    }

    /// Sends bytes; waits for room at most until `deadline`.
    ///
    /// # Errors
    /// As [`send_timeout`](Sender::send_timeout).
    pub fn send_bytes_deadline(&self, bytes: &[u8], deadline: Instant) -> Result<()> {
        self.send_bytes_until(bytes, Until::Deadline(deadline))
    }

    pub(crate) fn send_bytes_until(&self, bytes: &[u8], until: Until) -> Result<()> {
        match &self.way {
            Way::Socket(half) => half.link.send(Kind::Bytes, bytes, &[], until),
            Way::Memory(sending) => sending
                .0
                .send(Item::Bytes(bytes.to_vec()), until)
                .map_err(|(_, why)| refused("send bytes", why)),
        }
    }
}

fn refused(what: &str, why: memory::Refused) -> Error {
    match why {
        memory::Refused::Full => Error::TimedOut { what: what.into() },
        memory::Refused::Gone => {
            Error::Disconnected { how: format!("could not {what}: the peer has closed its end") }
        }
    }
}

impl<T, C> Clone for Sender<T, C> {
    fn clone(&self) -> Self {
        let way = match &self.way {
            Way::Socket(half) => Way::Socket(half.clone()),
            Way::Memory(sending) => Way::Memory(sending.clone()),
        };
        Sender { way, codec: PhantomData }
    }
}

/// Writable when there is room, or the receiver is gone.
impl<T, C> AsFd for Sender<T, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Socket(half) => half.link.as_fd(),
            Way::Memory(sending) => sending.0.bell.writable.as_fd(),
        }
    }
}

impl<T, C> fmt::Debug for Sender<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("descriptor", &self.as_fd()).finish_non_exhaustive()
    }
}
