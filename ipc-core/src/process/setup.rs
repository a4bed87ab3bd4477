//! What a child takes over before it calls its function.
//!
//! A child of `exec` inherits from the thread that spawned it: environment, working directory, umask, limits,
//! processors, signal mask, nice value. A child of the fork server inherits from the server, which was started some
//! time ago; what has changed since is sent along as a [`Setup`]. (The comparison is in [`baseline`](super::baseline).)
//! What the builder asks for is a `Setup` as well, so both ways are one: carried values first, the builder's over them.
//!
//! # The order, and why
//!
//! 1. the environment: it allocates, so it comes before a limit on memory; and the name in `ps`;
//! 2. the directory that was the parent's: the parent stands in it, though the child's new user might not get there;
//! 3. limits, processors, nice value: raising them needs privileges that step 4 gives up;
//! 4. groups, group, user: in this order, for without the user the groups can no longer be set. Who leaves root
//!    without saying which groups to keep keeps none, as in [`std::os::unix::process::CommandExt::uid`];
//! 5. the directory the builder asks for: by the rights of the new user, as std's `Command` does, and after 2, so
//!    that a relative one is relative to the parent's;
//! 6. umask and ignored signals, which need no rights;
//! 7. the signal mask last, so that no signal arrives in a child half made.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Mode;
use rustix::process::{Pid, chdir, setpriority_process, umask};
use rustix::thread::{CpuSet, sched_setaffinity, set_name};
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::resource::{Limit, Resource};
use super::task::{Task, field};
use crate::error::Error;
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
    /// What `ps` and `top` call it: an executed child would be `exe`, after `/proc/self/exe`.
    pub(crate) command: Option<CString>,
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

    /// The first of what is to be set, in words, for who has to refuse it.
    pub(crate) fn asked(&self) -> Option<&'static str> {
        let asked = [
            (self.environment.is_some(), "an environment"),
            (self.start_dir.is_some() || self.current_dir.is_some(), "a working directory"),
            (!self.rlimits.is_empty(), "a resource limit"),
            (self.affinity.is_some(), "a choice of processors"),
            (self.nice.is_some(), "a nice value"),
            (self.uid.is_some(), "a user"),
            (self.gid.is_some(), "a group"),
            (self.groups.is_some(), "supplementary groups"),
            (self.umask.is_some(), "a umask"),
            (!self.ignored.is_empty() || self.signal_mask.is_some(), "signals to block or ignore"),
        ];
        asked.into_iter().find_map(|(asked, what)| asked.then_some(what))
    }

    /// Pins a process that does nothing yet, and has one thread, to the processors of this setup, which is done then; `false` if it was not.
    pub(crate) fn pin(&mut self, pid: u32) -> bool {
        let done = self.affinity.as_deref().and_then(set_of).is_some_and(|set| {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.is_some_and(|pid| sched_setaffinity(Some(pid), &set).is_ok())
        });
        if done {
            self.affinity = None;
        }
        done
    }

    /// Refuses what the system would not refuse but take for something else: a user of -1 is "leave it as it is" to setresuid(2),
    /// nice values and umasks are cut until they fit; and what it would refuse without a word about what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |what: String, why: &str| Err(Error::Invalid { what, why: why.into() });
        let no_id = "the system takes that number for \"leave it as it is\"";
        let groups = self.groups.as_deref().unwrap_or_default();
        if self.uid == Some(u32::MAX) {
            return invalid(format!("the user {}", u32::MAX), no_id);
        }
        if self.gid == Some(u32::MAX) || groups.contains(&u32::MAX) {
            return invalid(format!("the group {}", u32::MAX), no_id);
        }
        for (resource, limit) in &self.rlimits {
            if !limit.is_consistent() {
                let why = "the limit in force cannot be above the hard one, up to which it may be raised";
                return invalid(format!("setting {resource} to {limit}"), why);
            }
        }
        if self.affinity.as_ref().is_some_and(Vec::is_empty) {
            return invalid("a choice of no processors".into(), "a child needs one to run on");
        }
        match (self.nice, self.umask) {
            (Some(nice), _) if !(-20..=19).contains(&nice) => {
                invalid(format!("the nice value {nice}"), "nice values are -20 to 19")
            }
            (_, Some(umask)) if umask > 0o777 => {
                invalid(format!("the umask {umask:#o}"), "a umask has the nine bits of 0o777")
            }
            _ => Ok(()),
        }
    }

    /// Does all of it, in the order that the module explains, up to the first failure. Takes it out of `self`, for
    /// the environment is kept for good.
    ///
    /// # Safety
    ///
    /// Where there is an environment, the calling thread is the only one of the process: it is replaced under everybody's feet.
    pub(crate) unsafe fn apply(self) -> Result<(), Failed> {
        if let Some(environment) = self.environment {
            // SAFETY: there is no other thread, says the caller of one with an environment.
            unsafe { inherit::replace_environment(environment.into_block()) };
        }
        if let Some(command) = &self.command {
            // Nothing depends on it.
            let _ = set_name(command);
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
    let text = || {
        let allowed = allowed().map(|list| format!(" (allowed here: {list})")).unwrap_or_default();
        format!("pin to the processors {processors:?}{allowed}")
    };
    match set_of(processors) {
        Some(set) => step(sched_setaffinity(None, &set), text),
        None => Err(Failed { step: text(), errno: libc::EINVAL }),
    }
}

/// `None`: no processor has such a number.
fn set_of(processors: &[u32]) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for processor in processors {
        let processor = usize::try_from(*processor).ok().filter(|processor| *processor < CpuSet::MAX_CPU)?;
        set.set(processor);
    }
    Some(set)
}

/// The processors that this thread could be pinned to, as the kernel lists them: `0-3,8`. It is pinned to them by that: for a child that
/// is about to end.
fn allowed() -> Option<String> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| all.set(processor));
    // The kernel leaves out those that are not there, or in no cpuset of ours.
    sched_setaffinity(None, &all).ok()?;
    let status = Task::open().and_then(|task| task.read("status")).ok()?;
    Some(String::from_utf8_lossy(field(&status, "Cpus_allowed_list")?).into_owned())
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
