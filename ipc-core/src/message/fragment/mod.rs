//! Messages of any length as packets on a `SOCK_SEQPACKET` socket: cut on one side, put together on the other.
//!
//! The kernel keeps a packet whole, also when many threads and processes send on one socket. So a message that fits into
//! one packet needs nothing else. A longer one is cut into parts, and every part says of which message it is and where it
//! belongs: the parts of several messages may come mixed, no sender has to keep others out while it sends, and a short
//! message passes a long one by. What is put together where is the [`Assembler`]'s business.
//!
//! The [header] is the same for all packets. The first part of a long message is short: it tells the receiver how long
//! the message is, so that the kernel puts all the rest where it belongs, into the caller's buffer or a new allocation,
//! without a copy in between.

mod assembler;
mod cut;
pub(crate) mod header;
pub(crate) mod owed;
mod scratch;

pub(crate) use assembler::{Assembler, Received};
pub(crate) use cut::{Cutter, Progress, Unsent};
pub(crate) use scratch::Scratch;

use std::ops::Deref;
use std::os::fd::OwnedFd;

use super::Error;

/// The most bytes of a message in one packet.
pub(crate) const LARGEST: usize = 256 * 1024;

/// A message of up to so many bytes goes in one packet.
pub(crate) const WHOLE: usize = 64 * 1024;

/// What one message may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// So many bytes.
    pub(crate) bytes: usize,
    /// So many descriptors.
    pub(crate) descriptors: usize,
}

impl Limits {
    /// What any message of this format has.
    pub(crate) const NONE: Limits = Limits { bytes: usize::MAX, descriptors: header::MAX_DESCRIPTORS };
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Whole {
    /// What its sender says it is.
    pub(crate) kind: u16,
    /// Its bytes.
    pub(crate) body: Body,
    /// Its descriptors, close-on-exec.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Where the bytes of a message are.
#[derive(Debug)]
pub(crate) enum Body {
    /// At the start of the buffer that the caller gave, so many.
    Caller(usize),
    /// In the thread's buffer, which goes back on drop.
    Scratch(Scratch),
    /// In memory of its own.
    Own(Vec<u8>),
}

impl Body {
    /// The bytes as a vector; those in the caller's buffer are not here.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Body::Own(bytes) => bytes,
            other => other.to_vec(),
        }
    }
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Body::Caller(_) => &[],
            Body::Scratch(scratch) => scratch,
            Body::Own(bytes) => bytes,
        }
    }
}

/// Why no message was received; the socket can be used further in every case but the last.
#[derive(Debug)]
pub(crate) enum Refused {
    /// As a packet's: malformed, descriptors lost, a system call.
    Message(Error),
    /// Longer than allowed. Its parts are read away.
    TooLong { length: u64 },
    /// With more descriptors than allowed. Its parts are read away.
    TooManyDescriptors { total: u32 },
    /// There is no memory for so many bytes.
    NoMemory { length: u64 },
    /// The peer ended in the middle of a message.
    Unfinished { arrived: u64, length: u64 },
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Message(error)
    }
}
