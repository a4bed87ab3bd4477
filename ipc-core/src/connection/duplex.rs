//! Both directions in one.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Link, ReceiveHalf, SendHalf};
use super::{Receiver, SendError, Sender, receiver, sender};
use crate::entry::Message;
use crate::error::Result;
use crate::message::bytes::Bytes;
use crate::message::codec::{Codec, Postcard};
use crate::message::fragment::Limits;

/// One of two ends that both send and receive: of a [`duplex`](crate::duplex()), or of a connection between strangers.
///
/// It is a [`Sender`] and a [`Receiver`] over one socket, and has the methods of both that are used most; the others are on
/// [`sender`](Connection::sender) and [`receiver`](Connection::receiver). What it can carry depends on the socket: over TCP no descriptors, see
/// [`connection`](crate::connection).
pub struct Connection<S, R = S, C = Postcard> {
    pub(super) sender: Sender<S, C>,
    pub(super) receiver: Receiver<R, C>,
}

impl<S, R, C> Connection<S, R, C> {
    pub(crate) fn over(link: Arc<Link>, limits: Limits) -> Self {
        let receiver = ReceiveHalf::new(link.clone(), false, limits);
        Connection { sender: Sender::over(SendHalf::new(link, false)), receiver: Receiver::over(receiver) }
    }

    pub(super) fn of(sender: Sender<S, C>, receiver: Receiver<R, C>) -> Self {
        Connection { sender, receiver }
    }

    /// The same end with values in another format, which the other side must use as well.
    pub fn with_codec<D: Codec + Default>(self) -> Connection<S, R, D> {
        Connection::of(self.sender.with_codec(), self.receiver.with_codec())
    }

    /// The end as a sender.
    pub fn sender(&self) -> &Sender<S, C> {
        &self.sender
    }

    /// The end as a receiver.
    pub fn receiver(&self) -> &Receiver<R, C> {
        &self.receiver
    }

    /// The two directions apart. From now on each ends when its half is dropped: the peer of a dropped sender receives the end, also
    /// as long as the receiver is there.
    ///
    /// ```
    /// let (ours, theirs) = ipc_core::duplex::<u8, u8>()?;
    /// let (sender, receiver) = ours.split();
    /// drop(sender);
    /// assert!(theirs.recv().unwrap_err().is_disconnected());
    /// theirs.send(1)?;
    /// assert_eq!(receiver.recv()?, 1);
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    pub fn split(self) -> (Sender<S, C>, Receiver<R, C>) {
        if let (sender::Way::Socket(send), receiver::Way::Socket(receive)) =
            (&self.sender.way, &self.receiver.way)
        {
            send.set_ends(true);
            receive.set_ends(true);
        }
        (self.sender, self.receiver)
    }
}

/// As on [`Sender`].
impl<S: Message, R, C: Codec + Default> Connection<S, R, C> {
    /// See [`Sender::send`].
    ///
    /// # Errors
    /// See there.
    pub fn send(&self, value: S) -> Result<(), SendError<S>> {
        self.sender.send(value)
    }

    /// See [`Sender::try_send`].
    ///
    /// # Errors
    /// See there.
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        self.sender.try_send(value)
    }

    /// See [`Sender::send_timeout`].
    ///
    /// # Errors
    /// See there.
    pub fn send_timeout(&self, value: S, timeout: Duration) -> Result<(), SendError<S>> {
        self.sender.send_timeout(value, timeout)
    }

    /// See [`Sender::send_deadline`].
    ///
    /// # Errors
    /// See there.
    pub fn send_deadline(&self, value: S, deadline: Instant) -> Result<(), SendError<S>> {
        self.sender.send_deadline(value, deadline)
    }
}

/// As on [`Receiver`].
impl<S, R: Message, C: Codec + Default> Connection<S, R, C> {
    /// See [`Receiver::recv`].
    ///
    /// # Errors
    /// See there.
    pub fn recv(&self) -> Result<R> {
        self.receiver.recv()
    }

    /// See [`Receiver::try_recv`].
    ///
    /// # Errors
    /// See there.
    pub fn try_recv(&self) -> Result<Option<R>> {
        self.receiver.try_recv()
    }

    /// See [`Receiver::recv_timeout`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<R>> {
        self.receiver.recv_timeout(timeout)
    }

    /// See [`Receiver::recv_deadline`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Option<R>> {
        self.receiver.recv_deadline(deadline)
    }

    /// See [`Receiver::iter`].
    pub fn iter(&self) -> super::Iter<'_, R, C> {
        self.receiver.iter()
    }
}

/// Bytes, limits and looking ahead: as on [`Sender`] and [`Receiver`].
impl<S, R, C> Connection<S, R, C> {
    /// See [`Sender::send_bytes`].
    ///
    /// # Errors
    /// See there.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.sender.send_bytes(bytes)
    }

    /// See [`Receiver::recv_bytes`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_bytes(&self) -> Result<Bytes> {
        self.receiver.recv_bytes()
    }

    /// See [`Receiver::recv_into`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<usize> {
        self.receiver.recv_into(buffer)
    }

    /// See [`Receiver::poll`].
    ///
    /// # Errors
    /// See there.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<bool> {
        self.receiver.poll(timeout)
    }

    /// See [`Receiver::poll_deadline`].
    ///
    /// # Errors
    /// See there.
    pub fn poll_deadline(&self, deadline: Instant) -> Result<bool> {
        self.receiver.poll_deadline(deadline)
    }

    /// See [`Receiver::set_max_message`].
    pub fn set_max_message(&self, bytes: usize) {
        self.receiver.set_max_message(bytes);
    }

    /// See [`Receiver::max_message`].
    pub fn max_message(&self) -> usize {
        self.receiver.max_message()
    }
}

/// The receiver's: readable when a message or a part of a long one is there, or the peer is gone.
impl<S, R, C> AsFd for Connection<S, R, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl<S, R, C> fmt::Debug for Connection<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("descriptor", &self.as_fd()).finish_non_exhaustive()
    }
}
