//! The queue's log: producers and consumers that die, chunks that go round, sleepers on both sides.
//!
//! The chunks are of 32 bytes, so that each item has one for itself and the chain is at work all the time. What stands in them is in the model's cells: a copy that
//! another one runs into is found as such.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::gate;
use ipc_sync::modelled::queue::layout::{Geometry, Head};
use ipc_sync::modelled::queue::log::{Log, Memory, Written};
use loom::cell::UnsafeCell;

use crate::kernel::{Kernel, Thread};

#[path = "queue_deaths.rs"]
mod deaths;

const CHUNK: usize = 32;

/// An item: this byte, so often, in one chunk. One is longer, and fills two.
const LEN: usize = 16;
const LONGER: u8 = 99;
const LONG: usize = 48;

/// Memory of chunks, in pieces of 16 bytes: each may be a header, or an item's bytes.
struct Chunks {
    headers: Vec<[AtomicU32; 4]>,
    bytes: Vec<UnsafeCell<[u8; 16]>>,
    reserved: Vec<AtomicBool>,
}

// SAFETY: loom sees who is where at the same time.
unsafe impl Sync for Chunks {}

impl Memory for Chunks {
    fn header(&self, at: usize) -> Option<&[AtomicU32; 4]> {
        self.headers.get(at / 16)
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        assert!(self.reserved[at / CHUNK].load(Relaxed), "nobody has reserved it");
        for (cell, bytes) in self.bytes[at / 16..].iter().zip(bytes.chunks(16)) {
            // SAFETY: loom sees whether anybody else has it.
            cell.with_mut(|there| unsafe { *there = bytes.try_into().unwrap() });
        }
        true
    }

    fn append(&self, at: usize, len: usize, to: &mut Vec<u8>) -> bool {
        for cell in &self.bytes[at / 16..][..len / 16] {
            // SAFETY: loom sees whether anybody writes it.
            cell.with(|there| to.extend(unsafe { &*there }));
        }
        true
    }

    fn reserve(&self, chunk: u32) -> ipc_sync::Result<()> {
        self.reserved[chunk as usize].store(true, Relaxed);
        Ok(())
    }

    fn has(&self, _bytes: usize) -> bool {
        true
    }
}

struct Queue {
    head: Head,
    links: Vec<AtomicU32>,
    geometry: Geometry,
    memory: Chunks,
}

impl Queue {
    /// With so many chunks, of which one is where its band stands.
    fn new(chunks: u32, items: u32, bands: u32) -> Arc<Queue> {
        let geometry = Geometry { chunk: CHUNK, chunks, items, bands };
        let head = Head::default();
        head.fill(geometry);
        let memory = Chunks {
            headers: (0..2 * chunks).map(|_| Default::default()).collect(),
            bytes: (0..2 * chunks).map(|_| UnsafeCell::new([0; 16])).collect(),
            reserved: (0..chunks).map(|chunk| AtomicBool::new(chunk < bands)).collect(),
        };
        Arc::new(Queue { head, links: (0..chunks).map(|_| AtomicU32::new(0)).collect(), geometry, memory })
    }

