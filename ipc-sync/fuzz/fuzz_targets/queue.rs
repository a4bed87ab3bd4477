//! A hostile peer scribbles over a queue, its shape, positions, links, headers, gates and bytes, between the operations of both sides and while they go on: an item, an
//! error, or a time that is over; no panic, no access beyond the queue, nobody waits for ever, and nobody takes more memory than there is. Untouched, the queue does
//! what it should.
//!
//! The words of its locks alone are left in peace: who writes over those can keep others out for ever, which the target `lock` of `ipc-shm` is about.
#![no_main]

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::{Descriptor, pipe};
use ipc_shm::Segment;
use ipc_shm::modelled::{peek, scribble};
use ipc_sync::modelled::queue::segment_of;
use ipc_sync::{Error, Queue};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    shape: (u8, u16, u8),
    steps: Vec<Step<'a>>,
    /// What is written meanwhile, over and over.
    meanwhile: Vec<(u16, u64)>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Put {
        band: u8,
        len: u16,
        descriptor: bool,
    },
    Many {
        band: u8,
        lens: [u8; 3],
    },
    Get,
    GetMany(u8),
    Close,
    Discard,
    Travel,
    /// Anywhere.
    Scribble {
        at: u16,
        bytes: &'a [u8],
    },
    /// A word of the head: a position, say, or what is being taken.
    Word {
        at: u8,
        value: u64,
    },
    /// The same, near what it was.
    Near {
        at: u8,
        add: i64,
        shift: u8,
    },
    /// A chunk's successor.
    Link {
        at: u8,
        next: u8,
    },
    /// What stands where a record may begin.
    Header {
        at: u16,
        len: u64,
        descriptors: u32,
        attempt: u32,
    },
}

type Item = (Vec<u8>, Option<Descriptor>);

const SHORT: Duration = Duration::from_micros(50);
const LINE: usize = 64;
/// The lock stands first in these lines, and has so many bytes.
const LOCKS: [usize; 2] = [1, 2];
const LOCK: usize = 40;
/// Five lines, and two for each of eight bands.
const HEAD: usize = (5 + 16) * LINE;

/// The memory, as a peer sees it.
#[derive(Clone)]
struct Peer {
    segment: Segment,
    head: usize,
}

impl Peer {
    /// Bytes from an offset on, counted from the head's beginning; those of locks stay.
    fn write(&self, at: usize, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            let is_lock = LOCKS.iter().any(|line| (line * LINE..line * LINE + LOCK).contains(&at));
            if !is_lock && self.head + at < self.segment.len() {
                scribble(&self.segment, self.head + at, &[*byte]).unwrap();
            }
        }
    }

    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        let _ = peek(&self.segment, self.head + at, &mut word);
        u64::from_le_bytes(word)
    }

    fn len(&self) -> usize {
        self.segment.len() - self.head
    }
}

