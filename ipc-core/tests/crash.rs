//! Parents, fork servers and children, killed: at each named crash point and at random instants, by exec and over a fork server.
//!
//! `cargo xtask crash [--full] [--seed N]`, or `cargo test --test crash`. Each test starts programs (this executable
//! again), arms a point (`sys/crash.rs`) and looks at what is left: of a killed parent nothing, of a killed server
//! everything but the server, of a killed child an error that names SIGKILL, or the value, of a
//! killed listener its address, free. A point at which
//! nobody died fails its test; all kills are printed.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "crash/child.rs"]
mod child;
#[path = "crash/connection.rs"]
mod connection;
#[path = "crash/detached.rs"]
mod detached;
#[path = "crash/listener.rs"]
mod listener;
#[path = "crash/parent.rs"]
mod parent;
#[path = "crash/server.rs"]
mod server;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Child, Context, Function, Message};

/// The start methods, by the names that programs are told.
const METHODS: [&str; 2] = ["exec", "fork server"];

fn context(method: &str) -> Context {
    if method == "exec" { Context::exec() } else { Context::fork_server() }
}

/// The points of a role.
fn points(role: &str) -> impl Iterator<Item = &'static str> {
    POINTS.into_iter().filter(move |point| point.starts_with(role))
}

/// How often each point is to be hit by each method.
fn rounds() -> u32 {
    match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 5000,
        (false, true) => 20,
        (false, false) => 100,
    }
}

/// Starts this executable again, as a program whose processes obey these points.
fn program<F, A>(points: &CrashPoints, f: F, args: A) -> Child<F::Output>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let (name, value) = points.env().unwrap();
    Context::exec().builder().env(name, value).spawn(f, args).unwrap()
}

/// The points that a program obeys.
fn mine() -> CrashPoints {
    CrashPoints::of_this_process().unwrap()
}

/// A child that ends at once.
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// A child that stays.
fn stay() {
    loop {
        std::thread::park();
    }
}
