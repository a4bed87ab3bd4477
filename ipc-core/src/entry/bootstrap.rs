//! A child's life: wait to be told what to be, become that, run, report, leave.
//!
//! Every start method ends here with the same two descriptors, so everything after birth is one path: a
//! child that was exec'd, one that a fork server cloned (perhaps long before it was asked for), and one
//! that was forked receive the same [`Start`].
//!
//! | state | left by | if the parent dies here |
//! |---|---|---|
//! | born | lifeline armed | end of file on the control socket |
//! | waiting | a start message, or end of file | killed through the lifeline |
//! | becoming | setup done (or failed: reported, leaves with 1) | killed |
//! | running | the function returned or panicked | killed |
//! | leaving | exit hooks run, children joined, streams flushed | killed |
//!
//! A detached child is not killed: from *becoming* on it goes on alone, and its report falls on deaf ears.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Resource, getrlimit};

use super::identity::Outcome;
#[cfg(feature = "hook")]
use super::last_words::LastWords;
use super::leave;
use super::panics;
use super::wire::{self, ChildStdio, Failure, Start};
use crate::error::{Call, Error, Ran, Result, hint};
use crate::lifeline;
use crate::message::descriptors::{self, Encoded};
use crate::message::packet::{self, Begun, Received};
use crate::process::{current, hooks};
use crate::sys;
use crate::sys::fork_local::ForkLocal;

/// What a child says that has used up its stack, ready for its signal handler.
#[cfg(feature = "hook")]
static LAST_WORDS: LastWords = LastWords::new();

/// What a child is born with.
pub(crate) struct Inherited {
    pub(crate) control: OwnedFd,
    pub(crate) lifeline: OwnedFd,
}

/// The function of a forked child, which needs no name.
pub(crate) type InMemory = Box<dyn FnOnce() -> Outcome>;

/// The control socket and lifeline of this process, for a clone of it to close.
static OWN: [AtomicI32; 2] = [AtomicI32::new(-1), AtomicI32::new(-1)];

/// Made where the lifeline ends this process: not in the first process of a program, and in a detached child.
static TIED: ForkLocal<()> = ForkLocal::new();

/// Control socket and lifeline of this process, if it ends with its parent. (A copy that other code has forked has the descriptors
/// too, but they are not about it.)
pub(crate) fn tied_by() -> Option<[BorrowedFd<'static>; 2]> {
    TIED.get()?;
    let [control, lifeline] = &OWN;
    Some([sys::descriptor::own(control)?, sys::descriptor::own(lifeline)?])
}

/// A child's life from the first to the last, where it was exec'd or cloned.
pub(crate) fn enter(inherited: Inherited) -> ! {
    contained(|| live(inherited, None))
}

/// A child's life where it was forked and the function stands in its memory.
pub(crate) fn enter_with(inherited: Inherited, function: InMemory) -> ! {
    contained(|| live(inherited, Some(function)))
}

/// Nothing may unwind out of a child: above it, in a copy, are the frames of another process.
fn contained(life: impl FnOnce() -> std::convert::Infallible) -> ! {
    panics::contain(|| match life() {});
    leave::at_once(101)
}

/// Closes what a process that was just cloned from this child must not keep.
pub(crate) fn close_own() {
    for own in &OWN {
        sys::descriptor::close_raw(own.swap(-1, Ordering::Relaxed));
    }
}

