//! The slot in `.init_array` by which a child is entered before `main`, and the slots after it.
//!
//! The C library calls the functions of `.init_array` in order with `main`'s arguments (the System V ABI,
//! "Initialization and Termination Functions"; glibc and musl pass the arguments). The linker marks the end of
//! the array, in executables.

use std::ffi::{c_char, c_int};

use crate::entry::hook;

type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
// SAFETY: `.init_array` holds pointers to functions of exactly this type. The function is sound to call there: it
// uses nothing that the C library or std has not set up by then (std itself needs no set-up outside `main`).
#[unsafe(link_section = ".init_array")]
static SLOT: Constructor = construct;

// A pointer to the end of the array. The reference is weak: no linker has to define the symbol.
std::arch::global_asm!(
    ".pushsection .data.rel.ro.ipc_core_init_array_end, \"aw\", @progbits",
    ".balign 8",
    ".weak __init_array_end",
    ".hidden ipc_core_0_1_init_array_end",
    ".globl ipc_core_0_1_init_array_end",
    "ipc_core_0_1_init_array_end:",
    ".8byte __init_array_end",
    ".popsection",
);

unsafe extern "C" {
    static ipc_core_0_1_init_array_end: usize;
}

unsafe extern "C" fn construct(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    hook::constructor(|| {
        // SAFETY: the word is a constant of this image, defined by the assembly above.
        let end = unsafe { std::ptr::read_volatile(&raw const ipc_core_0_1_init_array_end) };
        let mut slot = &raw const SLOT as usize + size_of::<Constructor>();
        while slot + size_of::<Constructor>() <= end {
            // SAFETY: the slots between ours and the array's end are constructors of this image that the C
            // library would call next, in this order and with these arguments; the process leaves before it does.
            unsafe {
                let word = std::ptr::read(slot as *const usize);
                if word != 0 && word != usize::MAX {
                    std::mem::transmute::<usize, Constructor>(word)(argc, argv, envp);
                }
            }
            slot += size_of::<Constructor>();
        }
    });
}
