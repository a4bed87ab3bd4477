//! Properties of calls by name: any call ends in what the function gives or in an error that says why not, and a call is
//! the same after it has travelled.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ipc_core::fuzzing::{decode, encode};
use ipc_core::registry::{self, Call};
use ipc_core::{Bytes, Descriptor, Error, Packed, Ran};
use proptest::collection::vec;
use proptest::prelude::*;

fn concat(parts: Vec<String>, times: u8) -> String {
    parts.concat().repeat(times.into())
}

fn reversed(bytes: Bytes) -> Bytes {
    bytes.iter().rev().copied().collect()
}

/// The same name, other types.
fn reversed_text(text: String) -> String {
    text.chars().rev().collect()
}

fn odd(number: u64) -> u64 {
    assert!(number % 2 == 1, "{number} is even");
    number
}

fn turned(descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    descriptors.into_iter().rev().collect()
}

ipc_core::register!(concat, 1);
ipc_core::register!(reversed, 1);
ipc_core::register!("reversed", reversed_text, 2);
ipc_core::register!(odd, u32::MAX);
ipc_core::register!(turned, 0);

/// To another process and back, as far as bytes and descriptors are concerned.
fn answered(call: Call) -> ipc_core::Result<Packed> {
    let there = encode(&call).unwrap();
    drop(call);
    let call: Call = decode(&there.body, there.descriptors).unwrap();
    let back = encode(&call.answer()).unwrap();
    decode(&back.body, back.descriptors).unwrap()
}

proptest! {
    #[test]
    fn a_call_gives_what_the_function_gives(parts in vec(".{0,9}", 0..9), times in 0..9_u8, bytes in vec(any::<u8>(), 0..999)) {
        let args = (parts, times);
        let answer: String = answered(Call::of(concat, &args).unwrap()).unwrap().open().unwrap();
        prop_assert_eq!(answer, concat(args.0, args.1));
        let bytes = Bytes::from(bytes);
        let answer: Bytes = answered(Call::of(reversed, &(bytes.clone(),)).unwrap()).unwrap().open().unwrap();
        prop_assert_eq!(answer, reversed(bytes));
    }

    /// Against a table of what there is.
    #[test]
    fn any_name_and_version_and_types(name in "(reversed|odd|turned|concat)?.?", version in prop_oneof![0..4_u32, Just(u32::MAX)], as_text: bool) {
        let there = BTreeMap::from([
            (("concat", 1), None),
            (("reversed", 1), Some(false)),
            (("reversed", 2), Some(true)),
            (("odd", u32::MAX), None),
            (("turned", 0), None),
        ]);
        let call = if as_text {
            Call::named::<(String,), String>(&name, version, &("abc".into(),))
        } else {
            Call::named::<(Bytes,), Bytes>(&name, version, &("abc".into(),))
        };
        match (there.get(&(name.as_str(), version)), answered(call.unwrap())) {
            (Some(Some(text)), Ok(answer)) => {
                prop_assert_eq!(*text, as_text);
                prop_assert_eq!(answer.open::<Bytes>().unwrap(), Bytes::from("cba"));
            }
            (Some(types), Err(error)) => {
                prop_assert!(*types != Some(as_text));
                prop_assert!(matches!(error, Error::Decode { ran: Ran::DidNotRun, .. }), "{}", error);
            }
            (None, Err(Error::NotRegistered { versions, .. })) => {
                let known: Vec<u32> = there.keys().filter(|(known, _)| *known == name).map(|(_, version)| *version).collect();
                prop_assert_eq!(versions, known);
            }
            (expected, got) => prop_assert!(false, "{:?}, and got {:?}", expected, got),
        }
    }

    #[test]
    fn a_panic_says_that_it_ran(number: u64) {
        match answered(Call::of(odd, &(number,)).unwrap()) {
            Ok(answer) => prop_assert_eq!(answer.open::<u64>().unwrap() % 2, 1),
            Err(error) => {
                prop_assert_eq!((error.ran(), number % 2), (Ran::Ran, 0));
                prop_assert_eq!(&error.panic().unwrap().message, &format!("{number} is even"));
            }
        }
    }

    #[test]
    fn descriptors_go_and_come_back_in_order(count in 0..40_usize) {
        let inode = |fd: &Descriptor| rustix::fs::fstat(fd).unwrap().st_ino;
        let file = || rustix::fs::memfd_create("registry", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let sent: Vec<Descriptor> = (0..count).map(|_| file().into()).collect();
        let inodes: Vec<u64> = sent.iter().map(inode).collect();
        let call = Call::of(turned, &(sent,)).unwrap();
        let back: Vec<Descriptor> = answered(call).unwrap().open().unwrap();
        prop_assert!(back.iter().rev().map(inode).eq(inodes));
    }
}

#[test]
fn the_newest_name_of_each() {
    assert_eq!(registry::name_of(reversed_text).unwrap().version(), 2);
    assert_eq!(registry::all().unwrap().len(), 5);
}
