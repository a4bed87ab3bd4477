//! Which items are in whose hands, of a queue that can be joined.
//!
//! What is unfinished is what stands in the queue and what processes have taken and not done: so there is no count of it that could be wrong, but a
//! ledger of processes, and the queue itself. Who takes an item enters that before the item leaves the queue.
//!
//! | who dies | who notices | what happens |
//! |---|---|---|
//! | who takes an item, after it was entered and before it left the queue | as below | it is still there, and counts as lost once |
//! | who has items in its hands | who joins, within 100 ms, also where it came before anybody had any | they are lost: who joins is told how many |
//! | who notes what is lost, half way | who joins | it is told too many, perhaps |
//! | who says that one is done, before it woke who joins | the kernel, or who joins within 100 ms | it is done |

use ipc_core::primitive::sync::atomic::AtomicU64;
use ipc_core::primitive::sync::atomic::Ordering::{AcqRel, Relaxed};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};
use ipc_shm::raw::Layout;

use crate::ledger::{self, Bed, Entered, Ledger, PLACES, Whom};
use crate::people::{Here, People, Person};
use crate::{Error, Result, inner};

/// See the module's documentation.
#[repr(C)]
pub(crate) struct Tasks {
    /// Guards the ledger.
    lock: Node,
    /// Where those sleep who join.
    gate: Node,
    /// How often something was done or lost.
    changes: AtomicU64,
    /// How many were lost with dead processes, and not told of yet.
    lost: AtomicU64,
    ledger: Ledger,
}

// SAFETY: `repr(C)` down to atomics and gates, no pointers; all zero, nobody has anything.
unsafe impl Layout for Tasks {
    type Item = ();
    const NAME: &'static str = "a queue's tasks";
    const VERSION: u32 = 1;
}

impl Tasks {
    fn locked<S: System, R>(&self, system: &S, what: impl FnOnce() -> Result<R>) -> Result<R> {
        // Each change is one store: there is nothing to repair.
        let done = inner::locked(system, &self.lock, Until::Forever, || Ok(()), what)?;
        done.ok_or_else(|| Error::corrupt("a lock that is waited for without end is over"))
    }

    /// This process has so many items more.
    ///
    /// # Errors
    /// [`Error::TooManyProcesses`].
    pub(crate) fn take<S: System>(&self, system: &S, items: u32) -> Result<()> {
        let me = Here.this()?;
        for _ in 0..2 {
            let entered = self.locked(system, || {
                let (entry, is_new) = match self.ledger.enter(&me)? {
                    Entered::Before(entry) => (entry, false),
                    Entered::Second(entry) | Entered::New(entry) => (entry, true),
                    Entered::Full => return Ok(false),
                };
                let take = || entry.set(entry.count().saturating_add(items));
                if is_new {
                    // Who joins has no entry itself, and has slept without an end while there was none.
                    let change = || (true, (take(), self.changes.fetch_add(1, AcqRel)));
                    gate::update(system, &self.gate, u32::MAX, change);
                } else {
                    take();
                }
                Ok(true)
            })?;
            if entered {
                return Ok(());
            }
            self.bury(system, &me)?;
        }
        Err(Error::TooManyProcesses { most: PLACES as u32 })
    }

    /// This process is done with one.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it has none.
    pub(crate) fn done<S: System>(&self, system: &S) -> Result<()> {
        let me = Here.this()?;
        self.locked(system, || {
            let entry = self.ledger.find(me.life);
            let entry = entry.and_then(|entry| Some((entry, entry.count().checked_sub(1)?)));
            let (entry, left) = entry.ok_or_else(|| {
                Error::invalid("one item done more", "this process has taken none that it is not done with")
            })?;
            gate::update(system, &self.gate, u32::MAX, || {
                entry.set(left);
                (true, self.changes.fetch_add(1, AcqRel))
            });
            Ok(())
        })
    }

    /// Something has changed in the queue itself.
    pub(crate) fn changed<S: System>(&self, system: &S) {
        gate::update(system, &self.gate, u32::MAX, || (true, self.changes.fetch_add(1, AcqRel)));
    }

    /// Waits until nothing is unfinished; `false`: the time was over first.
    ///
    /// # Errors
    /// [`Error::Abandoned`].
    pub(crate) fn join<S: System>(
        &self,
        system: &S,
        until: Until,
        is_empty: impl Fn() -> bool,
    ) -> Result<bool> {
        let me = Here.this()?;
        let bed = Bed { ledger: &self.ledger, gate: &self.gate, state: &self.changes, me: &me };
        // In this order: what has left the queue was entered before.
        let look = |_| (is_empty() && self.ledger.sum() == 0).then_some(());
        let look_once = look(0);
        let done = match look_once {
            Some(()) => Some(()),
            None => {
                // Perhaps it is in the hands of one who is dead.
                self.bury(system, &me)?;
                ledger::wait(system, &Here, &bed, until, look, |_| true, || self.bury(system, &me))?
            }
        };
        match self.lost.swap(0, AcqRel) {
            0 => Ok(done.is_some()),
            items => Err(Error::Abandoned { items }),
        }
    }

    fn bury<S: System>(&self, system: &S, me: &Person) -> Result<()> {
        let dead = self.ledger.dead(&Here, me, Whom::All)?;
        if dead.is_empty() {
            return Ok(());
        }
        self.locked(system, || {
            for one in dead {
                let had = self.ledger.count_of(one);
                // Before: who finds nothing unfinished is told of it.
                self.lost.fetch_add(had.into(), Relaxed);
                self.ledger.clear(one, || ());
            }
            Ok(())
        })?;
        self.changed(system);
        Ok(())
    }
}
