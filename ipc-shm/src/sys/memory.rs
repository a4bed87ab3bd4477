//! Mappings of memory files, and copies in and out of memory that others write.
//!
//! Live shared memory is never a `&[u8]`: a reference promises that nobody writes, or that nobody else looks, and no process can
//! promise that for another. So a [`Map`] has an address and copies; only a [`Constant`], whose file the kernel keeps everybody from
//! writing, is a slice.
//!
//! | access | mapped | for |
//! |---|---|---|
//! | [`Access::Shared`] | shared, reading and writing | a segment |
//! | [`Access::View`] | shared, reading | a view of a segment |
//! | [`Access::Private`] | private, reading | frozen data: before Linux 6.7 a write-sealed file cannot be mapped shared |
//!
//! # Copies that race
//!
//! A copy may meet a writer of another process, or of another thread, and then gets some old bytes and some new ones. For the hardware
//! that is an ordinary copy. For the language a race of two threads of one program is undefined, whatever the bytes are used for, and
//! there is no `memcpy` of atomic bytes yet (crossbeam's `AtomicCell` and all seqlocks have this trouble; the RFC is
//! [3301](https://github.com/rust-lang/rfcs/pull/3301)). Atomic words, one by one, would be right and many times slower. So the copy is made by the
//! C library's `memcpy`, called through a pointer that the compiler is kept from looking through: it is foreign code to it, which does to
//! memory whatever it does, and nothing is assumed of the bytes but that they are bytes.

use std::hint::black_box;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::robust_list::holds_within;

/// How a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Shared,
    View,
    Private,
}

impl Access {
    fn flags(self) -> (ProtFlags, MapFlags) {
        match self {
            Access::Shared => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Access::View => (ProtFlags::READ, MapFlags::SHARED),
            // A private mapping of huge pages has as many set aside again, for copies that it might make, unless it is said that it makes none.
            Access::Private => (ProtFlags::READ, MapFlags::PRIVATE | MapFlags::NORESERVE),
        }
    }
}

/// A file and its mapping, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Map {
    place: Place,
    access: Access,
    file: OwnedFd,
}

/// A range of addresses that is this value's own, given back on drop.
#[derive(Debug)]
struct Place {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a range of addresses belongs to the process and to no thread; what is done there through `&self` is copies that may race.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    fn addresses(&self) -> Range<usize> {
        let start = self.start.as_ptr() as usize;
        start..start + self.len
    }

    /// Maps a file over it, for reading and writing.
    fn map_over(&self, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let (protection, flags) = Access::Shared.flags();
        let flags = flags | MapFlags::FIXED;
        // SAFETY: the range is this value's own, and whoever calls has given up all that pointed into it.
        unsafe { rustix::mm::mmap(self.start.as_ptr().cast(), self.len, protection, flags, file, 0) }
            .map(drop)
    }

    /// Takes away what is mapped there, and keeps the addresses.
    fn empty(&self) -> rustix::io::Result<()> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: as above.
        unsafe { rustix::mm::mmap_anonymous(self.start.as_ptr().cast(), self.len, ProtFlags::empty(), flags) }
            .map(drop)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A lock that a thread holds stands in that thread's list. Unmapped, it could neither be marked when the thread ends nor taken
        // off the list, and what is mapped there next would be written to: so it stays mapped as long as the process.
        if holds_within(self.addresses()) {
            return;
        }
        // SAFETY: the range is this value's own, and no borrow of it outlives `self`. An error would mean that it is no mapping any
        // more; there is nothing left to do then.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Map {
    /// Maps the first `len` bytes of a file; `len` is not 0.
    ///
    /// # Errors
    /// What mmap says, and the file.
    pub(crate) fn new(file: OwnedFd, len: usize, access: Access) -> Result<Map, (OwnedFd, Errno)> {
        let (protection, flags) = access.flags();
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, &file, 0) };
        match start.map(|start| NonNull::new(start.cast())) {
            Ok(Some(start)) => Ok(Map { place: Place { start, len }, access, file }),
            // Address 0 is nothing that mmap gives unless it is asked for.
            Ok(None) => Err((file, Errno::NOMEM)),
            Err(error) => Err((file, error)),
        }
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.place.start
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.place.len
    }

    /// Whether a thread of this process holds a lock in it.
    pub(crate) fn is_locked_within(&self) -> bool {
        self.access == Access::Shared && holds_within(self.place.addresses())
    }

    /// Its memory.
    #[inline]
    fn span(&self) -> Span {
        // SAFETY: a mapping of as many bytes, which lives as long as `self`, and as the span that is used here; it is not written to unless it is
        // mapped for that (`write`), and no reference to live memory exists.
        unsafe { Span::new(self.place.start, self.place.len) }
    }

    /// As [`Span::read`].
    #[inline]
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> bool {
        self.span().read(at, into)
    }

    /// As [`Span::write`]; `false` also if it is mapped for reading.
    #[inline]
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> bool {
        self.access == Access::Shared && self.span().write(at, from)
    }

    /// Unmaps the file, and keeps its addresses, so that it can be [mapped again](Vacant::map).
    pub(crate) fn vacate(self) -> Result<Vacant, (Map, Errno)> {
        match self.place.empty() {
            Ok(()) => Ok(Vacant { place: self.place, file: self.file }),
            Err(error) => Err((self, error)),
        }
    }
}

