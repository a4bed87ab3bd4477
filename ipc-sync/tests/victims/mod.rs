//! What crash tests of this crate have in common: programs whose processes die at points, and what becomes of them.

#![allow(dead_code, reason = "each test uses its part")]

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Child, Context, Function, Message, Signal};
use ipc_testkit::{GENEROUS, wait_until};

/// The start methods, by the names that programs are told.
pub(crate) const METHODS: [&str; 2] = ["exec", "fork server"];

pub(crate) fn context(method: &str) -> Context {
    if method == "exec" { Context::exec() } else { Context::fork_server() }
}

/// The points of these roles, of this crate and of the gate below it.
pub(crate) fn points(roles: &[&str]) -> Vec<&'static str> {
    let of_gate = ipc_shm::modelled::POINTS.into_iter().filter(|point| point.starts_with("gate"));
    let all = of_gate.chain(ipc_sync::modelled::POINTS.iter().copied());
    all.filter(|point| roles.iter().any(|role| point.starts_with(role))).collect()
}

/// A page for all points of this crate and of the one below it that tests arm.
pub(crate) fn crash_points() -> CrashPoints {
    let below = ["gate: changed", "gate: woke"];
    CrashPoints::create(&[ipc_sync::modelled::POINTS, &below].concat()).unwrap()
}

/// How often each point is to be hit: executed children cost several times as much.
pub(crate) fn rounds(method: &str) -> u32 {
    let of_all = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 5_000,
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

/// Has been killed.
#[track_caller]
pub(crate) fn bury<T: Message>(child: Child<T>) {
    assert!(wait_until(GENEROUS, || !child.is_alive()), "nobody has died");
    let ended = child.join().err().unwrap();
    assert_eq!(ended.signal(), Some(Signal::KILL), "{ended}");
}

/// Takes the one out that has been killed, as soon as there is one.
#[track_caller]
pub(crate) fn bury_one_of<T: Message>(children: &mut Vec<Child<T>>) {
    let mut at = None;
    let died = wait_until(GENEROUS, || {
        at = children.iter().position(|child| !child.is_alive());
        at.is_some()
    });
    assert!(died, "nobody has died");
    bury(children.swap_remove(at.unwrap()));
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

/// Kills it.
pub(crate) fn end<T: Message>(child: Child<T>) {
    child.kill().unwrap();
    bury(child);
}

/// Whether a process sleeps on a word.
pub(crate) fn sleeps(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("futex"))
}
