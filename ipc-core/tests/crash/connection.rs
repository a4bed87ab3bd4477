//! Senders and receivers are killed in the middle of messages, over packets and over TCP: the other side gets whole messages, in order,
//! then the end.

use std::time::Duration;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Bytes, Child, Context, Listener, Receiver, Sender, Signal, connect, pipe};
use ipc_testkit::{Rng, kills, leaks};
use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::{METHODS, context, mine, points, program, rounds};

/// Of one packet, of two, of many.
const LENGTHS: [usize; 5] = [0, 5_000, 70_000, 400_000, 100];

/// With its place among all.
type Numbered = (u32, Bytes);

fn message(n: u32) -> Numbered {
    let len = LENGTHS[n as usize % LENGTHS.len()];
    (n, (0..len).map(|at| (at as u32 ^ n) as u8).collect())
}

/// Sends until it is killed, or so many.
fn send(sender: Sender<Numbered>, count: u32) {
    for n in 0..count {
        if sender.send(message(n)).is_err() {
            return;
        }
    }
}

/// Receives until the end, or until it is killed, and says how many.
fn receive(receiver: Receiver<Numbered>) -> u32 {
    let mut next = 0;
    loop {
        match receiver.recv() {
            Ok(came) => {
                assert!(came == message(next), "message {next} is whole and in its place");
                next += 1;
            }
            Err(end) => {
                assert!(end.is_disconnected(), "{end}");
                return next;
            }
        }
    }
}

/// Both ends: of a pipe, or over TCP for the role of a stream's sender.
fn ends(role: &str) -> (Sender<Numbered>, Receiver<Numbered>) {
    if !role.starts_with("stream") {
        return pipe().unwrap();
    }
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| connect::<Numbered, ()>(listener.address()).unwrap());
        (listener.accept::<(), Numbered>().unwrap(), theirs.join().unwrap())
    });
    // So that a long message is sent in several calls.
    set_socket_send_buffer_size(&theirs, 64 << 10).unwrap();
    (theirs.split().0, ours.split().1)
}

/// Starts the one that is to die, as `role`, has `kill` called with it, and is its peer to the end; whether it died.
fn live_and_die(context: &Context, role: &str, count: u32, kill: impl FnOnce(&dyn Fn()) + Send) -> bool {
    let (sender, receiver) = ends(role);
    let died = |result: Result<u32, ipc_core::Error>| match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            true
        }
    };
    let beside = |child: &Child<u32>, work: &mut dyn FnMut()| {
        std::thread::scope(|scope| {
            scope.spawn(|| kill(&|| child.kill().unwrap()));
            work();
        });
    };
    if role.ends_with("sender") {
        fn sends(sender: Sender<Numbered>, count: u32) -> u32 {
            send(sender, count);
            count
        }
        let child = context.spawn(sends, (sender, count)).unwrap();
        let (mut receiver, mut received) = (Some(receiver), 0);
        beside(&child, &mut || received = receiver.take().map_or(0, receive));
        let died = died(child.join());
        assert!(died || received == count, "all that was sent by one that lived");
        died
    } else {
        let child = context.spawn(receive, (receiver,)).unwrap();
        let mut sender = Some(sender);
        beside(&child, &mut || sender.take().into_iter().for_each(|sender| send(sender, count)));
        died(child.join())
    }
}

/// Kills at a point, so many times.
fn kill_at(method: String, role: String, point: String, rounds: u32, seed: u64) {
    let points = mine();
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let context = context(&method);
    for _ in 0..rounds {
        let before = points.kills(&point);
        points.arm(&point, 1 + rng.below(12) as u32);
        while points.kills(&point) == before {
            let died = live_and_die(&context, &role, 20, |_| {});
            assert_eq!(died, points.kills(&point) > before);
        }
    }
}

/// Kills at random instants, so many times; how many came through.
fn kill_at_random(method: String, role: String, rounds: u32, seed: u64) -> u64 {
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let context = context(&method);
    let mut through = 0;
    for _ in 0..rounds {
        let instant = rng.duration(Duration::from_micros(4000));
        let died = live_and_die(&context, &role, 1 << 20, |kill| {
            std::thread::sleep(instant);
            kill();
        });
        through += u64::from(!died);
    }
    through
}

#[test]
fn a_peer_killed_at_a_point_of_a_message() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for role in ["sender", "receiver", "stream sender"] {
            for point in points(role) {
                let (before, seed) = (crash.kills(point), rng.next_u64());
                let args = (method.to_owned(), role.to_owned(), point.to_owned(), rounds(), seed);
                let ended = program(&crash, kill_at, args).join();
                ended.unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
                kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
            }
        }
    }
}

#[test]
fn a_peer_killed_at_a_random_instant() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for role in ["sender", "receiver", "stream sender"] {
            let (count, seed) = (rounds() * 2, rng.next_u64());
            let through = program(&crash, kill_at_random, (method.to_owned(), role.to_owned(), count, seed));
            let through = through.join().unwrap_or_else(|error| panic!("{method}, {seed}: {error}"));
            kills(&format!("{role}: random instant, {method}"), u64::from(count) - through);
        }
    }
}
