//! Permits that belong to processes: the raw form.
//!
//! | stands there | means |
//! |---|---|
//! | the ledger's counts | which process has how many permits: what decides |
//! | `total` | how many there are in all, had ones and others |
//! | `state` | how many are to be had: `total` less the counts, but for the moment between two stores |
//!
//! All three change under the lock alone. A sleeper looks at `state` without it, and takes the lock once there is something to be had.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who acquires | before its count | nothing has changed |
//! | who acquires | after its count, before `state` | the next to have the lock computes `state` anew; the permit is a dead process's |
//! | who releases | before the count | nothing has changed; the permit is a dead process's |
//! | who releases | after the count, before `state` | the next to have the lock computes it anew; the kernel has woken a sleeper |
//! | who releases | after `state`, before its wake | the kernel wakes a sleeper |
//! | who clears the dead | half way | as who releases |
//! | a sleeper | woken, before it has the lock | the kernel wakes the next; while it waits for the lock: the others look after 100 ms |
//!
//! **The wake is given under the lock.** A thread has one announcement, and freeing the lock is announced as well: after that, a death before the wake would wake
//! one who waits for the lock, and nobody at the gate.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::raw::Layout;

use super::permits::{self, MAX_PERMITS};
use crate::futures::Bell;
use crate::inner::locked;
use crate::ledger::{self, Bed, Dead, Entered, Entry, Ledger, PLACES, Whom};
use crate::people::{People, Person};
use crate::{Error, Result};

/// A [`Semaphore`](crate::Semaphore) to be placed in shared memory by whoever has some; all zero is one without permits.
///
/// `system` is the calling thread's, [`gate::current`](ipc_shm::gate::current); `people` are [`Here`](crate::raw::Here).
///
/// ```
/// use ipc_shm::{Until, gate};
/// use ipc_sync::raw::{Here, RawSemaphore};
///
/// let two = RawSemaphore::new(2, false)?;
/// let system = gate::current()?;
/// assert!(two.acquire(system, &Here, 2, Until::Now)?);
/// assert!(!two.acquire(system, &Here, 1, Until::Now)?);
/// two.release(system, &Here, 2)?;
/// assert_eq!(two.available(), 2);
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[repr(C)]
pub struct RawSemaphore {
    state: AtomicU64,
    total: AtomicU32,
    /// Not 0: there are never more than `total`.
    bounded: AtomicU32,
    bell: Bell,
    _unused: u32,
    gate: Node,
    lock: Node,
    ledger: Ledger,
}

// SAFETY: `repr(C)`, of atomics, a gate and a lock, valid whatever is written over them; no pointers; zero is one without permits.
unsafe impl Layout for RawSemaphore {
    type Item = ();
    const NAME: &'static str = "a Semaphore";
    const VERSION: u32 = 1;
}

impl RawSemaphore {
    /// One with so many permits; if it is bounded, there are never more.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there may be no more than [`MAX_PERMITS`].
    pub fn new(permits: u32, bounded: bool) -> Result<RawSemaphore> {
        let new = RawSemaphore {
            state: AtomicU64::new(0),
            total: AtomicU32::new(0),
            bounded: AtomicU32::new(0),
            bell: Bell::new(),
            _unused: 0,
            gate: Node::new(),
            lock: Node::new(),
            ledger: Ledger::new(),
        };
        new.init(permits, bounded)?;
        Ok(new)
    }

    /// Makes it one with so many permits, bounded or not; before others have it.
    ///
    /// # Errors
    /// As [`new`](RawSemaphore::new).
    pub fn init(&self, permits: u32, bounded: bool) -> Result<()> {
        super::check(permits, MAX_PERMITS)?;
        self.total.store(permits, Relaxed);
        self.bounded.store(bounded.into(), Relaxed);
        permits::set(&self.state, permits);
        Ok(())
    }

