//! The algorithm of the condition: tickets, notifications that are good for those who had one by then, and a turn.
//!
//! | part | what it is |
//! |---|---|
//! | `next` | the ticket of the next to wait |
//! | `waiting` | how many wait, and have neither taken a notification nor given up; the dead among them |
//! | `given` | notifications that nobody has taken yet: so many, each good for tickets below a bound |
//! | `version` | changes with each of these, once it is made: what sleepers compare |
//! | `inside` | the lock of the four, held for some dozens of instructions |
//! | `turn` | the lock of who waits first: it sleeps at the gate, or takes the outer lock again; all others who wait sleep on this lock |
//!
//! **A notification is good for whoever waited when it was given**, and for nobody who came later: its bound is the next ticket at that time. So one that comes too
//! early is not remembered, and one that waits for its waiter is not stolen by another who comes by. Who can choose takes the one with the lowest bound, and leaves the others to those
//! who came later. No more are given than there are waiting without one; that the dead are counted as well does not matter, for what is given for them is good for the living who waited, or
//! for nobody.
//!
//! **It is taken under the outer lock**, by who has just got that again: until then a waiter may die, and nothing is lost with it but its turn. The kernel gives the turn to
//! another, at once, and that one finds the notification. So there is nobody who looks after the others, and nobody who wakes up in vain: a notification wakes one (who has the
//! turn), and a turn that is given back wakes the next.
//!
//! **Who has the turn and may take none of what is there** came after others who may, and has overtaken them. It steps aside: gives the turn back, and sleeps at the gate until something
//! has changed. What was given for the dead alone lets everybody step aside for good; then each notification wakes all, and that does not end: the dead are never counted off, for
//! nothing tells them from those who were stopped, and are owed what was given to them.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who waits | anywhere before it took a notification | the turn, if it had it, goes to the next; it is counted among the waiting for good |
//! | who waits | afterwards | it has the outer lock: whoever takes that next is told |
//! | who notifies | before the version changed | nothing is given, or some of it without a call: the next to notify calls for it, too |
//! | who notifies | afterwards, before it woke anybody | the kernel wakes who has the turn, or one who stepped aside, who passes it on |
//! | who notifies | freeing the lock inside | they are awake already |
//! | anybody | with the lock inside | each change there is whole by itself: the next goes on |
//!
//! **The wake is given under the lock inside.** A thread has one announcement, and freeing the lock is announced as well: a death there, before the wake, would wake one who waits for
//! that lock, and nobody at the gate. While there is some that nobody has taken, whoever notifies wakes all the same, also where it has nothing to give.
//!
//! **A future** has a ticket as well, and no turn: it is told by a bell of its own kind (`futures.rs`) to look, has the outer lock again where it is polled, and takes a notification under it as
//! all do. One that is dropped hands its notification on to who waits at that time.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who notifies | before it rings for futures | they look again within 100 ms |
//! | a future that is dropped | before it took what was given for it | it is given once more: one may be notified too many |
//!
//! There are 30 places for notifications with different bounds. If they are all in use (as many notifications, with a new waiter between any two of them, and none taken
//! yet), the last one serves for both, with the higher bound: then one who came later may be woken instead.

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::modelled::word;
use ipc_shm::raw::{Refused, Taken};

use crate::futures::Bell;
use crate::inner::Held;

/// How many notifications with different bounds there may be.
const PLACES: usize = if ipc_core::primitive::MODEL { 2 } else { 30 };

/// A condition to be placed in shared memory; all zero is one that nobody waits for. See [`Condition`](crate::Condition) for the handle.
///
/// Of its locks it may hold two while it waits, of those that a thread can have.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RawCondition {
    gate: Node,
    turn: Node,
    inside: Node,
    next: AtomicU64,
    waiting: AtomicU64,
    version: AtomicU32,
    bell: Bell,
    /// How many may sleep at the gate without the turn; the dead among them.
    aside: AtomicU64,
    given: [Given; PLACES],
}

/// So many notifications are good for tickets below a bound.
#[repr(C)]
#[derive(Debug, Default)]
struct Given {
    count: AtomicU64,
    bound: AtomicU64,
}

/// The lock that a condition is used with, as one who waits has it.
pub trait Outer {
    /// Gives it back.
    fn unlock(&mut self);

    /// Waits for it; `false`: it could not be had, or what it protects is perhaps not whole. Then the waiting is over.
    fn relock(&mut self) -> bool;
}

/// What one who waits finds.
enum Found {
    /// A notification that it may take.
    Notified,
    /// Notifications that others may take, and not this one.
    OfOthers,
    /// Neither.
    Nothing,
}

impl RawCondition {
    /// What futures are woken by.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// One that nobody waits for.
    pub fn new() -> RawCondition {
        RawCondition::default()
    }

