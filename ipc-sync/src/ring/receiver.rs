//! The receiving end.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipc_core::Message;
use ipc_core::codec::{Codec, Postcard};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};

use super::end::End;
use super::loan::RingMessage;
use super::pace::Pacing;
use super::track::{Frame, Kind, Receiving};
use crate::{Error, Result, Waitable, crash};

/// The receiving end of a [`ring`](crate::ring()).
///
/// One thread uses it at a time (`&mut self`); it travels inside values, and whoever has it then is the receiver. Dropped, it closes: the sender's next send
/// is an error that gives the value back.
///
/// A message is a value or bytes, as it was sent; received as the other, or as a value that it does not hold, it is an error and gone, and the ring goes
/// on. A time that is over loses nothing.
///
/// ```
/// let (mut sender, mut receiver) = ipc_sync::ring::<String>(4096)?;
/// sender.send("hello".into())?;
/// assert_eq!(receiver.recv()?, "hello");
/// assert_eq!(receiver.try_recv()?, None);
/// drop(sender);
/// assert!(receiver.recv().unwrap_err().is_disconnected());
/// # Ok::<(), ipc_sync::Error>(())
/// ```
pub struct RingReceiver<T> {
    pub(super) end: End,
    pub(super) side: Receiving,
    pacing: Pacing,
    scratch: Vec<u8>,
    values: PhantomData<fn() -> T>,
}

/// What is kept of a buffer from one value to the next.
const KEPT: usize = 1 << 20;

impl<T> RingReceiver<T> {
    pub(super) fn of(end: End, side: Receiving) -> RingReceiver<T> {
        RingReceiver { end, side, pacing: Pacing::default(), scratch: Vec::new(), values: PhantomData }
    }

    /// The next message, which is not given back yet; `None` when the time is over.
    #[inline(always)]
    fn next(&mut self, until: Until) -> Result<Option<Frame>> {
        let (side, pace) = (&mut self.side, self.pacing.pace());
        let mut waited = false;
        let found = self.end.wait(until, pace, |memory| {
            let found = memory.ring().next(memory.table(), side);
            waited |= found == Ok(None);
            found
        });
        if waited && let Ok(Some(frame)) = found {
            self.pacing.found(self.side.has_more_than(frame));
        }
        found
    }

    #[inline(always)]
    pub(super) fn give_back(&mut self, system: &impl System, frame: Frame) {
        self.end.tell_place(frame.begin(), frame.end());
        let bell = self.end.memory.ring().give_back(system, &mut self.side, frame);
        self.end.ring(bell);
        crash::reached("ring receiver: gave back");
    }

    /// The next message's bytes as `read` takes them, if it is of this kind. Whatever comes of it, the message is gone.
    #[inline(always)]
    fn take<R>(
        &mut self,
        kind: Kind,
        until: Until,
        read: impl FnOnce(&mut Self, Frame) -> Result<R>,
    ) -> Result<Option<R>> {
        let system = gate::current()?;
        let Some(frame) = self.next(until)? else { return Ok(None) };
        crash::reached("ring receiver: found");
        let read = if frame.kind == kind { read(self, frame) } else { Err(another(frame.kind)) };
        crash::reached("ring receiver: read");
        self.give_back(system, frame);
        read.map(Some)
    }
}

#[cold]
fn another(kind: Kind) -> Error {
    not_decoded(match kind {
        Kind::Value => "it is a value, to be received by `recv`, and bytes were to be received",
        _ => "it is bytes, to be received by `recv_bytes`, and a value was to be received",
    })
}

#[cold]
fn not_decoded(why: impl Into<String>) -> Error {
    let (child, ran) = (None, ipc_core::Ran::MayHaveRun);
    ipc_core::Error::Decode { what: "a message".into(), why: why.into(), child, ran }.into()
}

/// What waiting for ever has brought.
fn arrived<T>(message: Option<T>) -> Result<T> {
    message.ok_or_else(|| ipc_core::Error::TimedOut { what: "receive".into() }.into())
}

