//! Senders and receivers of rings, killed: at each named crash point, of the ring and of the gates it sleeps at, and at random instants; by exec and over a
//! fork server. What was sent arrives whole and in order and nothing else does, and who is left learns of the end.
//!
//! A test starts programs (this executable again), which arm a point (`src/crash.rs`) for their two children and see what becomes of the one that is left. A
//! ledger beside the ring says how far the sender had come.

#![allow(clippy::unwrap_used)]

#[path = "victims/mod.rs"]
mod victims;

use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context, Signal};
use ipc_shm::Segment;
use ipc_sync::modelled::POINTS;
use ipc_sync::{Result, RingReceiver, RingSender, SendError, ring};
use ipc_testkit::{GENEROUS, Rng, kills, leaks};

use victims::{METHODS, context};

/// Those of the ring, and of the gates at which its ends sleep and wake each other.
fn points() -> Vec<&'static str> {
    let gate = ipc_shm::modelled::POINTS.into_iter().filter(|point| point.starts_with("gate: "));
    POINTS.iter().copied().filter(|point| point.starts_with("ring ")).chain(gate).collect()
}

/// How often each point is to be hit.
fn rounds(method: &str) -> u32 {
    let of_all = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 2_000,
        (false, true) => 6,
        (false, false) => 20,
    };
    of_all / if method == "exec" { 2 } else { 1 }
}

/// In a segment: the messages that the sender has begun with, and those that it was told were sent; and how many the receiver has got.
#[repr(C)]
struct Ledger {
    begun: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

fn ledger(segment: &Segment) -> &Ledger {
    // SAFETY: atomics, at the beginning of a segment that is long enough and mapped as long as it is borrowed.
    unsafe { segment.as_ptr().cast::<Ledger>().as_ref() }
}

type Value = Vec<u64>;

/// Four values, four messages of bytes, and so on.
fn is_value(number: u64) -> bool {
    (number / 4).is_multiple_of(2)
}

fn value(number: u64) -> Value {
    vec![number; 1 + number as usize % 50]
}

fn bytes(number: u64) -> Vec<u8> {
    number.to_ne_bytes().into_iter().cycle().take(8 + (number as usize * 37) % 1500).collect()
}

/// Now and then somebody dawdles, so that the other falls asleep.
fn dawdle(rng: &mut Rng) {
    if rng.below(40) == 0 {
        std::thread::sleep(rng.duration(Duration::from_micros(400)));
    }
}

/// Waits for the descriptor instead of sleeping at the gate.
fn poll(end: &dyn AsFd) {
    ipc_core::wait(&[end], None).unwrap();
}

/// A sender's life, until there is no receiver any more.
fn send(mut sender: RingSender<Value>, segment: Segment, polls: bool, seed: u64) {
    let (ledger, mut rng) = (ledger(&segment), Rng::from_seed(seed));
    if polls {
        let _ = sender.as_fd();
    }
    let mut number = 0_u64;
    loop {
        dawdle(&mut rng);
        let together = number.is_multiple_of(8) && !polls && rng.below(2) == 0;
        let count = if together { 4 } else { 1 };
        ledger.begun.store(number + count, SeqCst);
        let sent: Result<()> = if together {
            sender
                .send_many((number..number + 4).map(value))
                .map(drop)
                .map_err(SendError::into_parts)
                .map_err(|(_, e)| e)
        } else if is_value(number) {
            let mut message = value(number);
            loop {
                let tried = if polls { sender.try_send(message) } else { sender.send(message) };
                match tried.map_err(SendError::into_parts) {
                    Err((back, error)) if error.is_timed_out() => message = back,
                    Err((_, error)) => break Err(error),
                    Ok(()) => break Ok(()),
                }
                poll(&sender);
            }
        } else if rng.below(2) == 0 {
            let message = bytes(number);
            loop {
                let tried = if polls { sender.try_send_bytes(&message) } else { sender.send_bytes(&message) };
                match tried {
                    Err(error) if error.is_timed_out() => poll(&sender),
                    sent => break sent,
                }
            }
        } else {
            let message = bytes(number);
            sender.loan(message.len()).and_then(|mut loan| {
                loan.copy_from_slice(&message);
                loan.commit()
            })
        };
        match sent {
            Ok(()) => number += count,
            Err(error) => {
                assert!(error.is_disconnected(), "{error}");
                return;
            }
        }
        ledger.sent.store(number, SeqCst);
    }
}

/// The next message, as it was received: a value, or bytes.
fn next(receiver: &mut RingReceiver<Value>, number: u64, polls: bool) -> Result<()> {
    if is_value(number) {
        let found = loop {
            match if polls { receiver.try_recv()? } else { Some(receiver.recv()?) } {
                Some(found) => break found,
                None => poll(receiver),
            }
        };
        assert_eq!(found, value(number));
    } else if number.is_multiple_of(2) {
        let found = loop {
            match if polls { receiver.try_recv_bytes()? } else { Some(receiver.recv_bytes()?) } {
                Some(found) => break found,
                None => poll(receiver),
            }
        };
        assert_eq!(found, bytes(number));
    } else {
        assert_eq!(*receiver.recv_loan()?, bytes(number)[..]);
    }
    Ok(())
}

/// A receiver's life, until there is no sender any more.
fn receive(mut receiver: RingReceiver<Value>, segment: Segment, polls: bool, seed: u64) {
    let (ledger, mut rng) = (ledger(&segment), Rng::from_seed(seed));
    if polls {
        let _ = receiver.as_fd();
    }
    for number in 0.. {
        dawdle(&mut rng);
        if let Err(error) = next(&mut receiver, number, polls) {
            assert!(error.is_disconnected(), "{error}");
            return;
        }
        ledger.received.store(number + 1, SeqCst);
    }
}

/// The two, and what they write into.
struct Pair {
    children: [Child<()>; 2],
    ledger: Segment,
}

impl Pair {
    /// `arm` is called when there is a ring, and nobody has it yet. Whether they poll is left to chance, unless both are to.
    fn start(context: &Context, rng: &mut Rng, both_poll: bool, arm: impl FnOnce(&mut Rng)) -> Pair {
        let (sender, receiver) = ring::<Value>(4096).unwrap();
        let segment = Segment::new(size_of::<Ledger>()).unwrap();
        // Who sleeps at a gate learns of a death up to 100 ms later, so most poll.
        let mut polls = || both_poll || rng.below(4) != 0;
        let (sends, receives) = (polls(), polls());
        arm(rng);
        let start = || context.builder().daemon(true);
        let receiver = start().spawn(receive, (receiver, segment.clone(), receives, rng.next_u64())).unwrap();
        let sender = start().spawn(send, (sender, segment.clone(), sends, rng.next_u64())).unwrap();
        Pair { children: [sender, receiver], ledger: segment }
    }

