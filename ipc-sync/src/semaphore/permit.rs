//! What an owner of permits holds.

use std::fmt;

use ipc_core::primitive::process::Incarnation;

use super::owned::Raw;

/// Permits of a [`Semaphore`](crate::Semaphore) or a [`BoundedSemaphore`](crate::BoundedSemaphore), as long as this lives; dropped, it gives them back.
///
/// They are the process's: any of its threads may have and drop it. A forked copy gives nothing back, for it has nothing.
#[must_use = "the permit is given back as soon as this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Raw,
    permits: u32,
    of: Incarnation,
}

impl<'a> Permit<'a> {
    pub(super) fn new(semaphore: &'a Raw, permits: u32) -> Permit<'a> {
        Permit { semaphore, permits, of: Incarnation::this() }
    }

    /// How many permits.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Keeps them acquired: they come back by `release`, or with the death of the process.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 && self.of.is_this() {
            // Refused where somebody has released them already.
            let _ = self.semaphore.release(self.permits);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish()
    }
}
