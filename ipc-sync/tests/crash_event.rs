//! Processes that set an event and processes that wait for it, killed at each point: whoever waited when it was set gets through, though it is cleared at once.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-sync`, or `cargo test --test crash_event`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context};
use ipc_shm::raw::{Layout, Shared};
use ipc_shm::{Until, gate};
use ipc_sync::Event;
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
    /// How often it was set, at least.
    sets: AtomicU64,
    /// Of each waiter: twice the round in which it waits; one more when it is through.
    said: [AtomicU64; WAITERS],
}

// SAFETY: `repr(C)`, atomics alone, no pointers; all zero is a new one.
unsafe impl Layout for Book {
    type Item = ();
    const NAME: &str = "the book of a test";
    const VERSION: u32 = 1;
}

/// A waiter's life: it waits for the event once each round.
fn wait(event: Event, book: Shared<Book>, place: usize) {
    loop {
        let now = book.round.load(SeqCst);
        book.said[place].store(2 * now, SeqCst);
        event.wait();
        book.said[place].store(2 * now + 1, SeqCst);
        while book.round.load(SeqCst) == now {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

struct Room {
    context: Context,
    event: Event,
    book: Shared<Book>,
    waiters: [Option<Child<()>>; WAITERS],
}

impl Room {
    fn new(method: &str) -> Room {
        let book = Shared::<Book>::new(0).unwrap();
        book.round.store(1, SeqCst);
        Room {
            context: context(method),
            event: Event::new().unwrap(),
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
            let Room { context, event, book, .. } = &*self;
            if self.waiters[place].is_none() {
                let child = start(context, wait, (event.clone(), book.clone(), place));
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

    fn end(self) {
        self.waiters.into_iter().flatten().for_each(end);
    }
}

/// Kills who sets it at a point, so many times.
fn kill_setters(method: String, point: String, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let mut room = Room::new(&method);
    let event = room.event.clone();
    for _ in 0..rounds {
        room.fill();
        let pollable = event.pollable().unwrap();
        points.arm(&point, 1);
        bury(start(&room.context, |event: Event| event.set(), (event.clone(),)));
        if point == "gate: about to change" {
            assert!(!event.is_set());
            event.set();
        }
        // What is left between flag and descriptor is brought in step by who looks.
        assert!(pollable.is_set());
        assert_eq!(ipc_core::wait(&[&pollable], Some(Duration::ZERO)).unwrap(), [0]);
        event.clear();
        assert_eq!(room.all_get_through(), 0);
    }
    room.end();
}

/// Kills who waits at a point, so many.
fn kill_waiters(method: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let mut room = Room::new(&method);
    for _ in 0..rounds {
        let before = points.kills(&point);
        points.arm(&point, 1 + rng.below(WAITERS as u64) as u32);
        let mut dead = 0;
        // Until one has died there; its death may be seen a round later.
        while points.kills(&point) == before || dead == 0 {
            room.fill();
            room.event.set();
            room.event.clear();
            dead += room.all_get_through();
        }
        assert_eq!(dead, 1);
    }
    room.end();
}

/// Whether it is one who sets the event that comes to a point.
fn is_setters(point: &str) -> bool {
    ["gate: about to change", "gate: changed", "gate: mark taken", "gate: woke", "event: changed"]
        .contains(&point)
}

#[test]
fn killed_at_points() {
    let _leaks = leaks();
    let all = points(&["gate", "event"]);
    let crash = CrashPoints::create(&all).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in &all {
            let (before, seed, point) = (crash.kills(point), rng.next_u64(), (*point).to_owned());
            let killer = if is_setters(&point) {
                program(&crash, kill_setters, (method.to_owned(), point.clone(), rounds(method)))
            } else {
                program(&crash, kill_waiters, (method.to_owned(), point.clone(), rounds(method), seed))
            };
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            kills(&format!("event, {point}, {method}"), (crash.kills(&point) - before).into());
        }
    }
}

/// A setter's life.
fn set_and_clear(event: Event, book: Shared<Book>) {
    loop {
        event.set();
        event.clear();
        book.sets.fetch_add(1, SeqCst);
    }
}

/// Setters killed at random instants, two at once: whoever waited gets through as soon as one of them has set it.
#[test]
fn killed_at_random_instants() {
    let _leaks = leaks();
    let mut rng = Rng::new();
    for method in METHODS {
        let mut room = Room::new(method);
        let mut dead = 0;
        for _ in 0..rounds(method) * 2 {
            room.fill();
            let before = room.book.sets.load(SeqCst);
            let args = || (room.event.clone(), room.book.clone());
            let setters = [(); 2].map(|()| start(&room.context, set_and_clear, args()));
            assert!(wait_until(GENEROUS, || room.book.sets.load(SeqCst) != before || rng.below(100) == 0));
            // One who waits as well.
            if rng.below(2) == 0 {
                end(room.waiters[rng.below(WAITERS as u64) as usize].take().unwrap());
                dead += 1;
            }
            setters.into_iter().for_each(end);
            if room.book.sets.load(SeqCst) == before {
                // They have perhaps not come to it.
                room.event.set();
            }
            room.event.clear();
            assert_eq!(room.all_get_through(), 0);
            dead += 2;
        }
        room.end();
        kills(&format!("event, random instant, {method}"), dead);
    }
}

/// Raised once: a primitive of somebody's own, at a gate.
#[repr(C)]
struct Flag {
    gate: gate::Node,
    raised: AtomicU32,
}

// SAFETY: as the book.
unsafe impl Layout for Flag {
    type Item = ();
    const NAME: &str = "a flag of a test";
    const VERSION: u32 = 1;
}

static HANDLED: OnceLock<Event> = OnceLock::new();

extern "C" fn sets(_signal: i32) {
    if let Some(event) = HANDLED.get() {
        event.set();
    }
}

/// Raises the flag; in the midst of that a signal's handler sets the event.
fn raise(flag: Shared<Flag>, event: Event) {
    HANDLED.set(event).unwrap();
    // SAFETY: the handler does what a handler may.
    unsafe { libc::signal(libc::SIGUSR1, sets as *const () as usize) };
    gate::change(gate::current().unwrap(), &flag.gate, u32::MAX, || {
        flag.raised.store(1, SeqCst);
        // SAFETY: to this thread, which runs the handler before this returns.
        unsafe { libc::raise(libc::SIGUSR1) };
    });
}

fn waits_for_flag(flag: Shared<Flag>) {
    let raised = |raised| (raised != 0).then_some(());
    gate::wait(gate::current().unwrap(), &flag.gate, &flag.raised, Until::Forever, raised, |_| true).unwrap();
}

/// The kernel looks at one announcement, and here are two: the handler's, and that of what it has interrupted.
fn kill_handlers(method: String, point: String, nth: u32, rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    for _ in 0..rounds {
        let (flag, event) = (Shared::<Flag>::new(0).unwrap(), Event::new().unwrap());
        let waiters: Vec<_> =
            (0..WAITERS).map(|_| start(&context, waits_for_flag, (flag.clone(),))).collect();
        let of_event = start(&context, |event: Event| event.wait(), (event.clone(),));
        let all = || waiters.iter().chain([&of_event]).all(|waiter| sleeps(waiter.pid()));
        assert!(wait_until(GENEROUS, all), "somebody does not come");
        points.arm(&point, nth);
        bury(start(&context, raise, (flag.clone(), event.clone())));
        assert_eq!((flag.raised.load(SeqCst), victims::all_end(waiters)), (1, 0));
        if point == "gate: about to change" {
            event.set();
        }
        assert_eq!(victims::all_end(vec![of_event]), 0);
    }
}

#[test]
fn handlers_killed_amid_what_they_interrupt() {
    let _leaks = leaks();
    let all = ["gate: about to change", "gate: changed"];
    let crash = CrashPoints::create(&all).unwrap();
    for method in METHODS {
        // The interrupted change has come to the first of them already, and not yet to the second.
        for (point, nth) in [("gate: about to change", 2), ("gate: changed", 1)] {
            let before = crash.kills(point);
            let killer = program(
                &crash,
                kill_handlers,
                (method.to_owned(), point.to_owned(), nth, rounds(method).div_ceil(4)),
            );
            killer.join().unwrap_or_else(|error| panic!("{point}, {method}: {error}"));
            kills(&format!("a handler at {point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}
