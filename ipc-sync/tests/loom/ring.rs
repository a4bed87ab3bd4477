//! The ring's words: no torn message, no lost wake-up, the end after all that was sent, and death at each point.
//!
//! The bytes of a line are a cell here, so that the model sees who reads or writes one that is not his.

use std::sync::Arc;

use ipc_core::primitive::cell::UnsafeCell;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::time::Until;
use ipc_sync::modelled::track::{Fault, Frame, Kind, Line, RawRing, Receiving, Sending, Spot};
use loom::model;

use crate::kernel::{Kernel, Thread};

/// As few as can be, so that it is full and goes round.
const LINES: u64 = 2;

struct Ring {
    raw: RawRing,
    table: [Line; 1],
    cells: [UnsafeCell<u64>; LINES as usize],
    /// What a socket pair is to the descriptor of the receiver, and to that of the sender: whether a byte is in it.
    bells: [(Mutex<bool>, Condvar); 2],
}

// SAFETY: the cells are what the model looks after.
unsafe impl Sync for Ring {}
// SAFETY: as above.
unsafe impl Send for Ring {}

const RECEIVER: usize = 0;
const SENDER: usize = 1;

impl Ring {
    fn new() -> Arc<Ring> {
        Arc::new(Ring {
            raw: RawRing::new(),
            table: [Line::new()],
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
            bells: std::array::from_fn(|_| (Mutex::new(false), Condvar::new())),
        })
    }

    fn ring(&self, whose: usize, wanted: bool) {
        if wanted {
            *self.bells[whose].0.lock() = true;
            self.bells[whose].1.notify_one();
        }
    }

    /// Waits for the descriptor, and makes it silent again.
    fn poll(&self, whose: usize) {
        let mut rung = self.bells[whose].0.lock();
        while !*rung {
            rung = self.bells[whose].1.wait(rung);
        }
        *rung = false;
    }

    fn write(&self, thread: &Thread, side: &mut Sending, spot: Spot, value: u64) {
        // SAFETY: for the model to see.
        self.cells[spot.line].with_mut(|cell| unsafe { *cell = value });
        self.raw.frame(&self.table, side, spot, Kind::Bytes, value as usize);
        let bell = self.raw.publish(thread, side, spot.end);
        self.ring(RECEIVER, bell);
    }

    /// Sends a value, that is also the message's length; sleeps until there is room.
    fn send(&self, thread: &Thread, side: &mut Sending, value: u64) -> Result<(), Fault> {
        let begin = self.raw.begin(side);
        let spot = match self.raw.room(&self.table, side, begin, 1)? {
            Some(spot) => spot,
            None => {
                let look = || self.raw.room(&self.table, side, begin, 1).transpose();
                self.raw.sleep_sender(thread, Until::Forever, look).unwrap()?
            }
        };
        self.write(thread, side, spot, value);
        Ok(())
    }

    fn read(&self, thread: &Thread, side: &mut Receiving, frame: Frame) -> u64 {
        // SAFETY: for the model to see.
        let value = self.cells[frame.line].with(|cell| unsafe { *cell });
        assert_eq!((frame.kind, frame.len as u64), (Kind::Bytes, value), "a torn message");
        let bell = self.raw.give_back(thread, side, frame);
        self.ring(SENDER, bell);
        value
    }

    /// Receives a value; sleeps until there is one.
    fn recv(&self, thread: &Thread, side: &mut Receiving) -> Result<u64, Fault> {
        let frame = match self.raw.next(&self.table, side)? {
            Some(frame) => frame,
            None => {
                let look = || self.raw.next(&self.table, side).transpose();
                self.raw.sleep_receiver(thread, Until::Forever, look).unwrap()?
            }
        };
        Ok(self.read(thread, side, frame))
    }

    fn sending(&self) -> Sending {
        self.raw.sending(LINES).unwrap()
    }

    fn receiving(&self) -> Receiving {
        self.raw.receiving(LINES).unwrap()
    }
}

/// So many messages, one after the other, more than there is room for; then the sender closes.
fn stream(messages: u64) {
    let (kernel, ring) = (Kernel::new(), Ring::new());
    let theirs = ring.clone();
    let sender = Thread::start(&kernel, 2, "", move |thread| {
        let mut side = theirs.sending();
        (1..=messages).for_each(|value| theirs.send(thread, &mut side, value).unwrap());
        theirs.raw.close_sending(thread, &side);
    });
    Thread::run(&kernel, 1, "", |thread| {
        let mut side = ring.receiving();
        (1..=messages).for_each(|value| assert_eq!(ring.recv(thread, &mut side), Ok(value)));
        assert_eq!(ring.recv(thread, &mut side), Err(Fault::Closed));
    });
    sender.join().unwrap();
}

#[test]
fn messages_arrive_whole_and_in_order_and_then_the_end() {
    model(|| stream(1));
    model(|| stream(3));
}

#[test]
#[should_panic]
fn mutant_nobody_is_woken() {
    mutant::with("nobody is woken", || model(|| stream(1)));
}

#[test]
#[should_panic]
fn mutant_an_index_is_told_too_early() {
    mutant::with("an index is told too early", || model(|| stream(1)));
}

#[test]
#[should_panic]
fn mutant_an_index_is_read_too_early() {
    mutant::with("an index is read too early", || model(|| stream(1)));
}

#[test]
#[should_panic]
fn mutant_the_ring_is_never_full() {
    mutant::with("the ring is never full", || model(|| stream(3)));
}

