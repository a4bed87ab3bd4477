//! What a child takes over before it calls its function.
//!
//! A child of `exec` inherits from the thread that spawned it: environment, working directory, umask, limits,
//! processors, signal mask, nice value. A child of the fork server inherits from the server, which was started some
//! time ago; what has changed since is sent along as a [`Setup`]. (The comparison is in [`baseline`](super::baseline).)
//! What the builder asks for is a `Setup` as well, so both ways are one: carried values first, the builder's over them.
//!
//! # The order, and why
//!
//! 1. the environment: it allocates, so it comes before a limit on memory;
//! 2. the directory that was the parent's: the parent stands in it, though the child's new user might not get there;
//! 3. limits, processors, nice value: raising them needs privileges that step 4 gives up;
//! 4. groups, group, user: in this order, for without the user the groups can no longer be set. Who leaves root
//!    without saying which groups to keep keeps none, as in [`std::os::unix::process::CommandExt::uid`];
//! 5. the directory the builder asks for: by the rights of the new user, as std's `Command` does, and after 2, so
//!    that a relative one is relative to the parent's;
//! 6. umask and ignored signals, which need no rights;
//! 7. the signal mask last, so that no signal arrives in a child half made.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Mode;
use rustix::process::{chdir, setpriority_process, umask};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::resource::{Limit, Resource};
use crate::sys::inherit;

/// What to set; `None` and empty leave things as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// All variables.
    pub(crate) environment: Option<Environment>,
    /// The parent's directory, entered before the change of user.
    pub(crate) start_dir: Option<Vec<u8>>,
    /// Set in order: a resource named twice ends with the later value.
    pub(crate) rlimits: Vec<(Resource, Limit)>,
    /// Processor numbers.
    pub(crate) affinity: Option<Vec<u32>>,
    /// The nice value itself, no increment.
    pub(crate) nice: Option<i32>,
    /// The supplementary groups.
    pub(crate) groups: Option<Vec<u32>>,
    /// Real, effective and saved group.
    pub(crate) gid: Option<u32>,
    /// Real, effective and saved user.
    pub(crate) uid: Option<u32>,
    /// The builder's directory, entered after the change of user.
    pub(crate) current_dir: Option<Vec<u8>>,
    /// The mode bits that new files lack.
    pub(crate) umask: Option<u32>,
    /// Signals to be ignored (`true`) or given their default action (`false`).
    pub(crate) ignored: Vec<(i32, bool)>,
    /// The blocked signals, bit 0 being signal 1.
    pub(crate) signal_mask: Option<u64>,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// What was to be done, with its value: `change to the directory "/nowhere"`.
    pub(crate) step: String,
    /// The system's error number.
    pub(crate) errno: i32,
}

impl Failed {
    /// The system's error.
    pub(crate) fn source(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source())
    }
}

/// Gives a failure its step. The text is made only then.
fn step<T, E: Into<io::Error>>(done: Result<T, E>, text: impl FnOnce() -> String) -> Result<T, Failed> {
    done.map_err(|error| Failed { step: text(), errno: error.into().raw_os_error().unwrap_or(libc::EINVAL) })
}

fn enter(directory: &[u8]) -> Result<(), Failed> {
    step(chdir(directory), || format!("change to the directory {:?}", OsStr::from_bytes(directory)))
}

impl Setup {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Setup::default()
    }

    /// Does all of it, in the order that the module explains, up to the first failure. Takes it out of `self`, for
    /// the environment is kept for good.
    ///
    /// # Safety
    ///
    /// The calling thread is the only one of the process: the environment is replaced under everybody's feet.
    pub(crate) unsafe fn apply(self) -> Result<(), Failed> {
        if let Some(environment) = self.environment {
            // SAFETY: there is no other thread, says the caller.
            unsafe { inherit::replace_environment(environment.into_block()) };
        }
        if let Some(directory) = &self.start_dir {
            enter(directory)?;
        }
        for (resource, limit) in &self.rlimits {
            step(limit.set(*resource), || format!("set {resource} to {limit}"))?;
        }
        if let Some(processors) = &self.affinity {
            pin(processors)?;
        }
        if let Some(nice) = self.nice {
            step(setpriority_process(None, nice), || format!("set the nice value to {nice}"))?;
        }
        change_user(self.groups.as_deref(), self.gid, self.uid)?;
        if let Some(directory) = &self.current_dir {
            enter(directory)?;
        }
        if let Some(bits) = self.umask {
            umask(Mode::from_raw_mode(bits));
        }
        for (signal, ignored) in self.ignored {
            let what = if ignored { "ignore" } else { "stop ignoring" };
            step(inherit::set_ignored(signal, ignored), || format!("{what} the signal {signal}"))?;
        }
        if let Some(mask) = self.signal_mask {
            step(inherit::set_signal_mask(mask), || format!("set the signal mask to {mask:#x}"))?;
        }
        Ok(())
    }
}

fn pin(processors: &[u32]) -> Result<(), Failed> {
    let text = || format!("pin to the processors {processors:?}");
    let mut set = CpuSet::new();
    for processor in processors {
        let processor = usize::try_from(*processor).unwrap_or(usize::MAX);
        if processor >= CpuSet::MAX_CPU {
            return Err(Failed { step: text(), errno: libc::EINVAL });
        }
        set.set(processor);
    }
    step(sched_setaffinity(None, &set), text)
}

fn change_user(groups: Option<&[u32]>, gid: Option<u32>, uid: Option<u32>) -> Result<(), Failed> {
    // As std: root's supplementary groups do not go along by oversight.
    let leaves_root = uid.is_some() && rustix::process::geteuid().is_root();
    if let Some(groups) = groups.or(if leaves_root { Some(&[]) } else { None }) {
        step(inherit::set_groups(groups), || format!("set the supplementary groups to {groups:?}"))?;
    }
    if let Some(gid) = gid {
        step(inherit::set_gid(gid), || format!("change to the group {gid}"))?;
    }
    if let Some(uid) = uid {
        step(inherit::set_uid(uid), || format!("change to the user {uid}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