impl<T: Message> RingReceiver<T> {
    /// Receives a value; waits as long as it takes.
    ///
    /// # Errors
    /// [`is_disconnected`](Error::is_disconnected): the sender has closed its end or died, and everything it sent was received. [`Error::Message`] otherwise: the
    /// message is not such a value; it is gone. [`Error::Corrupt`]: somebody has written over the ring, and nothing that follows can be read.
    /// [`Error::Invalid`]: the end was sent to another process. [`Error::Memory`]: the kernel does not look after this thread (a sandbox).
    pub fn recv(&mut self) -> Result<T> {
        self.recv_until(Until::Forever).and_then(arrived)
    }

    /// Receives a value if one is there.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn try_recv(&mut self) -> Result<Option<T>> {
        self.recv_until(Until::Now)
    }

    /// Receives a value; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>> {
        self.recv_until(Until::after(timeout))
    }

    /// Receives a value; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<T>> {
        self.recv_until(Until::Deadline(deadline))
    }

    fn recv_until(&mut self, until: Until) -> Result<Option<T>> {
        // Copied out before it is decoded: what is checked must not change afterwards, whatever the other side does.
        let copy = |this: &mut Self, frame: Frame| {
            this.scratch.clear();
            this.end.memory.append(frame.line, frame.len, &mut this.scratch)
        };
        if self.take(Kind::Value, until, copy)?.is_none() {
            return Ok(None);
        }
        let value = Postcard.decode(&self.scratch);
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        value.map(Some).map_err(|why| not_decoded(why.into_reason()))
    }

    /// The values that arrive, until the sender's end.
    ///
    /// An error that leaves the ring usable (a message that is no such value, say) is an item, and the values after it follow; the end is no error here.
    ///
    /// ```
    /// let (mut sender, mut receiver) = ipc_sync::ring(4096)?;
    /// sender.send_many(1..=3)?;
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<ipc_sync::Result<u32>>()?, 6);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter { receiver: self, ended: false }
    }

    /// Receives a value; a future for any executor. Dropped before it is done, it has lost nothing.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub async fn recv_async(&mut self) -> Result<T> {
        loop {
            self.arm();
            if let Some(value) = self.try_recv()? {
                return Ok(value);
            }
            ipc_core::ready::readable(self.as_fd()).await?;
        }
    }
}

impl<T> RingReceiver<T> {
    /// From now on, who finds nothing has its descriptor made readable when there is something.
    fn arm(&self) {
        let _ = self.as_fd();
    }

