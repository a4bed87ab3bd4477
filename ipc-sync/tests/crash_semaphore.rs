//! Owners of permits killed: at each named crash point and at random instants, by exec and over a fork server. Permits come back, none too many.
//!
//! `cargo xtask crash ipc-sync`, or `cargo test --test crash_semaphore`. A killer, a program of its own, arms a point (`src/crash.rs`) for its children, sees who dies
//! there, and counts: what the living have and what is to be had is what there was. All kills are printed; a point at which nobody died fails.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "victims/mod.rs"]
mod victims;

use std::sync::atomic::Ordering::SeqCst;

use ipc_core::Child;
use ipc_shm::Atomic;
use ipc_sync::{CountingSemaphore, Semaphore};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use victims::{METHODS, bury_one_of, context, crash_points, mine, points, program, rounds, start};

/// How many permits there are.
const ALL: u32 = 3;

/// A worker's life: it acquires one or two, and gives them back.
fn work(semaphore: Semaphore, over: Atomic<u32>, busy: Atomic<u32>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    while over.load(SeqCst) == 0 {
        let number = 1 + rng.below(2) as u32;
        let permit = semaphore.acquire_many(number).unwrap();
        // An independent tally: nobody is let in beyond what there is. At the points nobody dies with a number in it.
        let inside = busy.fetch_add(number, SeqCst) + number;
        assert!(inside <= ALL, "{inside} are inside");
        busy.fetch_sub(number, SeqCst);
        drop(permit);
    }
}

/// The same for who may die anywhere, and leave any number in a tally.
fn work_on(semaphore: Semaphore, over: Atomic<u32>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    while over.load(SeqCst) == 0 {
        drop(semaphore.acquire_many(1 + rng.below(2) as u32).unwrap());
    }
}

/// One that gives back what another has.
fn give(semaphore: Semaphore) {
    semaphore.release().unwrap();
}

/// One that has a permit, and is killed.
fn have(semaphore: Semaphore) {
    semaphore.acquire().unwrap().forget();
    loop {
        std::thread::park();
    }
}

/// All are there, and no more.
#[track_caller]
fn all_are_there(semaphore: &Semaphore) {
    let permits = semaphore.try_acquire_many(ALL).unwrap().expect("a permit has not come back");
    assert_eq!(semaphore.available(), 0, "there is one more than there was");
    drop(permits);
    assert_eq!(semaphore.available(), ALL);
}

/// Kills workers at a point, so many.
fn kill_workers(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    for _ in 0..rounds {
        let semaphore = Semaphore::new(ALL).unwrap();
        let [over, busy] = [(); 2].map(|()| Atomic::new(0).unwrap());
        let mut child =
            || start(&context, work, (semaphore.clone(), over.clone(), busy.clone(), rng.next_u64()));
        let mut workers: Vec<Child<()>> = (0..2).map(|_| child()).collect();
        match &*point {
            "semaphore: given back for another" => {
                over.store(1, SeqCst);
                victims::all_end(std::mem::take(&mut workers));
                let owner = start(&context, have, (semaphore.clone(),));
                assert!(wait_until(GENEROUS, || semaphore.available() < ALL));
                points.arm(&point, 1);
                bury_one_of(&mut vec![start(&context, give, (semaphore.clone(),))]);
                owner.kill().unwrap();
                owner.join().unwrap_err();
            }
            "semaphore: dead entry cleared" | "semaphore: about to repair" => {
                points.arm_both("semaphore: acquired", &point);
                bury_one_of(&mut workers);
                // Of the others one looks for the dead, or has the lock next.
                workers.push(child());
                bury_one_of(&mut workers);
            }
            _ => {
                points.arm(&point, 1 + (seed % 3) as u32);
                bury_one_of(&mut workers);
            }
        }
        points.disarm();
        over.store(1, SeqCst);
        assert_eq!(victims::all_end(workers), 0);
        all_are_there(&semaphore);
    }
}

#[test]
fn killed_at_each_point() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["semaphore"]) {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let args = (method.to_owned(), point.to_owned(), rounds(method), seed);
            let killer = program(&crash, kill_workers, args);
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

/// Kills workers at random instants, so many.
fn kill_at_random(method: String, rounds: u32, seed: u64) {
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let mut seeds = Rng::from_seed(!seed);
    let semaphore = Semaphore::new(ALL).unwrap();
    let over = Atomic::new(0).unwrap();
    let mut child = || start(&context, work_on, (semaphore.clone(), over.clone(), seeds.next_u64()));
    let mut workers: Vec<Child<()>> = (0..2).map(|_| child()).collect();
    for _ in 0..rounds {
        std::thread::sleep(rng.duration(std::time::Duration::from_millis(2)));
        workers[0].kill().unwrap();
        bury_one_of(&mut workers);
        // All of them, while others come and go.
        let all = semaphore.acquire_many(ALL).unwrap();
        assert_eq!(semaphore.available(), 0, "there is one more than there was");
        drop(all);
        workers.push(child());
    }
    over.store(1, SeqCst);
    assert_eq!(victims::all_end(workers), 0);
    all_are_there(&semaphore);
}

#[test]
fn killed_at_random() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        let (rounds, seed) = (rounds(method) * 4, rng.next_u64());
        let killer = program(&crash, kill_at_random, (method.to_owned(), rounds, seed));
        killer.join().unwrap_or_else(|error| panic!("{method}, {seed}: {error}"));
        kills(&format!("semaphore: at random, {method}"), rounds.into());
    }
}

/// One that takes what comes.
fn take(semaphore: CountingSemaphore, over: Atomic<u32>) {
    while over.load(SeqCst) == 0 {
        semaphore.acquire().unwrap();
    }
}

/// Kills who releases a permit that belongs to nobody, after it is there: those who sleep get it all the same.
fn kill_releasers(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let semaphore = CountingSemaphore::new(0).unwrap();
    let over = Atomic::new(0).unwrap();
    let takers: Vec<Child<()>> =
        (0..2).map(|_| start(&context, take, (semaphore.clone(), over.clone()))).collect();
    for _ in 0..rounds {
        points.arm(&point, 1);
        let give = |semaphore: CountingSemaphore| semaphore.release_many(2).unwrap();
        bury_one_of(&mut vec![start(&context, give, (semaphore.clone(),))]);
        assert!(
            wait_until(GENEROUS, || semaphore.available() == 0),
            "somebody is left asleep: {semaphore:?}"
        );
    }
    over.store(1, SeqCst);
    semaphore.release_many(2).unwrap();
    assert_eq!(victims::all_end(takers), 0);
}

#[test]
fn killed_as_it_releases() {
    let _leaks = leaks();
    let crash = crash_points();
    for method in METHODS {
        for point in ["gate: changed", "gate: woke"] {
            let before = crash.kills(point);
            let args = (method.to_owned(), point.to_owned(), rounds(method));
            program(&crash, kill_releasers, args)
                .join()
                .unwrap_or_else(|error| panic!("{point}, {method}: {error}"));
            kills(&format!("counting semaphore, {point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}
