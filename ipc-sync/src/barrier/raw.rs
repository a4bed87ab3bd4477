//! The barrier in shared memory.
//!
//! | phase | means | left by |
//! |---|---|---|
//! | `FILLING` | parties arrive, and those inside wait | the last to arrive: `PASSED`, or `ACTING` if it has something to do first; who breaks or resets it: `UNDONE` |
//! | `ACTING` | all have arrived, and the last is at its action | the same one: `PASSED`; who breaks or resets it: `UNDONE` |
//! | `PASSED` | those inside leave, and have passed; who comes waits outside | the last to leave: `FILLING` |
//! | `UNDONE` | those inside leave, and have not passed; who comes waits outside | the last to leave: `FILLING` |
//!
//! Beside it stands whether it is *broken*, which [`reset`](RawBarrier::reset) alone takes back: then nobody enters. As nobody enters in the last two phases
//! either, whoever is inside finds the phase that ended its wait, however late it looks; that is also how Python's barrier does it.
//!
//! Who is inside stands in the ledger, a count of threads for each process; `inside` is their sum.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | a party | arrived, or at its action | who waits finds that within 100 ms and breaks the barrier |
//! | a party | as it arrives, or leaves | the next to have the lock counts anew; it is inside, or not |
//! | the last to arrive | after it let all pass, before its wake | the kernel wakes one, and that one the next |
//! | who leaves | before it is out | who waits outside finds that within 100 ms, and breaks the barrier |
//! | who gives up, a future that is dropped | before it is out | as a party that has arrived; it is broken already |
//! | who breaks, resets, or clears the dead | half way | the next to have the lock counts anew; who waits does it again |

use std::time::Duration;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::raw::Layout;

use crate::futures::Bell;
use crate::inner::locked;
use crate::ledger::{self, Bed, Entered, Ledger, PLACES, Whom};
use crate::people::{People, Person};
use crate::{Error, Result};

const FILLING: u32 = 0;
const ACTING: u32 = 1;
const PASSED: u32 = 2;
const UNDONE: u32 = 3;

/// The barrier is broken; beside the phase.
const BROKEN: u32 = 4;

/// A [`Barrier`](crate::Barrier) to be placed in shared memory by whoever has some. It is made by [`init`](RawBarrier::init): all zero is one that nobody
/// passes.
///
/// `system` is the calling thread's, [`gate::current`](ipc_shm::gate::current); `people` are [`Here`](crate::raw::Here).
///
/// ```
/// use ipc_shm::{Until, gate};
/// use ipc_sync::raw::{Here, RawBarrier};
///
/// let alone = RawBarrier::new(1)?;
/// assert_eq!(alone.wait(gate::current()?, &Here, Until::Forever, None::<fn()>)?, 0);
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[repr(C)]
pub struct RawBarrier {
    /// Below: phase and `BROKEN`. Above: how often that has changed, modulo 2³².
    state: AtomicU64,
    parties: AtomicU32,
    inside: AtomicU32,
    /// In nanoseconds; 0: none.
    timeout: AtomicU64,
    bell: Bell,
    _unused: u32,
    gate: Node,
    lock: Node,
    ledger: Ledger,
}

// SAFETY: `repr(C)`, of atomics, a gate and a lock, valid whatever is written over them; no pointers; zero is one that nobody passes.
unsafe impl Layout for RawBarrier {
    type Item = ();
    const NAME: &'static str = "a Barrier";
    const VERSION: u32 = 2;
}

fn phase(state: u64) -> u32 {
    state as u32 & 3
}

fn is_broken(state: u64) -> bool {
    state as u32 & BROKEN != 0
}

/// What arriving has come to.
enum Arrived {
    /// The caller is inside; so many are to come.
    Inside(u32),
    /// It would be the last, and nobody has looked for a while whether the others live: those who have died before have not arrived.
    Last,
    /// Those of the last time are leaving.
    NotYet,
    Broken,
    /// There is no place in the ledger.
    Full,
    /// All are inside, and one of them died before it could let them pass.
    OneTooMany,
}

/// What is the same for all that one call does.
struct Caller<'a, S, P> {
    barrier: &'a RawBarrier,
    system: &'a S,
    people: &'a P,
    me: Person,
}

impl RawBarrier {
    /// One for so many parties.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there must be one at least.
    pub fn new(parties: u32) -> Result<RawBarrier> {
        let new = RawBarrier {
            state: AtomicU64::new(0),
            parties: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            timeout: AtomicU64::new(0),
            bell: Bell::new(),
            _unused: 0,
            gate: Node::new(),
            lock: Node::new(),
            ledger: Ledger::new(),
        };
        new.init(parties)?;
        Ok(new)
    }