fn live(inherited: Inherited, in_memory: Option<InMemory>) -> std::convert::Infallible {
    let Inherited { control, lifeline } = inherited;
    crash_point!("child: born");
    // If that fails, the parent's death still is the end of its socket; and there is somebody to tell once it has spoken.
    let tied = lifeline::arm(lifeline.as_fd());
    crash_point!("child: tied");
    // The parent's end of the lifeline, where it is not to end this child: kept until this child has let go of its own.
    let mut parents_end = Vec::new();
    let frame = loop {
        match packet::recv(control.as_fd()) {
            Ok(Received::Frame(frame)) if frame.kind == wire::START => break frame,
            Ok(Received::Frame(frame)) if frame.kind == wire::DETACH => parents_end = frame.descriptors,
            Ok(Received::Frame(frame)) if frame.kind == wire::WHO => {
                crash_point!("newborn: asked");
                let pid = std::process::id().to_le_bytes();
                if packet::send(control.as_fd(), wire::WHO, &[&pid], &[]).is_err() {
                    leave::at_once(1);
                }
            }
            // What was sent does not fit into this process: more descriptors than it may have, say.
            Err(why @ crate::message::Error::DescriptorsLost { .. }) => {
                report(&control, &Failure::Start(format!("its start message: {why}")), false)
            }
            Err(e) => report(&control, &Failure::Start(format!("its start message: {e}")), false),
            _ => leave::at_once(1), // the parent died or gave this child up before it was told anything
        }
    };
    crash_point!("child: told");
    if let Err(e) = tied {
        report(&control, &setup_failure("arming the lifeline", &e), false);
    }
    let Parts { start, args, placed, mut for_args } = match split(&frame.body, frame.descriptors) {
        Ok(parts) => parts,
        Err(why) => report(&control, &Failure::Start(why), false),
    };
    let run_atexit = start.run_atexit;
    let function = start.function;
    if let Some(captured) = &start.captured
        && let Err(e) = sys::private::keep_only(captured)
    {
        report(&control, &setup_failure("taking its parent's descriptors away", &e), run_atexit);
    }
    let (acknowledge, detached) = (start.acknowledge, start.detached);
    #[cfg(any(feature = "log", feature = "tracing"))]
    let logging = start.logging;
    let (control, _lifeline) = match become_what(start, placed, &mut for_args, control, lifeline) {
        Ok(own) => own,
        Err((control, failure)) => report(&control, &failure, run_atexit),
    };
    drop(parents_end);
    #[cfg(any(feature = "log", feature = "tracing"))]
    if let Some(inherited) = logging {
        // It came last.
        let sender = if inherited.relayed { for_args.pop() } else { None };
        crate::logging::adopt(inherited, sender);
    }
    crash_point!("child: set up");
    if acknowledge && let Err(e) = packet::send(control.as_fd(), wire::ENTERED, &[], &[]) {
        // A detached child is on its own already, and its parent may be gone.
        if !(detached && wire::is_gone(&e)) {
            report(&control, &setup_failure("telling its parent so", &e), run_atexit);
        }
    }
    if sys::process::was_cloned() {
        hooks::run_after_fork();
    }
    panics::install();
    crash_point!("child: about to call");
    let outcome = match (in_memory, function) {
        (Some(function), _) => function(),
        (None, Some(name)) => match name.resolve() {
            Ok(entry) => on_fresh_keys(|| entry.call(args, for_args)),
            Err(why) => Err(Failure::Start(why)),
        },
        (None, None) => Err(Failure::Start("the start message names no function".into())),
    };
    crash_point!("child: returned");
    match outcome {
        Ok(value) => {
            let borrowed: Vec<_> = value.descriptors.iter().map(AsFd::as_fd).collect();
            match packet::send(control.as_fd(), wire::RESULT, &[&value.body], &borrowed) {
                Ok(()) => {
                    crash_point!("child: reported");
                    leave::now(0, run_atexit)
                }
                // Nobody is there to read it: the handle was dropped or detached, which is the parent's right.
                Err(e) if wire::is_gone(&e) => leave::now(0, run_atexit),
                Err(e) => report(&control, &Failure::reply("sending it", &e), run_atexit),
            }
        }
        Err(failure) => report(&control, &failure, run_atexit),
    }
}

/// Runs user code where no cached random keys can be shared with siblings: after a preload in the fork server, on a fresh
/// thread (std keeps the keys of its hash maps for each thread, and so do the usual random generators).
fn on_fresh_keys(call: impl FnOnce() -> Outcome + Send) -> Outcome {
    if !crate::start::fork_server::server::preloaded() {
        return call();
    }
    let name = current::current().name();
    std::thread::scope(|scope| match std::thread::Builder::new().name(name).spawn_scoped(scope, call) {
        Ok(thread) => thread.join().unwrap_or_else(|_| {
            Err(Failure::Start("the thread of the function ended by a panic outside the function".into()))
        }),
        Err(e) => {
            let hint = hint(Call::Thread, &e).map(|hint| format!("; {hint}")).unwrap_or_default();
            Err(Failure::Start(format!("no thread for the function: {e}{hint}")))
        }
    })
}

