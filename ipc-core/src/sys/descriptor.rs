//! Descriptors by number: those a child inherits, and those it is to have at numbers of the parent's choice.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::private;

/// Takes a descriptor that the parent left open for this process, away from the numbers of the standard streams.
///
/// `None` when nothing is open at that number.
pub(crate) fn adopt_inherited(number: RawFd) -> io::Result<Option<OwnedFd>> {
    if number < 0 {
        return Ok(None);
    }
    // SAFETY: F_GETFD only looks the number up.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EBADF) { Ok(None) } else { Err(error) };
    }
    // SAFETY: the number is open. It stands in the marker, which only a parent of this family writes, for a descriptor
    // that it left open for nobody but this code; the marker has been removed, so it is taken once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    if number <= 2 {
        return Ok(Some(fcntl_dupfd_cloexec(&descriptor, 3)?));
    }
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(Some(descriptor))
}

/// Closes a number that this process inherited from the one it is a copy of, and that nothing here owns.
pub(crate) fn close_raw(number: RawFd) {
    if number >= 0 {
        // SAFETY: the callers run in a fresh copy of a process and name descriptors whose owners, in this copy,
        // are never dropped: they belong to frames of the other process, or were leaked.
        unsafe { libc::close(number) };
    }
}

/// A descriptor of this process's own by its number, which `cell` holds as long as it is open.
pub(crate) fn own(cell: &std::sync::atomic::AtomicI32) -> Option<BorrowedFd<'_>> {
    let number = cell.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: `cell` names the control socket or the lifeline of a child, which are open until the child ends.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// `/dev/null`, for reading and writing.
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

/// One of the process's standard streams, 0 to 2; `None` where that is closed.
pub(crate) fn standard_stream(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only looks the number up.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return None;
    }
    // SAFETY: open just now, and nobody who uses std closes a standard stream (`std::io::stdout().as_fd()` is the same).
    // Somebody who does anyway makes the child get the wrong stream, or none.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Moves a descriptor away if it stands on one of these numbers, or on that of a standard stream. Where that cannot be
/// done, it is given back.
pub(crate) fn move_off(descriptor: OwnedFd, numbers: &[RawFd]) -> Result<OwnedFd, (OwnedFd, io::Error)> {
    let fits = |number: RawFd| number > 2 && !numbers.contains(&number);
    if fits(descriptor.as_raw_fd()) {
        return Ok(descriptor);
    }
    // The numbers passed over stay occupied until a free one is found.
    let mut passed: Vec<OwnedFd> = Vec::new();
    loop {
        match fcntl_dupfd_cloexec(&descriptor, 3) {
            Ok(moved) if fits(moved.as_raw_fd()) => return Ok(moved),
            Ok(moved) => passed.push(moved),
            Err(error) => return Err((descriptor, error.into())),
        }
    }
}

/// Puts descriptors at their numbers, to be kept across an `exec` of the child's own. Gives the number that could not be had.
pub(crate) fn place(given: Vec<(RawFd, OwnedFd)>) -> Result<(), (RawFd, io::Error)> {
    let numbers: Vec<RawFd> = given.iter().map(|(number, _)| *number).collect();
    let moved: Result<Vec<_>, _> = given
        .into_iter()
        .map(|(number, d)| Ok((number, move_off(d, &numbers).map_err(|(_, e)| (number, e))?)))
        .collect();
    for (number, descriptor) in moved? {
        // In a forked child a value of the parent's may own the number, and would close what is put there.
        private::give_up(number, || {
            // SAFETY: the caller asked for this number, and what this crate owns in the child has been moved off
            // it. Whatever else stood there is replaced, as with a shell's redirection.
            match unsafe { libc::dup2(descriptor.as_raw_fd(), number) } {
                -1 => Err((number, io::Error::last_os_error())),
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}