    /// Makes it one for so many parties; before others have it.
    ///
    /// # Errors
    /// As [`new`](RawBarrier::new).
    pub fn init(&self, parties: u32) -> Result<()> {
        check(parties)?;
        self.parties.store(parties, Relaxed);
        Ok(())
    }

    /// Arrives, and waits until all parties have, as long as is said; gives how many came after the caller. The last to come does the action, if it has one,
    /// before anybody passes.
    ///
    /// # Errors
    /// [`Error::BrokenBarrier`], also when the time is over: that breaks it. [`Error::TooManyProcesses`]; [`Error::Invalid`] in another time
    /// namespace than the others; [`Error::Memory`] where the lock cannot be taken.
    pub fn wait<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        until: Until,
        action: Option<impl FnOnce()>,
    ) -> Result<u32> {
        self.caller(system, people)?.pass(until, action)
    }

    /// Breaks it: all who wait get the error, and all who come, until it is [reset](RawBarrier::reset).
    ///
    /// # Errors
    /// [`Error::Memory`] where the lock cannot be taken.
    pub fn abort<S: System, P: People>(&self, system: &S, people: &P) -> Result<()> {
        self.caller(system, people)?.undo(true)
    }

    /// Makes it as new; those who wait get the error.
    ///
    /// # Errors
    /// As [`abort`](RawBarrier::abort).
    pub fn reset<S: System, P: People>(&self, system: &S, people: &P) -> Result<()> {
        let caller = self.caller(system, people)?;
        // Those who have died before it are no reason to break it after.
        caller.bury(Whom::All)?;
        caller.undo(false)
    }

    /// As [`wait`](RawBarrier::wait), for who does not sleep: arrives, if it is time to; gives how many are to come. Who has arrived calls
    /// [`try_pass`](RawBarrier::try_pass) until that gives something, or [`give_up`](RawBarrier::give_up); and looks after the dead with each of these calls, so
    /// ten times a second. An `action` is done and gone when the caller is the last to come.
    ///
    /// # Errors
    /// As [`wait`](RawBarrier::wait): it has not arrived then, or has left again.
    #[doc(hidden)]
    pub fn try_arrive<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        until: Until,
        action: &mut Option<impl FnOnce()>,
    ) -> Result<Option<u32>> {
        let caller = self.caller(system, people)?;
        let Some(behind) = caller.come(until, action.is_some())? else {
            if until.is_over() {
                caller.undo(true)?;
                return Err(Error::BrokenBarrier);
            }
            caller.look_after()?;
            return Ok(None);
        };
        if behind == 0
            && let Some(action) = action.take()
        {
            caller.act(action)?;
        }
        Ok(Some(behind))
    }

    /// Goes outside if what was waited for is over; whether it has passed.
    ///
    /// # Errors
    /// As [`wait`](RawBarrier::wait), but for [`Error::BrokenBarrier`]: the caller is inside then.
    #[doc(hidden)]
    pub fn try_pass<S: System, P: People>(
        &self,
        system: &S,
        people: &P,
        until: Until,
    ) -> Result<Option<bool>> {
        let caller = self.caller(system, people)?;
        let over = || ![FILLING, ACTING].contains(&phase(self.state.load(SeqCst)));
        if !over() {
            caller.look_after()?;
        }
        if !over() && until.is_over() {
            caller.time_out()?;
        }
        if over() { caller.leave().map(Some) } else { Ok(None) }
    }

    /// Goes outside: if what was waited for is not over, that breaks it, as a time that is over.
    ///
    /// # Errors
    /// As [`abort`](RawBarrier::abort).
    #[doc(hidden)]
    pub fn give_up<S: System, P: People>(&self, system: &S, people: &P) -> Result<()> {
        let caller = self.caller(system, people)?;
        if !mutant::is("who gives up breaks nothing") {
            caller.time_out()?;
        }
        system.crash_point("barrier: gives up");
        caller.leave().map(drop)
    }

    /// What futures are woken by.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// How many must come.
    pub fn parties(&self) -> u32 {
        self.parties.load(Relaxed)
    }

    /// How many have come, and wait.
    pub fn waiting(&self) -> u32 {
        match phase(self.state.load(SeqCst)) {
            FILLING | ACTING => self.inside.load(Relaxed),
            _ => 0,
        }
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        is_broken(self.state.load(SeqCst))
    }

    /// How long a wait lasts that says nothing else.
    pub fn timeout(&self) -> Option<Duration> {
        Some(self.timeout.load(Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    /// Sets that.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout.store(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1), Relaxed);
    }

    fn caller<'a, S: System, P: People>(&'a self, system: &'a S, people: &'a P) -> Result<Caller<'a, S, P>> {
        Ok(Caller { barrier: self, system, people, me: people.this()? })
    }

    /// With the lock, within a change at the gate.
    fn set(&self, phase: u32, broken: bool) {
        let changes = (self.state.load(Relaxed) >> 32).wrapping_add(1) << 32;
        let state = phase | if broken { BROKEN } else { 0 };
        self.state.swap(changes | u64::from(state), SeqCst);
    }
}

