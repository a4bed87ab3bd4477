//! The children of this process together, and the process's own end.
//!
//! What happens at the exit, in which order, and the limits of it, stand in the crate's documentation, under "At exit";
//! [`finish`] does it. In the program's first process it is an atexit handler of the C library; a child calls it when it leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hooks;
use super::life::{Body, Life};
use super::registry::Registry;
use super::signal::Signal;
use crate::error::Result;
use crate::primitive::sync::Arc;
use crate::process::active::ActiveChild;
use crate::sys;
use crate::sys::fork_local::ForkLocal;

/// How long a daemon has between SIGTERM and the end of its parent, which ends it as well. Long enough for what a handler of SIGTERM
/// does, short enough for a program that is to end. A constant: who wants another ends the daemon in a hook, and waits there.
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
/// this, and not among them. Neither are detached ones, which are nobody's to wait for (a handle that was kept still is good for
/// that), nor helpers of this crate.
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

/// The end of this process, as the crate's documentation tells it. The second call does nothing.
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
    let on_main_thread = sys::process::is_main_thread();
    let awaited =
        |life: &Arc<Life>| !life.daemon && (on_main_thread || !matches!(life.body, Body::Thread { .. }));
    for child in family.registry.running().into_iter().filter(kept).filter(awaited) {
        let _: Result<_> = child.wait(None);
        child.drain_relayed();
    }
    hooks::run_at_exit(i32::MIN);
}
