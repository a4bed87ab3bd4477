//! Events: a flag that processes set, clear and wait for.
//!
//! Three things distinguish it from a flag behind a condition, which is what Python's is. **A `set` is never missed**: who waits when it happens gets through,
//! also where a `clear` follows at once. **It is one atomic step**, so it may be done in a signal handler, whatever that has interrupted. And nobody waits for the
//! dead: `raw.rs` says what follows when somebody dies.
//!
//! **The descriptor** ([`Event::pollable`]) is an eventfd that is made with the event and travels with it. Nobody touches it until somebody asks for it in some process: from
//! then on each `set` and `clear` keeps it in step, at the price of a system call or two. Flag and descriptor are two things, and not changed in one step; so what the descriptor
//! says is a hint, and the flag is what counts. Whoever has changed the flag brings the descriptor in step and looks at the flag again, until
//! that has not changed meanwhile: the last one to do so leaves them equal, however many do it at once.
//!
//! | who dies | where | what is left |
//! |---|---|---|
//! | who sets it | between flag and descriptor | it is set, and the descriptor does not say so: until the next `set` or [`Pollable::is_set`] |
//! | who clears it | between flag and descriptor | it is not set, and the descriptor says it is: until the next `set`, `clear` or [`Pollable::is_set`] |
//!
//! So who polls looks at [`Pollable::is_set`] after each poll, and polls with a time limit if a set by one who dies of it matters. Who calls `wait` is not
//! concerned: there the kernel makes the dead one's wake-up good.

use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ipc_core::ready;
use ipc_shm::gate::{self, WAITERS};
use ipc_shm::raw::{Layout, Shared};
use ipc_shm::{Arena, Segment, Until};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bare::Bare;
use crate::waiting::first;
use crate::{Error, Result, bell};

pub(crate) mod raw;

use raw::RawEvent;

/// An event that processes share: set, cleared, and waited for. Python's `Event`.
///
/// A handle: cloned and sent, it stays the same event.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::Event;
///
/// fn work(ready: Event, stop: Event) {
///     ready.set();
///     stop.wait();
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (ready, stop) = (Event::new()?, Event::new()?);
/// let child = spawn(work, (ready.clone(), stop.clone()))?;
/// ready.wait();
/// stop.set();
/// child.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # In a signal handler
///
/// [`set`](Event::set), [`clear`](Event::clear) and [`is_set`](Event::is_set) may be called in one, whatever it has interrupted, a `wait` on the same event included: they allocate nothing, take no
/// lock, and leave what the interrupted operation had announced to the kernel as it was. If the process is killed in the handler, whoever waits for either of the two is woken; only where it had
/// just taken or was about to free a lock, some instructions, who waits for the event learns of the set with the next one.
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | who sets it, after the change | the kernel wakes one who waits, and that one the next: all get through |
/// | who waits, asleep or just woken | the others get through all the same |
/// | who clears it | it is cleared, or not |
/// | the last process with a handle | the memory is freed |
///
/// "The kernel wakes" means within microseconds; before Linux 6.2, within 100 ms. [The descriptor](Event::pollable) is a hint, and what a death leaves of it is said
/// there. A future that waits is woken as a sleeper is; only where one dies in a `set` and the process of a future that the kernel has woken for it dies in the same moment, others
/// learn of it with the next `set`.
#[derive(Clone)]
pub struct Event {
    shared: Shared<Head>,
    /// None in an arena.
    bell: Option<Arc<OwnedFd>>,
}

#[repr(C)]
pub(crate) struct Head {
    event: RawEvent,
    /// Not 0: somebody has asked for the descriptor.
    polled: AtomicU32,
}

// SAFETY: `repr(C)`, a gate and atomics, no pointers; all zero is an event that is not set.
unsafe impl Layout for Head {
    type Item = ();
    const NAME: &str = "an Event";
    const VERSION: u32 = 1;
}