    /// Receives a message of bytes; waits as long as it takes.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.recv_bytes_until(Until::Forever).and_then(arrived)
    }

    /// Receives a message of bytes if one is there.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn try_recv_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        self.recv_bytes_until(Until::Now)
    }

    /// Receives a message of bytes; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        self.recv_bytes_until(Until::after(timeout))
    }

    /// Receives a message of bytes; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_bytes_deadline(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        self.recv_bytes_until(Until::Deadline(deadline))
    }

    fn recv_bytes_until(&mut self, until: Until) -> Result<Option<Vec<u8>>> {
        self.take(Kind::Bytes, until, |this, frame| {
            let mut bytes = Vec::new();
            this.end.memory.append(frame.line, frame.len, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Receives a message of bytes; a future for any executor. Dropped before it is done, it has lost nothing.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub async fn recv_bytes_async(&mut self) -> Result<Vec<u8>> {
        loop {
            self.arm();
            if let Some(bytes) = self.try_recv_bytes()? {
                return Ok(bytes);
            }
            ipc_core::ready::readable(self.as_fd()).await?;
        }
    }

    /// Receives a message of bytes into `buffer`, and returns its length.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv), and [`BufferTooShort`](ipc_core::Error::BufferTooShort), which holds the whole message. What `buffer`
    /// holds after an error is not said.
    pub fn recv_into(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_into_until(buffer, Until::Forever).and_then(arrived)
    }

    /// Receives a message of bytes into `buffer` if one is there.
    ///
    /// # Errors
    /// As [`recv_into`](RingReceiver::recv_into).
    pub fn try_recv_into(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::Now)
    }

    /// Receives a message of bytes into `buffer`; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv_into`](RingReceiver::recv_into).
    pub fn recv_into_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::after(timeout))
    }

    /// Receives a message of bytes into `buffer`; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv_into`](RingReceiver::recv_into).
    pub fn recv_into_deadline(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<Option<usize>> {
        self.recv_into_until(buffer, Until::Deadline(deadline))
    }

    fn recv_into_until(&mut self, buffer: &mut [u8], until: Until) -> Result<Option<usize>> {
        self.take(Kind::Bytes, until, |this, frame| match buffer.get_mut(..frame.len) {
            Some(place) => this.end.memory.read(frame.line, place).map(|()| frame.len),
            None => {
                let mut message = Vec::new();
                this.end.memory.append(frame.line, frame.len, &mut message)?;
                let message = message.into();
                Err(ipc_core::Error::BufferTooShort { message, room: buffer.len() }.into())
            }
        })
    }

    /// The next message of bytes where it stands, without a copy; waits as long as it takes. Its room is given back when it is dropped.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_loan(&mut self) -> Result<RingMessage<'_, T>> {
        let frame = self.in_place(Until::Forever).and_then(arrived)?;
        Ok(RingMessage::new(self, frame))
    }

    /// The same if one is there.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn try_recv_loan(&mut self) -> Result<Option<RingMessage<'_, T>>> {
        Ok(self.in_place(Until::Now)?.map(|frame| RingMessage::new(self, frame)))
    }

    /// The same; `None` where none comes within `timeout`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_loan_timeout(&mut self, timeout: Duration) -> Result<Option<RingMessage<'_, T>>> {
        Ok(self.in_place(Until::after(timeout))?.map(|frame| RingMessage::new(self, frame)))
    }

    /// The same; `None` where none comes until `deadline`.
    ///
    /// # Errors
    /// As [`recv`](RingReceiver::recv).
    pub fn recv_loan_deadline(&mut self, deadline: Instant) -> Result<Option<RingMessage<'_, T>>> {
        Ok(self.in_place(Until::Deadline(deadline))?.map(|frame| RingMessage::new(self, frame)))
    }

    fn in_place(&mut self, until: Until) -> Result<Option<Frame>> {
        let system = gate::current()?;
        match self.next(until)? {
            Some(frame) if frame.kind != Kind::Bytes => {
                self.give_back(system, frame);
                Err(another(frame.kind))
            }
            found => Ok(found),
        }
    }
}

/// Readable when there may be a message, or the sender is gone: then try, and wait again when there was none. A hint, for poll(2), for
/// [`ipc_core::wait`] and for runtimes; what is read from it is nobody's business.
impl<T> AsFd for RingReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// There is a message, or the sender is gone.
impl<T> Waitable for RingReceiver<T> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        self.end.settle(|| self.end.memory.ring().has_news(&self.side))
    }
}

impl<T> Drop for RingReceiver<T> {
    fn drop(&mut self) {
        if self.end.closes()
            && let Ok(system) = gate::current()
        {
            // Its descriptor tells who polls.
            self.end.memory.ring().close_receiving(system, &self.side);
        }
    }
}

impl<T> fmt::Debug for RingReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingReceiver").field("end", &self.end).finish_non_exhaustive()
    }
}

/// See [`RingReceiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a mut RingReceiver<T>,
    ended: bool,
}

impl<T: Message> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.ended {
            return None;
        }
        let received = self.receiver.recv();
        // After an error that may well come again, nothing follows.
        self.ended = match &received {
            Err(Error::Message(error)) => !matches!(error, ipc_core::Error::Decode { .. }),
            received => received.is_err(),
        };
        match received {
            Err(error) if error.is_disconnected() => None,
            received => Some(received),
        }
    }
}
