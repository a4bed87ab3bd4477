//! Processes that fight for a lock and die at each point of its state machine: everybody else goes on, the next owner is told of
//! who died with the data in its hands, and of nobody else.

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use ipc_core::primitive::crash::reached_by_name;
use ipc_core::{Child, Context};
use ipc_shm::{Error, LockError, Value};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::{
    HALF_WAY, METHODS, OLD, all_end, bury, context, crash_points, mine, points, program, rounds, start,
};

/// What is fought for.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Data {
    /// Two halves that are equal whenever nobody has the lock.
    pub(crate) halves: [u64; 2],
    /// How many deaths were told.
    pub(crate) told: u64,
    /// The last one of whom was told.
    pub(crate) dead: u32,
    /// Not 0: everybody leaves.
    pub(crate) over: u32,
    /// Who has changed the data last, and who that was when a death was told last.
    last: u32,
    changed: u32,
    /// Who was told of a death last, and who had been told before that one.
    pub(crate) listeners: [u32; 2],
}

impl Data {
    /// Somebody has died, perhaps half way.
    pub(crate) fn repair(&mut self, pid: u32) {
        self.halves[1] = self.halves[0];
        self.told += 1;
        self.dead = pid;
        self.changed = self.last;
    }
}

pub(crate) fn half_way() {
    reached_by_name(HALF_WAY, || ());
}

