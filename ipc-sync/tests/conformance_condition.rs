//! CPython's own tests of conditions, under CPython's names: waiters are always mixed, processes and threads.
//!
//! One body over exec, fork server, fork and threads. `xtask/parity.md` says which row of Python's list each of them shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::time::{Duration, Instant};

use ipc_core::{Child, Context};
use ipc_shm::{Atomic, RLock, Value};
use ipc_sync::Condition;
use ipc_testkit::{GENEROUS, leaks, wait_until};
use std::sync::atomic::Ordering::SeqCst;

/// A back end of the tests.
type Start = fn() -> Context;

/// A condition with its lock, how many have come to wait, and how many are through.
type Room = (RLock, Condition, Atomic<u32>, Atomic<u32>);

fn room() -> Room {
    let count = || Atomic::new(0).unwrap();
    (RLock::new().unwrap(), Condition::new().unwrap(), count(), count())
}

/// A waiter's life; whether it was notified.
fn wait((lock, condition, sleeping, woken): Room, timeout: Option<Duration>) -> bool {
    // At a depth of two: all of it is given back meanwhile.
    let _outer = lock.lock().unwrap();
    let guard = lock.lock().unwrap();
    sleeping.fetch_add(1, SeqCst);
    let timeout = timeout.unwrap_or(GENEROUS);
    let (guard, notified) = condition.wait_timeout(guard, timeout).unwrap();
    assert_eq!(lock.depth(), 2);
    woken.fetch_add(1, SeqCst);
    drop(guard);
    notified
}

/// So many waiters in processes, and as many in threads of this one.
fn waiters(start: Start, room: &Room, each: usize, timeout: Option<Duration>) -> Vec<Child<bool>> {
    let of = |context: Context| {
        (0..each).map(move |_| context.spawn(wait, (room.clone(), timeout)).unwrap()).collect::<Vec<_>>()
    };
    of(start()).into_iter().chain(of(Context::threads())).collect()
}

/// All have given the lock back, after they have counted themselves: they wait.
fn all_sleep(room: &Room, number: usize) {
    assert!(wait_until(GENEROUS, || room.2.load(SeqCst) as usize == number));
    drop(room.0.lock().unwrap());
}

fn woken(room: &Room, number: u32) {
    assert!(wait_until(GENEROUS, || room.3.load(SeqCst) >= number), "{:?}", room.1);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(room.3.load(SeqCst), number);
}

/// CPython's `check_invariant`.
fn nobody_waits(room: &Room) {
    assert_eq!(format!("{:?}", room.1), "Condition { waiting: 0 }");
}

mod bodies {
    pub(crate) mod test_condition {
        use crate::*;

        pub(crate) fn notify(start: Start) {
            let room = room();
            let waiters = waiters(start, &room, 1, None);
            all_sleep(&room, 2);
            woken(&room, 0);
            for number in 1..=2 {
                let _guard = room.0.lock().unwrap();
                room.1.notify_one().unwrap();
                drop(_guard);
                woken(&room, number);
            }
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
            nobody_waits(&room);
        }

        pub(crate) fn notify_all(start: Start) {
            let room = room();
            // First all of them time out.
            let early = waiters(start, &room, 3, Some(Duration::from_millis(100)));
            assert!(early.into_iter().all(|waiter| !waiter.join().unwrap()));
            nobody_waits(&room);
            let late = waiters(start, &room, 3, None);
            all_sleep(&room, 12);
            woken(&room, 6);
            room.1.notify_all().unwrap();
            woken(&room, 12);
            assert!(late.into_iter().all(|waiter| waiter.join().unwrap()));
            nobody_waits(&room);
        }

        pub(crate) fn notify_n(start: Start) {
            let room = room();
            let waiters = waiters(start, &room, 3, None);
            all_sleep(&room, 6);
            for (number, through) in [(2, 2), (4, 6), (3, 6)] {
                room.1.notify(number).unwrap();
                woken(&room, through);
            }
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
            nobody_waits(&room);
        }

        pub(crate) fn timeout(_: Start) {
            let (lock, condition, ..) = room();
            let time = Duration::from_millis(100);
            let begin = Instant::now();
            let (_guard, notified) = condition.wait_timeout(lock.lock().unwrap(), time).unwrap();
            assert!(!notified && begin.elapsed() >= time && lock.depth() == 1);
        }

        pub(crate) fn waitfor(start: Start) {
            let (state, condition) = (Value::new(0_i32).unwrap(), Condition::new().unwrap());
            let life = |state: Value<i32>, condition: Condition| {
                *state.lock().unwrap() = 0;
                condition.notify_one().unwrap();
                let guard = condition.wait_while(state.lock().unwrap(), |state| *state != 4).unwrap();
                *guard
            };
            *state.lock().unwrap() = -1;
            let child = start().spawn(life, (state.clone(), condition.clone())).unwrap();
            let there = |guard: &mut ipc_shm::Guard<'_, i32>| (**guard == 0).then_some("there");
            let (guard, found) = condition.wait_for(state.lock().unwrap(), there).unwrap();
            assert_eq!(found, "there");
            drop(guard);
            for _ in 0..4 {
                *state.lock().unwrap() += 1;
                condition.notify_one().unwrap();
            }
            assert_eq!(child.join().unwrap(), 4);
        }

        pub(crate) fn waitfor_timeout(start: Start) {
            let (state, condition) = (Value::new(0_i32).unwrap(), Condition::new().unwrap());
            let life = |state: Value<i32>, condition: Condition| {
                let (begin, time) = (Instant::now(), Duration::from_millis(100));
                let guard = state.lock().unwrap();
                let (guard, there) = condition.wait_timeout_while(guard, time, |state| *state != 4).unwrap();
                !there && *guard == 3 && begin.elapsed() >= time
            };
            let child = start().spawn(life, (state.clone(), condition.clone())).unwrap();
            for _ in 0..3 {
                *state.lock().unwrap() += 1;
                condition.notify_one().unwrap();
            }
            assert!(child.join().unwrap());
        }

        pub(crate) fn wait_result(start: Start) {
            let room = room();
            let (lock, condition, ..) = &room;
            for time in [Duration::ZERO, Duration::from_millis(20)] {
                assert!(!condition.wait_timeout(lock.lock().unwrap(), time).unwrap().1);
            }
            let child = start().spawn(wait, (room.clone(), None)).unwrap();
            all_sleep(&room, 1);
            condition.notify_one().unwrap();
            assert!(child.join().unwrap());
        }
    }
}

/// Copies of this process.
fn fork() -> Context {
    // SAFETY: the bodies' children take no lock that another thread of the parent may have held, but the C library's, which its fork sees to.
    unsafe { Context::fork() }
}

macro_rules! back_end {
    ($back_end:ident = $start:expr; $($class:ident { $($test:ident)* })*) => {
        mod $back_end {
            $(mod $class {
                $(#[test]
                fn $test() {
                    let _leaks = crate::leaks();
                    crate::bodies::$class::$test($start);
                })*
            })*
        }
    };
}

back_end! { exec = ipc_core::Context::exec;
    test_condition { notify notify_all notify_n timeout waitfor waitfor_timeout wait_result }
}
back_end! { fork_server = ipc_core::Context::fork_server;
    test_condition { notify notify_all notify_n timeout waitfor waitfor_timeout wait_result }
}
back_end! { fork = crate::fork;
    test_condition { notify notify_all notify_n timeout waitfor waitfor_timeout wait_result }
}
back_end! { threads = ipc_core::Context::threads;
    test_condition { notify notify_all notify_n timeout waitfor waitfor_timeout wait_result }
}
