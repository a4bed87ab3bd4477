//! Log records of children, in the parent's log.
//!
//! A record that a child makes with [`log`](https://docs.rs/log) or [`tracing`](https://docs.rs/tracing) would end in a process that has no logger. After
//! [`relay`] in the parent, children have one from their start on: it sends each record to the parent, whose logger or subscriber gets it with the
//! child's name and pid, at the parent's level. [`log_to_stderr`] is the short way to see anything at all: a line
//! `[LEVEL/name] message` on standard error, in this process and in its children.
//!
//! ```no_run
//! # #[cfg(feature = "log")] fn main() -> ipc_core::Result<()> {
//! ipc_core::logging::log_to_stderr(log::LevelFilter::Info)?;
//! ipc_core::logging::relay()?;
//! ipc_core::spawn(|| log::info!("here"), ())?.join()?; // [INFO/Process-1] here
//! # Ok(()) }
//! # #[cfg(not(feature = "log"))] fn main() {}
//! ```
//!
//! The functions of this module need one of the features `log` and `tracing`; [`log_to_stderr`] and [`set_logger`] are there with `log` alone.
//!
//! # Filters in the parent
//!
//! A record of `log` has the target that the child gave it. An event of `tracing` has *always* the target `ipc_core::logging`, for it is made anew
//! here; the child's target, spans, name and pid are its fields `process.target`, `process.spans`, `process.name`, `process.pid`. So a filter by
//! target, `EnvFilter` with `myapp=debug` say, lets nothing of any child through, in silence: add `ipc_core::logging=debug` to it.
//!
//! How much a child makes at all is settled when it starts: it has the levels that the parent's facades had at that moment
//! (`log::max_level()`, the subscriber's most verbose level), and a change in the parent reaches only children that start later.
//!
//! # How records travel
//!
//! One packet socket for all children, and theirs: what a grandchild logs goes straight to who has asked. A record is one packet, so records of
//! many processes never mix, and one that was made is with the kernel: `kill -9` of the child right after it takes nothing away. A text
//! longer than 48 KiB is cut, and says so. [`Child::join`](crate::Child::join) returns after the records that the child had made were delivered; [`flush`] is that by itself.
//!
//! | who | what happens |
//! |---|---|
//! | a child dies | its records are delivered, all of them |
//! | the parent is stopped, and the socket full | a child waits a second for room, once; from then on it drops what finds none, and the next record that goes through says how many were [lost](Record::lost) |
//! | the parent dies | its children die; detached ones go on, and their records are lost |
//! | a logger panics | that record is lost, the relay goes on |
//! | a child sends what is no record, or a forged one | the first is dropped, the second delivered as it is; the relay goes on |
//!
//! # What a child's logger is
//!
//! The relay's, installed before its function runs: a function that installs one itself finds the place taken. A *forked* child has its parent's
//! logger in memory already: it relays if that was installed by [`set_logger`] or [`log_to_stderr`], and else goes on as any copy does; its tracing
//! subscriber is its parent's copy. Children that are threads log as the process does.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use crate::error::ChildId;
use crate::process::current::current;

#[cfg(feature = "log")]
mod by_log;
#[cfg(feature = "tracing")]
mod by_tracing;
mod parent;
mod up;

#[cfg(feature = "log")]
pub use by_log::{log_to_stderr, set_logger};
#[cfg(feature = "tracing")]
pub(crate) use by_tracing::{Held, hold};
pub use parent::{flush, relay, relay_to};
pub(crate) use up::{Inherited, adopt, inherit};

/// The longest text of a record.
const LONGEST: usize = 48 * 1024;

/// How severe a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Something has failed.
    Error,
    /// Something is suspicious.
    Warn,
    /// Something of note happens.
    Info,
    /// For finding faults.
    Debug,
    /// For finding faults in detail.
    Trace,
}

/// What a record was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Facade {
    /// The macros of `log`.
    Log,
    /// The macros of `tracing`.
    Tracing,
}

