//! Memory in which another process writes as it likes while others work, or whose lock somebody has who does not go on: each call comes to an end, with an error perhaps, and
//! leaves the lock inside free.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ipc_core::{Child, Context, Signal};
use ipc_shm::Segment;
use ipc_shm::raw::RawLock;
use ipc_sync::raw::{Here, People};
use ipc_sync::{Barrier, Error, Semaphore};
use ipc_testkit::{GENEROUS, leaks, wait_until};

const SHORT: Duration = Duration::from_millis(20);

fn words(segment: &Segment) -> &[AtomicU32] {
    // SAFETY: as long as the segment, which is mapped; its words are atomics in all processes, and any bits are a value.
    unsafe { std::slice::from_raw_parts(segment.as_ptr().as_ptr().cast(), segment.len() / 4) }
}

/// Writes there until it is killed.
fn write_over(segment: Segment, at: usize) {
    loop {
        for count in [3, 0, 1, u32::MAX, 2] {
            words(&segment)[at].store(count, Relaxed);
        }
    }
}

/// Where it stands how much this process has of something, which it has used.
fn count_of_mine(segment: &Segment) -> usize {
    let life = Here.this().unwrap().life;
    let started = [life.started as u32, (life.started >> 32) as u32];
    let is_mine = |entry: &[AtomicU32]| {
        let entry: Vec<u32> = entry.iter().map(|word| word.load(Relaxed)).collect();
        entry[0] == life.pid && entry[2..] == started
    };
    words(segment).windows(4).position(is_mine).unwrap() + 1
}

/// One that writes over that.
fn scribbler(segment: &Segment) -> Child<()> {
    let at = count_of_mine(segment);
    // It ends with this process, also where a test fails.
    let child = Context::exec().builder().daemon(true).spawn(write_over, (segment.clone(), at)).unwrap();
    assert!(wait_until(GENEROUS, || words(segment)[at].load(Relaxed) == u32::MAX), "it does not begin");
    child
}

fn end(child: Child<()>) {
    child.kill().unwrap();
    assert_eq!(child.join().err().unwrap().signal(), Some(Signal::KILL));
}

#[test]
fn a_semaphore_goes_on() {
    let _leaks = leaks();
    let semaphore = Semaphore::new(10).unwrap();
    semaphore.acquire().unwrap().forget();
    let scribbler = scribbler(semaphore.segment());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..100_000 {
                    let _ = semaphore.release_many(1 + round % 3);
                    let _ = semaphore.try_acquire().map(|permit| permit.map(drop));
                }
            });
        }
    });
    end(scribbler);
    let _ = semaphore.release();
    let _ = semaphore.try_acquire().map(|permit| permit.map(drop));
}

#[test]
fn a_barrier_goes_on() {
    let _leaks = leaks();
    let alone = Barrier::new(1).unwrap();
    alone.wait().unwrap();
    let scribbler = scribbler(alone.segment());
    for _ in 0..5_000 {
        let _ = alone.wait_timeout(Duration::from_micros(1));
        let _ = alone.reset();
    }
    end(scribbler);
    alone.reset().unwrap();
}

/// The word of the lock inside: before the ledger, of which this process has the first entry, behind four numbers of 64 bits.
fn lock_of(segment: &Segment) -> &AtomicU32 {
    let entry = count_of_mine(segment) - 1;
    &words(segment)[entry - 4 * 2 - size_of::<RawLock>() / 4]
}

fn stay() {
    loop {
        std::thread::park();
    }
}

/// Somebody who lives has the lock inside, and does not go on, as one who is stopped there.
#[test]
fn who_does_not_wait_gives_up_beside_one_who_is_stopped() {
    let _leaks = leaks();
    let (semaphore, barrier) = (Semaphore::new(1).unwrap(), Barrier::new(1).unwrap());
    let owner = Context::exec().builder().daemon(true).spawn(stay, ()).unwrap();
    drop(semaphore.acquire().unwrap());
    barrier.wait().unwrap();
    let locks = [semaphore.segment(), barrier.segment()].map(lock_of);
    for lock in locks {
        assert_eq!(lock.swap(owner.pid(), Relaxed), 0);
    }
    let start = Instant::now();
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    assert!(matches!(barrier.wait_timeout(SHORT), Err(Error::BrokenBarrier)));
    assert!(start.elapsed() < GENEROUS && semaphore.available() == 1 && !barrier.is_broken());
    locks.into_iter().for_each(|lock| lock.store(0, Relaxed));
    assert!(semaphore.try_acquire().unwrap().is_some());
    assert!(barrier.wait_timeout(GENEROUS).unwrap().is_leader());
    end(owner);
}
