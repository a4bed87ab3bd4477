//! Waiting for words, by their addresses: [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html) and
//! [futex_waitv](https://docs.kernel.org/userspace-api/futex2.html) (since Linux 5.16).
//!
//! The words may stand in memory that several processes share, so all calls are of the shared kind. The addresses are numbers here: only
//! the kernel follows them, and where nothing is mapped any more it says so (EFAULT).

use std::io;
use std::ptr;
use std::time::Duration;

/// The most words that the kernel waits for at once.
pub(crate) const MOST: usize = 128;

/// A word, and what stands in it as far as its waiter knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) address: usize,
    pub(crate) expected: u32,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody woke this word (its place in the list).
    Word(usize),
    /// One of them has changed already, or is not there; which one is not known.
    Look,
    TimedOut,
}

/// `struct futex_waitv`.
#[repr(C)]
struct Waitv {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32`; shared.
const SIZE_U32: u32 = 2;

/// Waits for any of at most [`MOST`] words. `None`: this kernel cannot.
pub(crate) fn wait_any(words: &[Word]) -> Option<Woken> {
    if crate::sys::switch::is_off("futex_waitv") {
        return None;
    }
    let list: Vec<Waitv> = words
        .iter()
        .take(MOST)
        .map(|word| Waitv {
            value: word.expected.into(),
            address: word.address as u64,
            flags: SIZE_U32,
            reserved: 0,
        })
        .collect();
    // SAFETY: the list is read during the call only, and so long; the words are the kernel's to look at.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            list.as_ptr(),
            list.len(),
            0,
            ptr::null::<libc::timespec>(),
            libc::CLOCK_MONOTONIC,
        )
    };
    if woken >= 0 {
        return Some(Woken::Word(woken as usize));
    }
    match io::Error::last_os_error().raw_os_error() {
        // Refused by a sandbox too.
        Some(libc::ENOSYS | libc::EPERM) => None,
        _ => Some(Woken::Look),
    }
}

/// Waits for one word, at most so long.
pub(crate) fn wait(word: Word, timeout: Option<Duration>) -> Woken {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout: *const libc::timespec = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the time is read during the call only; the word is the kernel's to look at.
    let woken =
        unsafe { libc::syscall(libc::SYS_futex, word.address, libc::FUTEX_WAIT, word.expected, timeout) };
    if woken == 0 {
        return Woken::Word(0);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Woken::TimedOut,
        _ => Woken::Look,
    }
}

/// Wakes one who waits for the word.
pub(crate) fn wake_one(address: usize) {
    // SAFETY: the kernel compares the address with those of who waits, and touches nothing.
    unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE, 1) };
}
