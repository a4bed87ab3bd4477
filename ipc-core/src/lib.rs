//! Run a function in another process.
//!
//! [`spawn`] takes a function and a tuple of arguments and returns a typed handle; joining it gives the function's value, or
//! an error that says what happened: panicked (message, place, backtrace), left with an exit code, killed by a signal, never
//! started. It works in `main`, in tests, doctests and benchmarks, with nothing to set up.
//!
//! ```
//! use ipc_core::spawn;
//!
//! fn greet(name: String) -> usize {
//!     println!("{} says hello to {name}", std::process::id());
//!     name.len()
//! }
//!
//! fn main() -> ipc_core::Result<()> {
//!     let children: Vec<_> = (0..10).map(|i| spawn(greet, (format!("p{i}"),))).collect::<Result<_, _>>()?;
//!     for child in children {
//!         assert_eq!(child.join()?, 2);
//!     }
//!     let crash = spawn(|code: u32| if code != 0 { std::process::abort() }, (6,))?;
//!     assert_eq!(crash.join().unwrap_err().signal(), Some(ipc_core::Signal::ABORT));
//!     Ok(())
//! }
//! ```
//!
//! # What it is for
//!
//! Processes instead of threads: to contain code that crashes, leaks or is not thread-safe, to give each worker limits of its
//! own, to go on when one part dies.
//!
//! # What can be sent
//!
//! - **Functions**: function items and closures that capture nothing, of up to twelve arguments; anything else is refused at compile
//!   time ([`Function`]). [`Builder::fork`] takes closures that capture.
//! - **Values**: what serde can carry ([`Message`]). Byte blocks go fastest as [`Bytes`]; files, sockets and other descriptors go
//!   inside values as [`Descriptor`] or by [`as_descriptor`].
//!
//! # Death is an ordinary event
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | a child | its parent: the handle's descriptor is ready, `join` returns | the error names the signal; nothing is left behind |
//! | a parent | the kernel, for each of its children | they are killed within a millisecond, and their children with them, unless detached |
//! | the fork server | its client at the next spawn | running children are unaffected, another server is started |
//!
//! # Start methods
//!
//! A [`Context`] says how children come into being; the default is a fork server, see there. Where it cannot be had,
//! children are executed instead, and [`Context::fallback`] says why.
//!
//! # How a child is entered
//!
//! A child is this same program, started again; a constructor notices before `main` and runs the function instead (the feature
//! `hook`, on by default). Without the feature, call [`init`] first in `main`. Nothing is spawned in a program that has
//! neither: that is [`Error::NoEntry`]. libtest's capturing of output does not reach children: their output goes to
//! the real streams, unless it is [piped](Stdio::piped).
//!
//! # Limits
//!
//! Linux 5.4 or later, 64 bit, glibc; musl should build and is unverified. A child needs three descriptors in its parent.
//! Processes of one program trust each other not to forge messages on their private sockets; nothing read from one can call
//! anything but a function of the program, though.

/// A place where a crash test can have the process killed (`sys/crash.rs`); nothing without the feature `crash-points`.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::reached(const { crate::sys::crash::place($name) });
    };
}

mod entry;
mod error;
mod lifeline;
mod message;
mod poll;
pub mod primitive;
mod process;
mod start;
mod sys;

pub use entry::{Function, Message, init};
pub use error::{ChildId, Error, Location, Panic, Ran, Result};
pub use message::bytes::Bytes;
pub use message::codec;
pub use message::descriptors::{Descriptor, as_descriptor};
pub use process::builder::Builder;
pub use process::child::{ActiveChild, Child, CloseError};
pub use process::current::{AuthKey, Current, current};
pub use process::exit::ExitStatus;
pub use process::family::active_children;
pub use process::hooks::{ExitHook, after_fork, at_exit};
pub use process::parallelism::available_parallelism;
pub use process::parent::{Parent, parent};
pub use process::resource::Resource;
pub use process::signal::Signal;
pub use process::spawn_error::SpawnError;
pub use process::stdio::{Line, Stdio, Stream};
pub use start::{Context, StartMethod};

/// Runs `f(args…)` in another process, over the program's shared fork server.
///
/// ```
/// let child = ipc_core::spawn(|words: Vec<String>| words.concat(), (vec!["a".into(), "b".into()],))?;
/// assert_eq!(child.join()?, "ab");
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// A closure that captures is refused when it is compiled:
///
/// ```compile_fail
/// let n = 5;
/// ipc_core::spawn(move || n + 1, ());
/// ```
///
/// # Errors
/// As [`Builder::spawn`]: nothing was run, and the arguments come back.
pub fn spawn<F, A>(f: F, args: A) -> Result<Child<F::Output>, SpawnError<A>>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    Builder::new().spawn(f, args)
}

#[doc(hidden)]
pub mod fuzzing;

/// The places where `tests/crash.rs` has processes killed: no part of this crate's interface.
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub mod crash {
    pub use crate::sys::crash::{CrashPoints, POINTS};
}

/// What `tests/loom.rs` checks: no part of this crate's interface.
#[doc(hidden)]
pub mod modelled {
    pub use crate::process::exit::ExitStatus;
    pub use crate::process::ledger::{Ledger, Mail, Receipt, Source as MailSource};
    pub use crate::process::registry::{Member, Registry};
    pub use crate::start::supply::{Source, Supply};

    /// A status as the kernel gives it; `None` for unknown.
    pub fn status(wait_status: Option<i32>) -> ExitStatus {
        wait_status.and_then(ExitStatus::from_wait_status).unwrap_or(ExitStatus::unknown())
    }
}
