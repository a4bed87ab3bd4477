//! Who uses a file's memory itself: those who copy bytes in or out at this moment, or, once and for all, the objects that stand there. Their guards give
//! references, beside which nobody may copy.
//!
//! | value | means | left by |
//! |---|---|---|
//! | 0 | nobody | a copy: 1; an object: `OBJECTS` |
//! | n | so many copies are under way | their ends; an object: `OBJECTS` with n |
//! | `OBJECTS` with n | objects stand there, or will: no copy begins any more; n are under way still, or have come and are about to be refused | their ends |
//! | `OBJECTS` | objects stand there | |
//!
//! A copy comes to its end, an object stays: so the object waits, and its `OBJECTS` is there before it does. It waits for ten seconds at the most: in a forked copy of
//! a process a copy may be counted whose thread it has not.

use std::time::{Duration, Instant};

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicUsize;
use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ipc_core::primitive::thread::yield_now;

const OBJECTS: usize = 1 << (usize::BITS - 1);

/// How long an object waits for copies to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub struct Users(AtomicUsize);

impl Users {
    /// Nobody.
    #[allow(clippy::new_without_default, reason = "nobody is generic over it")]
    pub fn new() -> Users {
        Users(AtomicUsize::new(0))
    }

    /// Calls `copy`, unless objects stand there.
    #[inline]
    pub fn copying<R>(&self, copy: impl FnOnce() -> R) -> Option<R> {
        // Those who come in vain do not keep an object waiting.
        if self.0.load(Relaxed) & OBJECTS != 0 && !mutant::is("a copy is not refused") {
            return None;
        }
        let before = self.0.fetch_add(1, Acquire);
        let copied = (before & OBJECTS == 0 || mutant::is("a copy is not refused")).then(copy);
        self.0.fetch_sub(1, Release);
        copied
    }

    /// From now on objects stand there; when this returns, nobody copies any more. Gives whether some did before; `None`: somebody copied for ten seconds, and
    /// nobody else will.
    pub fn claim(&self) -> Option<bool> {
        let before = self.0.fetch_or(OBJECTS, AcqRel);
        let since = (before & !OBJECTS != 0).then(Instant::now);
        while self.0.load(Acquire) & !OBJECTS != 0 && !mutant::is("an object does not wait") {
            if since.is_some_and(|since| since.elapsed() > PATIENCE) {
                return None;
            }
            yield_now();
        }
        Some(before & OBJECTS != 0)
    }
}