    fn log(&self) -> Log<'_, Chunks> {
        Log::new(&self.head, &self.links, self.geometry, &self.memory)
    }

    fn try_put(&self, thread: &Thread, band: usize, item: u8) -> Written {
        self.try_put_bytes(thread, band, &[item; LONG][..if item == LONGER { LONG } else { LEN }])
    }

    fn try_put_bytes(&self, thread: &Thread, band: usize, bytes: &[u8]) -> Written {
        let log = self.log();
        let mut producer = log.producer(log.producers(thread, Until::Forever).unwrap(), band);
        let written = producer.write(bytes, (0, 0), |_| Ok(true)).unwrap();
        if written == Written::Yes {
            producer.publish();
        }
        written
    }

    /// As `End::put`: `false`: it was closed.
    fn put_in(&self, thread: &Thread, band: usize, item: u8) -> bool {
        let log = self.log();
        let look = |_| match self.try_put(thread, band, item) {
            Written::Full => None,
            written => Some(written == Written::Yes),
        };
        let more = |_| !log.is_full() || log.is_closed();
        gate::wait(thread, &log.room().gate, log.taken(), Until::Forever, look, more).unwrap()
    }

    fn put(&self, thread: &Thread, item: u8) -> bool {
        self.put_in(thread, 0, item)
    }

    fn try_get(&self, thread: &Thread) -> Option<u8> {
        let log = self.log();
        let mut consumer = log.consumer(log.consumers(thread, Until::Forever).unwrap());
        let mut bytes = Vec::new();
        consumer.read(&mut bytes).unwrap()?;
        if !mutant::is("an item is not taken") {
            consumer.take();
        }
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn: {bytes:?}");
        Some(bytes[0])
    }

    /// As `End::get`; `None`: it was closed.
    fn get(&self, thread: &Thread) -> Option<u8> {
        let log = self.log();
        let look = |_| match self.try_get(thread) {
            None if log.is_closed() => Some(self.try_get(thread)),
            None => None,
            found => Some(found),
        };
        let more = |_| !log.is_empty() || log.is_closed();
        gate::wait(thread, &log.items().gate, log.published(), Until::Forever, look, more).unwrap()
    }

    fn close(&self, thread: &Thread) -> bool {
        let log = self.log();
        log.producer(log.producers(thread, Until::Forever).unwrap(), 0).close()
    }

    /// After all: as many items fit in as there are chunks, all of them come out again, twice; so no chunk was lost and none is there twice.
    fn is_whole(&self, thread: &Thread) {
        while self.try_get(thread).is_some() {}
        for _ in 0..2 {
            // One chunk is where each band stands, full up to its end or not begun.
            let most = self.geometry.chunks - self.geometry.bands;
            let mut put = 0;
            while put <= self.geometry.chunks && self.try_put(thread, 0, put as u8) == Written::Yes {
                put += 1;
            }
            let range = most..=most + 1;
            assert!(range.contains(&put), "{put} items in {} chunks", self.geometry.chunks);
            let got: Vec<u8> = std::iter::from_fn(|| self.try_get(thread)).collect();
            assert!(got.iter().copied().eq(0..put as u8), "{got:?}");
        }
    }
}

fn model(preemptions: usize, life: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(life);
}

/// A model in which somebody dies at each of these points in turn: in some run, that must happen.
fn dies_at_each(preemptions: usize, points: &[&'static str], life: fn(&'static str) -> bool) {
    for &point in points {
        let died = Arc::new(AtomicBool::new(false));
        let theirs = died.clone();
        model(preemptions, move || _ = theirs.fetch_or(life(point), Relaxed));
        assert!(died.load(Relaxed), "nobody comes to {point}");
    }
}

const LOCKER: [&str; 8] = [
    "locker: announced",
    "locker: taken",
    "locker: linked",
    "owner: has the data",
    "unlocker: lets the data go",
    "unlocker: unlinked",
    "sleeper: about to sleep",
    "sleeper: woken",
];

const PRODUCER: [&str; 10] = [
    "producer: chunk noted",
    "producer: chunk cut off",
    "producer: chunk appended",
    "producer: chunk taken",
    "producer: about to publish",
    "gate: about to change",
    "gate: changed",
    "gate: mark taken",
    "gate: woke",
    "producer: published",
];

const CONSUMER: [&str; 6] = [
    "consumer: about to take",
    "gate: about to change",
    "gate: changed",
    "gate: mark taken",
    "gate: woke",
    "consumer: took",
];

/// A queue whose chunks have all been used, so that they go round: what a producer takes next was a consumer's just now.
fn round(thread: &Thread, queue: &Queue) {
    for item in 0..queue.geometry.chunks {
        assert!(queue.put(thread, item as u8));
        assert_eq!(queue.get(thread), Some(item as u8));
    }
}

/// One puts, one gets: through chunks that were all in use before, and again when they come round; both sleep.
fn one_to_one(preemptions: usize) {
    model(preemptions, || {
        let (kernel, queue) = (Kernel::new(), Queue::new(4, 2, 1));
        Thread::run(&kernel, 1, "", |thread| round(thread, &queue));
        let theirs = queue.clone();
        let producer = Thread::start(&kernel, 2, "", move |thread| {
            (1..=4).for_each(|item| assert!(theirs.put(thread, item)))
        });
        Thread::run(&kernel, 1, "", |thread| {
            (1..=4).for_each(|item| assert_eq!(queue.get(thread), Some(item)));
            assert_eq!(queue.try_get(thread), None);
        });
        producer.join().unwrap();
    });
}

