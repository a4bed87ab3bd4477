//! Any sequence of operations on the locks of a thread gives what a small model says: a counter for a recursive lock, and for raw locks
//! the list as the kernel walks it, whoever writes over its links.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ipc_core::Packed;
use ipc_shm::raw::{RawLock, Refused, Taken};
use ipc_shm::{LockError, RLock, Until};
use proptest::collection::vec;
use proptest::prelude::*;

const SHORT: Duration = Duration::from_millis(2);

/// How a lock is asked for.
#[derive(Clone, Copy, Debug)]
enum How {
    Lock,
    Try,
    Timeout,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Lock), Just(How::Try), Just(How::Timeout)]
}

/// What is done with a recursive lock.
#[derive(Clone, Debug)]
enum Turn {
    Take { handle: usize, how: How },
    Give { at: usize },
    Elsewhere { handle: usize },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..3usize, how()).prop_map(|(handle, how)| Turn::Take { handle, how }),
        4 => any::<usize>().prop_map(|at| Turn::Give { at }),
        1 => (0..3usize).prop_map(|handle| Turn::Elsewhere { handle }),
    ]
}

fn turns(handles: &[RLock; 3], turns: &[Turn], dies: bool) -> Result<usize, TestCaseError> {
    let mut guards = Vec::new();
    for turn in turns {
        match turn {
            Turn::Take { handle, how } => guards.push(match how {
                How::Lock => handles[*handle].lock().unwrap(),
                How::Try => handles[*handle].try_lock().unwrap(),
                How::Timeout => handles[*handle].lock_timeout(SHORT).unwrap(),
            }),
            Turn::Give { at } if !guards.is_empty() => drop(guards.swap_remove(at % guards.len())),
            Turn::Give { .. } => {}
            Turn::Elsewhere { handle } => {
                let handle = &handles[*handle];
                let free = guards.is_empty();
                let other = move || {
                    handle.depth() == 0
                        && match handle.try_lock() {
                            Ok(_guard) => free && handle.depth() == 1,
                            Err(LockError::WouldBlock) => !free,
                            Err(_) => false,
                        }
                };
                prop_assert!(std::thread::scope(|scope| scope.spawn(other).join().unwrap()));
            }
        }
        for handle in handles {
            prop_assert_eq!(
                (handle.depth() as usize, handle.is_locked()),
                (guards.len(), !guards.is_empty())
            );
        }
    }
    let depth = guards.len();
    if dies {
        std::mem::forget(guards);
    }
    Ok(depth)
}

/// How many raw locks a thread has to do with.
const LOCKS: usize = 6;

/// What a link of the model is: to the head, to the lock of this number, or to where nothing is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Head,
    Lock(usize),
    Nowhere(u64),
}

#[derive(Clone, Debug)]
enum Move {
    Take(usize),
    Free(usize),
    HandOn(usize),
    /// The last 16 bytes of a lock are written over: the link back, and the link.
    Scribble {
        lock: usize,
        back: u64,
        link: Link,
    },
}

fn link() -> impl Strategy<Value = Link> {
    // Where nothing can be mapped: the first page, and what is no address.
    let nowhere = prop_oneof![Just(0), Just(8), any::<u64>().prop_map(|bits| (bits >> 16) | 0x5a5a << 48)];
    prop_oneof![1 => (0..LOCKS).prop_map(Link::Lock), 2 => nowhere.prop_map(Link::Nowhere)]
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..LOCKS).prop_map(Move::Take),
        4 => (0..LOCKS).prop_map(Move::Free),
        1 => (0..LOCKS).prop_map(Move::HandOn),
        2 => (0..LOCKS, any::<u64>(), link()).prop_map(|(lock, back, link)| Move::Scribble { lock, back, link }),
    ]
}

/// The naive model of a thread's list.
#[derive(Debug)]
struct List {
    /// The oldest first.
    held: Vec<usize>,
    /// What stands in each lock, also in those that are free.
    links: [Link; LOCKS],
}

impl List {
    fn behind(&self, place: usize) -> Link {
        place.checked_sub(1).map_or(Link::Head, |older| Link::Lock(self.held[older]))
    }

    fn take(&mut self, lock: usize) -> Result<Taken, Refused> {
        if self.held.contains(&lock) {
            return Err(Refused::AlreadyHeld);
        }
        self.links[lock] = self.behind(self.held.len());
        self.held.push(lock);
        Ok(Taken::Whole)
    }

