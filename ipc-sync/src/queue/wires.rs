//! What of a queue is no memory: sockets and bells, which travel with its ends.
//!
//! - **A pair of sockets for each band** (`SOCK_SEQPACKET`): one side is with all senders, the other with all receivers. The kernel counts who has which, also
//!   those in a message on their way, and closes them with their process, `kill -9` included: so each side learns that nobody is left on the other. And descriptors
//!   inside items go that way, in packets that say whose they are; they outlive their sender. Who dies, or finds no room for all, may leave some there that no item asks for (*litter*): who
//!   gets drops those before its own, and all when there is nothing to get and a producer has asked for it, or has died.
//! - **Two bells** (eventfd): one that is rung when there are items, one when there is room, if somebody waits for it (`bell` in `layout.rs`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipc_core::primitive::message::{Key, Shared, share};
use ipc_core::primitive::process::Tie;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::log::Record;
use crate::crash::reached;
use crate::{Error, Result, bell};

/// As many descriptors as a packet takes (`SCM_MAX_FD`).
const MOST: usize = 253;

/// More packets that belong to no item than the dead leave there: no socket has room for as many.
const LITTER: usize = 10_000;

/// As many packets of one item as a socket has room for in any case, and more.
const PACKETS: usize = 64;

/// A descriptor that handles share, and that travels once in a message.
#[derive(Debug)]
pub(crate) struct Wire<F = OwnedFd>(Arc<F>);

impl<F> Clone for Wire<F> {
    fn clone(&self) -> Wire<F> {
        Wire(self.0.clone())
    }
}

impl<F: AsFd> Wire<F> {
    /// What is no file has one inode for all of its kind: it is told apart by the number that it has in this process, which is enough within a message.
    fn key(&self) -> Key {
        (u64::MAX, self.0.as_fd().as_raw_fd() as u64, 0)
    }
}

impl<F: AsFd> AsFd for Wire<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<F: AsFd> Serialize for Wire<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        share(self.0.as_fd(), self.key(), serializer)
    }
}

impl<'de, F: From<OwnedFd> + Send + Sync + 'static> Deserialize<'de> for Wire<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wire<F>, D::Error> {
        let made = Shared::deserialize(deserializer)?.take(|fd| Ok::<_, String>(Arc::new(F::from(fd))));
        made.map(Wire).map_err(serde::de::Error::custom)
    }
}

/// One side's sockets, by band, and both bells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wires {
    sockets: Vec<Wire<Tie>>,
    pub(crate) items: Wire,
    pub(crate) room: Wire,
}

/// Both sides' for so many bands: the senders', the receivers'.
pub(crate) fn pair(bands: usize) -> Result<(Wires, Wires)> {
    let bell = || {
        let bell = bell::make().map_err(|error| os("could not make a bell: eventfd", error))?;
        Ok::<_, Error>(Wire(Arc::new(bell)))
    };
    let (items, room) = (bell()?, bell()?);
    let mut sides = [Vec::new(), Vec::new()];
    for _ in 0..bands {
        let make =
            || Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?.into());
        let [one, other] = Tie::make(make).map_err(|source| {
            let operation = "could not make the ends of a queue: socketpair".to_owned();
            Error::Os { operation, source }
        })?;
        sides[0].push(Wire(Arc::new(one)));
        sides[1].push(Wire(Arc::new(other)));
    }
    let [senders, receivers] =
        sides.map(|sockets| Wires { sockets, items: items.clone(), room: room.clone() });
    Ok((senders, receivers))
}

fn os(operation: &str, error: Errno) -> Error {
    Error::Os { operation: operation.to_owned(), source: error.into() }
}

impl Wires {
    /// How many bands they are for.
    pub(crate) fn bands(&self) -> usize {
        self.sockets.len()
    }

    /// Closes the sockets, if no other handle has them.
    pub(crate) fn leave(&mut self) {
        self.sockets.clear();
    }

    /// A handle is dropped, maybe not the last: if a forked child's closure has captured it, they are the child's, too. The other side is told to look
    /// whether that was the last, and finds the child.
    pub(crate) fn one_less(&self) {
        self.sockets.iter().for_each(|socket| _ = socket.0.ends_here());
    }

