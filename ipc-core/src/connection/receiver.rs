//! The receiving end.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::channel::{Kind, ReceiveHalf};
use super::memory::{Item, Receiving};
use super::packets::{CLOSED, closed};
use crate::entry::Message;
use crate::error::{Error, Result};
use crate::message::bytes::Bytes;
use crate::message::codec::{Codec, Postcard};
use crate::message::descriptors;
use crate::message::fragment::Body;
use crate::poll::Until;

/// The receiving end of a [`pipe`](crate::pipe()), or the receiving half of a [`Connection`](crate::Connection).
///
/// Any number of threads may receive by one receiver, each message goes to one of them. It travels inside values; for several
/// processes there is [`try_clone`](Receiver::try_clone).
///
/// A message is a value or bytes, as it was sent; received as the other, or as a value that it does not hold, it is an error and
/// gone, and the connection goes on. All waiting is on the monotonic clock, and a time that is over in the middle of a message
/// loses nothing: the next call goes on with it.
///
/// ```
/// let (sender, receiver) = ipc_core::pipe::<String>()?;
/// sender.send("hello".into())?;
/// assert_eq!(receiver.recv()?, "hello");
/// assert_eq!(receiver.try_recv()?, None);
/// drop(sender);
/// assert!(receiver.recv().unwrap_err().is_disconnected());
/// # Ok::<(), ipc_core::Error>(())
/// ```
pub struct Receiver<T, C = Postcard> {
    pub(super) way: Way<T>,
    codec: PhantomData<fn() -> C>,
}

pub(super) enum Way<T> {
    Socket(ReceiveHalf),
    Memory(Receiving<T>, std::sync::atomic::AtomicUsize),
}

impl<T, C> Receiver<T, C> {
    pub(crate) fn over(half: ReceiveHalf) -> Receiver<T, C> {
        Receiver { way: Way::Socket(half), codec: PhantomData }
    }

    pub(super) fn in_memory(receiving: Receiving<T>) -> Receiver<T, C> {
        Receiver { way: Way::Memory(receiving, usize::MAX.into()), codec: PhantomData }
    }
}

impl<T, C> Receiver<T, C> {
    /// The same end with values in another format, which the other side must use as well.
    pub fn with_codec<D: Codec + Default>(self) -> Receiver<T, D> {
        Receiver { way: self.way, codec: PhantomData }
    }
}

impl<T: Message, C: Codec + Default> Receiver<T, C> {
    /// Receives a value; waits as long as it takes.
    ///
    /// # Errors
    /// [`Error::Disconnected`]: the sender has closed its end or died, and everything it sent was received; or it died in the middle of
    /// a message. [`Error::Decode`]: the message is not such a value; it is gone. [`Error::TooLong`]: the message is longer than
    /// [allowed](Receiver::set_max_message); it is gone. [`Error::Protocol`]: what arrived is no message of this crate; over TCP nothing
    /// that follows can be read, and the next error is `Disconnected`.
    /// [`Error::Os`]: a system call failed.
    pub fn recv(&self) -> Result<T> {
        self.recv_until(Until::Forever).and_then(arrived)
    }

    /// Receives a value if one is there.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn try_recv(&self) -> Result<Option<T>> {
        self.recv_until(Until::Now)
    }

    /// Receives a value; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.recv_until(Until::after(timeout))
    }

    /// Receives a value; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.recv_until(Until::Deadline(deadline))
    }

    pub(crate) fn recv_until(&self, until: Until) -> Result<Option<T>> {
        match &self.way {
            Way::Socket(half) => {
                let Some(whole) = half.receive(Kind::Value, None, until)? else { return Ok(None) };
                crash_point!("receiver: message taken");
                let value = descriptors::decode_by(&C::default(), &whole.body, whole.descriptors);
                value.map(Some).map_err(|error| Error::decode("a message", error))
            }
            Way::Memory(receiving, _) => match receiving.0.receive(until) {
                Ok(None) => Ok(None),
                Ok(Some(Item::Value(value))) => Ok(Some(value)),
                Ok(Some(Item::Bytes(_))) => {
                    Kind::Value.check(Kind::Bytes.to_wire())?;
                    Ok(None)
                }
                Err(_) => Err(closed()),
            },
        }
    }

    /// The values that arrive, until the sender's end.
    ///
    /// An error that leaves the connection usable (a message that is no such value, say) is an item, and the values after it
    /// follow; the end is no error here.
    ///
    /// ```
    /// let (sender, receiver) = ipc_core::pipe()?;
    /// for n in 1..=3 {
    ///     sender.send(n)?;
    /// }
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<ipc_core::Result<u32>>()?, 6);
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter { receiver: self, ended: false }
    }
}

