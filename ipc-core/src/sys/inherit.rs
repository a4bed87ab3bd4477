//! What a process inherits, read and set: the calls that rustix lacks.
//!
//! Credentials go through the C library's functions, which carry the change to every thread
//! ([setresuid(2)], "C library/kernel differences"); the signal mask through the raw call, because the C library
//! hides its own two signals from it.
//!
//! [setresuid(2)]: https://man7.org/linux/man-pages/man2/setresuid.2.html

use std::ffi::c_char;
use std::io;
use std::ptr;

fn check(done: impl Into<i64>) -> io::Result<()> {
    if done.into() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are those of one slice of gid_t, and only read.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Sets the real, effective and saved group.
pub(crate) fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: three integers.
    check(unsafe { libc::setresgid(gid, gid, gid) })
}

/// Sets the real, effective and saved user.
pub(crate) fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: three integers.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// The numbers of the process group and the session; 0 where their leader is outside this pid namespace (which rustix's
/// types have no room for).
pub(crate) fn group_and_session() -> (i32, i32) {
    // SAFETY: neither call fails for the caller itself, or touches memory.
    unsafe { (libc::getpgrp(), libc::getsid(0)) }
}

/// The blocked signals of the calling thread, bit 0 being signal 1.
pub(crate) fn signal_mask() -> io::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: no new mask; the old one is written to eight bytes, as the last argument says.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::null::<u64>(),
            &raw mut mask,
            size_of::<u64>(),
        )
    })?;
    Ok(mask)
}

/// Sets the blocked signals of the calling thread; gives the former mask.
pub(crate) fn set_signal_mask(mask: u64) -> io::Result<u64> {
    let mut former = 0_u64;
    // SAFETY: both masks are eight bytes, as the last argument says.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut former,
            size_of::<u64>(),
        )
    })?;
    Ok(former)
}

/// Blocks every signal in the calling thread until it is dropped. A thread started meanwhile has them blocked for
/// life, from its first instruction on.
pub(crate) struct BlockedSignals(u64);

impl BlockedSignals {
    pub(crate) fn all() -> io::Result<BlockedSignals> {
        // Signals 32 and 33 are the C library's own: a thread that blocked 33 would let every setuid of the process
        // wait for it for ever.
        Ok(BlockedSignals(set_signal_mask(!(0b11 << 31))?))
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // It fails for a bad address alone.
        let _ = set_signal_mask(self.0);
    }
}

/// Makes the process ignore a signal, or gives the signal its default action.
///
/// For a signal whose action is one of these two: a handler would be replaced.
pub(crate) fn set_ignored(signal: i32, ignored: bool) -> io::Result<()> {
    let action = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action runs code of this process.
    let former = unsafe { libc::signal(signal, action) };
    if former == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Replaces the whole environment by the entries (`NAME=value`) of `block`, each ended by a zero byte.
///
/// The block is given to the process for good, as the kernel gives it one at exec: one allocation and no copy per
/// entry. The C library takes such an environment as it is, and copies its list before it changes it.
///
/// # Safety
///
/// No other thread may read or write the environment meanwhile, nor keep pointers into it: the caller is the only
/// thread.
pub(crate) unsafe fn replace_environment(mut block: Vec<u8>) {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    if block.last().is_some_and(|last| *last != 0) {
        block.push(0);
    }
    let block: &'static mut [u8] = block.leak();
    let mut list: Vec<*mut c_char> =
        block.split_inclusive_mut(|byte| *byte == 0).map(|entry| entry.as_mut_ptr().cast()).collect();
    list.push(ptr::null_mut());
    // SAFETY: the list ends with a null pointer, its entries end with a zero byte, both live for ever; nobody else
    // looks at the environment, says the caller.
    unsafe { environ = list.leak().as_mut_ptr() };
}
