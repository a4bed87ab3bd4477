//! A listener inside a value: its socket, its lock and its rules travel, a key does not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use super::{Address, Authentication, Listener, ListenerBuilder, Lock};
use crate::message::descriptors::{Descriptor, as_descriptor};
use crate::message::fragment::Limits;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename = "Listener")]
struct Wire<D> {
    address: Address,
    socket: D,
    lock: Option<D>,
    authentication: Kind,
    backlog: i32,
    handshake: Duration,
    max_message: u64,
    max_descriptors: u32,
    same_user: bool,
    report_refused: bool,
}

struct Borrowed<'a>(BorrowedFd<'a>);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_descriptor::serialize(&self.0, serializer)
    }
}

/// A secret goes to children only, by itself; a listener may go to anybody.
#[derive(serde::Serialize, serde::Deserialize)]
enum Kind {
    Family,
    Left,
    Off,
}

impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.options.admits.is_some() {
            return Err(ser::Error::custom("a listener with a function that admits clients does not travel"));
        }
        let state = self.state.lock();
        let Some(socket) = &state.socket else {
            return Err(ser::Error::custom(format!("the listener at {} is closed", self.address)));
        };
        let wire = Wire {
            address: self.address.clone(),
            socket: Borrowed((**socket).as_fd()),
            lock: state.lock.as_ref().map(|lock| Borrowed(lock.as_fd())),
            authentication: match self.options.authentication {
                Authentication::Family => Kind::Family,
                Authentication::Key(_) | Authentication::Left => Kind::Left,
                Authentication::Off => Kind::Off,
            },
            backlog: self.options.backlog,
            handshake: self.options.handshake,
            max_message: self.options.limits.bytes as u64,
            max_descriptors: self.options.limits.descriptors as u32,
            same_user: self.options.same_user,
            report_refused: self.options.report_refused,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::<Descriptor>::deserialize(deserializer)?;
        let socket = OwnedFd::from(wire.socket);
        // The one who sent it may be a stranger: a descriptor of another kind would be an error much later, or block.
        let unix = socket_domain(&socket).map_err(de::Error::custom)? == AddressFamily::UNIX;
        if unix != wire.address.is_unix() || !socket_acceptconn(&socket).map_err(de::Error::custom)? {
            return Err(de::Error::custom("the descriptor of a listener is no socket that listens"));
        }
        if !rustix::fs::fcntl_getfl(&socket).map_err(de::Error::custom)?.contains(OFlags::NONBLOCK) {
            return Err(de::Error::custom("the socket of a listener blocks"));
        }
        let options = ListenerBuilder {
            authentication: match wire.authentication {
                Kind::Family => Authentication::Family,
                Kind::Left => Authentication::Left,
                Kind::Off => Authentication::Off,
            },
            backlog: wire.backlog,
            // What was bound is bound.
            mode: None,
            handshake: wire.handshake,
            limits: Limits {
                bytes: usize::try_from(wire.max_message).unwrap_or(usize::MAX),
                descriptors: wire.max_descriptors as usize,
            },
            same_user: wire.same_user,
            admits: None,
            report_refused: wire.report_refused,
        };
        let lock = wire.lock.map(|lock| Lock::Shared(lock.into()));
        Listener::new(socket, wire.address, lock, options).map_err(de::Error::custom)
    }
}
