//! The sending side: one message as one packet or as several.
//!
//! How long a packet may be depends on the socket: the kernel takes none longer than its send buffer, and one beyond some 80
//! KiB needs contiguous memory that it may not find (`ENOBUFS`). So the first long message asks for a larger buffer, two
//! packets have room in it, and whenever a packet is refused for its size, the next try is half as long.
//!
//! A message that its sender cannot finish, because its time is over, must not stay in the receiver's memory for ever. A word
//! of 48 bytes says that no more will follow; where there is no room for even that, it goes before the next message.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::header::{HEADER, Header, MAX_DESCRIPTORS, Role};
use super::owed::Owed;
use super::{LARGEST, WHOLE};
use crate::poll::Until;
use crate::sys::scatter;
use crate::sys::socket::DESCRIPTORS;

/// How many bytes the first part of a long message has.
const LEAD: usize = 4096;

/// Up to so many bytes are copied beside their header.
const SHORT: usize = 256;

/// A packet of so many bytes every socket takes.
const SMALLEST: usize = 1024;

/// The send buffer that long messages ask for; the kernel counts its own needs too, and grants twice as much, or what the system allows.
///
/// So two of the longest packets are on their way at a time, which keeps two processors busy. More of them would only displace
/// each other from the cache. A MiB one way, as a part of what a stream socket takes, on two processors and on one: 0.7 and 1.0 with this,
/// 1.4 and 1.0 with 208 KiB, half as slow again on one with 1 MiB.
const BUFFER: usize = 384 * 1024;

/// Why a message was not sent. A part of it may have been, which the receiver drops.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The time is over.
    TimedOut,
    /// Nobody receives any more.
    Disconnected,
    /// More descriptors than one message may have.
    TooManyDescriptors,
    /// A system call failed.
    Os(&'static str, Errno),
}

impl From<Errno> for Unsent {
    fn from(error: Errno) -> Unsent {
        match error {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Unsent::Disconnected,
            error => Unsent::Os("sendmsg", error),
        }
    }
}

/// What a sending end remembers. Any number of threads may send by it at once.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// How long packets may be; 0 as long as nobody asked.
    packet: AtomicUsize,
    /// What the receiver is to be told of messages that were given up.
    owed: Owed,
}

/// How far a message has come that is sent in several tries.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Its number, once it is known to be sent in parts.
    id: Option<u64>,
    offset: usize,
    place: usize,
}

impl Progress {
    fn begun(&self) -> bool {
        self.offset > 0 || self.place > 0
    }
}

impl Cutter {
    /// Sends one message.
    pub(crate) fn send(
        &self,
        socket: BorrowedFd<'_>,
        kind: u16,
        body: &[u8],
        descriptors: &[OwnedFd],
        until: Until,
    ) -> Result<(), Unsent> {
        let mut progress = Progress::default();
        let sent = self.go_on(socket, kind, body, descriptors, &mut progress, until);
        if matches!(&sent, Err(failed) if *failed != Unsent::Disconnected) {
            self.abandon(socket, &progress);
        }
        sent
    }

