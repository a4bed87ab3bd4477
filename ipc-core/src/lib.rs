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
//! # Connections
//!
//! [`pipe`] and [`duplex`] give typed ends that travel inside values. A [`Listener`] is found by its address, also by programs that were
//! built apart; who [`connect`]s must have its key. [`wait`] waits for many ends, listeners and children at once. What carries what, and what
//! each death leaves: [`connection`].
//!
//! # What can be sent
//!
//! - **Functions**: function items and closures that capture nothing, of up to twelve arguments; anything else is refused when
//!   the program is built ([`Function`]). [`Builder::fork`] takes closures that capture.
//! - **Values**: what serde can carry ([`Message`], but nothing `untagged`: see there). Byte blocks go fastest as [`Bytes`]; files, sockets and other descriptors go
//!   inside values as [`Descriptor`] or by [`as_descriptor`].
//!
//! # Death is an ordinary event
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | a child | its parent: the handle's descriptor is ready, `join` returns | the error names the signal; nothing is left behind |
//! | a parent | the kernel, for each of its children | they are killed within a millisecond, and their children with them, unless detached |
//! | the other end of a connection | whoever receives or sends | an error that says so, after all that was sent before |
//! | a listener | its clients | an error; the next listener can have the address at once |
//! | the fork server | its client at the next spawn | running children are unaffected, another server is started |
//!
//! # Start methods
//!
//! A [`Context`] says how children come into being; the default is a fork server. [`StartMethod`] compares the ways: what each costs, and
//! what memory the child has. Where a fork server cannot be had, children are executed instead, and [`Context::fallback`] says why.
//!
//! # Waiting for a time
//!
//! What waits for ever mostly has forms that do not: `…_timeout`, `…_deadline`, and `try_…` for no time at all. When the time is over:
//!
//! | what it does | then | for example |
//! |---|---|---|
//! | hands something out | `Ok(None)` | [`Child::join_timeout`], [`Child::wait_timeout`], [`Receiver::recv_timeout`], [`Listener::accept_timeout`] |
//! | only waits | `Ok(false)`, or an empty list | [`Parent::join_timeout`], [`Receiver::poll`], [`wait`] |
//! | does something | [`Error::TimedOut`] | [`Sender::send_timeout`], [`connect`] with a [time](Connector::timeout) |
//!
//! To have nothing yet is an answer, and who asks again has lost nothing; what was not done must not pass for done, so it is an error
//! (which gives a value back that was to be sent).
//!
//! # Further modules
//!
//! - [`registry`] and [`register!`]: functions by name and version, for callers who are not of this program's family.
//! - [`ready`]: futures for any executor; a child, a connection, a descriptor, a word of memory is awaited.
//! - [`lifeline`]: for a child that executes another program or changes its user by itself, and is to end with its parent all the same.
//! - `logging` (features `log`, `tracing`): log records of children in the parent's log.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `hook` (default) | children are entered before `main`, with nothing to call |
//! | `bytemuck` | `Block` and `as_block`: slices of plain data that travel as one block |
//! | `log`, `tracing` | `logging`: records of children arrive in the parent's logger or subscriber; `log_to_stderr` (`log`) |
//! | `tokio` | futures that are polled inside a tokio runtime use its I/O driver |
//! | `crash-points` | nothing for users: this crate's own crash tests |
//!
//! # How a child is entered
//!
//! A child is this same program, started again; a constructor notices before `main` and runs the function instead (the feature
//! `hook`, on by default). So the function's thread is no `main` to std: [`std::thread::Thread::name`] says `None` there (or the child's
//! name, on the thread of its own that follows a preload). Without the feature, call [`init`] first in `main`. Nothing is spawned in a program that has
//! neither: that is [`Error::NoEntry`]. libtest's capturing of output does not reach children: their output goes to
//! the real streams, unless it is [piped](Stdio::piped).
//!
//! # At exit
//!
//! When a process ends normally (`main` returns, [`std::process::exit`] is called, or a child's function has come to its end), this
//! happens in order:
//!
//! 1. [exit functions](at_exit) of priority 0 and more run;
//! 2. [daemons](Builder::daemon) get SIGTERM, and have one second together to end;
//! 3. the other children are joined, however long they take;
//! 4. the remaining exit functions run, those of a priority below 0;
//! 5. what is left is killed with the process: daemons that ignore SIGTERM, children made meanwhile. Only
//!    [detached](Builder::detached) children live on.
//!
//! After a panic that leaves `main` the process ends normally, too, with code 101. A process that is killed, aborts or calls
//! `_exit` does none of this; its children are killed at once.
//!
//! In a program's first process this is an atexit handler of the C library, registered with the first child or exit function, and
//! has such a handler's limits: it runs after `main` has returned, on the main thread, when thread-local values of that thread
//! may be gone, while other threads may still run; a child that one of these starts then is killed and not joined. Registered from inside a
//! shared library, it runs when that is unloaded.
//!
//! Children that are threads ([`Context::threads`]) are joined by the main thread alone: where another thread calls `exit`, it may be one
//! of them, or one that they wait for, and would wait for itself. A thread that calls `exit` when the process exits already is
//! stopped there by std, as in any program; if it is a child and no daemon, the exit waits for it.
//!
//! # Limits
//!
//! Linux 5.4 or later on x86_64 or aarch64, glibc; musl should build and is unverified. A child needs three descriptors in its parent.
//! Processes of one program trust each other not to forge messages on their private sockets; nothing read from one can call
//! anything but a function of the program, though.
//! A token of size zero that is `Copy` and `Send` proves nothing in a child: captured by a function, it is [made anew there](Function).
//!
//! Handlers of `pthread_atfork` do not run in children of a fork server or of [`Context::fork`]; [`after_fork`] is what does. A
//! `fork()` by other code gives its child a copy of this process's ends of the lifelines: as long as that child keeps them,
//! this process's children do not end with it.
//!
//! For tests, `IPC_CORE_WITHOUT` in the environment makes facilities of the kernel look absent, so that what
//! this crate does without them can be tried: a list, with commas, of `close_range`, `tid_address`, `pidfd_info`, `clone`, `wipe_on_fork` and `futex_waitv`. It makes
//! spawning slower and is for nothing else.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "ipc-core is for 64-bit Linux: it is built on pidfds, `O_ASYNC` lifelines and 64-bit ELF images"
);

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "ipc-core knows the processors x86_64 and aarch64 alone: the order of clone's arguments and the stack pointer of a fault \
     differ by architecture (src/sys/clone.rs, src/sys/prepare.rs)"
);

