//! Ends inside values.
//!
//! An end travels as its descriptor and the little that is known of it. The one that is received is another end on the same
//! socket; the one that was sent is silent from then on, unless sending failed: dropping it closes a descriptor and ends nothing. An end in memory
//! belongs to its process, and one that is in the middle of a message knows what no descriptor carries: both are refused.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};

use super::channel::{Link, ReceiveHalf, SendHalf};
use super::{Connection, Receiver, Sender, receiver, sender};
use crate::message::descriptors::give;
use crate::message::fragment::Limits;
use crate::sys::socket::look_at_the_start;

/// An end as it is sent.
#[derive(serde::Serialize)]
struct Leaving<'a> {
    carrier: u8,
    /// Whether the direction ends with it.
    ends: bool,
    /// What the longest message has that it receives: bytes, and descriptors.
    limit: u64,
    descriptors: u32,
    #[serde(with = "crate::message::descriptors::as_descriptor")]
    socket: BorrowedFd<'a>,
}

/// An end as it is received.
#[derive(serde::Deserialize)]
struct Arriving {
    carrier: u8,
    ends: bool,
    limit: u64,
    descriptors: u32,
    #[serde(with = "crate::message::descriptors::as_descriptor")]
    socket: OwnedFd,
}

const PACKETS: u8 = 1;
const STREAM: u8 = 2;

impl<'a> Leaving<'a> {
    fn of(link: &'a Link, ends: bool, limits: Limits) -> Leaving<'a> {
        let carrier = match link {
            Link::Packets(_) => PACKETS,
            Link::Stream(_) => STREAM,
        };
        let (limit, descriptors) = (limits.bytes as u64, limits.descriptors as u32);
        Leaving { carrier, ends, limit, descriptors, socket: link.as_fd() }
    }
}

impl Arriving {
    fn link(self) -> Result<(Arc<Link>, bool, Limits), String> {
        // The one who sent it may be a stranger: a descriptor of another kind would be an error much later, or block.
        let is = |right: fn(&OwnedFd) -> rustix::io::Result<bool>| match right(&self.socket) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the descriptor of an end is a socket of another kind".to_owned()),
            Err(error) => Err(format!("the descriptor of an end: {error}")),
        };
        let link = match self.carrier {
            PACKETS => {
                is(|socket| {
                    Ok(socket_domain(socket)? == AddressFamily::UNIX
                        && socket_type(socket)? == SocketType::SEQPACKET)
                })?;
                look_at_the_start(self.socket.as_fd()).map_err(|error| format!("an end: {error}"))?;
                Link::Packets(self.socket.into())
            }
            STREAM => {
                is(|socket| Ok(socket_type(socket)? == SocketType::STREAM))?;
                Link::Stream(self.socket.into())
            }
            other => return Err(format!("an end over something unknown, {other}")),
        };
        let bytes = usize::try_from(self.limit).unwrap_or(usize::MAX);
        Ok((Arc::new(link), self.ends, Limits { bytes, descriptors: self.descriptors as usize }))
    }
}

const IN_MEMORY: &str = "an end of a pipe that `Context::threads` made is in this process's memory and cannot be sent to another; \
                         `ipc_core::pipe` makes one that can";

const AMID_MESSAGE: &str =
    "a receiver that is in the middle of a message cannot be sent to another process; receive it first";

fn leaving_receiver<T, C>(receiver: &Receiver<T, C>) -> Result<&ReceiveHalf, &'static str> {
    match &receiver.way {
        receiver::Way::Memory(..) => Err(IN_MEMORY),
        receiver::Way::Socket(half) if half.link.is_amid_frame() => Err(AMID_MESSAGE),
        receiver::Way::Socket(half) => Ok(half),
    }
}

impl<T, C> Serialize for Sender<T, C> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let sender::Way::Socket(half) = &self.way else { return Err(Z::Error::custom(IN_MEMORY)) };
        let ends = half.ends();
        let done =
            Leaving::of(&half.link, ends, Limits { bytes: 0, descriptors: 0 }).serialize(serializer)?;
        give(&half.ends);
        Ok(done)
    }
}

impl<'de, T, C> Deserialize<'de> for Sender<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (link, ends, _) =
            Arriving::deserialize(deserializer)?.link().map_err(serde::de::Error::custom)?;
        Ok(Sender::over(SendHalf::new(link, ends)))
    }
}

impl<T, C> Serialize for Receiver<T, C> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let half = leaving_receiver(self).map_err(Z::Error::custom)?;
        let done = Leaving::of(&half.link, half.ends(), half.limits()).serialize(serializer)?;
        give(&half.ends);
        Ok(done)
    }
}

impl<'de, T, C> Deserialize<'de> for Receiver<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (link, ends, limits) =
            Arriving::deserialize(deserializer)?.link().map_err(serde::de::Error::custom)?;
        Ok(Receiver::over(ReceiveHalf::new(link, ends, limits)))
    }
}

impl<S, R, C> Serialize for Connection<S, R, C> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let half = leaving_receiver(&self.receiver).map_err(Z::Error::custom)?;
        Leaving::of(&half.link, false, half.limits()).serialize(serializer)
    }
}

impl<'de, S, R, C> Deserialize<'de> for Connection<S, R, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (link, _, limits) =
            Arriving::deserialize(deserializer)?.link().map_err(serde::de::Error::custom)?;
        Ok(Connection::over(link, limits))
    }
}