    /// Whether its link was whole.
    fn free(&mut self, lock: usize) -> bool {
        let Some(place) = self.held.iter().position(|held| *held == lock) else { return true };
        let behind = self.behind(place);
        if let Some(newer) = self.held.get(place + 1) {
            self.links[*newer] = behind;
        }
        self.held.remove(place);
        self.links[lock] == behind
    }

    /// Which of them the kernel marks when the thread ends: it follows the links, from the newest on, as long as they lead anywhere.
    fn marked(&self) -> [bool; LOCKS] {
        let mut marked = [false; LOCKS];
        let mut at = self.behind(self.held.len());
        for _ in 0..2048 {
            let Link::Lock(lock) = at else { break };
            marked[lock] = self.held.contains(&lock);
            at = self.links[lock];
        }
        marked
    }
}

fn scribble(locks: &'static [RawLock], lock: usize, back: u64, link: Link) {
    let word = |lock: usize, at: usize| &raw const locks[lock] as usize + at;
    let link = match link {
        Link::Head => return,
        Link::Lock(to) => word(to, 32) as u64,
        Link::Nowhere(bits) => bits,
    };
    for (at, bits) in [(24, back), (32, link)] {
        // SAFETY: the last two words of a lock's 40 bytes, atomic as they are.
        unsafe { &*(word(lock, at) as *const AtomicU64) }.store(bits, Relaxed);
    }
}

fn raw_locks(locks: &'static [RawLock], moves: &[Move]) -> Result<List, TestCaseError> {
    let mut list = List { held: Vec::new(), links: [Link::Nowhere(0); LOCKS] };
    for one in moves {
        match one {
            // SAFETY: the locks are leaked, here and below.
            Move::Take(lock) => prop_assert_eq!(unsafe { locks[*lock].take(Until::Now) }, list.take(*lock)),
            // SAFETY: as above.
            Move::Free(lock) => prop_assert_eq!(unsafe { locks[*lock].free() }, list.free(*lock)),
            // SAFETY: as above.
            Move::HandOn(lock) => prop_assert_eq!(unsafe { locks[*lock].hand_on() }, list.free(*lock)),
            Move::Scribble { lock, back, link } => {
                scribble(locks, *lock, *back, *link);
                list.links[*lock] = *link;
            }
        }
        for (number, lock) in locks.iter().enumerate() {
            let held = list.held.contains(&number);
            prop_assert_eq!((lock.is_mine(), lock.is_locked()), (held, held));
        }
    }
    Ok(list)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a counter.
    #[test]
    fn a_recursive_lock(steps in vec(turn(), 0..60), dies: bool) {
        let lock = RLock::new().unwrap();
        let handles = [lock.clone(), Packed::new(&lock).unwrap().open().unwrap(), lock];
        let thread = || turns(&handles, &steps, dies);
        let depth = std::thread::scope(|scope| scope.spawn(thread).join().unwrap())?;
        if dies && depth > 0 {
            // Whoever comes, until one has recovered it; then it is as new.
            for handle in &handles {
                prop_assert_eq!(handle.lock().err().and_then(|error| error.pid()), Some(std::process::id()));
            }
            drop(handles[0].lock().or_else(LockError::recover).unwrap());
        }
        prop_assert_eq!((handles[1].is_locked(), handles[1].depth()), (false, 0));
        let guard = handles[2].try_lock().unwrap();
        prop_assert_eq!(handles[1].depth(), 1);
        drop(guard);
    }

    /// Against the list as the kernel walks it: what is free is free, whatever was written over the links, and a thread's end marks
    /// what it has, up to the first link that leads astray.
    #[test]
    fn raw_locks_of_a_thread(moves in vec(a_move(), 0..60)) {
        let locks: &'static [RawLock] = Box::leak((0..LOCKS).map(|_| RawLock::new()).collect());
        let list = std::thread::scope(|scope| scope.spawn(|| raw_locks(locks, &moves)).join().unwrap())?;
        let scribbled = moves.iter().any(|one| matches!(one, Move::Scribble { .. }));
        let marked = list.marked();
        for (number, lock) in locks.iter().enumerate() {
            // SAFETY: leaked.
            let found = unsafe { lock.take(Until::Now) };
            let expected = match list.held.contains(&number) {
                false => Ok(Taken::Whole),
                true if marked[number] => Ok(Taken::OwnerDied(std::process::id())),
                // The mark is withheld: what a hostile peer can do.
                true => Err(Refused::Busy),
            };
            prop_assert_eq!(found, expected, "lock {}", number);
            prop_assert!(scribbled || expected != Err(Refused::Busy));
            lock.repaired();
            // SAFETY: as above.
            unsafe { lock.free() };
        }
    }
}