impl<T, C> Receiver<T, C> {
    /// Receives a message of bytes; waits as long as it takes.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes(&self) -> Result<Bytes> {
        self.recv_bytes_until(Until::Forever).and_then(arrived)
    }

    /// Receives a message of bytes if one is there.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn try_recv_bytes(&self) -> Result<Option<Bytes>> {
        self.recv_bytes_until(Until::Now)
    }

    /// Receives a message of bytes; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Option<Bytes>> {
        self.recv_bytes_until(Until::after(timeout))
    }

    /// Receives a message of bytes; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes_deadline(&self, deadline: Instant) -> Result<Option<Bytes>> {
        self.recv_bytes_until(Until::Deadline(deadline))
    }

    pub(crate) fn recv_bytes_until(&self, until: Until) -> Result<Option<Bytes>> {
        match &self.way {
            Way::Socket(half) => {
                let whole = half.receive(Kind::Bytes, None, until)?;
                Ok(whole.map(|whole| whole.body.into_vec().into()))
            }
            Way::Memory(..) => self.bytes_from_memory(until),
        }
    }

    /// Receives a message of bytes into `buffer`, without a copy in between, and returns its length.
    ///
    /// ```
    /// let (sender, receiver) = ipc_core::pipe::<()>()?;
    /// let mut buffer = [0; 8];
    /// sender.send_bytes(b"abc")?;
    /// assert_eq!(receiver.recv_into(&mut buffer)?, 3);
    /// assert_eq!(&buffer[..3], b"abc");
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv), and [`Error::BufferTooShort`], which holds the whole message. What `buffer` holds after an
    /// error is not said.
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_into_until(buffer, Until::Forever).and_then(arrived)
    }

    /// Receives a message of bytes into `buffer` if one is there.
    ///
    /// # Errors
    /// As [`recv_into`](Receiver::recv_into).
    pub fn try_recv_into(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::Now)
    }

    /// Receives a message of bytes into `buffer`; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv_into`](Receiver::recv_into).
    pub fn recv_into_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::after(timeout))
    }

    /// Receives a message of bytes into `buffer`; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv_into`](Receiver::recv_into).
    pub fn recv_into_deadline(&self, buffer: &mut [u8], deadline: Instant) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::Deadline(deadline))
    }

    pub(crate) fn recv_into_until(&self, buffer: &mut [u8], until: Until) -> Result<Option<usize>> {
        let room = buffer.len();
        let message = match &self.way {
            Way::Socket(half) => match half.receive(Kind::Bytes, Some(buffer), until)? {
                None => return Ok(None),
                Some(whole) => match whole.body {
                    Body::Caller(length) => return Ok(Some(length)),
                    elsewhere => elsewhere.into_vec().into(),
                },
            },
            Way::Memory(..) => {
                let Some(message) = self.bytes_from_memory(until)? else { return Ok(None) };
                if let Some(place) = buffer.get_mut(..message.len()) {
                    place.copy_from_slice(&message);
                    return Ok(Some(message.len()));
                }
                message
            }
        };
        Err(Error::BufferTooShort { message, room })
    }

    fn bytes_from_memory(&self, until: Until) -> Result<Option<Bytes>> {
        let Way::Memory(receiving, _) = &self.way else { return Ok(None) };
        let limit = self.max_message();
        match receiving.0.receive(until) {
            Ok(None) => Ok(None),
            Ok(Some(Item::Bytes(bytes))) if bytes.len() > limit => {
                Err(Error::TooLong { length: bytes.len() as u64, limit })
            }
            Ok(Some(Item::Bytes(bytes))) => Ok(Some(bytes.into())),
            Ok(Some(Item::Value(_))) => {
                Kind::Bytes.check(Kind::Value.to_wire())?;
                Ok(None)
            }
            Err(_) => Err(closed()),
        }
    }

    /// Whether a message can be received without waiting, or the end, within `timeout` (`None`: as long as it takes).
    ///
    /// Nothing is consumed. But an error that it comes upon may be in memory from then on, and so may a message of which other processes
    /// that share the end have taken a part: the descriptor need not be readable for it, and a future or a [`wait`](crate::wait()) that waits
    /// meanwhile is not woken. Whoever has polled receives.
    ///
    /// Where several processes receive by one end, another may take the very message that was seen; then this keeps the one that came
    /// next. `poll` and the next receipt know of it, and the descriptor does not show it: ask `poll` before waiting for that.
    ///
    /// # Errors
    /// [`Error::Os`]: a system call failed.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<bool> {
        self.poll_until(Until::within(timeout))
    }

    /// As [`poll`](Receiver::poll), until `deadline`.
    ///
    /// # Errors
    /// As [`poll`](Receiver::poll).
    pub fn poll_deadline(&self, deadline: Instant) -> Result<bool> {
        self.poll_until(Until::Deadline(deadline))
    }

    fn poll_until(&self, until: Until) -> Result<bool> {
        match &self.way {
            Way::Socket(half) => half.poll(until),
            Way::Memory(receiving, _) => Ok(receiving.0.poll(until)),
        }
    }

    /// From now on a message of more than `bytes` bytes, encoded, is refused with [`Error::TooLong`] and read away.
    ///
    /// Until then a pipe has no limit. Values that are moved in memory have no length.
    pub fn set_max_message(&self, bytes: usize) {
        match &self.way {
            Way::Socket(half) => half.set_limit(bytes),
            Way::Memory(_, limit) => limit.store(bytes, std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// The longest message that is received, in bytes.
    pub fn max_message(&self) -> usize {
        match &self.way {
            Way::Socket(half) => half.limits().bytes,
            Way::Memory(_, limit) => limit.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}

/// What waiting for ever has brought.
fn arrived<T>(message: Option<T>) -> Result<T> {
    message.ok_or_else(|| Error::TimedOut { what: "receive".into() })
}

/// Readable when a message or a part of a long one is there, or the sender is gone; see also [`poll`](Receiver::poll).
impl<T, C> AsFd for Receiver<T, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Socket(half) => half.link.as_fd(),
            Way::Memory(receiving, _) => receiving.0.bell.readable.as_fd(),
        }
    }
}

impl<T, C> fmt::Debug for Receiver<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("descriptor", &self.as_fd()).finish_non_exhaustive()
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T, C = Postcard> {
    receiver: &'a Receiver<T, C>,
    ended: bool,
}

impl<T: Message, C: Codec + Default> Iterator for Iter<'_, T, C> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        next(self.receiver, &mut self.ended)
    }
}

