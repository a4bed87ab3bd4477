//! What a process hands down to its children, as it is now: to compare with what it was when its fork server started.
//!
//! A [`Snapshot`] is taken when a server is started and at every spawn after that. Its [`Baseline`] can be carried:
//! what differs becomes a [`Setup`] for the child. Its [`Identity`] cannot: a difference replaces the server.
//!
//! It runs on every spawn, so it is laid out for speed: one directory of /proc is opened, one file of it read for
//! umask, ignored signals and credentials together, and equality is memcmp. Everything is read for the *calling
//! thread*, because that is what exec would hand down: affinity, nice value, signal mask and credentials differ by
//! thread on Linux.

use std::fmt;
use std::io;

use rustix::fs::{AtFlags, CWD, statat};
use rustix::process::{getcwd, getpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::environment::Environment;
use super::identity::Identity;
use super::resource::{Limit, Resource};
use super::setup::Setup;
use super::task::{Task, field};
use crate::sys::inherit;

/// Both halves, from one look at /proc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) baseline: Baseline,
    pub(crate) identity: Identity,
}

impl Snapshot {
    /// Of the calling thread.
    ///
    /// # Errors
    ///
    /// /proc is missing or closed to us; the calls themselves do not fail.
    pub(crate) fn capture() -> io::Result<Snapshot> {
        let task = Task::open()?;
        let status = task.read("status")?;
        Ok(Snapshot {
            baseline: Baseline::from_status(&status)?,
            identity: Identity::from_task(&task, &status)?,
        })
    }
}

/// What can be told to a child.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Baseline {
    environment: Environment,
    directory: Directory,
    umask: u32,
    limits: [Limit; 16],
    affinity: Option<Affinity>,
    nice: i32,
    ignored: u64,
    signal_mask: u64,
}

/// A directory by name and by number: one that was removed and made again has the same name, and is another one.
#[derive(Clone, PartialEq, Eq)]
struct Directory {
    /// `None` where it has no name (any more).
    path: Option<Vec<u8>>,
    device: u64,
    inode: u64,
}

impl Directory {
    fn current() -> io::Result<Directory> {
        let path = match getcwd(Vec::with_capacity(512)) {
            // The kernel answers "(unreachable)…" for what lies outside the root directory.
            Ok(path) => Some(path.into_bytes()).filter(|path| path.first() == Some(&b'/')),
            Err(_) => None,
        };
        let stat = statat(CWD, c"", AtFlags::EMPTY_PATH)?;
        Ok(Directory { path, device: stat.st_dev, inode: stat.st_ino })
    }
}

/// The processors a thread may run on; unknown on a machine with more than the structure holds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Affinity(CpuSet);

impl Baseline {
    /// Of the calling thread.
    #[cfg(test)]
    pub(crate) fn capture() -> io::Result<Baseline> {
        Baseline::from_status(&Task::open()?.read("status")?)
    }

    fn from_status(status: &[u8]) -> io::Result<Baseline> {
        Ok(Baseline {
            environment: Environment::capture(),
            directory: Directory::current()?,
            umask: number(status, "Umask", 8)? as u32,
            limits: Resource::ALL.map(Limit::get),
            affinity: sched_getaffinity(None).ok().map(Affinity),
            nice: getpriority_process(None)?,
            ignored: number(status, "SigIgn", 16)?,
            signal_mask: inherit::signal_mask()?,
        })
    }

    /// All variables.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The blocked signals.
    pub(crate) fn signal_mask(&self) -> u64 {
        self.signal_mask
    }

    /// Whether a server started at `self` can give a child what `now` says. It cannot where the working directory has
    /// changed to one without a name, for instance because it was removed; nor where more descriptors are allowed now: they
    /// come with the message that would raise the limit.
    pub(crate) fn can_become(&self, now: &Baseline) -> bool {
        let descriptors = |limits: &[Limit; 16]| limits[Resource::Nofile as usize].soft.unwrap_or(u64::MAX);
        (now.directory.path.is_some() || now.directory == self.directory)
            && descriptors(&now.limits) <= descriptors(&self.limits)
    }

    /// What a child of a server started at `self` must be told to look as if it were spawned at `now`.
    pub(crate) fn difference(&self, now: &Baseline) -> Setup {
        let mut setup = Setup::default();
        if now.environment != self.environment {
            setup.environment = Some(now.environment.clone());
        }
        if now.directory != self.directory {
            setup.start_dir.clone_from(&now.directory.path);
        }
        for ((resource, now), then) in Resource::ALL.iter().zip(&now.limits).zip(&self.limits) {
            if now != then {
                setup.rlimits.push((*resource, *now));
            }
        }
        if now.affinity != self.affinity {
            setup.affinity = now.affinity.map(|Affinity(set)| {
                (0..CpuSet::MAX_CPU)
                    .filter(|processor| set.is_set(*processor))
                    .map(|processor| processor as u32)
                    .collect()
            });
        }
        setup.nice = (now.nice != self.nice).then_some(now.nice);
        setup.umask = (now.umask != self.umask).then_some(now.umask);
        let changed = now.ignored ^ self.ignored;
        setup.ignored = (0..64)
            .filter(|bit| changed & (1 << bit) != 0)
            .map(|bit| (bit + 1, now.ignored & (1 << bit) != 0))
            .collect();
        setup.signal_mask = (now.signal_mask != self.signal_mask).then_some(now.signal_mask);
        setup
    }
}

fn number(status: &[u8], name: &str, radix: u32) -> io::Result<u64> {
    field(status, name)
        .and_then(|value| u64::from_str_radix(std::str::from_utf8(value).ok()?.trim(), radix).ok())
        .ok_or_else(|| io::Error::other(format!("/proc/thread-self/status has no field {name}")))
}

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baseline")
            .field("environment", &self.environment)
            .field("umask", &self.umask)
            .field("nice", &self.nice)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
