//! Processes that hold locks of this crate and robust mutexes of the C library at once, taken and freed in any order, killed at random
//! instants: of both kinds exactly those are reported that the dead had.
//!
//! A victim writes down what it has, before and after each step, in memory that survives it. What it was about to take or to free may be
//! reported or not; about the rest there is no doubt. Somebody else passes by all the time, who waits for one at a time and is told as well.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use ipc_core::Child;
use ipc_shm::raw::{RawLock, Refused, Taken};
use ipc_shm::{Segment, Until};
use ipc_testkit::{GENEROUS, Rng, kills, leaks};

use crate::neighbour::{self, Found, Mutex};
use crate::{METHODS, all_end, bury, context, crash_points, program, start};

/// Of each kind.
const EACH: usize = 8;

/// In a segment.
#[repr(C)]
struct Shared {
    theirs: [Mutex; EACH],
    ours: [RawLock; EACH],
    /// Of each, ours first: what the victim does with it.
    doing: [AtomicU32; 2 * EACH],
    /// How often its death was told.
    told: [AtomicU32; 2 * EACH],
    /// Who dies.
    victim: AtomicU32,
    /// Not 0: who passes by leaves.
    over: AtomicU32,
    steps: AtomicU64,
}

/// The victim does not have it, is about to take or to free it, or has it.
const WITHOUT: u32 = 0;
const BETWEEN: u32 = 1;
const WITH: u32 = 2;

fn shared(segment: &Segment) -> &Shared {
    // SAFETY: atomics, and what is made for sharing, at the beginning of a segment that is long enough and mapped as long as it is
    // borrowed.
    unsafe { segment.as_ptr().cast::<Shared>().as_ref() }
}

impl Shared {
    /// Takes one, whoever has died with it; `false` if somebody has it still.
    fn take(&self, at: usize, until: Until) -> bool {
        if at < EACH {
            // SAFETY: the segment stays mapped; nobody here leaves while it holds one, but by its death.
            match unsafe { self.ours[at].take(until) } {
                Ok(Taken::Whole) => {}
                Ok(Taken::OwnerDied(pid)) => {
                    assert_eq!(pid, self.victim.load(SeqCst));
                    self.ours[at].repaired();
                    self.told[at].fetch_add(1, SeqCst);
                }
                Err(Refused::Busy) if until == Until::Now => return false,
                other => panic!("{other:?}"),
            }
            return true;
        }
        let mutex = &self.theirs[at - EACH];
        match if until == Until::Now { mutex.try_lock() } else { mutex.lock() } {
            Found::Whole => {}
            Found::OwnerDied => drop(self.told[at].fetch_add(1, SeqCst)),
            Found::Busy => {
                assert_eq!(until, Until::Now, "somebody waits for the dead");
                return false;
            }
        }
        true
    }

    fn free(&self, at: usize) {
        if at < EACH {
            // SAFETY: as above.
            assert!(unsafe { self.ours[at].free() }, "a link of the list is not what it was");
        } else {
            self.theirs[at - EACH].unlock();
        }
    }
}

/// A victim's life.
fn hold(segment: Segment, seed: u64) {
    let (shared, mut rng) = (shared(&segment), Rng::from_seed(seed));
    shared.victim.store(std::process::id(), SeqCst);
    loop {
        let at = rng.below(2 * EACH as u64) as usize;
        let doing = &shared.doing[at];
        let had = doing.swap(BETWEEN, SeqCst) == WITH;
        let has = if had {
            shared.free(at);
            false
        } else {
            shared.take(at, Until::Now)
        };
        doing.store(if has { WITH } else { WITHOUT }, SeqCst);
        shared.steps.fetch_add(1, SeqCst);
    }
}

/// Who passes by, and has one at a time.
fn pass_by(segment: Segment, seed: u64) {
    let (shared, mut rng) = (shared(&segment), Rng::from_seed(seed));
    while shared.over.load(SeqCst) == 0 {
        let at = rng.below(2 * EACH as u64) as usize;
        shared.take(at, Until::after(GENEROUS));
        shared.free(at);
    }
}

/// Kills so many; gives how many steps they took, and how many deaths of each kind were told.
fn kill(method: String, rounds: u32, seed: u64) -> (u64, [u64; 2]) {
    let _leaks = leaks();
    let (context, mut rng) = (context(&method), Rng::from_seed(seed));
    let segment = Segment::new(size_of::<Shared>()).unwrap();
    let shared = shared(&segment);
    shared.theirs.iter().for_each(Mutex::init);
    let passer_by: Child<()> = start(&context, pass_by, (segment.clone(), rng.next_u64()));
    let mut told_of = [0, 0];
    for _ in 0..rounds {
        let steps = shared.steps.load(SeqCst);
        let mut victim = vec![start(&context, hold, (segment.clone(), rng.next_u64()))];
        assert!(ipc_testkit::wait_until(GENEROUS, || shared.steps.load(SeqCst) > steps));
        std::thread::sleep(rng.duration(Duration::from_millis(2)));
        victim[0].kill().unwrap();
        bury(&mut victim);
        for at in 0..2 * EACH {
            assert!(shared.take(at, Until::after(GENEROUS)));
            let (doing, told) = (shared.doing[at].swap(WITHOUT, SeqCst), shared.told[at].swap(0, SeqCst));
            let (least, most) = [(0, 0), (0, 1), (1, 1)][doing as usize];
            assert!((least..=most).contains(&told), "{at}: {told} deaths were told, and it was at {doing}");
            told_of[at / EACH] += u64::from(told);
            shared.free(at);
        }
    }
    shared.over.store(1, SeqCst);
    assert_eq!(all_end(vec![passer_by]), 0);
    (shared.steps.load(SeqCst), told_of)
}

fn rounds(method: &str) -> u32 {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (10_000, 100_000),
        (false, true) => (20, 100),
        (false, false) => (200, 1_000),
    };
    if method == "exec" { exec } else { server }
}

#[test]
fn owners_of_both_kinds_killed_at_random_instants() {
    let _leaks = leaks();
    neighbour::build();
    let (crash, mut rng) = (crash_points(), Rng::new());
    for method in METHODS {
        let (rounds, seed) = (rounds(method), rng.next_u64());
        let killer = program(&crash, "", kill, (method.to_owned(), rounds, seed));
        let (steps, told) = killer.join().unwrap_or_else(|error| panic!("{method}, {seed}: {error}"));
        println!("{method}: {steps} steps; told of {} locks and of {} mutexes", told[0], told[1]);
        assert!(told[0] > 0 && told[1] > 0);
        kills(&format!("owner of both kinds, random instant, {method}"), rounds.into());
    }
}
