//! Sending, receiving and accepting as futures, for any executor (see [`ready`](crate::ready)).
//!
//! Each poll does what there is room or data for, without waiting; then the descriptor's readiness wakes the task. A receive that is dropped has
//! taken nothing. A long message is sent in parts, so a send that is dropped in the middle tells the receiver to drop what has come of
//! it, as a send whose time is over does; over TCP it ends the direction, unless somebody who sends after it sees to the rest.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::channel::{Kind, Progress};
use super::send_error::SendError;
use super::{Connection, Listener, Receiver, Sender, sender};
use crate::entry::Message;
use crate::error::{Error, Result};
use crate::message::bytes::Bytes;
use crate::message::codec::{Codec, Postcard};
use crate::message::descriptors::{self, Encoded};
use crate::poll::Until;
use crate::ready::Waiting;

impl<T: Message, C: Codec + Default> Receiver<T, C> {
    /// [`recv`](Receiver::recv) as a future. Dropped, it has received nothing.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_async(&self) -> ReceiveFuture<'_, T, C, T> {
        ReceiveFuture { receiver: self, take: Receiver::try_recv, waiting: Waiting::default() }
    }
}

impl<T, C> Receiver<T, C> {
    /// [`recv_bytes`](Receiver::recv_bytes) as a future. Dropped, it has received nothing.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes_async(&self) -> ReceiveFuture<'_, T, C, Bytes> {
        ReceiveFuture { receiver: self, take: Receiver::try_recv_bytes, waiting: Waiting::default() }
    }
}

/// The future of [`Receiver::recv_async`] and [`Receiver::recv_bytes_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct ReceiveFuture<'a, T, C, M> {
    receiver: &'a Receiver<T, C>,
    take: fn(&Receiver<T, C>) -> Result<Option<M>>,
    waiting: Waiting,
}

impl<T, C, M> Future for ReceiveFuture<'_, T, C, M> {
    type Output = Result<M>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<M>> {
        let ReceiveFuture { receiver, take, waiting } = &mut *self;
        if let Some(message) = take(receiver)? {
            waiting.leave();
            return Poll::Ready(Ok(message));
        }
        // Ready since then, or taken by a thread that has the turn: another look, after the other tasks.
        if waiting.poll_readable(receiver.as_fd(), context)?.is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T, C, M> fmt::Debug for ReceiveFuture<'_, T, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiveFuture").field(&self.receiver).finish()
    }
}

impl<T: Message, C: Codec + Default> Sender<T, C> {
    /// [`send`](Sender::send) as a future. Dropped before it is done, it has sent nothing that is received. But over TCP a part that was
    /// sent cannot be taken back: dropped in the middle of its message, it ends the direction, as [`send_timeout`](Sender::send_timeout) does.
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    pub fn send_async(&self, value: T) -> SendFuture<'_, T, C> {
        SendFuture {
            sender: self,
            value: Some(value),
            encoded: None,
            progress: Progress::default(),
            waiting: Waiting::default(),
            codec: PhantomData,
        }
    }
}

/// The future of [`Sender::send_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendFuture<'a, T, C = Postcard> {
    sender: &'a Sender<T, C>,
    /// Until it is sent, or handed back.
    value: Option<T>,
    /// Made by the first poll, for a socket.
    encoded: Option<Encoded>,
    progress: Progress,
    waiting: Waiting,
    codec: PhantomData<fn() -> C>,
}

/// Nothing of it is referred to from inside.
impl<T, C> Unpin for SendFuture<'_, T, C> {}

impl<T: Message, C: Codec + Default> Future for SendFuture<'_, T, C> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled again after its end.
        let Some(value) = self.value.take() else { return Poll::Pending };
        let (value, error) = match self.attempt(value) {
            Ok(()) => {
                self.progress = Progress::default();
                self.encoded = None;
                self.waiting.leave();
                return Poll::Ready(Ok(()));
            }
            Err(failed) => failed,
        };
        if !error.is_timed_out() {
            self.give_up();
            return Poll::Ready(Err(SendError::new(value, error)));
        }
        match self.sender.poll_room(&mut self.waiting, context) {
            Poll::Ready(Ok(())) => context.waker().wake_by_ref(),
            Poll::Pending => {}
            Poll::Ready(Err(error)) => {
                self.give_up();
                return Poll::Ready(Err(SendError::new(value, error)));
            }
        }
        self.value = Some(value);
        Poll::Pending
    }
}

impl<T, C> Sender<T, C> {
    /// [`send_bytes`](Sender::send_bytes) as a future. Dropped before it is done, it is as [`send_async`](Sender::send_async).
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    pub fn send_bytes_async<'a>(&'a self, bytes: &'a [u8]) -> SendBytesFuture<'a, T, C> {
        let (progress, waiting) = (Progress::default(), Waiting::default());
        SendBytesFuture { sender: self, bytes: Some(bytes), progress, waiting }
    }

    fn poll_room(&self, waiting: &mut Waiting, context: &mut Context<'_>) -> Poll<Result<()>> {
        waiting.poll_writable(self.as_fd(), context)
    }
}

