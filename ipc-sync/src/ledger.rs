//! What belongs to processes: who has how much of something, and what becomes of it when they die.
//!
//! A robust lock is marked when a *thread* ends, so it says nothing of what a *process* has: a permit, a seat at a barrier. That stands here, an
//! entry for each process: its number, when it started, and how much it has. Whoever depends on others looks whether they live, and
//! clears the entries of those that do not.
//!
//! | entry | means | left by |
//! |---|---|---|
//! | no pid | free | who enters: the start, then the pid |
//! | pid, count 0 | the process has been here, and has nothing | its process: a count; who finds it dead, or finds all others in use: free |
//! | pid, count | the process has so many | its process, or who does it in its place; who finds it dead: count 0, then free |
//!
//! All this is done under the lock of the primitive that the ledger is part of. The count is the one store that decides: whatever else the primitive keeps
//! (how much is left, how many there are) is computed anew from the counts by who is told that an owner of that lock died.
//!
//! **How the dead are found.** A look into /proc costs some microseconds, so it is done without the lock: a process that was dead stays dead,
//! and its entry is compared once more before it is cleared. Those who sleep do it once in [`SLICE`] between all of them: who is first notes the time,
//! and the others sleep on until so much has passed since. Who is the only process in the ledger depends on nobody, and does not wake up for it; the
//! second to enter wakes who sleeps.
//!
//! | who dies | who notices | what happens |
//! |---|---|---|
//! | a process that has something | who sleeps, within 100 ms; who wants something and finds none, at once | it is given back |
//! | while it enters, or is being cleared | the next to have the lock | the entry is free or whole, either way |
//! | who looks after the dead | the others, 100 ms later | they do |
//! | a fork's copy of a process that has something | | it is another process: it has nothing |
//! | a program, its process executes another (`exec`) | nobody | number and start stay: the process lives, and has what it had |
//! | a process whose number another has by now | that one, too | they are two: it is given back as any other's |

use std::time::{Duration, Instant};

use ipc_core::primitive::mutant;
use ipc_core::primitive::process::Life;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};

use crate::people::{People, Person};
use crate::{Error, Result};

/// How many processes a ledger has room for.
pub(crate) const PLACES: usize = if ipc_core::primitive::MODEL { 3 } else { 120 };

/// How long those who depend on others sleep before one of them looks whether they live.
const SLICE: Duration = Duration::from_millis(100);

/// See the module's documentation; all zero is an empty one.
#[repr(C)]
pub(crate) struct Ledger {
    /// Whose clock the starts are told by ([`Person::clock`]); 0: nobody has entered yet.
    clock: AtomicU64,
    /// When somebody last began to look for the dead ([`People::now`]), of those who sleep.
    looked: AtomicU64,
    /// When somebody began who has found none since.
    well: AtomicU64,
    /// So many places have been in use, at most.
    used: AtomicU32,
    _unused: u32,
    entries: [Entry; PLACES],
}

#[repr(C)]
pub(crate) struct Entry {
    pid: AtomicU32,
    count: AtomicU32,
    started: AtomicU64,
}

impl Entry {
    fn life(&self) -> Option<Life> {
        let pid = self.pid.load(Acquire);
        (pid != 0).then(|| Life { pid, started: self.started.load(Acquire) })
    }

    /// How much the process has. Who is to store something that depends on it reads it once.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The store that decides.
    pub(crate) fn set(&self, count: u32) {
        self.count.store(count, Release);
    }
}

/// Entries that were found to be those of dead processes.
pub(crate) type Dead = Vec<(usize, Life)>;

/// Whom to look after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Those who have something.
    Owners,
    /// All who have entered: as long as there are others, those who sleep wake up for them.
    All,
}

