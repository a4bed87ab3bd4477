//! Descriptors that a forked copy of this process must not keep.
//!
//! A copy has every descriptor of the original. If it kept the parent's end of a sibling's lifeline, that sibling would
//! outlive the parent; if it kept control sockets, nobody would see the end of them. So each such descriptor is
//! listed while it is open, and a fork by this crate holds the list still, and puts `/dev/null` in the place of
//! each in the copy: the numbers stay valid for the values that own them there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

static OPEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

fn open() -> MutexGuard<'static, BTreeSet<RawFd>> {
    // A panic cannot leave the set half changed.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Private(Option<OwnedFd>);

impl From<OwnedFd> for Private {
    fn from(descriptor: OwnedFd) -> Private {
        open().insert(descriptor.as_raw_fd());
        Private(Some(descriptor))
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some(descriptor) => descriptor.as_fd(),
            None => unreachable!("taken only by drop"),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Closed under the lock: a number is listed exactly as long as it is this descriptor's.
        let mut open = open();
        if let Some(descriptor) = self.0.take() {
            open.remove(&descriptor.as_raw_fd());
            drop(descriptor);
        }
    }
}

/// Forks by `fork`, which returns `Ok(None)` in the copy, and takes the private descriptors away from the copy.
///
/// A copy from which they cannot be taken ends here, after `tell`: an error would be the *caller's*, who would go on with its
/// own work a second time.
pub(crate) fn fork_without<T, E>(
    fork: impl FnOnce() -> Result<Option<T>, E>,
    tell: impl FnOnce(&io::Error),
) -> Result<Option<T>, E> {
    let open = open();
    let forked = fork();
    if let Ok(None) = forked
        && let Err(e) = replace(&open)
    {
        tell(&e);
        super::process::exit_now(1);
    }
    forked
}

/// Puts `/dev/null` in the place of each of these.
fn replace(open: &BTreeSet<RawFd>) -> io::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    let null = super::descriptor::open_null()?;
    for &number in open {
        // SAFETY: the list holds only numbers of descriptors that are open and owned by a `Private`, and the lock kept it
        // so during the fork. The owners go on owning the numbers, now of `/dev/null`.
        if unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
