//! The algorithm of the event: a flag, the number of times it was set, and a gate beside them.
//!
//! | state | means | left by |
//! |---|---|---|
//! | number, 0 | it is not set | `set`: the next number, 1; and all who sleep are woken |
//! | number, 1 | it is set | `clear`: the same number, 0 |
//!
//! **The number is what is waited for.** Who waits has seen a number without the flag; it gets through as soon as there is another number, whether
//! the flag stands by then or was cleared at once. With the flag alone a waiter that is woken after the `clear` would find nothing, and sleep on (CPython's
//! [gh-95826](https://github.com/python/cpython/issues/95826)). It has 31 bits: who is kept from running while the event is set exactly 2³¹ times does
//! not see it.
//!
//! **`waiting`** says how many may sleep, so that the only one who does need not pass the wake-up on, which would be a system call for nobody. The dead are
//! counted as well: then a wake-up goes to nobody.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who sets it | before the change | nothing is set |
//! | who sets it | after the change, before all are woken | the kernel wakes one, who wakes the next, as long as there may be any |
//! | who clears it | anywhere | it is cleared, or not |
//! | who waits | asleep, or just woken | the kernel wakes the next, if there was a wake-up |
//! | who waits | before it counts itself off | it is counted for ever: each waiter makes a system call more when it is woken |

use ipc_core::primitive::mutant;
use ipc_core::primitive::process::Incarnation;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, SeqCst};
use ipc_core::primitive::sync::atomic::fence_after_update;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};

use crate::bare::plain;

/// It is set.
const SET: u32 = 1;

/// An event to be placed in shared memory; all zero is one that is not set. See [`Event`](crate::Event) for the handle.
///
/// ```
/// use ipc_shm::gate;
/// use ipc_sync::raw::RawEvent;
/// use ipc_shm::Until;
///
/// let event = RawEvent::new();
/// let system = gate::current()?;
/// assert!(!event.wait(system, Until::Now));
/// event.set(system);
/// assert!(event.wait(system, Until::Forever));
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[repr(C)]
#[derive(Debug, Default)]
pub struct RawEvent {
    gate: Node,
    state: AtomicU32,
    waiting: AtomicU32,
}

impl RawEvent {
    /// One that is not set.
    pub fn new() -> RawEvent {
        RawEvent::default()
    }

    /// Sets it, and wakes all who wait; `false`: it was set already. In a signal handler, too: one atomic, and futex(2) if somebody waits.
    #[inline]
    pub fn set<S: System>(&self, system: &S) -> bool {
        gate::update(system, &self.gate, u32::MAX, || {
            let next = |state: u32| (state & SET == 0).then(|| next(state));
            let set = self.state.fetch_update(SeqCst, SeqCst, next).is_ok();
            (set, set)
        })
    }

    /// Makes it not set; who waited when it was set gets through all the same. `false`: it was not set. In a signal handler, too.
    #[inline]
    pub fn clear(&self) -> bool {
        self.state.fetch_and(!SET, SeqCst) & SET != 0
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.state.load(Acquire) & SET != 0
    }

    /// Waits until it is set; `false`: the time was over before it was. It is true if the event was set at any time since the call began.
    #[inline]
    pub fn wait<S: System>(&self, system: &S, until: Until) -> bool {
        let began = self.began();
        if began.has_passed(began.0) {
            return true;
        }
        if until == Until::Now {
            return false;
        }
        let _counted = self.count();
        system.crash_point("event: counted");
        // Who finds nothing may have been woken for another, whose set was before this one began.
        let more = |_| self.others_wait();
        let look = |now| began.has_passed(now).then_some(());
        gate::wait(system, &self.gate, &self.state, until, look, more).is_some()
    }

    /// What is waited from, for who looks by himself.
    pub(super) fn began(&self) -> Began {
        Began(self.state.load(SeqCst))
    }

    /// Counts the caller among those who may sleep, until the answer is dropped.
    pub(super) fn count(&self) -> Counted<'_> {
        if !mutant::is("who waits is not counted") {
            self.waiting.fetch_add(1, SeqCst);
        }
        fence_after_update();
        Counted(self, Incarnation::this())
    }

    pub(super) fn others_wait(&self) -> bool {
        self.waiting.load(SeqCst) > 1
    }

    /// Gate and state, for futures.
    pub(super) fn words(&self) -> [&std::sync::atomic::AtomicU32; 2] {
        [&self.gate.word, &self.state].map(plain)
    }

    /// What stands in the state, of which every change is another.
    pub(super) fn state(&self) -> u32 {
        self.state.load(SeqCst)
    }
}

fn next(state: u32) -> u32 {
    if mutant::is("a set is not numbered") {
        return state | SET;
    }
    state.wrapping_add(2) | SET
}

/// The state as a waiter found it.
#[derive(Clone, Copy)]
pub(super) struct Began(u32);

impl Began {
    /// Whether the event was set then, or has been since, given what its state is now.
    pub(super) fn has_passed(self, now: u32) -> bool {
        self.0 & SET != 0 || now & SET != 0 || now >> 1 != self.0 >> 1
    }
}

/// One who is counted among those who may sleep; in this process, and not in a forked copy of it.
pub(super) struct Counted<'a>(&'a RawEvent, Incarnation);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // A model's victim dies by unwinding, and does nothing any more.
        if !(ipc_core::primitive::MODEL && std::thread::panicking()) && self.1.is_this() {
            self.0.waiting.fetch_sub(1, SeqCst);
        }
    }
}
