//! Ctrl-C (and SIGTERM): noticed, so that the workers are ended and the terminal is left in order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// The wish to stop. From its making on, the two signals do nothing but show here.
pub(super) struct Stop {
    which: Arc<AtomicUsize>,
    /// Readable as soon as a signal has come, for whoever waits in poll.
    wake: UnixStream,
}

impl Stop {
    pub(super) fn on_signals() -> io::Result<Stop> {
        let (stop, ring) = Stop::unheard()?;
        for signal in [SIGINT, SIGTERM] {
            // First the flag, then the wake: who is woken finds it.
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.which), signal as usize)?;
            signal_hook::low_level::pipe::register(signal, ring.try_clone()?)?;
        }
        Ok(stop)
    }

    /// One that no signal is tied to yet, and the other end of its wake.
    pub(super) fn unheard() -> io::Result<(Stop, UnixStream)> {
        let (wake, ring) = UnixStream::pair()?;
        Ok((Stop { which: Arc::default(), wake }, ring))
    }

    /// The signal that came, if one did.
    pub(super) fn wanted(&self) -> Option<i32> {
        let signal = self.which.load(Ordering::Relaxed);
        (signal != 0).then_some(signal as i32)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
