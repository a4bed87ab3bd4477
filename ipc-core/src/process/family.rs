//! The children of this process together, and the process's own end.
//!
//! When a process exits normally (`main` returns, `std::process::exit`, or a child leaves), in this order:
//! hooks of priority 0 and above run; daemon children get SIGTERM and a second to end; the other
//! children are joined; the remaining hooks run. What is left then is killed through its lifeline. None of
//! this happens when the process is killed, aborts or calls `_exit`; then the lifelines end all children at once.
//!
//! In the program's first process this is an atexit handler of the C library, registered with the first child
//! or hook. It runs after `main` has returned, on the main thread, while other threads may still run; thread-local
//! values of the main thread may be gone. Children made by other threads after that are killed, not joined.
//! Registered from inside a shared library, it runs when that is unloaded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hooks;
use super::life::{Body, Life};
use super::registry::Registry;
use super::signal::Signal;
use crate::error::Result;
use crate::primitive::sync::Arc;
use crate::process::child::ActiveChild;
use crate::sys;
use crate::sys::fork_local::ForkLocal;

/// How long a daemon has between SIGTERM and the end of its parent, which ends it as well.
const GRACE: Duration = Duration::from_secs(1);

struct Family {
    registry: Registry<Life>,
    at_exit: AtomicBool,
    finished: AtomicBool,
}

static FAMILY: ForkLocal<Family> = ForkLocal::new();

fn family() -> &'static Family {
    FAMILY.get_or_make(|| Family {
        registry: Registry::new(),
        at_exit: AtomicBool::new(false),
        finished: AtomicBool::new(false),
    })
}

pub(crate) fn registry() -> &'static Registry<Life> {
    &family().registry
}

/// The children of this process that run, in no particular order. Those that have ended are waited for by
/// this, and not among them; neither are detached ones, nor helpers of this crate.
///
/// ```
/// use ipc_core::{active_children, spawn, Context};
///
/// # fn main() -> ipc_core::Result<()> {
/// let child = spawn(|| std::thread::park(), ())?;
/// assert_eq!(active_children().len(), 1);
/// child.kill()?;
/// child.wait()?;
/// assert!(active_children().is_empty());
/// # Ok(())
/// # }
/// ```
pub fn active_children() -> Vec<ActiveChild> {
    let running = registry().running().into_iter();
    running.filter(|life| !life.detached.load(Ordering::Relaxed)).map(ActiveChild).collect()
}

/// Registers [`finish`] to run at this process's normal exit.
pub(crate) fn ensure_registered() {
    if !family().at_exit.swap(true, Ordering::Relaxed) {
        sys::exit::at_exit_once(at_exit);
    }
}

extern "C" fn at_exit() {
    finish();
}

/// Enters a new child.
pub(crate) fn add(life: Arc<Life>) {
    ensure_registered();
    registry().add(life);
}

/// The end of this process, as the module's documentation tells it. The second call does nothing.
pub(crate) fn finish() {
    let Some(family) = FAMILY.get() else { return };
    if family.finished.swap(true, Ordering::Relaxed) {
        return;
    }
    hooks::run_at_exit(0);
    let kept = |life: &Arc<Life>| !life.detached.load(Ordering::Relaxed);
    let daemons: Vec<_> =
        family.registry.running().into_iter().filter(kept).filter(|life| life.daemon).collect();
    for daemon in &daemons {
        // A daemon that is a thread ends with the process.
        let _ = daemon.signal(Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    for daemon in daemons.iter().filter(|d| matches!(d.body, Body::Process { .. })) {
        let _: Result<_> = daemon.wait(Some(deadline));
    }
    for child in family.registry.running().into_iter().filter(kept).filter(|life| !life.daemon) {
        let _: Result<_> = child.wait(None);
        child.drain_relayed();
    }
    hooks::run_at_exit(i32::MIN);
}
