//! Conditions: the forms with a deadline, with and without somebody who notifies.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use ipc_shm::Value;
use ipc_sync::Condition;
use ipc_testkit::{GENEROUS, leaks};
use support::spawn;

const SHORT: Duration = Duration::from_millis(20);

/// Counts up and notifies, until it has come to so much.
fn count(value: Value<u32>, condition: Condition, most: u32) {
    for _ in 0..most {
        value.update(|value| *value += 1).unwrap();
        condition.notify_all().unwrap();
    }
}

#[test]
fn deadlines_hold() {
    let _leaks = leaks();
    let (value, condition) = (Value::new(0_u32).unwrap(), Condition::new().unwrap());
    let deadline = Instant::now() + SHORT;
    let (guard, notified) = condition.wait_deadline(value.lock().unwrap(), deadline).unwrap();
    assert!(!notified && Instant::now() >= deadline);
    let (guard, there) = condition.wait_deadline_while(guard, deadline, |value| *value == 0).unwrap();
    assert!(!there);
    let (guard, found) =
        condition.wait_for_deadline(guard, deadline, |value| (**value > 0).then_some(**value)).unwrap();
    assert_eq!(found, None);
    drop(guard);

    let long = Instant::now() + GENEROUS;
    let child = spawn(count, (value.clone(), condition.clone(), 1000)).unwrap();
    let guard = value.lock().unwrap();
    let (guard, there) = condition.wait_deadline_while(guard, long, |value| *value < 500).unwrap();
    assert!(there && *guard >= 500);
    let (guard, found) =
        condition.wait_for_deadline(guard, long, |value| (**value == 1000).then_some("all")).unwrap();
    assert_eq!((*guard, found), (1000, Some("all")));
    drop(guard);
    child.join().unwrap();
}
