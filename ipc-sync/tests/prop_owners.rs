//! Permits in the hands of several processes, some of which are killed: any sequence of acquiring, releasing and dying agrees with a table of who has how many. And latches and
//! values set once, against a number and an option.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use ipc_core::{Child, Packed};
use ipc_sync::{Latch, OnceLock, Queue, QueueReceiver, QueueSender, Semaphore};
use ipc_testkit::{GENEROUS, leaks};
use proptest::collection::vec;
use proptest::prelude::*;

use support::spawn;

#[derive(Clone, Copy, Debug)]
enum Turn {
    Acquire(usize, u32),
    Release(usize, u32),
    Kill(usize),
}

/// Three processes: this one and two others.
const PROCESSES: usize = 3;

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..PROCESSES, 0..4u32).prop_map(|(who, permits)| Turn::Acquire(who, permits)),
        3 => (0..PROCESSES, 0..4u32).prop_map(|(who, permits)| Turn::Release(who, permits)),
        1 => (1..PROCESSES).prop_map(Turn::Kill),
    ]
}

/// Acquires or releases so many, and says whether it did.
fn act(semaphore: &Semaphore, (acquires, permits): (bool, u32)) -> bool {
    if !acquires {
        return semaphore.release_many(permits).is_ok();
    }
    let permit = semaphore.try_acquire_many(permits).unwrap();
    permit.map(|permit| permit.forget()).is_some()
}

/// The other processes' life.
fn serve(semaphore: Semaphore, orders: QueueReceiver<(bool, u32)>, answers: QueueSender<bool>) {
    for order in orders {
        answers.put(act(&semaphore, order.unwrap())).unwrap();
    }
}

struct Other {
    child: Child<()>,
    orders: QueueSender<(bool, u32)>,
    answers: QueueReceiver<bool>,
}

impl Other {
    fn new(semaphore: &Semaphore) -> Other {
        let (orders, theirs) = Queue::bounded(1).unwrap().split();
        let (put, answers) = Queue::bounded(1).unwrap().split();
        Other { child: spawn(serve, (semaphore.clone(), theirs, put)).unwrap(), orders, answers }
    }

    fn ask(&self, order: (bool, u32)) -> bool {
        self.orders.put(order).unwrap();
        self.answers.get_timeout(GENEROUS).unwrap().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn permits_are_whose_the_table_says(turns in vec(turn(), 0..40), permits in 0..6u32) {
        let _leaks = leaks();
        let semaphore = Semaphore::new(permits).unwrap();
        let mut others = [(); PROCESSES - 1].map(|()| Other::new(&semaphore));
        let (mut available, mut had) = (permits, [0_u32; PROCESSES]);
        for turn in turns {
            match turn {
                Turn::Acquire(who, permits) => {
                    let got = match who {
                        0 => act(&semaphore, (true, permits)),
                        _ => others[who - 1].ask((true, permits)),
                    };
                    prop_assert_eq!(got, permits <= available);
                    if got {
                        available -= permits;
                        had[who] += permits;
                    }
                }
                Turn::Release(who, permits) => {
                    let mut debt = permits - permits.min(had[who]);
                    let owners: Vec<_> = (0..PROCESSES).filter(|other| *other != who && had[*other] > 0).collect();
                    // Of two who have as many, it is said of none which is the one.
                    if debt > 0 && owners.len() > 1 {
                        continue;
                    }
                    let released = match who {
                        0 => act(&semaphore, (false, permits)),
                        _ => others[who - 1].ask((false, permits)),
                    };
                    prop_assert!(released);
                    had[who] -= permits - debt;
                    for owner in owners {
                        let moved = debt.min(had[owner]);
                        had[owner] -= moved;
                        debt -= moved;
                    }
                    available += permits;
                }
                Turn::Kill(who) => {
                    let other = std::mem::replace(&mut others[who - 1], Other::new(&semaphore));
                    other.child.kill().unwrap();
                    other.child.join().unwrap_err();
                    available += std::mem::take(&mut had[who]);
                }
            }
            // Who finds too few looks for the dead.
            prop_assert!(semaphore.try_acquire_many(available + 1).unwrap().is_none());
            prop_assert_eq!(semaphore.available(), available);
        }
        for other in others {
            drop(other.orders);
            other.child.join().unwrap();
        }
    }

    #[test]
    fn a_latch_is_a_number(steps in vec((0..2usize, 0..4u32), 0..20), count in 0..12u32) {
        let latch = Latch::new(count).unwrap();
        let handles = [Packed::new(&latch).unwrap().open::<Latch>().unwrap(), latch];
        let mut missing = count;
        for (handle, step) in steps {
            missing = missing.saturating_sub(step);
            prop_assert_eq!(handles[handle].count_down(step), missing);
            prop_assert_eq!(handles[1 - handle].missing(), missing);
            prop_assert_eq!(handles[handle].wait_timeout(std::time::Duration::ZERO), missing == 0);
        }
    }

    #[test]
    fn what_is_set_once_is_an_option(steps in vec((0..2usize, any::<bool>(), any::<u64>()), 0..10)) {
        let once = OnceLock::<u64>::new().unwrap();
        let handles = [Packed::new(&once).unwrap().open::<OnceLock<u64>>().unwrap(), once];
        let mut value = None;
        for (handle, sets, new) in steps {
            prop_assert_eq!(handles[handle].get().copied(), value);
            if sets {
                let expected = if value.is_none() { Ok(()) } else { Err(new) };
                prop_assert_eq!(handles[handle].set(new).unwrap(), expected);
            } else {
                prop_assert_eq!(*handles[handle].get_or_init(|| new).unwrap(), value.unwrap_or(new));
            }
            value.get_or_insert(new);
            prop_assert_eq!(handles[1 - handle].get().copied(), value);
        }
    }
}
