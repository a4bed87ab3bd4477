//! Sleeping until a word that others change is as one wants it, and waking those who do: across processes, and whoever dies.
//!
//! What is waited for stands in a place of its own, the *state*: a count, a flag, a phase, of up to 64 bits ([`State`]). Beside it stands a
//! *gate*, a word to be woken by:
//!
//! | gate | means |
//! |---|---|
//! | 0 | whoever changes something need wake nobody |
//! | `WAITERS` | somebody sleeps, or is about to |
//!
//! **A sleeper** marks the gate, looks at the state, and sleeps if gate and state are still what it has seen; whenever it is woken it marks
//! the gate *again* before it looks. **A waker** changes the state, takes the mark off, and wakes if there was one. As there is one mark for all,
//! a wake-up may stand for several changes: so who was woken and gets through passes the wake on, as long as the state lets another
//! through.
//!
//! # The baton
//!
//! A wake-up must not be lost with the one it was given to, nor with the one who owed it. So both announce the gate to the kernel
//! (`list_op_pending` of the robust list, see the locks of this crate) for as long as they might be killed at the wrong moment. A gate has no owner, and for
//! an announced word without owner the kernel wakes one who sleeps on it, when the thread ends (`handle_futex_death`, "if this is a
//! pending op"): that was meant for unlocking, and it is all that is needed here. It also works at a thread's exit and at exec.
//!
//! | who dies | where | who wakes the next sleeper |
//! |---|---|---|
//! | a waker | after its change, before its wake | the kernel |
//! | a waker of all | after it took the mark, before its wake | the kernel wakes one, who marks, looks, and passes it on |
//! | a sleeper | woken, before it marked again | the kernel |
//! | a sleeper | woken, between its look and passing on | the kernel |
//! | a sleeper | asleep, or before | nobody need |
//!
//! **Why the state is compared, too.** A waker that dies between its change and the gate leaves a mark that nobody takes off. A sleeper
//! that has looked before the change and goes to sleep after the kernel's wake-up would find the gate as it was, and sleep beside a
//! state that lets it through; and so it would where another, woken, has marked the gate again. (The models find both.) So it sleeps on several words at once,
//! [`futex_waitv`](https://docs.kernel.org/userspace-api/futex2.html): queued at the gate first, and then only if the state is still as it was seen.
//!
//! **A state of 64 bits is compared as two words**, one after the other, for the kernel compares 32 bits at a time (and smaller ones with the word
//! that they stand in). That is enough, although the state may change in between: at the time it compares the first, the sleeper is queued at the gate, and who changes the
//! state from then on wakes it. If nobody does, both words are those of one state, and of another than was seen if it is another.
//!
//! **Who is woken and finds nothing** passes the wake on as well, where the state might let another through: sleepers may wait for
//! different things (two permits and one; a number that is not 3 and one that is not 4), and for a dead waker the kernel wakes one, whoever comes first. Two who find
//! nothing would hand one wake-up to and fro for ever. So who has handed one on, to somebody, and looks at a state that it has seen before, stays away from
//! the gate for a moment ([`System::nap`]), twice as long each time: then the wake-up comes to an end at an empty gate, after everybody had it.
//!
//! **A lock that is taken while a gate is announced**, by a `look` or a `change`, is announced in its place, as the kernel looks at one word only. If that has to wait, one who
//! sleeps at the gate is woken for it. In the few instructions of a lock that is free a death can still lose a wake-up: whoever builds on that has its sleepers look again
//! after a while, as the queue of `ipc-sync` does, or wakes with the lock in its hands (as its semaphores do).
//!
//! Kernels before 5.16 have no `futex_waitv`, and those before about 6.2 wake only for an announced word that is wholly zero; there each
//! sleep looks again after 100 ms (`baton` in `sys/kernel.rs`).
//!
//! # A primitive of one's own
//!
//! A flag that is raised once, and waited for:
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
//! use ipc_core::spawn;
//! use ipc_shm::gate::{self, Node};
//! use ipc_shm::raw::{Layout, Shared};
//! use ipc_shm::Until;
//!
//! #[repr(C)]
//! struct Flag {
//!     gate: Node,
//!     raised: AtomicU32,
//! }
//!
//! // SAFETY: `repr(C)`, a gate and an atomic, no pointers; zero is a flag that is not raised.
//! unsafe impl Layout for Flag {
//!     type Item = ();
//!     const NAME: &str = "a flag";
//!     const VERSION: u32 = 1;
//! }
//!
//! impl Flag {
//!     fn raise(&self) -> ipc_shm::Result<()> {
//!         let system = gate::current()?;
//!         gate::change(system, &self.gate, u32::MAX, || self.raised.store(1, SeqCst));
//!         Ok(())
//!     }
//!
//!     fn wait(&self) -> ipc_shm::Result<()> {
//!         let system = gate::current()?;
//!         let look = |raised| (raised != 0).then_some(());
//!         gate::wait(system, &self.gate, &self.raised, Until::Forever, look, |raised| raised != 0);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let flag = Shared::<Flag>::new(0)?;
//! let child = spawn(|flag: Shared<Flag>| flag.raise(), (flag.clone(),))?;
//! flag.wait()?;
//! child.join()??;
//! # Ok(())
//! # }
//! ```

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::sync::atomic::fence_after_update;
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64, fence};
use ipc_core::primitive::time::Until;