    /// Gives `lock` back, waits for a notification, and has the lock again; `false`: the time was over first. (Also true if the lock came back
    /// [otherwise](Outer::relock) than whole.)
    ///
    /// # Errors
    /// A lock inside cannot be had ([`Refused::TooMany`], or somebody has written over it). The outer lock was not given back, or was taken again.
    pub fn wait<S: System>(&self, system: &S, until: Until, lock: &mut impl Outer) -> Result<bool, Refused> {
        let ticket = self.enrol(system)?;
        system.crash_point("condition waiter: enrolled");
        lock.unlock();
        system.crash_point("condition waiter: gave the lock back");
        match self.sleep(system, ticket, until, lock) {
            Ok(true) => Ok(true),
            other => {
                system.crash_point("condition waiter: gives up");
                lock.relock();
                let notified = self.leave(system, ticket)?;
                other.map(|_| notified)
            }
        }
    }

    /// Whether it was notified; then it has the lock again.
    fn sleep<S: System>(
        &self,
        system: &S,
        ticket: u64,
        until: Until,
        lock: &mut impl Outer,
    ) -> Result<bool, Refused> {
        loop {
            if !self.others_are_through(system, ticket, until) {
                return Ok(false);
            }
            match word::take(system, &self.turn, until) {
                Ok(Taken::Whole) => {}
                // It is no more than a turn.
                Ok(_) => word::repaired(system, &self.turn),
                Err(Refused::Busy | Refused::TimedOut) => return Ok(false),
                Err(refused) => return Err(refused),
            }
            let _turn = Held { system, lock: &self.turn };
            system.crash_point("condition waiter: has the turn");
            loop {
                match self.lead(system, ticket, until) {
                    None => return Ok(false),
                    Some(Found::OfOthers) => break,
                    Some(_) => {}
                }
                system.crash_point("condition waiter: notified");
                if mutant::is("a notification is taken before the lock is had") {
                    let taken = self.take(system, ticket)?;
                    lock.relock();
                    return Ok(taken);
                }
                let whole = lock.relock();
                system.crash_point("condition waiter: has the lock");
                if self.take(system, ticket)? {
                    return Ok(true);
                }
                // One who gave up was faster.
                if !whole {
                    return self.leave(system, ticket).map(|_| true);
                }
                lock.unlock();
            }
        }
    }

    /// Waits until there is nothing that only others may take; `false`: the time was over first.
    fn others_are_through<S: System>(&self, system: &S, ticket: u64, until: Until) -> bool {
        let may_go = || {
            !matches!(self.find(ticket), Found::OfOthers) || mutant::is("who may take none keeps the turn")
        };
        if may_go() {
            return true;
        }
        self.aside.fetch_add(1, SeqCst);
        system.crash_point("condition waiter: steps aside");
        let look = |_| may_go().then_some(());
        let went = gate::wait(system, &self.gate, &self.version, until, look, |_| true).is_some();
        self.aside.fetch_sub(1, SeqCst);
        went
    }

    /// Waits with the turn until there is something; `None`: the time was over first.
    fn lead<S: System>(&self, system: &S, ticket: u64, until: Until) -> Option<Found> {
        let look = |_| match self.find(ticket) {
            Found::Nothing => None,
            Found::OfOthers if mutant::is("who may take none keeps the turn") => None,
            found => Some(found),
        };
        // Besides this one only those who stepped aside sleep at the gate.
        let more = |_| self.aside.load(SeqCst) > 0;
        gate::wait(system, &self.gate, &self.version, until, look, more)
    }

    /// What there is at this moment for who has the ticket. Without the lock: what changes meanwhile changes the version afterwards.
    fn find(&self, ticket: u64) -> Found {
        let mut found = Found::Nothing;
        for given in &self.given {
            if given.count.load(SeqCst) > 0 {
                if given.is_for(ticket) {
                    return Found::Notified;
                }
                found = Found::OfOthers;
            }
        }
        found
    }

    /// Gives `number` notifications, at most; so many as were waiting. It waits for nobody.
    ///
    /// # Errors
    /// As [`wait`](RawCondition::wait).
    pub fn notify<S: System>(&self, system: &S, number: u64) -> Result<u64, Refused> {
        if self.waiting.load(SeqCst) == 0 || number == 0 {
            return Ok(0);
        }
        if mutant::is("the wake is given when the lock is free") {
            return gate::attempt(system, &self.gate, u32::MAX, || {
                let given = self.inside(system, || self.notify_inside(system, number));
                (given.is_ok_and(|(changed, _)| changed), given.map(|(_, number)| number))
            });
        }
        let given = self.change(system, || self.notify_inside(system, number));
        self.bell.ring();
        given
    }

    /// Whether anybody is to be woken, and how many were given.
    fn notify_inside<S: System>(&self, system: &S, number: u64) -> (bool, u64) {
        let outstanding = self.outstanding();
        let number = number.min(self.waiting.load(SeqCst).saturating_sub(outstanding));
        if number > 0 {
            self.give(number);
            system.crash_point("condition notifier: gave");
        }
        // Who gave those may have died of it, before or after it told anybody.
        let wakes = number > 0 || (outstanding > 0 && !mutant::is("who has nothing to give wakes nobody"));
        if wakes {
            self.version.fetch_add(1, SeqCst);
        }
        (wakes, number)
    }

    /// How many notifications nobody has taken yet.
    fn outstanding(&self) -> u64 {
        self.given.iter().map(|given| given.count.load(SeqCst)).fold(0, u64::saturating_add)
    }

