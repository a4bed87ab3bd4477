//! The remedy behind an error number.
//!
//! `EAGAIN` from clone says "temporarily unavailable", which is neither temporary nor a help: a limit was met. Here
//! the limit is looked up, at the moment of the failure, and named with its value and the way to raise it.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// What was asked of the system, as far as it tells which limit an error number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A new process: clone, fork, the exec of this program.
    Process,
    /// The same, in the fork server.
    ServersProcess,
    /// A new thread.
    Thread,
    /// Something to be read under `/proc`.
    Proc,
    /// What a child does to send its value. The limits are the child's, so it is the child who asks.
    Reply,
    /// Anything else.
    Other,
}

/// What to add to the message of `source`, which came from this call.
pub(crate) fn for_error(call: Call, source: &io::Error) -> Option<String> {
    let makes_tasks = matches!(call, Call::Process | Call::ServersProcess | Call::Thread);
    match source.raw_os_error()? {
        libc::EMFILE if call == Call::Reply => Some(format!(
            "the soft limit RLIMIT_NOFILE of the child is {}; a large value and each descriptor inside a value need one \
             more while they are sent",
            soft(Resource::Nofile)
        )),
        libc::ENOMEM if call == Call::Reply => {
            Some(format!("memory is short: RLIMIT_AS of the child is {}", soft(Resource::As)))
        }
        libc::EFBIG if call == Call::Reply => Some(format!(
            "a large value travels in a memory file, and RLIMIT_FSIZE of the child is {}",
            soft(Resource::Fsize)
        )),
        libc::EMFILE if call == Call::ServersProcess => Some(
            "the fork server has reached its limit RLIMIT_NOFILE: what its preload function has opened counts, and the \
             limit is what this process had when the server was started"
                .to_owned(),
        ),
        libc::EMFILE => Some(format!(
            "the soft limit RLIMIT_NOFILE of this process is {}, and a child needs three descriptors here while its \
             handle lives; raise the limit (`ulimit -n`, setrlimit) or keep fewer handles open",
            soft(Resource::Nofile)
        )),
        libc::ENFILE => Some(format!(
            "the whole system may open {} files (/proc/sys/fs/file-max); RLIMIT_NOFILE of this process is {}, and a \
             child needs three descriptors here while its handle lives",
            number_in("/proc/sys/fs/file-max"),
            soft(Resource::Nofile)
        )),
        libc::EAGAIN if makes_tasks => Some(match getrlimit(Resource::As).current {
            // The C library says so too where there is no room for a stack.
            Some(limit) if call == Call::Thread => format!("{}; RLIMIT_AS is {limit}", tasks()),
            _ => tasks(),
        }),
        libc::ENOMEM => Some(format!(
            "memory is short: RLIMIT_AS is {}, the memory cgroup and vm.overcommit_memory may forbid it too{}",
            soft(Resource::As),
            if makes_tasks { ", and in a PID namespace so does the death of its first process" } else { "" }
        )),
        libc::EFBIG => Some(format!(
            "a large message travels in a memory file, and RLIMIT_FSIZE of this process is {}",
            soft(Resource::Fsize)
        )),
        libc::E2BIG => Some(format!(
            "arguments and environment together exceed a quarter of RLIMIT_STACK ({}), or one string exceeds \
             128 KiB; pass large values as arguments of the function",
            soft(Resource::Stack)
        )),
        libc::ENOENT | libc::ENOTDIR if matches!(call, Call::Process | Call::Proc) => {
            Some("is /proc mounted here, and the program's loader inside the root directory?".to_owned())
        }
        // Of clone and fork it is none: this is the exec.
        libc::EACCES if call == Call::Process => Some(
            "the program's file must be executable for this user and on no file system that is mounted `noexec`, and a sandbox \
             (Landlock, SELinux, AppArmor) must let it be executed"
                .to_owned(),
        ),
        libc::EACCES if call == Call::Proc => Some("a sandbox (Landlock) may hide /proc".to_owned()),
        libc::ENOSYS => Some("this kernel lacks the call, or a sandbox (seccomp) hides it".to_owned()),
        libc::EPERM if makes_tasks => Some("a sandbox (seccomp) may forbid the call".to_owned()),
        _ => None,
    }
}

fn tasks() -> String {
    let mut hint = format!(
        "RLIMIT_NPROC is {}: it counts all processes and threads of this user",
        soft(Resource::Nproc)
    );
    match pids_max() {
        Some(max) => hint.push_str(&format!("; the cgroup allows {max} (pids.max)")),
        None => hint.push_str("; no pids.max of a cgroup was found"),
    }
    hint.push_str(&format!(
        "; the system allows {} threads and {} process ids",
        number_in("/proc/sys/kernel/threads-max"),
        number_in("/proc/sys/kernel/pid_max")
    ));
    hint
}

fn soft(resource: Resource) -> String {
    getrlimit(resource).current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn number_in(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "an unknown number of".to_owned(), |text| text.trim().to_owned())
}

/// The least pids.max of the enclosing groups, under the usual mount points of both versions.
fn pids_max() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(pids_max_of).min()
}

/// The same for one line of /proc/self/cgroup.
fn pids_max_of(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
    let root = match controllers {
        "" => Path::new("/sys/fs/cgroup"),
        list if list.split(',').any(|name| name == "pids") => Path::new("/sys/fs/cgroup/pids"),
        _ => return None,
    };
    root.join(group.trim_start_matches('/'))
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| fs::read_to_string(group.join("pids.max")).ok()?.trim().parse().ok())
        .min()
}
