//! Owners of locks, those who wait for them, those who sleep and wake at a gate, and those who make and free objects of an arena, killed: at each named crash point and at random
//! instants, by exec and over a fork server, with the kernel's help (the baton) and without it, and beside robust mutexes of a C library.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-shm`, or `cargo test --test crash`. A test starts programs (this executable
//! again), which arm a point (`src/crash.rs`) for their children, see who dies there, and then go through the lock or the gate themselves. What is
//! shown: nobody waits for the dead, who had the data in its hands is reported, by its pid and once, and nobody else is. A point at which
//! nobody died fails its test; all kills are printed.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "crash/arena.rs"]
mod arena;
#[path = "crash/asleep.rs"]
mod asleep;
#[path = "crash/gate.rs"]
mod gate;
#[path = "crash/list.rs"]
mod list;
#[path = "crash/lock.rs"]
mod lock;
#[path = "crash/named.rs"]
mod named;
#[path = "neighbour/mod.rs"]
mod neighbour;
#[path = "crash/neighbours.rs"]
mod neighbours;
#[path = "crash/random.rs"]
mod random;
#[path = "crash/recursive.rs"]
mod recursive;

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context, Function, Message, Signal};
use ipc_shm::modelled::POINTS;
use ipc_testkit::{GENEROUS, wait_until};

/// The start methods, by the names that programs are told.
const METHODS: [&str; 2] = ["exec", "fork server"];

/// What the kernel is to lack, besides nothing.
const OLD: &str = "baton,noexec_seal";

fn context(method: &str) -> Context {
    if method == "exec" { Context::exec() } else { Context::fork_server() }
}

/// A place of the tests' own: an owner has changed one half of the data.
const HALF_WAY: &str = "owner: half way";

/// The points of all roles of which one of these is the beginning.
fn points(roles: &[&str]) -> impl Iterator<Item = &'static str> {
    POINTS.into_iter().chain([HALF_WAY]).filter(move |point| roles.iter().any(|role| point.starts_with(role)))
}

fn crash_points() -> CrashPoints {
    CrashPoints::create(&[&POINTS[..], &[HALF_WAY]].concat()).unwrap()
}

/// How often each point is to be hit: executed children cost several times as much, and without the baton a wake-up that was lost
/// costs 100 ms.
fn rounds(method: &str, without: &str) -> u32 {
    let of_all = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 5_000,
        (false, true) => 20,
        (false, false) => 200,
    };
    let part = if method == "exec" { 2 } else { 1 } * if without.is_empty() { 1 } else { 20 };
    (of_all / part).max(5)
}

/// Starts this executable again, as a program whose processes obey these points and whose kernel lacks what is said.
fn program<F, A>(points: &CrashPoints, without: &str, f: F, args: A) -> Child<F::Output>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let (name, value) = points.env().unwrap();
    Context::exec().builder().env(name, value).env("IPC_SHM_WITHOUT", without).spawn(f, args).unwrap()
}

/// The points that a program obeys.
fn mine() -> CrashPoints {
    CrashPoints::of_this_process().unwrap()
}

/// Starts a child of such a program, which ends with it, also where the program fails.
fn start<F, A>(context: &Context, f: F, args: A) -> Child<F::Output>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    context.builder().daemon(true).spawn(f, args).unwrap()
}

/// All have been killed or get through; gives how many were killed.
#[track_caller]
fn all_end<T: Message>(children: Vec<Child<T>>) -> usize {
    let ends = children.into_iter().map(|child| match child.join_timeout(GENEROUS) {
        Ok(through) => {
            through.expect("somebody is left asleep");
            0
        }
        Err(error) => {
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            1
        }
    });
    ends.sum()
}

/// Takes the one out that has been killed, as soon as there is one; gives its pid.
fn bury<T: Message>(children: &mut Vec<Child<T>>) -> u32 {
    let mut at = None;
    let died = wait_until(GENEROUS, || {
        at = children.iter().position(|child| !child.is_alive());
        at.is_some()
    });
    assert!(died, "nobody has died");
    let dead = children.swap_remove(at.unwrap());
    let pid = dead.pid();
    let ended = dead.join().err().unwrap();
    assert_eq!(ended.signal(), Some(Signal::KILL), "{ended}");
    pid
}

#[test]
fn every_point_has_a_test() {
    let roles = [
        "locker",
        "owner",
        "sleeper",
        "unlocker",
        "recursive",
        "gate",
        "arena",
        "list",
        "name",
        "remover",
        "reaper",
    ];
    assert_eq!(points(&roles).count(), POINTS.len() + 1);
}
