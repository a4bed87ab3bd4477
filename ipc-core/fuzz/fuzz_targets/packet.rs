//! Hostile packets to the receiver of frames: it ends in frames or errors, never in a panic, an endless wait or a descriptor
//! too many.
//!
//! Bytes at random hardly ever begin with the magic number, so a packet is either raw or a header with fields of the
//! fuzzer's choice, and comes with any number of descriptors: of a device, of memory files that are sealed, half sealed, or
//! not at all.
#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arbitrary::Arbitrary;
use ipc_core::fuzzing::packet::{Begun, MAP_FROM, Received, recv, try_recv};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    packets: Vec<RawPacket<'a>>,
    /// Whether the receiver polls or blocks.
    polls: bool,
}

#[derive(Debug, Arbitrary)]
enum RawPacket<'a> {
    Bytes {
        bytes: &'a [u8],
        descriptors: Descriptors,
    },
    Header {
        kind: u8,
        flags: u8,
        here: u16,
        total: u32,
        length: u64,
        rest: &'a [u8],
        descriptors: Descriptors,
    },
    /// A header that fits what comes with it, so that the fuzzer reaches what lies behind the checks.
    Fitting {
        flags: u8,
        more: u16,
        rest: &'a [u8],
        descriptors: Descriptors,
    },
}

#[derive(Debug, Arbitrary)]
struct Descriptors {
    kinds: Vec<DescriptorKind>,
    /// So many more of the device.
    more: u8,
}

#[derive(Debug, Arbitrary)]
enum DescriptorKind {
    Device,
    File { written: u8, len: u32, seals: u8 },
    Constant { len: u8 },
}

fn file(content: &[u8], len: usize, seals: SealFlags) -> OwnedFd {
    let file = rustix::fs::memfd_create(c"fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&file, content).unwrap();
    rustix::fs::ftruncate(&file, len as u64).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

const CONSTANT: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

impl Descriptors {
    fn open(&self, device: &OwnedFd) -> Vec<OwnedFd> {
        let mut all: Vec<OwnedFd> = self
            .kinds
            .iter()
            .take(20)
            .map(|kind| match kind {
                DescriptorKind::Device => device.try_clone().unwrap(),
                DescriptorKind::File { written, len, seals } => file(
                    &vec![1; usize::from(*written)],
                    *len as usize,
                    SealFlags::from_bits_truncate(u32::from(*seals) & 0xf),
                ),
                DescriptorKind::Constant { len } => {
                    file(&vec![1; usize::from(*len)], usize::from(*len), CONSTANT)
                }
            })
            .collect();
        all.extend((0..self.more).map(|_| device.try_clone().unwrap()));
        all.truncate(253);
        all
    }
}

fn header(kind: u16, flags: u16, here: u16, total: u32, length: u64) -> Vec<u8> {
    let mut bytes = b"ipcF\x01\x00".to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(here.to_le_bytes());
    bytes.extend(total.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    // Full is full: the receiver comes later.
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
    .is_ok()
}

fuzz_target!(|input: Input<'_>| {
    let before = open();
    {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let device: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let mut place = 0u64;
        for packet in input.packets.iter().take(8) {
            let (bytes, descriptors) = match packet {
                RawPacket::Bytes { bytes, descriptors } => (bytes.to_vec(), descriptors.open(&device)),
                RawPacket::Header { kind, flags, here, total, length, rest, descriptors } => {
                    let header = header(u16::from(*kind), u16::from(*flags), *here, *total, *length);
                    ([&header[..], rest].concat(), descriptors.open(&device))
                }
                RawPacket::Fitting { flags, more, rest, descriptors } => {
                    let mut all = descriptors.open(&device);
                    let (header, rest) = match flags % 3 {
                        0 => {
                            place = all.len() as u64;
                            let total = all.len() as u32 + u32::from(*more);
                            (header(1, 0, all.len() as u16, total, rest.len() as u64), *rest)
                        }
                        1 => {
                            place = all.len() as u64;
                            let total = all.len() as u32 + u32::from(*more);
                            // Long ones are mapped, short ones copied.
                            let len = if *flags < 8 { MAP_FROM + rest.len() } else { rest.len() };
                            let mut body = rest.to_vec();
                            body.resize(len, 1);
                            all.insert(0, file(&body, len, CONSTANT));
                            all.truncate(253);
                            (header(1, 1, all.len() as u16 - 1, total, len as u64), &[][..])
                        }
                        _ => {
                            let total = place as u32 + all.len() as u32 + u32::from(*more);
                            let header = header(1, 2, all.len() as u16, total, place);
                            place += all.len() as u64;
                            (header, &[][..])
                        }
                    };
                    ([&header[..], rest].concat(), all)
                }
            };
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            send(&ours, &bytes, &borrowed);
        }
        drop(ours);
        // At most one result for each packet, then the end.
        let (mut results, mut begun) = (0, Begun::default());
        loop {
            let received =
                if input.polls { try_recv(theirs.as_fd(), &mut begun) } else { recv(theirs.as_fd()) };
            match received {
                Ok(Received::Frame(frame)) => {
                    let _: u64 = frame.body.iter().map(|&byte| u64::from(byte)).sum();
                    assert!(frame.descriptors.iter().all(|fd| rustix::fs::fstat(fd).is_ok()));
                }
                Ok(Received::Closed) => break,
                Ok(Received::Empty) => panic!("empty after the end"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            results += 1;
            assert!(results <= 8);
        }
    }
    assert_eq!(open(), before);
});