    /// Enters so many that are good for all who wait. Each step leaves what may be found.
    fn give(&self, number: u64) {
        let bound = self.next.load(SeqCst);
        let newest = |given: &&Given| given.bound.load(SeqCst);
        let used = self.given.iter().filter(|given| given.count.load(SeqCst) > 0).max_by_key(newest);
        let free = || self.given.iter().find(|given| given.count.load(SeqCst) == 0);
        let place = match used {
            Some(used) if used.bound.load(SeqCst) == bound => used,
            used => match free().or(used) {
                Some(place) => place,
                None => return,
            },
        };
        place.bound.store(bound, SeqCst);
        place.count.store(place.count.load(SeqCst).saturating_add(number), SeqCst);
    }

    /// A ticket, for who does not sleep: it gives the outer lock back, looks whether it [is notified](RawCondition::is_notified), has the lock again, and
    /// [takes](RawCondition::take) that; or [gives up](RawCondition::give_up).
    #[doc(hidden)]
    pub fn enrol<S: System>(&self, system: &S) -> Result<u64, Refused> {
        self.inside(system, || {
            let ticket = self.next.load(SeqCst);
            self.next.store(ticket.wrapping_add(1), SeqCst);
            self.waiting.store(self.waiting.load(SeqCst).saturating_add(1), SeqCst);
            ticket
        })
    }

    /// Whether there is a notification for this ticket, at this moment.
    #[doc(hidden)]
    pub fn is_notified(&self, ticket: u64) -> bool {
        matches!(self.find(ticket), Found::Notified)
    }

    /// Takes a notification, if there is one for this ticket.
    #[doc(hidden)]
    pub fn take<S: System>(&self, system: &S, ticket: u64) -> Result<bool, Refused> {
        // Those who have stepped aside wait for that, too.
        self.change(system, || {
            let taken = self.take_inside(system, ticket);
            (taken, taken)
        })
    }

    fn take_inside<S: System>(&self, system: &S, ticket: u64) -> bool {
        let good = |given: &&Given| given.count.load(SeqCst) > 0 && given.is_for(ticket);
        let lowest = |given: &&Given| given.bound.load(SeqCst);
        let Some(given) = self.given.iter().filter(good).min_by_key(lowest) else { return false };
        given.count.store(given.count.load(SeqCst).saturating_sub(1), SeqCst);
        system.crash_point("condition waiter: took");
        self.count_off();
        self.version.fetch_add(1, SeqCst);
        true
    }

    /// Waits no longer; whether there was a notification for this ticket, which is taken then.
    fn leave<S: System>(&self, system: &S, ticket: u64) -> Result<bool, Refused> {
        let look = !mutant::is("who gives up takes nothing");
        self.change(system, || {
            let taken = look && self.take_inside(system, ticket);
            if !taken {
                self.count_off();
            }
            (taken, taken)
        })
    }

    /// Waits no longer, and hands what was given for this ticket on to another who waits.
    #[doc(hidden)]
    pub fn give_up<S: System>(&self, system: &S, ticket: u64) -> Result<(), Refused> {
        self.change(system, || {
            if !self.is_notified(ticket) {
                self.count_off();
                return (false, ());
            }
            // First: a death in between leaves one too many, and not one too few.
            if self.waiting.load(SeqCst) > self.outstanding()
                && !mutant::is("who gives up keeps what it was given")
            {
                self.give(1);
            }
            system.crash_point("future of a condition: gave it on");
            (self.take_inside(system, ticket), ())
        })?;
        self.bell.ring();
        Ok(())
    }

    fn count_off(&self) {
        self.waiting.store(self.waiting.load(SeqCst).saturating_sub(1), SeqCst);
    }

    /// Whether nobody waits, and nothing is left of what was given.
    #[doc(hidden)]
    pub fn is_idle(&self) -> bool {
        self.waiting.load(SeqCst) == 0 && self.given.iter().all(|given| given.count.load(SeqCst) == 0)
    }

    /// How many wait; the dead among them.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(SeqCst)
    }

    /// Changes something with the lock inside, and wakes those who sleep at the gate before it is free; `change` says first whether it is one that concerns
    /// them, and ends with the version then.
    fn change<S: System, R>(&self, system: &S, change: impl FnOnce() -> (bool, R)) -> Result<R, Refused> {
        // Of those who sleep at the gate any may be the one: they are one, as a rule.
        self.inside(system, || gate::update(system, &self.gate, u32::MAX, change))
    }

    /// Does something with the lock inside, which is held for some dozens of instructions.
    fn inside<S: System, R>(&self, system: &S, what: impl FnOnce() -> R) -> Result<R, Refused> {
        if word::take(system, &self.inside, Until::Forever)? != Taken::Whole {
            // Each change is whole by itself.
            word::repaired(system, &self.inside);
        }
        let _held = Held { system, lock: &self.inside };
        Ok(what())
    }
}

impl Given {
    fn is_for(&self, ticket: u64) -> bool {
        ticket < self.bound.load(SeqCst) || mutant::is("who comes later may take it")
    }
}
