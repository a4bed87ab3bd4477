//! The gate: permits that are given and waited for, by threads that die.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::gate;
use ipc_shm::modelled::system::Node;
use loom::model;

use crate::kernel::{Kernel, Thread};

/// A count of permits beside a gate.
struct Permits {
    count: AtomicU32,
    gate: Node,
}

impl Permits {
    fn new() -> Arc<Permits> {
        Arc::new(Permits { count: AtomicU32::new(0), gate: Node::new() })
    }

    fn acquire(&self, thread: &Thread) -> bool {
        let look = |_| self.count.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1)).ok();
        gate::wait(thread, &self.gate, &self.count, Until::Forever, look, |count| count > 0).is_some()
    }

    fn release(&self, thread: &Thread, permits: u32, wake: u32) {
        gate::change(thread, &self.gate, wake, || self.count.fetch_add(permits, SeqCst));
    }
}

/// One gives a permit, one waits for it; the giver may die once it has given it.
fn given(dies_at: &'static str) {
    let (kernel, permits) = (Kernel::new(), Permits::new());
    let theirs = permits.clone();
    let giver = Thread::start(&kernel, 2, dies_at, move |thread| theirs.release(thread, 1, 1));
    assert!(Thread::run(&kernel, 1, "", |thread| permits.acquire(thread)).unwrap());
    giver.join().unwrap();
}

#[test]
fn what_is_given_arrives() {
    model(|| given(""));
}

#[test]
fn a_waker_dies_anywhere_after_its_change() {
    for point in ["gate: changed", "gate: mark taken", "gate: woke"] {
        model(move || given(point));
    }
}

#[test]
#[should_panic]
fn mutant_a_waker_announces_nothing() {
    mutant::with("a waker announces nothing", || model(|| given("gate: changed")));
}

/// Two wait; permits for both are given one by one, or together with one wake-up.
fn two_wait(together: bool, dies_at: &'static str) {
    let (kernel, permits) = (Kernel::new(), Permits::new());
    // A victim uses up a permit if it dies after it got it, so there is one for it as well.
    let victim = (!dies_at.is_empty()).then(|| {
        let theirs = permits.clone();
        Thread::start(&kernel, 3, dies_at, move |thread| theirs.acquire(thread))
    });
    let theirs = permits.clone();
    let other = Thread::start(&kernel, 2, "", move |thread| theirs.acquire(thread));
    let needed = 1 + u32::from(victim.is_some());
    Thread::run(&kernel, 1, "", |thread| {
        if together {
            permits.release(thread, needed, 1);
        } else {
            (0..needed).for_each(|_| permits.release(thread, 1, 1));
        }
    });
    assert!(other.join().unwrap().unwrap());
    victim.map(|victim| victim.join().unwrap());
}

#[test]
fn a_woken_sleeper_dies_anywhere() {
    for point in ["gate: marked", "gate: about to sleep", "gate: woken", "gate: found"] {
        model(move || two_wait(false, point));
    }
}

#[test]
#[should_panic]
fn mutant_a_sleeper_announces_nothing() {
    mutant::with("a sleeper announces nothing", || model(|| two_wait(true, "gate: woken")));
}

/// Two live sleepers, one change with one wake-up for both.
fn chain(wakes: u32, dies_at: &'static str) {
    let (kernel, permits) = (Kernel::new(), Permits::new());
    let sleepers = [2, 3].map(|number| {
        let theirs = permits.clone();
        Thread::start(&kernel, number, "", move |thread| theirs.acquire(thread))
    });
    Thread::run(&kernel, 1, dies_at, |thread| permits.release(thread, 2, wakes));
    sleepers.into_iter().for_each(|sleeper| assert!(sleeper.join().unwrap().unwrap()));
}

#[test]
fn one_wake_up_is_passed_on() {
    model(|| chain(1, ""));
}

#[test]
fn a_waker_of_all_dies_before_its_wake() {
    model(|| chain(2, "gate: mark taken"));
}

#[test]
#[should_panic]
fn mutant_nothing_is_passed_on() {
    mutant::with("nothing is passed on", || model(|| chain(1, "")));
}

/// Two sleepers, two changes: the second finds no mark, unless who was woken by the first has renewed it.
fn one_by_one() {
    let (kernel, permits) = (Kernel::new(), Permits::new());
    let sleepers = [2, 3].map(|number| {
        let theirs = permits.clone();
        Thread::start(&kernel, number, "", move |thread| theirs.acquire(thread))
    });
    Thread::run(&kernel, 1, "", |thread| {
        permits.release(thread, 1, 1);
        permits.release(thread, 1, 1);
    });
    sleepers.into_iter().for_each(|sleeper| assert!(sleeper.join().unwrap().unwrap()));
}

#[test]
fn changes_one_by_one_reach_all() {
    model(one_by_one);
}

#[test]
#[should_panic]
fn mutant_the_mark_is_not_renewed() {
    mutant::with("the mark is not renewed", || model(one_by_one));
}

#[test]
#[should_panic]
fn mutant_the_state_is_not_compared() {
    mutant::with("the state is not compared", || model(|| given("gate: changed")));
}
