//! A hostile peer scribbles over a ring, its indices, gates, headers and lines, between the operations of both sides and while they go on: a message, an
//! error, or a time that is over; no panic, no access beyond the ring, nobody waits longer than his timeout. Untouched, the ring does what it should.
#![no_main]

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::Packed;
use ipc_shm::Segment;
use ipc_shm::modelled::scribble;
use ipc_sync::modelled::segment_of_ring;
use ipc_sync::{Error, RingReceiver, RingSender, ring};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    steps: Vec<Step<'a>>,
    /// What is written meanwhile, over and over.
    meanwhile: Vec<(u16, u64)>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Value(&'a str),
    Bytes(u16),
    Loan { len: u16, truncate: u16, commit: bool },
    Many(u8),
    Recv,
    RecvBytes,
    RecvInto(u16),
    RecvLoan,
    Wait,
    TravelSender,
    TravelReceiver,
    /// Anywhere.
    Scribble { at: u16, bytes: &'a [u8] },
    /// A word of the head: an index, say, near what it could be.
    Index { at: u8, value: u16 },
    /// A word of the table.
    Header { at: u8, kind: u8, len: u16 },
}

const SHORT: Duration = Duration::from_micros(50);
/// The head of a segment, and of the ring.
const HEAD: usize = 64;
const RING: usize = 256;

/// What may come of it.
fn check<T>(result: Result<T, Error>) -> Option<T> {
    result
        .map_err(|error| {
            assert!(!error.to_string().is_empty());
            assert!(!matches!(error, Error::Memory(_)), "{error}");
        })
        .ok()
}

fn write(segment: &Segment, at: usize, bytes: &[u8]) {
    // The segment's own head is another target's matter.
    let at = HEAD + at % (segment.len() - HEAD);
    let _ = scribble(segment, at, &bytes[..bytes.len().min(segment.len() - at)]);
}

fn step(
    step: &Step<'_>,
    sender: &mut Option<RingSender<String>>,
    receiver: &mut Option<RingReceiver<String>>,
    segment: &Segment,
    sent: &mut VecDeque<usize>,
) {
    // Ends that somebody has written over may not arrive; then there are none.
    let (Some(sends), Some(receives)) = (sender.as_mut(), receiver.as_mut()) else { return };
    match step {
        Step::Value(text) => {
            if check(sends.send_timeout((*text).to_owned(), SHORT).map_err(Error::from)).is_some() {
                sent.push_back(usize::MAX);
            }
        }
        Step::Bytes(len) => {
            let bytes = vec![7; usize::from(*len) % 4096];
            if check(sends.send_bytes_timeout(&bytes, SHORT)).is_some() {
                sent.push_back(bytes.len());
            }
        }
        Step::Loan { len, truncate, commit } => {
            let len = usize::from(*len) % 4096;
            if let Some(Some(mut loan)) = check(sends.loan_timeout(len, SHORT)) {
                assert_eq!(loan.len(), len);
                loan.fill(7);
                loan.truncate((*truncate).into());
                let len = loan.len();
                if *commit && check(loan.commit()).is_some() {
                    sent.push_back(len);
                }
            }
        }
        Step::Many(count) => {
            let values = (0..count % 16).map(|n| n.to_string());
            let mut values = values.inspect(|_| sent.push_back(usize::MAX));
            if check(sends.send_many_timeout(&mut values, SHORT).map_err(Error::from)).is_none() {
                sent.pop_back();
            }
        }
        Step::Recv => {
            check(receives.recv_timeout(SHORT));
        }
        Step::RecvBytes => {
            check(receives.recv_bytes_timeout(SHORT));
        }
        Step::RecvInto(len) => {
            let mut buffer = vec![0; usize::from(*len) % 4096];
            if let Some(Some(len)) = check(receives.recv_into_timeout(&mut buffer, SHORT)) {
                assert!(len <= buffer.len());
            }
        }
        Step::RecvLoan => {
            if let Some(Some(message)) = check(receives.try_recv_loan()) {
                // All of it can be read.
                std::hint::black_box(message.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            }
        }
        Step::Wait => {
            let ready = ipc_core::wait(&[&*sends, &*receives], Some(Duration::ZERO)).unwrap();
            assert!(ready.len() <= 2);
        }
        Step::TravelSender => {
            *sender = Packed::new(sends).unwrap().open().ok();
        }
        Step::TravelReceiver => {
            *receiver = Packed::new(receives).unwrap().open().ok();
        }
        Step::Scribble { at, bytes } => write(segment, (*at).into(), bytes),
        Step::Index { at, value } => {
            write(segment, usize::from(*at) % 8 * 8 + usize::from(*at) / 64 * 64, &u64::from(*value).to_ne_bytes());
        }
        Step::Header { at, kind, len } => {
            let word = u64::from(*kind % 5) << 56 | u64::from(*len);
            write(segment, RING + usize::from(*at) % 64 * 8, &word.to_ne_bytes());
        }
    }
}

/// Whether a step writes over the ring.
fn is_hostile(step: &Step<'_>) -> bool {
    matches!(step, Step::Scribble { .. } | Step::Index { .. } | Step::Header { .. })
}

fuzz_target!(|input: Input<'_>| {
    let (sender, receiver) = ring::<String>(4096).unwrap();
    let segment = segment_of_ring(&receiver);
    let (mut sender, mut receiver) = (Some(sender), Some(receiver));
    let honest = input.meanwhile.is_empty() && !input.steps.iter().any(is_hostile);
    let over = AtomicBool::new(false);
    let mut sent = VecDeque::new();
    std::thread::scope(|scope| {
        let meanwhile = (!input.meanwhile.is_empty()).then(|| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    for (at, word) in &input.meanwhile {
                        write(&segment, usize::from(*at) / 8 * 8, &word.to_ne_bytes());
                    }
                }
            })
        });
        for one in input.steps.iter().take(64) {
            step(one, &mut sender, &mut receiver, &segment, &mut sent);
        }
        over.store(true, Relaxed);
        // Its end is waited for, too, or what it has would look like a leak.
        meanwhile.into_iter().for_each(|thread| thread.join().unwrap());
    });
    if honest {
        assert!(sender.is_some() && receiver.is_some(), "ends that nobody touched travel");
    }
    // Whoever is left learns of the end in time, or of what was written over.
    drop(sender);
    if let Some(mut receiver) = receiver {
        for _ in 0..200 {
            match receiver.recv_bytes_timeout(SHORT) {
                Err(error) if error.is_disconnected() => return,
                Err(Error::Corrupt { .. }) => return,
                _ => {}
            }
        }
        assert!(!honest, "there is no end");
    }
});