    /// Takes so many permits, waiting for them as long as is said; whether it did. Permits of dead processes come back first.
    ///
    /// # Errors
    /// [`Error::TooManyProcesses`]; [`Error::Invalid`] in another time namespace than the others; [`Error::Memory`] where the lock cannot be
    /// taken.
    #[inline]
    pub fn acquire<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        permits: u32,
        until: Until,
    ) -> Result<bool> {
        let me = people.this()?;
        match self.attempt(system, people, &me, permits, until)? {
            Some(true) => Ok(true),
            _ => self.wait(system, people, &me, permits, until),
        }
    }

    /// Takes so many if they are to be had; `None`: the lock was not free in time.
    #[inline]
    fn attempt<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        me: &Person,
        permits: u32,
        until: Until,
    ) -> Result<Option<bool>> {
        let mut cleared = false;
        loop {
            let taken =
                locked(system, &self.lock, until, || self.repair(system), || self.take(system, me, permits))?;
            match taken {
                None => return Ok(None),
                Some(Took::Yes) => return Ok(Some(true)),
                Some(Took::No) => return Ok(Some(false)),
                Some(Took::Full) if cleared => return Err(Error::TooManyProcesses { most: PLACES as u32 }),
                Some(Took::Full) => {
                    self.clear(system, people, me, Whom::All, until)?;
                    cleared = true;
                }
            }
        }
    }

    /// With the lock.
    #[inline]
    fn take<S: System>(&self, system: &S, me: &Person, permits: u32) -> Result<Took> {
        let entry = match self.ledger.enter(me)? {
            Entered::Before(entry) | Entered::New(entry) => entry,
            Entered::Second(entry) => {
                // Who sleeps thought to be alone.
                gate::update(system, &self.gate, u32::MAX, || (true, permits::put(&self.state, 0, u32::MAX)))
                    .ok();
                entry
            }
            Entered::Full => return Ok(Took::Full),
        };
        system.crash_point("semaphore: entered");
        if permits::count(self.state.load(Relaxed)) < permits {
            return Ok(Took::No);
        }
        let Some(count) = entry.count().checked_add(permits) else { return Err(broken()) };
        if !mutant::is("what is acquired is not entered") {
            entry.set(count);
        }
        system.crash_point("semaphore: acquired");
        if permits::take(&self.state, permits) { Ok(Took::Yes) } else { Err(broken()) }
    }

    #[cold]
    fn wait<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        me: &Person,
        permits: u32,
        until: Until,
    ) -> Result<bool> {
        self.check_possible(permits)?;
        if self.clear(system, people, me, Whom::Owners, until)? > 0
            && self.attempt(system, people, me, permits, until)? == Some(true)
        {
            return Ok(true);
        }
        if until == Until::Now {
            return Ok(false);
        }
        let look = |state| {
            if permits::count(state) < permits {
                return None;
            }
            match self.attempt(system, people, me, permits, until) {
                Ok(Some(true)) => Some(Ok(true)),
                // The next look sees another state.
                Ok(Some(false)) => None,
                Ok(None) => Some(Ok(false)),
                Err(error) => Some(Err(error)),
            }
        };
        let bed = Bed { ledger: &self.ledger, gate: &self.gate, state: &self.state, me };
        let more = |state| permits::count(state) > 0;
        let bury = || self.clear(system, people, me, Whom::All, until).map(drop);
        ledger::wait(system, people, &bed, until, look, more, bury)?.unwrap_or(Ok(false))
    }

    /// What nobody can ever acquire is refused.
    pub(crate) fn check_possible(&self, permits: u32) -> Result<()> {
        if self.bounded.load(Relaxed) == 0 {
            return Ok(());
        }
        super::check_many(permits, self.total.load(Relaxed))
    }

    /// Gives so many permits back, and wakes as many who wait. They are the calling process's own; what it does not have is another's, of the one
    /// who has most; what nobody has are new permits.
    ///
    /// # Errors
    /// [`Error::TooManyPermits`]: nobody has as many, and it is bounded, or has [`MAX_PERMITS`] then; nothing has changed.
    #[inline]
    pub fn release<S: System, P: People>(&self, system: &S, people: &P, permits: u32) -> Result<()> {
        self.give_and_ring(system, people, permits, true)
    }

    /// Gives so many of the calling process's own permits back, or as many as it has: others that it acquired have been released already.
    ///
    /// # Errors
    /// As [`release`](RawSemaphore::release), but for [`Error::TooManyPermits`].
    #[inline]
    pub fn give_back<S: System, P: People>(&self, system: &S, people: &P, permits: u32) -> Result<()> {
        self.give_and_ring(system, people, permits, mutant::is("what another has is given back"))
    }

    #[inline]
    fn give_and_ring<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        permits: u32,
        of_others: bool,
    ) -> Result<()> {
        let me = people.this()?;
        let give = || self.give(system, &me, permits, of_others);
        locked(system, &self.lock, Until::Forever, || self.repair(system), give)?;
        self.bell.ring();
        Ok(())
    }

    /// With the lock.
    #[inline]
    fn give<S: System>(&self, system: &S, me: &Person, permits: u32, of_others: bool) -> Result<()> {
        let mine = self.ledger.find(me.life);
        let had = mine.map_or(0, Entry::count);
        let own = had.min(permits);
        let permits = if of_others { permits } else { own };
        if own < permits {
            self.is_allowed(mine, permits, permits - own)?;
        }
        let total = self.total.load(Relaxed);
        gate::update(system, &self.gate, permits, || {
            if let Some(mine) = mine {
                mine.set(had - own);
            }
            system.crash_point("semaphore: given back");
            if own < permits {
                self.give_others(system, mine, permits - own);
            }
            let put = permits::put(&self.state, permits, total.max(self.total.load(Relaxed)));
            (put.is_ok() && permits > 0, put)
        })
        .map_err(|_| broken())
    }

    /// Whether `more` may be released than the caller has.
    #[cold]
    fn is_allowed(&self, mine: Option<&Entry>, permits: u32, more: u32) -> Result<()> {
        let new = u64::from(more).saturating_sub(self.ledger.sum_of_others(mine));
        let total = self.total.load(Relaxed);
        let most = if self.bounded.load(Relaxed) == 0 { MAX_PERMITS } else { total };
        if u64::from(total) + new > most.into() {
            return Err(Error::too_many_permits(self.available(), permits, most));
        }
        Ok(())
    }

    /// Takes so many off the others' counts, and makes new ones of the rest.
    #[cold]
    fn give_others<S: System>(&self, system: &S, mine: Option<&Entry>, mut permits: u32) {
        while permits > 0
            && let Some((entry, count)) = self.ledger.largest(mine)
        {
            let from = count.min(permits);
            entry.set(count - from);
            system.crash_point("semaphore: given back for another");
            permits -= from;
        }
        self.total.store(self.total.load(Relaxed).saturating_add(permits), Relaxed);
    }

    /// Clears the entries of the dead; gives how many permits have come back.
    #[cold]
    fn clear<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        me: &Person,
        whom: Whom,
        until: Until,
    ) -> Result<u32> {
        let dead = self.ledger.dead(people, me, whom)?;
        if dead.is_empty() {
            return Ok(0);
        }
        let clear = || self.clear_these(system, &dead);
        let back = locked(system, &self.lock, until, || self.repair(system), clear)?.unwrap_or(0);
        self.bell.ring();
        Ok(back)
    }

    /// With the lock.
    fn clear_these<S: System>(&self, system: &S, dead: &Dead) -> Result<u32> {
        let total = self.total.load(Relaxed);
        let mut back: u32 = 0;
        for one in dead {
            let put = gate::update(system, &self.gate, u32::MAX, || {
                let had = self.ledger.clear(*one, || system.crash_point("semaphore: dead entry cleared"));
                back = back.saturating_add(had);
                (true, permits::put(&self.state, had, total))
            });
            put.map_err(|_| broken())?;
        }
        Ok(back)
    }

    /// Computes anew what is to be had; with the lock, of an owner that died.
    #[cold]
    fn repair<S: System>(&self, system: &S) -> Result<()> {
        gate::update(system, &self.gate, u32::MAX, || {
            let had = self.ledger.sum();
            let left = u64::from(self.total.load(Relaxed)).saturating_sub(had);
            system.crash_point("semaphore: about to repair");
            permits::set(&self.state, left as u32);
            (true, ())
        });
        Ok(())
    }

    /// How many permits are to be had, at this moment. Those of the dead are not, until somebody looks for them.
    pub fn available(&self) -> u32 {
        permits::count(self.state.load(Relaxed))
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// What an attempt has come to.
enum Took {
    Yes,
    No,
    /// There is no place in the ledger.
    Full,
}

#[cold]
fn broken() -> Error {
    Error::corrupt("a semaphore's permits do not add up")
}
