//! Those who make and free objects of an arena, killed at random instants: nothing is given out twice, nothing that was freed is left,
//! and nobody waits for the dead.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-shm`, or `cargo test --test crash_arena`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ipc_core::{Child, Context, Signal};
use ipc_shm::{Arena, Array, Error};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

/// How many make and free at once.
const WORKERS: usize = 3;
/// How many objects a worker has at most.
const MOST: usize = 20;

/// Of each method: executed children cost more than ten times as much.
fn rounds(method: &str) -> usize {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (10_000, 100_000),
        (false, true) => (20, 150),
        (false, false) => (200, 1_800),
    };
    if method == "exec" { exec } else { server }
}

/// A worker's life: each of its objects is full of one number, and stays so as long as it is not freed.
fn work(arena: Arena, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut objects: Vec<(Array<u64>, u64)> = Vec::new();
    loop {
        if objects.len() < MOST && rng.below(2) == 0 {
            let number = rng.next_u64();
            let elements = vec![number; rng.below(80) as usize];
            match Array::from_slice_with(&elements, &arena) {
                Ok(array) => objects.push((array, number)),
                // Of what the dead have left.
                Err(Error::NoMemory { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        } else if !objects.is_empty() {
            let (array, number) = objects.swap_remove(rng.below(objects.len() as u64) as usize);
            assert!(array.to_vec().unwrap().iter().all(|element| *element == number), "given out twice");
            arena.free(&array).unwrap();
            assert!(matches!(array.get(0), Err(Error::Freed | Error::OutOfBounds { .. })));
        }
    }
}

fn killed_at_random(method: &str) {
    let _leaks = leaks();
    let context = if method == "exec" { Context::exec() } else { Context::fork_server() };
    let mut rng = Rng::new();
    // What the dead had is never freed, so an arena lasts for some hundred kills.
    const EACH: usize = 300;
    let rounds = rounds(method);
    for first in (0..rounds).step_by(EACH) {
        let arena = Arena::lazy(EACH * MOST * 1024).unwrap();
        let kept = Array::from_slice_with(&[1_u64; 100], &arena).unwrap();
        let empty = (arena.available(), arena.objects());
        let start =
            |rng: &mut Rng| -> Child<()> { context.spawn(work, (arena.clone(), rng.next_u64())).unwrap() };
        let mut workers: Vec<Child<()>> = (0..WORKERS).map(|_| start(&mut rng)).collect();
        let count = EACH.min(rounds - first);
        for _ in 0..count {
            let victim = workers.swap_remove(rng.below(WORKERS as u64) as usize);
            std::thread::sleep(rng.duration(Duration::from_micros(400)));
            victim.kill().unwrap();
            let error = victim.join().unwrap_err();
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            workers.push(start(&mut rng));
            // Nobody waits for the dead.
            let mine = Array::from_slice_with(&[2_u64; 30], &arena).unwrap();
            arena.free(&mine).unwrap();
        }
        assert!(wait_until(GENEROUS, || arena.objects() > empty.1), "nobody made anything");
        for worker in workers {
            worker.kill().unwrap();
            worker.join().unwrap_err();
        }
        assert_eq!(kept.to_vec().unwrap(), [1; 100]);
        // Each of the dead has left what it had, and nothing half done: every object that there is has an entry, and no more is used.
        let mine = Array::from_slice_with(&[3_u64; 30], &arena).unwrap();
        arena.free(&mine).unwrap();
        let left = arena.objects() - empty.1;
        let used = empty.0 - arena.available();
        assert!(left <= (count + WORKERS) * MOST, "{left} objects");
        // 640 bytes of data at most, and pages of 32 entries.
        let pages = (count + WORKERS) * MOST / 32 + 2;
        assert!(used <= left * 640 + pages * 4096, "{left} objects, {used} bytes");
    }
    kills(&format!("arena, random instant, {method}"), rounds as u64);
}

#[test]
fn makers_killed_at_random_instants_executed() {
    killed_at_random("exec");
}

#[test]
fn makers_killed_at_random_instants_cloned() {
    killed_at_random("fork server");
}
