//! The untyped core of connections: frames with a kind, a deadline and a limit, whatever carries them.
//!
//! A [`Link`] is a socket and what is remembered of it: how messages are cut, and which are unfinished. The two halves of
//! a connection share one. What a half adds is its end: a half of a connection that was [split](crate::Connection::split)
//! ends its direction when it is dropped, as the other half keeps the socket open; every other end just closes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::Shutdown;

use super::packets::Packets;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::message::fragment::{self, Limits, Whole};
use crate::poll::Until;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value, encoded.
    Value,
    /// Bytes as they are.
    Bytes,
}

impl Kind {
    pub(crate) fn to_wire(self) -> u16 {
        match self {
            Kind::Value => 1,
            Kind::Bytes => 2,
        }
    }

    /// What sending it is called in errors.
    pub(crate) fn sending(self) -> &'static str {
        match self {
            Kind::Value => "send a value",
            Kind::Bytes => "send bytes",
        }
    }

    /// Makes sure that what came is what was wanted.
    pub(crate) fn check(self, arrived: u16) -> Result<()> {
        let why = match arrived {
            kind if kind == self.to_wire() => return Ok(()),
            1 => "it is a value, to be received by `recv`, and bytes were to be received",
            2 => "it is bytes, to be received by `recv_bytes`, and a value was to be received",
            other => return Err(Error::protocol(format!("a message of unknown kind {other}"))),
        };
        Err(Error::decode("a message", why))
    }
}

/// How far a frame has come that is sent in several tries.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    parts: fragment::Progress,
    /// The number that a stream has given it.
    begun: Option<u64>,
}

/// What carries frames.
#[derive(Debug)]
pub(crate) enum Link {
    /// A Unix socket that keeps packets whole.
    Packets(Packets),
    /// A socket of bytes: TCP.
    Stream(Stream),
}

impl Link {
    /// Over a connected socket, of bytes or of packets.
    pub(crate) fn over(socket: OwnedFd, stream: bool) -> Link {
        if stream { Link::Stream(socket.into()) } else { Link::Packets(socket.into()) }
    }

    /// Sends one frame, or gives a reason why it was not.
    pub(crate) fn send(&self, kind: Kind, body: &[u8], descriptors: &[OwnedFd], until: Until) -> Result<()> {
        match self {
            Link::Packets(packets) => packets.send(kind, body, descriptors, until),
            Link::Stream(stream) => stream.send(kind, body, descriptors, until),
        }
    }

    /// Sends as much of a frame as there is room for; `TimedOut` where there is more, which the next call goes on with.
    pub(crate) fn send_some(
        &self,
        kind: Kind,
        body: &[u8],
        descriptors: &[OwnedFd],
        progress: &mut Progress,
    ) -> Result<()> {
        match self {
            Link::Packets(packets) => packets.send_some(kind, body, descriptors, &mut progress.parts),
            Link::Stream(stream) => stream.send_some(kind, body, descriptors, &mut progress.begun),
        }
    }

    /// Gives a frame up that was sent in part.
    pub(crate) fn abandon(&self, progress: &Progress) {
        match self {
            Link::Packets(packets) => packets.abandon(&progress.parts),
            Link::Stream(stream) => stream.abandon(progress.begun),
        }
    }

    /// The next frame, within `limits`, into the caller's buffer if one is given and it fits; `None` when the time is over.
    pub(crate) fn receive(
        &self,
        into: Option<&mut [u8]>,
        limits: Limits,
        until: Until,
    ) -> Result<Option<Whole>> {
        match self {
            Link::Packets(packets) => packets.receive(into, limits, until),
            Link::Stream(stream) => stream.receive(into, limits.bytes, until),
        }
    }

    /// Whether a frame, an error or the end can be received without waiting, in the time given.
    pub(crate) fn poll(&self, limits: Limits, until: Until) -> Result<bool> {
        match self {
            Link::Packets(packets) => packets.poll(limits, until),
            Link::Stream(stream) => stream.poll(limits.bytes, until),
        }
    }

    /// Whether receiving has begun on a frame and not ended.
    pub(crate) fn is_amid_frame(&self) -> bool {
        match self {
            Link::Packets(packets) => packets.is_amid_frame(),
            Link::Stream(stream) => stream.is_amid_frame(),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        // It fails where the peer is gone already.
        let _ = rustix::net::shutdown(self.as_fd(), how);
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Link::Packets(packets) => packets.as_fd(),
            Link::Stream(stream) => stream.as_fd(),
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct SendHalf {
    pub(crate) link: Arc<Link>,
    /// Whether the direction ends with this half.
    pub(super) ends: Arc<AtomicBool>,
}

impl SendHalf {
    pub(crate) fn new(link: Arc<Link>, ends: bool) -> SendHalf {
        SendHalf { link, ends: Arc::new(ends.into()) }
    }

    /// Whether the direction ends with this half.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ends(&self, ends: bool) {
        self.ends.store(ends, Ordering::Relaxed);
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.ends() {
            self.link.shutdown(Shutdown::Write);
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct ReceiveHalf {
    pub(crate) link: Arc<Link>,
    /// As [`SendHalf::ends`].
    pub(super) ends: Arc<AtomicBool>,
    /// As [`Limits::bytes`].
    limit: AtomicUsize,
    /// As [`Limits::descriptors`].
    descriptors: usize,
}

impl ReceiveHalf {
    pub(crate) fn new(link: Arc<Link>, ends: bool, limits: Limits) -> ReceiveHalf {
        let Limits { bytes, descriptors } = limits;
        ReceiveHalf { link, ends: Arc::new(ends.into()), limit: AtomicUsize::new(bytes), descriptors }
    }

    /// As [`SendHalf::ends`].
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ends(&self, ends: bool) {
        self.ends.store(ends, Ordering::Relaxed);
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { bytes: self.limit.load(Ordering::Relaxed), descriptors: self.descriptors }
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The next frame, which must be of this kind; otherwise it is gone.
    pub(crate) fn receive(&self, kind: Kind, into: Option<&mut [u8]>, until: Until) -> Result<Option<Whole>> {
        let Some(frame) = self.link.receive(into, self.limits(), until)? else { return Ok(None) };
        kind.check(frame.kind)?;
        Ok(Some(frame))
    }

    pub(crate) fn poll(&self, until: Until) -> Result<bool> {
        self.link.poll(self.limits(), until)
    }
}

impl Drop for ReceiveHalf {
    fn drop(&mut self) {
        if self.ends() {
            self.link.shutdown(Shutdown::Read);
        }
    }
}
