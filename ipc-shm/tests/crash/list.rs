//! Who changes items of a list, killed at each step of it: each item is the old one, the new one, or `None` where it was the changing one, and the
//! next to lock is told, once.

use std::time::Duration;

use ipc_core::Child;
use ipc_shm::{Error, Item, LockError, ShareableList};
use ipc_testkit::{Rng, kills, leaks};

use crate::{METHODS, bury, context, crash_points, mine, points, program, start};

/// How many items a list has here.
const LEN: usize = 6;

/// What stands at each place after so many changes of all: every type and length in turn, so that an item half changed would be seen.
fn items(generation: usize) -> [Item; LEN] {
    let letter = char::from(b'a' + (generation % 26) as u8);
    let long = |len: usize| String::from(letter).repeat(len);
    let all = [
        Item::Int(-1 - generation as i64),
        Item::Str(long(23)),
        Item::None,
        Item::Bytes(vec![generation as u8; 9]),
        Item::Float(0.5 + generation as f64),
        Item::Bool(generation % 2 == 1),
        Item::Str(long(1)),
    ];
    std::array::from_fn(|at| all[(at + generation) % all.len()].clone())
}

/// Changes all items in turn, without end: under one lock, or each under its own.
fn change(list: ShareableList, at_once: bool) {
    for generation in 1.. {
        if at_once {
            let mut guard = list.lock().unwrap();
            for (at, item) in items(generation).into_iter().enumerate() {
                guard.set(at, item).unwrap();
            }
        } else {
            for (at, item) in items(generation).into_iter().enumerate() {
                list.set(at, item).unwrap();
            }
        }
    }
}

/// Has all that is to be known of a death been told: to the next who locks, by that pid, and to nobody after him?
fn told_once(list: &ShareableList, dead: u32) -> Vec<Item> {
    // Who cannot repair it leaves it to one who can.
    assert!(matches!(list.to_vec(), Err(Error::OwnerDied { pid }) if pid == dead));
    let guard = match list.lock_timeout(Duration::ZERO) {
        Err(LockError::OwnerDied(died)) if died.pid() == dead => died.recover(),
        other => panic!("the death of {dead} is told as {other:?}"),
    };
    let found = guard.to_vec().unwrap();
    drop(guard);
    assert_eq!(list.to_vec().unwrap(), found, "told twice, or changed");
    found
}

/// Kills who changes at a point, each in a list of its own.
fn kill_at(method: String, point: String, rounds: usize, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let place = || Item::Str("_".repeat(23));
    for round in 0..rounds {
        // Room for the longest in each place.
        let list = ShareableList::new((0..LEN).map(|_| place())).unwrap();
        for (at, item) in items(0).into_iter().enumerate() {
            list.set(at, item).unwrap();
        }
        let before = rng.below(4 * LEN as u64) as usize;
        points.arm(&point, 1 + before as u32);
        let mut changer = vec![start(&context, change, (list.clone(), round % 2 == 0))];
        let dead = bury(&mut changer);
        let found = told_once(&list, dead);
        let (generation, changing) = (before / LEN, before % LEN);
        let (old, new) = (items(generation), items(generation + 1));
        let expected: Vec<Item> = (0..LEN)
            .map(|at| match (at.cmp(&changing), &*point) {
                (std::cmp::Ordering::Less, _) => new[at].clone(),
                (std::cmp::Ordering::Greater, _) => old[at].clone(),
                (_, "list: about to change") => old[at].clone(),
                (_, "list: item is whole") => new[at].clone(),
                _ => Item::None,
            })
            .collect();
        assert_eq!(found, expected, "{point}, change {before}");
        // Places have stayed as they were, and the next process finds a list like any other.
        let next: Child<()> = start(&context, fill, (list.clone(),));
        next.join().unwrap();
        assert_eq!(list.to_vec().unwrap(), vec![place(); LEN]);
    }
}

/// The longest that fits, everywhere.
fn fill(list: ShareableList) {
    let mut guard = list.lock().unwrap();
    for at in 0..LEN {
        guard.set(at, "_".repeat(23)).unwrap();
    }
}

/// Of each point, by method: executed children cost more than ten times as much.
fn rounds(method: &str) -> usize {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (300, 3_000),
        (false, true) => (4, 20),
        (false, false) => (12, 100),
    };
    if method == "exec" { exec } else { server }
}

#[test]
fn changers_of_items_killed_at_points() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["list"]) {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let args = (method.to_owned(), point.to_owned(), rounds(method), seed);
            let killer = program(&crash, "", kill_at, args);
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}
