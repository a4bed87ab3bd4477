//! How much memory there is to reserve, and whose limit that is.
//!
//! Memory that is reserved beyond a limit is not refused: fallocate goes on page by page until the machine, or a control group, has
//! none left, and then the OOM killer ends a process, this one as likely as any. (Tried: 256 MiB in a group of 64 end in SIGKILL.) So
//! the limits are compared first:
//!
//! | whose | what is left |
//! |---|---|
//! | the machine's | `MemAvailable` of /proc/meminfo ([proc_meminfo(5)]) |
//! | each enclosing control group's, version 1 | `memory.limit_in_bytes` less `memory.usage_in_bytes` |
//! | each enclosing control group's, version 2 | `memory.max` less `memory.current` |
//!
//! A group's usage counts its page cache as well, and a group that has read or built something is at its limit most of the time; the
//! kernel drops what of that is not in use (`inactive_file` of `memory.stat`) before it kills. So where the plain difference is not enough, that
//! is added, as `MemAvailable` does for the machine. And as the kernel needs memory of the group to keep account of the pages (about 1 in 256, page
//! tables included), a 64th is kept free.
//!
//! A look costs some 60 µs, a fifth of what a segment of 1 MiB costs to make. So one that has found much stands for a moment, for small
//! segments and a small part of what it has found ([`Trust`]).
//!
//! What cannot be read is no limit: where /proc or the groups' file system are missing, there is nothing to compare with.
//!
//! [proc_meminfo(5)]: https://man7.org/linux/man-pages/man5/proc_meminfo.5.html

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::{Resource, getrlimit};

use crate::error::{Error, Result};

/// What limits the memory of this process.
#[derive(Debug)]
pub(crate) struct Limits {
    meminfo: PathBuf,
    groups: Vec<Group>,
}

impl Limits {
    pub(crate) fn of_this_process() -> Limits {
        Limits::under(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    /// The same where these two file systems are mounted elsewhere: recorded, in a test.
    fn under(proc: &Path, cgroup: &Path) -> Limits {
        let text = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let groups = text.lines().flat_map(|line| groups(line, cgroup)).collect();
        Limits { meminfo: proc.join("meminfo"), groups }
    }

    /// How much can be reserved now, when so many bytes are needed.
    ///
    /// # Errors
    /// [`Error::NoMemory`] with the least of the limits, where that is less.
    pub(crate) fn look(&self, needed: u64) -> Result<u64> {
        let machine = field(&self.meminfo, "MemAvailable:").map(|kilobytes| kilobytes.saturating_mul(1024));
        let mut least = machine.map(|left| (left, format!("MemAvailable in {}", self.meminfo.display())));
        for group in &self.groups {
            let Some(left) = group.left(needed) else { continue };
            if least.as_ref().is_none_or(|(least, _)| left < *least) {
                least = Some((left, group.limit.display().to_string()));
            }
        }
        match least {
            Some((available, limit)) if available < needed => {
                Err(Error::NoMemory { needed, available, limit })
            }
            Some((available, _)) => Ok(available),
            None => Ok(u64::MAX),
        }
    }
}

/// What a look allows without another: segments of 4 MiB at most, for 20 ms, together 64 MiB and a 64th of what it has found.
#[derive(Debug)]
pub(crate) struct Trust {
    left: AtomicU64,
    /// In milliseconds of the clock.
    until: AtomicU64,
}

/// This process's. A forked copy has it as well, for as long as it lasts.
pub(crate) static TRUST: Trust = Trust::none();

impl Trust {
    const SMALL: u64 = 4 << 20;
    const TOGETHER: u64 = 64 << 20;
    const MILLISECONDS: u64 = 20;

    const fn none() -> Trust {
        Trust { left: AtomicU64::new(0), until: AtomicU64::new(0) }
    }

    /// Takes so much of it, if it is there.
    pub(crate) fn take(&self, needed: u64) -> bool {
        needed <= Trust::SMALL
            && now() < self.until.load(Relaxed)
            && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(needed)).is_ok()
    }

    /// A look has found so much.
    pub(crate) fn renew(&self, available: u64) {
        self.left.store((available / 64).min(Trust::TOGETHER), Relaxed);
        self.until.store(now() + Trust::MILLISECONDS, Relaxed);
    }
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64).saturating_mul(1000) + now.tv_nsec as u64 / 1_000_000
}

