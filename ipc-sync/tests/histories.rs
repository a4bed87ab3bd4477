//! Small histories of processes that use one primitive at the same time: what each was answered fits into one order, in which what had ended before
//! something else began comes first (linearisability, Herlihy and Wing 1990). The queue's are in `prop_queue`.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod support;

use std::sync::atomic::Ordering::SeqCst;

use ipc_shm::Atomic;
use ipc_sync::{Barrier, CountingSemaphore, Event, Semaphore};
use ipc_testkit::{Rng, leaks};
use serde::{Deserialize, Serialize};

use support::spawn;

/// Something that was done, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum What {
    Acquired(bool),
    Released,
    Set(bool),
    Cleared(bool),
    IsSet(bool),
}

/// By a clock that all share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Done {
    begun: u64,
    ended: u64,
    what: What,
}

/// What the answer makes of the state: how many permits there are, or whether it is set. `None`: it could not be the answer then.
fn after(state: u64, what: What) -> Option<u64> {
    match what {
        What::Acquired(true) => state.checked_sub(1),
        What::Acquired(false) => (state == 0).then_some(0),
        What::Released => Some(state + 1),
        What::Set(changed) => (changed == (state == 0)).then_some(1),
        What::Cleared(changed) => (changed == (state == 1)).then_some(0),
        What::IsSet(answer) => (answer == (state == 1)).then_some(state),
    }
}

/// Whether some order of these is one that a single process could have seen.
fn is_one_order(left: &mut Vec<Done>, state: u64) -> bool {
    let Some(first_end) = left.iter().map(|one| one.ended).min() else { return true };
    for at in 0..left.len() {
        // What has begun after another's end comes after it.
        if left[at].begun > first_end {
            continue;
        }
        let one = left.swap_remove(at);
        let goes_on = after(state, one.what).is_some_and(|state| is_one_order(left, state));
        left.push(one);
        let last = left.len() - 1;
        left.swap(at, last);
        if goes_on {
            return true;
        }
    }
    false
}

/// What the processes share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    kind: Kind,
    clock: Atomic<u64>,
    together: Barrier,
}

#[derive(Clone, Serialize, Deserialize)]
enum Kind {
    Counting(CountingSemaphore),
    Owned(Semaphore),
    Event(Event),
}

const PROCESSES: usize = 3;

/// One process's part of all histories: three steps of each.
fn part(shared: Shared, rounds: usize, seed: u64) -> Vec<Vec<Done>> {
    let mut rng = Rng::from_seed(seed);
    let tick = || shared.clock.fetch_add(1, SeqCst);
    let done = |act: &mut dyn FnMut() -> What| {
        let begun = tick();
        let what = act();
        Done { begun, ended: tick(), what }
    };
    let mut all = Vec::new();
    for _ in 0..rounds {
        // It begins anew each time: whoever comes first to this barrier has left the last one with all others.
        let index = shared.together.wait().unwrap().index();
        if index == 0 {
            match &shared.kind {
                Kind::Counting(one) => while one.try_acquire().unwrap() {},
                Kind::Owned(_) => {}
                Kind::Event(one) => _ = one.clear(),
            }
        }
        shared.together.wait().unwrap();
        let mut permits = Vec::new();
        let steps = (0..3).map(|_| match &shared.kind {
            Kind::Counting(one) if rng.below(2) == 0 => {
                done(&mut || What::Acquired(one.try_acquire().unwrap()))
            }
            Kind::Counting(one) => done(&mut || {
                one.release().unwrap();
                What::Released
            }),
            Kind::Owned(_) if !permits.is_empty() && rng.below(2) == 0 => done(&mut || {
                drop(permits.pop());
                What::Released
            }),
            Kind::Owned(one) => {
                let mut permit = None;
                let done = done(&mut || {
                    permit = one.try_acquire().unwrap();
                    What::Acquired(permit.is_some())
                });
                permits.extend(permit);
                done
            }
            Kind::Event(one) => match rng.below(3) {
                0 => done(&mut || What::Set(one.set())),
                1 => done(&mut || What::Cleared(one.clear())),
                _ => done(&mut || What::IsSet(one.is_set())),
            },
        });
        all.push(steps.collect());
        // Given back when nobody is at it any more: that is no part of the history.
        shared.together.wait().unwrap();
        drop(permits);
    }
    all
}

fn histories(kind: Kind, begins_with: u64) {
    let _leaks = leaks();
    let rounds = if ipc_testkit::quick() { 300 } else { 3_000 };
    let together = Barrier::new(PROCESSES as u32).unwrap();
    let shared = Shared { kind, clock: Atomic::new(0_u64).unwrap(), together };
    let mut rng = Rng::new();
    let children: Vec<_> =
        (0..PROCESSES).map(|_| spawn(part, (shared.clone(), rounds, rng.next_u64())).unwrap()).collect();
    let parts: Vec<Vec<Vec<Done>>> = children.into_iter().map(|child| child.join().unwrap()).collect();
    let (mut refused, mut overlapped) = (0, 0);
    for round in 0..rounds {
        let mut history: Vec<Done> = parts.iter().flat_map(|part| part[round].iter().copied()).collect();
        let all = history.clone();
        assert!(is_one_order(&mut history, begins_with), "round {round}: {all:#?}");
        refused += all.iter().filter(|one| one.what == What::Acquired(false)).count();
        let overlaps = |one: &Done| {
            all.iter().filter(|other| other.begun < one.ended && one.begun < other.ended).count() > 1
        };
        overlapped += usize::from(all.iter().any(overlaps));
    }
    // Otherwise nothing was shown.
    assert!(overlapped > 0, "nothing was done at the same time as anything else ({refused} refused)");
}

#[test]
fn of_a_counting_semaphore() {
    histories(Kind::Counting(CountingSemaphore::new(0).unwrap()), 0);
}

#[test]
fn of_a_semaphore() {
    histories(Kind::Owned(Semaphore::new(2).unwrap()), 2);
}

#[test]
fn of_an_event() {
    histories(Kind::Event(Event::new().unwrap()), 0);
}

/// The checker finds what is no order: two that were told that they have set it, one after the other; a permit that was refused while one was there all the time.
#[test]
fn what_is_no_order_is_found() {
    let one = |begun, ended, what| Done { begun, ended, what };
    assert!(!is_one_order(&mut vec![one(0, 1, What::Set(true)), one(2, 3, What::Set(true))], 0));
    assert!(is_one_order(&mut vec![one(0, 2, What::Set(true)), one(1, 3, What::Set(false))], 0));
    assert!(!is_one_order(&mut vec![one(0, 1, What::Released), one(2, 3, What::Acquired(false))], 0));
    assert!(is_one_order(&mut vec![one(0, 2, What::Released), one(1, 3, What::Acquired(false))], 0));
}
