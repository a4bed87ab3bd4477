//! New processes: by `vfork` and `exec`, and by a plain copy.
//!
//! std and the C library have both, but not what is needed here: a pidfd that is there from the birth on (with
//! `CLONE_PIDFD`, so that nobody else's `wait` can come between), and siblings instead of children
//! (`CLONE_PARENT`). glibc's `fork` does a few things that a raw clone skips; they are done here,
//! see [`copy_as_sibling`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::inherit::BlockedSignals;

/// A process that was just made.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// What an exec'd child is started with.
pub(crate) struct Exec<'a> {
    pub(crate) program: &'a CStr,
    /// Null-terminated lists, as execve(2) takes them.
    pub(crate) argv: &'a [*const c_char],
    pub(crate) envp: &'a [*const c_char],
    /// The only descriptors above 2 that it inherits.
    pub(crate) keep: [RawFd; 2],
    /// Whether the kernel may have close_range(2) with CLOSE_RANGE_CLOEXEC (Linux 5.11); tests say no.
    pub(crate) close_range: bool,
}

struct Shared<'a> {
    exec: &'a Exec<'a>,
    /// The error of the step that failed in the child; written there, read after it is gone.
    failed: (Step, c_int),
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    None,
    Descriptors,
    Exec,
}

/// Starts a program, with all signals blocked: the child's set-up unblocks them.
///
/// The child shares this process's memory until it execs (`CLONE_VM | CLONE_VFORK`, as posix_spawn does), so its
/// cost does not depend on how large the caller is.
pub(crate) fn exec(exec: &Exec<'_>) -> Result<Born, (&'static str, io::Error)> {
    debug_assert!(exec.argv.last() == Some(&ptr::null()) && exec.envp.last() == Some(&ptr::null()));
    const STACK: usize = 64 * 1024;
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let mut shared = Shared { exec, failed: (Step::None, 0) };
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let blocked = BlockedSignals::all().map_err(|e| ("rt_sigprocmask", e))?;
    let pid = {
        // SAFETY: the stack is 64 KiB of memory of our own, 16-aligned, that outlives the child's use of it:
        // CLONE_VFORK suspends this thread until the child has exec'd or ended. The same holds for `shared` and
        // `pidfd`. `in_child` makes only async-signal-safe calls, and no handler can run in it: all signals are blocked but
        // the C library's own (32 and 33), and those it sends to threads of this process by their ids, which the child has not.
        unsafe {
            libc::clone(
                in_child,
                stack.as_mut_ptr().add(STACK / size_of::<u128>()).cast(),
                flags,
                (&raw mut shared).cast(),
                &raw mut pidfd,
            )
        }
    };
    let failed = io::Error::last_os_error();
    drop(blocked);
    if pid == -1 {
        return Err(("clone", failed));
    }
    // SAFETY: on success the kernel has put a new descriptor, that of the child, into `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: a plain read of our own local; volatile, because the child wrote it behind the compiler's back.
    let (step, errno) = unsafe { ptr::read_volatile(&raw const shared.failed) };
    if step == Step::None {
        return Ok(Born { pid: pid as u32, pidfd });
    }
    // The child is ending; its status says nothing that `failed` does not.
    let _ = super::wait::reap(pidfd.as_fd());
    let what = if step == Step::Exec { "exec of /proc/self/exe" } else { "closing descriptors in the child" };
    Err((what, io::Error::from_raw_os_error(errno)))
}

