//! One packet with descriptors: `sendmsg` and `recvmsg` on a `SOCK_SEQPACKET` socket.
//!
//! See [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html). What these two calls leave to their user is settled
//! here: signals (EINTR) are waited out, a socket that somebody made non-blocking is polled (its flags belong to all who
//! share it, so we never set them), SIGPIPE is never raised, descriptors arrive close-on-exec, and the peer's sudden end is
//! an end and no error (see [`receive`]).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, Result};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::scatter;
use crate::poll::Until;

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
    let until = if wait { Until::Forever } else { Until::Now };
    let mut place = [libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }];
    // SAFETY: the place is the buffer, which this function has borrowed for writing.
    let Some(message) = (unsafe { scatter::receive_message(socket, &mut place, descriptors, until)? }) else {
        return Ok(Packet::None);
    };
    // The end reads like an empty packet; only at the end is the receiving direction shut down.
    if message.bytes == 0 && !message.descriptors && is_shut(socket)? {
        return Ok(Packet::End);
    }
    Ok(Packet::Data(Data {
        len: message.bytes.min(buffer.len()),
        truncated: message.flags & libc::MSG_TRUNC != 0,
        descriptors_lost: message.flags & libc::MSG_CTRUNC != 0,
    }))
}

/// Whether nothing can arrive on `socket` any more but what is already there.
pub(crate) fn is_shut(socket: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    loop {
        match poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => return Ok(fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has `MSG_PEEK` look at the start of the next packet, wherever those who share `socket` want it to look ([SO_PEEK_OFF]).
///
/// [SO_PEEK_OFF]: https://man7.org/linux/man-pages/man7/socket.7.html
pub(crate) fn look_at_the_start(socket: BorrowedFd<'_>) -> Result<()> {
    let start: libc::c_int = -1;
    loop {
        // SAFETY: the option's value is an int, which lives as long as the call.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEEK_OFF,
                ptr::from_ref(&start).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if done == 0 {
            return Ok(());
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO) {
            Errno::INTR => {}
            error => return Err(error),
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::process::alone::alone;

    /// A socket that was told to brings a descriptor of the sender's process with each packet, which nobody closed.
    #[test]
    fn a_descriptor_that_nobody_asked_for_is_closed() {
        alone("sys::socket::tests::a_descriptor_that_nobody_asked_for_is_closed", || {
            let (sends, receives) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            const SO_PASSPIDFD: libc::c_int = 76;
            let yes: libc::c_int = 1;
            // SAFETY: the option's value is an int that lives as long as the call.
            let told = unsafe {
                let (value, len) = (ptr::from_ref(&yes).cast(), size_of::<libc::c_int>() as u32);
                libc::setsockopt(receives.as_raw_fd(), libc::SOL_SOCKET, SO_PASSPIDFD, value, len)
            };
            if told != 0 {
                eprintln!("not run: SO_PASSPIDFD: Linux 6.5 knows it");
                return;
            }
            let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let before = open();
            for _ in 0..3 {
                send(sends.as_fd(), &[IoSlice::new(b"abc")], &[sends.as_fd()]).unwrap();
                let (mut buffer, mut descriptors) = ([0; 8], Vec::new());
                let Packet::Data(data) =
                    receive(receives.as_fd(), &mut buffer, &mut descriptors, true).unwrap()
                else {
                    panic!("a packet was sent")
                };
                assert_eq!((&buffer[..data.len], descriptors.len()), (&b"abc"[..], 1));
            }
            assert_eq!(open(), before);
        });
    }
}