/// Takes a start message apart: the head's length, the head, the arguments; then the descriptors to be placed, with their
/// numbers, and those of the arguments.
fn split(body: &[u8], descriptors: Vec<OwnedFd>) -> std::result::Result<Parts<'_>, String> {
    let short = || "the start message is too short".to_string();
    let (length, rest) = body.split_first_chunk::<4>().ok_or_else(short)?;
    let (head, args) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
    let start: Start =
        descriptors::decode(head, Vec::new()).map_err(|e| format!("the start message: {e}"))?;
    let streams =
        (0..).zip(start.stdio).filter(|(_, stream)| *stream == ChildStdio::Given).map(|(number, _)| number);
    let numbers: Vec<i32> = streams.chain(start.numbers.iter().copied()).collect();
    let mut given = descriptors;
    if given.len() < numbers.len() {
        return Err("the start message lacks descriptors".into());
    }
    let for_args = given.split_off(numbers.len());
    Ok(Parts { start, args, placed: numbers.into_iter().zip(given).collect(), for_args })
}

/// Takes a start message apart, and looks its function up, as a child does; and no more. For the fuzzer.
pub(crate) fn look_at(body: &[u8], descriptors: Vec<OwnedFd>) -> std::result::Result<(usize, usize), String> {
    let parts = split(body, descriptors)?;
    match parts.start.function {
        Some(name) => name.resolve()?,
        None => return Err("the start message names no function".into()),
    };
    Ok((parts.placed.len(), parts.for_args.len()))
}

struct Parts<'a> {
    start: Start,
    args: &'a [u8],
    /// Descriptors for the streams and at chosen numbers.
    placed: Vec<(i32, OwnedFd)>,
    for_args: Vec<OwnedFd>,
}

