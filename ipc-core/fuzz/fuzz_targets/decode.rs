//! Hostile bytes to the decoder of values with descriptors: a value or an error, never a panic, an overflown stack, memory
//! without bound, or a descriptor too many.
//!
//! The first byte says how many descriptors come along.
#![no_main]

use std::collections::{BTreeMap, HashMap, LinkedList};
use std::os::fd::OwnedFd;

use ipc_core::fuzzing::{decode, encode};
use ipc_core::{Bytes, Descriptor};
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
}

/// Elements that take memory and no bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip)]
    _memory: [u64; 4],
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fuzz_target!(|data: &[u8]| {
    let Some((&count, body)) = data.split_first() else { return };
    let before = open();
    let count = usize::from(count % 16);
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let descriptors = (0..count).map(|_| null.try_clone().unwrap()).collect();
    match decode::<Value>(body, descriptors) {
        Ok(value) => {
            // What was received can be sent on, and received again.
            let encoded = encode(&value).unwrap();
            assert!(encoded.descriptors.len() <= count);
            decode::<Value>(&encoded.body, encoded.descriptors).unwrap();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(null);
    assert_eq!(open(), before);
});
