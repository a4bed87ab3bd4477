//! The count of a recursive lock: owners that take it again, and die with it at any depth.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::recursion;
use ipc_shm::modelled::system::System;
use ipc_shm::modelled::word::{self, Refused, Taken};
use loom::model;

use crate::dies_at_each;
use crate::kernel::{Kernel, Thread};
use crate::lock::Locked;

/// Takes it once more: whoever has it is not told anything, and does not wait.
fn deeper(locked: &Locked, thread: &Thread, depth: u32) {
    assert_eq!(recursion::take(thread, &locked.node, Until::Forever), Ok(Taken::Whole));
    assert_eq!(recursion::depth(thread, &locked.node), depth);
}

fn give_back(locked: &Locked, thread: &Thread, left: u32) {
    assert!(recursion::free(thread, &locked.node));
    assert_eq!(recursion::depth(thread, &locked.node), left);
    assert_eq!(thread.holds(&locked.node), left > 0);
}

/// Adds one to each half, at another depth; between the two a victim may die.
fn add(locked: &Locked, thread: &Thread) -> Taken {
    let taken = recursion::take(thread, &locked.node, Until::Forever).unwrap();
    assert_eq!(recursion::depth(thread, &locked.node), 1, "it counts from the beginning");
    let [first, second] = locked.read();
    match taken {
        Taken::OwnerDied(dead) => {
            assert!(dead > 1000, "it says who has died");
            locked.write(1, first);
            word::repaired(thread, &locked.node);
        }
        _ => assert_eq!(first, second, "half a change was taken for a whole one"),
    }
    deeper(locked, thread, 2);
    locked.write(0, first + 1);
    thread.crash_point("owner: half way");
    give_back(locked, thread, 1);
    locked.write(1, first + 1);
    give_back(locked, thread, 0);
    taken
}

/// Two recurse, one of whom may die of it; afterwards the lock is as new. Whether somebody died.
fn two(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| add(&theirs, thread));
    Thread::run(&kernel, 1, "", |thread| add(&locked, thread)).unwrap();
    let died = other.join().unwrap().is_none();
    Thread::run(&kernel, 3, "", |thread| add(&locked, thread)).unwrap();
    assert_eq!(locked.node.depth.load(SeqCst), 0, "it is free, and counted");
    locked.check(&kernel);
    died
}

#[test]
fn two_recurse() {
    model(|| assert!(!two("")));
}

#[test]
fn one_of_two_who_recurse_dies_at_its_count() {
    dies_at_each(
        &[
            "recursive: taken",
            "recursive: taken once more",
            "owner: half way",
            "recursive: given back once",
            "recursive: given back",
        ],
        two,
    );
}

#[test]
fn one_of_two_who_recurse_dies_at_the_word() {
    dies_at_each(
        &[
            "locker: announced",
            "locker: taken",
            "locker: linked",
            "owner: has the data",
            "sleeper: about to sleep",
            "sleeper: woken",
            "unlocker: lets the data go",
            "unlocker: unlinked",
            "unlocker: freed",
            "unlocker: woke nobody",
            "unlocker: took the bit",
        ],
        two,
    );
}

#[test]
#[should_panic]
fn mutant_the_word_is_freed_before_the_count() {
    mutant::with("the word is freed before the count", || model(|| _ = two("")));
}

#[test]
#[should_panic]
fn mutant_the_first_to_be_given_back_frees_it() {
    mutant::with("the first to be given back frees it", || model(|| _ = two("")));
}

#[test]
#[should_panic]
fn mutant_a_dead_owners_count_stays() {
    mutant::with("a dead owner's count stays", || model(|| _ = two("recursive: taken once more")));
}