/// A record as it comes from a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Who made it.
    pub process: ChildId,
    /// What it was made with.
    pub facade: Facade,
    /// Its level.
    pub level: Level,
    /// Its target, which by default is the module.
    pub target: String,
    /// The text, the fields of an event included.
    pub message: String,
    /// The spans that an event is in, from the outermost on.
    pub spans: Vec<String>,
    /// The module.
    pub module: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line there.
    pub line: Option<u32>,
    /// How many records of this process were lost before this one.
    pub lost: u64,
}

impl Record {
    /// A record of this process.
    fn new(facade: Facade, level: Level, target: &str, mut message: String) -> Record {
        if message.len() > LONGEST {
            let length = message.len();
            message.truncate((0..=LONGEST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0));
            message += &format!("… ({length} bytes)");
        }
        let mut target = target.to_owned();
        target
            .truncate((0..=256.min(target.len())).rev().find(|at| target.is_char_boundary(*at)).unwrap_or(0));
        let me = current();
        Record {
            process: ChildId { name: me.name(), pid: me.pid() },
            facade,
            level,
            target,
            message,
            spans: Vec::new(),
            module: None,
            file: None,
            line: None,
            lost: 0,
        }
    }

    /// Gives it to this process's logger or subscriber.
    fn deliver(&self) {
        match self.facade {
            #[cfg(feature = "log")]
            Facade::Log => by_log::deliver(self),
            #[cfg(feature = "tracing")]
            Facade::Tracing => by_tracing::deliver(self),
            #[cfg(not(all(feature = "log", feature = "tracing")))]
            _ => {}
        }
    }
}

thread_local! {
    /// Whose record is being delivered in this thread.
    static ORIGIN: RefCell<Option<ChildId>> = const { RefCell::new(None) };
}

/// Whose record it is that this thread's logger is given now: a child, or `None` for a record of this process.
///
/// For loggers of one's own. Others see it as the key-values `process.name` and `process.pid` of `log`, and as fields of these names of `tracing`.
pub fn origin() -> Option<ChildId> {
    ORIGIN.try_with(|origin| origin.borrow().clone()).ok().flatten()
}

/// Calls `f` while [`origin`] is `process`.
fn on_behalf(process: &ChildId, f: impl FnOnce()) {
    let set = |origin| ORIGIN.try_with(|place| place.replace(origin)).ok().flatten();
    let before = set(Some(process.clone()));
    crate::entry::panics::contain(f);
    set(before);
}

/// What children are told of the levels; see the facades.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Levels {
    log: u8,
    tracing: u8,
    stderr: bool,
}

fn levels() -> Levels {
    let mut levels = Levels::default();
    #[cfg(feature = "log")]
    {
        levels.log = by_log::level();
        levels.stderr = by_log::writes_to_stderr();
    }
    #[cfg(feature = "tracing")]
    {
        levels.tracing = by_tracing::level();
    }
    levels
}

/// Makes this process's loggers what its parent's levels ask for.
fn set_up(levels: Levels, relayed: bool) {
    #[cfg(feature = "log")]
    by_log::set_up(levels.log, levels.stderr, relayed);
    #[cfg(feature = "tracing")]
    if relayed {
        by_tracing::set_up(levels.tracing);
    }
    let _ = (levels, relayed);
}

/// A packet of the relay.
#[derive(Serialize, Deserialize)]
enum Packet {
    Record(Record),
    /// The parent's own: all before it has been delivered when it comes. A random number, which no child can know.
    Mark([u8; 16]),
}

fn no_relay(what: &str, error: impl Into<std::io::Error>) -> crate::Error {
    crate::Error::os(format!("could not relay log records: {what}"), error)
}

/// The error of those who come second.
#[cfg(feature = "log")]
fn taken() -> crate::Result<()> {
    Err(crate::Error::Invalid { what: "a logger".into(), why: "this process has one already".into() })
}
