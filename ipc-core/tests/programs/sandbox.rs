//! Changes of a process that cannot be taken back: made in children only.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A mount namespace of this process's own, whose changes stay in it.
pub(crate) fn own_mounts() -> Result<(), String> {
    own(UnshareFlags::NEWNS)?;
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE).map_err(|e| format!("making mounts private: {e}"))
}

fn mount(kind: &CStr, place: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: strings that end with zero, and no data.
    let done =
        unsafe { libc::mount(c"none".as_ptr(), place.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next children of this process get a pid namespace of their own.
pub(crate) fn own_pids() -> Result<(), String> {
    own(UnshareFlags::NEWPID)
}

fn own(flags: UnshareFlags) -> Result<(), String> {
    // SAFETY: namespaces only; no descriptors are unshared.
    if unsafe { unshare_unsafe(flags) }.is_ok() {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { unshare_unsafe(flags | UnshareFlags::NEWUSER) }
        .map_err(|e| format!("namespaces need root, or user namespaces ({e})"))
}

/// Nothing is in /proc any more, in this mount namespace.
pub(crate) fn hide_proc() -> Result<(), String> {
    mount(c"tmpfs", c"/proc", 0).map_err(|e| format!("tmpfs on /proc: {e}"))
}

/// Becomes another user and group for good.
pub(crate) fn become_user(id: u32) {
    // SAFETY: numbers only; the C library changes all threads.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::setresgid(id, id, id), 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::setresuid(id, id, id), 0, "{}", std::io::Error::last_os_error());
    }
}

/// A system call to be refused with EPERM: its number, and for one argument a mask of which some bit must be set, or a
/// value that it must have.
#[derive(Clone, Copy)]
pub(crate) enum Refuse {
    /// Whatever its arguments are.
    Call(i64),
    /// If the argument has one of these bits.
    Bits(i64, u32, u32),
    /// If the argument is this.
    Value(i64, u32, u32),
}

/// Puts a seccomp filter on the calling thread and all that it starts: these calls fail with EPERM (seccomp(2)).
pub(crate) fn refuse(calls: &[Refuse]) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let eperm = step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // struct seccomp_data: nr at 0, args (64 bits each, little-endian) at 16.
    let argument = |at: u32| step(LOAD, 0, 0, 16 + 8 * at);
    let mut filter = Vec::new();
    for call in calls {
        match *call {
            Refuse::Call(number) => {
                filter.extend([step(LOAD, 0, 0, 0), step(EQUAL, 0, 1, number as u32), eperm]);
            }
            Refuse::Bits(number, at, bits) => filter.extend([
                step(LOAD, 0, 0, 0),
                step(EQUAL, 0, 3, number as u32),
                argument(at),
                step(SET, 0, 1, bits),
                eperm,
            ]),
            Refuse::Value(number, at, value) => filter.extend([
                step(LOAD, 0, 0, 0),
                step(EQUAL, 0, 3, number as u32),
                argument(at),
                step(EQUAL, 0, 1, value),
                eperm,
            ]),
        }
    }
    filter.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives during the call, which copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// No program that this process executes gains privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
pub(crate) fn forbid_privileges() {
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
}

/// Puts the calling thread into a Landlock domain in which this one file cannot be read, and everything else can
/// (landlock(7)). `false`: the kernel has no Landlock.
pub(crate) fn landlock(file: &std::path::Path) -> bool {
    /// `LANDLOCK_ACCESS_FS_READ_FILE`.
    const READ_FILE: u64 = 1 << 2;
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Beneath {
        allowed: u64,
        parent: i32,
    }
    let handled = READ_FILE;
    // SAFETY: the first member of `struct landlock_ruleset_attr`, whose size is told.
    let rules = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, 8usize, 0) };
    if rules == -1 {
        return false;
    }
    // What is not allowed is forbidden: so, on the way to the file, all that stands beside the way.
    for above in file.ancestors().skip(1) {
        let beside = std::fs::read_dir(above).expect("a directory").flatten();
        for entry in beside.filter(|entry| !file.starts_with(entry.path())) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Gone meanwhile, perhaps.
            let Ok(place) = rustix::fs::open(entry.path(), flags, Mode::empty()) else { continue };
            let beneath = Beneath { allowed: READ_FILE, parent: place.as_raw_fd() };
            // SAFETY: the structure that `LANDLOCK_RULE_PATH_BENEATH` (1) wants, read during the call. A link or a socket cannot
            // be allowed, and need not.
            unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, 1, &raw const beneath, 0) };
        }
    }
    // SAFETY: a descriptor from above, used up here.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_landlock_restrict_self, rules, 0),
            0,
            "{}",
            io::Error::last_os_error()
        );
        libc::close(rules as i32);
    }
    true
}
