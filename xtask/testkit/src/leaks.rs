//! No test leaves a child, a descriptor or a segment behind.
//!
//! `let _leaks = ipc_testkit::leaks();` at the head of a test. Under nextest every test has a process of its own,
//! and the guard compares its end with its beginning. Under `cargo test` the tests of a file share one process
//! and run side by side, and what one of them has for a while is another's leak: there the guard looks at
//! nothing, unless [`LEAKS`] in the environment says that all tests of the file have guards, as those that the
//! matrix runs as crash tests do. Then the first guard's beginning is compared with the end of the last one that
//! overlaps.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use crate::wait::{GENEROUS, state_and_parent, wait_until};

/// What a process owns that can leak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Children by pid, zombies among them, with what they are.
    pub children: BTreeMap<u32, String>,
    /// Open descriptors by number, with what they refer to.
    pub descriptors: BTreeMap<u32, String>,
    /// Mappings of memory segments (memfd, shared memory objects).
    pub segments: Vec<String>,
}

impl Snapshot {
    /// This process, now. `None` if `/proc` could not be read this time (out of descriptors, perhaps).
    pub fn take() -> Option<Snapshot> {
        Some(Snapshot { children: children()?, descriptors: descriptors()?, segments: segments()? })
    }

    /// What is there more than `before`, each in words; descriptors and segments count, as their numbers
    /// and addresses may change.
    pub fn more_than(&self, before: &Snapshot, allowed: Allowed) -> Vec<String> {
        let mut more = Vec::new();
        let new: Vec<_> =
            self.children.iter().filter(|(pid, _)| !before.children.contains_key(pid)).collect();
        if new.len() > allowed.children {
            more.extend(new.iter().map(|(pid, what)| format!("child {pid} {what}")));
        }
        if self.descriptors.len() > before.descriptors.len() + allowed.descriptors {
            let new =
                self.descriptors.iter().filter(|(number, what)| before.descriptors.get(number) != Some(what));
            more.extend(new.map(|(number, what)| format!("descriptor {number} {what}")));
        }
        if self.segments.len() > before.segments.len() + allowed.segments {
            more.extend(self.segments.iter().map(|what| format!("segment {what}")));
        }
        more
    }
}

/// What may stay, because it is the process's own and not a test's: a fork server and its sockets, say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Children more than at the beginning.
    pub children: usize,
    /// Descriptors more than at the beginning.
    pub descriptors: usize,
    /// Mapped segments more than at the beginning.
    pub segments: usize,
}

/// In the environment: the guard looks without nextest, too.
pub const LEAKS: &str = "IPC_LEAKS";

/// Whether what this process has is one test's, or that of tests that all have guards.
fn looks() -> bool {
    ["NEXTEST", LEAKS].iter().any(|name| std::env::var_os(name).is_some())
}

struct Active {
    guards: usize,
    before: Option<Snapshot>,
    allowed: Allowed,
}

static ACTIVE: Mutex<Active> = Mutex::new(Active {
    guards: 0,
    before: None,
    allowed: Allowed { children: 0, descriptors: 0, segments: 0 },
});

/// Begins a test that must leave nothing behind; the guard's drop is its end.
pub fn leaks() -> LeakGuard {
    let mut active = ACTIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if active.guards == 0 && looks() {
        active.before = Snapshot::take();
    }
    active.guards += 1;
    LeakGuard { _private: () }
}

/// Compares on drop, and panics if anything is left once a generous deadline has passed.
#[derive(Debug)]
pub struct LeakGuard {
    _private: (),
}

impl LeakGuard {
    /// For the rest of this process, so much may stay (the larger wins if several tests say so).
    pub fn allow(self, children: usize, descriptors: usize, segments: usize) -> LeakGuard {
        let allowed = &mut ACTIVE.lock().unwrap_or_else(PoisonError::into_inner).allowed;
        allowed.children = allowed.children.max(children);
        allowed.descriptors = allowed.descriptors.max(descriptors);
        allowed.segments = allowed.segments.max(segments);
        self
    }
}

impl Drop for LeakGuard {
    fn drop(&mut self) {
        let mut active = ACTIVE.lock().unwrap_or_else(PoisonError::into_inner);
        active.guards -= 1;
        if active.guards > 0 || std::thread::panicking() {
            return;
        }
        // The lock is kept: a test that begins now waits, and does not add what this one would report.
        let Some(before) = active.before.take() else { return };
        let allowed = active.allowed;
        let mut left = vec!["/proc could not be read".to_owned()];
        let clean = wait_until(GENEROUS / 4, || {
            if let Some(now) = Snapshot::take() {
                left = now.more_than(&before, allowed);
            }
            left.is_empty()
        });
        drop(active);
        assert!(clean, "left behind: {}", left.join("; "));
    }
}

fn children() -> Option<BTreeMap<u32, String>> {
    let me = std::process::id();
    let mut children = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()? {
        let Some(pid) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok()) else {
            continue;
        };
        let Some((state, parent)) = state_and_parent(pid) else { continue };
        if parent == me {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            children.insert(pid, format!("({state}) {}", command.trim()));
        }
    }
    Some(children)
}

fn descriptors() -> Option<BTreeMap<u32, String>> {
    let own = format!("/proc/{}/fd", std::process::id());
    let mut descriptors = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").ok()? {
        let entry = entry.ok()?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that another thread has closed meanwhile; and the one that this listing reads from.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if target != own {
            descriptors.insert(number, target);
        }
    }
    Some(descriptors)
}

fn segments() -> Option<Vec<String>> {
    let maps = fs::read("/proc/self/maps").ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let segment = |line: &&str| line.contains(" /memfd:") || line.contains(" /dev/shm/");
    Some(maps.lines().filter(segment).map(str::to_owned).collect())
}
