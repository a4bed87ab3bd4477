//! Permits that belong to nobody.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawCountingSemaphore;
use loom::model;

use crate::kernel::{Kernel, Thread};
use crate::large;

type Semaphore = Arc<RawCountingSemaphore>;

fn semaphore(permits: u32) -> Semaphore {
    Arc::new(RawCountingSemaphore::new(permits, 9).unwrap())
}

fn acquire(semaphore: &Semaphore, thread: &Thread, permits: u32) {
    assert!(semaphore.acquire(thread, permits, Until::Forever));
}

fn release(semaphore: &Semaphore, thread: &Thread, permits: u32) {
    semaphore.release(thread, permits).unwrap();
}

/// Two take turns; nobody is let in twice.
#[test]
fn one_at_a_time() {
    model(|| {
        let (kernel, one) = (Kernel::new(), semaphore(1));
        let turn = |one: Semaphore| {
            move |thread: &Thread| {
                acquire(&one, thread, 1);
                assert_eq!(one.available(), 0);
                release(&one, thread, 1);
            }
        };
        let other = Thread::start(&kernel, 2, "", turn(one.clone()));
        Thread::run(&kernel, 1, "", turn(one.clone()));
        other.join().unwrap();
        assert_eq!(one.available(), 1);
    });
}

/// Of permits that are released by two at once, none is lost, and none is there above the most.
#[test]
fn never_more_than_the_most() {
    model(|| {
        let (kernel, full) = (Kernel::new(), Arc::new(RawCountingSemaphore::new(1, 2).unwrap()));
        let theirs = full.clone();
        let other = Thread::start(&kernel, 2, "", move |thread| theirs.release(thread, 1).is_ok());
        let mine = Thread::run(&kernel, 1, "", |thread| full.release(thread, 1).is_ok()).unwrap();
        assert_eq!((mine ^ other.join().unwrap().unwrap(), full.available()), (true, 2));
    });
}

/// One waits for two together, another for one; the permits come one by one, from one who dies with the last.
fn many_and_one(dies_at: &'static str) {
    let (kernel, empty) = (Kernel::new(), semaphore(0));
    let theirs = empty.clone();
    let many = Thread::start(&kernel, 2, "", move |thread| acquire(&theirs, thread, 2));
    let theirs = empty.clone();
    let one = Thread::start(&kernel, 3, "", move |thread| acquire(&theirs, thread, 1));
    Thread::run(&kernel, 1, "", |thread| {
        release(&empty, thread, 1);
    });
    Thread::run(&kernel, 4, dies_at, |thread| release(&empty, thread, 2));
    many.join().unwrap();
    one.join().unwrap();
    assert_eq!(empty.available(), 0);
}

#[test]
fn who_waits_for_many_and_who_for_one() {
    for point in ["", "gate: changed", "gate: mark taken"] {
        large(2, move || many_and_one(point));
    }
}

/// A sleeper has seen a permit that another takes before it can; as many are put back by one who dies of it.
fn seen_before() {
    let (kernel, empty) = (Kernel::new(), semaphore(0));
    let theirs = empty.clone();
    let other = Thread::start(&kernel, 2, "", move |thread| {
        release(&theirs, thread, 1);
        if theirs.acquire(thread, 1, Until::Now) {
            let again = theirs.clone();
            let kernel = thread.kernel().clone();
            Thread::run(&kernel, 3, "gate: changed", |thread| release(&again, thread, 1));
        }
    });
    Thread::run(&kernel, 1, "", |thread| acquire(&empty, thread, 1));
    other.join().unwrap();
}

/// It takes so many preemptions to come to that.
#[test]
fn a_number_that_was_seen_before() {
    large(5, seen_before);
}

#[test]
#[should_panic]
fn mutant_what_is_put_there_is_not_counted() {
    mutant::with("what is put there is not counted", || large(5, seen_before));
}
