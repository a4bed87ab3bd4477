//! One packet with descriptors: `sendmsg` and `recvmsg` on a `SOCK_SEQPACKET` socket.
//!
//! See [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html). What these two calls leave to their user is settled
//! here: signals (EINTR) are waited out, a socket that somebody made non-blocking is polled (its flags belong to all who
//! share it, so we never set them), SIGPIPE is never raised, descriptors arrive close-on-exec, and the peer's sudden end is
//! an end and no error (see [`receive`]).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that the kernel takes in one packet (its `SCM_MAX_FD`).
pub(crate) const DESCRIPTORS: usize = 253;

const CONTROL: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS));

/// Sends `parts` as one packet, with at most [`DESCRIPTORS`] descriptors; waits for room.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL) {
            // A packet is sent whole or not at all.
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(socket, PollFlags::OUT)?,
            Err(error) => return Err(error),
        }
    }
}

/// What one `recvmsg` brought.
pub(crate) enum Packet {
    /// A packet.
    Data(Data),
    /// No packet is there now.
    None,
    /// The peer has closed its end, and everything it sent has been received.
    End,
}

/// A packet.
#[derive(Clone, Copy)]
pub(crate) struct Data {
    /// The bytes, at the start of the buffer.
    pub(crate) len: usize,
    /// The packet was longer than the buffer.
    pub(crate) truncated: bool,
    /// Descriptors were dropped by the kernel.
    pub(crate) descriptors_lost: bool,
}

/// Receives one packet into `buffer` and appends its descriptors to `descriptors`; waits for one only if `wait`.
///
/// A peer that closes its end with something of ours unread leaves `ECONNRESET` here, which the kernel reports once and
/// *before* the packets that the peer sent in good time (a child's result, say). So it is read away and the packets follow.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    wait: bool,
) -> Result<Packet> {
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let mut space = [MaybeUninit::uninit(); CONTROL];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(message) => message,
            Err(Errno::INTR | Errno::CONNRESET) => continue,
            Err(Errno::AGAIN) if wait => {
                wait_for(socket, PollFlags::IN)?;
                continue;
            }
            Err(Errno::AGAIN) => return Ok(Packet::None),
            Err(error) => return Err(error),
        };
        let before = descriptors.len();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                descriptors.extend(received);
            }
        }
        let descriptors_lost = message.flags.contains(ReturnFlags::CTRUNC);
        // The end reads like an empty packet; only at the end is the receiving direction shut down.
        if message.bytes == 0 && descriptors.len() == before && !descriptors_lost && is_shut(socket)? {
            return Ok(Packet::End);
        }
        let truncated = message.flags.contains(ReturnFlags::TRUNC);
        return Ok(Packet::Data(Data { len: message.bytes, truncated, descriptors_lost }));
    }
}

/// Whether nothing can arrive on `socket` any more but what is already there.
fn is_shut(socket: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    loop {
        match poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => return Ok(fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until `socket` is ready, or broken, which the next call on it will tell.
fn wait_for(socket: BorrowedFd<'_>, flags: PollFlags) -> Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(socket, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