pub use crate::lock::system::{Node, System, WAITERS, Woken};
use crate::sys::robust_list::Thread;
#[doc(hidden)]
pub use crate::sys::robust_list::is_over;
use crate::{Error, Result};

/// The calling thread and its kernel, for the functions here and for [`raw`](crate::raw)'s algorithms. It stays on its thread.
///
/// # Errors
/// The thread has no robust list that locks can stand in (a sandbox), or it is laid out otherwise: [`Error::Unsupported`].
#[inline]
pub fn current() -> Result<&'static impl System> {
    Thread::current().map_err(|why| Error::refused(crate::lock::raw::refusal(why)))
}

/// How many looks in a row may find the state as it was, without a wake-up, before the sleeper takes a nap between them: somebody has
/// written over what stands beside a small state, say.
const PATIENCE: u32 = 16;

/// What is waited for at a gate: an atomic of up to 64 bits.
pub trait State {
    /// What stands in it.
    type Seen: Copy + PartialEq;

    /// How many words of 32 bits it takes: one or two.
    const WORDS: usize;

    /// What stands in it now.
    fn load(&self) -> Self::Seen;

    /// Where its words begin: aligned to 4. The kernel alone reads there.
    fn address(&self) -> *const u32;

    /// What its words are when it is `seen`; the second is 0 where there is one only.
    fn words(seen: Self::Seen) -> [u32; 2];
}

impl State for AtomicU32 {
    type Seen = u32;
    const WORDS: usize = 1;

    fn load(&self) -> u32 {
        self.load(SeqCst)
    }

    fn address(&self) -> *const u32 {
        std::ptr::from_ref(self).cast()
    }

    fn words(seen: u32) -> [u32; 2] {
        [seen, 0]
    }
}

impl State for AtomicU64 {
    type Seen = u64;
    const WORDS: usize = 2;

    fn load(&self) -> u64 {
        self.load(SeqCst)
    }

    fn address(&self) -> *const u32 {
        std::ptr::from_ref(self).cast()
    }

    fn words(seen: u64) -> [u32; 2] {
        bytemuck::cast(seen)
    }
}

/// Sleeps at the gate until `look` finds something in the state, and gives it; `None` when the time was over first.
///
/// `look` is given what stands in the state. When it gives nothing, that is because of this value alone: another look at the same
/// value would find nothing either. `more` says whether a state might let another through, who looks for something else perhaps.
pub fn wait<S: System, W: State, T>(
    system: &S,
    gate: &Node,
    state: &W,
    until: Until,
    mut look: impl FnMut(W::Seen) -> Option<T>,
    more: impl Fn(W::Seen) -> bool,
) -> Option<T> {
    if let Some(found) = look(state.load()) {
        return Some(found);
    }
    if until == Until::Now {
        return None;
    }
    let _announced = (!mutant::is("a sleeper announces nothing")).then(|| Announced::new(system, gate));
    let found = sleep(system, gate, state, until, &mut look, &more);
    system.crash_point("gate: found");
    if found.is_some() && more(state.load()) && !mutant::is("nothing is passed on") {
        system.wake(&gate.word, 1);
    }
    found
}

/// A gate that is announced, until this is dropped: by a panic of `look` or `change`, too. Left standing, the announcement would have the kernel
/// write to a place that may be something else by the time the thread ends.
struct Announced<'a, S: System> {
    system: &'a S,
    before: Option<S::Announced>,
}

