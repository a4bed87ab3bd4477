//! Hostile frames from a child to its parent, over a real socket: a value or an error, never a panic, an endless wait, a
//! descriptor too many.
//!
//! Frames of every kind, in any order and number, with bodies that fit and that do not, with descriptors where none belong,
//! raw packets between them, and an end at any point. What the parent does is what spawn with a wish and then join do.
#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arbitrary::Arbitrary;
use ipc_core::fuzzing::{KINDS, encode, failure, packet, received};
use ipc_core::{Bytes, Descriptor, Error, Ran};
use libfuzzer_sys::fuzz_target;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    packets: Vec<Sent<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Sent<'a> {
    Frame {
        kind: Kind,
        body: Body<'a>,
        descriptors: u8,
    },
    /// The beginning of a frame that announces more descriptors than come.
    Begun {
        kind: Kind,
        more: u8,
    },
    Raw(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Known(u8),
    Any(u16),
}

#[derive(Debug, Arbitrary)]
enum Body<'a> {
    Bytes(&'a [u8]),
    /// What the parent waits for; its descriptors come before the superfluous ones.
    Value {
        number: u64,
        text: &'a str,
        handles: u8,
        large: bool,
    },
    Failure {
        which: u8,
        text: &'a str,
        errno: i32,
    },
    /// Of either, with a byte changed.
    Changed {
        which: u8,
        text: &'a str,
        at: u8,
        flips: u8,
    },
}

type Value = (u64, Result<String, Error>, Vec<Descriptor>, Bytes);

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn number(kind: &Kind) -> u16 {
    match kind {
        Kind::Known(at) => KINDS[usize::from(*at) % KINDS.len()],
        Kind::Any(kind) => *kind,
    }
}

/// Whether there was room: the receiver comes later.
fn send_raw(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).is_ok()
}

fn send(socket: &OwnedFd, sent: &Sent<'_>, null: &OwnedFd) {
    match sent {
        Sent::Raw(bytes) => {
            send_raw(socket, bytes, &[]);
        }
        Sent::Begun { kind, more } => {
            let mut bytes = b"ipcF\x01\x00".to_vec();
            bytes.extend(number(kind).to_le_bytes());
            bytes.extend(0_u16.to_le_bytes());
            bytes.extend(1_u16.to_le_bytes());
            bytes.extend((1 + u32::from(*more)).to_le_bytes());
            bytes.extend(0_u64.to_le_bytes());
            send_raw(socket, &bytes, &[null.as_fd()]);
        }
        Sent::Frame { kind, body, descriptors } => {
            let value = |number: u64, text: &str, handles: u8, large: bool| {
                let handles = (0..handles % 4).map(|_| null.try_clone().unwrap().into()).collect();
                let bytes = Bytes::from(vec![7; if large { 300_000 } else { 3 }]);
                let value: Value = (number, Ok(text.into()), handles, bytes);
                encode(&value).unwrap()
            };
            let (mut bytes, mut handles) = match body {
                Body::Bytes(bytes) => (bytes.to_vec(), Vec::new()),
                Body::Value { number, text, handles, large } => {
                    let encoded = value(*number, text, *handles, *large);
                    (encoded.body, encoded.descriptors)
                }
                Body::Failure { which, text, errno } => (failure(*which, text, *errno), Vec::new()),
                Body::Changed { which, text, at, flips } => {
                    let mut bytes = match which % 6 {
                        5 => value(1, text, 0, false).body,
                        _ => failure(*which, text, 2),
                    };
                    let at = usize::from(*at) % bytes.len();
                    bytes[at] ^= flips;
                    (bytes, Vec::new())
                }
            };
            bytes.truncate(400_000);
            handles.extend((0..descriptors % 16).map(|_| null.try_clone().unwrap()));
            let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
            packet::send(socket.as_fd(), number(kind), &[&bytes], &handles).unwrap();
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let before = open();
    {
        let (theirs, ours) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        // Fewer than the socket holds, so that no sender waits.
        for sent in input.packets.iter().take(5) {
            send(&theirs, sent, &null);
        }
        drop(theirs);
        let no_process = null.try_clone().unwrap();
        match received::<Value>(ours, no_process) {
            Ok((_, text, handles, bytes)) => {
                assert!(bytes.iter().all(|byte| *byte == 7) || bytes.len() < 300_000);
                assert!(handles.iter().all(|handle| rustix::fs::fstat(handle.as_fd()).is_ok()));
                drop(text);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                // Who says that nothing ran has it from the child.
                let said =
                    matches!(error, Error::Setup { .. } | Error::NotStarted { .. } | Error::Decode { .. });
                assert!(said || error.ran() != Ran::DidNotRun, "{error}");
            }
        }
    }
    assert_eq!(open(), before);
});
