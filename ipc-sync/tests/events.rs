//! Events: whom a `set` wakes, also one that is cleared at once, also one in a signal handler; futures, descriptors, travelling.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::{Context as Waking, Waker};
use std::time::{Duration, Instant};

use ipc_core::{Child, Context};
use ipc_shm::{Arena, Atomic};
use ipc_sync::{Error, Event};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::{block_on, spawn};

/// Start methods that make processes afresh.
fn contexts() -> [Context; 2] {
    [Context::exec(), Context::fork_server()]
}

fn sleeps(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("futex"))
}

fn all_sleep<R: ipc_core::Message>(children: &[Child<R>]) {
    assert!(wait_until(GENEROUS, || children.iter().all(|child| sleeps(child.pid()))));
}

/// CPython's gh-95826, without luck: who slept when it was set gets through, though it is cleared before anybody has run.
#[test]
fn set_and_cleared_at_once_wakes_all_who_wait() {
    let _leaks = leaks();
    for context in contexts() {
        let event = Event::new().unwrap();
        let wait = |event: Event| event.wait_timeout(GENEROUS);
        let children: Vec<_> = (0..4).map(|_| context.spawn(wait, (event.clone(),)).unwrap()).collect();
        all_sleep(&children);
        assert!(event.set() && event.clear());
        assert!(!event.is_set());
        children.into_iter().for_each(|child| assert!(child.join().unwrap()));
        assert!(!event.wait_timeout(Duration::from_millis(1)), "it is not remembered");
    }
}

#[test]
fn what_set_and_clear_say() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    for event in [Event::new().unwrap(), Event::new_with(&arena).unwrap()] {
        assert!(!event.is_set() && !event.clear() && event.set() && !event.set() && event.is_set());
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO) && event.wait_deadline(Instant::now()));
        assert!(event.clear() && !event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO) && !event.wait_deadline(Instant::now()));
        assert_eq!(format!("{event:?}"), "Event { set: false }");
    }
}

/// What the handler sets, and how often it ran.
static HANDLED: OnceLock<Event> = OnceLock::new();
static RUNS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handler(_signal: libc::c_int) {
    let event = HANDLED.get().unwrap();
    event.set();
    assert!(event.is_set());
    RUNS.fetch_add(1, SeqCst);
}

fn handle(event: &Event) {
    HANDLED.set(event.clone()).unwrap();
    // SAFETY: the handler does what may be done in one: that is what is tested.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
}

/// The handler runs on the thread that waits for the event which it sets.
#[test]
fn a_handler_sets_what_the_interrupted_wait_waits_for() {
    let _leaks = leaks();
    for context in contexts() {
        let event = Event::new().unwrap();
        let life = |event: Event| {
            handle(&event);
            event.wait_timeout(GENEROUS) && RUNS.load(SeqCst) == 1
        };
        let child = context.spawn(life, (event.clone(),)).unwrap();
        all_sleep(std::slice::from_ref(&child));
        child.signal(ipc_core::Signal::USR1).unwrap();
        assert!(child.join().unwrap());
    }
}

/// The handler interrupts other operations at gates, and allocations, thousands of times: none of them loses what it was about.
#[test]
fn a_handler_interrupts_operations_at_gates() {
    let _leaks = leaks();
    let event = Event::new().unwrap();
    let (count, turns) = (Atomic::new(0_u64).unwrap(), 20_000_u64);
    // It sees each number, or a later one.
    let watch = |count: Atomic<u64>, last: u64| {
        let mut seen = 0;
        while seen < last {
            seen = count.wait_timeout(seen, GENEROUS).expect("a change was lost");
        }
    };
    let child = spawn(watch, (count.clone(), turns)).unwrap();
    let life = |event: Event, count: Atomic<u64>, turns: u64| {
        handle(&event);
        // SAFETY: the calling thread's number.
        let me = unsafe { libc::pthread_self() };
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let storm = std::thread::spawn(move || {
            // The last one, whenever that is, comes after the last `clear`.
            loop {
                let last = ends.load(SeqCst);
                // SAFETY: that thread joins this one before it ends.
                unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                if last {
                    return;
                }
                std::thread::sleep(Duration::from_micros(30));
            }
        });
        // As many turns as the watcher counts, and more until it was interrupted often enough.
        let mut turn = 0;
        while turn < turns || RUNS.load(SeqCst) < 1_000 {
            count.fetch_add(1, SeqCst);
            drop(std::hint::black_box(vec![turn; 3]));
            if turn % 16 == 0 {
                event.clear();
                let _ = event.wait_timeout(Duration::from_micros(20));
            }
            turn += 1;
        }
        over.store(true, SeqCst);
        storm.join().unwrap();
        // The last signal may still be on its way.
        wait_until(GENEROUS, || event.is_set())
    };
    let interrupted = spawn(life, (event.clone(), count, turns)).unwrap();
    assert!(interrupted.join().unwrap());
    child.join().unwrap();
}