/// An owner dies with it at a depth of two. The next is told, and hands that on from as deep; whoever comes then is told of the same death.
fn handed_on(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let victim = Thread::start(&kernel, 2, "owner: half way", move |thread| _ = add(&theirs, thread));
    assert!(victim.join().unwrap().is_none());
    let theirs = locked.clone();
    let hasty = Thread::start(&kernel, 3, dies_at, move |thread| {
        let taken = recursion::take(thread, &theirs.node, Until::Forever);
        if taken == Ok(Taken::OwnerDied(1002)) {
            deeper(&theirs, thread, 2);
            assert!(recursion::hand_on(thread, &theirs.node));
            assert!(thread.holds(&theirs.node), "only the last time");
            assert!(recursion::hand_on(thread, &theirs.node));
        } else {
            // The other has been quicker, and has repaired it.
            assert_eq!(taken, Ok(Taken::Whole));
            give_back(&theirs, thread, 0);
        }
    });
    let told = Thread::run(&kernel, 1, "", |thread| add(&locked, thread)).unwrap();
    let died = hasty.join().unwrap().is_none();
    // Of the first, or of the one who was told and had the data in its hands by then.
    assert!(matches!(told, Taken::OwnerDied(1002) | Taken::OwnerDied(1003)), "{told:?}");
    assert!(died || told == Taken::OwnerDied(1002));
    Thread::run(&kernel, 4, "", |thread| add(&locked, thread)).unwrap();
    locked.check(&kernel);
    died
}

#[test]
fn a_death_is_handed_on_from_any_depth() {
    model(|| assert!(!handed_on("")));
}

#[test]
fn who_hands_a_death_on_from_a_depth_dies() {
    dies_at_each(
        &["locker: judges", "recursive: given back once", "recursive: given back", "owner: hands it on"],
        handed_on,
    );
}

/// Who gives up, or finds it held, has counted nothing.
fn refused(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| _ = add(&theirs, thread));
    Thread::run(&kernel, 1, "", |thread| {
        match recursion::take(thread, &locked.node, Until::Now) {
            Ok(taken) => {
                if taken != Taken::Whole {
                    word::repaired(thread, &locked.node);
                    locked.write(1, locked.read()[0]);
                }
                assert_eq!(recursion::depth(thread, &locked.node), 1);
                give_back(&locked, thread, 0);
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Busy);
                assert_eq!(recursion::depth(thread, &locked.node), 0, "another's count is not this one's");
                assert!(recursion::free(thread, &locked.node), "nor can it be given back");
            }
        }
        add(&locked, thread);
    })
    .unwrap();
    let died = other.join().unwrap().is_none();
    locked.check(&kernel);
    died
}

#[test]
fn who_does_not_have_it_counts_nothing() {
    model(|| assert!(!refused("")));
    dies_at_each(&["recursive: taken once more", "recursive: given back"], refused);
}

/// As often as can be counted; once more is an error, and changes nothing.
#[test]
fn too_deep() {
    model(|| {
        let (kernel, locked) = (Kernel::new(), Locked::new());
        Thread::run(&kernel, 1, "", |thread| {
            recursion::take(thread, &locked.node, Until::Forever).unwrap();
            locked.node.depth.store(u32::MAX, SeqCst);
            assert_eq!(recursion::take(thread, &locked.node, Until::Now), Err(Refused::TooDeep));
            give_back(&locked, thread, u32::MAX - 1);
        });
    });
}

/// Takes it twice, gives all back, and has it twice again; another takes turns with it.
fn all_given_back(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| {
        recursion::take(thread, &theirs.node, Until::Forever).unwrap();
        deeper(&theirs, thread, 2);
        assert_eq!(recursion::free_all(thread, &theirs.node), 2);
        assert!(!thread.holds(&theirs.node), "all of it is given back");
        assert_eq!(recursion::free_all(thread, &theirs.node), 0);
        recursion::take(thread, &theirs.node, Until::Forever).unwrap();
        assert!(recursion::restore(thread, &theirs.node, 2));
        give_back(&theirs, thread, 1);
        give_back(&theirs, thread, 0);
    });
    Thread::run(&kernel, 1, "", |thread| add(&locked, thread)).unwrap();
    let died = other.join().unwrap().is_none();
    Thread::run(&kernel, 3, "", |thread| add(&locked, thread)).unwrap();
    locked.check(&kernel);
    died
}

#[test]
fn all_is_given_back_and_had_again() {
    model(|| assert!(!all_given_back("")));
    dies_at_each(
        &["recursive: taken once more", "recursive: given back", "recursive: taken"],
        all_given_back,
    );
}

#[test]
#[should_panic]
fn mutant_all_is_given_back_but_one() {
    mutant::with("all is given back but one", || model(|| _ = all_given_back("")));
}
