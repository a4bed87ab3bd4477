//! Owners of locks, killed at random instants: nobody waits for the dead, what they had in their hands is reported, and nothing else is
//! lost.

use std::collections::BTreeSet;
use std::time::Duration;

use ipc_core::{Child, Signal};
use ipc_shm::{Array, Guard, LockError, Value};
use ipc_testkit::{GENEROUS, Rng, kills, leaks};

use crate::context;

/// Two halves that are equal whenever nobody has the lock.
type Halves = [u64; 2];

/// Locks that are fought for, two of them often at once.
const LOCKS: usize = 3;
/// How many fight.
const FIGHTERS: usize = 3;

/// Of each method: executed children cost more than ten times as much.
fn rounds(method: &str) -> usize {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (100_000, 900_000),
        (false, true) => (50, 450),
        (false, false) => (1_000, 9_000),
    };
    if method == "exec" { exec } else { server }
}

/// Changes one half, then the other; repairs what a dead owner has left, and notes who that was.
fn add(value: &Value<Halves>, dead: &Array<u32>, more: impl FnOnce()) {
    let mut guard = match value.lock_timeout(GENEROUS) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => {
            let pid = died.pid();
            note(dead, pid);
            let mut guard = died.recover();
            guard[1] = guard[0];
            guard
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(guard[0], guard[1], "half a change was taken for a whole one");
    guard[0] += 1;
    more();
    guard[1] += 1;
}

/// The list, whoever died with it: it is whole, for an entry is one store.
fn list(dead: &Array<u32>) -> Guard<'_, [u32]> {
    match dead.lock_timeout(GENEROUS) {
        Ok(list) => list,
        Err(LockError::OwnerDied(list)) => list.recover(),
        Err(error) => panic!("{error}"),
    }
}

fn note(dead: &Array<u32>, pid: u32) {
    let mut list = list(dead);
    let at = pid as usize % list.len();
    list[at] = pid;
}

/// Who was noted since the last look.
fn noted(dead: &Array<u32>) -> Vec<u32> {
    let mut list = list(dead);
    let pids = list.iter().copied().filter(|pid| *pid != 0).collect();
    list.fill(0);
    pids
}

/// A fighter's life.
fn fight(values: Vec<Value<Halves>>, dead: Array<u32>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    loop {
        let first = rng.below(LOCKS as u64) as usize;
        let second = rng.below(LOCKS as u64) as usize;
        // In one order, or they wait for each other.
        if first < second {
            add(&values[first], &dead, || add(&values[second], &dead, || ()));
        } else {
            add(&values[first], &dead, || (0..rng.below(50)).for_each(|_| std::hint::spin_loop()));
        }
    }
}

fn killed_at_random(method: &str) {
    let _leaks = leaks();
    let context = context(method);
    let values: Vec<Value<Halves>> = (0..LOCKS).map(|_| Value::new([0, 0]).unwrap()).collect();
    let dead = Array::<u32>::zeroed(1 << 8).unwrap();
    let mut rng = Rng::new();
    let start = |rng: &mut Rng| -> Child<()> {
        context.spawn(fight, (values.clone(), dead.clone(), rng.next_u64())).unwrap()
    };
    let mut fighters: Vec<Child<()>> = (0..FIGHTERS).map(|_| start(&mut rng)).collect();
    let (mut killed, mut told) = (BTreeSet::new(), 0_u64);
    let rounds = rounds(method);
    for _ in 0..rounds {
        let victim = fighters.swap_remove(rng.below(FIGHTERS as u64) as usize);
        std::thread::sleep(rng.duration(Duration::from_micros(300)));
        killed.insert(victim.pid());
        victim.kill().unwrap();
        assert_eq!(victim.join().unwrap_err().signal(), Some(Signal::KILL));
        fighters.push(start(&mut rng));
        // Nobody waits for the dead.
        for value in &values {
            add(value, &dead, || ());
        }
        for pid in noted(&dead) {
            assert!(killed.contains(&pid), "{pid} is said to be dead, and was not killed");
            told += 1;
        }
    }
    for fighter in fighters {
        fighter.kill().unwrap();
        fighter.join().unwrap_err();
    }
    for value in &values {
        add(value, &dead, || ());
        let halves = value.get().unwrap();
        assert!(halves[0] == halves[1] && halves[0] > 0);
    }
    println!("{method}: {told} of {rounds} died with a lock");
    assert!(told > 0);
    kills(&format!("owner, random instant, {method}"), rounds as u64);
}

#[test]
fn owners_killed_at_random_instants_executed() {
    killed_at_random("exec");
}

#[test]
fn owners_killed_at_random_instants_cloned() {
    killed_at_random("fork server");
}
