//! The frames on the control socket between a parent and one child.
//!
//! | frame | from | says |
//! |---|---|---|
//! | [`START`] | parent | become this ([`Start`]), then run this function with the arguments behind it |
//! | [`WHO`] | parent, then child | who are you? the child's pid; asked only when a fork server died before it could say |
//! | [`DETACH`] | parent | carries the parent's end of the lifeline; before [`START`] the child keeps it until it is detached, later nobody reads it |
//! | [`ENTERED`] | child | everything that [`Start`] asked for is done; sent only when [`Start::acknowledge`] |
//! | [`RESULT`] | child | the function returned; the body is its value |
//! | [`FAILED`] | child | there is no value, the body is a [`Failure`] |
//! | [`OVERFLOWED`] | child | there is no value, for the stack is used up; no body: a signal handler says it |
//!
//! A child sends at most one of the last three, as its last frame. A body of any size fits: a large one travels as
//! a memfd, so neither side ever waits for the other to read.

use std::io;

use serde::{Deserialize, Serialize};

use super::identity::Name;
use crate::error::{Call, Panic, hint};
use crate::process::current::Identity;
use crate::process::setup::Setup;

pub(crate) const START: u16 = 1;
pub(crate) const DETACH: u16 = 2;
pub(crate) const ENTERED: u16 = 3;
pub(crate) const RESULT: u16 = 4;
pub(crate) const FAILED: u16 = 5;
pub(crate) const WHO: u16 = 6;
pub(crate) const OVERFLOWED: u16 = 7;

/// Whether a frame could not be sent because the other side has closed its end, or is gone. With something unread there the kernel says
/// so once by ECONNRESET, else by EPIPE.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET))
}

/// What a child is to become before it runs its function.
///
/// The descriptors of the frame are in this order: those for the streams that are [`ChildStdio::Given`], those for
/// [`Start::numbers`], those inside the arguments, and one for log records if [`Start::logging`] says so.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    /// The function; `None` in a forked child, which has it in memory.
    pub(crate) function: Option<Name>,
    pub(crate) identity: Identity,
    pub(crate) setup: Setup,
    /// Standard input, output and error.
    pub(crate) stdio: [ChildStdio; 3],
    /// The numbers at which further descriptors are wanted.
    pub(crate) numbers: Vec<i32>,
    /// In a forked child that runs a closure: the numbers of the ties that the closure captured (`sys::private`).
    pub(crate) captured: Option<Vec<i32>>,
    pub(crate) acknowledge: bool,
    pub(crate) detached: bool,
    pub(crate) run_atexit: bool,
    /// What becomes of log records.
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(crate) logging: Option<crate::logging::Inherited>,
}

/// One of a child's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ChildStdio {
    /// What the child was born with.
    Keep,
    Null,
    /// A descriptor of the frame.
    Given,
}

/// Why there is no value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The function was not run: the child could not become what it should.
    Setup {
        step: String,
        errno: i32,
    },
    /// The function was not run: the start message was not understood.
    Start(String),
    /// The function was not run: its arguments could not be decoded.
    Arguments(String),
    Panicked(Panic),
    /// The function ran, and its value could not be encoded.
    Result(String),
    /// The function ran, and the system would not have its value sent.
    Reply {
        operation: String,
        errno: i32,
        hint: Option<String>,
    },
    /// The function has used up its stack, and is being killed.
    Overflow,
}

impl Failure {
    /// A value that the system would not have sent, with the limit of this process that was met.
    pub(crate) fn reply(operation: &str, error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(errno) => {
                Failure::Reply { operation: operation.into(), errno, hint: hint(Call::Reply, error) }
            }
            None => Failure::Result(format!("{operation}: {error}")),
        }
    }

    /// The exit code of a child that ends with this: Rust's own for a panic, 1 for the rest.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Failure::Panicked(_) => 101,
            // As a shell says it of who was killed by SIGSEGV.
            Failure::Overflow => 139,
            _ => 1,
        }
    }
}