impl Event {
    /// A new event that is not set, in a segment of its own: a page of memory, and two descriptors.
    ///
    /// # Errors
    /// [`Error::Memory`], as of [`Segment::new`]; also where the kernel does not look after threads (a sandbox).
    pub fn new() -> Result<Event> {
        let bell = bell::make().map_err(|source| ipc_shm::Error::Os {
            operation: "make an event: eventfd".into(),
            source: source.into(),
        })?;
        Event::of(Shared::new(0)?, Some(bell))
    }

    /// A new event in an arena. It has no [descriptor](Event::pollable), and is not freed by itself but goes with the arena.
    ///
    /// # Errors
    /// [`Error::Memory`], as of [`Shared::new_with`], and as for [`new`](Event::new).
    pub fn new_with(arena: &Arena) -> Result<Event> {
        Event::of(Shared::new_with(0, arena)?, None)
    }

    fn of(shared: Shared<Head>, bell: Option<OwnedFd>) -> Result<Event> {
        gate::current()?;
        Ok(Event { shared, bell: bell.map(Arc::new) })
    }

    /// Sets it: all who wait at this moment get through, and all who come until it is [cleared](Event::clear). `false`: it was set already.
    #[inline]
    pub fn set(&self) -> bool {
        let set = self.shared.event.set(&Bare::current());
        self.settle();
        set
    }

    /// Makes it not set. Who waited while it was set gets through all the same. `false`: it was not set.
    #[inline]
    pub fn clear(&self) -> bool {
        let cleared = self.shared.event.clear();
        self.settle();
        cleared
    }

    /// Whether it is set, at this moment.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.shared.event.is_set()
    }

    /// Waits until it is set, or has been since the call began.
    pub fn wait(&self) {
        // Without a deadline it ends with a set only.
        while !self.wait_until(Until::Forever) {}
    }

    /// As [`wait`](Event::wait), at most for `timeout`; `false`: it was not set in that time.
    #[must_use = "whether it was set"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(if timeout.is_zero() { Until::Now } else { Until::after(timeout) })
    }

    /// As [`wait`](Event::wait), at most until `deadline`; `false`: it was not set by then.
    #[must_use = "whether it was set"]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Until::Deadline(deadline))
    }

    #[inline]
    fn wait_until(&self, until: Until) -> bool {
        let event = &self.shared.event;
        match gate::current() {
            Ok(system) => event.wait(system, until),
            Err(_) => event.wait(&Bare::current(), until),
        }
    }

    /// As [`wait`](Event::wait), for an executor: a future that is done when the event is set, or has been since this was called.
    ///
    /// # Errors
    /// [`Error::Message`] where the system has no thread for the helper that waits on behalf of futures.
    pub fn wait_async(&self) -> impl Future<Output = Result<()>> + '_ {
        let event = &self.shared.event;
        let began = event.began();
        async move {
            let _counted = event.count();
            let [gate, state] = event.words();
            // One who finds nothing hands the wake-up that it may have been given on, once for each state that it sees.
            let (mut woken, mut handed) = (false, None);
            loop {
                gate.fetch_or(WAITERS, SeqCst);
                std::sync::atomic::fence(SeqCst);
                let seen = event.state();
                let passed = began.has_passed(seen);
                if woken && event.others_wait() && (passed || handed != Some(seen)) {
                    handed = Some(seen);
                    ready::wake_one(gate);
                }
                if passed {
                    return Ok(());
                }
                // The state as well: a set whose author dies of it leaves the mark on the gate.
                first(ready::word(gate, WAITERS), ready::word(state, seen)).await?;
                woken = true;
            }
        }
    }

    /// The event with its descriptor, for poll(2), epoll and the like, and for [`ipc_core::ready::readable`].
    ///
    /// The descriptor is readable while the event is set, as a hint: after each poll look at [`Pollable::is_set`]. The first call in any process makes every `set` and `clear` from then
    /// on cost a system call or two more.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event = ipc_sync::Event::new()?;
    /// let child = ipc_core::spawn(|event: ipc_sync::Event| event.set(), (event.clone(),))?;
    /// let pollable = event.pollable()?;
    /// while !pollable.is_set() {
    ///     // With a limit, for the case that who sets it is killed in between.
    ///     ipc_core::wait(&[&pollable], Some(Duration::from_secs(1)))?;
    /// }
    /// # child.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]: it stands in an arena.
    pub fn pollable(&self) -> Result<Pollable<'_>> {
        let bell = self.bell.as_deref();
        let bell =
            bell.ok_or_else(|| Error::invalid("the event", "it stands in an arena, and has no descriptor"))?;
        self.shared.polled.store(1, SeqCst);
        self.settle();
        Ok(Pollable { event: self, bell })
    }

    /// What `select` polls: the descriptor, or where there is none one that never becomes readable, so that it looks again by its clock.
    pub(crate) fn poll_or_look(&self) -> BorrowedFd<'_> {
        static QUIET: OnceLock<Option<OwnedFd>> = OnceLock::new();
        match self.pollable() {
            Ok(pollable) => pollable.bell.as_fd(),
            Err(_) => match QUIET.get_or_init(|| bell::make().ok()) {
                Some(quiet) => quiet.as_fd(),
                // No descriptor is left. A segment is readable at any time: it looks again and again.
                None => self.segment().as_fd(),
            },
        }
    }

    /// Whether it is set, for who polls what there is to poll.
    pub(crate) fn is_ready_to_poll(&self) -> bool {
        let set = self.is_set();
        self.settle();
        set
    }

    /// Brings the descriptor in step with the flag.
    #[inline]
    fn settle(&self) {
        crate::crash::reached("event: changed");
        if self.shared.polled.load(SeqCst) != 0
            && let Some(bell) = &self.bell
        {
            self.ring(bell.as_fd());
        }
    }

    #[cold]
    fn ring(&self, bell: BorrowedFd<'_>) {
        let event = &self.shared.event;
        let mut seen = event.state();
        loop {
            if event.is_set() {
                bell::ring(bell)
            } else {
                bell::silence(bell)
            }
            let now = event.state();
            if std::mem::replace(&mut seen, now) == now {
                break;
            }
        }
    }

    /// The segment that it stands in: its own, or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.shared.segment()
    }
}

