//! A fork server is killed: nobody notices. Running children go on, the spawn that was under way and those after it succeed, and
//! neither a zombie nor a descriptor is left.

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Child, Context, Descriptor};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{add, context, mine, points, program, rounds};

/// A child that runs as long as its parent's end of a pipe is open.
fn attend(told: Descriptor) -> u64 {
    let mut told = PipeReader::from(OwnedFd::from(told));
    told.read_to_end(&mut Vec::new()).unwrap() as u64
}

/// One such child, and the end to drop.
fn attendant(context: &Context) -> (Child<u64>, std::io::PipeWriter) {
    let (told, tell) = std::io::pipe().unwrap();
    (context.spawn(attend, (Descriptor::from(OwnedFd::from(told)),)).unwrap(), tell)
}

/// Kills servers at a point, so many; says how many children came from a server that was dead by then.
fn kill_at(point: String, rounds: u32, seed: u64) -> u64 {
    let points = mine();
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let context = Context::fork_server();
    let mut orphans = 0;
    for _ in 0..rounds {
        let (running, tell) = attendant(&context);
        // Nothing in stock, or a spare that the server may still be busy with.
        if rng.below(2) == 0 {
            assert_eq!(context.spawn(add, (1, 1)).unwrap().join().unwrap(), 2);
        }
        let (before, lost) = (points.kills(&point), context.server_pid());
        points.arm(&point, 1 + rng.below(3) as u32);
        let mut spawned = Vec::new();
        while points.kills(&point) == before {
            let server = context.server_pid();
            let n = spawned.len() as u64;
            let child = context.spawn(add, (n, 1)).unwrap();
            if points.kills(&point) > before && server == context.server_pid() {
                orphans += 1;
            }
            // Some are joined while others are made.
            if rng.below(2) == 0 {
                assert_eq!(child.value().unwrap(), n + 1);
                spawned.push(None);
            } else {
                spawned.push(Some(child));
            }
        }
        assert_eq!(context.spawn(add, (20, 3)).unwrap().join().unwrap(), 23);
        assert_eq!(context.spawn(add, (20, 4)).unwrap().join().unwrap(), 24);
        assert_eq!(context.spawn(add, (20, 5)).unwrap().join().unwrap(), 25);
        assert_ne!(lost, context.server_pid(), "another server by now");
        for (n, child) in (0..).zip(spawned) {
            assert!(child.is_none_or(|child| child.join().unwrap() == n + 1));
        }
        assert!(running.is_alive());
        drop(tell);
        assert_eq!(running.join().unwrap(), 0);
    }
    orphans
}

/// Kills servers at random instants, so many, while children are made all the time.
fn kill_at_random(rounds: u32, seed: u64) -> u64 {
    let _leaks = leaks();
    let context = Context::fork_server();
    let (running, tell) = attendant(&context);
    let (spawned, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut rng = Rng::from_seed(seed);
            let mut killed = 0;
            while killed < rounds {
                // A spawn survives a server's death, and even the next one's, but is not meant to survive all.
                let seen = spawned.load(Ordering::Relaxed);
                assert!(wait_until(GENEROUS, || spawned.load(Ordering::Relaxed) > seen + 1));
                std::thread::sleep(rng.duration(Duration::from_millis(2)));
                let Some(server) = context.server_pid() else { continue };
                let Ok(pidfd) = pidfd_open(Pid::from_raw(server as i32).unwrap(), PidfdFlags::empty()) else {
                    continue;
                };
                // The number still means the server, so the descriptor does.
                if context.server_pid() == Some(server) && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
                    killed += 1;
                }
            }
            done.store(true, Ordering::Relaxed);
            killed
        });
        let mut n = 0;
        while !done.load(Ordering::Relaxed) && !killer.is_finished() {
            let child = context.spawn(add, (n, 1)).unwrap();
            assert_eq!(child.join().unwrap(), n + 1);
            n += 1;
            spawned.store(n, Ordering::Relaxed);
        }
        killer.join().unwrap()
    });
    assert!(running.is_alive());
    drop(tell);
    assert_eq!(running.join().unwrap(), 0);
    killed.into()
}

/// In a child of the program: a server's client may itself have come from a server.
fn nested(method: String, point: String, rounds: u32, seed: u64) -> u64 {
    context(&method).spawn(kill_at, (point, rounds, seed)).unwrap().join().unwrap()
}

fn nested_at_random(method: String, rounds: u32, seed: u64) -> u64 {
    context(&method).spawn(kill_at_random, (rounds, seed)).unwrap().join().unwrap()
}

/// Kills servers before they say whom they have made, and whom they have made before that says it, so many.
fn kill_both(rounds: u32) {
    let points = mine();
    let _leaks = leaks();
    let context = Context::fork_server();
    for n in 0..u64::from(rounds) {
        assert_eq!(context.spawn(add, (n, 1)).unwrap().join().unwrap(), n + 1);
        let before = points.kills(ASKED);
        points.arm_both("server: child cloned", ASKED);
        while points.kills(ASKED) == before {
            assert_eq!(context.spawn(add, (n, 2)).unwrap().join().unwrap(), n + 2);
        }
    }
}

const ASKED: &str = "newborn: asked";

/// What is looked for is the zombie of a child that nobody has named.
#[test]
fn a_server_and_its_newborn_killed_leave_no_zombie() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    program(&crash, kill_both, (rounds(),)).join().unwrap_or_else(|error| panic!("{error}"));
    kills("server and newborn", (crash.kills(ASKED) + crash.kills("server: child cloned")).into());
}

/// Whose servers are killed: a program's, or those of a child that has come in either way.
const CLIENTS: [&str; 3] = ["", "exec", "fork server"];

#[test]
fn a_server_killed_at_a_point_is_replaced() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for point in points("server") {
        for client in CLIENTS {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let orphans = match client {
                "" => program(&crash, kill_at, (point.to_owned(), rounds(), seed)),
                client => program(&crash, nested, (client.to_owned(), point.to_owned(), rounds(), seed)),
            };
            let orphans = orphans.join().unwrap_or_else(|error| panic!("{point}, {client}, {seed}: {error}"));
            println!("{orphans} children of servers that were dead by then");
            assert!(orphans > 0 || point != "server: child cloned", "nobody was asked who it is");
            let kind = if client.is_empty() { "program" } else { client };
            kills(&format!("{point}, client by {kind}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn a_server_killed_at_a_random_instant_is_replaced() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for client in CLIENTS {
        let seed = rng.next_u64();
        let killed = match client {
            "" => program(&crash, kill_at_random, (rounds() * 3, seed)),
            client => program(&crash, nested_at_random, (client.to_owned(), rounds() * 3, seed)),
        };
        let killed = killed.join().unwrap_or_else(|error| panic!("{client}, {seed}: {error}"));
        let kind = if client.is_empty() { "program" } else { client };
        kills(&format!("server: random instant, client by {kind}"), killed);
    }
}