    /// Sends one message, or more of it: after [`Unsent::TimedOut`] the next call goes on where this one has stopped.
    pub(crate) fn go_on(
        &self,
        socket: BorrowedFd<'_>,
        kind: u16,
        body: &[u8],
        descriptors: &[OwnedFd],
        progress: &mut Progress,
        until: Until,
    ) -> Result<(), Unsent> {
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(Unsent::TooManyDescriptors);
        }
        if self.owed.any() {
            self.give_up_all(socket, until)?;
        }
        let message = Header {
            role: Role::Whole,
            kind,
            here: descriptors.len() as u16,
            total: descriptors.len() as u32,
            length: body.len() as u64,
            id: 0,
            offset: 0,
            place: 0,
        };
        if progress.id.is_none() && body.len() <= WHOLE && descriptors.len() <= DESCRIPTORS {
            let sent = if body.len() <= SHORT && descriptors.is_empty() {
                short(socket, kind, body, until)
            } else {
                packet(socket, message, body, descriptors, until)
            };
            match sent {
                // Somebody gave the socket a smaller buffer than that, or memory is in pieces.
                Err(Errno::MSGSIZE | Errno::NOBUFS) if body.len() > SMALLEST => {
                    self.packet.fetch_min(body.len() / 2, Ordering::Relaxed);
                }
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Unsent::TimedOut),
                Err(error) => return Err(error.into()),
            }
        }
        self.send_parts(socket, message, body, descriptors, progress, until)
    }

    /// Gives a message up that was sent in part.
    pub(crate) fn abandon(&self, socket: BorrowedFd<'_>, progress: &Progress) {
        if let Some(id) = progress.id.filter(|_| progress.begun()) {
            self.owe(socket, id);
        }
    }

    fn send_parts(
        &self,
        socket: BorrowedFd<'_>,
        message: Header,
        body: &[u8],
        descriptors: &[OwnedFd],
        progress: &mut Progress,
        until: Until,
    ) -> Result<(), Unsent> {
        let mut most = self.packet_size(socket)?;
        let id = match progress.id {
            Some(id) => id,
            None => *progress.id.insert(fresh_id().map_err(|error| Unsent::Os("getrandom", error))?),
        };
        while progress.offset < body.len() || progress.place < descriptors.len() {
            let (offset, place) = (progress.offset, progress.place);
            let len = (body.len() - offset).min(if offset == 0 { most.min(LEAD) } else { most });
            let here = (descriptors.len() - place).min(DESCRIPTORS);
            let header = Header {
                role: Role::Part,
                here: here as u16,
                id,
                offset: offset as u64,
                place: place as u32,
                ..message
            };
            let part =
                packet(socket, header, &body[offset..offset + len], &descriptors[place..place + here], until);
            match part {
                Ok(true) => {
                    crash_point!("sender: part sent");
                    progress.offset += len;
                    progress.place += here;
                }
                Ok(false) => return Err(Unsent::TimedOut),
                Err(Errno::MSGSIZE | Errno::NOBUFS) if len > SMALLEST => {
                    most = len / 2;
                    self.packet.store(most, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// How long packets on this socket may be.
    fn packet_size(&self, socket: BorrowedFd<'_>) -> Result<usize, Unsent> {
        let known = self.packet.load(Ordering::Relaxed);
        if known > 0 {
            return Ok(known);
        }
        let failed = |error| Unsent::Os("getsockopt", error);
        let mut buffer = rustix::net::sockopt::socket_send_buffer_size(socket).map_err(failed)?;
        if buffer < BUFFER {
            // What the system does not grant, it does not grant.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER);
            buffer = rustix::net::sockopt::socket_send_buffer_size(socket).map_err(failed)?;
        }
        // Two on their way at a time, lest sender and receiver take turns.
        let size = (buffer / 2).saturating_sub(SMALLEST).clamp(SMALLEST, LARGEST);
        self.packet.store(size, Ordering::Relaxed);
        Ok(size)
    }

    /// Tells the receiver that no more of a message will come, now or before the next one.
    fn owe(&self, socket: BorrowedFd<'_>, id: u64) {
        self.owed.add(id);
        let _ = self.give_up_all(socket, Until::Now);
    }

    /// Tells of every message that was given up.
    pub(crate) fn give_up_all(&self, socket: BorrowedFd<'_>, until: Until) -> Result<(), Unsent> {
        self.owed.tell_all(|id| {
            let word = Header {
                role: Role::GivenUp,
                kind: 0,
                here: 0,
                total: 0,
                length: 0,
                id,
                offset: 0,
                place: 0,
            };
            match packet(socket, word, &[], &[], until) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Unsent::TimedOut),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// Sends a short message; `false` when the time is over.
///
/// In one piece and without the kernel's message header: a copy costs less than its looking at the pieces.
fn short(socket: BorrowedFd<'_>, kind: u16, body: &[u8], until: Until) -> rustix::io::Result<bool> {
    let mut packet = [0; HEADER + SHORT];
    if let Some((header, rest)) = packet.split_first_chunk_mut() {
        Header::write_plain(kind, body.len(), header);
        rest[..body.len()].copy_from_slice(body);
    }
    scatter::send_plain(socket, &packet[..HEADER + body.len()], until)
}

/// Sends one packet; `false` when the time is over.
fn packet(
    socket: BorrowedFd<'_>,
    header: Header,
    body: &[u8],
    descriptors: &[OwnedFd],
    until: Until,
) -> rustix::io::Result<bool> {
    let header: [u8; HEADER] = header.to_bytes();
    let parts = [IoSlice::new(&header), IoSlice::new(body)];
    if descriptors.is_empty() {
        return scatter::send(socket, &parts, &[], until);
    }
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    scatter::send(socket, &parts, &borrowed, until)
}

/// A number for a message that no other message on its way has: also not one of another process on the same socket, of a
/// forked copy, say.
fn fresh_id() -> rustix::io::Result<u64> {
    let mut id = [0; 8];
    let mut filled = 0;
    while filled < id.len() {
        match rustix::rand::getrandom(&mut id[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(u64::from_ne_bytes(id))
}