extern "C" fn in_child(shared: *mut c_void) -> c_int {
    let shared: *mut Shared<'_> = shared.cast();
    // SAFETY: the parent passes its `Shared` and sleeps until this process has exec'd or ended. Nothing here
    // allocates or locks. The descriptor table is the child's own (no CLONE_FILES).
    unsafe {
        let exec = (*shared).exec;
        let mut step = Step::Descriptors;
        if close_on_exec_from(3, exec.close_range) {
            let keep = |&number: &RawFd| libc::fcntl(number, libc::F_SETFD, 0) == 0;
            if exec.keep.iter().all(keep) {
                libc::execve(exec.program.as_ptr(), exec.argv.as_ptr(), exec.envp.as_ptr());
                step = Step::Exec;
            }
        }
        ptr::write_volatile(&raw mut (*shared).failed, (step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Marks every descriptor from `first` on close-on-exec: what C libraries opened without it must not reach the child.
///
/// # Safety
/// In a vforked child only: it changes the whole descriptor table, and uses no memory but its stack.
unsafe fn close_on_exec_from(first: u32, close_range: bool) -> bool {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    if close_range {
        // SAFETY: numbers only.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
        if done == 0 {
            return true;
        }
    }
    // SAFETY: the buffer is on the stack and large enough for several entries of getdents64(2), whose layout is
    // followed within the bytes the kernel says it wrote: d_reclen at 16, d_name at 19.
    unsafe {
        let directory =
            libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC);
        if directory == -1 {
            return false;
        }
        let mut buffer = [0_u64; 256];
        loop {
            let length = size_of_val(&buffer);
            let read = libc::syscall(libc::SYS_getdents64, directory, buffer.as_mut_ptr(), length);
            if read <= 0 {
                return read == 0;
            }
            let bytes: *const u8 = buffer.as_ptr().cast();
            let mut at = 0;
            while at < read as usize {
                let number = libc::atoi(bytes.add(at + 19).cast());
                if number >= first as c_int {
                    libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
                }
                at += usize::from(ptr::read_unaligned(bytes.add(at + 16).cast::<u16>()));
            }
        }
    }
}

/// What a copy of this process needs that glibc's `fork` would have taken care of; asked for once, before the first copy.
pub(crate) struct Copier {
    /// Where the C library keeps this thread's id: the kernel writes the copy's there (PR_GET_TID_ADDRESS).
    /// Without it the copy would own locks under the old id, and joining it would hang.
    tid_address: *mut c_int,
    /// The head of this thread's list of robust locks: a copy has none until it registers it again.
    robust_list: *mut c_void,
    robust_list_size: usize,
}

impl Copier {
    /// Asks the kernel; refused without CONFIG_CHECKPOINT_RESTORE, or by a sandbox.
    pub(crate) fn new() -> io::Result<Copier> {
        let mut copier =
            Copier { tid_address: ptr::null_mut(), robust_list: ptr::null_mut(), robust_list_size: 0 };
        if super::switch::is_off("tid_address") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: both calls write through pointers to our own fields.
        unsafe {
            if libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut copier.tid_address) == -1 {
                return Err(io::Error::last_os_error());
            }
            if libc::syscall(
                libc::SYS_get_robust_list,
                0,
                &raw mut copier.robust_list,
                &raw mut copier.robust_list_size,
            ) == -1
            {
                return Err(io::Error::last_os_error());
            }
        }
        if copier.tid_address.is_null() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(copier)
    }

    /// Makes a copy of this process as a child of this process's *parent*: `None` in the copy.
    ///
    /// The caller is single-threaded. Handlers of pthread_atfork do not run. The copy's exit signal is this process's. All signals are
    /// blocked in the copy: its set-up unblocks them.
    pub(crate) fn copy_as_sibling(&self) -> io::Result<Option<Born>> {
        if super::switch::is_off("clone") {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_PARENT
            | libc::CLONE_PIDFD
            | libc::CLONE_CHILD_SETTID
            | libc::CLONE_CHILD_CLEARTID
            | libc::SIGCHLD;
        let blocked = BlockedSignals::all()?;
        let (parent_tid, child_tid, tls) = (&raw mut pidfd, self.tid_address, 0_usize);
        // SAFETY: without CLONE_VM this is a fork: the copy goes on with a copy of this stack. The calling
        // process has one thread, so no lock can be held by a thread that the copy lacks. The order of the
        // last two arguments differs between architectures (clone(2), "C library/kernel differences").
        let pid = unsafe {
            if cfg!(any(target_arch = "x86_64")) {
                libc::syscall(libc::SYS_clone, flags, 0_usize, parent_tid, child_tid, tls)
            } else {
                libc::syscall(libc::SYS_clone, flags, 0_usize, parent_tid, tls, child_tid)
            }
        };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                std::mem::forget(blocked);
                // SAFETY: the list's head is this thread's, at the same address as in the original.
                unsafe { libc::syscall(libc::SYS_set_robust_list, self.robust_list, self.robust_list_size) };
                super::process::set_cloned();
                Ok(None)
            }
            pid => {
                // SAFETY: the kernel has put the copy's new descriptor into `pidfd`.
                Ok(Some(Born { pid: pid as u32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
            }
        }
    }
}

/// The C library's `fork`, with its handlers; `None` in the child, where all signals are blocked: its set-up unblocks them, and no
/// handler of the program runs in a child that is half made.
///
/// # Safety
/// The caller vouches for what the child does: every other thread is gone there, with whatever locks it held.
pub(crate) unsafe fn fork() -> Result<Option<Born>, (&'static str, io::Error)> {
    let blocked = BlockedSignals::all().map_err(|e| ("rt_sigprocmask", e))?;
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(("fork", io::Error::last_os_error())),
        0 => {
            std::mem::forget(blocked);
            Ok(None)
        }
        // Between the two calls somebody else's `wait` may take the child, if it was killed right away.
        pid => match super::wait::pidfd_open(pid as u32) {
            Ok(pidfd) => Ok(Some(Born { pid: pid as u32, pidfd })),
            Err(error) => {
                super::wait::end_by_number(pid as u32);
                Err(("pidfd_open", error))
            }
        },
    }
}