    /// One was killed, the other ends by itself; says whether it was the sender who was killed.
    #[track_caller]
    fn ends(self) -> bool {
        let [sender, receiver] = self.children.map(|child| match child.join_timeout(GENEROUS) {
            Ok(through) => {
                through.expect("somebody does not notice that the other is dead");
                false
            }
            Err(error) => {
                assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
                true
            }
        });
        assert!(sender != receiver, "one is killed, and the other lives to see it");
        let ledger = ledger(&self.ledger);
        let [begun, sent, received] =
            [&ledger.begun, &ledger.sent, &ledger.received].map(|count| count.load(SeqCst));
        assert!(received <= begun, "{received} have come of {begun}");
        if sender {
            assert!(received >= sent, "{sent} were sent, and {received} have come");
        }
        sender
    }
}

/// The points that this program's children obey.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) -> u32 {
    let points = CrashPoints::of_this_process().unwrap();
    let _leaks = leaks();
    let (context, mut rng) = (context(&method), Rng::from_seed(seed));
    let mut senders = 0;
    for _ in 0..rounds {
        // Nobody rings for who does not poll.
        let bell = point.starts_with("ring bell");
        let often = if point.starts_with("ring ") && !bell { 60 } else { 4 };
        let arm = |rng: &mut Rng| points.arm(&point, 1 + rng.below(often) as u32);
        let pair = Pair::start(&context, &mut rng, bell, arm);
        senders += u32::from(pair.ends());
    }
    senders
}

fn killed_at_points(method: &str) {
    let _leaks = leaks();
    let points = points();
    let crash = CrashPoints::create(&points).unwrap();
    let mut rng = Rng::new();
    let (name, page) = crash.env().unwrap();
    for point in points {
        let (before, seed, rounds) = (crash.kills(point), rng.next_u64(), rounds(method));
        let program = Context::exec().builder().env(name, &page);
        let program = program.spawn(kill_at, (method.to_owned(), point.to_owned(), rounds, seed)).unwrap();
        let senders = program.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
        println!("{senders} of {rounds} were senders");
        kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
    }
}

#[test]
fn killed_at_each_point_executed() {
    killed_at_points(METHODS[0]);
}

#[test]
fn killed_at_each_point_cloned() {
    killed_at_points(METHODS[1]);
}

fn killed_at_random(method: &str) {
    let _leaks = leaks();
    let (context, mut rng) = (context(method), Rng::new());
    let rounds = rounds(method) * 15;
    let mut senders = 0;
    for _ in 0..rounds {
        let pair = Pair::start(&context, &mut rng, false, |_| ());
        let ledger = ledger(&pair.ledger);
        assert!(ipc_testkit::wait_until(GENEROUS, || ledger.received.load(SeqCst) > 0));
        std::thread::sleep(rng.duration(Duration::from_millis(1)));
        pair.children[rng.below(2) as usize].kill().unwrap();
        senders += u32::from(pair.ends());
    }
    assert!(senders > 0 && senders < rounds);
    kills(&format!("sender of a ring, random instant, {method}"), senders.into());
    kills(&format!("receiver of a ring, random instant, {method}"), (rounds - senders).into());
}

#[test]
fn killed_at_random_instants_executed() {
    killed_at_random(METHODS[0]);
}

#[test]
fn killed_at_random_instants_cloned() {
    killed_at_random(METHODS[1]);
}