/// What may come of it.
fn check<T>(result: Result<T, Error>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fn item(len: usize, descriptor: bool) -> Item {
    let file = || std::fs::File::open("/dev/null").unwrap();
    (vec![len as u8; len], descriptor.then(|| Descriptor::from(std::os::fd::OwnedFd::from(file()))))
}

fn step(step: &Step<'_>, queue: &mut Option<Queue<Item>>, peer: &Peer, put: &mut VecDeque<(u32, usize)>) {
    let Some(queue_now) = queue.as_ref() else { return };
    match step {
        Step::Put { band, len, descriptor } => {
            let (band, len) = (u32::from(band % 3), usize::from(*len));
            let sender = queue_now.sender().band(band);
            if check(sender.put_timeout(item(len, *descriptor), SHORT).map_err(Error::from)).is_some() {
                put.push_back((band, len));
            }
        }
        Step::Many { band, lens } => {
            let band = u32::from(band % 3);
            let items = lens.iter().map(|len| item(usize::from(*len), false));
            let left = match queue_now.sender().band(band).put_many_timeout(items, SHORT) {
                Ok(()) => 0,
                Err(failed) => {
                    let (left, error) = failed.into_parts();
                    check::<()>(Err(error));
                    left.len()
                }
            };
            put.extend(lens[..lens.len() - left].iter().map(|len| (band, usize::from(*len))));
        }
        Step::Get => {
            if let Some(Some(item)) = check(queue_now.get_timeout(SHORT)) {
                got(item, put);
            }
        }
        Step::GetMany(most) => {
            let most = usize::from(*most);
            let items = check(queue_now.receiver().get_many_timeout(most, SHORT)).unwrap_or_default();
            assert!(items.len() <= most);
            items.into_iter().for_each(|item| got(item, put));
        }
        Step::Close => _ = check(queue_now.close()),
        Step::Discard => {
            if check(queue_now.discard()).is_some() {
                put.clear();
            }
        }
        Step::Travel => {
            let (sender, receiver) = pipe().unwrap();
            sender.send(queue_now.clone()).unwrap();
            *queue = receiver.recv().ok();
        }
        Step::Scribble { at, bytes } => peer.write(usize::from(*at) % peer.len(), bytes),
        Step::Word { at, value } => peer.write(usize::from(*at) * 8 % HEAD, &value.to_le_bytes()),
        Step::Near { at, add, shift } => {
            let at = usize::from(*at) * 8 % HEAD;
            let word = peer.word(at).wrapping_add_signed((add % 3) << (shift % 64));
            peer.write(at, &word.to_le_bytes());
        }
        Step::Link { at, next } => {
            peer.write(HEAD + usize::from(at % 16) * 4, &u32::from(next % 16).to_le_bytes());
        }
        Step::Header { at, len, descriptors, attempt } => {
            let at = usize::from(*at) * 16 % peer.len();
            peer.write(at, &len.to_le_bytes());
            peer.write(at + 8, &descriptors.to_le_bytes());
            peer.write(at + 12, &attempt.to_le_bytes());
        }
    }
}

/// While nobody wrote over anything, it is what was put first into the highest band.
fn got((bytes, _): Item, put: &mut VecDeque<(u32, usize)>) {
    let highest = put.iter().map(|(band, _)| *band).max();
    let first = put.iter().position(|(band, _)| Some(*band) == highest);
    if let Some((_, len)) = first.and_then(|first| put.remove(first)) {
        assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == len as u8));
    }
}

fuzz_target!(|input: Input<'_>| {
    let (items, bytes, bands) = input.shape;
    let queue = Queue::<Item>::builder()
        .items(usize::from(items) + 1)
        .bytes(usize::from(bytes) + 1)
        .bands(u32::from(bands % 3) + 1)
        .make()
        .unwrap();
    let (segment, head) = segment_of(&queue);
    let peer = Peer { segment, head };
    let is_peaceful = input.meanwhile.is_empty()
        && input.steps.iter().all(|step| {
            use Step::{Header, Link, Near, Scribble, Word};
            !matches!(step, Scribble { .. } | Word { .. } | Near { .. } | Link { .. } | Header { .. })
        });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, peer, meanwhile) = (&over, &peer, &input.meanwhile);
        let scribbler = (!meanwhile.is_empty()).then(|| {
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    for (at, value) in meanwhile.iter().take(16) {
                        peer.write(usize::from(*at) % peer.len(), &value.to_le_bytes());
                    }
                }
            })
        });
        let mut queue = Some(queue);
        let mut put = VecDeque::new();
        for one in input.steps.iter().take(48) {
            step(one, &mut queue, peer, &mut put);
            if !is_peaceful {
                put.clear();
            }
        }
        if let Some(queue) = &queue {
            let _ = (format!("{queue:?}"), queue.len(), queue.is_full(), queue.is_empty());
        }
        assert!(!is_peaceful || queue.is_some_and(|queue| queue.len() == put.len()));
        over.store(true, Relaxed);
        // The end of a scope waits for what it does only, not for its end: what that has not freed yet would be taken for a leak.
        scribbler.map(|scribbler| scribbler.join().unwrap());
    });
});