pub(super) fn check(parties: u32) -> Result<()> {
    match parties {
        0 => Err(Error::invalid("the number of parties", "there must be one at least")),
        _ => Ok(()),
    }
}

impl<S: System, P: People> Caller<'_, S, P> {
    /// Does something with the lock; `None`: it was not free in time.
    fn locked<R>(&self, until: Until, what: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
        locked(self.system, &self.barrier.lock, until, || self.repair(), what)
    }

    /// The same for what must be done.
    fn surely<R>(&self, what: impl FnOnce() -> Result<R>) -> Result<R> {
        let done = self.locked(Until::Forever, what)?;
        done.ok_or_else(|| Error::corrupt("a lock inside a barrier says that a time is over"))
    }

    /// Changes phase or `BROKEN`, and wakes all. With the lock.
    fn set(&self, phase: u32, broken: bool) {
        gate::update(self.system, &self.barrier.gate, u32::MAX, || (true, self.barrier.set(phase, broken)));
        self.barrier.bell.ring();
    }

    fn state(&self) -> u64 {
        self.barrier.state.load(Relaxed)
    }

    fn pass(&self, until: Until, action: Option<impl FnOnce()>) -> Result<u32> {
        let behind = self.enter(until, action.is_some())?;
        match action {
            Some(action) if behind == 0 => self.act(action)?,
            _ if behind == 0 => {}
            _ => {
                let over = |state| (![FILLING, ACTING].contains(&phase(state))).then_some(());
                match self.sleep(until, over) {
                    Ok(Some(())) => {}
                    Ok(None) => self.time_out()?,
                    // Nobody else would break it for a party that lives and is not there.
                    Err(error) => {
                        self.time_out()?;
                        self.leave()?;
                        return Err(error);
                    }
                }
            }
        }
        let passed = self.leave()?;
        if passed { Ok(behind) } else { Err(Error::BrokenBarrier) }
    }

    /// Does the action, and lets all pass.
    fn act(&self, action: impl FnOnce()) -> Result<()> {
        self.system.crash_point("barrier: about to act");
        let acting = Acting(self);
        action();
        std::mem::forget(acting);
        self.system.crash_point("barrier: has acted");
        self.surely(|| {
            if phase(self.state()) == ACTING {
                self.set(PASSED, is_broken(self.state()));
            }
            Ok(())
        })
    }

    /// Comes inside; gives how many are to come.
    fn enter(&self, until: Until, acts: bool) -> Result<u32> {
        loop {
            if let Some(behind) = self.come(until, acts)? {
                return Ok(behind);
            }
            let open = |state| (phase(state) == FILLING || is_broken(state)).then_some(());
            if self.sleep(until, open)?.is_none() {
                self.undo(true)?;
                return Err(Error::BrokenBarrier);
            }
        }
    }

    /// Comes inside, unless those of the last time are leaving; gives how many are to come.
    fn come(&self, until: Until, acts: bool) -> Result<Option<u32>> {
        let (mut cleared, mut looked) = (false, false);
        loop {
            match self.locked(until, || self.arrive(acts, looked))? {
                Some(Arrived::Inside(behind)) => return Ok(Some(behind)),
                Some(Arrived::Last) => {
                    self.bury(Whom::Owners)?;
                    looked = true;
                }
                Some(Arrived::Broken) => return Err(Error::BrokenBarrier),
                None => {
                    // The time is over, and those inside wait for a party that goes. Where somebody was stopped with the lock, their own times must do.
                    self.locked(Until::Now, || {
                        self.undo_now(true);
                        Ok(())
                    })?;
                    return Err(Error::BrokenBarrier);
                }
                Some(Arrived::Full) if cleared => {
                    return Err(Error::TooManyProcesses { most: PLACES as u32 });
                }
                Some(Arrived::OneTooMany) if cleared => {
                    return Err(Error::corrupt("more have arrived at a barrier than it has parties"));
                }
                Some(Arrived::Full | Arrived::OneTooMany) => {
                    self.bury(Whom::All)?;
                    cleared = true;
                }
                Some(Arrived::NotYet) => return Ok(None),
            }
        }
    }

    /// With the lock.
    fn arrive(&self, acts: bool, looked: bool) -> Result<Arrived> {
        let barrier = self.barrier;
        let state = self.state();
        if is_broken(state) {
            return Ok(Arrived::Broken);
        }
        if phase(state) != FILLING {
            return Ok(Arrived::NotYet);
        }
        let entry = match barrier.ledger.enter(&self.me)? {
            Entered::Before(entry) | Entered::New(entry) => entry,
            Entered::Second(entry) => {
                // Who sleeps thought to be alone.
                self.set(FILLING, false);
                entry
            }
            Entered::Full => return Ok(Arrived::Full),
        };
        let inside = barrier.inside.load(Relaxed);
        let Some(behind) = barrier.parties().checked_sub(inside.saturating_add(1)) else {
            return Ok(Arrived::OneTooMany);
        };
        if behind == 0 && !looked && barrier.ledger.is_uncertain(self.people, &self.me) {
            return Ok(Arrived::Last);
        }
        entry.set(entry.count().saturating_add(1));
        self.system.crash_point("barrier: sat down");
        barrier.inside.store(inside + 1, Relaxed);
        if behind == 0 {
            self.set(if acts { ACTING } else { PASSED }, false);
            self.system.crash_point("barrier: all are there");
        }
        Ok(Arrived::Inside(behind))
    }

    /// Goes outside; whether it has passed.
    fn leave(&self) -> Result<bool> {
        self.surely(|| {
            let barrier = self.barrier;
            let passed = phase(self.state()) == PASSED;
            let entry = barrier.ledger.find(self.me.life);
            let (entry, left) = entry
                .and_then(|entry| Some((entry, entry.count().checked_sub(1)?)))
                .ok_or_else(|| Error::corrupt("a barrier does not know of one who waits at it"))?;
            entry.set(left);
            self.system.crash_point("barrier: stood up");
            self.gone(1);
            Ok(passed)
        })
    }

    /// So many are outside by now. With the lock.
    fn gone(&self, number: u32) {
        let inside = self.barrier.inside.load(Relaxed).saturating_sub(number);
        self.barrier.inside.store(inside, Relaxed);
        if inside == 0 && phase(self.state()) != FILLING && !mutant::is("nobody may come back") {
            self.set(FILLING, is_broken(self.state()));
        }
    }

    /// Breaks it, unless the caller may pass by now.
    fn time_out(&self) -> Result<()> {
        self.surely(|| {
            if [FILLING, ACTING].contains(&phase(self.state())) {
                self.undo_now(true);
            }
            Ok(())
        })
    }

    /// Breaks or resets it.
    fn undo(&self, broken: bool) -> Result<()> {
        self.surely(|| {
            self.undo_now(broken);
            Ok(())
        })
    }

    /// With the lock.
    fn undo_now(&self, broken: bool) {
        let phase = match phase(self.state()) {
            FILLING if self.barrier.inside.load(Relaxed) == 0 => FILLING,
            FILLING | ACTING => UNDONE,
            leaving => leaving,
        };
        self.set(phase, broken);
        self.system.crash_point("barrier: undone");
    }

    /// Clears the entries of the dead: if one was inside, nobody passes any more.
    fn bury(&self, whom: Whom) -> Result<()> {
        let dead = self.barrier.ledger.dead(self.people, &self.me, whom)?;
        if dead.is_empty() {
            return Ok(());
        }
        self.surely(|| {
            for one in &dead {
                let cleared = || self.system.crash_point("barrier: dead party cleared");
                // Before its seat is taken from it: whoever comes after a death here still finds it. If those who wait have passed already, the next
                // are told: it will not come any more.
                if self.barrier.ledger.count_of(*one) > 0 {
                    self.undo_now(true);
                }
                let had = self.barrier.ledger.clear(*one, cleared);
                self.gone(had);
            }
            Ok(())
        })
    }

    /// Looks whether the others live, if nobody has for a while.
    fn look_after(&self) -> Result<()> {
        match self.barrier.ledger.is_due(self.people, &self.me) {
            true => self.bury(Whom::All),
            false => Ok(()),
        }
    }

    /// Counts anew; with the lock, of an owner that died.
    #[cold]
    fn repair(&self) -> Result<()> {
        let inside = self.barrier.ledger.sum();
        self.barrier.inside.store(u32::try_from(inside).unwrap_or(u32::MAX), Relaxed);
        self.system.crash_point("barrier: counted anew");
        self.gone(0);
        let state = self.state();
        // As if something had changed: somebody may not have been woken.
        self.set(phase(state), is_broken(state));
        Ok(())
    }

    fn sleep(&self, until: Until, wanted: impl Fn(u64) -> Option<()>) -> Result<Option<()>> {
        let RawBarrier { ledger, gate, state, .. } = self.barrier;
        let bed = Bed { ledger, gate, state, me: &self.me };
        ledger::wait(self.system, self.people, &bed, until, wanted, |_| true, || self.bury(Whom::All))
    }
}

/// An action that is under way: if it panics, nobody passes.
struct Acting<'a, 'b, S: System, P: People>(&'a Caller<'b, S, P>);

impl<S: System, P: People> Drop for Acting<'_, '_, S, P> {
    fn drop(&mut self) {
        let _ = self.0.undo(true);
        let _ = self.0.leave();
    }
}
