//! The word of a lock: takers, sleepers whose time is over, owners that die or do not repair.

use std::sync::Arc;

use ipc_core::primitive::cell::UnsafeCell;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::system::{Node, OWNER, System};
use ipc_shm::modelled::word::{self, Refused, Taken};
use loom::model;

use crate::counted::{DEATHS, who_went_to_sleep_meanwhile};
use crate::dies_at_each;
use crate::kernel::{Kernel, Thread};

/// A lock and what it protects: two halves that are equal whenever nobody has it.
pub(crate) struct Locked {
    pub(crate) node: Node,
    halves: UnsafeCell<[u32; 2]>,
}

// SAFETY: the halves are touched by who has the lock alone, which is what the models check.
unsafe impl Sync for Locked {}
// SAFETY: as above.
unsafe impl Send for Locked {}

impl Locked {
    pub(crate) fn new() -> Arc<Locked> {
        Arc::new(Locked { node: Node::new(), halves: UnsafeCell::new([0, 0]) })
    }

    /// What stands there, for who has the lock.
    pub(crate) fn read(&self) -> [u32; 2] {
        // SAFETY: the caller has the lock; if not, the model says so.
        self.halves.with(|halves| unsafe { *halves })
    }

    pub(crate) fn write(&self, half: usize, value: u32) {
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
    pub(crate) fn check(&self, kernel: &Kernel) {
        assert_eq!(self.node.word.load(SeqCst) & OWNER, 0, "somebody has it");
        assert_eq!(kernel.asleep(), 0, "somebody sleeps");
    }
}

/// Two on one lock, one of whom may die of it; whether it did.
fn two(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| theirs.add(thread).unwrap());
    let mine = Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap());
    let died = other.join().unwrap().is_none();
    mine.unwrap();
    locked.check(&kernel);
    died
}

#[test]
fn two_take_turns() {
    model(|| assert!(!two("")));
}

/// The points at which an owner, or who wants to be one, dies. At the others die those who need more company: "locker: judges", "owner: calls it
/// lost" and "owner: hands it on" below, "unlocker: put the bit back" in `counted.rs`.
const POINTS: [&str; 12] = [
    "locker: announced",
    "locker: taken",
    "locker: linked",
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
    dies_at_each(&POINTS, two);
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
    mutant::with("nobody is woken", || model(|| _ = two("")));
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
    for dies_at in DEATHS {
        model(move || who_went_to_sleep_meanwhile(dies_at));
    }
}

#[test]
#[should_panic]
fn mutant_sleeps_are_not_counted() {
    mutant::with("sleeps are not counted", || model(|| who_went_to_sleep_meanwhile("")));
}

