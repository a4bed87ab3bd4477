//! What futures are woken by: a word beside the gate.
//!
//! A future cannot sleep at a gate: the process that has it would have to pass a wake-up on that it was given, also while nobody polls it. So
//! futures wait for a word of their own, which is changed, and all of them woken, whenever something is put there for whom it may concern. They take
//! no wake-up from anybody, and nothing is lost with them. Semaphores, latches and what is set once have one each.
//!
//! | bell | means |
//! |---|---|
//! | a number | no future waits |
//! | a number and [`HEARD`] | futures may wait: whoever puts something there makes it the next number, and wakes them |
//!
//! Who dies between its change and the bell wakes no future, and of the deaths of owners nobody tells them: so they look again every 100 ms, by a
//! timer.

use std::os::fd::OwnedFd;
// `std`'s in the models, too: no future waits there.
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, fence};

use ipc_core::ready;
use rustix::thread::futex;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::Result;
use crate::waiting::first;

/// Futures may wait.
const HEARD: u32 = 1 << 31;

/// See the module's documentation; zero is one that nobody hears.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicU32);

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell(AtomicU32::new(0))
    }

    /// After a change that was followed by a fence: wakes all futures.
    #[inline(always)]
    pub(crate) fn ring(&self) {
        let heard = self.0.load(Relaxed);
        if heard & HEARD != 0 {
            self.wake(heard);
        }
    }

    #[cold]
    fn wake(&self, heard: u32) {
        self.0.store(heard.wrapping_add(1) & !HEARD, SeqCst);
        let _ = futex::wake(&self.0, futex::Flags::empty(), i32::MAX as u32);
    }

    /// Waits until `look` finds something, which is called again after each ring, and every 100 ms.
    ///
    /// # Errors
    /// Those of `look`; that the system has no descriptor or no thread to wait with.
    pub(crate) async fn wait<T>(&self, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let mut again = Again::default();
        loop {
            let heard = self.0.fetch_or(HEARD, SeqCst) | HEARD;
            fence(SeqCst);
            if let Some(found) = look()? {
                return Ok(found);
            }
            again.or(ready::word(&self.0, heard)).await?;
        }
    }
}

/// When to look again, whoever has rung or has not: every 100 ms.
#[derive(Default)]
pub(crate) struct Again(Option<OwnedFd>);

impl Again {
    /// Waits for the other, or until it is time to look again.
    ///
    /// # Errors
    /// Those of the other; the system has no descriptor or no thread to wait with.
    pub(crate) async fn or(&mut self, other: impl Future<Output = ipc_core::Result<()>>) -> Result<()> {
        let timer = match &mut self.0 {
            Some(timer) => timer,
            none => none.insert(timer()?),
        };
        first(other, ready::readable(&*timer)).await?;
        // Empty until the next time. It does not block.
        let _ = rustix::io::read(&*timer, &mut [0; 8]);
        Ok(())
    }
}

/// Readable every 100 ms.
fn timer() -> Result<OwnedFd> {
    let failed = |operation: &str, why: rustix::io::Errno| ipc_shm::Error::Os {
        operation: operation.into(),
        source: why.into(),
    };
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
        .map_err(|why| failed("could not wait: timerfd_create", why))?;
    let often = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let times = Itimerspec { it_interval: often, it_value: often };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)
        .map_err(|why| failed("could not wait: timerfd_settime", why))?;
    Ok(timer)
}
