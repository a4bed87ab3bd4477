//! Making a segment's memory file: its flags, its reservation, its seals.
//!
//! See [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html), [fallocate(2)](https://man7.org/linux/man-pages/man2/fallocate.2.html)
//! and the seals in [fcntl(2)](https://man7.org/linux/man-pages/man2/F_ADD_SEALS.2const.html). Sealed against shrinking and growing, so that what
//! is mapped stays there: a mapping of a file that another process has cut off ends in SIGBUS. Not sealed against further seals, for
//! freezing adds one.
//!
//! Reserved in chunks, each after a look at what is left: what others take meanwhile shows, and a refusal costs nobody his life.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::limits::{self, Limits, TRUST};
use crate::error::{Error, Result};

/// What every segment is sealed against.
pub(crate) const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// How much is reserved between two looks.
const CHUNK: u64 = 32 << 20;

/// At least so much is asked for at once, where signals keep interrupting.
const LEAST: u64 = 64 << 10;

/// The sizes of huge pages that processors and kernels have, of which a machine knows some: see /sys/kernel/mm/hugepages.
///
/// ```
/// use ipc_shm::HugePage;
/// assert_eq!(HugePage::Mib2.bytes(), 2 << 20);
/// assert_eq!(HugePage::Mib2.to_string(), "2048 kB");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HugePage {
    /// 64 KiB: aarch64.
    Kib64,
    /// 2 MiB: x86_64, aarch64.
    Mib2,
    /// 32 MiB: aarch64.
    Mib32,
    /// 512 MiB: aarch64 with pages of 64 KiB.
    Mib512,
    /// 1 GiB: x86_64, aarch64.
    Gib1,
}

impl HugePage {
    /// Its size.
    pub const fn bytes(self) -> usize {
        match self {
            HugePage::Kib64 => 64 << 10,
            HugePage::Mib2 => 2 << 20,
            HugePage::Mib32 => 32 << 20,
            HugePage::Mib512 => 512 << 20,
            HugePage::Gib1 => 1 << 30,
        }
    }

    fn flag(self) -> MemfdFlags {
        MemfdFlags::HUGETLB
            | match self {
                HugePage::Kib64 => MemfdFlags::HUGE_64KB,
                HugePage::Mib2 => MemfdFlags::HUGE_2MB,
                HugePage::Mib32 => MemfdFlags::HUGE_32MB,
                HugePage::Mib512 => MemfdFlags::HUGE_512MB,
                HugePage::Gib1 => MemfdFlags::HUGE_1GB,
            }
    }

    /// How many bytes of such pages are free, and the file that says so.
    fn free(self) -> (u64, String) {
        let file = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/free_hugepages", self.bytes() >> 10);
        let pages = limits::number(file.as_ref()).unwrap_or(0);
        (pages.saturating_mul(self.bytes() as u64), file)
    }
}

/// As the kernel writes it: `2048 kB`.
impl fmt::Display for HugePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kB", self.bytes() >> 10)
    }
}

/// Where a segment's pages come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pages {
    /// Reserved now.
    Reserved,
    /// When they are touched.
    Lazy,
    /// Of the machine's pool of huge ones; the length is a multiple of theirs.
    Huge(HugePage),
}

/// Whether a segment can have this length at all.
pub(crate) fn check_length(len: usize) -> Result<()> {
    if len == 0 {
        return Err(Error::invalid("a segment of 0 bytes", "it needs one at least"));
    }
    if isize::try_from(len).is_err() {
        let what = format!("a segment of {len} bytes");
        return Err(Error::invalid(what, format!("nothing in memory is longer than {} bytes", isize::MAX)));
    }
    limits::of_process(len as u64)
}

/// A sealed memory file of `len` bytes, all zero.
pub(crate) fn create(len: usize, pages: Pages) -> Result<OwnedFd> {
    check_length(len)?;
    let size = len as u64;
    let limits = match pages {
        Pages::Reserved => trusted(size)?,
        Pages::Lazy | Pages::Huge(_) => None,
    };
    let file = memory_file(pages)?;
    rustix::fs::ftruncate(&file, size)
        .map_err(|error| Error::os(format!("could not give a segment {size} bytes: ftruncate"), error))?;
    if !matches!(pages, Pages::Lazy) {
        reserve(size, look_at(limits.as_ref()), chunks_of(file.as_fd(), 0)).map_err(|refused| {
            match (refused, pages) {
                (Refused::Not(error), _) => error,
                (Refused::Full(..), Pages::Huge(page)) => {
                    let (available, limit) = page.free();
                    Error::NoMemory { needed: size, available, limit }
                }
                (Refused::Full(needed, error), _) => by_kernel(needed, error),
            }
        })?;
    }
    rustix::fs::fcntl_add_seals(&file, SIZE)
        .map_err(|error| Error::os("could not seal a segment: fcntl(F_ADD_SEALS)", error))?;
    Ok(file)
}

