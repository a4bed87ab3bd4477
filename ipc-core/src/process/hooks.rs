//! Functions that run when a process ends, or when it was forked.
//!
//! [`at_exit`] and [`after_fork`] say when and in which order. The lists of the two differ: exit functions belong to the process that
//! registered them, so theirs is made anew in a forked child; what is to run after a fork must be there in the copy.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::entry::panics;
use crate::sys::fork_local::{AppendList, ForkLocal};
use crate::sys::incarnation::Incarnation;

/// This process's exit functions.
static AT_EXIT: ForkLocal<Mutex<Registry>> = ForkLocal::new();

/// What each forked child runs.
static AFTER_FORK: AppendList<Box<dyn Fn() + Send + Sync>> = AppendList::new();

#[derive(Default)]
struct Registry {
    next: u64,
    entries: Vec<Entry>,
}

struct Entry {
    priority: i32,
    number: u64,
    run: Box<dyn FnOnce() + Send>,
}

/// No function of the user's runs under the lock, so it is poisoned by nothing.
fn registry() -> Option<MutexGuard<'static, Registry>> {
    Some(AT_EXIT.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A function registered with [`at_exit`]. Dropping the handle changes nothing.
#[must_use = "dropping it is fine where the function is never to be cancelled: `let _ = at_exit(..)`"]
pub struct ExitHook {
    number: u64,
    owner: Incarnation,
}

impl fmt::Debug for ExitHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitHook").field("still_active", &self.still_active()).finish()
    }
}

/// Runs `f` once when this process exits normally; before its children are joined and daemons terminated where `priority` is 0 or more,
/// after it where it is less. Greater priorities run first, and among equals the latest: what was built last is taken down first. When
/// that is, and what happens around it: [at exit](crate#at-exit).
///
/// It runs in the process that registered it alone: a forked child has none of its parent's. After a signal, an abort or `_exit` nothing
/// of the process runs. A panic in it is reported on standard error, and the others run all the same.
///
/// Python's `multiprocessing.util.Finalize` with `exitpriority`.
///
/// ```
/// let hook = ipc_core::at_exit(10, || println!("goodbye"));
/// assert!(hook.still_active());
/// assert!(hook.call()); // now, instead of at exit
/// assert!(!hook.still_active());
/// assert!(!hook.call());
/// ```
pub fn at_exit(priority: i32, f: impl FnOnce() + Send + 'static) -> ExitHook {
    super::family::ensure_registered();
    let registry = AT_EXIT.get_or_make(Mutex::default);
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    let number = registry.next;
    registry.next += 1;
    registry.entries.push(Entry { priority, number, run: Box::new(f) });
    ExitHook { number, owner: Incarnation::this() }
}

impl ExitHook {
    /// Takes the function away, so that it will not run. False if it has run, was cancelled, or belongs to another
    /// process (a forked child's copy of the handle can do nothing).
    pub fn cancel(&self) -> bool {
        self.take().is_some()
    }

    /// Runs the function now, in this thread, instead of at exit. False if there is nothing to run, as with
    /// [`cancel`](ExitHook::cancel).
    ///
    /// # Panics
    ///
    /// If the function does; it counts as run.
    pub fn call(&self) -> bool {
        let Some(entry) = self.take() else { return false };
        (entry.run)();
        true
    }

    /// Whether it is still to run in this process.
    pub fn still_active(&self) -> bool {
        self.owner.is_this()
            && registry()
                .is_some_and(|registry| registry.entries.iter().any(|entry| entry.number == self.number))
    }

    fn take(&self) -> Option<Entry> {
        if !self.owner.is_this() {
            return None;
        }
        let mut registry = registry()?;
        let at = registry.entries.iter().position(|entry| entry.number == self.number)?;
        Some(registry.entries.remove(at))
    }
}

/// Runs `f` in every child that is made by copying this process, before its function, to replace what the two must not share:
/// connections, caches, random generators. Several run in the order in which they were registered; a panic in one is reported on
/// standard error, and the others run all the same. It stays registered for good, in the children too.
///
/// Copies are the children of [`Context::fork`](crate::Context::fork) and [`Builder::fork`](crate::Builder::fork), and those of a fork server,
/// which are the server's: what its [preload](crate::Context::preload) has registered runs in each of them, what the calling process
/// has registered does not.
///
/// Python's `multiprocessing.util.register_after_fork`. A fork made by other code (`libc::fork`) does not run it.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static SEED: AtomicU64 = AtomicU64::new(1);
/// ipc_core::after_fork(|| SEED.store(u64::from(std::process::id()), Ordering::Relaxed));
/// ```
pub fn after_fork(f: impl Fn() + Send + Sync + 'static) {
    AFTER_FORK.append(Box::new(f));
}

/// Runs this process's exit functions of at least this priority, and those that they register meanwhile.
pub(crate) fn run_at_exit(least: i32) {
    loop {
        let next = registry().and_then(|mut registry| {
            let entries = registry.entries.iter().enumerate().filter(|(_, entry)| entry.priority >= least);
            let (at, _) = entries.max_by_key(|(_, entry)| (entry.priority, entry.number))?;
            Some(registry.entries.remove(at))
        });
        // The lock is free again: the function may register or cancel others.
        let Some(entry) = next else { return };
        panics::contain(entry.run);
    }
}

/// Runs the after-fork functions, in a child that was just forked.
pub(crate) fn run_after_fork() {
    for f in AFTER_FORK.iter() {
        panics::contain(f);
    }
}

#[cfg(test)]
mod tests;
