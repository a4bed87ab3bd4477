//! What an owner of permits holds: borrowed from its semaphore, or with a handle of its own.

use std::fmt;

use ipc_core::primitive::process::Incarnation;

use super::owned::Raw;

/// Permits of a [`Semaphore`](crate::Semaphore) or a [`BoundedSemaphore`](crate::BoundedSemaphore), as long as this lives; dropped, it gives them back.
///
/// They are the process's: any of its threads may have and drop it. A forked copy gives nothing back, for it has nothing; and what somebody has
/// [released](crate::Semaphore::release) meanwhile, this process or another, is not given back a second time.
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

impl Permit<'_> {
    /// The same with a handle of its own.
    pub(super) fn into_owned(self) -> OwnedPermit {
        let owned = OwnedPermit { semaphore: self.semaphore.clone(), permits: self.permits, of: self.of };
        self.forget();
        owned
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.semaphore, self.permits, self.of);
    }
}

#[inline]
fn give_back(semaphore: &Raw, permits: u32, of: Incarnation) {
    if permits > 0 && of.is_this() {
        // It fails where the thread is kept from the lock: its process has them until it dies.
        let _ = semaphore.give_back(permits);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish()
    }
}

/// A [`Permit`] with a handle of its own on the semaphore, so that it goes where it is wanted in this process: into a thread, a task, a structure. (A forked child's closure
/// does not take it along: it belongs to the process that has acquired it.)
///
/// ```
/// use ipc_sync::Semaphore;
///
/// let connections = Semaphore::new(2)?;
/// let permit = connections.acquire_owned()?;
/// let thread = std::thread::spawn(move || {
///     // … with a connection
///     drop(permit);
/// });
/// thread.join().unwrap();
/// assert_eq!(connections.available(), 2);
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[must_use = "the permit is given back as soon as this is dropped"]
pub struct OwnedPermit {
    semaphore: Raw,
    permits: u32,
    of: Incarnation,
}

impl OwnedPermit {
    /// How many permits.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Keeps them acquired: they come back by `release`, or with the death of the process.
    pub fn forget(mut self) {
        // The handle is dropped.
        self.permits = 0;
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        give_back(&self.semaphore, self.permits, self.of);
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("permits", &self.permits).finish()
    }
}
