//! Processes that change an atomic and processes that wait for it, killed at random instants: nobody stays asleep beside a value that has
//! changed.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-shm`, or `cargo test --test crash_atomics`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use ipc_core::{Child, Context, Signal};
use ipc_shm::Atomic;
use ipc_testkit::{GENEROUS, Rng, kills, leaks};

/// How many wait.
const WAITERS: usize = 3;
/// What no atomic of this test is: its waiter has not begun.
const NOTHING: u64 = u64::MAX;

/// Of each method: executed children cost more than ten times as much.
fn rounds(method: &str) -> u64 {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (20_000, 180_000),
        (false, true) => (50, 450),
        (false, false) => (400, 3_600),
    };
    if method == "exec" { exec } else { server }
}

/// A waiter's life: it sleeps until there is something else, and says what.
fn wait(atomic: Atomic<u64>, said: Atomic<u64>) {
    let mut seen = atomic.load(Acquire);
    loop {
        said.store(seen, Release);
        seen = atomic.wait(seen);
    }
}

/// A changer's life: there and back, so that a value comes again; in either half.
fn change(atomic: Atomic<u64>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    loop {
        match rng.below(4) {
            0 => _ = atomic.fetch_xor(1, AcqRel),
            1 => _ = atomic.fetch_xor(1 << 32, AcqRel),
            2 => _ = atomic.fetch_update(AcqRel, Relaxed, |n| Some(n ^ (1 | 1 << 32))),
            _ => atomic.store(rng.below(4), Release),
        }
        (0..rng.below(60)).for_each(|_| std::hint::spin_loop());
    }
}

struct Waiter {
    child: Child<()>,
    said: Atomic<u64>,
}

impl Waiter {
    fn start(context: &Context, atomic: &Atomic<u64>) -> Waiter {
        let said = Atomic::new(NOTHING).unwrap();
        Waiter { child: context.spawn(wait, (atomic.clone(), said.clone())).unwrap(), said }
    }

    /// It sees, in the end, what is there. This is asked while nobody changes anything any more.
    fn sees(&self, value: u64) {
        let deadline = Instant::now() + GENEROUS;
        let mut said = self.said.load(Acquire);
        while said != value {
            let now = self.said.wait_deadline(said, deadline);
            said = now.unwrap_or_else(|| panic!("it sleeps beside {value}, and has seen {said}"));
        }
    }

    fn end(self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.join().unwrap_err().signal(), Some(Signal::KILL));
    }
}

fn killed_at_random(method: &str) {
    let _leaks = leaks();
    let context = if method == "exec" { Context::exec() } else { Context::fork_server() };
    let atomic = Atomic::new(0_u64).unwrap();
    let mut rng = Rng::new();
    let mut waiters: Vec<Waiter> = (0..WAITERS).map(|_| Waiter::start(&context, &atomic)).collect();
    let (mut changers, mut sleepers, mut changed) = (0, 0, 0);
    for _ in 0..rounds(method) {
        let before = atomic.load(Acquire);
        // Two at once, every other time.
        let children: Vec<Child<()>> = (0..1 + rng.below(2))
            .map(|_| context.spawn(change, (atomic.clone(), rng.next_u64())).unwrap())
            .collect();
        // A round in which nothing was changed yet shows nothing.
        atomic.wait_timeout(before, Duration::from_millis(5));
        std::thread::sleep(rng.duration(Duration::from_micros(200)));
        if rng.below(3) == 0 {
            waiters.swap_remove(rng.below(WAITERS as u64) as usize).end();
            waiters.push(Waiter::start(&context, &atomic));
            sleepers += 1;
        }
        for child in children {
            child.kill().unwrap();
            assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
            changers += 1;
        }
        let after = atomic.load(Acquire);
        changed += u64::from(before != after);
        waiters.iter().for_each(|waiter| waiter.sees(after));
    }
    waiters.into_iter().for_each(Waiter::end);
    println!("{method}: after {changed} rounds there was something else");
    assert!(changed > 0);
    kills(&format!("changer, random instant, {method}"), changers);
    kills(&format!("waiter, random instant, {method}"), sleepers);
}

#[test]
fn changers_and_waiters_killed_at_random_instants_executed() {
    killed_at_random("exec");
}

#[test]
fn changers_and_waiters_killed_at_random_instants_cloned() {
    killed_at_random("fork server");
}
