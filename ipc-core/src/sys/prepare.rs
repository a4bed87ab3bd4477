//! What a program's start would have done for a child that never reaches `main`.

use std::cell::UnsafeCell;

use std::sync::OnceLock;

use super::descriptor;

static ON_OVERFLOW: OnceLock<fn()> = OnceLock::new();

/// What Rust's runtime does before `main`: standard streams open, SIGPIPE ignored, stack overflows named.
///
/// Of an overflow `on_overflow` is told, which must be async-signal-safe.
pub(crate) fn prepare(on_overflow: fn()) {
    let _ = ON_OVERFLOW.set(on_overflow);
    for number in 0..=2 {
        // SAFETY: F_GETFD only looks the number up.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1
            && let Ok(null) = descriptor::open_null()
        {
            // The lowest free number is given, and all below are open: this is it.
            std::mem::forget(null);
        }
    }
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    name_stack_overflows();
}

const STACK: usize = 64 * 1024;

#[repr(align(16))]
struct AlternateStack(UnsafeCell<[u8; STACK]>);

// SAFETY: only the kernel writes it, for the one thread that it was registered for.
unsafe impl Sync for AlternateStack {}

static ALTERNATE: AlternateStack = AlternateStack(UnsafeCell::new([0; STACK]));

fn name_stack_overflows() {
    let stack = libc::stack_t { ss_sp: ALTERNATE.0.get().cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: the memory is static and used for nothing else; this runs once, on the thread that the process
    // began with. The handler is async-signal-safe. A zeroed sigaction is an empty mask and no flags.
    unsafe {
        if libc::sigaltstack(&raw const stack, std::ptr::null_mut()) == -1 {
            return;
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut before);
            if before.sa_sigaction != libc::SIG_DFL {
                continue; // a library's constructor was first
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// A fault near the stack pointer is an overflow. Either way the signal's default action follows, by running into the
/// same fault again.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid pointers to a handler with SA_SIGINFO; only async-signal-safe calls are made.
    unsafe {
        let address = (*info).si_addr() as usize;
        // Sent by somebody, it is not a fault that would happen again, and has no address.
        let sent = (*info).si_code <= 0;
        let near = !sent && stack_pointer(context.cast()).is_none_or(|sp| address.abs_diff(sp) < 64 * 1024);
        if near && let Some(say) = ON_OVERFLOW.get() {
            say();
        }
        libc::signal(signal, libc::SIG_DFL);
        if sent {
            libc::raise(signal);
        }
    }
}

/// The interrupted code's stack pointer.
///
/// # Safety
/// `context` is what the kernel passed to a signal handler.
unsafe fn stack_pointer(context: *const libc::ucontext_t) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.sp } as usize);
    #[allow(unreachable_code)]
    {
        let _ = context;
        None
    }
}
