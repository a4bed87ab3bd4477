//! The lock beside a listener's path.
//!
//! A socket in the file system outlives its listener when that is killed, and nobody can bind the name again until somebody
//! removes it; but who removes it may hit a listener that lives. So a listener at `PATH` holds a lock on the file `PATH.lock` as
//! long as it lives ([flock(2)]: the kernel gives it back with the process, however that ends). Whoever gets the lock may remove
//! the socket, and whoever does not is told that the address is in use.
//!
//! The lock file is removed with the socket, under the lock. So one who waited for nothing but the `open` may hold a file that
//! has no name any more: the name is looked at again once the lock is held.
//!
//! Sockets of other programs know nothing of this lock. One that still answers is in use as well.
//!
//! [flock(2)]: https://man7.org/linux/man-pages/man2/flock.2.html

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;

use super::endpoint;
use crate::error::{Error, Ran, Result};
use crate::sys::incarnation::Incarnation;
use crate::sys::private::Private;

/// A path that this process may bind, as long as it has this.
#[derive(Debug)]
pub(crate) struct PathLock {
    /// Not kept by forked copies: they would hold the lock when this process is gone.
    file: Private,
    lock: PathBuf,
    /// The socket: its path, and its file as it was bound.
    socket: PathBuf,
    bound: Option<(u64, u64)>,
    owner: Incarnation,
}

impl PathLock {
    /// Takes the lock and removes what a dead listener has left.
    pub(crate) fn acquire(path: &Path) -> Result<PathLock> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let failed = |call: &str, error: io::Error| {
            Error::os(format!("could not listen at {}: {call} of {}", path.display(), lock.display()), error)
        };
        loop {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match openat(CWD, &lock, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed("open", error.into())),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => {
                    return Err(in_use(path, &format!("a listener that lives holds {}", lock.display())));
                }
                Err(error) => return Err(failed("flock", error.into())),
            }
            let held = fstat(&file).map_err(|error| failed("fstat", error.into()))?;
            match fs::symlink_metadata(&lock) {
                Ok(named) if (named.dev(), named.ino()) == (held.st_dev, held.st_ino) => {
                    let owner = Incarnation::this();
                    let mut held =
                        PathLock { file: file.into(), lock, socket: path.into(), bound: None, owner };
                    held.clear()?;
                    return Ok(held);
                }
                // It was removed, and perhaps made anew, between the open and the lock.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("stat", error)),
            }
        }
    }

    /// Removes a socket that nobody listens at.
    fn clear(&mut self) -> Result<()> {
        let path = &self.socket;
        let failed = |call: &str, error: io::Error| {
            Error::os(format!("could not listen at {}: {call}", path.display()), error)
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(in_use(path, "what is there is no socket, and stays"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("stat", error)),
        }
        match endpoint::is_dead(path) {
            Ok(true) => {}
            Ok(false) => return Err(in_use(path, "another program listens there")),
            Err(error) => return Err(failed("connect", error)),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("unlink", error)),
            _ => Ok(()),
        }
    }

    /// The socket has been bound: from now on it is removed with the lock.
    pub(crate) fn bound(&mut self) {
        self.bound = fs::symlink_metadata(&self.socket).ok().map(|file| (file.dev(), file.ino()));
    }

    /// The lock as another process can hold it too.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A lock that came with a listener: held, and nothing else.
pub(crate) type SharedLock = OwnedFd;

impl Drop for PathLock {
    fn drop(&mut self) {
        // A forked copy removes nothing: the listener is still its parent's.
        if !self.owner.is_this() {
            return;
        }
        // Somebody may have replaced the socket without asking for the lock; then it is theirs.
        let there = fs::symlink_metadata(&self.socket).ok().map(|file| (file.dev(), file.ino()));
        if self.bound.is_some() && there == self.bound {
            let _ = fs::remove_file(&self.socket);
        }
        let _ = fs::remove_file(&self.lock);
    }
}

/// With the number that `bind` would have given.
fn in_use(path: &Path, why: &str) -> Error {
    Error::Os {
        operation: format!("could not listen at {}", path.display()),
        source: Errno::ADDRINUSE.into(),
        hint: Some(why.into()),
        child: None,
        ran: Ran::MayHaveRun,
    }
}
