//! How many children are worth starting at once.
//!
//! Not how many processors the machine has: a process may be confined to some of them ([sched_setaffinity(2)]), or to
//! a share of their time by a control group, which is how containers are made. std's
//! [`available_parallelism`](std::thread::available_parallelism) knows both: the calling thread's processors, and the
//! quota of every enclosing group, version 1 (`cpu.cfs_quota_us`) and 2 (`cpu.max`), rounded down, at least one. So
//! it is asked, and only tested here, against real and recorded groups.
//!
//! Nothing is remembered: a quota may be changed at any time.
//!
//! [sched_setaffinity(2)]: https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html

use std::num::NonZeroUsize;

use crate::error::{Error, Result};

/// The number of processors this process may use: by affinity and by the quota of its control groups. Python's
/// `os.process_cpu_count`, and the default number of workers of a pool.
///
/// ```
/// let workers = ipc_core::available_parallelism()?;
/// assert!(workers.get() >= 1);
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Os`] where the system tells no number.
pub fn available_parallelism() -> Result<NonZeroUsize> {
    std::thread::available_parallelism()
        .map_err(|error| Error::os("could not find out how many processors may be used", error))
}

#[cfg(test)]
mod tests;
