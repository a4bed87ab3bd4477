//! The other side by hand: packets as their documentation says, or not.

use std::io::{IoSlice, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub const VALUE: u16 = 1;
pub const BYTES: u16 = 2;
pub const PART: u16 = 1;
pub const GIVEN_UP: u16 = 2;

/// A header; a whole message of bytes unless it is changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    pub kind: u16,
    pub flags: u16,
    pub here: u16,
    pub total: u32,
    pub length: u64,
    pub id: u64,
    pub offset: u64,
    pub place: u32,
}

impl Header {
    pub fn part(id: u64, offset: u64, length: u64) -> Header {
        Header { kind: BYTES, flags: PART, length, id, offset, ..Header::default() }
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = b"ipcM\x01\0".to_vec();
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.here.to_le_bytes());
        bytes.extend(self.total.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.place.to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    }
}

/// Sends one packet as it is.
pub fn packet(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

/// Sends a header and content.
pub fn send(socket: impl AsFd, header: Header, content: &[u8]) {
    packet(socket, &[&header.bytes()[..], content].concat(), &[]);
}

/// A descriptor to send that tells whether any copy of it is open in this process: the writing end of a pipe.
pub struct Canary {
    _reader: PipeReader,
    writer: OwnedFd,
}

impl Canary {
    pub fn new() -> Canary {
        let (reader, writer) = std::io::pipe().unwrap();
        Canary { _reader: reader, writer: writer.into() }
    }

    /// How many copies there are beside its own.
    pub fn copies(&self) -> usize {
        let inode = |fd: &str| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let name = inode(&self.writer.as_raw_fd().to_string());
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let of_pipe =
            open.filter(|entry| inode(&entry.as_ref().unwrap().file_name().to_string_lossy()) == name);
        // The reader, and the writer.
        of_pipe.count() - 2
    }
}

impl AsFd for Canary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}
