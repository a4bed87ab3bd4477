//! What a process is, as far as a fork server cannot hand it to a child of another: who (users, groups,
//! capabilities), where (namespaces, cgroups, root directory, session), and what it has given up for good
//! (no_new_privs, seccomp).
//!
//! The server has what its parent had when it was started. A parent that has since changed user, entered a namespace
//! or put on a sandbox must not get children that have not: the server is replaced by a new one, which the parent
//! execs as it is now.

use std::io;
use std::mem::MaybeUninit;

use rustix::fs::{AtFlags, CWD, statat};

use super::task::{Task, field};
use crate::sys::inherit;

/// The lines of /proc/PID/status that belong to it.
const CREDENTIALS: [&[u8]; 11] = [
    b"Uid:",
    b"Gid:",
    b"Groups:",
    b"CapInh:",
    b"CapPrm:",
    b"CapEff:",
    b"CapBnd:",
    b"CapAmb:",
    b"NoNewPrivs:",
    b"Seccomp:",
    b"Seccomp_filters:",
];

/// The namespaces that a child is born into.
const NAMESPACES: [&std::ffi::CStr; 8] = [
    c"ns/cgroup",
    c"ns/ipc",
    c"ns/mnt",
    c"ns/net",
    c"ns/pid_for_children",
    c"ns/time_for_children",
    c"ns/user",
    c"ns/uts",
];

/// To be compared, nothing else. The text is kept as the kernel wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    credentials: Vec<u8>,
    namespaces: Vec<u8>,
    cgroups: Vec<u8>,
    root: (u64, u64),
    group: i32,
    session: i32,
}

impl Identity {
    /// Of the calling thread.
    #[cfg(test)]
    pub(crate) fn capture() -> io::Result<Identity> {
        let task = Task::open()?;
        let status = task.read("status")?;
        Identity::from_task(&task, &status)
    }

    pub(super) fn from_task(task: &Task, status: &[u8]) -> io::Result<Identity> {
        let (group, session) = inherit::group_and_session();
        let root = statat(CWD, c"/", AtFlags::empty())?;
        Ok(Identity {
            credentials: credentials(status),
            namespaces: namespaces(task, may_change_namespaces(status)),
            // A kernel without control groups has no such file.
            cgroups: task.read("cgroup").unwrap_or_default(),
            root: (root.st_dev, root.st_ino),
            group,
            session,
        })
    }

    /// What differs, in words.
    #[cfg(test)]
    fn differs_in(&self, other: &Identity) -> Vec<&'static str> {
        [
            ("credentials or sandbox", self.credentials != other.credentials),
            ("namespaces", self.namespaces != other.namespaces),
            ("control groups", self.cgroups != other.cgroups),
            ("root directory", self.root != other.root),
            ("process group", self.group != other.group),
            ("session", self.session != other.session),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

/// Whether the next child of the calling thread begins a pid namespace, as its process 1.
pub(crate) fn next_child_begins_a_namespace() -> io::Result<bool> {
    let task = Task::open()?;
    let mut room = [MaybeUninit::uninit(); 64];
    task.link(c"ns/pid", &mut room)?;
    // A namespace without processes has no name yet (namespaces(7), "/proc/pid/ns/pid_for_children").
    match task.link(c"ns/pid_for_children", &mut room) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn credentials(status: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(512);
    for line in status.split_inclusive(|byte| *byte == b'\n') {
        if CREDENTIALS.iter().any(|name| line.starts_with(name)) {
            lines.extend_from_slice(line);
        }
    }
    lines
}

/// Whether the process may hold CAP_SYS_ADMIN, by its permitted set.
fn may_change_namespaces(status: &[u8]) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let permitted =
        field(status, "CapPrm").and_then(|text| u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok());
    permitted.is_none_or(|permitted| permitted & SYS_ADMIN != 0)
}

/// Where the links point. A process without CAP_SYS_ADMIN can enter no namespace but a user namespace of its own, and
/// gets the capability only there: then the link of the user namespace stands for all, at an eighth of the price.
/// (Nothing but exec enlarges the permitted set, and a smaller one differs in the credentials.)
fn namespaces(task: &Task, all: bool) -> Vec<u8> {
    let mut room = [MaybeUninit::uninit(); 64];
    let mut targets = Vec::with_capacity(NAMESPACES.len() * 24);
    for name in if all { &NAMESPACES[..] } else { &[c"ns/user"] } {
        // A kernel may lack one; then both sides lack it.
        if let Ok(target) = task.link(name, &mut room) {
            targets.extend_from_slice(target);
        }
        targets.push(b'\n');
    }
    targets
}

#[cfg(test)]
mod tests;
