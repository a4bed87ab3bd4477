//! What both ends of a ring do: wait for the other side, be told of its end, and ring its bell.
//!
//! Each end has one end of a socket pair. It is three things at once:
//!
//! - **A lifeline.** The kernel closes it with the process that has it, however that dies; and since it travels with the end, "hung up" means that nobody
//!   has the other side any more. A sleeper looks at it ten times a second, and who finds nothing with `try_…` looks as well, at most every 20 µs.
//! - **A bell.** A byte in it makes the descriptor readable, for who waits in poll(2) or in a runtime.
//! - **Both in one descriptor**, so whoever polls it is told of either.
//!
//! A byte costs a system call; so it is sent only to who wants it. At any time one of two things holds: *the descriptor is readable, or the bell is
//! armed*, that is, whoever does something next on the other side makes it readable. In the beginning the sender's is readable (there is room) and the
//! receiver's bell is armed. Who finds nothing takes the bytes out, arms the bell, and looks once more; but only if its descriptor was ever asked
//! for: who never polls lets the first byte lie there, and no other is ever sent.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ipc_core::primitive::process::Tie;
use ipc_core::primitive::time::Until;
use ipc_shm::gate;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::memory::Memory;
use super::track::{Fault, Post};
use crate::lifeline::{LOOK, has_hung_up};
use crate::waiting::{Pace, look_awhile};
use crate::{Error, Result, crash};

/// How long who looks without waiting takes the other side to live since it was last seen.
const LIVES: Duration = Duration::from_micros(20);

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The sender.
    Sends = 1,
    /// The receiver.
    Receives = 2,
}

/// See the module's documentation.
pub(super) struct End {
    pub(super) memory: Memory,
    pub(super) socket: Tie,
    pub(super) role: Role,
    /// Whether the end is here: not once it was sent away in a value.
    pub(super) here: Arc<AtomicBool>,
    /// What its [`Post`] counts, for this process.
    pub(super) seat: u32,
    /// Whether anybody has asked for the descriptor.
    polled: AtomicBool,
    /// When the other side was last known to live.
    seen: Option<Instant>,
    gone: bool,
}

impl End {
    pub(super) fn new(role: Role, memory: Memory, socket: Tie, seat: u32) -> End {
        let (here, polled) = (Arc::new(true.into()), false.into());
        End { memory, socket, role, here, seat, polled, seen: None, gone: false }
    }

    /// Where this side is reached.
    pub(super) fn post(&self) -> &Post {
        match self.role {
            Role::Sends => &self.memory.ring().sender,
            Role::Receives => &self.memory.ring().receiver,
        }
    }

    /// Tells now and then where this side runs, who goes from one index to the other: it would cost more each time than it is worth.
    #[inline(always)]
    pub(super) fn tell_place(&self, from: u64, to: u64) {
        const EVERY: u64 = 16;
        if (from ^ to) >= EVERY {
            self.post().place.tell();
        }
    }

    fn other(&self) -> &Post {
        match self.role {
            Role::Sends => &self.memory.ring().receiver,
            Role::Receives => &self.memory.ring().sender,
        }
    }