    /// What the kernel closes when nobody is left on the other side.
    pub(crate) fn lifeline(&self) -> BorrowedFd<'_> {
        self.sockets[0].as_fd()
    }

    /// Sends an item's descriptors; `false`: there is no room for them now. What was sent before that, nobody asks for.
    ///
    /// # Errors
    /// [`Error::Os`]; [`Error::Disconnected`].
    pub(crate) fn send(&self, record: Record, descriptors: &[OwnedFd]) -> Result<bool> {
        let socket = self.sockets[record.band].as_fd();
        if descriptors.len() > MOST * PACKETS {
            let what = format!("an item with {} descriptors", descriptors.len());
            return Err(Error::invalid(what, format!("a queue takes {}", MOST * PACKETS)));
        }
        for packet in descriptors.chunks(MOST) {
            let fds: Vec<_> = packet.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let label = label(record);
            let sent = loop {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match sendmsg(socket, &[IoSlice::new(&label)], &mut ancillary, flags) {
                    Err(Errno::INTR) => {}
                    other => break other,
                }
            };
            match sent {
                Ok(_) => {}
                // The last: as many as this user may have in sockets (RLIMIT_NOFILE), of which these are some.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS) => return Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Disconnected),
                Err(error) => return Err(os("could not send an item's descriptors: sendmsg", error)),
            }
        }
        Ok(true)
    }

    /// Looks at an item's descriptors, and drops those before them that no item asks for. The last packet stays, for whoever takes the item if this one dies
    /// before: [`drop_packet`](Wires::drop_packet) afterwards.
    ///
    /// # Errors
    /// [`Error::Os`]: this process cannot have so many; all stay where they are, if they are no more than a packet holds. [`Error::Corrupt`]: they are not there.
    pub(crate) fn receive(&self, record: Record) -> Result<Vec<OwnedFd>> {
        if record.descriptors as usize > MOST * PACKETS {
            return Err(Error::corrupt(format!("a queue's item has {} descriptors", record.descriptors)));
        }
        let (mut all, mut litter) = (Vec::new(), 0);
        loop {
            let packet = self.look(record)?;
            let packet = packet.ok_or_else(|| Error::corrupt("an item's descriptors are not there"))?;
            let Some(mut fds) = packet else {
                // Somebody who sends more and more keeps nobody here.
                litter += 1;
                if litter > LITTER {
                    return Err(Error::corrupt("a queue's socket is full of packets that belong to no item"));
                }
                self.drop_packet(record.band);
                continue;
            };
            all.append(&mut fds);
            if all.len() >= record.descriptors as usize {
                reached("consumer: descriptors seen");
                return Ok(all);
            }
            self.drop_packet(record.band);
            reached("consumer: some descriptors taken");
        }
    }

    /// The descriptors of the next packet, if it is of this item's; `None`: there is none.
    fn look(&self, record: Record) -> Result<Option<Option<Vec<OwnedFd>>>> {
        let mut found = [0; LABEL];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | RecvFlags::PEEK;
        let received = loop {
            let into = &mut [IoSliceMut::new(&mut found)];
            match recvmsg(self.sockets[record.band].as_fd(), into, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                other => {
                    break other
                        .map_err(|error| os("could not receive an item's descriptors: recvmsg", error))?;
                }
            }
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        // Nobody sends an empty one: it is the end.
        if received.bytes == 0 {
            return Ok(None);
        }
        if found != label(record) || fds.is_empty() && !received.flags.contains(ReturnFlags::CTRUNC) {
            // They stand there in the order of their attempts. A later item's is left to that: this one's went with a dead consumer.
            let is_litter = received.bytes != LABEL || is_before(attempt_of(&found), record.attempt);
            return Ok(is_litter.then_some(None));
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            let limit = "could not receive an item's descriptors: recvmsg; this process is at its limit (RLIMIT_NOFILE)";
            return Err(os(limit, Errno::MFILE));
        }
        Ok(Some(Some(fds)))
    }

    /// Drops the packets at the front that were sent by attempts before that one, or all; gives whether there were any.
    pub(crate) fn clear(&self, band: usize, before: Option<u32>) -> bool {
        let mut cleared = false;
        // No more than a socket has room for; who sends more all the time is none of ours.
        for _ in 0..1 << 12 {
            let mut label = [0_u8; LABEL];
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            let of = match rustix::net::recv(self.sockets[band].as_fd(), &mut label, flags) {
                Ok((LABEL, _)) => Some(attempt_of(&label)),
                Err(Errno::INTR) => continue,
                // Empty, or the end.
                Ok((0, _)) | Err(_) => break,
                // Nobody sends such.
                Ok(_) => None,
            };
            if let (Some(of), Some(before)) = (of, before)
                && !is_before(of, before)
            {
                break;
            }
            self.drop_packet(band);
            cleared = true;
        }
        cleared
    }

    /// Drops the next packet of a band.
    pub(crate) fn drop_packet(&self, band: usize) {
        let mut label = [0_u8; LABEL];
        let _ = rustix::net::recv(self.sockets[band].as_fd(), &mut label, RecvFlags::DONTWAIT);
    }

    /// What was received must be what [`pair`] made.
    pub(crate) fn check(&self) -> Result<()> {
        let is_one = |wire: &Wire<Tie>| {
            rustix::net::sockopt::socket_type(wire).is_ok_and(|of| of == SocketType::SEQPACKET)
                && rustix::net::sockopt::socket_domain(wire).is_ok_and(|of| of == AddressFamily::UNIX)
        };
        if self.sockets.is_empty() || !self.sockets.iter().all(is_one) {
            return Err(Error::invalid("what came with a queue's end", "it is no socket of a queue"));
        }
        for bell in [&self.items, &self.room] {
            let is_one =
                bell::is_one(bell).map_err(|error| os("could not look at a queue's bell: fcntl", error))?;
            if !is_one {
                return Err(Error::invalid("what came with a queue's end", "it is no bell of a queue"));
            }
        }
        Ok(())
    }
}

/// How long a packet's bytes are.
const LABEL: usize = 12;

/// Whose descriptors a packet brings.
fn label(record: Record) -> [u8; LABEL] {
    let mut label = [0; LABEL];
    label[..4].copy_from_slice(&record.number.to_le_bytes());
    label[4..8].copy_from_slice(&record.attempt.to_le_bytes());
    label[8..].copy_from_slice(&record.descriptors.to_le_bytes());
    label
}

/// Of which attempt a packet is, by its label.
fn attempt_of(label: &[u8; LABEL]) -> u32 {
    u32::from_le_bytes([label[4], label[5], label[6], label[7]])
}

/// Whether one attempt was before another: they count modulo 2³².
fn is_before(one: u32, other: u32) -> bool {
    other != one && other.wrapping_sub(one) < 1 << 31
}