/// Reserves a part of a lazy file, that has so many bytes.
pub(crate) fn reserve_part(file: BorrowedFd<'_>, at: usize, len: usize) -> Result<()> {
    let size = len as u64;
    let limits = trusted(size)?;
    reserve(size, look_at(limits.as_ref()), chunks_of(file, at as u64)).map_err(|refused| match refused {
        Refused::Not(error) => error,
        Refused::Full(needed, error) => by_kernel(needed, error),
    })
}

/// Makes sure that so much can be had; gives the limits to look at again, if they had to be looked at.
fn trusted(size: u64) -> Result<Option<Limits>> {
    if TRUST.take(size) {
        return Ok(None);
    }
    let limits = Limits::of_this_process();
    TRUST.renew(limits.look(size)? - size);
    Ok(Some(limits))
}

fn look_at(limits: Option<&Limits>) -> impl Fn(u64) -> Result<()> {
    move |needed| limits.map_or(Ok(0), |limits| limits.look(needed)).map(drop)
}

/// An empty memory file that can be sealed, close-on-exec, and not executable where the kernel knows that.
fn memory_file(pages: Pages) -> Result<OwnedFd> {
    /// Set once the kernel (before 6.3) has refused `MFD_NOEXEC_SEAL`.
    static NO_NOEXEC_SEAL: AtomicBool = AtomicBool::new(false);
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if let Pages::Huge(page) = pages {
        flags |= page.flag();
    }
    let create = |flags| rustix::fs::memfd_create(c"ipc-segment", flags);
    let mut made = Err(Errno::INVAL);
    if !NO_NOEXEC_SEAL.load(Ordering::Relaxed) && !crate::switch::is_off("noexec_seal") {
        made = create(flags | MemfdFlags::NOEXEC_SEAL);
    }
    if matches!(made, Err(Errno::INVAL)) {
        made = create(flags);
        // Otherwise it was something else that it refused.
        NO_NOEXEC_SEAL.fetch_or(made.is_ok(), Ordering::Relaxed);
    }
    made.map_err(|error| match (pages, error) {
        (Pages::Huge(page), Errno::NODEV | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => Error::invalid(
            format!("a segment in huge pages of {page}"),
            format!(
                "this machine has none of that size ({error}); /sys/kernel/mm/hugepages has those it knows"
            ),
        ),
        _ => Error::os("could not make a segment: memfd_create", error),
    })
}

/// Why there is no reservation.
enum Refused {
    /// The kernel has no more, with so many bytes still to go.
    Full(u64, Errno),
    Not(Error),
}

/// Reserves a whole file. `look` is asked before each chunk but the first whether so much more can be had; `allocate` takes the chunk,
/// from an offset on.
fn reserve(
    size: u64,
    look: impl Fn(u64) -> Result<()>,
    mut allocate: impl FnMut(u64, u64) -> rustix::io::Result<()>,
) -> Result<(), Refused> {
    let (mut at, mut step) = (0, CHUNK);
    while at < size {
        if at > 0 {
            look(size - at).map_err(Refused::Not)?;
        }
        let next = step.min(size - at);
        match allocate(at, next) {
            Ok(()) => at += next,
            // Old kernels stop at any signal, and have undone what they had of this chunk: a timer that is faster than one must not win
            // for ever.
            Err(Errno::INTR) => step = (step / 2).max(LEAST),
            Err(error @ (Errno::NOSPC | Errno::NOMEM)) => return Err(Refused::Full(size - at, error)),
            Err(error) => {
                return Err(Refused::Not(Error::os("could not reserve a segment: fallocate", error)));
            }
        }
    }
    Ok(())
}

/// The chunks of a real file, from `start` on.
fn chunks_of(file: BorrowedFd<'_>, start: u64) -> impl FnMut(u64, u64) -> rustix::io::Result<()> {
    move |at, len| rustix::fs::fallocate(file, FallocateFlags::empty(), start + at, len)
}

/// What the kernel refuses although there is memory: it counts what it has promised (`vm.overcommit_memory`).
fn by_kernel(needed: u64, error: Errno) -> Error {
    match limits::promised() {
        Some(available) if available < needed => Error::NoMemory {
            needed,
            available,
            limit: "CommitLimit in /proc/meminfo (vm.overcommit_memory)".to_owned(),
        },
        _ => Error::os(format!("could not reserve {needed} bytes of a segment: fallocate"), error),
    }
}

#[cfg(test)]
mod tests;
