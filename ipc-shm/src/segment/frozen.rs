//! Frozen: a segment that became a constant.
//!
//! With `F_SEAL_WRITE` ([fcntl(2)](https://man7.org/linux/man-pages/man2/F_ADD_SEALS.2const.html)) the kernel refuses every write to the file and every
//! shared mapping that could write; and it refuses the seal as long as there is such a mapping. So behind the seal no process can
//! write, and the bytes may be what Rust calls a `&[u8]`.
//!
//! | step of freezing | if it fails |
//! |---|---|
//! | this process has one handle, and no lock is held within | the segment comes back as it was |
//! | mapped for reading, privately | the same |
//! | the old mapping is given up, its addresses are kept | the same |
//! | sealed | mapped again at the same place: nobody can have taken that |

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::mapping::{self, Mapping};
use super::{Segment, duplicate, of_fd};
use crate::error::{Error, Result};
use crate::sys::memory::{Access, Constant, Map};

/// Memory that processes share and nobody can write to any more: [`Segment::freeze`] makes it.
///
/// It derefs to its bytes. A clone is another handle on the same mapping; sent inside a value, it is mapped by its receiver, once however often it arrives;
/// the receiver makes sure that it is sealed, and nothing is copied.
///
/// ```
/// use ipc_shm::{Frozen, Segment};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let segment = Segment::new(3)?;
/// segment.write(0, &[1, 2, 3])?;
/// let data = segment.freeze()?;
/// let sum = ipc_core::spawn(|data: Frozen| data.iter().map(|n| u32::from(*n)).sum::<u32>(), (data.clone(),))?;
/// assert_eq!(sum.join()?, 6);
/// assert_eq!(data[2], 3);
/// # Ok(())
/// # }
/// ```
///
/// # A large data set, built once
///
/// What many processes read is built by one of them, in a segment; the others have the same memory, as a slice, from the first
/// instant on: nothing is copied, and nothing encoded. Frozen data begins at a page, so it can be taken for numbers of any kind that is plain
/// (`examples/dataset.rs` is the whole of it, with figures):
///
/// ```
/// use ipc_shm::{Frozen, Segment, bytemuck};
///
/// /// Runs in a child.
/// fn longest(data: Frozen, first: usize, last: usize) -> f32 {
///     let numbers: &[f32] = data.as_slice_of().expect("it was written as such");
///     numbers[first..last].iter().copied().fold(0.0, f32::max)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const NUMBERS: usize = 100_000;
/// let segment = Segment::new(NUMBERS * size_of::<f32>())?;
/// for (n, piece) in [[1.5_f32; 1000], [2.5; 1000]].iter().cycle().take(100).enumerate() {
///     segment.write(n * size_of_val(piece), bytemuck::cast_slice(piece))?;
/// }
/// let data = segment.freeze()?;          // from here on nobody can write, this process included
///
/// let halves = [0, NUMBERS / 2].map(|first| (data.clone(), first, first + NUMBERS / 2));
/// let children = halves.map(|half| ipc_core::spawn(longest, half));
/// for child in children {
///     assert_eq!(child?.join()?, 2.5);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Frozen {
    constant: Constant<Arc<Mapping>>,
}

impl Frozen {
    /// Frozen data from its descriptor, which [`AsFd`] gives. It is made close-on-exec.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use ipc_shm::{Frozen, Segment};
    /// let frozen = Segment::new(3)?.freeze()?;
    /// let again = Frozen::from_fd(frozen.as_fd().try_clone_to_owned().unwrap())?;
    /// assert_eq!(*again, [0, 0, 0]);
    /// assert!(Frozen::from_fd(Segment::new(3)?.into_fd()?).is_err(), "that can be written");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// The descriptor is closed, and
    /// - [`Error::NotASegment`]: it is no memory file, or not sealed against writing, shrinking and growing, or empty.
    /// - [`Error::NoMemory`], [`Error::Os`]: it cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> Result<Frozen> {
        Frozen::of(of_fd(fd, Access::Private)?)
    }

    pub(super) fn of(mapping: Arc<Mapping>) -> Result<Frozen> {
        let constant =
            Constant::of(mapping).map_err(|error| Error::os("could not map frozen data", error))?;
        Ok(Frozen { constant })
    }

    /// A descriptor of it, for a process that cannot be sent a value: see [`Segment::into_fd`]. It is close-on-exec.
    ///
    /// # Errors
    /// [`Error::Os`]: no descriptor is left.
    pub fn into_fd(self) -> Result<OwnedFd> {
        duplicate(self.as_fd())
    }

    /// Its bytes as plain data of another kind: numbers, say. They begin at a page, so that data of any kind is aligned.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the bytes are not a whole number of `T`.
    pub fn as_slice_of<T: bytemuck::Pod>(&self) -> Result<&[T]> {
        bytemuck::try_cast_slice(self).map_err(|error| {
            Error::invalid(
                std::any::type_name::<T>(),
                format!("of {} bytes of frozen data: {error}", self.len()),
            )
        })
    }

    pub(super) fn mapping(&self) -> &Mapping {
        self.constant.get_ref()
    }
}

