//! Hostile packets to the receiving end of a connection, by every way to receive: messages or errors, never a panic, an endless wait, a
//! descriptor too many, or more messages than there were packets.
//!
//! Bytes at random hardly ever are a header, so most packets are one whose fields are chosen among those that matter: one of few
//! messages, a place at, before or behind the one that would follow, and descriptors as announced, or not.
#![no_main]

use std::collections::HashMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::{Bytes, Descriptor, Receiver};
use libfuzzer_sys::fuzz_target;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    packets: Vec<RawPacket<'a>>,
    ways: Vec<Way>,
    limit: Option<u16>,
}

#[derive(Debug, Arbitrary)]
enum RawPacket<'a> {
    Bytes {
        bytes: &'a [u8],
        descriptors: u8,
    },
    Header {
        kind: u8,
        flags: u8,
        here: u16,
        total: u32,
        length: u64,
        id: u8,
        offset: u64,
        place: u32,
        rest: &'a [u8],
    },
    /// What would follow in its message, but for `off`, and with so many descriptors more than announced.
    Next {
        id: u8,
        length: u16,
        total: u16,
        here: u8,
        off: i8,
        more: i8,
        rest: &'a [u8],
    },
    Whole {
        kind: u8,
        here: u8,
        rest: &'a [u8],
    },
    GiveUp {
        id: u8,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Way {
    Value,
    Bytes,
    Into(u16),
    Poll,
}

#[allow(clippy::too_many_arguments)]
fn header(
    kind: u16,
    flags: u16,
    here: u16,
    total: u32,
    length: u64,
    id: u64,
    offset: u64,
    place: u32,
) -> Vec<u8> {
    let mut bytes = b"ipcM\x01\0".to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(here.to_le_bytes());
    bytes.extend(total.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend(place.to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    // Full is full: the receiver comes later.
    let _ = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags);
}

/// Receives once; `false` at the end.
fn receive(receiver: &Receiver<(Bytes, Vec<Descriptor>)>, way: Way) -> bool {
    let error = match way {
        Way::Value => receiver.recv().err(),
        Way::Bytes => receiver.recv_bytes().err(),
        Way::Into(len) => receiver.recv_into(&mut vec![0; usize::from(len)]).err(),
        Way::Poll => {
            assert!(receiver.poll(Some(Duration::ZERO)).unwrap(), "the sender is gone");
            return true;
        }
    };
    let Some(error) = error else { return true };
    assert!(!error.to_string().is_empty());
    !error.is_disconnected() || error.to_string().contains("in the middle")
}

fuzz_target!(|input: Input<'_>| {
    let before = open();
    {
        let (sender, receiver) = ipc_core::pipe::<(Bytes, Vec<Descriptor>)>().unwrap();
        if let Some(limit) = input.limit {
            receiver.set_max_message(usize::from(limit));
        }
        let device: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        // Of each message: where its next bytes and descriptors belong.
        let mut begun: HashMap<u8, (u64, u32)> = HashMap::new();
        let packets = input.packets.iter().take(16);
        let count = packets.len();
        for packet in packets {
            let (bytes, descriptors) = match packet {
                RawPacket::Bytes { bytes, descriptors } => (bytes.to_vec(), i32::from(*descriptors)),
                RawPacket::Header { kind, flags, here, total, length, id, offset, place, rest } => {
                    let (kind, flags) = (u16::from(*kind), u16::from(*flags));
                    let header = header(kind, flags, *here, *total, *length, u64::from(*id), *offset, *place);
                    ([&header[..], rest].concat(), i32::from(*here))
                }
                RawPacket::Next { id, length, total, here, off, more, rest } => {
                    let (offset, place) = begun.entry(id % 4).or_default();
                    let wrong = offset.saturating_add_signed(i64::from(*off % 2));
                    let header = header(
                        1 + u16::from(id & 4),
                        1,
                        u16::from(*here),
                        u32::from(*total),
                        u64::from(*length),
                        u64::from(id % 4),
                        wrong,
                        *place,
                    );
                    *offset += rest.len() as u64;
                    *place += u32::from(*here);
                    if *offset == u64::from(*length) {
                        begun.remove(&(id % 4));
                    }
                    ([&header[..], rest].concat(), i32::from(*here) + i32::from(*more % 2))
                }
                RawPacket::Whole { kind, here, rest } => {
                    let here = u16::from(*here);
                    let header =
                        header(1 + u16::from(kind % 2), 0, here, here.into(), rest.len() as u64, 0, 0, 0);
                    ([&header[..], rest].concat(), here.into())
                }
                RawPacket::GiveUp { id } => {
                    begun.remove(&(id % 4));
                    (header(0, 2, 0, 0, 0, u64::from(id % 4), 0, 0), 0)
                }
            };
            let descriptors: Vec<_> = (0..descriptors.clamp(0, 253)).map(|_| device.as_fd()).collect();
            send(sender.as_fd(), &bytes, &descriptors);
        }
        drop(sender);
        // At most one result for each packet, one for what stays unfinished, then the end.
        let (mut results, mut ways) = (0, input.ways.iter());
        loop {
            let way = ways.next().copied().unwrap_or(Way::Bytes);
            if !receive(&receiver, way) {
                break;
            }
            results += usize::from(!matches!(way, Way::Poll));
            assert!(results <= count + 1);
        }
    }
    assert_eq!(open(), before);
});