/// The receiver closes after so many; the sender, who may be asleep for room, is told.
fn receiver_closes(after: u64) {
    let (kernel, ring) = (Kernel::new(), Ring::new());
    let theirs = ring.clone();
    let receiver = Thread::start(&kernel, 2, "", move |thread| {
        let mut side = theirs.receiving();
        (1..=after).for_each(|value| assert_eq!(theirs.recv(thread, &mut side), Ok(value)));
        theirs.raw.close_receiving(thread, &side);
    });
    Thread::run(&kernel, 1, "", |thread| {
        let mut side = ring.sending();
        let refused =
            (1..).find_map(|value| ring.send(thread, &mut side, value).err().map(|why| (value, why)));
        let (value, why) = refused.unwrap();
        assert!(why == Fault::Closed && value <= after + LINES + 1);
    });
    receiver.join().unwrap();
}

#[test]
fn a_receiver_closes() {
    model(|| receiver_closes(0));
    model(|| receiver_closes(1));
}

/// The sender dies with its first message; who sleeps gets it if it was published, and does without a wake-up otherwise.
fn sender_dies(point: &'static str, published: bool) {
    let (kernel, ring) = (Kernel::new(), Ring::new());
    let theirs = ring.clone();
    let sender = Thread::start(&kernel, 2, point, move |thread| {
        let mut side = theirs.sending();
        theirs.send(thread, &mut side, 1).unwrap();
    });
    Thread::run(&kernel, 1, "", |thread| {
        let mut side = ring.receiving();
        if published {
            assert_eq!(ring.recv(thread, &mut side), Ok(1));
            assert_eq!(sender.join().unwrap(), None);
        } else {
            assert_eq!(sender.join().unwrap(), None);
        }
        assert_eq!(ring.raw.next(&ring.table, &mut side), Ok(None));
    });
}

#[test]
fn a_sender_dies_before_it_has_published() {
    model(|| sender_dies("gate: about to change", false));
}

#[test]
fn a_sender_dies_after_it_has_published() {
    for point in ["gate: changed", "gate: woke"] {
        model(move || sender_dies(point, true));
    }
}

/// The receiver dies as it gives the first line back; a sender who sleeps for it has room if it was given back.
fn receiver_dies(point: &'static str) {
    let (kernel, ring) = (Kernel::new(), Ring::new());
    let mut side = ring.sending();
    Thread::run(&kernel, 1, "", |thread| {
        (1..=LINES).for_each(|value| ring.send(thread, &mut side, value).unwrap());
    });
    let theirs = ring.clone();
    let receiver = Thread::start(&kernel, 2, point, move |thread| {
        let mut side = theirs.receiving();
        assert_eq!(theirs.recv(thread, &mut side), Ok(1));
    });
    Thread::run(&kernel, 1, "", |thread| ring.send(thread, &mut side, LINES + 1).unwrap());
    assert_eq!(receiver.join().unwrap(), None);
}

#[test]
fn a_receiver_dies_after_it_has_given_back() {
    for point in ["gate: changed", "gate: woke"] {
        model(move || receiver_dies(point));
    }
}

/// An end goes to another process in the middle of the stream, and goes on where the first one was.
#[test]
fn an_end_goes_on_elsewhere() {
    model(|| {
        let (kernel, ring) = (Kernel::new(), Ring::new());
        let theirs = ring.clone();
        let first = Thread::start(&kernel, 2, "", move |thread| {
            theirs.send(thread, &mut theirs.sending(), 1).unwrap();
        });
        Thread::run(&kernel, 1, "", |thread| {
            assert_eq!(ring.recv(thread, &mut ring.receiving()), Ok(1));
        });
        first.join().unwrap();
        let theirs = ring.clone();
        let second = Thread::start(&kernel, 3, "", move |thread| {
            theirs.send(thread, &mut theirs.sending(), 2).unwrap();
        });
        Thread::run(&kernel, 1, "", |thread| {
            assert_eq!(ring.recv(thread, &mut ring.receiving()), Ok(2));
        });
        second.join().unwrap();
    });
}

/// Both sides wait for their descriptors alone: who finds nothing arms its bell and looks again.
fn by_descriptor(messages: u64) {
    let (kernel, ring) = (Kernel::new(), Ring::new());
    let theirs = ring.clone();
    let sender = Thread::start(&kernel, 2, "", move |thread| {
        let mut side = theirs.sending();
        for value in 1..=messages {
            let begin = theirs.raw.begin(&side);
            let spot = loop {
                if let Some(spot) = theirs.raw.room(&theirs.table, &mut side, begin, 1).unwrap() {
                    break spot;
                }
                theirs.raw.sender.arm();
                if let Some(spot) = theirs.raw.room(&theirs.table, &mut side, begin, 1).unwrap() {
                    break spot;
                }
                theirs.poll(SENDER);
            };
            theirs.write(thread, &mut side, spot, value);
        }
    });
    Thread::run(&kernel, 1, "", |thread| {
        let mut side = ring.receiving();
        for value in 1..=messages {
            let frame = loop {
                if let Some(frame) = ring.raw.next(&ring.table, &mut side).unwrap() {
                    break frame;
                }
                ring.raw.receiver.arm();
                if let Some(frame) = ring.raw.next(&ring.table, &mut side).unwrap() {
                    break frame;
                }
                ring.poll(RECEIVER);
            };
            assert_eq!(ring.read(thread, &mut side, frame), value);
        }
    });
    sender.join().unwrap();
}

#[test]
fn who_waits_for_a_descriptor_is_told() {
    model(|| by_descriptor(1));
    model(|| by_descriptor(3));
}

#[test]
#[should_panic]
fn mutant_the_bell_is_not_armed() {
    mutant::with("the bell is not armed", || model(|| by_descriptor(1)));
}

#[test]
#[should_panic]
fn mutant_the_bell_is_armed_without_a_fence() {
    mutant::with("the bell is armed without a fence", || model(|| by_descriptor(1)));
}
