//! Two runners in two processes, and the memory that they share: for the locks of peers that bring no start of their own.

use std::io;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::counting::{Counter, Stage, processors};
use crate::protocol::{Call, pin};

/// Puts a value into memory that forked children share, for good.
pub fn in_shared_memory<T>(value: T) -> io::Result<&'static T> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping at a place of the kernel's choice.
    let memory = unsafe { mmap_anonymous(ptr::null_mut(), size_of::<T>(), protection, MapFlags::SHARED)? };
    let memory = memory.cast::<T>();
    // SAFETY: at a page's beginning, as long as a `T`, and mapped until the process ends.
    unsafe {
        memory.write(value);
        Ok(&*memory)
    }
}

/// Forks two runners, and answers the harness for them.
pub fn two_runners(call: &Call, counter: &impl Counter) -> io::Result<()> {
    let stage = in_shared_memory(Stage::default())?;
    for (lane, processor) in processors(call.placement).into_iter().enumerate() {
        // SAFETY: the peers have one thread when they call this, so the child may do whatever the parent may.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: no memory is involved. Nobody is left to be told of an error.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                if processor.map_or(Ok(()), pin).is_ok() {
                    stage.run(lane, counter);
                }
                // SAFETY: leaving without anything of the parent's being flushed or run is what is wanted.
                unsafe { libc::_exit(0) }
            }
            _ => {}
        }
    }
    stage.conduct(call, counter)
}
