//! Hostile bytes to the decoder of values with descriptors, ends of connections and listeners: a value or an error, never a panic,
//! an overflown stack, memory without bound, or a descriptor too many.
//!
//! The first byte says how many descriptors come along, and which of some kinds is the first; the others follow in turn.
#![no_main]

use std::collections::{BTreeMap, HashMap, LinkedList};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::OnceLock;

use ipc_core::fuzzing::{decode, encode};
use ipc_core::{Block, Bytes, Connection, Descriptor, Listener, Receiver, Sender};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Unit,
    Number(i64),
    Float(f32),
    Wide(u128),
    Letter(char),
    Text(String),
    Block(Bytes),
    Plain(Vec<u8>),
    Handle(Descriptor),
    File(#[serde(with = "ipc_core::as_descriptor")] std::fs::File),
    Handles(Vec<Option<Descriptor>>),
    List(Vec<Value>),
    Chain(LinkedList<Value>),
    Nothings(Vec<()>),
    Skipped(Vec<Skipped>),
    Table(BTreeMap<u16, Value>),
    Hashed(HashMap<String, (Descriptor, Bytes)>),
    Boxed(Box<Value>),
    Pair { left: Box<Value>, right: Option<Box<Value>> },
    Fixed([u16; 5]),
    Time(std::time::Duration),
    NonZero(std::num::NonZeroU32),
    Words(Block<u32>),
    Pairs(#[serde(with = "ipc_core::as_block")] Box<[[u64; 2]]>),
    Sends(Sender<u8>),
    Receives(Receiver<u8>),
    Both(Connection<u8, Descriptor>),
    Listens(Box<Listener>),
}

/// Elements that take memory and no bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip)]
    _memory: [u64; 4],
}

/// One of each kind that some decoder takes for right, and one that none does; they live as long as the process.
fn kinds() -> &'static [OwnedFd] {
    /// The last is the other end of one of them, and no kind of its own.
    static KINDS: OnceLock<[OwnedFd; 6]> = OnceLock::new();
    let [kinds @ .., _peer] = KINDS.get_or_init(|| {
        let (packets, peer) = ipc_core::duplex::<u8, u8>().unwrap();
        let name = SocketAddr::from_abstract_name(format!("ipc-core-fuzz-{}", std::process::id())).unwrap();
        let unix = UnixListener::bind_addr(&name).unwrap();
        unix.set_nonblocking(true).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        [
            std::fs::File::open("/dev/null").unwrap().into(),
            packets.as_fd().try_clone_to_owned().unwrap(),
            stream.into(),
            unix.into(),
            tcp.into(),
            peer.as_fd().try_clone_to_owned().unwrap(),
        ]
    });
    kinds
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let kinds = kinds().iter().cycle().skip(usize::from(first / 16) % kinds().len());
    let before = open();
    let count = usize::from(first % 16);
    let descriptors = kinds.take(count).map(|kind| kind.try_clone().unwrap()).collect();
    match decode::<Value>(body, descriptors) {
        Ok(value) => {
            // What was received can be sent on, and received again.
            let encoded = encode(&value).unwrap();
            assert!(encoded.descriptors.len() <= count);
            decode::<Value>(&encoded.body, encoded.descriptors).unwrap();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(open(), before);
});
