//! A segment that others write, for reading only.
//!
//! A mapping of its own, without the right to write, of a descriptor of its own, opened again for reading only: so who receives a view
//! cannot write by mistake, neither through it nor through what it travels as. Such a mapping does not count as a writer either, and a
//! segment can be frozen while others view it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::mapping::Mapping;
use super::{Segment, beyond, check, duplicate, holds_objects, of_fd};
use crate::error::{Error, Result};
use crate::sys::memory::Access;

/// A segment for reading only, while others write it. It can be sent inside values, to who should look on.
///
/// This guards against mistakes, **not against a hostile process of the same user**: that can open the descriptor again for writing,
/// through /proc/self/fd. Data that nobody can write to is [`Frozen`](super::Frozen).
///
/// ```
/// use ipc_shm::Segment;
///
/// let segment = Segment::new(8)?;
/// let view = segment.view()?;
/// segment.write(0, b"news")?;
/// let mut seen = [0; 4];
/// view.read(0, &mut seen)?;
/// assert_eq!((&seen, view.len()), (b"news", 8));
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[derive(Clone)]
pub struct View {
    pub(super) mapping: Arc<Mapping>,
}

#[allow(clippy::len_without_is_empty, reason = "none is empty")]
impl View {
    pub(super) fn of(segment: &Segment) -> Result<View> {
        let path = format!("/proc/self/fd/{}", segment.as_fd().as_raw_fd());
        let file =
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
                Error::os(format!("could not open a segment for reading: open {path}"), error)
            })?;
        let found = check::check(file.as_fd(), Access::View)?;
        Ok(View { mapping: Mapping::of(file, &found, Access::View)? })
    }

    /// How many bytes it has, at least one.
    #[inline]
    pub fn len(&self) -> usize {
        self.mapping.map.len()
    }

    /// Copies `into.len()` bytes from offset `at` on, as [`Segment::read`].
    ///
    /// # Errors
    /// [`Error::Invalid`]: that is more than there is; nothing was copied. [`Error::InUse`]: an object stands there ([`Value`](crate::Value),
    /// an arena …), or has, which this process knows; its guards give references, and beside those nobody copies.
    #[inline]
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        let copied = self.mapping.users.copying(|| self.mapping.map.read(at, into));
        match copied {
            Some(true) => Ok(()),
            Some(false) => Err(beyond(at, into.len(), self.len())),
            None => Err(holds_objects()),
        }
    }

    /// A view from a descriptor: one that [`into_fd`](View::into_fd) gave another process, or this one. It is made close-on-exec.
    ///
    /// ```
    /// use ipc_shm::{Segment, View};
    /// let segment = Segment::new(8)?;
    /// let view = View::from_fd(segment.view()?.into_fd()?)?;
    /// segment.write(7, &[1])?;
    /// let mut byte = [0];
    /// view.read(7, &mut byte)?;
    /// assert_eq!(byte, [1]);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// The descriptor is closed, and
    /// - [`Error::NotASegment`]: it is no memory file, or not sealed against shrinking and growing, or empty, or cannot be read.
    /// - [`Error::NoMemory`], [`Error::Os`]: it cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> Result<View> {
        Ok(View { mapping: of_fd(fd, Access::View)? })
    }

    /// A descriptor of it, open for reading only, for a process that cannot be sent a value: see [`Segment::into_fd`]. It is close-on-exec.
    ///
    /// # Errors
    /// [`Error::Os`]: no descriptor is left.
    pub fn into_fd(self) -> Result<OwnedFd> {
        duplicate(self.as_fd())
    }
}

/// A descriptor that is open for reading only.
impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("len", &self.len()).finish_non_exhaustive()
    }
}
