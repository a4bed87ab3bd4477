//! Which process this is, told by more than its number.
//!
//! What a process keeps in memory, its forked copy finds there as well, and must tell from its own. The process id will
//! not do: a copy may have the number of the process it is a copy of, where it was born into another pid namespace
//! (process 1 of a container unshares, and forks a process 1). So the answer stands in a page of memory that the kernel
//! hands to a copy empty: `MADV_WIPEONFORK` ([madvise(2)], Linux 4.14), which holds for `fork` and for every clone that copies the
//! memory. A process that finds it empty takes the next number of a counter, and the counter is memory like any other: so no
//! process has the number of one that it descends from, and the memory of others it never sees.
//!
//! Asking costs a load; the process id costs a system call. Where the page cannot be had, the process id must do after all.
//!
//! [madvise(2)]: https://man7.org/linux/man-pages/man2/madvise.2.html

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A process, among those whose memory this one has a copy of: equal to itself, and to none that it descends from.
///
/// ```
/// use ipc_core::primitive::process::Incarnation;
/// let this = Incarnation::this();
/// assert!(this.is_this());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation(u64);

/// The page, once it was asked for; or [`NO_PAGE`], and then for good: what was made under one answer must not be judged by
/// another.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::from_ref(&NOT_ASKED).cast_mut());

/// Both stay zero, as a page does of which nothing is known yet: so asking is two loads, and all else is looked at afterwards.
static NOT_ASKED: AtomicU64 = AtomicU64::new(0);
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// At least the greatest number in use, here and in all processes before.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Incarnation {
    /// The calling process.
    #[inline]
    pub fn this() -> Incarnation {
        // SAFETY: `PAGE` holds one of three: two statics, and the beginning of a page that is mapped for good, aligned, and zero or
        // what an atomic was set to.
        match unsafe { &*PAGE.load(Ordering::Acquire) }.load(Ordering::Acquire) {
            0 => Incarnation::found_out(),
            known => Incarnation(known),
        }
    }

    /// Whether it is the calling process.
    #[inline]
    pub fn is_this(self) -> bool {
        // SAFETY: as in `this`. What is known is not 0, and so is not equal where nothing is.
        let known = unsafe { &*PAGE.load(Ordering::Acquire) }.load(Ordering::Acquire);
        known == self.0 || (known == 0 && self == Incarnation::found_out())
    }

    /// As a number, never 0, to be kept in an atomic.
    #[inline]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Of its [number](Incarnation::number); 0 is nobody's.
    #[inline]
    pub fn of_number(number: u64) -> Incarnation {
        Incarnation(number)
    }

    #[cold]
    #[inline(never)]
    fn found_out() -> Incarnation {
        let page = page();
        if ptr::eq(page, &NO_PAGE) {
            return Incarnation(std::process::id().into());
        }
        match page.load(Ordering::Acquire) {
            // Counted before it is shown: a copy made between the two counts on from there.
            0 => {
                let mine = LAST.fetch_add(1, Ordering::Relaxed) + 1;
                let shown = page.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire);
                Incarnation(shown.map_or_else(|theirs| theirs, |_| mine))
            }
            known => Incarnation(known),
        }
    }
}

fn page() -> &'static AtomicU64 {
    let mut found = PAGE.load(Ordering::Acquire);
    if ptr::eq(found, &NOT_ASKED) {
        let mine = map().unwrap_or(ptr::from_ref(&NO_PAGE).cast_mut());
        // Of several threads that come at once one wins; the others' pages are wasted.
        found = match PAGE.compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mine,
            Err(theirs) => theirs,
        };
    }
    // SAFETY: as in `this`.
    unsafe { &*found }
}

/// A page that copies of this process find zeroed.
fn map() -> Option<*mut AtomicU64> {
    if super::switch::is_off("wipe_on_fork") {
        return None;
    }
    // Rounded up to a page by the kernel, whatever its pages are.
    const SIZE: usize = size_of::<AtomicU64>();
    // SAFETY: a fresh mapping at a place of the kernel's choice; its advice touches nothing else.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(ptr::null_mut(), SIZE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) == -1 {
            libc::munmap(page, SIZE);
            return None;
        }
        Some(page.cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::alone::{alone, command, in_fork, is_alone};

    #[test]
    fn threads_agree() {
        let this = Incarnation::this();
        assert!(std::thread::spawn(move || this.is_this()).join().unwrap());
        assert!(this.is_this());
    }

    #[test]
    fn a_fork_and_a_clone_are_others_and_so_are_theirs() {
        alone("sys::incarnation::tests::a_fork_and_a_clone_are_others_and_so_are_theirs", || {
            let first = Incarnation::this();
            let inside = move || {
                let second = Incarnation::this();
                i32::from(first.is_this() || in_fork(|| i32::from(first.is_this() || second.is_this())) != 0)
            };
            assert_eq!(in_fork(inside), 0);
            // As the fork server makes its copies: a clone, past the C library.
            // SAFETY: without CLONE_VM a fork; the other thread of this process waits. The child makes no call but `_exit`.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if pid == 0 {
                crate::sys::process::exit_now(i32::from(first.is_this()));
            }
            let mut status = -1;
            // SAFETY: waits for the child made above; the status is written to a local.
            assert_eq!(i64::from(unsafe { libc::waitpid(pid as i32, &raw mut status, 0) }), pid);
            assert_eq!(status, 0);
            assert!(first.is_this());
        });
    }

    #[test]
    fn without_the_page_the_number_must_do() {
        let name = "sys::incarnation::tests::without_the_page_the_number_must_do";
        if !is_alone(name) {
            let output = command(name).env("IPC_CORE_WITHOUT", "wipe_on_fork").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let first = Incarnation::this();
        assert_eq!(first, Incarnation(std::process::id().into()));
        assert_eq!(in_fork(|| i32::from(first.is_this())), 0);
    }
}
