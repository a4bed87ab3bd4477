//! Locks of this crate and robust mutexes of the C library on one thread, in any order, and what becomes of both when the thread
//! ends, forks or executes something else.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod neighbour;

use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use ipc_core::Context;
use ipc_shm::raw::{RawLock, Refused, Taken};
use ipc_shm::{LockError, Segment, Until, Value};
use ipc_testkit::{GENEROUS, Rng, leaks, quick, wait_until};
use neighbour::{Found, Mutex};

/// So many of each kind, for good: a thread's robust list must never lead into memory that is gone.
fn both(number: usize) -> (&'static [RawLock], &'static [Mutex]) {
    neighbour::build();
    let ours: Box<[RawLock]> = (0..number).map(|_| RawLock::new()).collect();
    let theirs: Box<[Mutex]> = (0..number).map(|_| Mutex::new()).collect();
    (Box::leak(ours), Box::leak(theirs))
}

fn take(lock: &'static RawLock, until: Until) -> Result<Taken, Refused> {
    // SAFETY: leaked.
    unsafe { lock.take(until) }
}

#[track_caller]
fn free(lock: &'static RawLock) {
    // SAFETY: leaked.
    assert!(unsafe { lock.free() }, "a link of the list is not what it was");
}

/// Takes or frees each in turn that the seed says; gives which are held then.
fn any_order(ours: &'static [RawLock], theirs: &'static [Mutex], steps: u64, seed: u64) -> [Vec<bool>; 2] {
    let mut rng = Rng::from_seed(seed);
    let mut held = [vec![false; ours.len()], vec![false; theirs.len()]];
    for _ in 0..steps {
        let (kind, at) = (rng.below(2) as usize, rng.below(ours.len() as u64) as usize);
        match (kind, held[kind][at]) {
            (0, false) => assert_eq!(take(&ours[at], Until::Now), Ok(Taken::Whole)),
            (0, true) => free(&ours[at]),
            (_, false) => assert_eq!(theirs[at].try_lock(), Found::Whole),
            (_, true) => theirs[at].unlock(),
        }
        held[kind][at] = !held[kind][at];
    }
    held
}

/// Their owner is dead: what it held is marked, and nothing else is.
#[track_caller]
fn are_marked(ours: &'static [RawLock], theirs: &'static [Mutex], held: &[Vec<bool>; 2], owner: u32) {
    for (lock, held) in ours.iter().zip(&held[0]) {
        let expected = if *held { Taken::OwnerDied(owner) } else { Taken::Whole };
        assert_eq!(take(lock, Until::after(GENEROUS)), Ok(expected));
        lock.repaired();
        free(lock);
    }
    for (mutex, held) in theirs.iter().zip(&held[1]) {
        assert_eq!(mutex.lock(), if *held { Found::OwnerDied } else { Found::Whole });
        mutex.unlock();
    }
}

#[test]
fn in_any_order_a_million_times() {
    let (ours, theirs) = both(16);
    let (threads, steps) = if quick() { (20, 10_000) } else { (100, 20_000) };
    for seed in 0..threads {
        let holder = std::thread::spawn(move || any_order(ours, theirs, steps, seed));
        are_marked(ours, theirs, &holder.join().unwrap(), std::process::id());
    }
}

/// As many as the kernel looks at, those of the C library among them, however many these are: more than half of them were not
/// counted, and the oldest of ours stayed taken for ever.
#[test]
fn as_many_as_the_kernel_looks_after_both_kinds_together() {
    const MOST: usize = 2047;
    let (ours, theirs) = both(MOST);
    for number in [1, 1000, 1023, 1024, 1500, 2046, MOST] {
        let (ours, theirs) = (&ours[..=MOST - number], &theirs[..number]);
        let (room, one_more) = (&ours[..MOST - number], &ours[MOST - number..]);
        // Theirs first, last, and between: it is all one list.
        for before in [0, number / 2, number] {
            let holder = std::thread::spawn(move || {
                theirs[..before].iter().for_each(|mutex| assert_eq!(mutex.try_lock(), Found::Whole));
                let half = room.len() / 2;
                room[..half].iter().for_each(|lock| assert_eq!(take(lock, Until::Now), Ok(Taken::Whole)));
                theirs[before..].iter().for_each(|mutex| assert_eq!(mutex.try_lock(), Found::Whole));
                room[half..].iter().for_each(|lock| assert_eq!(take(lock, Until::Now), Ok(Taken::Whole)));
                assert_eq!(take(&one_more[0], Until::Now), Err(Refused::TooMany));
                // One that goes leaves room for another.
                theirs[number / 2].unlock();
                assert_eq!(take(&one_more[0], Until::Now), Ok(Taken::Whole));
                free(&one_more[0]);
                assert_eq!(theirs[number / 2].try_lock(), Found::Whole);
            });
            holder.join().unwrap();
            let held = [vec![true; room.len()], vec![true; number]];
            are_marked(room, theirs, &held, std::process::id());
        }
    }
}

