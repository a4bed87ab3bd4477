//! Ends inside values.
//!
//! An end travels as the ring's memory, its descriptor, and the number of its seat. There must be one of each: two senders would write over each
//! other, and two loans in one process be slices of the same bytes. So an end that was sent is one no more, unless sending failed; and what was sent makes an end
//! once: who receives it counts its seat on, in shared memory, and what comes with an old number is refused.
//!
//! The end that was sent, dropped, closes nothing but its copy of the descriptor; one that nobody receives is gone like one that died.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::primitive::message::give;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_shm::raw::Shared;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::{End, Role, sent_away};
use super::memory::Memory;
use super::receiver::RingReceiver;
use super::sender::RingSender;
use super::track::RawRing;
use crate::{Error, Result};

#[derive(Serialize)]
struct Leaving<'a> {
    role: u8,
    seat: u32,
    ring: &'a Shared<RawRing>,
    #[serde(with = "ipc_core::as_descriptor")]
    socket: BorrowedFd<'a>,
}

#[derive(Deserialize)]
struct Arriving {
    role: u8,
    seat: u32,
    ring: Shared<RawRing>,
    #[serde(with = "ipc_core::as_descriptor")]
    socket: OwnedFd,
}

fn leave<S: Serializer>(end: &End, serializer: S) -> Result<S::Ok, S::Error> {
    if end.check().is_err() {
        return Err(serde::ser::Error::custom(sent_away()));
    }
    let (role, seat, ring) = (end.role as u8, end.seat, end.memory.shared());
    let done = Leaving { role, seat, ring, socket: end.socket.as_fd() }.serialize(serializer)?;
    give(&end.here);
    Ok(done)
}

impl Arriving {
    fn end(self, role: Role) -> Result<End> {
        let invalid = |why: &str| Err(Error::invalid("an end of a ring", why));
        if self.role != role as u8 {
            return invalid("it is the other end");
        }
        let kind = (socket_domain(&self.socket), socket_type(&self.socket));
        if kind != (Ok(AddressFamily::UNIX), Ok(SocketType::STREAM)) {
            return invalid("its descriptor is no socket of the kind that it should be");
        }
        let seat = self.seat.wrapping_add(1);
        let end = End::new(role, Memory::of(self.ring)?, self.socket.into(), seat);
        if end.post().seat.compare_exchange(self.seat, seat, SeqCst, SeqCst).is_err() {
            return invalid("somebody has received it already");
        }
        Ok(end)
    }
}

impl<T> Serialize for RingSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(&self.end, serializer)
    }
}

impl<T> Serialize for RingReceiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(&self.end, serializer)
    }
}

impl<'de, T> Deserialize<'de> for RingSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RingSender<T>, D::Error> {
        let end = Arriving::deserialize(deserializer)?.end(Role::Sends);
        end.and_then(RingSender::begin).map_err(serde::de::Error::custom)
    }
}

impl<'de, T> Deserialize<'de> for RingReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RingReceiver<T>, D::Error> {
        let end = Arriving::deserialize(deserializer)?.end(Role::Receives);
        end.and_then(RingReceiver::begin).map_err(serde::de::Error::custom)
    }
}

impl<T> RingSender<T> {
    /// Where the ring's words say that the end before this one has come to.
    pub(super) fn begin(end: End) -> Result<RingSender<T>> {
        let side = end.memory.ring().sending(end.memory.lines()).map_err(|fault| end.fault(fault))?;
        Ok(RingSender::of(end, side))
    }
}

impl<T> RingReceiver<T> {
    /// Where the ring's words say that the end before this one has come to.
    pub(super) fn begin(end: End) -> Result<RingReceiver<T>> {
        let side = end.memory.ring().receiving(end.memory.lines()).map_err(|fault| end.fault(fault))?;
        Ok(RingReceiver::of(end, side))
    }
}
