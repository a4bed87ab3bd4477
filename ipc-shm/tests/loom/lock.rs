//! The word of a lock: takers, sleepers, owners that die, panic or do not repair.

use std::sync::Arc;

use ipc_core::primitive::cell::UnsafeCell;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::system::{Node, OWNER, System};
use ipc_shm::modelled::word::{self, Refused, Taken};
use loom::model;

use crate::counted::who_went_to_sleep_meanwhile;
use crate::kernel::{Kernel, Thread};

/// A lock and what it protects: two halves that are equal whenever nobody has it.
struct Locked {
    node: Node,
    halves: UnsafeCell<[u32; 2]>,
}

// SAFETY: the halves are touched by who has the lock alone, which is what the models check.
unsafe impl Sync for Locked {}
// SAFETY: as above.
unsafe impl Send for Locked {}

impl Locked {
    fn new() -> Arc<Locked> {
        Arc::new(Locked { node: Node::new(), halves: UnsafeCell::new([0, 0]) })
    }

    /// What stands there, for who has the lock.
    fn read(&self) -> [u32; 2] {
        // SAFETY: the caller has the lock; if not, the model says so.
        self.halves.with(|halves| unsafe { *halves })
    }

    fn write(&self, half: usize, value: u32) {
        // SAFETY: as above.
        self.halves.with_mut(|halves| unsafe { (*halves)[half] = value });
    }

    /// Adds one to both halves; between the two a victim may die.
    fn add(&self, thread: &Thread) -> Result<Taken, Refused> {
        let taken = word::take(thread, &self.node, Until::Forever)?;
        let [first, second] = self.read();
        match taken {
            Taken::OwnerDied(dead) => {
                assert!(dead > 1000, "it says who has died");
                self.write(1, first);
                self.node.state.store(0, SeqCst);
            }
            _ => assert_eq!(first, second, "half a change was taken for a whole one"),
        }
        self.write(0, first + 1);
        thread.crash_point("owner: half way");
        self.write(1, first + 1);
        word::free(thread, &self.node);
        Ok(taken)
    }

    /// Everybody is through: nobody has the lock, nobody sleeps.
    fn check(&self, kernel: &Kernel) {
        assert_eq!(self.node.word.load(SeqCst) & OWNER, 0, "somebody has it");
        assert_eq!(kernel.asleep(), 0, "somebody sleeps");
    }
}

fn two(dies_at: &'static str) {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| theirs.add(thread).unwrap());
    let mine = Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap());
    other.join().unwrap();
    mine.unwrap();
    locked.check(&kernel);
}

#[test]
fn two_take_turns() {
    model(|| two(""));
}

/// The points at which an owner, or who wants to be one, dies.
const POINTS: [&str; 13] = [
    "locker: announced",
    "locker: taken",
    "locker: linked",
    "locker: judges",
    "owner: has the data",
    "owner: half way",
    "sleeper: about to sleep",
    "sleeper: woken",
    "unlocker: lets the data go",
    "unlocker: unlinked",
    "unlocker: freed",
    "unlocker: woke nobody",
    "unlocker: took the bit",
];

#[test]
fn one_of_two_dies_anywhere() {
    for point in POINTS {
        model(move || two(point));
    }
}

/// Two who live, and a victim.
fn three(dies_at: &'static str) {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let others = [(2, ""), (3, dies_at)].map(|(number, dies_at)| {
        let theirs = locked.clone();
        Thread::start(&kernel, number, dies_at, move |thread| theirs.add(thread).unwrap())
    });
    Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap()).unwrap();
    others.into_iter().for_each(|other| drop(other.join().unwrap()));
    locked.check(&kernel);
}

#[test]
fn of_three_one_dies_half_way() {
    model(|| three("owner: half way"));
}

#[test]
fn of_three_one_dies_when_it_was_woken() {
    model(|| three("sleeper: woken"));
}

#[test]
fn of_three_one_dies_before_it_wakes_another() {
    model(|| three("unlocker: freed"));
}

#[test]
#[should_panic]
fn mutant_nobody_is_woken() {
    mutant::with("nobody is woken", || model(|| two("")));
}

/// Two sleep; the owner frees the lock, which wakes one, and takes it once more before that one comes to it; the woken one dies.
fn barged() {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let others = [(2, ""), (3, "sleeper: woken")].map(|(number, dies_at)| {
        let theirs = locked.clone();
        Thread::start(&kernel, number, dies_at, move |thread| theirs.add(thread).unwrap())
    });
    Thread::run(&kernel, 1, "", |thread| {
        locked.add(thread).unwrap();
        locked.add(thread).unwrap();
    });
    others.into_iter().for_each(|other| drop(other.join().unwrap()));
    locked.check(&kernel);
}

#[test]
fn who_was_woken_dies_while_another_has_the_lock_again() {
    model(barged);
}

#[test]
#[should_panic]
fn mutant_the_bit_goes_when_the_lock_is_freed() {
    mutant::with("the bit goes when the lock is freed", || model(barged));
}

#[test]
#[should_panic]
fn mutant_a_taker_drops_the_bit() {
    mutant::with("a taker drops the bit", || model(|| three("")));
}

#[test]
fn who_went_to_sleep_meanwhile_is_counted() {
    model(who_went_to_sleep_meanwhile);
}

#[test]
#[should_panic]
fn mutant_sleeps_are_not_counted() {
    mutant::with("sleeps are not counted", || model(who_went_to_sleep_meanwhile));
}

/// An owner that was told of a death and frees the lock without repairing anything.
#[test]
fn what_nobody_repairs_is_lost() {
    model(|| {
        let (kernel, locked) = (Kernel::new(), Locked::new());
        let theirs = locked.clone();
        let victim = Thread::start(&kernel, 2, "owner: half way", move |thread| drop(theirs.add(thread)));
        victim.join().unwrap();
        let theirs = locked.clone();
        let careless = Thread::start(&kernel, 3, "", move |thread| {
            let taken = word::take(thread, &theirs.node, Until::Forever);
            if taken.is_ok() {
                word::free(thread, &theirs.node);
            }
            taken
        });
        let mine = Thread::run(&kernel, 1, "", |thread| {
            let taken = word::take(thread, &locked.node, Until::Forever);
            if taken.is_ok() {
                word::free(thread, &locked.node);
            }
            taken
        });
        let both = [mine.unwrap(), careless.join().unwrap().unwrap()];
        assert!(both.contains(&Ok(Taken::OwnerDied(1002))) && both.contains(&Err(Refused::Lost)), "{both:?}");
        locked.check(&kernel);
    });
}

/// The time of a sleeper is over, just when it is woken or not.
#[test]
fn a_timeout_uses_no_wake_up() {
    model(|| {
        let (kernel, locked) = (Kernel::new(), Locked::new());
        let theirs = locked.clone();
        let hurried = Thread::start(&kernel, 2, "", move |thread| {
            let taken = word::take(thread, &theirs.node, Until::Forever);
            if taken.is_ok() {
                word::free(thread, &theirs.node);
            }
            taken
        });
        let theirs = locked.clone();
        let clock = kernel.clone();
        let owner = Thread::start(&kernel, 3, "", move |thread| {
            word::take(thread, &theirs.node, Until::Forever).unwrap();
            clock.expire(2);
            word::free(thread, &theirs.node);
        });
        Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap()).unwrap();
        let taken = hurried.join().unwrap().unwrap();
        assert!(matches!(taken, Ok(Taken::Whole) | Err(Refused::TimedOut)), "{taken:?}");
        owner.join().unwrap().unwrap();
        locked.check(&kernel);
    });
}