impl Deref for Frozen {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.constant
    }
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsFd for Frozen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping().as_fd()
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// See [`Segment::freeze`].
pub(super) fn freeze(segment: Segment) -> Result<Frozen, FreezeError> {
    let whole = |mapping, error| FreezeError { segment: Some(Segment { mapping }), error };
    // Before it is taken out of its handle, from which on the table does not find it.
    let map = match prepare(&segment.mapping) {
        Ok(map) => map,
        Err(error) => return Err(whole(segment.mapping, error)),
    };
    let Mapping { map: old, reserved, users, entry } = match Arc::try_unwrap(segment.mapping) {
        Ok(mapping) => mapping,
        Err(shared) => {
            let others = Arc::strong_count(&shared).saturating_sub(1).max(1);
            return Err(whole(shared, in_use(format!("this process has {others} more handles on it"))));
        }
    };
    let vacant = match old.vacate() {
        Ok(vacant) => vacant,
        Err((old, error)) => {
            let error = Error::os("could not freeze a segment: mmap", error);
            return Err(whole(Mapping::again(old, reserved, users, entry), error));
        }
    };
    if let Err(error) = rustix::fs::fcntl_add_seals(&vacant, SealFlags::WRITE) {
        let error = match error {
            Errno::BUSY => in_use("another process, or a forked copy of this one, has it mapped for writing"),
            other => Error::os("could not freeze a segment: fcntl(F_ADD_SEALS)", other),
        };
        let again = |map| Segment { mapping: Mapping::again(map, reserved, users, entry) };
        let segment = vacant.map().ok().map(again);
        return Err(FreezeError { segment, error });
    }
    drop(vacant);
    let frozen = Mapping::enter(map, reserved, entry.key(), Access::Private);
    Frozen::of(frozen).map_err(|error| FreezeError { segment: None, error })
}

/// The mapping that is to be the frozen one.
fn prepare(mapping: &Mapping) -> Result<Map> {
    if mapping.map.is_locked_within() {
        return Err(in_use("a thread of this process holds a lock in it"));
    }
    mapping::map(duplicate(mapping.as_fd())?, mapping.map.len(), Access::Private)
}

fn in_use(why: impl Into<String>) -> Error {
    Error::InUse { what: "freeze a segment".to_owned(), why: why.into() }
}

/// A segment could not be frozen; it comes back.
///
/// `?` turns it into the crate's [`Error`].
///
/// ```
/// use ipc_shm::{Error, Segment};
/// let segment = Segment::new(1)?;
/// let other = segment.clone();
/// let failed = segment.freeze().unwrap_err();
/// assert!(matches!(failed.error(), Error::InUse { .. }));
/// drop(other);
/// let segment = failed.into_segment().expect("its memory was not short");
/// assert_eq!(*segment.freeze()?, [0]);
/// # Ok::<(), Error>(())
/// ```
pub struct FreezeError {
    segment: Option<Segment>,
    error: Error,
}

impl FreezeError {
    /// The segment. `None` only where the kernel had no memory left of its own to map it again.
    pub fn into_segment(self) -> Option<Segment> {
        self.segment
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Both.
    pub fn into_parts(self) -> (Option<Segment>, Error) {
        (self.segment, self.error)
    }
}

impl From<FreezeError> for Error {
    fn from(error: FreezeError) -> Error {
        error.error
    }
}

impl fmt::Debug for FreezeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for FreezeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for FreezeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
