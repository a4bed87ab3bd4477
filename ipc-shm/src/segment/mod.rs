//! Segments: memory that processes share.
//!
//! A segment is a memory file, mapped. It has no name, so nothing can leak: the kernel counts who has it, and frees it with the last
//! descriptor and the last mapping, however their processes end. It travels inside values, as any descriptor does
//! ([`ipc_core::Descriptor`]); whoever receives it looks at it first.
//!
//! What it is to its users, and what becomes of it when one dies, is told by [`Segment`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sys::memory::Access;

mod check;
mod file;
mod frozen;
mod limits;
mod mapping;
mod travel;
pub mod users;
mod view;

pub use file::HugePage;
pub(crate) use file::Pages;
pub use frozen::{FreezeError, Frozen};
use mapping::Mapping;
pub use view::View;

/// A handle on memory that processes share; see the [crate's documentation](crate).
///
/// A clone is another handle on the same mapping, and so is one that arrives in a message while this process has the segment: a
/// segment is mapped once in a process. The last handle that is dropped unmaps it; the memory lives on as long as another process has it. (Only where a
/// thread still holds a lock inside, its guard forgotten, the mapping stays: the kernel must find the lock when the thread ends.)
///
/// It can be sent inside values, over every connection that carries descriptors. It is no secret from whom it was sent to, and cannot be
/// taken back.
///
/// ```
/// use ipc_shm::Segment;
///
/// fn fill(segment: Segment) -> ipc_shm::Result<()> {
///     segment.write(4, b"from the child")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let segment = Segment::new(4096)?;
/// ipc_core::spawn(fill, (segment.clone(),))?.join()??;
/// let mut text = [0; 14];
/// segment.read(4, &mut text)?;
/// assert_eq!(&text, b"from the child");
/// # Ok(())
/// # }
/// ```
///
/// | form | who may write | Rust sees |
/// |---|---|---|
/// | [`Segment`] | everybody who has it | an address, and copies in and out |
/// | [`View`] of one | who has the segment | copies out |
/// | [`Frozen`] | nobody any more, and the kernel keeps to that | a slice |
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | one who has a segment | nothing: the others have it, with what was written so far |
/// | the last one who has it | the kernel frees it |
/// | one amid a copy | a part of the copy is written; what must be whole stands under a lock, or is frozen first |
/// | a sender, with a segment in a message that nobody received | the message is dropped with its connection, and the segment with it |
///
/// # Where the memory comes from
///
/// [`Segment::new`] reserves it: memory that is short is an error then and there, which names need and limit, and no SIGBUS or OOM
/// killer later. [`Segment::lazy`] takes each page when it is touched.
#[derive(Clone)]
pub struct Segment {
    mapping: Arc<Mapping>,
}

#[allow(clippy::len_without_is_empty, reason = "none is empty")]
impl Segment {
    /// A segment of `len` bytes, all zero, reserved: no access can fail later for want of memory.
    ///
    /// A memory file ([memfd_create(2)]), close-on-exec and not executable, sealed against shrinking and growing, filled by [fallocate(2)]. Before,
    /// and again after every 32 MiB, what is still needed is compared with what the machine has and with what each enclosing memory control group
    /// has left. Between two looks others may take it all the same: then the OOM killer is the judge, as ever.
    ///
    /// ```
    /// let segment = ipc_shm::Segment::new(1 << 20)?;
    /// assert_eq!(segment.len(), 1 << 20);
    /// let error = ipc_shm::Segment::new(1 << 60).unwrap_err();
    /// assert!(matches!(error, ipc_shm::Error::NoMemory { needed: 0x1000_0000_0000_0000, .. }), "{error}");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Invalid`]: `len` is 0, or more than `isize::MAX`.
    /// - [`Error::NoMemory`]: more than the machine, a control group, RLIMIT_FSIZE (which counts for memory files as well) or RLIMIT_AS of this
    ///   process leaves.
    /// - [`Error::Os`]: no descriptor is left, or what else the kernel says.
    ///
    /// [memfd_create(2)]: https://man7.org/linux/man-pages/man2/memfd_create.2.html
    /// [fallocate(2)]: https://man7.org/linux/man-pages/man2/fallocate.2.html
    pub fn new(len: usize) -> Result<Segment> {
        Segment::create(len, Pages::Reserved)
    }

