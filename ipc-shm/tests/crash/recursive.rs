//! Owners of a recursive lock, killed at each step of its count: the next is told, and counts from the beginning.

use bytemuck::Zeroable;
use ipc_core::Child;
use ipc_shm::{LockError, RLock, RLockGuard, Value};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::lock::{Data, half_way};
use crate::{HALF_WAY, METHODS, all_end, bury, context, crash_points, mine, points, program, rounds, start};

/// The lock, whoever has died with it.
fn take<'a>(lock: &'a RLock, value: &Value<Data>) -> RLockGuard<'a> {
    match lock.lock_timeout(GENEROUS) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => {
            value.update(|data| data.listeners = [std::process::id(), data.listeners[0]]).unwrap();
            half_way();
            value.update(|data| data.repair(died.pid())).unwrap();
            died.recover()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Once through the lock, at a depth of three; the halves are changed at two of them.
fn turn(lock: &RLock, value: &Value<Data>) -> Data {
    let outer = take(lock, value);
    assert_eq!(lock.depth(), 1, "it counts from the beginning");
    let middle = lock.lock().unwrap();
    value.update(|data| data.halves[0] += 1).unwrap();
    let inner = lock.try_lock().unwrap();
    assert_eq!(lock.depth(), 3);
    // Guards of one thread are dropped in any order.
    drop(outer);
    value.update(|data| data.halves[1] = data.halves[0]).unwrap();
    let data = value.get().unwrap();
    assert_eq!(data.halves[0], data.halves[1], "two have the lock");
    drop((middle, inner));
    data
}

fn fight(lock: RLock, value: Value<Data>) {
    while turn(&lock, &value).over == 0 {}
}

/// Kills owners at a point, so many.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let (lock, value) = (RLock::new().unwrap(), Value::new(Data::zeroed()).unwrap());
    let fighter = || start(&context, fight, (lock.clone(), value.clone()));
    let mut fighters: Vec<Child<()>> = (0..3).map(|_| fighter()).collect();
    for _ in 0..rounds {
        let (before, told) = (points.kills(&point), turn(&lock, &value).told);
        points.arm(&point, 1 + rng.below(4) as u32);
        assert!(wait_until(GENEROUS, || points.kills(&point) > before), "nobody comes to {point}");
        let dead = bury(&mut fighters);
        turn(&lock, &value);
        let data = value.get().unwrap();
        assert_eq!((data.told, data.dead), (told + 1, dead), "{point}");
        fighters.push(fighter());
    }
    value.update(|data| data.over = 1).unwrap();
    assert_eq!(all_end(fighters), 0);
    assert!(!lock.is_locked());
}

/// Kills an owner, and then who was told of that, before it has repaired anything; so many of both.
fn kill_who_is_told(method: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let (lock, value) = (RLock::new().unwrap(), Value::new(Data::zeroed()).unwrap());
    let fighter = || start(&context, fight, (lock.clone(), value.clone()));
    let mut fighters: Vec<Child<()>> = (0..3).map(|_| fighter()).collect();
    for _ in 0..rounds {
        let (before, told) = (points.kills(HALF_WAY), turn(&lock, &value).told);
        points.arm_both("recursive: taken", HALF_WAY);
        assert!(wait_until(GENEROUS, || points.kills(HALF_WAY) > before), "nobody was told");
        let both = [bury(&mut fighters), bury(&mut fighters)];
        let data = turn(&lock, &value);
        // Of the one who had been told, and not of the one of whom it was told.
        assert_eq!((data.told, data.dead), (told + 1, data.listeners[1]), "{both:?}: {data:?}");
        assert!(both.contains(&data.dead), "{both:?}: {data:?}");
        fighters.extend([fighter(), fighter()]);
    }
    value.update(|data| data.over = 1).unwrap();
    assert_eq!(all_end(fighters), 0);
}

#[test]
fn who_is_told_of_a_death_dies() {
    let _leaks = leaks();
    let crash = crash_points();
    for method in METHODS {
        let before = crash.kills(HALF_WAY);
        let killer = program(&crash, "", kill_who_is_told, (method.to_owned(), rounds(method, "") / 4));
        killer.join().unwrap_or_else(|error| panic!("{method}: {error}"));
        kills(&format!("told of a recursive lock, {method}"), (crash.kills(HALF_WAY) - before).into());
    }
}

#[test]
fn owners_of_a_recursive_lock_killed_at_points() {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["recursive"]) {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let killer = program(
                &crash,
                "",
                kill_at,
                (method.to_owned(), point.to_owned(), rounds(method, "") / 2, seed),
            );
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}
