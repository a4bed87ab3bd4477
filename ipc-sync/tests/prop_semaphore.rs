//! Any sequence of operations on semaphores and a barrier gives what a small model says.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]
#![allow(
    dropping_copy_types,
    forgetting_copy_types,
    reason = "what has no permits is walked as those that have"
)]

use std::time::Duration;

use ipc_core::Packed;
use ipc_sync::{Barrier, BoundedSemaphore, CountingSemaphore, Error, Permit, Result, Semaphore};
use proptest::collection::vec;
use proptest::prelude::*;

/// What is done.
#[derive(Clone, Debug)]
enum Turn {
    Acquire { handle: usize, permits: u32, timed: bool },
    Drop { at: usize },
    Forget { at: usize },
    Release { handle: usize, permits: u32 },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..2usize, 0..4u32, any::<bool>())
            .prop_map(|(handle, permits, timed)| Turn::Acquire { handle, permits, timed }),
        3 => any::<usize>().prop_map(|at| Turn::Drop { at }),
        1 => any::<usize>().prop_map(|at| Turn::Forget { at }),
        2 => (0..2usize, 0..4u32).prop_map(|(handle, permits)| Turn::Release { handle, permits }),
    ]
}

/// Python's counter: so many are there, and of a bounded one never more than at first. And how many of them this process has, which is as many as its permits
/// give back.
struct Model {
    available: u32,
    most: Option<u32>,
    had: u32,
}

impl Model {
    fn acquire(&mut self, permits: u32) -> bool {
        let enough = self.available >= permits;
        if enough {
            self.available -= permits;
            self.had += permits;
        }
        enough
    }

    fn give_back(&mut self, permits: u32) {
        let own = self.had.min(permits);
        self.available += own;
        self.had -= own;
    }

    fn release(&mut self, permits: u32) -> bool {
        let fits = self.most.is_none_or(|most| self.available + permits <= most);
        if fits {
            self.available += permits;
            self.had -= self.had.min(permits);
        }
        fits
    }
}

/// What all three have.
macro_rules! walk {
    ($handles:expr, $model:expr, $turns:expr, $acquire:expr, $keep:ty) => {{
        let (handles, mut model) = ($handles, $model);
        let mut held: Vec<(u32, $keep)> = Vec::new();
        for turn in $turns {
            match turn {
                Turn::Acquire { handle, permits, timed } => {
                    let enough = model.acquire(*permits);
                    let got = match $acquire(&handles[*handle], *permits, *timed) {
                        Err(Error::Invalid { .. }) if model.most.is_some_and(|most| *permits > most) => None,
                        got => got.unwrap(),
                    };
                    prop_assert_eq!(got.is_some(), enough);
                    held.extend(got.map(|permit| (*permits, permit)));
                }
                Turn::Drop { at } if !held.is_empty() => {
                    let (permits, permit) = held.swap_remove(at % held.len());
                    let counts = drops(&permit);
                    drop(permit);
                    if counts {
                        model.give_back(permits);
                    }
                }
                Turn::Forget { at } if !held.is_empty() => {
                    let (_, permit) = held.swap_remove(at % held.len());
                    std::mem::forget(permit);
                }
                Turn::Drop { .. } | Turn::Forget { .. } => {}
                Turn::Release { handle, permits } => {
                    let released = handles[*handle].release_many(*permits);
                    prop_assert_eq!(released.is_ok(), model.release(*permits));
                    let refused = matches!(released, Ok(()) | Err(Error::TooManyPermits { .. }));
                    prop_assert!(refused);
                }
            }
            prop_assert_eq!(handles[0].available(), model.available);
            prop_assert_eq!(handles[1].available(), model.available);
        }
    }};
}

/// Whether dropping it gives something back.
fn drops<T>(_: &T) -> bool {
    std::mem::needs_drop::<T>()
}

const SHORT: Duration = Duration::from_micros(100);

macro_rules! owned {
    ($semaphore:ty) => {
        |semaphore, permits, timed| {
            fn acquire(semaphore: &$semaphore, permits: u32, timed: bool) -> Result<Option<Permit<'_>>> {
                if timed && permits == 1 {
                    return semaphore.acquire_timeout(SHORT);
                }
                semaphore.try_acquire_many(permits)
            }
            acquire(semaphore, permits, timed)
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_semaphore(turns in vec(turn(), 0..60), permits in 0..5u32) {
        let semaphore = Semaphore::new(permits).unwrap();
        let handles = [Packed::new(&semaphore).unwrap().open().unwrap(), semaphore];
        walk!(&handles, Model { available: permits, most: None, had: 0 }, &turns, owned!(Semaphore), Permit<'_>);
    }

    #[test]
    fn a_bounded_semaphore(turns in vec(turn(), 0..60), permits in 0..5u32) {
        let semaphore = BoundedSemaphore::new(permits).unwrap();
        let handles = [Packed::new(&semaphore).unwrap().open().unwrap(), semaphore];
        let model = Model { available: permits, most: Some(permits), had: 0 };
        walk!(&handles, model, &turns, owned!(BoundedSemaphore), Permit<'_>);
    }

    #[test]
    fn a_counting_semaphore(turns in vec(turn(), 0..60), permits in 0..5u32, more in 1..5u32) {
        let semaphore = CountingSemaphore::with_max(permits, permits + more).unwrap();
        let handles = [Packed::new(&semaphore).unwrap().open().unwrap(), semaphore];
        let acquire = |semaphore: &CountingSemaphore, permits, timed| {
            let acquired = match timed && permits == 1 {
                true => semaphore.acquire_timeout(SHORT),
                false => semaphore.try_acquire_many(permits),
            };
            acquired.map(|acquired| acquired.then_some(()))
        };
        walk!(&handles, Model { available: permits, most: Some(permits + more), had: 0 }, &turns, acquire, ());
    }

    /// Of threads that come in any number of rounds, with a reset or an abort in between.
    #[test]
    fn a_barrier(parties in 1..4u32, rounds in vec(0..3u8, 1..8)) {
        let barrier = Barrier::new(parties).unwrap();
        let mut broken = false;
        for round in rounds {
            match round {
                0 => barrier.abort().unwrap(),
                1 => barrier.reset().unwrap(),
                _ => {}
            }
            broken = match round { 0 => true, 1 => false, _ => broken };
            let mut indices: Vec<_> = std::thread::scope(|scope| {
                let waits: Vec<_> = (0..parties).map(|_| scope.spawn(|| barrier.wait())).collect();
                waits.into_iter().map(|wait| wait.join().unwrap().ok().map(|passed| passed.index())).collect()
            });
            indices.sort_unstable();
            let all: Vec<_> = (0..parties as usize).map(|index| (!broken).then_some(index)).collect();
            prop_assert_eq!((indices, barrier.is_broken(), barrier.waiting()), (all, broken, 0));
        }
    }
}