/// The files of a control group.
#[derive(Debug)]
struct Group {
    limit: PathBuf,
    usage: PathBuf,
    stat: PathBuf,
    /// The field of `stat` that says how much of the page cache can be dropped, of the groups below as well.
    cache: &'static str,
}

impl Group {
    /// `None` for a group without limit.
    fn left(&self, needed: u64) -> Option<u64> {
        // Version 2 says `max`; version 1 a number that no memory has.
        let limit = number(&self.limit).filter(|limit| *limit < 1 << 60)?;
        let free = limit.saturating_sub(number(&self.usage)?);
        let left = free - free / 64;
        if left >= needed {
            return Some(left);
        }
        let free = (free + field(&self.stat, self.cache).unwrap_or(0)).min(limit);
        Some(free - free / 64)
    }
}

/// The groups that a line of /proc/self/cgroup ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)) names, and those that
/// enclose them, under the usual mount points. In a container the path may be one of the machine's, and the mount point the group itself;
/// then that is what is found.
fn groups(line: &str, root: &Path) -> Vec<Group> {
    let mut fields = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let version_1 = controllers.split(',').any(|name| name == "memory");
    let roots = match controllers {
        "" => vec![root.to_owned(), root.join("unified")],
        _ if version_1 => vec![root.join("memory")],
        _ => return Vec::new(),
    };
    // A path that leads out of the namespace's groups begins with `..`: of those nothing can be seen.
    let path = Path::new(path);
    let path: PathBuf = if path.components().any(|part| part == Component::ParentDir) {
        PathBuf::new()
    } else {
        path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
    };
    let mut found = Vec::new();
    for root in roots {
        let whole = root.join(&path);
        let enclosing = whole.ancestors().take_while(|group| group.starts_with(&root));
        found.extend(enclosing.map(|group| {
            let (limit, usage, cache) = if version_1 {
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            } else {
                ("memory.max", "memory.current", "inactive_file")
            };
            Group {
                limit: group.join(limit),
                usage: group.join(usage),
                stat: group.join("memory.stat"),
                cache,
            }
        }));
    }
    found.retain(|group| group.limit.exists());
    found
}

/// The number that is a file's whole content.
pub(crate) fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name at the beginning of a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut words = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    words.next()?.parse().ok()
}

/// What the kernel may still promise, where it keeps to `CommitLimit`.
pub(crate) fn promised() -> Option<u64> {
    let meminfo = Path::new("/proc/meminfo");
    let left = field(meminfo, "CommitLimit:")?.saturating_sub(field(meminfo, "Committed_AS:")?);
    Some(left.saturating_mul(1024))
}

/// Whether this process may have a file of so many bytes, and map it.
///
/// A file beyond RLIMIT_FSIZE is not only refused: ftruncate sends SIGXFSZ, which ends the process.
///
/// # Errors
/// [`Error::NoMemory`] with RLIMIT_FSIZE, RLIMIT_AS, or the end of what a process can address.
pub(crate) fn of_process(needed: u64) -> Result<()> {
    if let Some(available) = getrlimit(Resource::Fsize).current
        && available < needed
    {
        return Err(Error::NoMemory { needed, available, limit: "RLIMIT_FSIZE of this process".to_owned() });
    }
    let (limit, name) = match getrlimit(Resource::As).current.filter(|limit| *limit < ADDRESSES) {
        Some(limit) => (limit, "RLIMIT_AS of this process".to_owned()),
        None if needed < ADDRESSES / 2 => return Ok(()),
        None => (ADDRESSES, format!("the address space of a process ({ADDRESSES} bytes)")),
    };
    match limit.saturating_sub(mapped()) {
        available if available < needed => Err(Error::NoMemory { needed, available, limit: name }),
        _ => Ok(()),
    }
}

/// What a process can address where page tables have four levels.
const ADDRESSES: u64 = if cfg!(target_arch = "x86_64") { 1 << 47 } else { 1 << 48 };

/// How many bytes of addresses this process has in use.
fn mapped() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests;
