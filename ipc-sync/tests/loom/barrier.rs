//! Barriers, whose parties die.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::process::Life;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::time::Until;
use ipc_sync::raw::RawBarrier;
use ipc_sync::{Error, Result};

use crate::kernel::{Kernel, Thread};
use crate::people::{Citizen, Town};
use crate::{dies_at_each, large};

type Barrier = Arc<RawBarrier>;

fn barrier(parties: u32) -> Barrier {
    Arc::new(RawBarrier::new(parties).unwrap())
}

fn wait(barrier: &Barrier, thread: &Thread, me: &Citizen) -> Result<u32> {
    barrier.wait(thread, me, Until::Forever, None::<fn()>)
}

/// Two pass together, and again; nobody is a time ahead.
fn two_times() {
    let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
    let came = Arc::new(AtomicU32::new(0));
    let life = |two: Barrier, came: Arc<AtomicU32>| {
        move |thread: &Thread, me: &Citizen| {
            [2, 4].map(|all| {
                came.fetch_add(1, SeqCst);
                let index = wait(&two, thread, me).unwrap();
                assert!(came.load(SeqCst) >= all, "it passed before all had come");
                index
            })
        }
    };
    let other = town.start(&kernel, 2, "", life(two.clone(), came.clone()));
    let mine = town.run(&kernel, 1, "", life(two.clone(), came)).unwrap();
    let theirs = other.join().unwrap().unwrap();
    assert_eq!([mine[0] + theirs[0], mine[1] + theirs[1]], [1, 1]);
}

#[test]
fn all_pass_together() {
    large(2, two_times);
}

#[test]
#[should_panic]
fn mutant_nobody_may_come_back() {
    mutant::with("nobody may come back", || large(1, two_times));
}

fn one_dies(dies_at: &'static str) -> bool {
    one_of_dies(dies_at, |_, _, _| ())
}

/// One of two dies: either both have passed, or the other is told; and after a reset it is as new.
fn one_of_dies(dies_at: &'static str, before: fn(&Arc<Kernel>, &Town, &Barrier)) -> bool {
    let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
    before(&kernel, &town, &two);
    let theirs = two.clone();
    let victim = town
        .start(&kernel, 2, dies_at, move |thread, me| theirs.wait(thread, me, Until::Forever, Some(|| ())));
    let passed = town.run(&kernel, 1, "", |thread, me| wait(&two, thread, me)).unwrap();
    let died = victim.join().unwrap().is_none();
    assert!(passed.is_ok() || matches!(passed, Err(Error::BrokenBarrier)), "{passed:?}");
    assert!(died || passed.is_ok());
    town.run(&kernel, 1, "", |thread, me| {
        two.reset(thread, me).unwrap();
        let alone = two.wait(thread, me, Until::Deadline(std::time::Instant::now()), None::<fn()>);
        assert!(matches!(alone, Err(Error::BrokenBarrier)) && two.is_broken(), "a dead party stood for one");
    });
    died
}

#[test]
fn a_party_dies_anywhere() {
    let points = [
        "barrier: sat down",
        "barrier: all are there",
        "barrier: about to act",
        "barrier: has acted",
        "barrier: stood up",
    ];
    dies_at_each(&points, 2, one_dies);
    // Who enters the ledger changes something at the gate, too, and has not come yet: so this one has entered before.
    dies_at_each(&["gate: changed", "gate: mark taken"], 2, one_who_was_here_dies);
}

fn one_who_was_here_dies(dies_at: &'static str) -> bool {
    one_of_dies(dies_at, |kernel, town, two| {
        town.run(kernel, 2, "", |thread, me| {
            two.wait(thread, me, Until::Deadline(std::time::Instant::now()), None::<fn()>).unwrap_err();
            two.reset(thread, me).unwrap();
        });
    })
}

#[test]
#[should_panic]
fn mutant_nobody_looks_for_the_dead() {
    mutant::with("nobody looks for the dead", || dies_at_each(&["barrier: about to act"], 2, one_dies));
}

#[test]
#[should_panic]
fn mutant_nothing_is_repaired() {
    mutant::with("nothing is repaired", || {
        dies_at_each(&["barrier: sat down", "barrier: stood up"], 2, one_dies)
    });
}

/// One has died; who finds it dies of that, too, and the third is told.
fn buried(dies_at: &'static str) -> bool {
    let (kernel, town, three) = (Kernel::new(), Town::new(), barrier(3));
    assert!(town.run(&kernel, 4, "gate: marked", |thread, me| wait(&three, thread, me)).is_none());
    let theirs = three.clone();
    let second = town.start(&kernel, 2, dies_at, move |thread, me| wait(&theirs, thread, me));
    let told = town.run(&kernel, 1, "", |thread, me| wait(&three, thread, me)).unwrap();
    assert!(matches!(told, Err(Error::BrokenBarrier)), "{told:?}");
    second.join().unwrap().is_none()
}

#[test]
fn who_buries_dies_anywhere() {
    dies_at_each(&["barrier: undone", "barrier: dead party cleared"], 2, buried);
}