/// What entering has come to.
pub(crate) enum Entered<'a> {
    /// The caller's entry was there.
    Before(&'a Entry),
    /// It is new, and those who sleep and thought to be alone must be woken.
    Second(&'a Entry),
    /// It is new.
    New(&'a Entry),
    /// There is no place: the dead must be cleared.
    Full,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Ledger {
        Ledger {
            clock: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            well: AtomicU64::new(0),
            used: AtomicU32::new(0),
            _unused: 0,
            entries: std::array::from_fn(|_| Entry {
                pid: AtomicU32::new(0),
                count: AtomicU32::new(0),
                started: AtomicU64::new(0),
            }),
        }
    }

    fn entries(&self) -> &[Entry] {
        let used = self.used.load(Relaxed) as usize;
        &self.entries[..used.min(PLACES)]
    }

    /// The entry of a process. (With the lock, as all but what says otherwise.)
    #[inline]
    pub(crate) fn find(&self, life: Life) -> Option<&Entry> {
        let is = |entry: &&Entry| {
            entry.pid.load(Relaxed) == life.pid && entry.started.load(Relaxed) == life.started
        };
        self.entries().iter().find(is)
    }

    /// The caller's entry, where it has none a new one.
    ///
    /// # Errors
    /// Its clock is another one.
    #[inline]
    pub(crate) fn enter(&self, me: &Person) -> Result<Entered<'_>> {
        match self.find(me.life) {
            Some(entry) => Ok(Entered::Before(entry)),
            None => self.enter_new(me),
        }
    }

    #[cold]
    fn enter_new(&self, me: &Person) -> Result<Entered<'_>> {
        self.check_clock(me)?;
        self.clock.store(me.clock, Relaxed);
        let free = |entry: &Entry| entry.pid.load(Relaxed) == 0;
        let idle = |entry: &Entry| entry.count() == 0;
        let at = self.entries.iter().position(free).or_else(|| self.entries.iter().position(idle));
        let Some(at) = at else { return Ok(Entered::Full) };
        let entry = &self.entries[at];
        let entered = self.entries().iter().filter(|entry| !free(entry)).count();
        entry.pid.store(0, Release);
        entry.set(0);
        entry.started.store(me.life.started, Release);
        entry.pid.store(me.life.pid, Release);
        let used = self.used.load(Relaxed).max(at as u32 + 1);
        self.used.store(used, Release);
        Ok(if entered == 1 { Entered::Second(entry) } else { Entered::New(entry) })
    }

    /// Without the lock, too.
    fn check_clock(&self, me: &Person) -> Result<()> {
        match self.clock.load(Relaxed) {
            0 => Ok(()),
            clock if clock == me.clock => Ok(()),
            clock => Err(Error::invalid(
                "the process",
                format!(
                    "it is in another time namespace (time:[{}]) than those it would share a ledger with (time:[{clock}]): \
                     they do not agree on when a process started",
                    me.clock
                ),
            )),
        }
    }

    /// How much all have together.
    pub(crate) fn sum(&self) -> u64 {
        self.entries().iter().map(|entry| u64::from(entry.count())).sum()
    }

    /// How much all have together but for the caller.
    pub(crate) fn sum_of_others(&self, but: Option<&Entry>) -> u64 {
        self.others(but).map(|(_, count)| u64::from(count)).sum()
    }

    /// The entry with the largest count but for the caller's, and that count, which is not 0.
    pub(crate) fn largest(&self, but: Option<&Entry>) -> Option<(&Entry, u32)> {
        self.others(but).filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count)
    }

    /// Each with its count as it was when it was read: others may write there at any time.
    fn others(&self, but: Option<&Entry>) -> impl Iterator<Item = (&Entry, u32)> {
        let is_other = move |entry: &&Entry| !but.is_some_and(|but| std::ptr::eq(but, *entry));
        self.entries().iter().filter(is_other).map(|entry| (entry, entry.count()))
    }

    /// Whether other processes have entries; one of the same number that has died is another. Without the lock, too: what is read while somebody enters is another's.
    fn has_others(&self, me: &Person) -> bool {
        let is_other = |entry: &Entry| match entry.pid.load(SeqCst) {
            0 => false,
            pid if pid == me.life.pid && mutant::is("a process is its number") => false,
            pid => pid != me.life.pid || entry.started.load(SeqCst) != me.life.started,
        };
        self.entries().iter().any(is_other)
    }

    /// The dead among the others. Without the lock: it asks the system.
    ///
    /// # Errors
    /// The caller's clock is another one than the ledger's.
    pub(crate) fn dead<P: People>(&self, people: &P, me: &Person, whom: Whom) -> Result<Dead> {
        let others = self.entries().iter().enumerate();
        let others = others.filter(|(_, entry)| whom == Whom::All || entry.count() > 0);
        let others: Dead = others.filter_map(|(at, entry)| Some((at, entry.life()?))).collect();
        let mut dead = others;
        dead.retain(|(_, life)| *life != me.life);
        if dead.is_empty() {
            return Ok(dead);
        }
        self.check_clock(me)?;
        let now = people.now();
        self.looked.store(now, Relaxed);
        dead.retain(|(_, life)| people.is_over(*life));
        if dead.is_empty() {
            self.well.store(now, Relaxed);
        }
        Ok(dead)
    }

    /// How much one that was found to be dead has still.
    pub(crate) fn count_of(&self, (at, life): (usize, Life)) -> u32 {
        self.entries.get(at).filter(|entry| entry.life() == Some(life)).map_or(0, Entry::count)
    }

    /// Clears an entry that was found to be a dead process's, if it still is that; gives what that had. `cleared` is called between the
    /// store that decides and the place's being free.
    pub(crate) fn clear(&self, (at, life): (usize, Life), cleared: impl FnOnce()) -> u32 {
        let Some(entry) = self.entries.get(at).filter(|entry| entry.life() == Some(life)) else { return 0 };
        let had = entry.count();
        entry.set(0);
        cleared();
        entry.pid.store(0, Release);
        had
    }

    /// Whether it is the caller's turn to look for the dead, of all who sleep. Without the lock.
    pub(crate) fn is_due<P: People>(&self, people: &P, me: &Person) -> bool {
        let looked = self.looked.load(Relaxed);
        let now = people.now();
        self.has_others(me)
            && has_passed(looked, now)
            && self.looked.compare_exchange(looked, now, Relaxed, Relaxed).is_ok()
    }

    /// Whether who relies on the others must look first whether they live: for a while nobody has found that they do.
    pub(crate) fn is_uncertain<P: People>(&self, people: &P, me: &Person) -> bool {
        self.has_others(me) && has_passed(self.well.load(Relaxed), people.now())
    }

    /// When to look again.
    fn slice<P: People>(&self, people: &P, until: Until) -> Until {
        let since = people.now().saturating_sub(self.looked.load(Relaxed));
        let left = SLICE.saturating_sub(Duration::from_millis(since)).max(Duration::from_millis(1));
        let next = Instant::now() + left;
        match until {
            Until::Deadline(deadline) if deadline <= next => until,
            Until::Now => until,
            _ => Until::Deadline(next),
        }
    }
}

