//! Processes that wait for a condition and processes that notify, killed at each point: what was given to who dies goes to another, and nobody is left asleep.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-sync`, or `cargo test --test crash_condition`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context};
use ipc_shm::raw::{Layout, Shared};
use ipc_shm::{LockError, Value};
use ipc_sync::{Condition, Event};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

#[path = "victims/mod.rs"]
mod victims;

use victims::{METHODS, bury, context, end, mine, points, program, rounds, sleeps, start};

/// How many wait.
const WAITERS: usize = 3;

/// What all know of each other, without a gate: nobody dies here.
#[repr(C)]
struct Book {
    round: AtomicU64,
    /// The round that is open.
    open: AtomicU64,
    /// Of each waiter: twice the round in which it waits; one more when it is through.
    said: [AtomicU64; WAITERS],
}

// SAFETY: `repr(C)`, atomics alone, no pointers; all zero is a new one.
unsafe impl Layout for Book {
    type Item = ();
    const NAME: &str = "the book of a test";
    const VERSION: u32 = 1;
}

/// A waiter's life: it waits once each round, until that is open.
fn wait(lock: Value<u64>, condition: Condition, book: Shared<Book>, place: usize) {
    loop {
        let now = book.round.load(SeqCst);
        let mut guard = lock.lock().or_else(LockError::recover).unwrap();
        book.said[place].store(2 * now, SeqCst);
        while book.open.load(SeqCst) < now {
            guard = condition.wait(guard).or_else(LockError::recover).unwrap();
        }
        drop(guard);
        book.said[place].store(2 * now + 1, SeqCst);
        while book.round.load(SeqCst) == now {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// One who gives up, over and over.
fn give_up(lock: Value<u64>, condition: Condition) {
    let mut guard = lock.lock().or_else(LockError::recover).unwrap();
    loop {
        guard = condition.wait_timeout(guard, Duration::from_millis(1)).unwrap().0;
    }
}

struct Room {
    context: Context,
    lock: Value<u64>,
    condition: Condition,
    book: Shared<Book>,
    waiters: [Option<Child<()>>; WAITERS],
}

impl Room {
    fn new(method: &str) -> Room {
        let book = Shared::<Book>::new(0).unwrap();
        book.round.store(1, SeqCst);
        Room {
            context: context(method),
            lock: Value::new(0).unwrap(),
            condition: Condition::new().unwrap(),
            book,
            waiters: [const { None }; WAITERS],
        }
    }

    /// Whether each has said so much of this round, or has died.
    fn all_said(&self, what: u64, asleep: bool) -> bool {
        let said = 2 * self.book.round.load(SeqCst) + what;
        (0..WAITERS).all(|place| {
            let Some(child) = &self.waiters[place] else { return true };
            let there = self.book.said[place].load(SeqCst) == said && (!asleep || sleeps(child.pid()));
            there || !child.is_alive()
        })
    }

    /// There are as many as there should be, and all of them sleep; or one has died on the way.
    fn fill(&mut self) {
        for place in 0..WAITERS {
            let Room { context, lock, condition, book, .. } = &*self;
            if self.waiters[place].is_none() {
                let child = start(context, wait, (lock.clone(), condition.clone(), book.clone(), place));
                self.waiters[place] = Some(child);
            }
        }
        assert!(wait_until(GENEROUS, || self.all_said(0, true)), "somebody does not come");
    }

    /// Buries who has died; everybody else gets through, and goes on to the next round.
    fn all_get_through(&mut self) -> usize {
        assert!(wait_until(GENEROUS, || self.all_said(1, false)), "somebody is left asleep");
        self.book.round.fetch_add(1, SeqCst);
        let dead = self.waiters.iter_mut().filter_map(|waiter| waiter.take_if(|child| !child.is_alive()));
        dead.map(bury).count()
    }

    /// Opens the round.
    fn open(&self) {
        self.book.open.store(self.book.round.load(SeqCst), SeqCst);
    }

    /// So many are notified by a child; whether it has lived through it.
    fn notify(&self, number: usize) -> bool {
        let notify = |condition: Condition, number: usize| condition.notify(number).unwrap();
        start(&self.context, notify, (self.condition.clone(), number)).join().is_ok()
    }

    /// Somebody who lives is through, or it is otherwise.
    fn one_gets_through(&self, or: impl Fn() -> bool) {
        let said = 2 * self.book.round.load(SeqCst) + 1;
        let through = |place: usize| {
            self.book.said[place].load(SeqCst) == said
                && self.waiters[place].as_ref().is_some_and(Child::is_alive)
        };
        assert!(
            wait_until(GENEROUS, || (0..WAITERS).any(through) || or()),
            "the notification died with its waiter"
        );
    }

    fn end(self) {
        self.waiters.into_iter().flatten().for_each(end);
    }
}

/// Who dies there, or at a point [of the locks](OF_LOCKS), had the notification in its hands, and the lock; or has not given all that it was to give.
const IN_HAND: [&str; 6] = [
    "condition waiter: took",
    "condition notifier: gave",
    "gate: about to change",
    "gate: changed",
    "gate: mark taken",
    "gate: woke",
];

/// Who notifies and dies there has given nothing yet, or not all.
const NOT_YET: [&str; 6] = [
    "gate: about to change",
    "condition notifier: gave",
    "locker: announced",
    "locker: taken",
    "locker: linked",
    "owner: has the data",
];

/// Of the locks, that inside among them.
const OF_LOCKS: [&str; 6] = [
    "locker: announced",
    "locker: taken",
    "locker: linked",
    "owner: has the data",
    "unlocker: lets the data go",
    "unlocker: unlinked",
];

/// Kills whoever comes to a point, so many times.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let mut room = Room::new(&method);
    if point == "condition waiter: steps aside" {
        // What is given for a dead one lets those who come later step aside.
        room.fill();
        end(room.waiters[0].take().unwrap());
        room.open();
        assert!(room.notify(usize::MAX));
        room.all_get_through();
    }
    for _ in 0..rounds {
        let before = points.kills(&point);
        points.arm(&point, 1 + rng.below(WAITERS as u64) as u32);
        let mut buried = 0;
        while points.kills(&point) == before || buried == 0 {
            if point == "condition waiter: gives up" && points.kills(&point) == before {
                bury(start(&room.context, give_up, (room.lock.clone(), room.condition.clone())));
                buried += 1;
                continue;
            }
            room.fill();
            room.open();
            let alive = room.notify(1);
            // Where it dies with what it had in its hands, that is gone.
            let in_hand = IN_HAND.iter().chain(&OF_LOCKS).any(|known| *known == point);
            // A notifier that dies once it has given leaves it to the kernel to wake somebody.
            let gave = !NOT_YET.contains(&point.as_str());
            let gone = || if alive { in_hand && points.kills(&point) > before } else { !gave };
            room.one_gets_through(gone);
            let all = room.notify(usize::MAX);
            if !alive || !all {
                buried += 1;
                // Where it had not given yet what it was to give.
                if !all && NOT_YET.contains(&point.as_str()) {
                    assert!(room.notify(usize::MAX));
                }
            }
            buried += room.all_get_through();
        }
        assert_eq!(buried, 1, "{point}");
    }
    room.end();
}

#[test]
fn killed_at_points() {
    let _leaks = leaks();
    let all = [points(&["gate", "condition"]), OF_LOCKS.to_vec()].concat();
    let crash = CrashPoints::create(&all).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in &all {
            let (before, seed, point) = (crash.kills(point), rng.next_u64(), (*point).to_owned());
            let killer =
                program(&crash, kill_at, (method.to_owned(), point.clone(), rounds(method) / 2, seed));
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("condition, {point}, {method}"), (crash.kills(&point) - before).into());
        }
    }
}

