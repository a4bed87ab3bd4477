//! Processes that sleep and wake at a gate, killed at each of its points, while nobody else does anything: whoever is left gets through
//! all the same.
//!
//! What stands at the gate is the simplest thing there is, a count of permits. In each round some are given, somebody dies, and nobody
//! gives any more: the living must take what there is. With the baton they sleep for ever, so that a wake-up lost with the dead would
//! be a test that hangs; without it they look again by themselves.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use ipc_core::Child;
use ipc_shm::gate::current;
use ipc_shm::modelled::gate;
use ipc_shm::modelled::system::{Node, WAITERS};
use ipc_shm::{Segment, Until};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::{METHODS, OLD, all_end, bury, context, crash_points, mine, points, program, rounds, start};

/// In a segment; all zero at first.
#[repr(C)]
struct Permits {
    count: AtomicU32,
    /// How many have been taken.
    taken: AtomicU32,
    /// Not 0: everybody leaves.
    over: AtomicU32,
    gate: Node,
}

fn permits(segment: &Segment) -> &Permits {
    // SAFETY: atomics, at the beginning of a segment that is long enough and mapped as long as it is borrowed.
    unsafe { segment.as_ptr().cast::<Permits>().as_ref() }
}

impl Permits {
    fn acquire(&self) {
        let look = |_| self.count.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1)).ok();
        let found =
            gate::wait(current().unwrap(), &self.gate, &self.count, Until::Forever, look, |count| count > 0);
        assert!(found.is_some());
        self.taken.fetch_add(1, SeqCst);
    }

    /// Gives so many, and wakes so many at most.
    fn release(&self, permits: u32, wake: u32) {
        gate::change(current().unwrap(), &self.gate, wake, || self.count.fetch_add(permits, SeqCst));
    }

    /// Nobody gives any more; they are all taken.
    #[track_caller]
    fn are_taken(&self, taken: u32) {
        let all = wait_until(GENEROUS, || self.count.load(SeqCst) == 0 && self.taken.load(SeqCst) == taken);
        assert!(all, "somebody is left asleep: {self:?}, {taken} are to be taken");
    }
}

impl std::fmt::Debug for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} left, {} taken, gate {:#x}",
            self.count.load(SeqCst),
            self.taken.load(SeqCst),
            self.gate.word.load(SeqCst)
        )
    }
}

/// A sleeper's life.
fn take(segment: Segment) {
    let permits = permits(&segment);
    while permits.over.load(SeqCst) == 0 {
        permits.acquire();
    }
}

/// A waker's life.
fn give(segment: Segment, number: u32, wake: u32) {
    permits(&segment).release(number, wake);
}

/// How many sleep.
const SLEEPERS: u32 = 3;

/// Everybody leaves, who is there.
fn end(segment: &Segment, sleepers: Vec<Child<()>>) {
    permits(segment).over.store(1, SeqCst);
    permits(segment).release(2 * SLEEPERS, u32::MAX);
    assert_eq!(all_end(sleepers), 0);
}

/// Kills wakers at a point, so many.
fn kill_wakers(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let segment = Segment::new(size_of::<Permits>()).unwrap();
    let permits = permits(&segment);
    let sleepers = (0..SLEEPERS).map(|_| start(&context, take, (segment.clone(),))).collect();
    let mut given = 0;
    for _ in 0..rounds {
        // It is the mark that makes a waker take it off.
        assert!(wait_until(GENEROUS, || permits.gate.word.load(SeqCst) == WAITERS));
        let number = 1 + rng.below(u64::from(SLEEPERS)) as u32;
        let wake = if rng.below(2) == 0 { number } else { 1 };
        points.arm(&point, 1);
        let mut waker = vec![start(&context, give, (segment.clone(), number, wake))];
        bury(&mut waker);
        if point == "gate: about to change" {
            permits.release(number, wake);
        }
        given += number;
        permits.are_taken(given);
    }
    end(&segment, sleepers);
}

/// Kills sleepers at a point, so many.
fn kill_sleepers(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let segment = Segment::new(size_of::<Permits>()).unwrap();
    let permits = permits(&segment);
    let sleeper = || start(&context, take, (segment.clone(),));
    let mut sleepers: Vec<Child<()>> = (0..SLEEPERS).map(|_| sleeper()).collect();
    let (mut given, mut lost) = (0, 0);
    for _ in 0..rounds {
        let before = points.kills(&point);
        points.arm(&point, 1 + rng.below(3) as u32);
        let dies = || points.kills(&point) > before;
        while !dies() {
            let number = 1 + rng.below(u64::from(SLEEPERS)) as u32;
            if rng.below(2) == 0 {
                permits.release(number, 1);
            } else {
                (0..number).for_each(|_| permits.release(1, 1));
            }
            given += number;
            assert!(wait_until(GENEROUS, || permits.count.load(SeqCst) == 0 || dies()), "{permits:?}");
        }
        bury(&mut sleepers);
        // What it had found died with it.
        lost += u32::from(point == "gate: found");
        permits.are_taken(given - lost);
        sleepers.push(sleeper());
    }
    end(&segment, sleepers);
}

/// Whether it is a waker who comes to a point.
fn is_wakers(point: &str) -> bool {
    ["gate: about to change", "gate: changed", "gate: mark taken", "gate: woke"].contains(&point)
}

fn killed_at_points(without: &str) {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(&["gate"]) {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let args = (method.to_owned(), point.to_owned(), rounds(method, without), seed);
            let killer = if is_wakers(point) {
                program(&crash, without, kill_wakers, args)
            } else {
                program(&crash, without, kill_sleepers, args)
            };
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            let without = if without.is_empty() { "" } else { ", no baton" };
            kills(&format!("{point}, {method}{without}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn killed_at_the_gate() {
    killed_at_points("");
}

#[test]
fn killed_at_the_gate_without_the_baton() {
    killed_at_points(OLD);
}
