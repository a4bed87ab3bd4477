//! Those who make and free objects of an arena, killed at each step of it and at random instants: nothing is given out twice, nothing is
//! half done, and nobody waits for the dead.

use std::time::Duration;

use ipc_core::{Child, Context, Signal};
use ipc_shm::{Arena, Array, Error, Value};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::{METHODS, bury, context, crash_points, mine, points, program, start};

/// How many make and free at once.
const WORKERS: usize = 3;
/// How many objects a worker has at most.
const MOST: usize = 20;

/// Bytes of an array's data here, which 320 fill in five granules.
const DATA: usize = 320;

/// Makes one of each and frees them, without end.
fn make_and_free(arena: Arena) {
    loop {
        let array = Array::from_slice_with(&[1_u64; DATA / 8], &arena).unwrap();
        let value = Value::new_with(2_u64, &arena).unwrap();
        assert_eq!((array.get(39).unwrap(), value.get().unwrap()), (1, 2));
        arena.free(&array).unwrap();
        arena.free(&value).unwrap();
    }
}

/// Kills makers at a point, each in an arena of its own: what is there then is what it held, all of it.
fn kill_at(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    for round in 0..rounds {
        let arena = Arena::new(1 << 16).unwrap();
        let empty = arena.available();
        // Later rounds die when all has been done some times before; a page is taken once.
        let nth = if point.contains("page") { 1 } else { 1 + round % 3 };
        // Who finishes what another has begun comes second.
        let second = point == "arena: unmade";
        if second {
            points.arm("arena: entry lives", nth);
            bury(&mut vec![start(&context, make_and_free, (arena.clone(),))]);
        }
        points.arm(&point, if second { 1 } else { nth });
        bury(&mut vec![start(&context, make_and_free, (arena.clone(),))]);
        // Whoever comes next finishes it.
        let mine = Value::new_with(3_u64, &arena).unwrap();
        arena.free(&mine).unwrap();
        let (objects, used) = (arena.objects(), empty - arena.available());
        // The two have their entries in one page, and a place that nobody named holds nothing.
        let arrays = (used - 4096) / DATA;
        assert_eq!(used, 4096 + arrays * DATA, "{point}: {objects} objects");
        assert!(objects <= 3 && arrays <= objects.min(2), "{point}: {objects} objects, {arrays} arrays");
        let rest = Array::<u8>::zeroed_with(arena.available() - 4096, &arena).unwrap();
        arena.free(&rest).unwrap();
    }
}

#[test]
fn makers_killed_at_points() {
    let _leaks = leaks();
    let crash = crash_points();
    for method in METHODS {
        for point in points(&["arena"]) {
            let before = crash.kills(point);
            let args = (method.to_owned(), point.to_owned(), crate::rounds(method, "") / 2);
            let killer = program(&crash, "", kill_at, args);
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}: {error}"));
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

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
            assert!(matches!(array.to_vec(), Err(Error::Freed)));
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
            let error = worker.join().unwrap_err();
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
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