/// One whose future is dropped when it was notified.
fn drops(lock: Value<u64>, condition: Condition, go: Event) {
    let guard = lock.lock().or_else(LockError::recover).unwrap();
    let mut future = Box::pin(condition.wait_async(guard));
    assert!(future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    go.wait();
    drop(future);
}

const GAVE_ON: &str = "future of a condition: gave it on";

/// Kills who hands a notification on as its future is dropped: another who waits has it.
fn kill_futures(method: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    for _ in 0..rounds {
        let mut room = Room::new(&method);
        room.fill();
        let go = Event::new().unwrap();
        let victim = start(&room.context, drops, (room.lock.clone(), room.condition.clone(), go.clone()));
        let all = format!("Condition {{ waiting: {} }}", WAITERS + 1);
        assert!(wait_until(GENEROUS, || format!("{:?}", room.condition) == all), "{:?}", room.condition);
        // Nobody can take what is given meanwhile.
        let guard = room.lock.lock().unwrap();
        room.condition.notify_one().unwrap();
        points.arm(GAVE_ON, 1);
        go.set();
        bury(victim);
        room.open();
        drop(guard);
        room.one_gets_through(|| false);
        room.condition.notify_all().unwrap();
        assert_eq!(room.all_get_through(), 0);
        room.end();
    }
}

#[test]
fn who_hands_a_notification_on_dies() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&[GAVE_ON]).unwrap();
    for method in METHODS {
        let before = crash.kills(GAVE_ON);
        let killer = program(&crash, kill_futures, (method.to_owned(), rounds(method).div_ceil(8)));
        killer.join().unwrap_or_else(|error| panic!("{method}: {error}"));
        kills(&format!("{GAVE_ON}, {method}"), (crash.kills(GAVE_ON) - before).into());
    }
}
