//! What is set once: by one of many, whoever dies of making it, and read by all.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context as Waking, Waker};
use std::time::{Duration, Instant};

use ipc_core::{Context, Signal};
use ipc_shm::{Arena, Atomic, Segment};
use ipc_sync::{Error, Event, OnceLock};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::{block_on, spawn};

/// More than one word, so that a half would be seen.
type Wide = [u64; 32];

/// Whether a process sleeps on a word.
fn sleeps(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("futex"))
}

#[test]
fn one_of_many_makes_it() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    for context in [Context::exec(), Context::fork_server()] {
        for once in [OnceLock::<Wide>::new().unwrap(), OnceLock::new_with(&arena).unwrap()] {
            assert_eq!((once.get(), once.wait_timeout(Duration::ZERO)), (None, None));
            let (go, made) = (Event::new().unwrap(), Atomic::new(0_u32).unwrap());
            let life = |once: OnceLock<Wide>, go: Event, made: Atomic<u32>, me: u64| {
                go.wait();
                let value = once.get_or_init(|| {
                    made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    [me; 32]
                });
                *value.unwrap()
            };
            let start = |me| context.spawn(life, (once.clone(), go.clone(), made.clone(), me)).unwrap();
            let children: Vec<_> = (1..5).map(start).collect();
            go.set();
            let value = *once.wait();
            children.into_iter().for_each(|child| assert_eq!(child.join().unwrap(), value));
            assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 1);
            assert!(value[0] != 0 && value == [value[0]; 32]);
            assert_eq!(once.set([9; 32]).unwrap(), Err([9; 32]));
            assert_eq!(once.get(), Some(&value));
        }
    }
}

#[test]
fn who_makes_it_and_dies_leaves_it_to_the_next() {
    let _leaks = leaks();
    for context in [Context::exec(), Context::fork_server()] {
        let (once, at_it) = (OnceLock::<u64>::new().unwrap(), Event::new().unwrap());
        let dies = |once: OnceLock<u64>, at_it: Event| {
            let make = || {
                at_it.set();
                loop {
                    std::thread::park();
                }
            };
            once.get_or_init(make).map(drop)
        };
        let victim = context.spawn(dies, (once.clone(), at_it.clone())).unwrap();
        at_it.wait();
        let next = context.spawn(|once: OnceLock<u64>| once.get_or_init(|| 2).copied(), (once.clone(),));
        let next = next.unwrap();
        assert!(wait_until(GENEROUS, || sleeps(next.pid())), "it does not wait for who is at it");
        assert_eq!(once.get(), None);
        victim.kill().unwrap();
        assert_eq!(victim.join().err().unwrap().signal(), Some(Signal::KILL));
        assert_eq!(next.join().unwrap().unwrap(), 2);
        assert_eq!(once.wait_timeout(GENEROUS), Some(&2));
    }
}

#[test]
fn a_panic_leaves_it_unset() {
    let _leaks = leaks();
    let once = OnceLock::<u32>::new().unwrap();
    let panics = || once.get_or_init(|| panic!("of who makes it")).map(drop);
    std::thread::scope(|scope| scope.spawn(panics).join().unwrap_err());
    assert_eq!((once.get(), format!("{once:?}")), (None, "OnceLock(<uninit>)".to_owned()));
    assert_eq!(*once.get_or_init(|| 5).unwrap(), 5);
    assert_eq!(format!("{once:?}"), "OnceLock(5)");
}

/// It had the value written by the copy, or the lock freed by it, and two who made the value.
#[test]
fn a_copy_forked_while_it_is_made_sets_nothing() {
    let _leaks = leaks();
    for returns in [true, false] {
        let once = OnceLock::<u64>::new().unwrap();
        let (mut is_copy, mut other) = (false, None);
        let make = || {
            // SAFETY: the copy looks at the value, and leaves by `_exit`.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                is_copy = true;
                return if returns { 7 } else { resume_unwind(Box::new(())) };
            }
            let mut status = -1;
            // SAFETY: waits for the child made above; the status is a local.
            assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
            assert_eq!(status, 0, "the copy was not told, or has set it");
            let next = spawn(|once: OnceLock<u64>| once.set(2).unwrap().is_ok(), (once.clone(),)).unwrap();
            assert!(wait_until(GENEROUS, || sleeps(next.pid())), "the copy has freed the lock");
            other = Some(next);
            1
        };
        let end = catch_unwind(AssertUnwindSafe(|| once.get_or_init(make)));
        if is_copy {
            let told = if returns { matches!(end, Ok(Err(Error::Memory(_)))) } else { end.is_err() };
            // SAFETY: ends the copy, and nothing else.
            unsafe { libc::_exit(i32::from(!told || once.get().is_some())) };
        }
        assert_eq!(end.unwrap().unwrap(), &1);
        assert!(!other.unwrap().join().unwrap());
        assert_eq!(once.get(), Some(&1));
    }
}

#[test]
fn who_asks_while_it_makes_it_is_told() {
    let _leaks = leaks();
    let once = OnceLock::<u32>::new().unwrap();
    let mut inner = None;
    let value = *once
        .get_or_init(|| {
            inner = Some(once.get_or_init(|| 1).copied());
            2
        })
        .unwrap();
    assert!(matches!(inner, Some(Err(Error::Memory(ipc_shm::Error::AlreadyHeld)))), "{inner:?}");
    assert_eq!((value, once.get()), (2, Some(&2)));
}

#[test]
fn waits_and_futures_get_the_value() {
    // A helper thread keeps its descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    for context in [Context::exec(), Context::fork_server()] {
        let once = OnceLock::<Wide>::new().unwrap();
        let wait = |once: OnceLock<Wide>| *once.wait();
        let sleeper = context.spawn(wait, (once.clone(),)).unwrap();
        let awaits = |once: OnceLock<Wide>| block_on(once.wait_async()).copied();
        let awaiting = context.spawn(awaits, (once.clone(),)).unwrap();
        let mut dropped = Box::pin(once.wait_async());
        assert!(dropped.as_mut().poll(&mut Waking::from_waker(Waker::noop())).is_pending());
        drop(dropped);
        assert_eq!(once.wait_deadline(Instant::now() + Duration::from_millis(20)), None);
        std::thread::scope(|scope| {
            let mine = scope.spawn(|| *block_on(once.wait_async()).unwrap());
            assert!(once.set([3; 32]).unwrap().is_ok());
            assert_eq!(mine.join().unwrap(), [3; 32]);
        });
        assert_eq!(sleeper.join().unwrap(), [3; 32]);
        assert_eq!(awaiting.join().unwrap().unwrap(), [3; 32]);
    }
}

#[test]
fn another_type_is_refused() {
    let _leaks = leaks();
    let once = OnceLock::<u64>::new().unwrap();
    once.set(1).unwrap().unwrap();
    let segment: Segment = once.segment().clone();
    assert!(OnceLock::<i64>::try_from(segment.clone()).is_err());
    assert!(OnceLock::<[u64; 2]>::try_from(segment.clone()).is_err());
    assert_eq!(OnceLock::<u64>::try_from(segment).unwrap().get(), Some(&1));
    let child = spawn(|once: OnceLock<u64>| once.get().copied(), (once,)).unwrap();
    assert_eq!(child.join().unwrap(), Some(1));
}