/// Sends a child its start message: the head, then the arguments, as [`split`] takes them apart. `placed` are the descriptors
/// for streams and chosen numbers, `records` is where log records go.
pub(crate) fn send_start(
    control: BorrowedFd<'_>,
    start: &Start,
    placed: &[BorrowedFd<'_>],
    args: &Encoded,
    records: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let head = descriptors::encode(start)
        .map_err(|e| Error::encode("the start message", e).with_ran(Ran::DidNotRun))?;
    let length = (head.body.len() as u32).to_le_bytes();
    let mut descriptors = placed.to_vec();
    descriptors.extend(args.descriptors.iter().map(AsFd::as_fd).chain(records));
    packet::send(control, wire::START, &[&length, &head.body, &args.body], &descriptors)
        .map_err(|e| Error::os("could not start a child: sending its arguments", e).with_ran(Ran::DidNotRun))
}

/// Becomes what the parent asked for, and returns what the child keeps of its own.
fn become_what(
    start: Start,
    mut placed: Vec<(i32, OwnedFd)>,
    for_args: &mut Vec<OwnedFd>,
    control: OwnedFd,
    lifeline: OwnedFd,
) -> std::result::Result<(OwnedFd, OwnedFd), (OwnedFd, Failure)> {
    for (number, stream) in (0..).zip(start.stdio) {
        if stream == ChildStdio::Null {
            match sys::descriptor::open_null() {
                Ok(null) => placed.push((number, null)),
                Err(e) => return Err((control, setup_failure("opening /dev/null", &e))),
            }
        }
    }
    let numbers: Vec<i32> = placed.iter().map(|(number, _)| *number).collect();
    // Whatever of ours stands on a wanted number moves away before anything is placed.
    let control = match sys::descriptor::move_off(control, &numbers) {
        Ok(control) => control,
        Err((control, e)) => return Err((control, setup_failure("moving descriptors", &e))),
    };
    let lifeline = match sys::descriptor::move_off(lifeline, &numbers) {
        Ok(lifeline) => lifeline,
        Err((_, e)) => return Err((control, setup_failure("moving descriptors", &e))),
    };
    let moved: std::io::Result<Vec<OwnedFd>> =
        for_args.drain(..).map(|own| sys::descriptor::move_off(own, &numbers).map_err(|(_, e)| e)).collect();
    match moved {
        Ok(moved) => *for_args = moved,
        Err(e) => return Err((control, setup_failure("moving descriptors", &e))),
    }
    for (own, number) in OWN.iter().zip([control.as_raw_fd(), lifeline.as_raw_fd()]) {
        own.store(number, Ordering::Relaxed);
    }
    if let Err((number, e)) = sys::descriptor::place(placed) {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        let step = format!("have a descriptor at the number {number} (RLIMIT_NOFILE is {limit})");
        return Err((control, setup_failure(&step, &e)));
    }
    #[cfg(feature = "hook")]
    LAST_WORDS.set(&start.identity.name);
    current::become_child(start.identity);
    let new_user = start.setup.uid.is_some();
    debug_assert!(start.setup.environment.is_none() || sys::process::was_cloned());
    // SAFETY: only an environment needs a single thread, and only a copy is sent one: it has one thread, for before its start
    // message it runs nothing but this. An executed child has its environment from `exec`, and may have threads that constructors
    // have started: for it nothing here touches more than the kernel's state and this thread's.
    if let Err(failed) = unsafe { start.setup.apply() } {
        return Err((control, Failure::Setup { step: failed.step, errno: failed.errno }));
    }
    let tied = if start.detached {
        lifeline::disarm(lifeline.as_fd())
    } else if new_user {
        // The kernel compares the credentials of whoever armed it with the signal's target.
        lifeline::arm(lifeline.as_fd())
    } else {
        Ok(())
    };
    if !start.detached {
        TIED.get_or_make(|| ());
    }
    match tied {
        Ok(()) => Ok((control, lifeline)),
        Err(e) => Err((control, setup_failure("arming the lifeline", &e))),
    }
}

/// Names this child on standard error and tells its parent: in a signal handler, so neither allocates or locks.
#[cfg(feature = "hook")]
pub(crate) fn overflowed() {
    LAST_WORDS.say();
    if let Some(control) = sys::descriptor::own(&OWN[0]) {
        let _ = packet::send(control, wire::OVERFLOWED, &[], &[]);
    }
}

fn setup_failure(step: &str, error: &std::io::Error) -> Failure {
    Failure::Setup { step: step.into(), errno: error.raw_os_error().unwrap_or(0) }
}

/// Reports why there is no value, and leaves.
fn report(control: &OwnedFd, failure: &Failure, run_atexit: bool) -> ! {
    send_failure(control.as_fd(), failure);
    leave::now(failure.exit_code(), run_atexit)
}

pub(crate) fn send_failure(control: BorrowedFd<'_>, failure: &Failure) {
    if let Ok(encoded) = descriptors::encode(failure) {
        // If the parent is gone there is nobody to tell, and the exit code says the rest.
        let _ = packet::send(control, wire::FAILED, &[&encoded.body], &[]);
    }
}

/// Reports a step that failed in a child before it came to [`enter`].
pub(crate) fn refuse(control: BorrowedFd<'_>, step: &str, error: &std::io::Error) {
    send_failure(control, &setup_failure(step, error));
}

/// What a child has said that ended before it ran anything.
pub(crate) fn refusal(control: BorrowedFd<'_>) -> Option<Failure> {
    match packet::try_recv(control, &mut Begun::default()) {
        Ok(Received::Frame(frame)) if frame.kind == wire::FAILED => {
            descriptors::decode(&frame.body, frame.descriptors).ok()
        }
        _ => None,
    }
}

/// Reports a panic that aborts this process: there is no way back to [`live`] from it.
#[cfg(panic = "abort")]
pub(crate) fn report_panic(panic: crate::error::Panic) {
    if let Some(control) = sys::descriptor::own(&OWN[0]) {
        send_failure(control.as_fd(), &Failure::Panicked(panic));
    }
}

#[cfg(test)]
mod tests;
