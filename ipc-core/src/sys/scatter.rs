//! Packets gathered from several pieces and scattered over several places, with a time to wait.
//!
//! A receiver that knows where the next bytes belong has the kernel put them there: [`receive`] fills a header, then the
//! room that is meant for the content, then a spill for what does not fit. Memory that was never written to may be such
//! a room, which saves clearing it first. Waiting is `MSG_DONTWAIT` and ppoll(2), so that neither the socket's flags nor its
//! timeouts, which belong to all who share it, are touched; who waits for ever makes one call.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::event::PollFlags;
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::socket::{DESCRIPTORS, is_shut, look_at_the_start};
use crate::poll::{self, Until};

const CONTROL: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS));

/// Sends `parts` as one packet with at most [`DESCRIPTORS`] descriptors; `false` when the time is over and nothing was sent.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    until: Until,
) -> Result<bool> {
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    when_there_is_room(socket, until, |flags| sendmsg(socket, parts, &mut control, flags))
}

/// As [`send`], for a packet in one piece without descriptors.
pub(crate) fn send_plain(socket: BorrowedFd<'_>, packet: &[u8], until: Until) -> Result<bool> {
    when_there_is_room(socket, until, |flags| rustix::net::send(socket, packet, flags))
}

fn when_there_is_room(
    socket: BorrowedFd<'_>,
    until: Until,
    mut send: impl FnMut(SendFlags) -> Result<usize>,
) -> Result<bool> {
    let wait = if until == Until::Forever { SendFlags::empty() } else { SendFlags::DONTWAIT };
    loop {
        match send(SendFlags::NOSIGNAL | wait) {
            // A packet is sent whole or not at all.
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if until == Until::Now => return Ok(false),
            Err(Errno::AGAIN) => {
                if !poll::ready(socket, PollFlags::OUT, until)? {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where the content of a packet goes, as far as it fits.
pub(crate) enum Room<'a> {
    /// Over these bytes.
    Slice(&'a mut [u8]),
    /// Behind what the vector holds, within its capacity.
    Spare(&'a mut Vec<u8>),
}

/// What one receipt brought.
pub(crate) enum Scattered {
    /// A packet.
    Data(Data),
    /// None in the time given.
    None,
    /// The peer has closed its end, and everything it sent has been received.
    End,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    /// How many bytes of the header were filled.
    pub(crate) header: usize,
    /// How many of the room.
    pub(crate) room: usize,
    /// The packet was longer than all places together.
    pub(crate) truncated: bool,
    /// Descriptors were dropped by the kernel.
    pub(crate) descriptors_lost: bool,
}

/// Receives one packet into `header`, `room` and the spare capacity of `spill`, in this order; appends its descriptors.
///
/// The lengths of the vectors grow by what they got. As with [`socket::receive`](super::socket::receive), a peer's sudden end
/// is an end and no error.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    header: &mut [u8],
    room: Room<'_>,
    spill: &mut Vec<u8>,
    descriptors: &mut Vec<OwnedFd>,
    until: Until,
) -> Result<Scattered> {
    let (room_start, room_len, grown) = match room {
        Room::Slice(slice) => (slice.as_mut_ptr(), slice.len(), None),
        Room::Spare(vector) => {
            let spare = vector.spare_capacity_mut();
            (spare.as_mut_ptr().cast(), spare.len(), Some(vector))
        }
    };
    let spare = spill.spare_capacity_mut();
    let mut places = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
        libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() },
        libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
    ];
    let mut count = 2;
    if room_len > 0 {
        places[2] = places[1];
        places[1] = libc::iovec { iov_base: room_start.cast(), iov_len: room_len };
        count = 3;
    }
    // SAFETY: each place is memory that this function has borrowed for writing, the spare capacities included, and the kernel
    // writes to nothing else.
    let Some(message) = (unsafe { receive_message(socket, &mut places[..count], descriptors, until)? })
    else {
        return Ok(Scattered::None);
    };
    let in_header = message.bytes.min(header.len());
    let in_room = (message.bytes - in_header).min(room_len);
    let in_spill = (message.bytes - in_header - in_room).min(spare.len());
    if let Some(vector) = grown {
        // SAFETY: the kernel has filled so many bytes of the spare capacity.
        unsafe { vector.set_len(vector.len() + in_room) };
    }
    // SAFETY: as above.
    unsafe { spill.set_len(spill.len() + in_spill) };
    // The end reads like an empty packet; only at the end is the receiving direction shut down.
    if message.bytes == 0 && !message.descriptors && is_shut(socket)? {
        return Ok(Scattered::End);
    }
    Ok(Scattered::Data(Data {
        header: in_header,
        room: in_room,
        truncated: message.flags & libc::MSG_TRUNC != 0,
        descriptors_lost: message.flags & libc::MSG_CTRUNC != 0,
    }))
}

/// What one `recvmsg` brought.
pub(super) struct Arrived {
    pub(super) bytes: usize,
    pub(super) flags: libc::c_int,
    /// Whether descriptors came, or were lost.
    pub(super) descriptors: bool,
}

/// Room for the descriptors of a packet, aligned as the kernel wants it.
#[repr(align(8))]
struct Control([MaybeUninit<u8>; CONTROL]);

/// `recvmsg` until something has come, or the time is over (`None`). rustix's would ask for the sender's address, too.
///
/// # Safety
/// The kernel writes to all of `places`.
pub(super) unsafe fn receive_message(
    socket: BorrowedFd<'_>,
    places: &mut [libc::iovec],
    descriptors: &mut Vec<OwnedFd>,
    until: Until,
) -> Result<Option<Arrived>> {
    let wait = if until == Until::Forever { 0 } else { libc::MSG_DONTWAIT };
    let mut control = Control([MaybeUninit::uninit(); CONTROL]);
    loop {
        let mut message = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: places.as_mut_ptr(),
            msg_iovlen: places.len(),
            msg_control: control.0.as_mut_ptr().cast(),
            msg_controllen: CONTROL,
            msg_flags: 0,
        };
        // SAFETY: the places are the caller's promise; the control buffer is ours and as long as it is said to be.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, wait | libc::MSG_CMSG_CLOEXEC) };
        if let Ok(bytes) = usize::try_from(received) {
            // SAFETY: the kernel has filled in the header and as much of the control buffer as it says there.
            let any = message.msg_controllen > 0 && unsafe { take_descriptors(&message, descriptors) };
            let lost = message.msg_flags & libc::MSG_CTRUNC != 0;
            return Ok(Some(Arrived { bytes, flags: message.msg_flags, descriptors: any || lost }));
        }
        let error = std::io::Error::last_os_error();
        match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            // The second: reported once, before the packets that the peer sent in good time.
            Errno::INTR | Errno::CONNRESET => {}
            // Also where it was ready, and another receiver was faster each time.
            Errno::AGAIN if until.is_over() => return Ok(None),
            Errno::AGAIN => {
                if !poll::ready(socket, PollFlags::IN, until)? {
                    return Ok(None);
                }
            }
            error => return Err(error),
        }
    }
}

/// A descriptor of the sender's process, in each message where somebody who shares the socket has asked for it (SO_PASSPIDFD, Linux 6.5).
const SCM_PIDFD: libc::c_int = 4;

/// The descriptors in a received message; whether there were any. What else comes with it nobody here has asked for.
///
/// # Safety
/// `message` is as `recvmsg` has left it, its control buffer is still there, and nobody else takes them.
unsafe fn take_descriptors(message: &libc::msghdr, descriptors: &mut Vec<OwnedFd>) -> bool {
    let before = descriptors.len();
    // SAFETY: as this function's.
    let mut part = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !part.is_null() {
        // SAFETY: a header within the control buffer; the kernel wrote it.
        let header = unsafe { part.read() };
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: as above: descriptors follow the header, as many as its length says, and each is new in this process and
            // nobody else's.
            unsafe {
                let data = libc::CMSG_DATA(part).cast::<libc::c_int>();
                let len = header.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for at in 0..len / size_of::<libc::c_int>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
        }
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, SCM_PIDFD) {
            // SAFETY: as above: one descriptor follows, which is this process's to close.
            drop(unsafe {
                OwnedFd::from_raw_fd(libc::CMSG_DATA(part).cast::<libc::c_int>().read_unaligned())
            });
        }
        // SAFETY: as this function's.
        part = unsafe { libc::CMSG_NXTHDR(message, part) };
    }
    descriptors.len() > before
}

/// Looks at the first bytes of the next packet, which stays where it is.
pub(crate) fn peek(socket: BorrowedFd<'_>, into: &mut [u8], until: Until) -> Result<Peeked> {
    let mut in_vain = 0;
    loop {
        // With TRUNC the second number is how long the packet really is.
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        match rustix::net::recv(socket, &mut *into, flags) {
            Ok((_, 0)) if is_shut(socket)? => return Ok(Peeked::End),
            Ok((_, len)) => return Ok(Peeked::Packet(len)),
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => {
                if in_vain > 1 && until.is_over() {
                    return Ok(Peeked::None);
                }
                if in_vain > 0 {
                    // Ready, and nothing to see: another receiver was faster, or somebody who shares the socket has it look
                    // elsewhere. Where that cannot be undone, the time ends it.
                    let _ = look_at_the_start(socket);
                }
                if !poll::ready(socket, PollFlags::IN, until)? {
                    return Ok(Peeked::None);
                }
                in_vain += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What [`peek`] saw.
pub(crate) enum Peeked {
    /// A packet of so many bytes.
    Packet(usize),
    /// None in the time given.
    None,
    /// The end.
    End,
}
