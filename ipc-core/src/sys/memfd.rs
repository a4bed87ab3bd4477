//! Sealed memory files: bytes that nobody can change any more, handed over as a descriptor.
//!
//! See [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html) and the seals in
//! [fcntl(2)](https://man7.org/linux/man-pages/man2/F_ADD_SEALS.2const.html). A file sealed against writing, growing and shrinking,
//! and against further seals, is a constant: only such a one may be seen as a `&[u8]`, and who receives one looks before
//! mapping it. The seals hold for everyone, so it does not matter who else has the descriptor.
//!
//! It is mapped privately: a shared mapping of a write-sealed file is refused before Linux 6.7, also for reading only.

use std::io::{self, IoSlice};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

/// What makes a memory file a constant.
const CONSTANT: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// The number of the file system that memory files of ordinary pages are in (`TMPFS_MAGIC`).
const TMPFS: u64 = 0x0102_1994;

/// Set once the kernel (before 6.3) has refused `MFD_NOEXEC_SEAL`; tests set it to take that kernel's way.
static NO_NOEXEC_SEAL: AtomicBool = AtomicBool::new(false);

/// An empty memory file that can be sealed, close-on-exec and not executable where the kernel knows that.
fn create() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if !NO_NOEXEC_SEAL.load(Ordering::Relaxed) {
        match rustix::fs::memfd_create(c"ipc-message", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => NO_NOEXEC_SEAL.store(true, Ordering::Relaxed),
            result => return Ok(result?),
        }
    }
    Ok(rustix::fs::memfd_create(c"ipc-message", flags)?)
}

/// A sealed memory file that holds `parts` one after the other.
///
/// # Errors
/// `EFBIG` where the process may not write files as long (RLIMIT_FSIZE): the write itself would end it with SIGXFSZ.
/// Otherwise what the kernel says: no descriptor or no memory left.
pub(crate) fn sealed(parts: &[&[u8]]) -> io::Result<OwnedFd> {
    let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| len > limit) {
        return Err(Errno::FBIG.into());
    }
    let file = create()?;
    write(file.as_fd(), parts)?;
    rustix::fs::fcntl_add_seals(&file, CONSTANT)?;
    Ok(file)
}