/// An [`Event`] as something to poll: its descriptor is readable while it is set, as a hint.
#[derive(Clone, Copy)]
pub struct Pollable<'a> {
    event: &'a Event,
    bell: &'a OwnedFd,
}

impl Pollable<'_> {
    /// Whether the event is set, at this moment; if the descriptor says otherwise, because one died between the two, it is brought in step.
    pub fn is_set(&self) -> bool {
        self.event.is_ready_to_poll()
    }
}

impl AsFd for Pollable<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl fmt::Debug for Pollable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pollable").field("event", self.event).finish()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bell = self.bell.as_deref().map(|bell| Leaving(bell.as_fd()));
        (&self.shared, bell).serialize(serializer)
    }
}

/// The descriptor as it is sent.
#[derive(Serialize)]
struct Leaving<'a>(#[serde(with = "ipc_core::as_descriptor")] BorrowedFd<'a>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        let (shared, bell) = <(Shared<Head>, Option<ipc_core::Descriptor>)>::deserialize(deserializer)?;
        let bell = bell.map(ipc_core::Descriptor::into_inner::<OwnedFd>);
        // It is read from without waiting, or not at all.
        if let Some(bell) = &bell
            && !bell::is_one(bell).map_err(serde::de::Error::custom)?
        {
            return Err(serde::de::Error::custom("what came as an event's descriptor is none"));
        }
        Event::of(shared, bell).map_err(serde::de::Error::custom)
    }
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_forked_copy_counts_nobody_off() {
        let event = Event::new().unwrap();
        let counted = [(); 2].map(|()| event.shared.event.count());
        // SAFETY: the copy drops what it has a copy of, and leaves by `_exit`.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            drop(counted);
            // SAFETY: ends the copy, and nothing else.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above; the status is a local.
        assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
        assert_eq!(status, 0);
        assert!(event.shared.event.others_wait(), "one would not pass a wake-up on");
        drop(counted);
        assert!(!event.shared.event.others_wait());
    }
}
