//! What is set once: two who make it, one of whom may die of it, and one who waits.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawOnceLock;

use crate::kernel::{Kernel, Thread};
use crate::{dies_at_each, large};

type Once = Arc<RawOnceLock<[u32; 2]>>;

/// Two make it, one of whom may die of it: both have the same afterwards, and it is what one of them made.
fn two_make_it(dies_at: &'static str) -> bool {
    let (kernel, once) = (Kernel::new(), Once::default());
    let theirs = once.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| {
        theirs.set_with(thread, || [2, 2]).unwrap();
        *theirs.get().unwrap()
    });
    let mine = Thread::run(&kernel, 1, "", |thread| {
        let set = once.set_with(thread, || [1, 1]).unwrap();
        let value = *once.get().unwrap();
        assert!(if set { value == [1, 1] } else { value == [2, 2] }, "{set} {value:?}");
        value
    });
    let theirs = other.join().unwrap();
    assert_eq!(once.get().copied(), mine, "it has changed");
    assert!(theirs.is_none() || theirs == mine, "{theirs:?} {mine:?}");
    theirs.is_none()
}

#[test]
fn it_is_made_once() {
    large(3, || assert!(!two_make_it("")));
}

#[test]
fn who_makes_it_dies_anywhere() {
    let points = [
        "locker: announced",
        "locker: taken",
        "locker: linked",
        "once: has the lock",
        "once: made",
        "once: written",
        "gate: changed",
        "once: set",
        "unlocker: unlinked",
    ];
    dies_at_each(&points, 2, two_make_it);
}

#[test]
#[should_panic]
fn mutant_who_has_waited_for_the_lock_does_not_look_again() {
    let mutant = "who has waited for the lock does not look again";
    mutant::with(mutant, || large(2, || _ = two_make_it("")));
}

/// One waits, one sets it and may die of it, and another comes afterwards who would.
fn one_waits(dies_at: &'static str) -> bool {
    let (kernel, once) = (Kernel::new(), Once::default());
    let theirs = once.clone();
    let waiter = Thread::start(&kernel, 3, "", move |thread| *theirs.wait(thread, Until::Forever).unwrap());
    let set = |thread: &Thread| once.set_with(thread, || [1, 1]).unwrap();
    let died = Thread::run(&kernel, 1, dies_at, set).is_none();
    if died {
        Thread::run(&kernel, 2, "", set).unwrap();
    }
    assert_eq!(waiter.join().unwrap(), Some([1, 1]));
    died
}

#[test]
fn who_waits_gets_it_whoever_dies() {
    large(3, || assert!(!one_waits("")));
    let points = ["once: written", "gate: changed", "gate: mark taken", "gate: woke", "once: set"];
    dies_at_each(&points, 2, one_waits);
}

#[test]
#[should_panic]
fn mutant_who_waits_for_the_value_is_not_woken() {
    mutant::with("who waits for the value is not woken", || large(2, || _ = one_waits("")));
}

/// Two wait, of whom one dies of being woken.
fn a_waiter_dies(dies_at: &'static str) -> bool {
    let (kernel, once) = (Kernel::new(), Once::default());
    let wait = |once: Once| move |thread: &Thread| *once.wait(thread, Until::Forever).unwrap();
    let victim = Thread::start(&kernel, 3, dies_at, wait(once.clone()));
    let other = Thread::start(&kernel, 2, "", wait(once.clone()));
    Thread::run(&kernel, 1, "gate: mark taken", |thread| once.set_with(thread, || [1, 1]).unwrap());
    assert_eq!(other.join().unwrap(), Some([1, 1]));
    victim.join().unwrap().is_none()
}

#[test]
fn a_waiter_and_who_sets_it_die() {
    dies_at_each(&["gate: marked", "gate: about to sleep", "gate: woken", "gate: found"], 2, a_waiter_dies);
}

/// One looks while another sets it: it sees nothing, or the value.
fn one_looks() {
    let (kernel, once) = (Kernel::new(), Once::default());
    let theirs = once.clone();
    let reader = Thread::start(&kernel, 2, "", move |_| theirs.get().copied());
    Thread::run(&kernel, 1, "", |thread| once.set_with(thread, || [1, 1]).unwrap());
    let seen = reader.join().unwrap().unwrap();
    assert!(seen.is_none_or(|seen| seen == [1, 1]), "{seen:?}");
}

#[test]
fn who_looks_sees_all_of_it_or_nothing() {
    large(3, one_looks);
}

#[test]
#[should_panic]
fn mutant_it_is_set_before_it_is_written() {
    mutant::with("it is set before it is written", || large(3, one_looks));
}