#[test]
fn futures_and_sleepers_get_through_together() {
    let _leaks = leaks().allow(0, 4, 0);
    let arena = Arena::new(1 << 16).unwrap();
    for event in [Event::new().unwrap(), Event::new_with(&arena).unwrap()] {
        // The arena's children get the event alone.
        let sleeper = spawn(|event: Event| event.wait(), (event.clone(),)).unwrap();
        let awaiting = spawn(|event: Event| block_on(event.wait_async()).is_ok(), (event.clone(),)).unwrap();
        all_sleep(std::slice::from_ref(&sleeper));
        // From the call on, not from the first poll.
        let early = event.wait_async();
        let mut dropped = Box::pin(event.wait_async());
        assert!(dropped.as_mut().poll(&mut Waking::from_waker(Waker::noop())).is_pending());
        assert!(event.set() && event.clear());
        drop(dropped);
        block_on(early).unwrap();
        sleeper.join().unwrap();
        // It may have begun after that.
        event.set();
        assert!(awaiting.join().unwrap());
        block_on(event.wait_async()).unwrap();
    }
}

fn readable(event: &Event) -> bool {
    let pollable = event.pollable().unwrap();
    !ipc_core::wait(&[&pollable], Some(Duration::ZERO)).unwrap().is_empty()
}

#[test]
fn the_descriptor_keeps_step_with_the_flag() {
    let _leaks = leaks();
    let event = Event::new().unwrap();
    event.set();
    assert!(readable(&event), "set before anybody asked for it");
    event.clear();
    assert!(!readable(&event));
    // Set by another, while one polls.
    let child = spawn(|event: Event| event.set(), (event.clone(),)).unwrap();
    let pollable = event.pollable().unwrap();
    assert_eq!(ipc_core::wait(&[&pollable], Some(GENEROUS)).unwrap(), [0]);
    assert!(pollable.is_set());
    child.join().unwrap();
    // Each of them changes it and ends with `set`: whatever they did in between, it is readable then; and the other way round.
    for last in [true, false] {
        let change = |event: Event, last: bool| {
            for _ in 0..2_000 {
                event.set();
                event.clear();
            }
            if last { event.set() } else { event.clear() }
        };
        let children: Vec<_> = (0..2).map(|_| spawn(change, (event.clone(), last)).unwrap()).collect();
        change(event.clone(), last);
        children.into_iter().for_each(|child| _ = child.join().unwrap());
        assert_eq!((event.is_set(), readable(&event)), (last, last));
    }
    // What a death leaves between the two is mended by who looks.
    event.set();
    let pollable = event.pollable().unwrap();
    rustix::io::read(pollable.as_fd(), &mut [0; 8]).unwrap();
    assert!(pollable.is_set() && readable(&event));
}

#[test]
fn in_an_arena_there_is_no_descriptor() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let event = Event::new_with(&arena).unwrap();
    assert!(matches!(event.pollable(), Err(Error::Invalid { .. })));
    let child = spawn(|event: Event| event.set(), (event.clone(),)).unwrap();
    event.wait();
    assert!(child.join().unwrap());
}

/// A thread that has not used anything of these crates sets it: nothing has to be made first.
#[test]
fn the_first_thing_a_thread_does() {
    let _leaks = leaks();
    let event = Event::new().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| event.wait_timeout(GENEROUS));
        scope.spawn(|| event.set());
        assert!(waiter.join().unwrap());
    });
}