impl AsRef<Map> for Map {
    fn as_ref(&self) -> &Map {
        self
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Addresses where a file was mapped, and will be again.
#[derive(Debug)]
pub(crate) struct Vacant {
    place: Place,
    file: OwnedFd,
}

impl Vacant {
    /// Maps the file there.
    ///
    /// # Errors
    /// What mmap says: the kernel's own memory is short.
    pub(crate) fn map(self) -> rustix::io::Result<Map> {
        self.place.map_over(self.file.as_fd())?;
        Ok(Map { place: self.place, access: Access::Shared, file: self.file })
    }
}

impl AsFd for Vacant {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A stretch of live shared memory, into which and out of which bytes are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: NonNull<u8>,
    len: usize,
}

impl Span {
    /// # Safety
    /// So many bytes are mapped there as long as this or a copy of it is used, and for writing if it is written to; and what references there are to them are
    /// to atomics, or to what is looked into under a lock that keeps these copies away.
    #[inline(always)]
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize) -> Span {
        Span { start, len }
    }

    #[inline(always)]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies from `at` on; `false`: there is not as much, and nothing was copied.
    #[inline]
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> bool {
        if !self.has(at, into.len()) {
            return false;
        }
        // SAFETY: the range was just found inside what is mapped (`new`); `into` is borrowed alone, and a safe reference cannot point there.
        unsafe { copy(self.start.add(at).as_ptr(), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Copies from `at` on to the end of a vector; `false`: there is not as much, and nothing was copied.
    #[inline]
    pub(crate) fn append(&self, at: usize, len: usize, to: &mut Vec<u8>) -> bool {
        if !self.has(at, len) {
            return false;
        }
        to.reserve(len);
        // SAFETY: as above; the vector has room for as much behind its end, and all of that is written before it counts.
        unsafe {
            copy(self.start.add(at).as_ptr(), to.as_mut_ptr().add(to.len()), len);
            to.set_len(to.len() + len);
        }
        true
    }

    /// Copies to `at`; `false`: there is not as much room, and nothing was copied.
    #[inline]
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> bool {
        if !self.has(at, from.len()) {
            return false;
        }
        // SAFETY: as above; it is mapped for writing (`new`).
        unsafe { copy(from.as_ptr(), self.start.add(at).as_ptr(), from.len()) };
        true
    }

    /// Asks for the cache line at a place, to be written. Nothing happens where there is none.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let address = self.start.as_ptr().wrapping_add(at);
            // SAFETY: a hint to the processor, which reads and writes nothing and faults at nothing, wherever it points. AMD's have had it since the first of 64
            // bits, Intel's since Broadwell, and those before take it for no operation.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = at;
    }

    #[inline]
    fn has(&self, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.len)
    }
}

/// A mapping that nobody can write to any more: the one kind that may be a slice.
///
/// `M` has the same map as long as it is there: an `Arc` of what has one, say.
#[derive(Clone, Debug)]
pub(crate) struct Constant<M>(M);

/// What keeps a file's content as it is.
pub(crate) const CONSTANT: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

impl<M: Deref<Target: AsRef<Map>>> Constant<M> {
    /// Looks whether the file is one that nobody can write to, and long enough.
    ///
    /// # Errors
    /// `EPERM` where it is not sealed so, `EOVERFLOW` where it is shorter than its mapping; what fcntl and fstat say.
    pub(crate) fn of(mapping: M) -> io::Result<Constant<M>> {
        let map = mapping.as_ref();
        if !rustix::fs::fcntl_get_seals(map)?.contains(CONSTANT) || map.access == Access::Shared {
            return Err(Errno::PERM.into());
        }
        if u64::try_from(rustix::fs::fstat(map)?.st_size).is_ok_and(|size| size >= map.len() as u64) {
            Ok(Constant(mapping))
        } else {
            Err(Errno::OVERFLOW.into())
        }
    }
}

impl<M> Constant<M> {
    pub(crate) fn get_ref(&self) -> &M {
        &self.0
    }
}

impl<M: Deref<Target: AsRef<Map>>> Deref for Constant<M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let map = self.0.as_ref();
        // SAFETY: a live mapping of as many readable bytes (`of` has compared them with the file's size), and the file is sealed: no
        // process, this one included, can write to it, make it shorter or take pages out of it.
        unsafe { std::slice::from_raw_parts(map.start().as_ptr(), map.len()) }
    }
}

/// See the module's documentation.
///
/// # Safety
/// `from` can be read and `to` written for `len` bytes, and they do not overlap. Others may write to the shared one of them at the same
/// time.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let memcpy: unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void =
        libc::memcpy;
    // SAFETY: as the caller says.
    unsafe { black_box(memcpy)(to.cast(), from.cast(), len) };
}

#[cfg(test)]
mod tests;