#[test]
fn items_go_through_in_order() {
    one_to_one(3);
}

/// An item of several chunks is copied out, while its chunks are waited for.
fn long(preemptions: usize) {
    model(preemptions, || {
        let (kernel, queue) = (Kernel::new(), Queue::new(5, 2, 1));
        let theirs = queue.clone();
        let producer = Thread::start(&kernel, 2, "", move |thread| {
            (0..4).for_each(|_| assert!(theirs.put(thread, LONGER)));
        });
        Thread::run(&kernel, 1, "", |thread| {
            (0..4).for_each(|_| assert_eq!(queue.get(thread), Some(LONGER)));
        });
        producer.join().unwrap();
    });
}

#[test]
fn long_items_go_through() {
    long(3);
}

#[test]
#[should_panic]
fn mutant_published_relaxed() {
    mutant::with("an item is published relaxed", || one_to_one(2));
}

#[test]
#[should_panic]
fn mutant_taken_relaxed() {
    mutant::with("an item is taken relaxed", || long(2));
}

#[test]
#[should_panic]
fn mutant_the_head_is_moved_before_the_copy() {
    mutant::with("the head is moved before the copy", || {
        dies_at_each(2, &CONSUMER[..1], deaths::a_consumer_dies)
    });
}

#[test]
#[should_panic]
fn mutant_the_head_s_own_chunk_is_used_again() {
    mutant::with("the head's own chunk is used again", || one_to_one(2));
}

#[test]
#[should_panic]
fn mutant_nobody_is_woken_for_an_item() {
    mutant::with("nobody is woken for an item", || one_to_one(2));
}

#[test]
#[should_panic]
fn mutant_nobody_is_woken_for_room() {
    mutant::with("nobody is woken for room", || one_to_one(2));
}

/// Two put, one gets: nothing is lost, nothing comes twice, and each one's order is kept.
fn two_producers(preemptions: usize) {
    model(preemptions, || {
        let (kernel, queue) = (Kernel::new(), Queue::new(4, 8, 1));
        let producers = [10, 20].map(|first| {
            let theirs = queue.clone();
            Thread::start(&kernel, u32::from(first), "", move |thread| {
                assert!(theirs.put(thread, first));
                assert!(theirs.put(thread, first + 1));
            })
        });
        let got = Thread::run(&kernel, 1, "", |thread| [(); 4].map(|()| queue.get(thread).unwrap())).unwrap();
        producers.into_iter().for_each(|producer| assert!(producer.join().unwrap().is_some()));
        for first in [10, 20] {
            assert!(got.into_iter().filter(|item| item / 10 == first / 10).eq([first, first + 1]), "{got:?}");
        }
    });
}

#[test]
fn two_put() {
    two_producers(2);
}

/// Two get, each one item; they are put one by one, or both in one step.
fn two_consumers(preemptions: usize, together: bool) {
    model(preemptions, move || {
        let (kernel, queue) = (Kernel::new(), Queue::new(4, 8, 1));
        let consumers = [2, 3].map(|number| {
            let theirs = queue.clone();
            Thread::start(&kernel, number, "", move |thread| theirs.get(thread).unwrap())
        });
        Thread::run(&kernel, 1, "", |thread| {
            if together {
                let log = queue.log();
                let mut producer = log.producer(log.producers(thread, Until::Forever).unwrap(), 0);
                for item in [1, 2] {
                    let written = producer.write(&[item; LEN], (0, 0), |_| Ok(true)).unwrap();
                    assert_eq!(written, Written::Yes);
                }
                producer.publish();
            } else {
                (1..=2).for_each(|item| assert!(queue.put(thread, item)));
            }
        });
        let got: BTreeSet<u8> =
            consumers.into_iter().map(|consumer| consumer.join().unwrap().unwrap()).collect();
        assert!(got.into_iter().eq([1, 2]));
    });
}

#[test]
fn two_get_of_one() {
    two_consumers(3, false);
    two_consumers(3, true);
}

#[test]
#[should_panic]
fn mutant_an_item_is_not_taken() {
    mutant::with("an item is not taken", || two_consumers(2, false));
}

