//! What a program's end would have done for a child that leaves by `_exit`.

use std::io;

// The function that writes a coverage build's profile, or null: `exit` would call it.
std::arch::global_asm!(
    ".pushsection .data.rel.ro.ipc_core_profile, \"aw\", @progbits",
    ".balign 8",
    ".weak __llvm_profile_write_file",
    ".hidden ipc_core_0_1_write_profile",
    ".globl ipc_core_0_1_write_profile",
    "ipc_core_0_1_write_profile:",
    ".8byte __llvm_profile_write_file",
    ".popsection",
);

unsafe extern "C" {
    static ipc_core_0_1_write_profile: Option<unsafe extern "C" fn() -> i32>;
}

/// What `exit` does beyond atexit handlers: the C library's buffers, and a coverage build's profile.
pub(crate) fn flush() {
    // SAFETY: fflush(NULL) flushes every open stream. The profile's function, where the program has it, is
    // meant to be called at the end; it takes nothing.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        if let Some(write_profile) = std::ptr::read_volatile(&raw const ipc_core_0_1_write_profile) {
            write_profile();
        }
    }
}

/// Flushes what this process has buffered, so that a copy of it does not write it a second time. As long as the lock is held, nothing
/// more is, and a copy does not find it locked by a thread that it does not have.
pub(crate) fn flush_before_copy() -> io::StdoutLock<'static> {
    let mut stdout = io::stdout().lock();
    let _ = io::Write::flush(&mut stdout);
    // SAFETY: as above.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    stdout
}