impl<T: Message, C: Codec + Default> SendFuture<'_, T, C> {
    /// Sends what there is room for; the value comes back with `TimedOut` where that is not all.
    fn attempt(&mut self, value: T) -> Result<(), (T, Error)> {
        let sender::Way::Socket(half) = &self.sender.way else {
            return self.sender.send_until(value, Until::Now).map_err(SendError::into_parts);
        };
        let encoded = match self.encoded.take() {
            Some(encoded) => encoded,
            None => match descriptors::encode_into(&C::default(), &value, Vec::new()) {
                Ok(encoded) => encoded,
                Err(why) => return Err((value, Error::encode("a value", why))),
            },
        };
        let sent = half.link.send_some(Kind::Value, &encoded.body, &encoded.descriptors, &mut self.progress);
        self.encoded = Some(encoded);
        sent.map_err(|error| (value, error))
    }
}

impl<T, C> SendFuture<'_, T, C> {
    /// Tells the receiver to drop what has come of the message; the value's handles are what they were.
    fn give_up(&mut self) {
        self.waiting.leave();
        if let Some(mut encoded) = self.encoded.take() {
            encoded.take_back();
        }
        if let sender::Way::Socket(half) = &self.sender.way {
            half.link.abandon(&std::mem::take(&mut self.progress));
        }
    }
}

impl<T, C> Drop for SendFuture<'_, T, C> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<T, C> fmt::Debug for SendFuture<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendFuture").field(&self.sender).finish()
    }
}

/// The future of [`Sender::send_bytes_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendBytesFuture<'a, T, C = Postcard> {
    sender: &'a Sender<T, C>,
    /// Until they are sent.
    bytes: Option<&'a [u8]>,
    progress: Progress,
    waiting: Waiting,
}

impl<T, C> Future for SendBytesFuture<'_, T, C> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let SendBytesFuture { sender, bytes, progress, waiting } = &mut *self;
        // Polled again after its end.
        let Some(left) = *bytes else { return Poll::Pending };
        let sent = match &sender.way {
            sender::Way::Socket(half) => half.link.send_some(Kind::Bytes, left, &[], progress),
            sender::Way::Memory(_) => sender.try_send_bytes(left),
        };
        let ended = match sent {
            Err(error) if error.is_timed_out() => match sender.poll_room(waiting, context) {
                Poll::Ready(Ok(())) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(failed) => failed,
            },
            Ok(()) => {
                *progress = Progress::default();
                Ok(())
            }
            failed => failed,
        };
        *bytes = None;
        self.give_up();
        Poll::Ready(ended)
    }
}

impl<T, C> SendBytesFuture<'_, T, C> {
    /// As [`SendFuture::give_up`].
    fn give_up(&mut self) {
        self.waiting.leave();
        if let sender::Way::Socket(half) = &self.sender.way {
            half.link.abandon(&std::mem::take(&mut self.progress));
        }
    }
}

impl<T, C> Drop for SendBytesFuture<'_, T, C> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<T, C> fmt::Debug for SendBytesFuture<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendBytesFuture").field(&self.sender).finish()
    }
}

impl Listener {
    /// [`accept`](Listener::accept) as a future. Dropped, it has accepted nobody; handshakes that are under way stay so.
    ///
    /// Connecting has no such form: [`connect`](crate::connect()) belongs where a task may wait, as in tokio's `spawn_blocking`.
    ///
    /// # Errors
    /// As [`accept`](Listener::accept).
    pub fn accept_async<S, R>(&self) -> AcceptFuture<'_, S, R> {
        AcceptFuture { listener: self, waiting: Waiting::default(), accepts: PhantomData }
    }
}

/// The future of [`Listener::accept_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct AcceptFuture<'a, S, R> {
    listener: &'a Listener,
    waiting: Waiting,
    accepts: PhantomData<fn() -> Connection<S, R>>,
}

impl<S, R> Future for AcceptFuture<'_, S, R> {
    type Output = Result<Connection<S, R>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let AcceptFuture { listener, waiting, .. } = &mut *self;
        if let Some(connection) = listener.try_accept()? {
            waiting.leave();
            return Poll::Ready(Ok(connection));
        }
        // As a receive.
        if waiting.poll_readable(listener.as_fd(), context)?.is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S, R> fmt::Debug for AcceptFuture<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcceptFuture").field(&self.listener).finish()
    }
}

/// As on [`Sender`].
impl<S: Message, R, C: Codec + Default> Connection<S, R, C> {
    /// See [`Sender::send_async`].
    ///
    /// # Errors
    /// See there.
    pub fn send_async(&self, value: S) -> SendFuture<'_, S, C> {
        self.sender().send_async(value)
    }
}

/// As on [`Receiver`].
impl<S, R: Message, C: Codec + Default> Connection<S, R, C> {
    /// See [`Receiver::recv_async`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_async(&self) -> ReceiveFuture<'_, R, C, R> {
        self.receiver().recv_async()
    }
}

/// Bytes: as on [`Sender`] and [`Receiver`].
impl<S, R, C> Connection<S, R, C> {
    /// See [`Sender::send_bytes_async`].
    ///
    /// # Errors
    /// See there.
    pub fn send_bytes_async<'a>(&'a self, bytes: &'a [u8]) -> SendBytesFuture<'a, S, C> {
        self.sender().send_bytes_async(bytes)
    }

    /// See [`Receiver::recv_bytes_async`].
    ///
    /// # Errors
    /// See there.
    pub fn recv_bytes_async(&self) -> ReceiveFuture<'_, R, C, Bytes> {
        self.receiver().recv_bytes_async()
    }
}