/// Whether [`SLICE`] is over. A time to come is one that somebody has written there.
fn has_passed(since: u64, now: u64) -> bool {
    let slice = SLICE.as_millis() as u64;
    now.checked_sub(since).is_none_or(|passed| passed >= slice) && !mutant::is("nobody looks for the dead")
}

/// Where one sleeps who depends on a ledger: the gate, and the state that a gate compares.
pub(crate) struct Bed<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) gate: &'a Node,
    pub(crate) state: &'a AtomicU64,
    /// Who sleeps.
    pub(crate) me: &'a Person,
}

/// As [`gate::wait`], for who depends on what others have: once in a while `bury` is called, which looks for the dead and clears
/// their entries. The caller has an entry, or is about to leave if others have.
///
/// # Errors
/// Those of `bury`.
pub(crate) fn wait<S: System, P: People, T>(
    system: &S,
    people: &P,
    bed: &Bed<'_>,
    until: Until,
    mut look: impl FnMut(u64) -> Option<T>,
    more: impl Fn(u64) -> bool,
    mut bury: impl FnMut() -> Result<()>,
) -> Result<Option<T>> {
    let Bed { ledger, gate, state, me } = bed;
    loop {
        let others = ledger.has_others(me) && !mutant::is("nobody looks for the dead");
        let slice = if others { ledger.slice(people, until) } else { until };
        let found = gate::wait(
            system,
            gate,
            *state,
            slice,
            |seen| match look(seen) {
                Some(found) => Some(Some(found)),
                // Whoever has entered since then has changed the state afterwards, so this cannot be slept over.
                None if !others && ledger.has_others(me) => Some(None),
                None => None,
            },
            &more,
        );
        match found {
            Some(Some(found)) => return Ok(Some(found)),
            Some(None) => {}
            None if until.is_over() => return Ok(None),
            None => {}
        }
        if ledger.is_due(people, me) {
            bury()?;
        }
    }
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_of_the_same_number_is_another() {
        let ledger = Ledger::new();
        let [first, second] = [5, 6].map(|started| Person { life: Life { pid: 1, started }, clock: 1 });
        assert!(matches!(ledger.enter(&first), Ok(Entered::New(_))) && !ledger.has_others(&first));
        assert!(ledger.has_others(&second), "it would not look whether the first lives");
        assert!(matches!(ledger.enter(&second), Ok(Entered::Second(_))));
        assert!(ledger.has_others(&first) && ledger.has_others(&second));
    }

    #[test]
    fn another_time_namespace_is_told_so() {
        let ledger = Ledger::new();
        let person = |pid, clock| Person { life: Life { pid, started: 5 }, clock };
        assert!(matches!(ledger.enter(&person(1, 100)), Ok(Entered::New(_))));
        assert!(matches!(ledger.enter(&person(2, 100)), Ok(Entered::Second(_))));
        let Err(error) = ledger.enter(&person(3, 101)) else { panic!("it has entered") };
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("time:[100]") && text.contains("time:[101]"), "{text}");
        // Nor does it judge who lives.
        assert!(ledger.dead(&crate::people::Here, &person(3, 101), Whom::All).is_err());
        assert!(matches!(ledger.enter(&person(1, 100)), Ok(Entered::Before(_))));
    }
}
