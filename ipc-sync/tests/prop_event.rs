//! Any sequence of operations on an event gives what a flag does, whatever handle they are done on; and its descriptor says the same.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ipc_core::Packed;
use ipc_sync::Event;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Turn {
    Set,
    Clear,
    Look,
    Wait,
    Poll,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![Just(Turn::Set), Just(Turn::Clear), Just(Turn::Look), Just(Turn::Wait), Just(Turn::Poll)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events(turns in vec(turn(), 0..40)) {
        let first = Event::new().unwrap();
        let handles = [first.clone(), Packed::new(&first).unwrap().open().unwrap()];
        let mut flag = false;
        for (at, turn) in turns.into_iter().enumerate() {
            let ours: &Event = &handles[at % 2];
            match turn {
                Turn::Set => prop_assert_eq!(ours.set(), !std::mem::replace(&mut flag, true)),
                Turn::Clear => prop_assert_eq!(ours.clear(), std::mem::replace(&mut flag, false)),
                Turn::Look => prop_assert_eq!(ours.is_set(), flag),
                Turn::Wait => prop_assert_eq!(ours.wait_timeout(Duration::from_micros(20)), flag),
                Turn::Poll => {
                    let pollable = ours.pollable().unwrap();
                    let ready = ipc_core::wait(&[&pollable], Some(Duration::ZERO)).unwrap();
                    prop_assert_eq!((pollable.is_set(), ready.len()), (flag, usize::from(flag)));
                }
            }
        }
    }
}
