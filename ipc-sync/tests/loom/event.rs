//! The event: sets that are cleared at once, waiters that come and go, and those who die of either.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawEvent;
use loom::model;

use crate::kernel::{Kernel, Thread};

fn wait(event: &Arc<RawEvent>) -> impl FnOnce(&Thread) -> bool + Send + 'static {
    let event = event.clone();
    move |thread| event.wait(thread, Until::Forever)
}

/// One waits, one sets it and may die of it.
fn one(dies_at: &'static str) {
    let (kernel, event) = (Kernel::new(), Arc::new(RawEvent::new()));
    let waiter = Thread::start(&kernel, 2, "", wait(&event));
    Thread::run(&kernel, 1, dies_at, |thread| event.set(thread));
    assert!(waiter.join().unwrap().unwrap());
}

#[test]
fn a_set_arrives_whoever_dies_of_it() {
    for point in ["", "gate: changed", "gate: mark taken", "gate: woke"] {
        model(move || one(point));
    }
}

/// Two who sleep; it is set by one who may die of it, and cleared at once.
fn set_and_cleared(dies_at: &'static str) {
    let (kernel, event) = (Kernel::scripted(), Arc::new(RawEvent::new()));
    let waiters = [2, 3].map(|number| Thread::start(&kernel, number, "", wait(&event)));
    kernel.until_asleep(2);
    Thread::run(&kernel, 1, dies_at, |thread| event.set(thread));
    event.clear();
    waiters.into_iter().for_each(|waiter| assert!(waiter.join().unwrap().unwrap()));
}

#[test]
fn a_set_that_is_cleared_at_once_arrives() {
    for point in ["", "gate: changed", "gate: mark taken"] {
        model(move || set_and_cleared(point));
    }
}

#[test]
#[should_panic]
fn mutant_a_set_is_not_numbered() {
    mutant::with("a set is not numbered", || model(|| set_and_cleared("")));
}

/// The waker of all dies before its wake, and the one whom the kernel wakes passes it on, for others are counted.
#[test]
#[should_panic]
fn mutant_who_waits_is_not_counted() {
    mutant::with("who waits is not counted", || model(|| set_and_cleared("gate: mark taken")));
}

/// One waits and dies of it at a point, another waits and lives; who sets it may die as well.
fn a_waiter_dies(waiter: &'static str, setter: &'static str) {
    let (kernel, event) = (Kernel::new(), Arc::new(RawEvent::new()));
    let victim = Thread::start(&kernel, 3, waiter, wait(&event));
    let other = Thread::start(&kernel, 2, "", wait(&event));
    Thread::run(&kernel, 1, setter, |thread| event.set(thread));
    assert!(other.join().unwrap().unwrap());
    victim.join().unwrap();
}

#[test]
fn a_waiter_dies_anywhere() {
    for point in ["event: counted", "gate: marked", "gate: about to sleep", "gate: woken", "gate: found"] {
        model(move || a_waiter_dies(point, ""));
    }
}

#[test]
fn a_waiter_and_a_setter_die() {
    for point in ["gate: woken", "gate: found"] {
        model(move || a_waiter_dies(point, "gate: changed"));
    }
}

/// Who comes after it was cleared is not let through by what was before, and is by what comes.
#[test]
fn who_comes_later_waits_for_the_next() {
    model(|| {
        let (kernel, event) = (Kernel::new(), Arc::new(RawEvent::new()));
        Thread::run(&kernel, 1, "", |thread| event.set(thread));
        event.clear();
        assert!(!Thread::run(&kernel, 1, "", |thread| event.wait(thread, Until::Now)).unwrap());
        let waiter = Thread::start(&kernel, 2, "", wait(&event));
        Thread::run(&kernel, 1, "", |thread| event.set(thread));
        assert!(waiter.join().unwrap().unwrap());
    });
}

/// Two set it at once, one clears it: whoever waits by then gets through.
#[test]
fn two_set_and_one_clears() {
    model(|| {
        let (kernel, event) = (Kernel::scripted(), Arc::new(RawEvent::new()));
        let waiter = Thread::start(&kernel, 2, "", wait(&event));
        kernel.until_asleep(1);
        let theirs = event.clone();
        let other = Thread::start(&kernel, 3, "", move |thread| {
            theirs.set(thread);
            theirs.clear();
        });
        Thread::run(&kernel, 1, "", |thread| event.set(thread));
        assert!(waiter.join().unwrap().unwrap());
        other.join().unwrap();
    });
}
