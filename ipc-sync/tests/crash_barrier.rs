//! Parties of a barrier killed, at each named crash point, by exec and over a fork server: whoever is left passes or is told, and after a reset it is as new.
//!
//! As `crash_semaphore.rs`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "victims/mod.rs"]
mod victims;

use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context as Waking, Waker};

use ipc_core::{Child, Signal};
use ipc_shm::Atomic;
use ipc_sync::{Barrier, Error};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use victims::{METHODS, context, crash_points, mine, points, program, rounds, start};

/// How many are to come.
const PARTIES: u32 = 3;

/// A party's life: it passes until it is told that the barrier is broken; gives how often it has.
fn pass(barrier: Barrier, over: Atomic<u32>) -> u32 {
    let mut passed = 0;
    while over.load(SeqCst) == 0 {
        match barrier.wait_with(|| ()) {
            Ok(_) => passed += 1,
            Err(Error::BrokenBarrier) => break,
            Err(error) => panic!("{error}"),
        }
    }
    passed
}

/// The same, but first it comes as a future that is dropped before the others have.
fn give_up_and_pass(barrier: Barrier, over: Atomic<u32>) -> u32 {
    let mut future = Box::pin(barrier.wait_async());
    let _ = future.as_mut().poll(&mut Waking::from_waker(Waker::noop()));
    drop(future);
    pass(barrier, over)
}

/// So many have been killed, and all others have been told, though nobody has waited with a time; the barrier is as new after a reset.
fn all_are_told(barrier: &Barrier, parties: Vec<Child<u32>>, killed: usize) {
    let mut passed = Vec::new();
    let mut died = 0;
    for party in parties {
        match party.join_timeout(GENEROUS) {
            Ok(told) => passed.push(told.expect("somebody is left asleep")),
            Err(error) => {
                assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
                died += 1;
            }
        }
    }
    assert_eq!(died, killed);
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..PARTIES {
            scope.spawn(|| barrier.wait_timeout(GENEROUS).unwrap());
        }
    });
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

/// Kills parties at a point, so many.
fn kill_parties(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    for _ in 0..rounds {
        let barrier = Barrier::new(PARTIES).unwrap();
        let over = Atomic::new(0).unwrap();
        // Those who look after the dead die of that as well, and one is left.
        let twice =
            ["barrier: undone", "barrier: dead party cleared", "barrier: counted anew"].contains(&&*point);
        let gives_up = point == "barrier: gives up";
        if twice {
            points.arm_both("barrier: sat down", &point);
        } else if gives_up {
            // There is no second: by then it is broken.
            points.arm(&point, 1);
        } else {
            points.arm(&point, 1 + rng.below(5) as u32);
        }
        let party = || match gives_up {
            true => start(&context, give_up_and_pass, (barrier.clone(), over.clone())),
            false => start(&context, pass, (barrier.clone(), over.clone())),
        };
        let before = points.kills(&point);
        let mut parties: Vec<Child<u32>> = (0..PARTIES).map(|_| party()).collect();
        assert!(wait_until(GENEROUS, || points.kills(&point) > before), "nobody has died");
        if twice {
            parties.push(party());
        }
        points.disarm();
        if point == "barrier: stood up" {
            // Nobody can know that it does not come any more.
            assert!(wait_until(GENEROUS, || barrier.waiting() == PARTIES as usize - 1));
            barrier.abort().unwrap();
        }
        all_are_told(&barrier, parties, 1 + usize::from(twice));
    }
}

#[test]
fn killed_at_each_point() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["barrier"]) {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let args = (method.to_owned(), point.to_owned(), rounds(method), seed);
            let killer = program(&crash, kill_parties, args);
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

/// Kills parties at random instants, so many.
fn kill_at_random(method: String, rounds: u32, seed: u64) {
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    for _ in 0..rounds {
        let barrier = Barrier::new(PARTIES).unwrap();
        let over = Atomic::new(0).unwrap();
        let party = || start(&context, pass, (barrier.clone(), over.clone()));
        let parties: Vec<Child<u32>> = (0..PARTIES).map(|_| party()).collect();
        assert!(wait_until(GENEROUS, || barrier.waiting() > 0));
        std::thread::sleep(rng.duration(std::time::Duration::from_millis(2)));
        parties[0].kill().unwrap();
        // It may have been on its way, and then nobody can know.
        if !wait_until(std::time::Duration::from_millis(150), || barrier.is_broken()) {
            barrier.abort().unwrap();
        }
        all_are_told(&barrier, parties, 1);
    }
}

#[test]
fn killed_at_random() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        let (rounds, seed) = (rounds(method), rng.next_u64());
        let killer = program(&crash, kill_at_random, (method.to_owned(), rounds, seed));
        killer.join().unwrap_or_else(|error| panic!("{method}, {seed}: {error}"));
        kills(&format!("barrier: at random, {method}"), rounds.into());
    }
}
