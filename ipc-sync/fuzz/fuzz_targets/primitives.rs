//! A hostile peer scribbles over what semaphores, barriers, conditions, events, latches and values set once have beside their gates and locks (counts, phases, ledgers),
//! between the operations and while they go on: an answer, an error, or a time that is over; no panic, nobody waits longer than his timeout. Untouched, each
//! does what a counter, or a flag, would.
#![no_main]

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::Packed;
use ipc_shm::modelled::scribble;
use ipc_shm::{Lock, Segment};
use ipc_sync::{
    Barrier, BoundedSemaphore, Condition, CountingSemaphore, Error, Event, Latch, OnceLock, OwnedPermit, Semaphore,
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    steps: Vec<Step>,
    /// What is written meanwhile, over and over.
    meanwhile: Vec<(u16, u32)>,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Kind {
    Semaphore,
    Bounded,
    Counting,
    Barrier,
    Condition,
    Event,
    Latch,
    Once,
}

/// What a step does is the object's matter.
#[derive(Debug, Arbitrary)]
enum Step {
    Take(u8),
    Give(u8),
    Wait,
    Undo,
    Poll,
    /// The other handle, as it arrives in a message.
    Travel,
    Word { at: u16, value: u32 },
    /// Near what stands there, or could.
    Near { at: u16, value: i8 },
}

const SHORT: Duration = Duration::from_micros(50);
/// Where the object begins in its segment.
const RAW: usize = 128;
/// A gate, or a lock.
const NODE: usize = 40;

/// What may come of it.
fn check<T>(result: Result<T, Error>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// An object, and what it should be.
trait Object: Sized {
    /// From and to, in bytes from the object's beginning: all but gates and locks.
    fn open_to_peers(&self) -> Vec<(usize, usize)>;
    fn segment(&self) -> Segment;
    /// `honest`: nobody has written over it.
    fn step(&mut self, step: &Step, honest: bool);
}

fn run(mut object: impl Object, input: &Input) {
    let segment = object.segment();
    let words: Vec<usize> =
        object.open_to_peers().into_iter().flat_map(|(from, to)| (RAW + from..RAW + to).step_by(4)).collect();
    let write = |at: u16, value: u32| {
        let _ = scribble(&segment, words[usize::from(at) % words.len()], &value.to_ne_bytes());
    };
    let hostile = |step: &Step| matches!(step, Step::Word { .. } | Step::Near { .. });
    let honest = input.meanwhile.is_empty() && !input.steps.iter().any(hostile);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let meanwhile = (!input.meanwhile.is_empty()).then(|| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    input.meanwhile.iter().for_each(|(at, value)| write(*at, *value));
                }
            })
        });
        for step in input.steps.iter().take(64) {
            match step {
                Step::Word { at, value } => write(*at, *value),
                Step::Near { at, value } => write(*at, i32::from(*value) as u32),
                step => object.step(step, honest),
            }
        }
        drop(object);
        over.store(true, Relaxed);
        meanwhile.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The two that belong to processes.
macro_rules! owned {
    ($object:ident, $semaphore:ident, $most:expr) => {
        struct $object([$semaphore; 2], Vec<OwnedPermit>);

        impl $object {
            fn new() -> $object {
                let one = $semaphore::new(3).unwrap();
                $object([one.clone(), one], Vec::new())
            }
        }

        impl Object for $object {
            fn open_to_peers(&self) -> Vec<(usize, usize)> {
                let ledger = 24 + 2 * NODE;
                vec![(0, 24), (ledger, ledger + 32 + 8 * 16)]
            }

            fn segment(&self) -> Segment {
                self.0[0].segment().clone()
            }

            fn step(&mut self, step: &Step, honest: bool) {
                let $object([one, other], had) = self;
                let left = 3 - if honest { had.iter().map(OwnedPermit::permits).sum() } else { 0 };
                match step {
                    Step::Take(n) => {
                        let permits = u32::from(n % 4);
                        let got = match n % 3 {
                            0 => check(one.try_acquire_many_owned(permits)).flatten(),
                            1 => check(other.acquire_many_owned_timeout(permits, SHORT)).flatten(),
                            _ => poll(pin!(one.acquire_many_owned_async(permits))).and_then(check),
                        };
                        assert!(!honest || got.is_some() == (permits <= left));
                        had.extend(got);
                    }
                    Step::Give(n) if !had.is_empty() => drop(had.swap_remove(usize::from(*n) % had.len())),
                    Step::Undo if !honest => {
                        had.pop().into_iter().for_each(OwnedPermit::forget);
                        check(other.release());
                    }
                    Step::Undo if left == 3 && $most => assert!(one.release().is_err()),
                    Step::Wait => _ = check(one.acquire_timeout(SHORT)),
                    Step::Poll => _ = poll(pin!(other.acquire_async())),
                    Step::Travel => {
                        if let Some(arrived) = Packed::new(&*one).unwrap().open().ok() {
                            *other = arrived;
                        }
                    }
                    _ => {}
                }
                let left = 3 - if honest { had.iter().map(OwnedPermit::permits).sum() } else { 0 };
                assert!(!honest || one.available() == left);
            }
        }
    };
}

