//! Ends that threads share: the turn to receive, and the pipe in memory.

use std::collections::VecDeque;
use std::sync::Arc as Std;
use std::time::{Duration, Instant};

use ipc_core::modelled::{Bell, Item, Queue, Refused, Turn, Until};
use ipc_core::primitive::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::{mutant, thread};
use loom::model;

/// So far away that nothing but a notification ends a wait: in the model time does not pass.
fn some_time() -> Until {
    Until::Deadline(Instant::now() + Duration::from_secs(1000))
}

/// A socket of packets: the kernel's side of a receiving end.
struct Socket {
    packets: Mutex<VecDeque<u32>>,
    arrived: Condvar,
}

impl Socket {
    fn new() -> Socket {
        Socket { packets: Mutex::new(VecDeque::new()), arrived: Condvar::new() }
    }

    fn send(&self, packet: u32) {
        self.packets.lock().push_back(packet);
        self.arrived.notify_all();
    }

    fn receive(&self) -> u32 {
        let mut packets = self.packets.lock();
        loop {
            if let Some(packet) = packets.pop_front() {
                return packet;
            }
            packets = self.arrived.wait(packets);
        }
    }
}

/// A message of two packets, as the assembler puts it together under the turn.
fn receive(turn: &Turn<Vec<u32>>, socket: &Socket, until: Until) -> Option<(u32, u32)> {
    let mut begun = turn.take(until)?;
    assert!(begun.is_empty(), "nobody is in the middle");
    begun.push(socket.receive());
    let second = socket.receive();
    Some((begun.pop()?, second))
}

/// Two threads receive, by two ways to wait, while a third sends two messages of two packets.
fn two_receivers() {
    let (turn, socket) = (Std::new(Turn::new(Vec::new())), Std::new(Socket::new()));
    let receivers = [Until::Forever, some_time()].map(|until| {
        let (turn, socket) = (turn.clone(), socket.clone());
        thread::spawn(move || receive(&turn, &socket, until).expect("the time is not over"))
    });
    for packet in [10, 11, 20, 21] {
        socket.send(packet);
    }
    let mut got = receivers.map(|receiver| receiver.join().unwrap());
    got.sort_unstable();
    assert_eq!(got, [(10, 11), (20, 21)]);
}

#[test]
fn messages_of_several_packets_stay_whole_between_receivers() {
    model(two_receivers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_nobody_is_woken_for_the_turn() {
    mutant::with("turn: nobody woken", || model(two_receivers));
}

/// Three want the turn, one of them only now: it has it or not, and keeps nobody else out.
#[test]
fn one_that_does_not_wait_keeps_nobody_out() {
    model(|| {
        let turn = Std::new(Turn::new(0));
        let waiting = [Until::Forever, some_time()].map(|until| {
            let turn = turn.clone();
            thread::spawn(move || *turn.take(until).expect("the time is not over") += 1)
        });
        let had = turn.take(Until::Now).map(|mut count| *count += 1).is_some();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*turn.take(Until::Now).expect("nobody has it"), 2 + u32::from(had));
    });
}

/// What stands for the two eventfds.
#[derive(Clone)]
struct Flags {
    readable: Std<AtomicBool>,
    writable: Std<AtomicBool>,
}

impl Bell for Flags {
    fn set_readable(&self, readable: bool) {
        self.readable.store(readable, Ordering::Relaxed);
    }

    fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Ordering::Relaxed);
    }
}

type Pipe = Std<Queue<u32, Flags>>;

/// A pipe with room for one message.
fn pipe() -> (Pipe, Flags) {
    let flag = |set| Std::new(AtomicBool::new(set));
    let flags = Flags { readable: flag(false), writable: flag(true) };
    (Std::new(Queue::new(1, flags.clone())), flags)
}

fn take(pipe: &Pipe, until: Until) -> Option<u32> {
    match pipe.receive(until) {
        Ok(Some(Item::Value(value))) => Some(value),
        Ok(None) => panic!("the time is not over"),
        Ok(Some(Item::Bytes(_))) => panic!("only values are sent"),
        Err(Refused::Gone) => None,
        Err(Refused::Full) => panic!("full for a receiver"),
    }
}

/// One sends more than there is room for and ends, two receive until the end.
fn sent_and_ended() {
    let (pipe, flags) = pipe();
    let sum = Std::new(AtomicUsize::new(0));
    let receivers = [Until::Forever, some_time()].map(|until| {
        let (pipe, sum) = (pipe.clone(), sum.clone());
        thread::spawn(move || {
            while let Some(value) = take(&pipe, until) {
                sum.fetch_add(value as usize, Ordering::Relaxed);
            }
        })
    });
    for value in [1, 2] {
        assert!(pipe.send(Item::Value(value), some_time()).is_ok());
    }
    pipe.sender_gone();
    receivers.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sum.load(Ordering::Relaxed), 3);
    assert!(flags.readable.load(Ordering::Relaxed), "the end can be received");
    assert!(flags.writable.load(Ordering::Relaxed), "there is room");
}

#[test]
fn everything_arrives_once_and_then_the_end() {
    model(sent_and_ended);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_the_end_is_not_told() {
    mutant::with("memory: end untold", || model(sent_and_ended));
}

#[test]
#[should_panic(expected = "there is room")]
fn mutant_the_descriptor_is_not_told_of_room() {
    mutant::with("memory: room untold", || model(sent_and_ended));
}

/// One looks and one takes: the wake-up that the one who looks got is passed on.
fn looked_and_taken() {
    let (pipe, _) = pipe();
    let looks = {
        let pipe = pipe.clone();
        thread::spawn(move || assert!(pipe.poll(Until::Forever)))
    };
    let takes = {
        let pipe = pipe.clone();
        thread::spawn(move || assert_eq!(take(&pipe, Until::Forever), Some(1)))
    };
    assert!(pipe.send(Item::Value(1), Until::Forever).is_ok());
    takes.join().unwrap();
    // What was looked for may be taken before it was seen.
    pipe.sender_gone();
    looks.join().unwrap();
}

#[test]
fn a_look_takes_no_wake_up() {
    model(looked_and_taken);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_a_look_keeps_the_wake_up() {
    mutant::with("memory: look keeps the wake-up", || model(looked_and_taken));
}

/// The receiver goes while one waits for room: it is told, and has its value back.
#[test]
fn a_sender_that_waits_for_room_sees_the_receiver_go() {
    model(|| {
        let (pipe, flags) = pipe();
        let sender = {
            let pipe = pipe.clone();
            thread::spawn(move || {
                let mut sent = 0;
                for value in [1, 2] {
                    match pipe.send(Item::Value(value), Until::Forever) {
                        Ok(()) => sent += 1,
                        Err((Item::Value(back), Refused::Gone)) => assert_eq!(back, value),
                        Err(_) => panic!("another refusal, or another value"),
                    }
                }
                sent
            })
        };
        pipe.receiver_gone();
        assert!(sender.join().unwrap() <= 1);
        assert!(flags.writable.load(Ordering::Relaxed));
    });
}