    /// Before anything is done with it.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<()> {
        if self.here.load(Relaxed) { Ok(()) } else { Err(sent_away()) }
    }

    /// Whether dropping it closes it: not one that was sent away, nor the original of what a forked child's closure captured, nor a copy by another fork.
    pub(super) fn closes(&self) -> bool {
        self.socket.ends_here() && self.check().is_ok()
    }

    /// What `look` finds, as long as it takes to find something; `None` when the time is over.
    #[inline(always)]
    pub(super) fn wait<T>(
        &mut self,
        until: Until,
        pace: Pace,
        mut look: impl FnMut(&Memory) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>> {
        self.check()?;
        if self.gone && self.role == Role::Sends {
            return Err(self.fault(Fault::Closed));
        }
        match look(&self.memory) {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) if self.gone => Err(self.fault(Fault::Closed)),
            Ok(None) => self.go_on(until, pace, look),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// The same for who has found nothing.
    #[inline(never)]
    fn go_on<T>(
        &mut self,
        until: Until,
        pace: Pace,
        mut look: impl FnMut(&Memory) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>> {
        let mut look = |end: &End| look(&end.memory).map_err(|fault| end.fault(fault));
        self.post().place.tell();
        if until == Until::Now {
            return self.nothing_now(look);
        }
        let found = look_awhile(&self.other().place, pace, until, || look(self).transpose());
        if let Some(found) = found {
            return found.map(Some);
        }
        let system = gate::current()?;
        let ring = self.memory.ring();
        loop {
            let next = Instant::now() + LOOK;
            let slice = match until {
                Until::Deadline(deadline) => Until::Deadline(deadline.min(next)),
                _ => Until::Deadline(next),
            };
            let look_here = || look(self).transpose();
            let found = match self.role {
                Role::Sends => ring.sleep_sender(system, slice, look_here),
                Role::Receives => ring.sleep_receiver(system, slice, look_here),
            };
            if let Some(found) = found {
                self.post().place.tell();
                return found.map(Some);
            }
            if has_hung_up(&self.socket) {
                return self.last(look);
            }
            if until.is_over() {
                return Ok(None);
            }
        }
    }

    /// Nobody is there any more: what was sent before that is seen now, and nothing after it; and nobody needs what would be sent.
    fn last<T>(&mut self, mut look: impl FnMut(&End) -> Result<Option<T>>) -> Result<Option<T>> {
        self.gone = true;
        if self.role == Role::Sends {
            return Err(self.fault(Fault::Closed));
        }
        look(self)?.map_or_else(|| Err(self.fault(Fault::Closed)), |found| Ok(Some(found)))
    }

    /// There is no time, and was nothing.
    fn nothing_now<T>(&mut self, mut look: impl FnMut(&End) -> Result<Option<T>>) -> Result<Option<T>> {
        if self.polled.load(Relaxed) {
            if self.silence() {
                return self.last(look);
            }
            self.post().arm();
            return look(self);
        }
        let now = Instant::now();
        if self.seen.is_none_or(|seen| now - seen >= LIVES) {
            if has_hung_up(&self.socket) {
                return self.last(look);
            }
            self.seen = Some(now);
        }
        Ok(None)
    }

    /// For who polls: whether this side has something to do, as `news` says, or nobody has the other side. If not, the descriptor is not readable until it
    /// may have.
    pub(super) fn settle(&self, news: impl Fn() -> bool) -> bool {
        if self.gone || self.check().is_err() || news() || self.silence() {
            return true;
        }
        self.post().arm();
        news()
    }

    /// Whether the descriptor is readable.
    pub(super) fn is_readable(&self) -> bool {
        ipc_core::wait(&[&self.socket], Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty())
    }

    /// Takes the bytes out that make the descriptor readable; says whether nobody has the other side.
    fn silence(&self) -> bool {
        let mut bytes = [0; 64];
        // Somebody who sends more and more keeps nobody here.
        for _ in 0..64 {
            match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return true,
                Ok((count, _)) if count == bytes.len() => {}
                Err(Errno::INTR) => {}
                _ => return false,
            }
        }
        false
    }

    /// Makes the other side's descriptor readable, if that was found to be wanted.
    #[inline(always)]
    pub(super) fn ring(&self, wanted: bool) {
        if wanted {
            self.ring_now();
        }
    }

    #[cold]
    pub(super) fn ring_now(&self) {
        crash::reached("ring bell: about to ring");
        // As full as it can be it is readable; short of memory, it may be had a moment later.
        for _ in 0..100 {
            match send(&self.socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => std::thread::yield_now(),
                _ => return,
            }
        }
        // The next message rings.
        self.other().arm();
    }

    #[cold]
    pub(super) fn fault(&self, fault: Fault) -> Error {
        match (fault, self.role) {
            (Fault::Closed, Role::Sends) => disconnected("send: the receiver"),
            (Fault::Closed, Role::Receives) => disconnected("receive: the sender"),
            (Fault::Corrupt(why), _) => Error::corrupt(format!("a ring: {why}")),
        }
    }
}

fn disconnected(what: &str) -> Error {
    ipc_core::Error::Disconnected { how: format!("could not {what} has closed its end or died") }.into()
}

pub(super) fn sent_away() -> Error {
    Error::invalid("this end of a ring", "it was sent to another process")
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.polled.store(true, Relaxed);
        self.socket.as_fd()
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("descriptor", &self.socket)
            .field("capacity", &(self.memory.lines() as usize * super::track::LINE))
            .finish_non_exhaustive()
    }
}
