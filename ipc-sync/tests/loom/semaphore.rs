//! Permits that belong to processes, which die.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawSemaphore;
use loom::model;

use crate::kernel::{Kernel, Thread};
use crate::people::{Citizen, Town};
use crate::{dies_at_each, large};

type Semaphore = Arc<RawSemaphore>;

fn semaphore(permits: u32) -> Semaphore {
    Arc::new(RawSemaphore::new(permits, true).unwrap())
}

fn acquire(semaphore: &Semaphore, thread: &Thread, me: &Citizen) {
    assert!(semaphore.acquire(thread, me, 1, Until::Forever).unwrap());
}

fn release(semaphore: &Semaphore, thread: &Thread, me: &Citizen) {
    semaphore.release(thread, me, 1).unwrap();
}

/// Two take turns, and one of them may die; the other gets through, and at the end all permits are there.
fn turns(dies_at: &'static str) -> bool {
    let (kernel, town, one) = (Kernel::new(), Town::new(), semaphore(1));
    let theirs = one.clone();
    let other = town.start(&kernel, 2, dies_at, move |thread, me| {
        acquire(&theirs, thread, me);
        release(&theirs, thread, me);
    });
    town.run(&kernel, 1, "", |thread, me| {
        acquire(&one, thread, me);
        assert_eq!(one.available(), 0);
        release(&one, thread, me);
    });
    let died = other.join().unwrap().is_none();
    town.run(&kernel, 3, "", |thread, me| {
        assert!(one.acquire(thread, me, 1, Until::Now).unwrap(), "the permit has not come back");
        assert!(!one.acquire(thread, me, 1, Until::Now).unwrap(), "it has come back twice");
        release(&one, thread, me);
        assert!(one.release(thread, me, 1).is_err(), "there is one more than there was");
    });
    died
}

#[test]
fn one_at_a_time() {
    model(|| assert!(!turns("")));
}

#[test]
fn an_owner_dies_anywhere() {
    let points = [
        "semaphore: entered",
        "semaphore: acquired",
        "semaphore: given back",
        "locker: taken",
        "owner: has the data",
        "gate: changed",
        "gate: woke",
        "unlocker: lets the data go",
        "unlocker: unlinked",
    ];
    dies_at_each(&points, 2, turns);
}

#[test]
#[should_panic]
fn mutant_nothing_is_repaired() {
    mutant::with("nothing is repaired", || dies_at_each(&["semaphore: acquired"], 2, turns));
}

#[test]
#[should_panic]
fn mutant_what_is_acquired_is_not_entered() {
    mutant::with("what is acquired is not entered", || dies_at_each(&["semaphore: acquired"], 2, turns));
}

/// One has died with the permit; one who waits for it looks for the dead, and may die of that; another gets it.
fn buried(dies_at: &'static str) -> bool {
    let (kernel, town, one) = (Kernel::new(), Town::new(), semaphore(1));
    town.run(&kernel, 4, "unlocker: lets the data go", |thread, me| acquire(&one, thread, me));
    let theirs = one.clone();
    let first = town.start(&kernel, 2, dies_at, move |thread, me| acquire(&theirs, thread, me));
    let died = first.join().unwrap().is_none();
    if died {
        town.run(&kernel, 1, "", |thread, me| {
            assert!(one.acquire(thread, me, 1, Until::Now).unwrap());
        });
    }
    assert_eq!(one.available(), 0);
    died
}

#[test]
fn who_buries_dies_anywhere() {
    dies_at_each(&["semaphore: dead entry cleared", "semaphore: acquired"], 3, buried);
    model(|| assert!(!buried("")));
}

/// One who repairs dies of it, and the next repairs.
#[test]
fn who_repairs_dies() {
    large(2, || {
        let (kernel, town, one) = (Kernel::new(), Town::new(), semaphore(1));
        town.run(&kernel, 4, "semaphore: acquired", |thread, me| acquire(&one, thread, me));
        let theirs = one.clone();
        let second = town.start(&kernel, 2, "semaphore: about to repair", move |thread, me| {
            acquire(&theirs, thread, me);
        });
        assert!(second.join().unwrap().is_none());
        town.run(&kernel, 1, "", |thread, me| acquire(&one, thread, me));
        assert_eq!(one.available(), 0);
    });
}

/// One has the permit and dies while another sleeps for it, and nobody does anything any more.
fn sleeps_beside(dies_at: &'static str) -> bool {
    let (kernel, town, one) = (Kernel::new(), Town::new(), semaphore(1));
    let theirs = one.clone();
    let victim = town.start(&kernel, 2, dies_at, move |thread, me| {
        acquire(&theirs, thread, me);
        release(&theirs, thread, me);
    });
    let theirs = one.clone();
    let other = town.start(&kernel, 3, "", move |thread, me| {
        acquire(&theirs, thread, me);
        release(&theirs, thread, me);
    });
    let died = victim.join().unwrap().is_none();
    other.join().unwrap().unwrap();
    died
}

#[test]
fn a_sleeper_gets_what_the_dead_had() {
    dies_at_each(&["unlocker: unlinked", "semaphore: given back", "gate: mark taken"], 2, sleeps_beside);
}

#[test]
#[should_panic]
fn mutant_nobody_looks_for_the_dead() {
    mutant::with("nobody looks for the dead", || dies_at_each(&["unlocker: unlinked"], 2, sleeps_beside));
}

/// One drops its permit while another, who has one as well, releases twice: what it does not have any more is not given back, and nothing is taken from
/// others. The owner may die of it.
fn given_back(dies_at: &'static str) -> bool {
    let (kernel, town, two) = (Kernel::new(), Town::new(), Arc::new(RawSemaphore::new(2, false).unwrap()));
    let theirs = two.clone();
    let owner = town.start(&kernel, 2, dies_at, move |thread, me| {
        acquire(&theirs, thread, me);
        release(&theirs, thread, me);
        theirs.give_back(thread, me, 1).unwrap();
    });
    town.run(&kernel, 1, "", |thread, me| {
        acquire(&two, thread, me);
        let died = owner.join().unwrap().is_none();
        // This one's is still this one's.
        assert!(
            two.acquire(thread, me, 1, Until::Now).unwrap()
                && !two.acquire(thread, me, 1, Until::Now).unwrap()
        );
        two.give_back(thread, me, 3).unwrap();
        assert_eq!(two.available(), 2, "it has become more or fewer");
        died
    })
    .unwrap()
}

#[test]
fn who_gives_back_takes_nothing_from_others() {
    dies_at_each(&["semaphore: given back", "unlocker: lets the data go", "gate: changed"], 2, given_back);
    model(|| assert!(!given_back("")));
}

#[test]
#[should_panic]
fn mutant_what_another_has_is_given_back() {
    mutant::with("what another has is given back", || model(|| assert!(!given_back(""))));
}

/// Another releases what one has acquired: the debt has moved, and the first one's death gives nothing back.
#[test]
fn a_debt_moves() {
    large(2, || {
        let (kernel, town, one) = (Kernel::new(), Town::new(), semaphore(1));
        let theirs = one.clone();
        let owner = town.start(&kernel, 2, "unlocker: lets the data go", move |thread, me| {
            acquire(&theirs, thread, me);
        });
        let released = town.run(&kernel, 1, "", |thread, me| one.release(thread, me, 1).is_ok());
        owner.join().unwrap();
        town.run(&kernel, 3, "", |thread, me| {
            acquire(&one, thread, me);
            assert!(!one.acquire(thread, me, 1, Until::Now).unwrap(), "{released:?}");
        });
    });
}