/// An owner that was told of a death and frees the lock without repairing anything.
#[test]
fn what_nobody_repairs_is_lost() {
    model(|| {
        let (kernel, locked) = (Kernel::new(), Locked::new());
        let theirs = locked.clone();
        let victim = Thread::start(&kernel, 2, "owner: half way", move |thread| _ = theirs.add(thread));
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

/// An owner has died; of the two who come next one repairs nothing, and dies while it takes the lock or frees it in this way, if it was
/// told. Gives what the other finds, who repairs it, and whether that one died.
fn one_is_told_and_dies(
    free: fn(&Thread, &Node) -> bool,
    dies_at: &'static str,
) -> (Result<Taken, Refused>, bool) {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let victim = Thread::start(&kernel, 2, "owner: half way", move |thread| _ = theirs.add(thread));
    victim.join().unwrap();
    let theirs = locked.clone();
    let careless = Thread::start(&kernel, 3, dies_at, move |thread| {
        word::take(thread, &theirs.node, Until::Forever).unwrap();
        free(thread, &theirs.node);
    });
    let found = Thread::run(&kernel, 1, "", |thread| {
        let found = word::take(thread, &locked.node, Until::Forever);
        if found.is_ok() {
            locked.node.state.store(0, SeqCst);
            word::free(thread, &locked.node);
        }
        found
    });
    let died = careless.join().unwrap().is_none();
    locked.check(&kernel);
    (found.unwrap(), died)
}

#[test]
fn who_judges_a_death_dies() {
    dies_at_each(&["locker: judges"], |point| {
        let (found, died) = one_is_told_and_dies(word::free, point);
        assert_eq!(found, Ok(Taken::OwnerDied(1002)), "the second had nothing in its hands");
        died
    });
}

#[test]
fn who_hands_a_death_on_dies() {
    dies_at_each(&["owner: hands it on"], |point| {
        let (found, died) = one_is_told_and_dies(word::hand_on, point);
        // Of the first, or of the second, who had the data in its hands by then.
        assert!(matches!(found, Ok(Taken::OwnerDied(1002 | 1003))), "{found:?}");
        died
    });
}

#[test]
fn who_loses_the_data_dies() {
    dies_at_each(&["owner: calls it lost"], |point| {
        let (found, died) = one_is_told_and_dies(word::free, point);
        assert!(matches!(found, Ok(Taken::OwnerDied(1002)) | Err(Refused::Lost)), "{found:?}");
        died
    });
}

/// The time of a sleeper is over, just when it is woken or not. One of the two others, the owner and the patient, perhaps has to wait for what
/// the sleeper leaves, as it gives up or dies. Gives what became of the sleeper.
fn in_a_hurry(hurried_dies_at: &'static str, owner_dies_at: &'static str) -> Option<Result<Taken, Refused>> {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let hurried = Thread::start(&kernel, 2, hurried_dies_at, move |thread| {
        let taken = word::take(thread, &theirs.node, Until::Forever);
        if taken.is_ok() {
            word::hand_on(thread, &theirs.node);
        }
        taken
    });
    let theirs = locked.clone();
    let clock = kernel.clone();
    let owner = Thread::start(&kernel, 3, owner_dies_at, move |thread| {
        word::take(thread, &theirs.node, Until::Forever).unwrap();
        clock.expire(2);
        word::hand_on(thread, &theirs.node);
    });
    Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap()).unwrap();
    let hurried = hurried.join().unwrap();
    assert_eq!(owner.join().unwrap().is_none(), !owner_dies_at.is_empty());
    locked.check(&kernel);
    hurried
}

#[test]
fn a_timeout_uses_no_wake_up() {
    model(|| {
        let taken = in_a_hurry("", "").unwrap();
        assert!(matches!(taken, Ok(Taken::Whole) | Err(Refused::TimedOut)), "{taken:?}");
    });
}

#[test]
fn who_gives_up_dies_of_it() {
    dies_at_each(&["sleeper: about to sleep", "sleeper: woken"], |point| in_a_hurry(point, "").is_none());
}

#[test]
fn an_owner_dies_while_one_gives_up() {
    for point in ["owner: has the data", "unlocker: lets the data go", "unlocker: unlinked"] {
        model(move || {
            let taken = in_a_hurry("", point).unwrap();
            let told = matches!(taken, Ok(Taken::OwnerDied(1003)));
            assert!(told || matches!(taken, Ok(Taken::Whole) | Err(Refused::TimedOut)), "{taken:?}");
        });
    }
}

#[test]
#[should_panic]
fn mutant_who_gives_up_takes_the_bit_along() {
    mutant::with("who gives up takes the bit along", || model(|| _ = in_a_hurry("", "")));
}

/// One who has the lock for a change, and one whose handle is stale, for what stood there was freed. That one dies, but has nothing in its hands, so
/// nobody is told.
fn one_is_stale(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let stale = Thread::start(&kernel, 2, dies_at, move |thread| {
        let taken = word::take_if(thread, &theirs.node, Until::Forever, || false);
        assert_eq!(taken, Err(Refused::Freed));
    });
    let taken = Thread::run(&kernel, 1, "", |thread| locked.add(thread).unwrap()).unwrap();
    assert_eq!(taken, Taken::Whole, "it was told of one who had nothing in its hands");
    let died = stale.join().unwrap().is_none();
    let again = Thread::run(&kernel, 3, "", |thread| locked.add(thread).unwrap()).unwrap();
    assert_eq!(again, Taken::Whole, "it was told of one who had nothing in its hands");
    locked.check(&kernel);
    died
}

#[test]
fn who_takes_a_freed_place_dies_anywhere() {
    dies_at_each(
        &[
            "locker: announced",
            "locker: taken",
            "locker: linked",
            "owner: hands it on",
            "unlocker: lets the data go",
            "unlocker: unlinked",
        ],
        one_is_stale,
    );
}

#[test]
#[should_panic]
fn mutant_a_freed_place_is_in_the_hands_of_who_takes_it() {
    mutant::with("a freed place is in the hands of who takes it", || {
        model(|| _ = one_is_stale("owner: has the data"))
    });
}