/// Once through the lock; gives what stands behind it.
pub(crate) fn turn(value: &Value<Data>, idle: bool) -> Data {
    let mut data = match value.lock_timeout(GENEROUS) {
        Ok(data) => data,
        Err(LockError::OwnerDied(died)) => {
            let pid = died.pid();
            let mut data = died.recover();
            data.repair(pid);
            data
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(data.halves[0], data.halves[1], "half a change was taken for a whole one");
    data.halves[0] += 1;
    data.last = std::process::id();
    half_way();
    if idle {
        // Long enough for others to fall asleep.
        std::thread::sleep(Duration::from_micros(20));
    }
    data.halves[1] += 1;
    *data
}

/// A fighter's life; some also look at the data in passing, and cannot repair it.
fn fight(value: Value<Data>, looks: bool, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    while turn(&value, rng.below(4) == 0).over == 0 {
        if looks && rng.below(2) == 0 {
            match value.get() {
                Ok(_) | Err(Error::OwnerDied { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Whether who dies there had the data in its hands.
fn is_told(point: &str) -> bool {
    point == HALF_WAY || point == "owner: has the data"
}

/// Comes only after a death.
fn follows(point: &str) -> bool {
    point == "locker: judges" || point == "owner: hands it on"
}

/// How many fight.
const FIGHTERS: usize = 3;

/// Kills fighters at a point, so many; gives how many deaths were told.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) -> u64 {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let value = Value::new(Data::zeroed()).unwrap();
    let looks = point == "owner: hands it on";
    let fighter = |rng: &mut Rng| start(&context, fight, (value.clone(), looks, rng.next_u64()));
    let mut fighters: Vec<Child<()>> = (0..FIGHTERS).map(|_| fighter(&mut rng)).collect();
    if point == "unlocker: put the bit back" {
        // What must happen between two of its steps takes time.
        points.stall("unlocker: woke nobody");
    }
    for _ in 0..rounds {
        if follows(&point) {
            two_deaths(&points, &point, &value, || {
                let dead = bury(&mut fighters);
                fighters.push(fighter(&mut rng));
                dead
            });
            continue;
        }
        let (before, told) = (points.kills(&point), turn(&value, false).told);
        points.arm(&point, 1 + rng.below(4) as u32);
        assert!(wait_until(GENEROUS, || points.kills(&point) > before), "nobody comes to {point}");
        let dead = bury(&mut fighters);
        // Nobody waits for the dead.
        let data = turn(&value, false);
        assert_eq!(data.told, told + u64::from(is_told(&point)), "{point}: {data:?}");
        assert!(!is_told(&point) || data.dead == dead, "{point}: {dead} has died: {data:?}");
        fighters.push(fighter(&mut rng));
    }
    value.update(|data| data.over = 1).unwrap();
    assert_eq!(all_end(fighters), 0);
    turn(&value, false).told
}

/// One dies with the data in its hands, and then one at `point` who has been told of it, or is about to be.
fn two_deaths(
    points: &ipc_core::primitive::crash::CrashPoints,
    point: &str,
    value: &Value<Data>,
    mut next: impl FnMut() -> u32,
) {
    let before = points.kills(point);
    loop {
        let told = turn(value, false).told;
        let first_before = points.kills(HALF_WAY);
        points.arm_both(HALF_WAY, point);
        assert!(wait_until(GENEROUS, || points.kills(HALF_WAY) > first_before));
        next();
        // Somebody may have repaired it before the second came by.
        let is_told = || peek(value).told > told;
        assert!(wait_until(GENEROUS, || points.kills(point) > before || is_told()));
        points.disarm();
        let both = points.kills(point) > before;
        if both {
            next();
        }
        let data = turn(value, false);
        assert_eq!(data.told, told + 1, "{point}: a chain of deaths is told once: {data:?}");
        // Who was told had the data in its hands from then on; who was only about to be had not.
        let of_the_first = !both || point == "locker: judges";
        assert_eq!(data.dead == data.changed, of_the_first, "{point}: {data:?}");
        if both {
            return;
        }
    }
}

/// The data as it stands there, without the lock, whose points are armed.
fn peek(value: &Value<Data>) -> Data {
    let mut data = Data::zeroed();
    ipc_shm::modelled::peek(value.segment(), 128, bytemuck::bytes_of_mut(&mut data)).unwrap();
    data
}

fn killed_at_points(without: &str) {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["locker", "owner", "sleeper", "unlocker"]) {
            if point == LOSES {
                continue;
            }
            let (before, seed, rounds) = (crash.kills(point), rng.next_u64(), rounds(method, without));
            let told = program(&crash, without, kill_at, (method.to_owned(), point.to_owned(), rounds, seed));
            let told = told.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            assert!(told > 0 || !is_told(point) && !follows(point));
            let without = if without.is_empty() { "" } else { ", no baton" };
            kills(&format!("{point}, {method}{without}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn fighters_killed_at_points() {
    killed_at_points("");
}

#[test]
fn fighters_killed_at_points_without_the_baton() {
    killed_at_points(OLD);
}

/// An owner who can repair nothing.
const LOSES: &str = "owner: calls it lost";

/// Takes the lock until it is lost.
fn lose(value: Value<Data>) {
    loop {
        match value.lock_timeout(GENEROUS) {
            Ok(mut data) => {
                data.halves[0] += 1;
                half_way();
                data.halves[1] += 1;
            }
            Err(LockError::OwnerDied(died)) => died.abandon(),
            Err(LockError::Lost) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Kills who is about to lose what another has left, so many.
fn kill_losers(method: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context: Context = context(&method);
    for _ in 0..rounds {
        let value = Value::new(Data::zeroed()).unwrap();
        let before = points.kills(LOSES);
        points.arm_both(HALF_WAY, LOSES);
        let losers: Vec<_> = (0..FIGHTERS).map(|_| start(&context, lose, (value.clone(),))).collect();
        assert!(wait_until(GENEROUS, || points.kills(LOSES) > before));
        assert_eq!(all_end(losers), 2);
        assert!(matches!(value.lock(), Err(LockError::Lost)));
    }
}

#[test]
fn what_its_loser_dies_with_is_lost() {
    let _leaks = leaks();
    let crash = crash_points();
    for method in METHODS {
        let before = crash.kills(LOSES);
        let losers = program(&crash, "", kill_losers, (method.to_owned(), rounds(method, "") / 2));
        losers.join().unwrap_or_else(|error| panic!("{method}: {error}"));
        kills(&format!("{LOSES}, {method}"), (crash.kills(LOSES) - before).into());
    }
}
