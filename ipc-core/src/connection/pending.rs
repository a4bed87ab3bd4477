//! One handshake on one socket, a step at a time and without waiting.
//!
//! Whoever drives it waits for what [`Step::Waits`] names, with others or alone, and calls again. So a listener has many of them
//! under one poll, and a client one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendFlags};

use super::auth::{Handshake, LONGEST, Refusal, Role};
use crate::AuthKey;
use crate::sys::random;

/// A connection that has yet to show that it may be one.
#[derive(Debug)]
pub(crate) struct Pending {
    socket: OwnedFd,
    /// Of bytes, and not of packets.
    stream: bool,
    role: Role,
    handshake: Handshake,
}

/// What is next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The socket must be ready for this.
    Waits(PollFlags),
    /// It is over.
    Done(std::result::Result<(), Refusal>),
}

impl Pending {
    /// The beginning of a handshake.
    pub(crate) fn new(socket: OwnedFd, stream: bool, role: Role, key: Option<AuthKey>) -> Result<Pending> {
        let nonce = random::bytes()?;
        Ok(Pending { socket, stream, role, handshake: Handshake::new(role, key, nonce) })
    }

    /// Says what is to be said first, and nothing else; gives what to wait for then.
    pub(crate) fn greet(&mut self) -> Result<PollFlags> {
        Ok(self.send()?.unwrap_or(PollFlags::IN))
    }

    /// Goes on as far as that needs no waiting.
    pub(crate) fn step(&mut self) -> Result<Step> {
        loop {
            if let Some(unsent) = self.send()? {
                return Ok(Step::Waits(unsent));
            }
            if let Some(outcome) = self.handshake.outcome() {
                return Ok(Step::Done(outcome.clone()));
            }
            if let Some(nothing) = self.receive()? {
                return Ok(Step::Waits(nothing));
            }
            if self.role == Role::Client && !self.handshake.output().is_empty() {
                crash_point!("client: greeted");
            }
        }
    }

    /// Gives up; tells the peer if that needs no waiting.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.handshake.refuse(refusal);
        let _ = self.send();
    }

    /// The connection, for one whose handshake succeeded.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends what is to be sent; gives what to wait for if that does not go.
    fn send(&mut self) -> Result<Option<PollFlags>> {
        while !self.handshake.output().is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, self.handshake.output(), flags) {
                Ok(count) => self.handshake.sent(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Some(PollFlags::OUT)),
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    // It may have said why before it went: that is read next, and then the end.
                    self.handshake.sent(LONGEST);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Receives what is there; gives what to wait for if that is nothing.
    fn receive(&mut self) -> Result<Option<PollFlags>> {
        let mut buffer = [0; LONGEST];
        // Of a stream no byte is read that belongs to the first message; a packet is taken whole.
        // (MSG_TRUNC makes a packet's whole length known. On TCP it would mean to throw bytes away.)
        let (room, flags) = match self.stream {
            true => (self.handshake.wants().min(LONGEST), RecvFlags::DONTWAIT),
            false => (LONGEST, RecvFlags::DONTWAIT | RecvFlags::TRUNC),
        };
        // Without room for descriptors: the kernel drops those of a stranger.
        match self.recv(&mut buffer[..room], flags) {
            Ok(0) => self.handshake.refuse(Refusal::Closed),
            Ok(count) if count > room => {
                self.handshake.refuse(Refusal::Malformed("a packet that is too long"))
            }
            Ok(count) if self.stream => {
                self.handshake.feed(&buffer[..count]);
            }
            Ok(count) => self.handshake.feed_packet(&buffer[..count]),
            Err(Errno::AGAIN) => return Ok(Some(PollFlags::IN)),
            Err(Errno::CONNRESET) => self.handshake.refuse(Refusal::Closed),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// On a Unix socket the peer's end with something unread is reported once, and before what it had sent in good time.
    fn recv(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<usize> {
        let mut resets = 0;
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, flags) {
                Ok((_, length)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) if !self.stream && resets == 0 => resets += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
