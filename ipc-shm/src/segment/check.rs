//! Looking at a descriptor before it is used: is it what it is said to be?
//!
//! It came in a message, or from a process that was started by other means. Used unseen, a file that is shorter, or that its owner cuts
//! off later, ends the reader with SIGBUS, and one that is not sealed is no promise at all. So each property that the code relies on is
//! asked for, the seals first: only behind them does the size stay what it is.

use std::os::fd::BorrowedFd;

use rustix::fs::{OFlags, SealFlags};
use rustix::io::Errno;

use super::file::SIZE;
use crate::error::{Error, Result};
use crate::sys::memory::{Access, CONSTANT};

/// What a descriptor was found to be.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) len: usize,
    /// It has no holes.
    pub(crate) reserved: bool,
    pub(crate) key: Key,
}

/// A file, as long as somebody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Makes sure that a descriptor can be mapped like this, and stays as it is.
///
/// # Errors
/// [`Error::NotASegment`] with what is wrong with it.
pub(crate) fn check(file: BorrowedFd<'_>, access: Access) -> Result<Found> {
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|error| match error {
        Errno::INVAL => Error::not_a_segment("it is no memory file"),
        Errno::BADF => Error::not_a_segment("it was opened as a path only"),
        other => Error::os("could not look at a descriptor: fcntl(F_GET_SEALS)", other),
    })?;
    if !seals.contains(SIZE) {
        return Err(Error::not_a_segment("it is not sealed against shrinking and growing"));
    }
    let no_writing = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
    match access {
        Access::Shared if no_writing => {
            return Err(Error::not_a_segment(
                "it is sealed against writing: frozen data, and no live segment",
            ));
        }
        Access::Private if !seals.contains(CONSTANT) => {
            return Err(Error::not_a_segment(
                "it is not sealed against writing: a live segment, and no frozen data",
            ));
        }
        _ => {}
    }
    let flags = rustix::fs::fcntl_getfl(file)
        .map_err(|error| Error::os("could not look at a descriptor: fcntl(F_GETFL)", error))?;
    match flags & OFlags::RWMODE {
        OFlags::RDWR if access != Access::View || no_writing => {}
        // As a view it would be handed on, and whoever receives it could write.
        OFlags::RDWR => return Err(Error::not_a_segment("it is open for writing as well, and no view")),
        OFlags::RDONLY if access != Access::Shared => {}
        _ if access == Access::Shared => {
            return Err(Error::not_a_segment("it is not open for reading and writing"));
        }
        _ => return Err(Error::not_a_segment("it is not open for reading")),
    }
    let stat =
        rustix::fs::fstat(file).map_err(|error| Error::os("could not look at a descriptor: fstat", error))?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    match usize::try_from(size) {
        Ok(0) => Err(Error::not_a_segment("it is empty")),
        Ok(len) if isize::try_from(len).is_ok() => Ok(Found {
            len,
            reserved: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) >= size,
            key: Key { device: stat.st_dev, inode: stat.st_ino },
        }),
        _ => Err(Error::not_a_segment(format!("its size is {size} bytes"))),
    }
}

/// The same for one that a message brought, with what the message says of it.
pub(crate) fn check_said(file: BorrowedFd<'_>, access: Access, len: u64, reserved: bool) -> Result<Found> {
    let found = check(file, access)?;
    if found.len as u64 != len {
        return Err(Error::not_a_segment(format!("it has {} bytes, and its message says {len}", found.len)));
    }
    if reserved && !found.reserved {
        return Err(Error::not_a_segment("it has holes, and its message says that all of it is reserved"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
