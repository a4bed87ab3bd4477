//! Hostile bytes to the decoder of calls by name, and the call made: a value or an error, never a panic, and nothing called that is not
//! registered.
//!
//! The first byte says how many descriptors come along, and whether the rest is a whole call or arguments for a function that exists.
#![no_main]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use ipc_core::fuzzing::{altered_call, decode, encode};
use ipc_core::registry::Call;
use ipc_core::{Bytes, Descriptor, Error, Packed, Ran};
use libfuzzer_sys::fuzz_target;

fn mixed(table: BTreeMap<String, Vec<Option<u16>>>, block: Bytes) -> usize {
    table.len() + block.len()
}

fn turned(descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    descriptors.into_iter().rev().collect()
}

ipc_core::register!(mixed, 1);
ipc_core::register!(turned, 1);

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let before = open();
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let descriptors: Vec<OwnedFd> = (0..first % 16).map(|_| null.try_clone().unwrap()).collect();
    let call = match first >> 4 {
        0..8 => decode::<Call>(body, descriptors).ok(),
        8..12 => Some(altered_call(Call::of(mixed, &Default::default()).unwrap(), body, descriptors)),
        _ => Some(altered_call(Call::of(turned, &Default::default()).unwrap(), body, descriptors)),
    };
    if let Some(call) = call {
        let known = ["mixed", "turned"].contains(&call.name.as_str()) && call.version == 1;
        let answer = call.answer();
        match &answer {
            Ok(_) => assert!(known),
            Err(error) => {
                assert_eq!(error.ran(), Ran::DidNotRun, "{error}");
                assert_eq!(matches!(error, Error::NotRegistered { .. }), !known, "{error}");
            }
        }
        let back = encode(&answer).unwrap();
        drop(answer);
        let _: ipc_core::Result<Packed> = decode(&back.body, back.descriptors).unwrap();
    }
    drop(null);
    assert_eq!(open(), before);
});
