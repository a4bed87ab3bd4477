//! Any sequence of waiters and notifications gives what a counter says: as many go on as were notified, and no more.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::scope;

use ipc_core::Packed;
use ipc_shm::{RLock, Value};
use ipc_sync::Condition;
use ipc_testkit::{GENEROUS, wait_until};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// One more waits: with a value's lock, or with a recursive one that it has so often.
    Wait(u32),
    Notify(usize),
    NotifyAll,
    /// With a time that is over: nothing is left behind.
    InVain,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..3_u32).prop_map(Turn::Wait),
        2 => (0..4_usize).prop_map(Turn::Notify),
        1 => Just(Turn::NotifyAll),
        1 => Just(Turn::InVain),
    ]
}

/// How many wait, as it says of itself.
fn waiting(condition: &Condition) -> String {
    format!("{condition:?}")
}

fn walk(turns: &[Turn]) {
    let condition = Condition::new().unwrap();
    let handles: [Condition; 2] = [condition.clone(), Packed::new(&condition).unwrap().open().unwrap()];
    let (value, lock) = (Value::new(0_u32).unwrap(), RLock::new().unwrap());
    let through = AtomicUsize::new(0);
    let mut asleep = 0;
    let mut expected = 0;
    let is_so = |asleep: usize, expected: usize| {
        let said = format!("Condition {{ waiting: {asleep} }}");
        let is_so = wait_until(GENEROUS, || through.load(SeqCst) >= expected && waiting(&condition) == said);
        assert!(is_so && through.load(SeqCst) == expected, "{asleep} {expected}: {condition:?}, {through:?}");
    };
    scope(|scope| {
        for (at, turn) in turns.iter().enumerate() {
            let condition = &handles[at % 2];
            match *turn {
                Turn::Wait(0) => {
                    scope.spawn(|| {
                        let mut guard = condition.wait(value.lock().unwrap()).unwrap();
                        *guard += 1;
                        through.fetch_add(1, SeqCst);
                    });
                    asleep += 1;
                }
                Turn::Wait(depth) => {
                    let (lock, through) = (&lock, &through);
                    scope.spawn(move || {
                        let deep: Vec<_> = (1..depth).map(|_| lock.lock().unwrap()).collect();
                        let guard = condition.wait(lock.lock().unwrap()).unwrap();
                        assert_eq!(lock.depth(), depth);
                        drop((guard, deep));
                        through.fetch_add(1, SeqCst);
                    });
                    asleep += 1;
                }
                Turn::Notify(most) => {
                    let some = most.min(asleep);
                    condition.notify(most).unwrap();
                    (asleep, expected) = (asleep - some, expected + some);
                }
                Turn::NotifyAll => {
                    condition.notify_all().unwrap();
                    (asleep, expected) = (0, expected + asleep);
                }
                Turn::InVain => {
                    let soon = std::time::Instant::now();
                    let (_guard, notified) = condition.wait_deadline(value.lock().unwrap(), soon).unwrap();
                    assert!(!notified);
                }
            }
            is_so(asleep, expected);
        }
        condition.notify_all().unwrap();
        is_so(0, expected + asleep);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against two counters.
    #[test]
    fn a_condition(turns in vec(turn(), 0..25)) {
        walk(&turns);
    }
}
