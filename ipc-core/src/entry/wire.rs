//! The frames on the control socket between a parent and one child.
//!
//! | frame | from | says |
//! |---|---|---|
//! | [`START`] | parent | become this ([`Start`]), then run this function with the arguments behind it |
//! | [`WHO`] | parent, then child | who are you? the child's pid; asked only when a fork server died before it could say |
//! | [`DETACH`] | parent | carries the parent's end of the lifeline; nobody reads it, see `Child::detach` |
//! | [`ENTERED`] | child | everything that [`Start`] asked for is done; sent only when [`Start::acknowledge`] |
//! | [`RESULT`] | child | the function returned; the body is its value |
//! | [`FAILED`] | child | there is no value, the body is a [`Failure`] |
//!
//! A child sends at most one of the last two, as its last frame. A body of any size fits: a large one travels as
//! a memfd, so neither side ever waits for the other to read.

use serde::{Deserialize, Serialize};

use super::identity::Name;
use crate::error::Panic;
use crate::process::current::Identity;
use crate::process::setup::Setup;

pub(crate) const START: u16 = 1;
pub(crate) const DETACH: u16 = 2;
pub(crate) const ENTERED: u16 = 3;
pub(crate) const RESULT: u16 = 4;
pub(crate) const FAILED: u16 = 5;
pub(crate) const WHO: u16 = 6;

/// What a child is to become before it runs its function.
///
/// The descriptors of the frame are in this order: those for the streams that are [`ChildStdio::Given`], those for
/// [`Start::numbers`], those inside the arguments.
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
    pub(crate) acknowledge: bool,
    pub(crate) detached: bool,
    pub(crate) run_atexit: bool,
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
#[derive(Debug, Serialize, Deserialize)]
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
}

impl Failure {
    /// The exit code of a child that ends with this: Rust's own for a panic, 1 for the rest.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Failure::Panicked(_) => 101,
            _ => 1,
        }
    }
}
