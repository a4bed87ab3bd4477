//! Programs and children of the crash tests.

#![allow(dead_code, reason = "not each test uses all")]

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context, Function, Message, Signal};
use ipc_sync::modelled::POINTS;
use ipc_testkit::{GENEROUS, wait_until};

/// The start methods, by the names that programs are told.
pub(crate) const METHODS: [&str; 2] = ["exec", "fork server"];

/// Points of `ipc-shm` that these tests use as well.
const BELOW: [&str; 2] = ["gate: changed", "gate: woke"];

pub(crate) fn context(method: &str) -> Context {
    if method == "exec" { Context::exec() } else { Context::fork_server() }
}

/// The points of all roles of which one of these is the beginning.
pub(crate) fn points(roles: &[&str]) -> impl Iterator<Item = &'static str> {
    POINTS.iter().copied().filter(move |point| roles.iter().any(|role| point.starts_with(role)))
}

pub(crate) fn crash_points() -> CrashPoints {
    CrashPoints::create(&[POINTS, &BELOW].concat()).unwrap()
}

/// How often each point is to be hit.
pub(crate) fn rounds(method: &str) -> u32 {
    let of_all = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 2_000,
        (false, true) => 10,
        (false, false) => 60,
    };
    if method == "exec" { of_all / 2 } else { of_all }
}

/// Starts this executable again, as a program whose processes obey these points.
pub(crate) fn program<F, A>(points: &CrashPoints, f: F, args: A) -> Child<F::Output>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let (name, value) = points.env().unwrap();
    Context::exec().builder().env(name, value).spawn(f, args).unwrap()
}

/// The points that a program obeys.
pub(crate) fn mine() -> CrashPoints {
    CrashPoints::of_this_process().unwrap()
}

/// Starts a child of such a program, which ends with it, also where the program fails.
pub(crate) fn start<F, A>(context: &Context, f: F, args: A) -> Child<F::Output>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    context.builder().daemon(true).spawn(f, args).unwrap()
}

/// All have been killed or get through; gives how many were killed.
#[track_caller]
pub(crate) fn all_end<T: Message>(children: Vec<Child<T>>) -> usize {
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

/// Takes the one out that has been killed, as soon as there is one.
#[track_caller]
pub(crate) fn bury<T: Message>(children: &mut Vec<Child<T>>) {
    let mut at = None;
    let died = wait_until(GENEROUS, || {
        at = children.iter().position(|child| !child.is_alive());
        at.is_some()
    });
    assert!(died, "nobody has died");
    let ended = children.swap_remove(at.unwrap()).join().err().unwrap();
    assert_eq!(ended.signal(), Some(Signal::KILL), "{ended}");
}
