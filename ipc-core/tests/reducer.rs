//! Another way to travel than a type's own: what Python's reducers are for.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::thread::ThreadId;

use ipc_core::Context;
use ipc_testkit::leaks;
use serde::{Deserialize, Serialize};

/// A type of somebody else, which cannot travel.
#[derive(Debug, PartialEq)]
struct Foreign(Vec<u8>);

/// Its reducer: what it is reduced to, and how it is made again.
mod reduced {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(value: &Foreign, to: S) -> Result<S::Ok, S::Error> {
        (value.0.len(), value.0.first()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Foreign, D::Error> {
        let (length, first) = <(usize, Option<u8>)>::deserialize(from)?;
        Ok(Foreign(vec![first.unwrap_or(0); length.min(1000)]))
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Holds {
    #[serde(with = "reduced")]
    foreign: Foreign,
    /// What is of this process alone is left out.
    #[serde(skip)]
    thread: Option<ThreadId>,
}

#[derive(Serialize, Deserialize)]
struct Socket(#[serde(with = "ipc_core::as_descriptor")] UdpSocket);

#[test]
fn a_type_of_somebody_else_travels_as_its_user_says() {
    let _leaks = leaks();
    let context = Context::exec();
    let holds = Holds { foreign: Foreign(vec![7; 3]), thread: Some(std::thread::current().id()) };
    let back = context.spawn(|holds: Holds| holds, (holds,)).unwrap().join().unwrap();
    assert_eq!(back, Holds { foreign: Foreign(vec![7; 3]), thread: None });
    // A type of std's by its descriptor.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let there = context.spawn(|socket: Socket| socket.0.local_addr().unwrap(), (Socket(socket),)).unwrap();
    assert_eq!(there.join().unwrap(), address);
}
