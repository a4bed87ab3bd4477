//! Processes that count a latch down and processes that wait for it, killed at each point: everybody else gets through.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-sync`, or `cargo test --test crash_latch`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context};
use ipc_sync::Latch;
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

#[path = "victims/mod.rs"]
mod victims;

use victims::{METHODS, all_end, bury, context, mine, points, program, rounds, sleeps, start};

/// How many wait.
const WAITERS: usize = 3;

/// So many who wait for it, and sleep, or have died on the way.
fn asleep(context: &Context, latch: &Latch) -> Vec<Child<()>> {
    let wait = |latch: Latch| latch.wait();
    let waiters: Vec<_> = (0..WAITERS).map(|_| start(context, wait, (latch.clone(),))).collect();
    let all = || waiters.iter().all(|waiter| sleeps(waiter.pid()) || !waiter.is_alive());
    assert!(wait_until(GENEROUS, all), "somebody does not come");
    waiters
}

/// Kills who makes the last step at a point, so many times.
fn kill_counters(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    for _ in 0..rounds {
        let latch = Latch::new(2).unwrap();
        let waiters = asleep(&context, &latch);
        latch.count_down(1);
        points.arm(&point, 1);
        bury(start(&context, |latch: Latch| _ = latch.count_down(1), (latch.clone(),)));
        if point == "gate: about to change" {
            assert_eq!(latch.missing(), 1);
            latch.count_down(1);
        }
        assert!(latch.is_open());
        assert_eq!(all_end(waiters), 0);
    }
}

/// Kills who waits at a point, so many.
fn kill_waiters(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    for _ in 0..rounds {
        let latch = Latch::new(1).unwrap();
        points.arm(&point, 1 + rng.below(WAITERS as u64) as u32);
        let waiters = asleep(&context, &latch);
        latch.count_down(1);
        assert_eq!(all_end(waiters), 1);
    }
}

#[test]
fn killed_at_points() {
    let _leaks = leaks();
    let all = points(&["gate"]);
    let crash = CrashPoints::create(&all).unwrap();
    let mut rng = Rng::new();
    let counters = ["gate: about to change", "gate: changed", "gate: mark taken", "gate: woke"];
    for method in METHODS {
        for point in &all {
            let (before, seed, point) = (crash.kills(point), rng.next_u64(), (*point).to_owned());
            // All who wait begin anew each time, so there are fewer rounds.
            let rounds = rounds(method).div_ceil(4);
            let killer = if counters.contains(&&*point) {
                program(&crash, kill_counters, (method.to_owned(), point.clone(), rounds))
            } else {
                program(&crash, kill_waiters, (method.to_owned(), point.clone(), rounds, seed))
            };
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("latch, {point}, {method}"), (crash.kills(&point) - before).into());
        }
    }
}
