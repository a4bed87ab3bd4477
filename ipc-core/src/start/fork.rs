//! `Fork`: a copy of the calling process.
//!
//! The copy has every descriptor of the original, those of its siblings' lifelines included, and would keep its siblings
//! alive with them; so what belongs to this crate is taken away from it ([`sys::private`]).
//!
//! It has one thread, and every lock as it was at that moment: one that another thread held will never be released. Its
//! function is the caller's responsibility. What this crate itself does in it, before and after the function, takes these:
//!
//! | lock | how it is found free |
//! |---|---|
//! | std's standard output | held by the forking thread, and released in both |
//! | who this process is ([`current`]) | the same |
//! | the private descriptors ([`sys::private`]) | the same |
//! | the open spans of `tracing`, in a child that relays them | the same |
//! | std's panic hook | not set in the child, but before the fork |
//! | what is made once in a process (`OnceLock`: image, switches, default context) | made before the fork |
//! | children, hooks, relay, fork servers | every process has its own ([`sys::fork_local`]) |
//! | the allocator, the C library's streams | the C library's `fork` sees to them |
//! | std's standard error, input and environment; those of a single handle of a child | not taken |
//!
//! A child that *panics* asks std for a backtrace and for the hook, under locks that nobody else can hold still: if another thread of the
//! parent was reporting a panic, or setting a hook, at that very moment, the child's report waits for ever.

use std::io::StdoutLock;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::MutexGuard;

use super::{Context, Cradle, Newborn, as_this_process};
use crate::entry::bootstrap::{self, InMemory, Inherited};
use crate::entry::image::Image;
use crate::entry::{hook, panics};
use crate::error::{Call, Error, Ran, Result};
use crate::process::current;
use crate::process::setup::Setup;
use crate::{lifeline, sys};

/// A child that is a copy of this process, and waits for its start message. It keeps no copies of these descriptors, which are what
/// that message will bring it.
pub(crate) fn newborn(args: &[OwnedFd]) -> Result<(Newborn, Setup)> {
    copy(None, args).map(|(newborn, setup, _)| (newborn, setup))
}

/// A child that is a copy of this process, and runs `function` once it is told what else to be.
/// Also gives what it keeps by that (`Start::captured`).
pub(crate) fn newborn_with(function: InMemory) -> Result<(Newborn, Setup, Vec<RawFd>)> {
    copy(Some(function), &[])
}

fn copy(function: Option<InMemory>, args: &[OwnedFd]) -> Result<(Newborn, Setup, Vec<RawFd>)> {
    if std::thread::panicking() {
        return Err(Error::Unsupported {
            what: "forking a child while the thread panics".into(),
            why: "the child would be born panicking, and its first panic would abort it".into(),
        });
    }
    if function.is_none() {
        hook::check()?;
    }
    let setup = as_this_process()?;
    let Cradle { ours, theirs } = Cradle::new()?;
    let held = Held::new();
    let own = [theirs.control.as_fd(), theirs.lifeline.as_fd()];
    let forked = sys::private::fork_without(
        sys::private::Keeps { own: &own, captured: function.is_some(), not: args },
        // SAFETY: whoever made the `Context` or called `Builder::fork` has vouched for what the child runs. What this crate
        // itself runs there takes no lock that another thread can have held: see the table above.
        || unsafe { sys::clone::fork() },
        |e| bootstrap::refuse(theirs.control.as_fd(), "taking its parent's descriptors away", e),
    );
    drop(held);
    match forked {
        Ok(Some(born)) => {
            lifeline::arm_newborn(theirs.lifeline.as_fd(), born.pid);
            let captured = sys::private::leave_to_a_copy(function);
            Ok((ours.into_newborn(born, true), setup, captured))
        }
        Ok(None) => {
            sys::process::set_cloned();
            drop(ours);
            bootstrap::close_own();
            let inherited = Inherited { control: theirs.control.into(), lifeline: theirs.lifeline.into() };
            match function {
                Some(function) => bootstrap::enter_with(inherited, function),
                None => bootstrap::enter(inherited),
            }
        }
        Err((call, e)) => {
            let failed = format!("could not start a child: {call}");
            Err(Error::os_in(Call::Process, failed, e).with_ran(Ran::DidNotRun))
        }
    }
}

/// The locks of the table that are held during a fork.
#[expect(dead_code, reason = "held")]
struct Held {
    stdout: StdoutLock<'static>,
    me: MutexGuard<'static, Option<current::Identity>>,
    #[cfg(feature = "tracing")]
    spans: crate::logging::Held,
}

impl Held {
    /// Readies this process for a fork. Standard output comes first: who has it may want the others, nobody wants it who has one
    /// of them.
    fn new() -> Held {
        panics::install();
        Image::this();
        sys::switch::is_off("");
        Context::default();
        Held {
            stdout: sys::runtime::flush_before_copy(),
            me: current::lock(),
            #[cfg(feature = "tracing")]
            spans: crate::logging::hold(),
        }
    }
}
