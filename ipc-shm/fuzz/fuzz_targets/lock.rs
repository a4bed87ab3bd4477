//! Hostile bytes over locks, their links too, between the steps of a thread that takes and frees them, and that may end with some
//! in its hands: no panic, nobody waits longer than his timeout, and one guard at a time.
//!
//! What the thread knows of its locks does not come from shared memory, so afterwards all is as if nothing had been: locks that are
//! wholly zero again can be taken and freed in any order, and a thread's end marks what it has.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::Packed;
use ipc_shm::modelled::scribble;
use ipc_shm::{Error, Guard, LockError, RLock, Segment, Value};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    steps: Vec<Step<'a>>,
    /// The thread ends with what it has.
    dies: bool,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Try(u8),
    Wait(u8),
    Drop(u8),
    Take,
    Leave,
    /// Bytes over the lock of this number.
    Bytes {
        lock: u8,
        at: u8,
        bytes: &'a [u8],
    },
    /// A word of it: as it is, or with the thread's number in it, as the kernel and the owner write it.
    Word {
        lock: u8,
        word: u8,
        bits: u32,
        mine: bool,
    },
    /// A link of it, to another lock.
    Link {
        lock: u8,
        to: u8,
        off: i8,
    },
    Free {
        lock: u8,
    },
}

const MS: Duration = Duration::from_millis(1);
const LOCKS: usize = 4;
/// Where the lock stands in a segment.
const AT: usize = 64;
const LEN: usize = 40;

struct Objects {
    values: [Value<u64>; LOCKS],
    recursive: RLock,
    /// Of all of them.
    segments: Vec<Segment>,
}

fn objects() -> &'static Objects {
    static OBJECTS: OnceLock<Objects> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let values: [Value<u64>; LOCKS] = std::array::from_fn(|n| Value::new(n as u64).unwrap());
        let recursive = RLock::new().unwrap();
        let mut segments: Vec<Segment> = values.iter().map(|value| value.segment().clone()).collect();
        // As it is sent: the segment, its place in an arena, and the lock that was given to it.
        let ((segment, _, _), _): ((Segment, u32, u32), Option<u8>) =
            Packed::new(&recursive).unwrap().open().unwrap();
        segments.push(segment);
        Objects { values, recursive, segments }
    })
}

impl Objects {
    fn segment(&self, lock: u8) -> &Segment {
        &self.segments[usize::from(lock) % self.segments.len()]
    }

    fn scribble(&self, step: &Step<'_>) {
        match step {
            Step::Bytes { lock, at, bytes } => {
                let at = usize::from(*at) % LEN;
                let bytes = &bytes[..bytes.len().min(LEN - at)];
                scribble(self.segment(*lock), AT + at, bytes).unwrap();
            }
            Step::Word { lock, word, bits, mine } => {
                let me = if *mine { rustix::thread::gettid().as_raw_nonzero().get() as u32 } else { 0 };
                let at = usize::from(*word) % 10 * 4;
                scribble(self.segment(*lock), AT + at, &(bits ^ me).to_ne_bytes()).unwrap();
            }
            Step::Link { lock, to, off } => {
                let entry = self.segment(*to).as_ptr().as_ptr() as usize + AT + 32;
                let link = entry.wrapping_add_signed((*off).into());
                scribble(self.segment(*lock), AT + 32, &link.to_ne_bytes()).unwrap();
            }
            Step::Free { lock } => scribble(self.segment(*lock), AT, &[0; LEN]).unwrap(),
            _ => {}
        }
    }

    fn clear(&self) {
        self.segments.iter().for_each(|segment| scribble(&segment, AT, &[0; LEN]).unwrap());
    }
}

/// The guard, however it comes.
fn guard<'a>(
    locked: Result<Guard<'a, u64>, LockError<Guard<'a, u64>>>,
    held: bool,
) -> Option<Guard<'a, u64>> {
    let guard = match locked {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(died)) => died.recover(),
        Err(LockError::Poisoned(poisoned)) => poisoned.recover(),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    assert!(!held, "a second guard");
    Some(guard)
}

fn steps(input: &Input<'_>) {
    let objects = objects();
    let mut guards: [Option<Guard<'_, u64>>; LOCKS] = std::array::from_fn(|_| None);
    let mut recursive = Vec::new();
    for step in input.steps.iter().take(40) {
        match step {
            Step::Try(at) | Step::Wait(at) => {
                let at = usize::from(*at) % LOCKS;
                let value = &objects.values[at];
                let locked =
                    if matches!(step, Step::Try(_)) { value.try_lock() } else { value.lock_timeout(MS) };
                if let Some(mut guard) = guard(locked, guards[at].is_some()) {
                    *guard = at as u64;
                    guards[at] = Some(guard);
                }
            }
            Step::Drop(at) => drop(guards[usize::from(*at) % LOCKS].take()),
            Step::Take => match objects.recursive.lock_timeout(MS) {
                Ok(guard) => recursive.push(guard),
                Err(error) => assert!(!error.to_string().is_empty()),
            },
            Step::Leave => drop(recursive.pop()),
            other => objects.scribble(other),
        }
        for (at, guard) in guards.iter().enumerate() {
            assert!(guard.as_ref().is_none_or(|guard| **guard == at as u64));
        }
    }
    if input.dies {
        // What is a dead thread's is not asked for again.
        std::mem::forget(guards);
        recursive.into_iter().for_each(std::mem::forget);
        return;
    }
    drop((guards, recursive));
    objects.clear();
    // Its list is whole, and empty.
    let mut guards: Vec<_> = objects.values.iter().map(|value| value.try_lock().unwrap()).collect();
    assert!(matches!(objects.values[0].try_lock(), Err(LockError::Error(Error::AlreadyHeld))));
    guards.swap(1, 3);
    drop(guards);
    drop((objects.recursive.try_lock().unwrap(), objects.recursive.try_lock().unwrap()));
    assert_eq!(objects.recursive.depth(), 0);
}

fuzz_target!(|input: Input<'_>| {
    let objects = objects();
    // Joined, so that it has ended for the kernel as well: a scope by itself waits for its function alone.
    std::thread::scope(|scope| scope.spawn(|| steps(&input)).join()).unwrap();
    // Whatever the thread has left: nobody waits for it.
    for value in &objects.values {
        drop(guard(value.lock_timeout(MS), false));
    }
    drop(objects.recursive.lock_timeout(MS));
    objects.clear();
    assert_eq!(objects.values.iter().map(|value| value.get().is_ok()).filter(|ok| *ok).count(), LOCKS);
    assert!(objects.recursive.try_lock().is_ok());
});
