//! The gate: permits that are given and waited for, by threads that die.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
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

/// A number of 64 bits beside a gate, and those who wait until there is something in it that they look for.
struct Wide {
    number: AtomicU64,
    gate: Node,
}

impl Wide {
    fn new() -> Arc<Wide> {
        Arc::new(Wide { number: AtomicU64::new(0), gate: Node::new() })
    }

    /// Waits until `look` finds something, as an atomic's waiters do: each may look for something else.
    fn wait(&self, thread: &Thread, look: fn(u64) -> bool) -> Option<u64> {
        let look = |seen| look(seen).then_some(seen);
        gate::wait(thread, &self.gate, &self.number, Until::Forever, look, |_| true)
    }

    fn set(&self, thread: &Thread, number: u64) {
        gate::change(thread, &self.gate, u32::MAX, || self.number.store(number, SeqCst));
    }
}

/// One sets each half in turn, and may die of it; another waits for it.
fn halves(numbers: &'static [u64], dies_at: &'static str) {
    let (kernel, wide) = (Kernel::new(), Wide::new());
    let theirs = wide.clone();
    let setter = Thread::start(&kernel, 2, dies_at, move |thread| {
        numbers.iter().for_each(|number| theirs.set(thread, *number));
    });
    let found = Thread::run(&kernel, 1, "", |thread| wide.wait(thread, |seen| seen != 0)).unwrap();
    assert!(numbers.contains(&found.unwrap()));
    setter.join().unwrap();
}

const LOW: u64 = 1;
const HIGH: u64 = 1 << 32;

#[test]
fn either_half_is_a_change() {
    for number in [&[LOW] as &[u64], &[HIGH], &[HIGH, LOW], &[LOW, LOW | HIGH]] {
        model(move || halves(number, ""));
    }
}

#[test]
fn who_changes_either_half_dies_anywhere_after_it() {
    for number in [&[LOW] as &[u64], &[HIGH]] {
        for point in ["gate: changed", "gate: mark taken", "gate: woke"] {
            model(move || halves(number, point));
        }
    }
}

#[test]
#[should_panic]
fn mutant_one_half_of_the_state_is_compared() {
    mutant::with("one half of the state is compared", || model(|| halves(&[HIGH], "gate: changed")));
}

/// A model in which a wake-up goes from one to the other, with so many preemptions: three are too many to be looked at in the time that there is.
fn large(preemptions: usize, life: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(life);
}

/// Two wait, each for something else. One who changes dies of it, so that one is woken; a second one sets both free, after the one who had
/// to get through has.
fn two_look_for_different_things() {
    let (kernel, wide) = (Kernel::new(), Wide::new());
    let theirs = wide.clone();
    let few = Thread::start(&kernel, 2, "", move |thread| theirs.wait(thread, |seen| seen >= 1));
    let theirs = wide.clone();
    let many = Thread::start(&kernel, 3, "", move |thread| theirs.wait(thread, |seen| seen >= 2));
    Thread::run(&kernel, 1, "gate: changed", |thread| wide.set(thread, 1));
    assert!(few.join().unwrap().unwrap().is_some());
    Thread::run(&kernel, 1, "", |thread| wide.set(thread, 2));
    assert_eq!(many.join().unwrap(), Some(Some(2)));
}

#[test]
fn who_finds_nothing_passes_the_wake_up_on() {
    large(2, two_look_for_different_things);
}

#[test]
#[should_panic]
fn mutant_who_finds_nothing_keeps_the_wake_up() {
    mutant::with("who finds nothing keeps the wake-up", || large(2, two_look_for_different_things));
}

/// Two find nothing in what a dead one has left, and do not hand its wake-up to and fro for ever.
#[test]
fn two_who_find_nothing_come_to_rest() {
    large(2, || {
        let (kernel, wide) = (Kernel::new(), Wide::new());
        let waiters = [2, 3].map(|number| {
            let theirs = wide.clone();
            Thread::start(&kernel, number, "", move |thread| theirs.wait(thread, |seen| seen >= 2))
        });
        Thread::run(&kernel, 1, "gate: changed", |thread| wide.set(thread, 1));
        Thread::run(&kernel, 1, "", |thread| wide.set(thread, 2));
        waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Some(Some(2))));
    });
}

/// There and back, by two who die of it: who has slept beside what was in between gets through, though those who were woken find nothing new.
fn there_and_back() {
    let (kernel, wide) = (Kernel::new(), Wide::new());
    let zero = [2, 3].map(|number| {
        let theirs = wide.clone();
        Thread::start(&kernel, number, "", move |thread| theirs.wait(thread, |seen| seen != 0))
    });
    let theirs = wide.clone();
    let one = Thread::start(&kernel, 4, "", move |thread| theirs.wait(thread, |seen| seen != 1));
    Thread::run(&kernel, 1, "gate: changed", |thread| wide.set(thread, 1));
    Thread::run(&kernel, 1, "gate: changed", |thread| wide.set(thread, 0));
    assert!(one.join().unwrap().unwrap().is_some());
    Thread::run(&kernel, 1, "", |thread| wide.set(thread, 2));
    zero.into_iter().for_each(|waiter| assert!(waiter.join().unwrap().unwrap().is_some()));
}

/// With one preemption; with two, as its mutant needs, it takes a minute, and was seen to pass.
#[test]
fn there_and_back_by_two_who_die() {
    large(1, there_and_back);
}

#[test]
#[should_panic]
fn mutant_there_and_back() {
    mutant::with("who finds nothing keeps the wake-up", || large(2, there_and_back));
}
