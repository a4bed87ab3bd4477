//! Processes that set a value once and processes that wait for it, killed at each point: whoever is left makes it or gets it, whole and the same for all.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-sync`, or `cargo test --test crash_once`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context, Signal};
use ipc_sync::OnceLock;
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

#[path = "victims/mod.rs"]
mod victims;

use victims::{METHODS, bury, context, mine, points, program, rounds, sleeps, start};

/// How many wait.
const WAITERS: usize = 3;

/// More than one store writes.
type Wide = [u64; 32];

fn set(once: OnceLock<Wide>, value: u64) -> bool {
    once.set([value; 32]).unwrap().is_ok()
}

/// So many who wait for it, and sleep, or have died on the way.
fn asleep(context: &Context, once: &OnceLock<Wide>) -> Vec<Child<Wide>> {
    let wait = |once: OnceLock<Wide>| *once.wait();
    let waiters: Vec<_> = (0..WAITERS).map(|_| start(context, wait, (once.clone(),))).collect();
    let all = || waiters.iter().all(|waiter| sleeps(waiter.pid()) || !waiter.is_alive());
    assert!(wait_until(GENEROUS, all), "somebody does not come");
    waiters
}

/// So many have been killed, and all others have got this.
fn all_get(waiters: Vec<Child<Wide>>, value: u64, killed: usize) {
    let mut died = 0;
    for waiter in waiters {
        match waiter.join_timeout(GENEROUS) {
            Ok(got) => assert_eq!(got.expect("somebody is left asleep"), [value; 32]),
            Err(error) => {
                assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
                died += 1;
            }
        }
    }
    assert_eq!(died, killed);
}

/// Kills who sets it at a point, so many times.
fn kill_makers(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    for _ in 0..rounds {
        let once = OnceLock::<Wide>::new().unwrap();
        let waiters = asleep(&context, &once);
        points.arm(&point, 1);
        bury(start(&context, set, (once.clone(), 1)));
        let is_set = !["once: has the lock", "once: made", "once: written", "gate: about to change"]
            .contains(&&*point);
        assert_eq!(once.get(), is_set.then_some(&[1; 32]));
        // The next may make it, if it is not there yet.
        assert_eq!(start(&context, set, (once.clone(), 2)).join().unwrap(), !is_set);
        all_get(waiters, if is_set { 1 } else { 2 }, 0);
    }
}

/// Kills who waits at a point, so many.
fn kill_waiters(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    for _ in 0..rounds {
        let once = OnceLock::<Wide>::new().unwrap();
        points.arm(&point, 1 + rng.below(WAITERS as u64) as u32);
        let waiters = asleep(&context, &once);
        assert!(set(once, 3));
        all_get(waiters, 3, 1);
    }
}

/// Several make it at once, and one of them is killed at a point: the others agree.
fn kill_one_of_many(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    for _ in 0..rounds {
        let once = OnceLock::<Wide>::new().unwrap();
        points.arm(&point, 1);
        let make = |once: OnceLock<Wide>, mine: u64| *once.get_or_init(|| [mine; 32]).unwrap();
        let makers: Vec<_> = (1..=4).map(|mine| start(&context, make, (once.clone(), mine))).collect();
        let value = *once.wait_timeout(GENEROUS).expect("nobody makes it any more");
        assert!(value == [value[0]; 32] && (1..=4).contains(&value[0]));
        all_get(makers, value[0], 1);
    }
}

#[test]
fn killed_at_points() {
    let _leaks = leaks();
    let all = points(&["gate", "once"]);
    let crash = CrashPoints::create(&all).unwrap();
    let mut rng = Rng::new();
    let makers = ["gate: about to change", "gate: changed", "gate: mark taken", "gate: woke"];
    for method in METHODS {
        for point in &all {
            let (before, seed, point) = (crash.kills(point), rng.next_u64(), (*point).to_owned());
            // All who wait begin anew each time, so there are fewer rounds.
            let (of, method, rounds) = (method, method.to_owned(), rounds(method).div_ceil(4));
            let killer = if point.starts_with("once") || makers.contains(&&*point) {
                program(&crash, kill_makers, (method.clone(), point.clone(), rounds))
            } else {
                program(&crash, kill_waiters, (method.clone(), point.clone(), rounds, seed))
            };
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            if point.starts_with("once") {
                let killer = program(&crash, kill_one_of_many, (method.clone(), point.clone(), rounds));
                killer.join().unwrap_or_else(|error| panic!("{point}, {method}: {error}"));
            }
            kills(&format!("once, {point}, {of}"), (crash.kills(&point) - before).into());
        }
    }
}