owned!(Owned, Semaphore, false);
owned!(Bounded, BoundedSemaphore, true);

struct Counting([CountingSemaphore; 2], u32);

impl Object for Counting {
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        vec![(0, 16)]
    }

    fn segment(&self) -> Segment {
        self.0[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Counting([one, other], there) = self;
        match step {
            Step::Take(n) => {
                let permits = u32::from(n % 4);
                let got = match n % 2 {
                    0 => one.try_acquire_many(permits),
                    _ => other.acquire_many_timeout(permits, SHORT),
                };
                let got = check(got) == Some(true);
                assert!(!honest || got == (permits <= *there));
                *there -= if got && honest { permits } else { 0 };
            }
            Step::Give(n) => {
                let permits = u32::from(n % 4);
                let given = check(other.release_many(permits)).is_some();
                assert!(!honest || given == (*there + permits <= 5));
                *there += if given && honest { permits } else { 0 };
            }
            Step::Wait | Step::Undo if !honest => _ = check(one.acquire_timeout(SHORT)),
            Step::Poll => {
                if poll(pin!(one.acquire_async())).is_some_and(|got| check(got).is_some()) && honest {
                    *there -= 1;
                }
            }
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
        assert!(!honest || one.available() == *there);
    }
}

struct Meeting([Barrier; 2]);

impl Object for Meeting {
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        let ledger = 32 + 2 * NODE;
        vec![(0, 32), (ledger, ledger + 32 + 8 * 16)]
    }

    fn segment(&self) -> Segment {
        self.0[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Meeting([one, other]) = self;
        let was_broken = one.is_broken();
        match step {
            Step::Take(_) | Step::Wait => {
                // Alone, one of two does not pass.
                let passed = check(one.wait_timeout_with(SHORT, || ()));
                assert!(!honest || passed.is_none() && other.is_broken());
            }
            Step::Poll => {
                let (mut first, mut last) = (pin!(one.wait_async()), pin!(other.wait_with_async(|| ())));
                let early = poll(first.as_mut());
                let index = poll(last.as_mut()).map(|passed| check(passed).map(|passed| passed.index()));
                let early = early.or_else(|| poll(first)).map(|passed| check(passed).map(|passed| passed.index()));
                let passed = if was_broken { (Some(None), Some(None)) } else { (Some(Some(1)), Some(Some(0))) };
                assert!(!honest || (early, index) == passed);
            }
            // One has come, and is dropped.
            Step::Give(_) => {
                let _ = poll(pin!(one.wait_async()));
                assert!(!honest || other.is_broken() && other.waiting() == 0);
            }
            Step::Undo => {
                check(if was_broken { one.reset() } else { one.abort() });
                assert!(!honest || other.is_broken() != was_broken);
            }
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
    }
}

struct Waiting(Lock, [Condition; 2]);

impl Object for Waiting {
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        vec![(3 * NODE, 3 * NODE + 32 + 8 * 16)]
    }

    fn segment(&self) -> Segment {
        self.1[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Waiting(lock, [one, other]) = self;
        match step {
            Step::Take(_) | Step::Wait => {
                let guard = lock.lock().unwrap();
                if let Ok((_guard, notified)) = one.wait_timeout(guard, SHORT) {
                    assert!(!honest || !notified, "nobody has");
                }
            }
            Step::Give(n) => _ = check(other.notify(usize::from(*n))),
            Step::Undo | Step::Poll => _ = check(other.notify_all()),
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
    }
}

struct Flag([Event; 2], bool);

impl Object for Flag {
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        vec![(NODE, NODE + 8)]
    }

    fn segment(&self) -> Segment {
        self.0[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Flag([one, other], set) = self;
        match step {
            Step::Give(_) => assert!(other.set() != *set || !honest),
            Step::Undo => assert!(one.clear() == *set || !honest),
            Step::Take(_) | Step::Wait => assert!(one.wait_timeout(SHORT) == *set || !honest),
            Step::Poll => {
                let ready = poll(pin!(other.wait_async())).is_some();
                assert!(!honest || ready == *set);
                let _ = one.pollable().map(|pollable| pollable.is_set());
            }
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
        match step {
            Step::Give(_) => *set = true,
            Step::Undo => *set = false,
            _ => {}
        }
        assert!(!honest || other.is_set() == *set);
    }
}

struct Steps([Latch; 2], u32);

impl Object for Steps {
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        vec![(NODE, NODE + 8)]
    }

    fn segment(&self) -> Segment {
        self.0[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Steps([one, other], missing) = self;
        match step {
            Step::Give(n) => {
                other.count_down(u32::from(n % 3));
                *missing = missing.saturating_sub(u32::from(n % 3));
            }
            Step::Take(_) | Step::Wait => assert!(one.wait_timeout(SHORT) == (*missing == 0) || !honest),
            Step::Poll => {
                let ready = poll(pin!(other.wait_async())).is_some();
                assert!(!honest || ready == (*missing == 0));
            }
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
        assert!(!honest || (one.missing(), other.is_open()) == (*missing, *missing == 0));
    }
}

struct Once([OnceLock<u64>; 2], Option<u64>);

impl Object for Once {
    /// Not the value: that references look at.
    fn open_to_peers(&self) -> Vec<(usize, usize)> {
        vec![(2 * NODE, 2 * NODE + 8)]
    }

    fn segment(&self) -> Segment {
        self.0[0].segment().clone()
    }

    fn step(&mut self, step: &Step, honest: bool) {
        let Once([one, other], value) = self;
        match step {
            Step::Give(n) => {
                let _ = other.set(u64::from(*n));
                value.get_or_insert(u64::from(*n));
            }
            Step::Take(n) => {
                let _ = check(one.get_or_init(|| u64::from(*n)).copied());
                value.get_or_insert(u64::from(*n));
            }
            Step::Wait => assert!(!honest || one.wait_timeout(SHORT).copied() == *value),
            Step::Poll => _ = poll(pin!(other.wait_async())),
            Step::Travel => *other = Packed::new(&*one).unwrap().open().unwrap(),
            _ => {}
        }
        assert!(!honest || other.get().copied() == *value);
    }
}

/// Two handles on the same.
fn twice<T: Clone>(one: T) -> [T; 2] {
    [one.clone(), one]
}

fuzz_target!(|input: Input| {
    match input.kind {
        Kind::Semaphore => run(Owned::new(), &input),
        Kind::Bounded => run(Bounded::new(), &input),
        Kind::Counting => run(Counting(twice(CountingSemaphore::with_max(1, 5).unwrap()), 1), &input),
        Kind::Barrier => run(Meeting(twice(Barrier::new(2).unwrap())), &input),
        Kind::Condition => run(Waiting(Lock::new().unwrap(), twice(Condition::new().unwrap())), &input),
        Kind::Event => run(Flag(twice(Event::new().unwrap()), false), &input),
        Kind::Latch => run(Steps(twice(Latch::new(3).unwrap()), 3), &input),
        Kind::Once => run(Once(twice(OnceLock::new().unwrap()), None), &input),
    }
});