    /// A segment of `len` bytes, all zero, of which each page is taken when it is first touched. For large ones that are used in part, and for what
    /// is to grow: a segment's length is sealed, so it is made as long as it may ever become.
    ///
    /// The price: where memory is short at that time, touching a page is no error but **SIGBUS, or the OOM killer's SIGKILL**, for this process or
    /// another one. Only RLIMIT_FSIZE and the process's addresses are compared with `len`.
    ///
    /// ```
    /// // More than most machines have.
    /// let table = ipc_shm::Segment::lazy(1 << 42)?;
    /// table.write(1 << 41, b"here")?;
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Segment::new), without the machine's memory and the groups'.
    pub fn lazy(len: usize) -> Result<Segment> {
        Segment::create(len, Pages::Lazy)
    }

    /// Reserves a part of a [lazy](Segment::lazy) segment: no access to it can fail later for want of memory. What is reserved already stays so.
    ///
    /// ```
    /// let segment = ipc_shm::Segment::lazy(1 << 40)?;
    /// segment.reserve(1 << 20, 4096)?;
    /// segment.write(1 << 20, b"here")?;
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]: it has not as many bytes; [`Error::NoMemory`] and [`Error::Os`], as [`new`](Segment::new).
    pub fn reserve(&self, at: usize, len: usize) -> Result<()> {
        if at.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(beyond(at, len, self.len()));
        }
        if len == 0 { Ok(()) } else { file::reserve_part(self.as_fd(), at, len) }
    }

    /// A segment of at least `len` bytes in huge pages, reserved: `len` is rounded up to a multiple of `page`.
    ///
    /// They come from a pool that the machine's administrator sets aside (`MFD_HUGETLB`; [hugetlbpage]), and are gone back to it with the segment.
    ///
    /// ```
    /// use ipc_shm::{Error, HugePage, Segment};
    /// match Segment::huge(3 << 20, HugePage::Mib2) {
    ///     Ok(segment) => assert_eq!(segment.len(), 4 << 20),
    ///     Err(Error::NoMemory { needed, .. }) => assert_eq!(needed, 4 << 20),
    ///     Err(other) => println!("{other}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Invalid`]: as [`new`](Segment::new), and where this machine has no pages of that size.
    /// - [`Error::NoMemory`]: the pool has fewer free pages, or a limit of the process is met.
    /// - [`Error::Os`]: as [`new`](Segment::new).
    ///
    /// [hugetlbpage]: https://docs.kernel.org/admin-guide/mm/hugetlbpage.html
    pub fn huge(len: usize, page: HugePage) -> Result<Segment> {
        // What cannot be rounded up is refused for its length.
        let rounded = len.checked_next_multiple_of(page.bytes()).unwrap_or(len);
        Segment::create(rounded, Pages::Huge(page))
    }

    /// What tells its file from all others, in every process.
    pub(crate) fn number(&self) -> ipc_core::primitive::message::Key {
        self.mapping.entry.number()
    }

    pub(crate) fn create(len: usize, pages: Pages) -> Result<Segment> {
        let file = file::create(len, pages)?;
        let found = check::check(file.as_fd(), Access::Shared)?;
        Ok(Segment { mapping: Mapping::of(file, &found, Access::Shared)? })
    }

    /// A segment from its descriptor: one that [`into_fd`](Segment::into_fd) gave another process, or this one. It is made close-on-exec.
    ///
    /// ```
    /// use ipc_shm::Segment;
    /// let segment = Segment::new(100)?;
    /// segment.write(0, b"same")?;
    /// let other = Segment::from_fd(segment.clone().into_fd()?)?;
    /// assert_eq!((other.len(), other.as_ptr()), (100, segment.as_ptr()));
    ///
    /// let file = std::fs::File::open("/dev/null").unwrap();
    /// let error = Segment::from_fd(file.into()).unwrap_err();
    /// assert!(matches!(error, ipc_shm::Error::NotASegment { .. }), "{error}");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// The descriptor is closed, and
    /// - [`Error::NotASegment`]: it is no memory file, or not sealed against shrinking and growing, or sealed against writing, not open for
    ///   both reading and writing, or empty.
    /// - [`Error::NoMemory`], [`Error::Os`]: it cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> Result<Segment> {
        Ok(Segment { mapping: of_fd(fd, Access::Shared)? })
    }

    /// A descriptor of the segment, for a process that is started by other means, as [`std::process::Command`]; there
    /// [`from_fd`](Segment::from_fd) makes a segment of it again. It is a duplicate, close-on-exec.
    ///
    /// ```
    /// use std::process::{Command, Stdio};
    /// let segment = ipc_shm::Segment::new(5)?;
    /// segment.write(0, b"hello")?;
    /// let output = Command::new("cat").stdin(Stdio::from(segment.into_fd()?)).output().unwrap();
    /// assert_eq!(output.stdout, b"hello");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`]: no descriptor is left. (Use [`AsFd`] to duplicate it and keep the segment.)
    pub fn into_fd(self) -> Result<OwnedFd> {
        duplicate(self.as_fd())
    }

    /// How many bytes it has, at least one: as many as it was made with, and not rounded up to whole pages.
    #[inline]
    pub fn len(&self) -> usize {
        self.mapping.map.len()
    }

    /// Where it begins in this process: a page boundary, elsewhere another one.
    ///
    /// The address is good for [`len`](Segment::len) bytes as long as a handle on the segment is there. What may be done with it is for
    /// the one who does it to know: other processes read and write there at any time. So make no reference to what lies there unless it is of atomics, or
    /// guarded by a lock that all of them keep to.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// let segment = ipc_shm::Segment::new(64)?;
    /// // SAFETY: 8 bytes at a page boundary, mapped as long as `segment` is; an atomic may be changed by others.
    /// let counter = unsafe { &*segment.as_ptr().cast::<AtomicU64>().as_ptr() };
    /// counter.fetch_add(1, Ordering::Relaxed);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    #[inline]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.mapping.map.start()
    }

    /// Copies `into.len()` bytes from offset `at` on.
    ///
    /// It takes no lock: of what others write at the same time some bytes may be old and some new.
    ///
    /// ```
    /// let segment = ipc_shm::Segment::new(8)?;
    /// let mut word = [1; 4];
    /// segment.read(4, &mut word)?;
    /// assert_eq!(word, [0; 4]);
    /// assert!(segment.read(5, &mut word).is_err());
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]: that is more than there is; nothing was copied. [`Error::InUse`]: an object stands there ([`Value`](crate::Value), an arena …),
    /// or has; its guards give references, and beside those nobody copies.
    #[inline]
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        self.mapping.users.copying(|| self.peek(at, into)).unwrap_or_else(|| Err(holds_objects()))
    }

    /// Copies `from` to offset `at` on.
    ///
    /// It takes no lock: others may see some bytes before the rest, and where two write at the same time, a mixture stays.
    ///
    /// ```
    /// let segment = ipc_shm::Segment::new(8)?;
    /// segment.write(4, &7_u32.to_ne_bytes())?;
    /// let error = segment.write(6, &7_u32.to_ne_bytes()).unwrap_err();
    /// assert_eq!(error.to_string(), "the range of 4 bytes from 6 on is not acceptable: there are 8 bytes");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]: that is more than there is room for; nothing was copied. [`Error::InUse`], as [`read`](Segment::read).
    #[inline]
    pub fn write(&self, at: usize, from: &[u8]) -> Result<()> {
        self.mapping.users.copying(|| self.poke(at, from)).unwrap_or_else(|| Err(holds_objects()))
    }

    /// As [`read`](Segment::read), also where objects stand: of what no guard gives references to.
    #[inline]
    pub(crate) fn peek(&self, at: usize, into: &mut [u8]) -> Result<()> {
        if self.mapping.map.read(at, into) { Ok(()) } else { Err(beyond(at, into.len(), self.len())) }
    }

    /// As [`write`](Segment::write), also where objects stand: to what no guard gives references to.
    #[inline]
    pub(crate) fn poke(&self, at: usize, from: &[u8]) -> Result<()> {
        if self.mapping.map.write(at, from) { Ok(()) } else { Err(beyond(at, from.len(), self.len())) }
    }

    /// From now on objects stand here. Gives whether some did before.
    ///
    /// # Errors
    /// [`Error::InUse`]: somebody in this process is reading or writing bytes, and has not come to an end in ten seconds.
    pub(crate) fn claim(&self) -> Result<bool> {
        let why = || "somebody is copying bytes in or out, and goes on for ten seconds".into();
        self.mapping
            .users
            .claim()
            .ok_or_else(|| Error::InUse { what: "take a segment for an object".into(), why: why() })
    }

    /// A view for reading only, on a descriptor that is open for reading only; see [`View`].
    ///
    /// ```
    /// let segment = ipc_shm::Segment::new(8)?;
    /// let view = segment.view()?;
    /// segment.write(7, &[1])?;
    /// let mut byte = [0];
    /// view.read(7, &mut byte)?;
    /// assert_eq!(byte, [1]);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`]: no descriptor is left, or there is no /proc; [`Error::NoMemory`]: no room among the process's addresses.
    pub fn view(&self) -> Result<View> {
        View::of(self)
    }

    /// Makes read-only data of it, that nobody can write to any more; see [`Frozen`].
    ///
    /// The mapping is given up, the file sealed against writing (`F_SEAL_WRITE`), and mapped again for reading.
    ///
    /// ```
    /// let segment = ipc_shm::Segment::new(5)?;
    /// segment.write(0, b"built")?;
    /// let frozen = segment.freeze()?;
    /// assert_eq!(&*frozen, b"built");
    ///
    /// let segment = ipc_shm::Segment::new(5)?;
    /// let other = segment.clone();
    /// let segment = segment.freeze().unwrap_err().into_segment();
    /// assert!(segment.is_some(), "it comes back");
    /// # drop(other);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// The segment comes back in the error.
    /// - [`Error::InUse`]: this process has another handle on it, a thread of it holds a lock inside, or another process (a forked
    ///   copy, too) has it mapped for writing.
    /// - [`Error::NoMemory`], [`Error::Os`]: there is no room to map it, no descriptor left; what else the kernel says.
    pub fn freeze(self) -> Result<Frozen, FreezeError> {
        frozen::freeze(self)
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("len", &self.len())
            .field("reserved", &self.mapping.reserved)
            .finish_non_exhaustive()
    }
}

#[cold]
fn holds_objects() -> Error {
    let why = "objects stand in it, and are used by their own handles".to_owned();
    Error::InUse { what: "read or write a segment".into(), why }
}

#[cold]
fn beyond(at: usize, len: usize, all: usize) -> Error {
    Error::invalid(format!("the range of {len} bytes from {at} on"), format!("there are {all} bytes"))
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
        .map_err(|error| Error::os("could not duplicate a descriptor of shared memory", error))
}

/// A descriptor that somebody has, looked at and mapped. It is made close-on-exec: it may have come through an exec, for which it must not have been so.
fn of_fd(fd: OwnedFd, access: Access) -> Result<Arc<Mapping>> {
    let found = check::check(fd.as_fd(), access)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| Error::os("could not make a descriptor close-on-exec: fcntl(F_SETFD)", error))?;
    Mapping::of(fd, &found, access)
}