/// Writes all parts, in as many steps as the kernel likes: one call moves 2 GiB at most.
///
/// Written rather than copied into a mapping: a write fills fresh pages without clearing them first and without a fault for
/// each, and lack of memory is an error and no SIGBUS.
fn write(file: BorrowedFd<'_>, parts: &[&[u8]]) -> io::Result<()> {
    const AT_ONCE: usize = 64;
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match rustix::io::writev(file, &left[..left.len().min(AT_ONCE)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Why a descriptor is not the constant it should be.
#[derive(Debug)]
pub(crate) enum NotConstant {
    /// It is no memory file.
    NoMemfd,
    /// It is not sealed as it has to be.
    Unsealed,
    /// Its size is another one.
    Size(u64),
    /// It has holes: it may claim to be longer than all memory, and reading it would allocate that.
    Holes,
    /// It cannot be looked at, read or mapped.
    Os(io::Error),
}

/// Makes sure that `file` is a constant of `len` bytes.
fn check(file: BorrowedFd<'_>, len: usize) -> Result<(), NotConstant> {
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|error| match error {
        Errno::INVAL => NotConstant::NoMemfd,
        other => NotConstant::Os(other.into()),
    })?;
    if !seals.contains(CONSTANT) {
        return Err(NotConstant::Unsealed);
    }
    // After the seals: only now does the size stay what it is.
    let stat = rustix::fs::fstat(file).map_err(|error| NotConstant::Os(error.into()))?;
    if u64::try_from(stat.st_size) != Ok(len as u64) {
        return Err(NotConstant::Size(stat.st_size as u64));
    }
    // Its blocks cannot be counted: some may lie beyond its end. And the holes of huge pages are no memory that could be had.
    let system = rustix::fs::fstatfs(file).map_err(|error| NotConstant::Os(error.into()))?;
    if system.f_type as u64 != TMPFS {
        return Err(NotConstant::NoMemfd);
    }
    // The end of the file is a hole, the only one. (All access here says from where, so that its position is nobody's.)
    match rustix::fs::seek(file, SeekFrom::Hole(0)) {
        Ok(end) if end == len as u64 => Ok(()),
        Ok(_) => Err(NotConstant::Holes),
        Err(error) => Err(NotConstant::Os(error.into())),
    }
}

/// A copy of `file`'s content after making sure that it is a constant of `len` bytes.
pub(crate) fn read(file: BorrowedFd<'_>, len: usize) -> Result<Vec<u8>, NotConstant> {
    check(file, len)?;
    let mut content = Vec::with_capacity(len);
    while content.len() < len {
        let at = content.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut content), at) {
            Ok(0) => return Err(NotConstant::Size(at)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(NotConstant::Os(error.into())),
        }
    }
    // The allocation may be longer than asked for, the file is not.
    Ok(content)
}

/// The content of a sealed memory file, mapped for reading and unmapped on drop.
pub(crate) struct Constant {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is mapped for reading only and never changes; it belongs to the process and to no thread.
unsafe impl Send for Constant {}
// SAFETY: as above: all access is reading.
unsafe impl Sync for Constant {}

impl Constant {
    /// Maps `file` after making sure that it is a constant of `len` bytes, `len` not being 0.
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> Result<Self, NotConstant> {
        check(file, len)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }
                .map_err(|error| NotConstant::Os(error.into()))?;
        let Some(start) = NonNull::new(start.cast()) else {
            return Err(NotConstant::Os(io::ErrorKind::Other.into()));
        };
        Ok(Self { start, len })
    }
}

impl Deref for Constant {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is a live mapping of `len` readable bytes (checked against the file's size, which its seals keep),
        // and the seals against writing keep every process, this one included, from ever changing them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `map`, and no borrow of it outlives `self`. An error would mean that it is
        // no mapping any more; there is nothing left to do then.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_is_constant() {
        let file = sealed(&[b"abc", b"", b"def"]).unwrap();
        assert_eq!(&*Constant::map(file.as_fd(), 6).unwrap(), b"abcdef");
        assert_eq!(read(file.as_fd(), 6).unwrap(), b"abcdef");
        assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 9), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
    }

    #[test]
    fn many_parts() {
        let parts = vec![&b"0123456789"[..]; 1000];
        let file = sealed(&parts).unwrap();
        assert_eq!(*Constant::map(file.as_fd(), 10_000).unwrap(), *parts.concat());
    }

    #[test]
    fn nothing_less_than_all_seals_will_do() {
        for missing in [SealFlags::SEAL, SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE] {
            let file = create().unwrap();
            write(file.as_fd(), &[b"abc"]).unwrap();
            rustix::fs::fcntl_add_seals(&file, (CONSTANT | SealFlags::FUTURE_WRITE) - missing).unwrap();
            // Sealed against writing implies nothing about the others, and FUTURE_WRITE leaves old mappings writable.
            assert!(matches!(Constant::map(file.as_fd(), 3), Err(NotConstant::Unsealed)), "{missing:?}");
            assert!(matches!(read(file.as_fd(), 3), Err(NotConstant::Unsealed)), "{missing:?}");
        }
    }

    #[test]
    fn sizes_and_kinds_are_checked() {
        let file = sealed(&[b"abc"]).unwrap();
        assert!(matches!(Constant::map(file.as_fd(), 4), Err(NotConstant::Size(3))));
        assert!(matches!(Constant::map(file.as_fd(), 2), Err(NotConstant::Size(3))));
        assert!(matches!(read(file.as_fd(), 4), Err(NotConstant::Size(3))));
        assert!(matches!(read(file.as_fd(), 2), Err(NotConstant::Size(3))));
        let sparse = create().unwrap();
        write(sparse.as_fd(), &[b"abc"]).unwrap();
        rustix::fs::ftruncate(&sparse, 1 << 40).unwrap();
        rustix::fs::fcntl_add_seals(&sparse, CONSTANT).unwrap();
        assert!(matches!(Constant::map(sparse.as_fd(), 1 << 40), Err(NotConstant::Holes)));
        assert!(matches!(read(sparse.as_fd(), 1 << 40), Err(NotConstant::Holes)));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Constant::map(null.as_fd(), 1), Err(NotConstant::NoMemfd)));
    }

    /// Blocks beyond the end paid for a hole inside.
    #[test]
    fn blocks_beyond_the_end_are_no_content() {
        let file = create().unwrap();
        write(file.as_fd(), &[&[7; 4096]]).unwrap();
        rustix::fs::ftruncate(&file, 1 << 20).unwrap();
        let beyond = rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, beyond, 1 << 20, 1 << 20).unwrap();
        rustix::fs::fcntl_add_seals(&file, CONSTANT).unwrap();
        assert!(matches!(Constant::map(file.as_fd(), 1 << 20), Err(NotConstant::Holes)));
        assert!(matches!(read(file.as_fd(), 1 << 20), Err(NotConstant::Holes)));
    }

    /// Reading a huge page for which there is no memory is SIGBUS.
    #[test]
    fn huge_pages_are_refused() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        let Ok(file) = rustix::fs::memfd_create(c"huge", flags) else {
            eprintln!("not run: a kernel without huge pages");
            return;
        };
        let len = 1 << 30;
        rustix::fs::ftruncate(&file, len as u64).unwrap();
        rustix::fs::fcntl_add_seals(&file, CONSTANT).unwrap();
        assert!(matches!(Constant::map(file.as_fd(), len), Err(NotConstant::NoMemfd)));
        assert!(matches!(read(file.as_fd(), len), Err(NotConstant::NoMemfd)));
    }

    #[test]
    fn kernels_before_noexec_seal() {
        NO_NOEXEC_SEAL.store(true, Ordering::Relaxed);
        let file = sealed(&[b"abc"]).unwrap();
        assert_eq!(&*Constant::map(file.as_fd(), 3).unwrap(), b"abc");
        NO_NOEXEC_SEAL.store(false, Ordering::Relaxed);
    }
}
