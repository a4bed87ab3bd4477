//! Frames over a Unix socket of packets: [`fragment`](crate::message::fragment) with the crate's errors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel::Kind;
use super::turn::Turn;
use crate::error::{Error, Result};
use crate::message;
use crate::message::fragment::{Assembler, Cutter, Limits, Progress, Received, Refused, Unsent, Whole};
use crate::poll::Until;

/// A connected `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub(crate) struct Packets {
    socket: OwnedFd,
    cutter: Cutter,
    assembler: Turn<Assembler>,
}

impl From<OwnedFd> for Packets {
    fn from(socket: OwnedFd) -> Packets {
        Packets { socket, cutter: Cutter::default(), assembler: Turn::new(Assembler::default()) }
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Packets {
    pub(crate) fn send(&self, kind: Kind, body: &[u8], descriptors: &[OwnedFd], until: Until) -> Result<()> {
        self.cutter
            .send(self.socket.as_fd(), kind.to_wire(), body, descriptors, until)
            .map_err(|unsent| not_sent(kind, descriptors.len(), unsent))
    }

    /// Sends as much as there is room for; `TimedOut` where there is more, which the next call goes on with.
    pub(crate) fn send_some(
        &self,
        kind: Kind,
        body: &[u8],
        descriptors: &[OwnedFd],
        progress: &mut Progress,
    ) -> Result<()> {
        self.cutter
            .go_on(self.socket.as_fd(), kind.to_wire(), body, descriptors, progress, Until::Now)
            .map_err(|unsent| not_sent(kind, descriptors.len(), unsent))
    }

    /// Gives a message up that was sent in part.
    pub(crate) fn abandon(&self, progress: &Progress) {
        self.cutter.abandon(self.socket.as_fd(), progress);
    }

    pub(crate) fn receive(
        &self,
        into: Option<&mut [u8]>,
        limits: Limits,
        until: Until,
    ) -> Result<Option<Whole>> {
        let Some(mut assembler) = self.assembler.take(until) else { return Ok(None) };
        match assembler.receive(self.socket.as_fd(), into, limits, until) {
            Ok(Received::Message(whole)) => Ok(Some(whole)),
            Ok(Received::Nothing) => Ok(None),
            Ok(Received::Closed) => Err(closed()),
            Err(refused) => Err(not_received(refused, limits)),
        }
    }

    pub(crate) fn poll(&self, limits: Limits, until: Until) -> Result<bool> {
        let Some(mut assembler) = self.assembler.take(until) else { return Ok(false) };
        assembler
            .poll(self.socket.as_fd(), limits, until)
            .map_err(|error| not_received(Refused::Message(error), limits))
    }

    pub(crate) fn is_amid_frame(&self) -> bool {
        // Somebody who is receiving may be in the middle of one.
        self.assembler.take(Until::Now).is_none_or(|assembler| assembler.has_unfinished())
    }
}

fn not_sent(kind: Kind, descriptors: usize, unsent: Unsent) -> Error {
    let what = match kind {
        Kind::Value => "send a value",
        Kind::Bytes => "send bytes",
    };
    match unsent {
        Unsent::TimedOut => Error::TimedOut { what: what.into() },
        Unsent::Disconnected => {
            Error::Disconnected { how: format!("could not {what}: the peer has closed its end or died") }
        }
        Unsent::TooManyDescriptors => Error::Invalid {
            what: "a value".into(),
            why: format!("it has {descriptors} descriptors, more than one message can carry"),
        },
        Unsent::Os(call, error) => Error::os(format!("could not {what}: {call}"), error),
    }
}

/// How the end reads where it comes between two messages.
pub(crate) const CLOSED: &str = "could not receive: the peer has closed its end or died";

/// The end, where a message was expected.
pub(crate) fn closed() -> Error {
    Error::Disconnected { how: CLOSED.into() }
}

fn not_received(refused: Refused, limits: Limits) -> Error {
    match refused {
        Refused::TooLong { length } => Error::TooLong { length, limit: limits.bytes },
        Refused::TooManyDescriptors { total } => Error::decode(
            "a message",
            format!(
                "it has {total} descriptors, and at most {} are taken here (see `ListenerBuilder::max_descriptors`)",
                limits.descriptors
            ),
        ),
        Refused::NoMemory { length } => Error::os(
            format!("could not receive a message of {length} bytes: no memory for it"),
            rustix::io::Errno::NOMEM,
        ),
        Refused::Unfinished { arrived, length } => Error::Disconnected {
            how: format!(
                "could not receive: the peer has closed its end or died in the middle of a message, after {arrived} of \
                 {length} bytes"
            ),
        },
        Refused::Message(message::Error::Os { operation, source }) => {
            Error::os(format!("could not {operation}"), source)
        }
        Refused::Message(message::Error::Malformed(what)) => Error::protocol(what),
        Refused::Message(other) => Error::decode("a message", other),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    /// No process has so many open, so they are one many times.
    #[test]
    fn more_descriptors_than_one_message_can_carry() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = theirs.as_raw_fd();
        let many = |count| {
            // SAFETY: `theirs` lives as long, and none of these is ever dropped: they only lend its number.
            ManuallyDrop::new((0..count).map(|_| unsafe { OwnedFd::from_raw_fd(number) }).collect::<Vec<_>>())
        };
        let packets = Packets::from(OwnedFd::from(ours));
        let error = packets.send(Kind::Value, b"", &many((1 << 16) + 1), Until::Now).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("65537 descriptors, more than one message can carry"), "{error}");
        let mut progress = Progress::default();
        let error = packets.send_some(Kind::Value, b"", &many((1 << 16) + 1), &mut progress).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        // Nothing was sent.
        assert!(!crate::poll::is_ready(theirs.as_fd()).unwrap());
    }
}
