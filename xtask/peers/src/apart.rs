//! Two ends in two processes: how every peer that brings no start of its own gets its child.

use std::io;

use crate::protocol::{Placement, pin};

/// Forks: the child does `work` with `theirs` and leaves, the parent goes on with `ours`.
///
/// Each closes the other's end first, so that either notices when the other is gone.
pub fn apart<E>(
    placement: Placement,
    ours: E,
    theirs: E,
    work: impl FnOnce(&mut E) -> io::Result<()>,
) -> io::Result<E> {
    placement.enter()?;
    // SAFETY: the peers have one thread when they call this, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Who waits for memory does not notice by itself that the other is gone.
            // SAFETY: no memory is involved. Nobody is left to be told of an error.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            drop(ours);
            let mut end = theirs;
            // Its end is the parent's: nobody is left to be told why.
            let _ = placement.child().map_or(Ok(()), pin).and_then(|()| work(&mut end));
            // SAFETY: leaving without anything of the parent's being flushed or run is what is wanted.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(ours),
    }
}
