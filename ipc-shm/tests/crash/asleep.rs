//! Everybody sleeps on a lock but its owner, who frees it; then one dies, just woken or just about to wake, and nobody comes by who
//! would wake the others by chance: they get through all the same.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use ipc_shm::{Segment, Value};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::lock::{Data, turn};
use crate::{METHODS, OLD, all_end, context, crash_points, mine, program, rounds, start};

/// What nursery and owner say to each other, without a lock: 1, the owner has it; 2, it is to free it.
fn word(segment: &Segment) -> &AtomicU32 {
    // SAFETY: an atomic, at the beginning of a segment that is mapped as long as it is borrowed.
    unsafe { segment.as_ptr().cast::<AtomicU32>().as_ref() }
}

/// Takes the lock, and frees it when it is told to.
fn own(value: Value<Data>, told: Segment) {
    let data = value.lock().unwrap();
    word(&told).store(1, SeqCst);
    assert!(wait_until(GENEROUS, || word(&told).load(SeqCst) == 2));
    drop(data);
}

fn pass(value: Value<Data>) {
    turn(&value, false);
}

fn is_asleep(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("futex"))
}

/// Kills at a point, so many times; gives the longest time, in microseconds, that the living needed after a death.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) -> u64 {
    let points = mine();
    let _leaks = leaks();
    let context = context(&method);
    let mut rng = Rng::from_seed(seed);
    let value = Value::new(Data::zeroed()).unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        let told = Segment::new(4).unwrap();
        let mut all = vec![start(&context, own, (value.clone(), told.clone()))];
        assert!(wait_until(GENEROUS, || word(&told).load(SeqCst) == 1));
        all.extend((0..2 + rng.below(2)).map(|_| start(&context, pass, (value.clone(),))));
        assert!(wait_until(GENEROUS, || all[1..].iter().all(|sleeper| is_asleep(sleeper.pid()))));
        let before = points.kills(&point);
        points.arm(&point, 1);
        word(&told).store(2, SeqCst);
        assert!(wait_until(GENEROUS, || points.kills(&point) > before), "nobody comes to {point}");
        let begin = Instant::now();
        assert_eq!(all_end(all), 1);
        longest = longest.max(begin.elapsed());
    }
    turn(&value, false);
    longest.as_micros() as u64
}

fn killed(without: &str) {
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in ["sleeper: woken", "unlocker: freed"] {
            let (before, seed, rounds) = (crash.kills(point), rng.next_u64(), rounds(method, without) / 2);
            let longest =
                program(&crash, without, kill_at, (method.to_owned(), point.to_owned(), rounds, seed));
            let longest = longest.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            let without = if without.is_empty() { "" } else { ", no baton" };
            println!("{longest} µs at the most until all were through");
            kills(
                &format!("{point}, the others asleep, {method}{without}"),
                (crash.kills(point) - before).into(),
            );
        }
    }
}

#[test]
fn one_dies_and_the_others_sleep() {
    killed("");
}

#[test]
fn one_dies_and_the_others_sleep_without_the_baton() {
    killed(OLD);
}