/// One has died, and another has its number by now: that one is told, as the last to come and as one who sleeps.
fn a_number_is_used_again(parties: u32) {
    let (kernel, town, some) = (Kernel::new(), Town::new(), barrier(parties));
    assert!(town.run(&kernel, 4, "gate: marked", |thread, me| wait(&some, thread, me)).is_none());
    let again = Life { pid: 4, started: 8 };
    let told = town.run_as(&kernel, 1, again, "", |thread, me| wait(&some, thread, me)).unwrap();
    assert!(matches!(told, Err(Error::BrokenBarrier)), "{told:?}");
}

#[test]
fn one_whose_number_is_used_again() {
    large(2, || a_number_is_used_again(2));
    large(2, || a_number_is_used_again(3));
}

#[test]
#[should_panic]
fn mutant_a_process_is_its_number() {
    mutant::with("a process is its number", || large(2, || a_number_is_used_again(2)));
}

#[test]
#[should_panic]
fn mutant_a_process_is_its_number_and_sleeps() {
    mutant::with("a process is its number", || large(2, || a_number_is_used_again(3)));
}

/// A future at it, as its executor polls it: it has come; now it looks twice, and is dropped if it has not passed by then.
fn polled(barrier: &Barrier, thread: &Thread, me: &Citizen, drops: bool) -> Result<u32> {
    let until = Until::Forever;
    let mut action = None::<fn()>;
    let behind = loop {
        match barrier.try_arrive(thread, me, until, &mut action)? {
            Some(behind) => break behind,
            None => loom::thread::yield_now(),
        }
    };
    loop {
        match barrier.try_pass(thread, me, until)? {
            Some(passed) => return passed.then_some(behind).ok_or(Error::BrokenBarrier),
            None if drops => {
                barrier.give_up(thread, me)?;
                return Err(Error::BrokenBarrier);
            }
            None => loom::thread::yield_now(),
        }
    }
}

/// One sleeps at it, the other polls: they pass together, twice.
#[test]
fn who_polls_passes_with_who_sleeps() {
    large(2, || {
        let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
        let theirs = two.clone();
        let other = town.start(&kernel, 2, "", move |thread, me| wait(&theirs, thread, me).unwrap());
        let mine = town.run(&kernel, 1, "", |thread, me| polled(&two, thread, me, false).unwrap()).unwrap();
        assert_eq!(mine + other.join().unwrap().unwrap(), 1);
        assert_eq!((two.waiting(), two.is_broken()), (0, false));
    });
}

/// One polls, and is dropped, unless both have come by then; or dies at it. The other passes, or is told; and after a reset it is as new.
fn one_gives_up(dies_at: &'static str) -> bool {
    let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
    let theirs = two.clone();
    let victim = town.start(&kernel, 2, dies_at, move |thread, me| {
        // It may be that all had come, and it passes as it is dropped.
        let _ = polled(&theirs, thread, me, true);
    });
    let passed = town.run(&kernel, 1, "", |thread, me| wait(&two, thread, me)).unwrap();
    let died = victim.join().unwrap().is_none();
    assert!(passed.is_ok() || matches!(passed, Err(Error::BrokenBarrier)), "{passed:?}");
    assert!(passed.is_ok() || two.is_broken());
    town.run(&kernel, 1, "", |thread, me| {
        two.reset(thread, me).unwrap();
        assert_eq!(two.waiting(), 0, "one who has gone has a seat");
        let alone = two.wait(thread, me, Until::Deadline(std::time::Instant::now()), None::<fn()>);
        assert!(
            matches!(alone, Err(Error::BrokenBarrier)) && two.is_broken(),
            "one who has gone stood for one"
        );
    });
    died
}

#[test]
fn who_polls_is_dropped_or_dies_anywhere() {
    dies_at_each(&["barrier: sat down", "barrier: gives up", "barrier: stood up"], 2, one_gives_up);
    large(2, || assert!(!one_gives_up("")));
}

#[test]
#[should_panic]
fn mutant_who_gives_up_breaks_nothing() {
    mutant::with("who gives up breaks nothing", || large(2, || assert!(!one_gives_up(""))));
}

/// The time of one is over as the other comes: both pass, or both are told.
#[test]
fn a_time_that_is_over() {
    large(3, || {
        let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
        let theirs = two.clone();
        let other = town.start(&kernel, 2, "", move |thread, me| wait(&theirs, thread, me).is_ok());
        let passed = town
            .run(&kernel, 1, "", |thread, me| {
                two.wait(thread, me, Until::Deadline(std::time::Instant::now()), None::<fn()>).is_ok()
            })
            .unwrap();
        assert_eq!((other.join().unwrap(), two.is_broken()), (Some(passed), !passed));
    });
}

/// One waits as it is reset: it is told, and then two pass.
#[test]
fn a_reset() {
    large(2, || {
        let (kernel, town, two) = (Kernel::new(), Town::new(), barrier(2));
        let theirs = two.clone();
        let other = town.start(&kernel, 2, "", move |thread, me| {
            wait(&theirs, thread, me).or_else(|_| wait(&theirs, thread, me)).is_ok()
        });
        town.run(&kernel, 1, "", |thread, me| {
            two.reset(thread, me).unwrap();
            wait(&two, thread, me).unwrap();
        });
        assert_eq!((other.join().unwrap(), two.waiting(), two.is_broken()), (Some(true), 0, false));
    });
}
