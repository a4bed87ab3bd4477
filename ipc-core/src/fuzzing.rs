//! What this crate's own fuzz targets and property tests reach: no part of its interface.
//!
//! Everything that a process takes from another one passes through here: what stands in its environment ([`parse_marker`]), what it
//! is told to become ([`start`]), and what its children send ([`received`]). Nothing is called, and no process is made.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

pub use crate::connection::{auth, stream};
pub use crate::message::descriptors::{Encoded, decode, encode};
pub use crate::message::{Error, packet};

use crate::Function;
use crate::entry::identity::Name;
use crate::entry::wire::{ChildStdio, Failure, Start};
use crate::entry::{Message, bootstrap, hook, wire};
use crate::primitive::sync::Arc;
use crate::process::child::Child;
use crate::process::ledger::Ledger;
use crate::process::life::{Body, Life, Pipes};
use crate::process::{current, setup::Setup};
use crate::sys::incarnation::Incarnation;

/// The kinds of frames between parent and child.
pub const KINDS: [u16; 6] = [wire::START, wire::DETACH, wire::ENTERED, wire::RESULT, wire::FAILED, wire::WHO];

/// The same call with other arguments, well-formed or not.
pub fn altered_call(
    mut call: crate::registry::Call,
    args: &[u8],
    descriptors: Vec<OwnedFd>,
) -> crate::registry::Call {
    call.args = crate::message::packed::Packed::from_parts(args.to_vec(), descriptors);
    call
}

/// The two descriptors that the text of a marker names.
pub fn parse_marker(text: &str) -> Option<[i32; 2]> {
    hook::parse(text)
}

/// The text of a marker.
pub fn marker(control: i32, lifeline: i32) -> String {
    let variable = hook::marker(control, lifeline);
    variable.split_once('=').map(|(_, text)| text.to_owned()).unwrap_or_default()
}

/// The body of a start message whose function is named as `f` is, but for what is added to its place and flipped in its hashes.
pub fn start_message<F, A>(f: F, offset: u64, types: u64, image: u64, numbers: Vec<i32>, given: u8) -> Vec<u8>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let kind = |stream: u8| match given >> (2 * stream) & 3 {
        0 => ChildStdio::Null,
        1 => ChildStdio::Given,
        _ => ChildStdio::Keep,
    };
    let start = Start {
        function: Some(Name::of(f).altered(offset, types, image)),
        identity: current::identity_of_helper("fuzzed"),
        setup: Setup::default(),
        stdio: [kind(0), kind(1), kind(2)],
        numbers,
        captured: None,
        acknowledge: given & 64 != 0,
        detached: given & 128 != 0,
        run_atexit: false,
        #[cfg(any(feature = "log", feature = "tracing"))]
        logging: None,
    };
    // A `Start` holds nothing that could not be encoded.
    let head = encode(&start).map(|encoded| encoded.body).unwrap_or_default();
    [&(head.len() as u32).to_le_bytes(), &head[..]].concat()
}

/// Takes a start message apart and looks its function up, which is not called. Gives how many descriptors are for streams and
/// numbers, and how many for the arguments.
///
/// # Errors
/// In words: the message is not understood, or names no function of this program.
pub fn start(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<(usize, usize), String> {
    bootstrap::look_at(body, descriptors)
}

/// A child's report of a failure, by number.
pub fn failure(which: u8, text: &str, errno: i32) -> Vec<u8> {
    let failure = match which % 7 {
        0 => Failure::Setup { step: text.into(), errno },
        1 => Failure::Start(text.into()),
        2 => Failure::Arguments(text.into()),
        3 => Failure::Panicked(crate::Panic {
            message: text.into(),
            location: None,
            backtrace: String::new(),
            thread: None,
        }),
        4 => Failure::Result(text.into()),
        5 => Failure::Overflow,
        _ => Failure::Reply { operation: text.into(), errno, hint: Some(text.into()) },
    };
    encode(&failure).map(|encoded| encoded.body).unwrap_or_default()
}

/// What a parent makes of all that a child has sent on `control`, as spawn with a wish and then join do. The child is one
/// that has ended, nobody knows how.
///
/// # Errors
/// As [`Child::join`].
pub fn received<T: Message>(control: OwnedFd, no_process: OwnedFd) -> crate::Result<T> {
    let life = Arc::new(Life {
        name: Mutex::new("fuzzed".into()),
        pid: 0,
        owner: Incarnation::this(),
        parent: std::process::id(),
        daemon: false,
        detached: AtomicBool::new(false),
        body: Body::Process {
            pidfd: no_process.into(),
            control: control.into(),
            begun: Mutex::default(),
            lifeline: Mutex::new(None),
        },
        ledger: Ledger::new(),
        pipes: Mutex::new(Pipes::default()),
        relayed: Vec::new(),
        server: None,
    });
    life.wait_entered()?;
    match life.setup_failure() {
        Some(failed) => Err(failed),
        None => Child::new(life).join(),
    }
}
