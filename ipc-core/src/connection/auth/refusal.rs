//! Why a handshake failed, in words and as the number that the peer is told.

use std::fmt;

use super::VERSION;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer's MAC is not that of our key.
    WrongKey,
    /// The peer says that ours is not that of its key.
    WrongKeyHere,
    /// The peer wants a key, and we have none.
    KeyNeeded,
    /// We want a key, and the peer has none.
    NoKey,
    /// The peer speaks another version.
    Version(u8),
    /// The peer is not a user that the listener takes.
    Credentials,
    /// The peer is gone.
    Closed,
    /// The peer took longer than it may.
    Late,
    /// The peer had to make room for others that wait.
    Crowded,
    /// What the peer sent is no handshake.
    Malformed(&'static str),
    /// The peer refused for a reason that this version does not know.
    Unknown(u8),
    /// A system call failed on this side, with this number.
    Failed(i32),
}

impl Refusal {
    /// The number in REFUSED.
    pub(super) fn number(&self) -> u8 {
        match self {
            Refusal::WrongKey => 1,
            Refusal::NoKey => 2,
            Refusal::KeyNeeded => 3,
            Refusal::Version(_) => 4,
            Refusal::Credentials => 5,
            Refusal::Late => 6,
            Refusal::Crowded => 7,
            _ => 0,
        }
    }

    /// What a peer's refusal means on this side.
    pub(super) fn received(number: u8, version: u8) -> Refusal {
        match number {
            1 => Refusal::WrongKeyHere,
            2 => Refusal::KeyNeeded,
            3 => Refusal::NoKey,
            4 => Refusal::Version(version),
            5 => Refusal::Credentials,
            6 => Refusal::Late,
            7 => Refusal::Crowded,
            other => Refusal::Unknown(other),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::WrongKey => f.write_str("the digest received was wrong: the peer has another key"),
            Refusal::WrongKeyHere => f.write_str("the digest sent was rejected: the peer has another key"),
            Refusal::KeyNeeded => {
                f.write_str("the peer wants authentication, and there is no key on this side")
            }
            Refusal::NoKey => f.write_str("the peer does not authenticate, and this side demands it"),
            Refusal::Version(theirs) => {
                write!(f, "the peer speaks version {theirs} of the protocol, and this side {VERSION}")
            }
            Refusal::Credentials => {
                f.write_str("the listener does not take connections of the client's user")
            }
            Refusal::Closed => f.write_str("the peer closed the connection in the middle of the handshake"),
            Refusal::Late => f.write_str("the handshake did not end in time"),
            Refusal::Crowded => f.write_str("the client was slow while others waited, and had to make room"),
            Refusal::Malformed(what) => write!(f, "what the peer sent is no handshake: {what}"),
            Refusal::Unknown(number) => write!(f, "the peer refused, for reason {number}"),
            Refusal::Failed(number) => write!(f, "{}", std::io::Error::from_raw_os_error(*number)),
        }
    }
}