/// As [`Iter`], with the receiver.
#[derive(Debug)]
pub struct IntoIter<T, C = Postcard> {
    receiver: Receiver<T, C>,
    ended: bool,
}

impl<T: Message, C: Codec + Default> Iterator for IntoIter<T, C> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        next(&self.receiver, &mut self.ended)
    }
}

fn next<T: Message, C: Codec + Default>(receiver: &Receiver<T, C>, ended: &mut bool) -> Option<Result<T>> {
    if *ended {
        return None;
    }
    let received = receiver.recv();
    // After the end, and after an error of the system, which may well come again, nothing follows.
    *ended = matches!(received, Err(Error::Disconnected { .. } | Error::Os { .. }));
    match received {
        Err(Error::Disconnected { how }) if how == CLOSED => None,
        received => Some(received),
    }
}

impl<'a, T: Message, C: Codec + Default> IntoIterator for &'a Receiver<T, C> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T, C>;

    fn into_iter(self) -> Iter<'a, T, C> {
        self.iter()
    }
}

impl<T: Message, C: Codec + Default> IntoIterator for Receiver<T, C> {
    type Item = Result<T>;
    type IntoIter = IntoIter<T, C>;

    fn into_iter(self) -> IntoIter<T, C> {
        IntoIter { receiver: self, ended: false }
    }
}