/// Closing wakes all: those who get when there is nothing, those who put when there is no room.
#[test]
fn closing_wakes_all() {
    for full in [false, true] {
        model(2, move || {
            let (kernel, queue) = (Kernel::new(), Queue::new(4, 1, 1));
            if full {
                Thread::run(&kernel, 1, "", |thread| assert!(queue.put(thread, 1)));
            }
            let waiters = [2, 3].map(|number| {
                let theirs = queue.clone();
                Thread::start(&kernel, number, "", move |thread| {
                    if full { !theirs.put(thread, 2) } else { theirs.get(thread).is_none() }
                })
            });
            Thread::run(&kernel, 1, "", |thread| assert!(!queue.close(thread)));
            waiters.into_iter().for_each(|waiter| assert!(waiter.join().unwrap().unwrap()));
            Thread::run(&kernel, 1, "", |thread| {
                assert!(queue.close(thread));
                assert_eq!(queue.get(thread), full.then_some(1));
                assert_eq!(queue.get(thread), None);
            });
        });
    }
}

#[test]
#[should_panic]
fn mutant_the_end_is_no_change() {
    mutant::with("the end is no change", closing_wakes_all);
}

#[test]
#[should_panic]
fn mutant_closing_wakes_nobody() {
    mutant::with("nobody is woken at the end", closing_wakes_all);
}

/// One who closes dies: it is closed or not, for all, and who waits is told if it is.
#[test]
fn a_closer_dies() {
    dies_at_each(2, &["closer: about to close", "gate: changed", "closer: receivers told"], |point| {
        let (kernel, queue) = (Kernel::new(), Queue::new(4, 1, 1));
        let theirs = queue.clone();
        let closer = Thread::start(&kernel, 2, point, move |thread| theirs.close(thread));
        let theirs = queue.clone();
        let other = Thread::start(&kernel, 3, "", move |thread| {
            // It cannot wait for one who did not close.
            (theirs.log().is_closed()).then(|| theirs.get(thread))
        });
        let died = closer.join().unwrap().is_none();
        assert_ne!(other.join().unwrap().unwrap(), Some(Some(1)));
        Thread::run(&kernel, 1, "", |thread| {
            let closed = queue.log().is_closed();
            assert_eq!(closed, point != "closer: about to close" || !died);
            assert_eq!(queue.put(thread, 1), !closed);
            assert_eq!(queue.get(thread), (!closed).then_some(1));
        });
        died
    });
}

impl Queue {
    /// The same of a queue of one item: it goes round.
    fn is_whole_of_one(&self, thread: &Thread) {
        (0..6).for_each(|item| {
            assert_eq!(self.try_put(thread, 0, item), Written::Yes);
            assert_eq!(self.try_put(thread, 0, item), Written::Full);
            assert_eq!(self.try_get(thread), Some(item));
        });
    }
}

/// What one band's producer, dead or alive, has taken and not used, another band's gets when nothing else is there; who dies while it takes that, too.
fn spares_go_round(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(5, 8, 2));
    // The first band's, begun twice and never published: all spare chunks are at the end of its chain.
    Thread::run(&kernel, 1, "", |thread| {
        let log = queue.log();
        let mut producer = log.producer(log.producers(thread, Until::Forever).unwrap(), 0);
        for _ in 0..4 {
            producer.write(&[9; LEN], (0, 0), |_| Ok(true)).unwrap();
        }
    });
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| {
        (1..=2).for_each(|item| assert_eq!(theirs.try_put(thread, 1, item), Written::Yes));
    });
    let died = victim.join().unwrap().is_none();
    Thread::run(&kernel, 1, "", |thread| {
        while queue.try_get(thread).is_some() {}
        for band in [1, 0, 1] {
            (1..=3).for_each(|item| assert_eq!(queue.try_put(thread, band, item), Written::Yes));
            (1..=3).for_each(|item| assert_eq!(queue.try_get(thread), Some(item)));
        }
        queue.is_whole(thread);
    });
    died
}

#[test]
fn a_band_gets_what_another_does_not_use() {
    dies_at_each(2, &PRODUCER[..5], spares_go_round);
}

#[test]
#[should_panic]
fn mutant_spares_stay() {
    mutant::with("spares stay where they are", || dies_at_each(1, &PRODUCER[..1], spares_go_round));
}