impl<'a, S: System> Announced<'a, S> {
    #[inline(always)]
    fn new(system: &'a S, gate: &Node) -> Announced<'a, S> {
        Announced { system, before: Some(system.announce(gate)) }
    }
}

impl<S: System> Drop for Announced<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.system.retract(before);
        }
    }
}

/// The same for who has announced the gate, and passes the wake-up on that it was given if it finds something.
fn sleep<S: System, W: State, T>(
    system: &S,
    gate: &Node,
    state: &W,
    until: Until,
    look: &mut impl FnMut(W::Seen) -> Option<T>,
    more: &impl Fn(W::Seen) -> bool,
) -> Option<T> {
    let words = match () {
        () if mutant::is("the state is not compared") => 0,
        () if mutant::is("one half of the state is compared") => 1,
        () => W::WORDS,
    };
    let (mut marked, mut woken, mut naps) = (false, Woken::Look, 0);
    // What the last look found, and how many looks in a row have.
    let (mut last, mut looks) = (None, 0);
    loop {
        if !(marked && mutant::is("the mark is not renewed")) {
            gate.word.fetch_or(WAITERS, SeqCst);
            fence(SeqCst);
            marked = true;
        }
        system.crash_point("gate: marked");
        let seen = state.load();
        if let Some(found) = look(seen) {
            return Some(found);
        }
        if last.replace(seen) != Some(seen) {
            (looks, naps) = (0, 0);
        }
        looks += 1;
        let hand_on =
            woken == Woken::Given && more(seen) && !mutant::is("who finds nothing keeps the wake-up");
        if hand_on && system.wake(&gate.word, 1) > 0 && looks > 1 {
            naps += 1;
            system.nap(naps, until);
            // The mark may be off again.
            woken = Woken::Look;
            continue;
        }
        if looks > PATIENCE {
            system.nap(PATIENCE / 4, until);
        }
        system.crash_point("gate: about to sleep");
        woken = system.wait_at_gate(&gate.word, state, (seen, words), until);
        system.crash_point("gate: woken");
        if woken == Woken::TimedOut {
            return look(state.load());
        }
    }
}

/// Changes the state, and wakes so many of those who sleep at the gate, at most, and `most` is 1 at least: the mark stands for all who sleep, and
/// who takes it off for nobody leaves them asleep.
///
/// In a signal handler, too, of a thread that has called [`current`] before (the first call allocates): nothing here waits, and what was announced before is
/// announced again afterwards.
pub fn change<S: System, R>(system: &S, gate: &Node, most: u32, change: impl FnOnce() -> R) -> R {
    attempt(system, gate, most, || (true, change()))
}

/// The same for a change that may turn out to be none: then nobody is woken. `change` says first whether it is one. If it panics, it has
/// changed nothing.
#[inline]
pub fn attempt<S: System, R>(system: &S, gate: &Node, most: u32, change: impl FnOnce() -> (bool, R)) -> R {
    attempt_with(system, gate, most, || fence(SeqCst), change)
}

/// The same for a change that ends with a step which reads and writes at once (`fetch_add`, a `compare_exchange` that did), as
/// [`fence_after_update`] wants it.
#[inline(always)]
pub fn update<S: System, R>(system: &S, gate: &Node, most: u32, change: impl FnOnce() -> (bool, R)) -> R {
    attempt_with(system, gate, most, fence_after_update, change)
}

#[inline(always)]
fn attempt_with<S: System, R>(
    system: &S,
    gate: &Node,
    most: u32,
    fence: impl FnOnce(),
    change: impl FnOnce() -> (bool, R),
) -> R {
    let _announced = (!mutant::is("a waker announces nothing")).then(|| Announced::new(system, gate));
    system.crash_point("gate: about to change");
    let (changed, result) = change();
    if changed {
        system.crash_point("gate: changed");
        fence();
        if gate.word.load(Relaxed) & WAITERS != 0 {
            take_off(system, gate, most);
        }
    }
    system.crash_point("gate: woke");
    result
}

/// Takes the mark off, and wakes.
#[cold]
fn take_off<S: System>(system: &S, gate: &Node, most: u32) {
    gate.word.swap(0, SeqCst);
    system.crash_point("gate: mark taken");
    system.wake(&gate.word, most);
}
