//! The latch: the last step, by one who may die of it.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawLatch;
use loom::model;

use crate::kernel::{Kernel, Thread};

/// Two steps by two threads, one of whom may die of it; one waits.
fn two_steps(dies_at: &'static str) {
    let (kernel, latch) = (Kernel::new(), Arc::new(RawLatch::new(2)));
    let theirs = latch.clone();
    let waiter = Thread::start(&kernel, 2, "", move |thread| theirs.wait(thread, Until::Forever));
    let theirs = latch.clone();
    let other = Thread::start(&kernel, 3, dies_at, move |thread| theirs.count_down(thread, 1));
    Thread::run(&kernel, 1, "", |thread| latch.count_down(thread, 1));
    assert!(waiter.join().unwrap().unwrap());
    other.join().unwrap();
    assert_eq!(latch.missing(), 0);
}

#[test]
fn the_last_step_opens_it_whoever_dies_of_it() {
    for point in ["", "gate: changed", "gate: mark taken", "gate: woke"] {
        model(move || two_steps(point));
    }
}

#[test]
#[should_panic]
fn mutant_the_last_step_wakes_nobody() {
    mutant::with("the last step wakes nobody", || model(|| two_steps("")));
}