/// A place where a crash test can have the process killed (`sys/crash.rs`); nothing without the feature `crash-points`.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::reached(const { crate::sys::crash::Point::of($name, &crate::sys::crash::POINTS) });
    };
}

pub mod connection;
mod entry;
mod error;
pub mod lifeline;
#[cfg(any(feature = "log", feature = "tracing"))]
pub mod logging;
mod message;
mod poll;
pub mod primitive;
mod process;
pub mod ready;
pub mod registry;
mod start;
mod sys;

#[doc(inline)]
pub use connection::{
    AcceptFuture, Address, Connection, Connector, Credentials, IntoIter, Iter, Listener, ListenerBuilder,
    Peer, ReceiveFuture, Receiver, SendBytesFuture, SendError, SendFuture, Sender, connect, duplex, pipe,
    wait, wait_deadline,
};
pub use entry::{Function, Message, init};
pub use error::{ChildId, Error, Location, Panic, Ran, Result};
#[cfg(feature = "bytemuck")]
pub use message::block::{Block, as_block};
pub use message::bytes::Bytes;
pub use message::codec;
pub use message::descriptors::{Descriptor, as_descriptor};
pub use message::packed::Packed;
pub use process::active::ActiveChild;
pub use process::builder::Builder;
pub use process::child::{Child, CloseError};
pub use process::current::{AuthKey, Current, current};
pub use process::exit::ExitStatus;
pub use process::family::active_children;
pub use process::hooks::{ExitHook, after_fork, at_exit};
pub use process::join_future::{Joined, Joining};
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
/// A closure that captures is refused when the program is built (`cargo check` does not see it):
///
/// ```compile_fail
/// let n = 5;
/// ipc_core::spawn(move || n + 1, ());
/// ```
///
/// A function that never returns needs a type that can be sent: `|| -> () { std::process::exit(2) }`, for `!` is none.
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

/// The README's code runs as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What this crate's macros name.
#[doc(hidden)]
pub mod __private {
    pub use inventory;
}

/// The places where `tests/crash.rs` has processes killed: no part of this crate's interface.
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub mod crash {
    pub use crate::sys::crash::{CrashPoints, POINTS};
}

/// What `tests/loom.rs` checks: no part of this crate's interface.
#[doc(hidden)]
pub mod modelled {
    pub use crate::connection::memory::{Bell, Item, Queue, Refused};
    pub use crate::connection::turn::{Guard, Turn};
    pub use crate::message::fragment::owed::Owed;
    pub use crate::poll::Until;
    pub use crate::process::exit::ExitStatus;
    pub use crate::process::ledger::{Ledger, Mail, Receipt, Source as MailSource};
    pub use crate::process::registry::{Member, Registry};
    pub use crate::ready::table::{Kernel, Place, Table as ReadyTable};
    pub use crate::start::supply::{Source, Supply};
    pub use crate::sys::fork_local::{ForkLocal, Made, Pointer};

    /// A status as the kernel gives it; `None` for unknown.
    pub fn status(wait_status: Option<i32>) -> ExitStatus {
        wait_status.and_then(ExitStatus::from_wait_status).unwrap_or(ExitStatus::unknown())
    }
}
