//! Conditions: the forms with a deadline, with and without somebody who notifies; futures.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use ipc_shm::{RLock, Value};
use ipc_sync::Condition;
use ipc_testkit::{GENEROUS, leaks, wait_until};
use support::{block_on, spawn};

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

/// Futures and sleepers wait at the same condition, and as many go on as are notified.
#[test]
fn futures_wait_beside_sleepers() {
    let _leaks = leaks().allow(0, 8, 0);
    let (value, condition) = (Value::new(0_u32).unwrap(), Condition::new().unwrap());
    let sleep = |value: Value<u32>, condition: Condition| {
        let _guard = condition.wait_while(value.lock().unwrap(), |value| *value == 0).unwrap();
    };
    let awaits = |value: Value<u32>, condition: Condition| {
        let future = condition.wait_while_async(value.lock().unwrap(), |value| *value == 0);
        let guard = block_on(future).unwrap();
        assert_eq!(*guard, 1);
    };
    let mut children = Vec::new();
    for _ in 0..2 {
        children.push(spawn(sleep, (value.clone(), condition.clone())).unwrap());
        children.push(spawn(awaits, (value.clone(), condition.clone())).unwrap());
    }
    let waiting = |number: usize| {
        let said = format!("Condition {{ waiting: {number} }}");
        assert!(wait_until(GENEROUS, || format!("{condition:?}") == said), "{condition:?}");
    };
    waiting(4);
    *value.lock().unwrap() = 1;
    condition.notify(3).unwrap();
    waiting(1);
    condition.notify_one().unwrap();
    children.into_iter().for_each(|child| child.join().unwrap());
    waiting(0);

    // A recursive lock is had as often as before; one that is dropped leaves nothing behind, and the lock free.
    let lock = RLock::new().unwrap();
    let outer = lock.lock().unwrap();
    let notifies = |lock: RLock, condition: Condition| {
        let _guard = lock.lock().unwrap();
        condition.notify_one().unwrap();
    };
    let mut future = Box::pin(condition.wait_async(lock.lock().unwrap()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(lock.depth(), 0);
    let child = spawn(notifies, (lock.clone(), condition.clone())).unwrap();
    let inner = block_on(future).unwrap();
    assert_eq!(lock.depth(), 2);
    child.join().unwrap();
    let mut dropped = Box::pin(condition.wait_async(inner));
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    waiting(1);
    drop(dropped);
    waiting(0);
    drop(outer);
    assert!(!lock.is_locked());
}

/// What a future was given and is dropped with goes to another who waits.
#[test]
fn a_dropped_future_hands_its_notification_on() {
    let _leaks = leaks().allow(0, 8, 0);
    let (value, condition) = (Value::new(()).unwrap(), Condition::new().unwrap());
    let mut future = Box::pin(condition.wait_async(value.lock().unwrap()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| drop(condition.wait(value.lock().unwrap()).unwrap()));
        assert!(wait_until(GENEROUS, || format!("{condition:?}").contains("waiting: 2")));
        // With the lock, so that the sleeper cannot take it before.
        let guard = value.lock().unwrap();
        condition.notify_one().unwrap();
        drop(future);
        drop(guard);
        sleeper.join().unwrap();
    });
    assert!(format!("{condition:?}").contains("waiting: 0"));
}
