//! The two doors by which a child is entered: a constructor that runs before `main`, and [`init`].
//!
//! A child is an exec of the same program with a *marker* in its environment. With the feature `hook` (on by
//! default) a constructor in `.init_array` sees the marker and turns off: it removes the marker, does what
//! the program's start would still have done, runs the function that the parent names, and leaves. It never
//! goes on to `main`, so a program, a test harness, a doctest or a benchmark needs nothing to spawn.
//!
//! What the constructor does first, because the start of the program stops here:
//! - the constructors after it (C++ globals of statically linked libraries) are run, so that the function
//!   finds every library in working order; those before it have run;
//! - what Rust's runtime sets before `main`: SIGPIPE ignored, descriptors 0 to 2 open, an alternate
//!   signal stack with a handler that names a stack overflow.
//!
//! It does nothing in a program that runs with raised privileges (AT_SECURE: the environment is not its
//! own), and nothing when linked into a shared library.
//!
//! Without the feature, [`init`] as the first line of `main` is the same door. Either one leaves a record that it was
//! passed, and without that record nothing is spawned: a program that forgot the door would run its `main` in
//! every child, and spawn children there, for ever.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bootstrap;
use super::image::Image;
use super::leave;
use crate::error::Error;
use crate::sys;

/// The environment variable that marks a child: a layout version, the image's fingerprint, two descriptors.
pub(crate) const MARKER: &str = "IPC_CORE_CHILD";

static PASSED: AtomicBool = AtomicBool::new(false);

/// Enters a child where the feature `hook` is off; returns at once in a process that is no child.
///
/// Call it as the first line of `main`, before threads and before anything that a child must not repeat. In a child that
/// [`spawn`](crate::spawn) has started it does not return: it runs the function and ends the process. With
/// the feature `hook` on, children never reach it, and calling it is harmless.
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// fn main() {
///     ipc_core::init();
///     // the program
/// }
/// ```
pub fn init() {
    if sys::elf::is_secure() || !Image::this().is_program() {
        return;
    }
    PASSED.store(true, Ordering::Release);
    if let Some(inherited) = take_marker() {
        bootstrap::enter(inherited);
    }
}

/// Refuses to go on in a process where neither door was passed.
///
/// # Errors
/// [`Error::NoEntry`]; [`Error::Unsupported`] in a program with raised privileges.
pub(crate) fn check() -> Result<(), Error> {
    if PASSED.load(Ordering::Acquire) {
        return Ok(());
    }
    // A child would have the same privileges, and not be entered either.
    if sys::elf::is_secure() {
        return Err(Error::Unsupported {
            what: "starting a child".into(),
            why: "this program runs with privileges that its caller does not have (set-user-ID, set-group-ID, or \
                  capabilities of its file), so nothing in its environment is obeyed"
                .into(),
        });
    }
    // A shared library has no door at all, and the image says so better than "no entry" would.
    Image::this().verify()?;
    Err(Error::NoEntry)
}

/// What the constructor does; called by the C library before `main`, in every process of the program.
#[cfg(feature = "hook")]
pub(crate) fn constructor(run_the_other_constructors: impl FnOnce()) {
    if sys::elf::is_secure() || !Image::this().is_program() {
        return;
    }
    PASSED.store(true, Ordering::Release);
    let Some(inherited) = take_marker() else { return };
    run_the_other_constructors();
    sys::prepare::prepare(bootstrap::overflowed);
    bootstrap::enter(inherited);
}

/// Takes the marker out of the environment, and the two descriptors it names into possession.
fn take_marker() -> Option<bootstrap::Inherited> {
    if sys::elf::is_secure() {
        return None;
    }
    let marker = sys::environment::take(MARKER)?;
    let [control, lifeline] = parse(&marker)?;
    let adopt = |number| match sys::descriptor::adopt_inherited(number) {
        Ok(adopted) => adopted,
        // A child in all likelihood: it must not go on to `main`, and there is nobody whom it could tell.
        Err(_) => leave::at_once(1),
    };
    Some(bootstrap::Inherited { control: adopt(control)?, lifeline: adopt(lifeline)? })
}

/// The two descriptors that a marker names; `None` if it is somebody else's child's, who forwarded its environment.
pub(crate) fn parse(marker: &str) -> Option<[i32; 2]> {
    let mut parts = marker.split(':');
    if parts.next()? != VERSION || parts.next()?.parse() != Ok(Image::this().fingerprint()) {
        return None;
    }
    let [control, lifeline] = [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?];
    // Each is taken into possession, so one number cannot stand for both.
    (parts.next().is_none() && control >= 0 && lifeline >= 0 && control != lifeline)
        .then_some([control, lifeline])
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The marker for a child that inherits these descriptors.
pub(crate) fn marker(control: i32, lifeline: i32) -> String {
    format!("{MARKER}={VERSION}:{}:{control}:{lifeline}", Image::this().fingerprint())
}