/// A forked copy has none of them, and has a list of its own.
#[test]
fn a_fork_holds_nothing_of_either_kind() {
    // In memory that both processes have; never unmapped.
    let segment: &'static Segment = Box::leak(Box::new(Segment::new(size_of::<Both>()).unwrap()));
    neighbour::build();
    // SAFETY: at the beginning of a segment that is long enough, zeroed and mapped for good.
    let Both { ours, theirs } = unsafe { segment.as_ptr().cast::<Both>().as_ref() };
    theirs.iter().for_each(Mutex::init);
    let ([my_ours, its_ours], [my_theirs, its_theirs]) = (halves(ours), halves(theirs));
    for seed in 0..20 {
        let mine = any_order(my_ours, my_theirs, 1_000, seed);
        // SAFETY: the copy makes calls that take no lock of the process, but these.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let none = my_ours.iter().all(|lock| !lock.is_mine());
            let its = catch_unwind(AssertUnwindSafe(|| any_order(its_ours, its_theirs, 1_001, seed)));
            let expected = its.is_ok_and(|its| [&its[0][..], &its[1][..]].concat() == expected(seed));
            // SAFETY: ends the copy.
            unsafe { libc::_exit(i32::from(!(none && expected))) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "seed {seed}");
        let its = expected(seed);
        are_marked(its_ours, its_theirs, &[its[..8].to_vec(), its[8..].to_vec()], pid as u32);
        for (lock, held) in my_ours.iter().zip(&mine[0]) {
            assert_eq!(lock.is_mine(), *held);
            free(lock);
        }
        my_theirs.iter().zip(&mine[1]).filter(|(_, held)| **held).for_each(|(mutex, _)| mutex.unlock());
    }
}

/// Sixteen of each, one half for the one who forks.
#[repr(C)]
struct Both {
    ours: [RawLock; 16],
    theirs: [Mutex; 16],
}

fn halves<T>(all: &'static [T; 16]) -> [&'static [T]; 2] {
    let (first, second) = all.split_at(8);
    [first, second]
}

/// What a copy with this seed holds at its end.
fn expected(seed: u64) -> Vec<bool> {
    let mut rng = Rng::from_seed(seed);
    let mut held = vec![false; 16];
    for _ in 0..1_001 {
        let at = rng.below(2) * 8 + rng.below(8);
        held[at as usize] = !held[at as usize];
    }
    held
}

/// A mutex of the C library in a segment.
fn mutex_of(segment: &Segment) -> &Mutex {
    // SAFETY: at the beginning of a segment, long enough, and mapped as long as it is borrowed.
    unsafe { segment.as_ptr().cast::<Mutex>().as_ref() }
}

/// Takes both and runs another program in this process, on its first thread or on another.
fn run_another(value: Value<u64>, segment: Segment, first: bool) {
    let run = move || -> () {
        let mut guard = value.lock().unwrap();
        assert_eq!(mutex_of(&segment).try_lock(), Found::Whole);
        *guard += 1;
        panic!("{}", Command::new("/proc/self/exe").arg("--list").stdout(std::process::Stdio::null()).exec());
    };
    if first {
        run();
    } else {
        std::thread::spawn(run).join().unwrap();
    }
}

#[test]
fn exec_is_a_death_but_on_another_thread_than_the_first() {
    let _leaks = leaks();
    neighbour::build();
    for context in [Context::exec(), Context::fork_server()] {
        for first in [true, false] {
            let value = Value::new(0_u64).unwrap();
            let segment = Segment::new(size_of::<Mutex>()).unwrap();
            mutex_of(&segment).init();
            let child = context.spawn(run_another, (value.clone(), segment.clone(), first)).unwrap();
            let pid = child.pid();
            child.join().unwrap_err();
            match value.lock_timeout(Duration::from_millis(20)) {
                Err(LockError::OwnerDied(died)) => assert_eq!((died.pid(), *died.recover()), (pid, 1)),
                // Documented: the thread's number has changed before the kernel looks. Nobody waits longer than he wants.
                Err(LockError::TimedOut) => assert!(!first, "the kernel has not looked"),
                other => panic!("{other:?}"),
            }
            let found = mutex_of(&segment).try_lock();
            assert!(found == Found::OwnerDied || found == Found::Busy && !first, "{found:?}");
            if found == Found::OwnerDied {
                mutex_of(&segment).unlock();
            }
            assert!(wait_until(GENEROUS, || ipc_testkit::process_gone(pid)));
        }
    }
}
