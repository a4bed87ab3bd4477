//! What group `lock` does with a lock: the same for ours and every peer, as `protocol.rs` is.
//!
//! | task | a figure is |
//! |---|---|
//! | `uncontended` | the nanoseconds of a batch of lock and unlock, by one thread that nobody disturbs |
//! | `add` | the same with a shared counter that is increased in between |
//! | `total` | increments a second, of two processes on one counter, both together |
//! | `share` | what the slower of the two has of them, in hundredths of a percent |
//!
//! # Two processes
//!
//! Two runners, alike, and a conductor that sleeps while they run. They meet on a [`Stage`] in shared memory:
//!
//! | step | conductor | each runner |
//! |---|---|---|
//! | 1 | begins a round and wakes both | sleeps until a round begins |
//! | 2 | looks now and then whether both have arrived | arrives, and gives way until the other one has, too |
//! | 3 | sleeps for [`WINDOW`] | notes the time, counts up until it is told to stop, notes the time |
//! | 4 | tells them to stop, sleeps until both have | says that it has stopped |
//!
//! The time is that from the first one's beginning to the last one's end, and the counter must have grown by what both have counted:
//! a lock that does not exclude is no contender.

#![allow(dead_code, unreachable_pub, reason = "compiled into ours and the peers' library, each using a part")]

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::{ClockId, clock_gettime};

use super::protocol::{Call, Placement, serve, timed};

/// How long two processes count in one repetition: several of a scheduler's slices, where they share a processor.
const WINDOW: Duration = Duration::from_millis(40);

/// A lock, and a counter behind it.
pub trait Counter {
    /// Takes the lock and frees it.
    fn touch(&self) -> io::Result<()>;

    /// Adds one under the lock.
    fn add(&self) -> io::Result<()>;

    /// The counter, read under the lock.
    fn value(&self) -> io::Result<u64>;
}

/// Whether a contender was called to count alone.
pub fn is_alone(call: &Call) -> bool {
    matches!(&*call.task, "uncontended" | "add")
}

/// Answers the harness for the tasks of one thread. The batch's size is what the contender is called with.
pub fn alone(call: &Call, counter: &impl Counter) -> io::Result<()> {
    let batch = call.more.first().and_then(|text| text.parse().ok()).ok_or_else(|| call.unknown())?;
    match &*call.task {
        "uncontended" => serve(|| Ok(timed(|| (0..batch).try_for_each(|_| counter.touch()))?.0)),
        "add" => serve(|| {
            let before = counter.value()?;
            let (time, ()) = timed(|| (0..batch).try_for_each(|_| counter.add()))?;
            if counter.value()? - before == batch { Ok(time) } else { Err(miscounted()) }
        }),
        _ => Err(call.unknown()),
    }
}

/// Where two runners and their conductor meet: in shared memory, all zero at first.
#[derive(Default)]
#[repr(C)]
pub struct Stage {
    /// Counts the rounds; runners sleep on it.
    round: AtomicU32,
    arrived: AtomicU32,
    /// How many runners have stopped; the conductor sleeps on it.
    stopped: AtomicU32,
    /// Both runners read it all the time, so that it lies apart.
    stop: Apart<AtomicU32>,
    lanes: [Apart<Lane>; 2],
}

/// On a cache line, and its neighbour, of its own.
#[derive(Default)]
#[repr(C, align(128))]
struct Apart<T>(T);

/// What a runner says of its round.
#[derive(Default)]
#[repr(C)]
struct Lane {
    count: AtomicU64,
    began: AtomicU64,
    ended: AtomicU64,
}

/// A round that is none: the runners leave.
const CURTAIN: u32 = u32::MAX;

/// The count of a runner that met an error.
const BROKEN: u64 = u64::MAX;

/// The processors of the two runners, where they have their own.
pub fn processors(placement: Placement) -> [Option<usize>; 2] {
    match placement {
        Placement::Free => [None; 2],
        Placement::One(cpu) => [Some(cpu); 2],
        Placement::Two { parent, child } => [Some(parent), Some(child)],
    }
}

impl Stage {
    /// A runner's life.
    pub fn run(&self, lane: usize, counter: &impl Counter) {
        let mut last = 0;
        loop {
            while self.round.load(Acquire) == last {
                // Woken, or for no reason: looked at again.
                let _ = futex::wait(&self.round, futex::Flags::empty(), last, None);
            }
            last = self.round.load(Acquire);
            if last == CURTAIN {
                return;
            }
            self.arrived.fetch_add(1, Release);
            while self.arrived.load(Acquire) < 2 {
                rustix::thread::sched_yield();
            }
            let lane = &self.lanes[lane].0;
            lane.began.store(now(), Relaxed);
            let mut count = 0;
            while self.stop.0.load(Relaxed) == 0 {
                if counter.add().is_err() {
                    count = BROKEN;
                    break;
                }
                count += 1;
            }
            lane.ended.store(now(), Relaxed);
            lane.count.store(count, Relaxed);
            self.stopped.fetch_add(1, Release);
            let _ = futex::wake(&self.stopped, futex::Flags::empty(), 1);
        }
    }

    /// The conductor: answers the harness for the tasks of two processes, which are there or will be soon.
    pub fn conduct(&self, call: &Call, counter: &impl Counter) -> io::Result<()> {
        let share = match &*call.task {
            "total" => false,
            "share" => true,
            _ => return Err(call.unknown()),
        };
        let result = serve(|| {
            let before = counter.value()?;
            let (counts, nanos) = self.round()?;
            let total = counts[0] + counts[1];
            if counter.value()? - before != total {
                return Err(miscounted());
            }
            let slower = counts[0].min(counts[1]) as f64;
            Ok(if share { slower / total as f64 * 1e4 } else { total as f64 / nanos as f64 * 1e9 })
        });
        self.begin(CURTAIN);
        result
    }

    fn round(&self) -> io::Result<([u64; 2], u64)> {
        self.stop.0.store(0, Relaxed);
        self.arrived.store(0, Relaxed);
        self.stopped.store(0, Relaxed);
        self.begin(self.round.load(Relaxed) + 1);
        while self.arrived.load(Acquire) < 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(WINDOW);
        self.stop.0.store(1, Relaxed);
        loop {
            let stopped = self.stopped.load(Acquire);
            if stopped == 2 {
                break;
            }
            let _ = futex::wait(&self.stopped, futex::Flags::empty(), stopped, None);
        }
        let [one, other] = &self.lanes;
        let counts = [one, other].map(|lane| lane.0.count.load(Relaxed));
        if counts.contains(&BROKEN) {
            return Err(io::Error::other("a lock was refused to a runner"));
        }
        let began = one.0.began.load(Relaxed).min(other.0.began.load(Relaxed));
        let ended = one.0.ended.load(Relaxed).max(other.0.ended.load(Relaxed));
        Ok((counts, ended - began))
    }

    fn begin(&self, round: u32) {
        self.round.store(round, Release);
        let _ = futex::wake(&self.round, futex::Flags::empty(), 2);
    }
}

/// Nanoseconds on a clock that all processes share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn miscounted() -> io::Error {
    io::Error::other("the counter is not what was counted: the lock does not exclude")
}
