//! Hostile bytes over atomics, their gates and their headers, between the steps of one who changes them and waits for them: no panic, and a wait with a timeout
//! ends, with what is there. And segments of any content received as atomics and raw objects: an error, or one that works.
//!
//! What was written over is put right by the next change: then one who waits is woken.
#![no_main]

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_shm::modelled::{peek, scribble};
use ipc_shm::{Atomic, AtomicInteger, Error, RawArray, RawValue, Segment};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    steps: Vec<Step<'a>>,
    header: Vec<(u8, &'a [u8])>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Store(u64),
    Swap(u64),
    Exchange(u64, u64),
    Add(u64),
    Wait(Option<u64>),
    /// Bytes over the gate and the cell.
    Bytes {
        at: u8,
        bytes: &'a [u8],
    },
    /// The gate's word, with the kernel's bits and this thread's number.
    Gate {
        bits: u32,
        mine: bool,
    },
}

const SHORT: Duration = Duration::from_micros(50);
/// Where the gate and the cell stand in a segment.
const GATE: usize = 64;
const LEN: usize = 48;

struct Objects {
    wide: Atomic<u64>,
    narrow: Atomic<i16>,
    array: RawArray<u32>,
    /// What each began with.
    bytes: [Vec<u8>; 3],
}

impl Objects {
    fn segments(&self) -> [&Segment; 3] {
        [self.wide.segment(), self.narrow.segment(), self.array.segment()]
    }
}

fn objects() -> &'static Objects {
    static OBJECTS: OnceLock<Objects> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let (wide, narrow) = (Atomic::new(0).unwrap(), Atomic::new(0).unwrap());
        let array = RawArray::from_iter(0..16).unwrap();
        let all = |segment: &Segment| {
            let mut bytes = vec![0; segment.len()];
            peek(&segment, 0, &mut bytes).unwrap();
            bytes
        };
        let bytes = [all(wide.segment()), all(narrow.segment()), all(array.segment())];
        Objects { wide, narrow, array, bytes }
    })
}

fn step<T: AtomicInteger>(atomic: &Atomic<T>, step: &Step<'_>, cut: fn(u64) -> T) {
    match step {
        Step::Store(n) => {
            atomic.store(cut(*n), Relaxed);
            assert_eq!(atomic.load(Relaxed), cut(*n));
        }
        Step::Swap(n) => {
            let before = atomic.load(Relaxed);
            assert_eq!(atomic.swap(cut(*n), SeqCst), before);
        }
        Step::Exchange(current, new) => {
            let before = atomic.load(Relaxed);
            let answer = atomic.compare_exchange(cut(*current), cut(*new), SeqCst, Relaxed);
            assert_eq!(answer.unwrap_or_else(|is| is), before);
        }
        Step::Add(n) => {
            atomic.fetch_add(cut(*n), SeqCst);
        }
        Step::Wait(n) => {
            let now = atomic.load(Relaxed);
            let n = n.map_or(now, cut);
            assert_eq!(atomic.wait_timeout(n, SHORT), (n != now).then_some(now));
        }
        Step::Bytes { at, bytes } => {
            let at = usize::from(*at) % LEN;
            let bytes = &bytes[..bytes.len().min(LEN - at)];
            scribble(atomic.segment(), GATE + at, bytes).unwrap();
        }
        Step::Gate { bits, mine } => {
            let me = if *mine { rustix::thread::gettid().as_raw_nonzero().get() as u32 } else { 0 };
            scribble(atomic.segment(), GATE, &(bits ^ me).to_ne_bytes()).unwrap();
        }
    }
}

/// One waits, and a change reaches him whatever stands in the gate and beside the cell.
fn wakes<T: AtomicInteger>(atomic: &Atomic<T>, [from, to]: [T; 2]) {
    atomic.store(from, SeqCst);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| atomic.wait_timeout(from, Duration::from_secs(5)));
        atomic.store(to, SeqCst);
        assert_eq!(waiter.join().unwrap(), Some(to));
    });
}

fn received<T>(received: Result<T, Error>, works: impl FnOnce(T)) {
    match received {
        Ok(handle) => works(handle),
        Err(Error::NotASegment { why }) => assert!(!why.is_empty()),
        Err(other) => panic!("{other}"),
    }
}

fuzz_target!(|input: Input<'_>| {
    let objects = objects();
    // With what the thread has announced while it lived, if it ends.
    let steps = || {
        for one in input.steps.iter().take(24) {
            step(&objects.wide, one, |n| n);
            step(&objects.narrow, one, |n| n as i16);
        }
    };
    std::thread::scope(|scope| scope.spawn(steps).join()).unwrap();
    wakes(&objects.wide, [1, 1 << 40]);
    wakes(&objects.narrow, [1, 2]);
    for (segment, bytes) in objects.segments().into_iter().zip(&objects.bytes) {
        for (at, bytes) in input.header.iter().take(4) {
            // What does not fit is left out.
            let _ = scribble(&segment, usize::from(*at), bytes);
        }
        let segment = || segment.clone();
        received(Atomic::<u64>::try_from(segment()), |atomic| wakes(&atomic, [5, 6]));
        received(Atomic::<i16>::try_from(segment()), |atomic| wakes(&atomic, [5, 6]));
        received(Atomic::<bool>::try_from(segment()), |atomic| {
            atomic.fetch_or(true, SeqCst);
            assert!(atomic.load(SeqCst));
        });
        received(RawValue::<u32>::try_from(segment()), |value| value.set(value.get()));
        received(RawArray::<u32>::try_from(segment()), |array| {
            assert!(128 + array.len() * 4 <= array.segment().len() || array.len() <= 6);
            let all = array.to_vec();
            assert_eq!((all.len(), array.iter().len()), (array.len(), array.len()));
            array.copy_from_slice(&all).unwrap();
            assert!(matches!(array.get(array.len()), Err(Error::OutOfBounds { .. })));
        });
        scribble(&segment(), 0, bytes).unwrap();
    }
});
