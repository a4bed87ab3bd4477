//! Sleeping until a word that others change is as one wants it, and waking those who do: across processes, and whoever dies.
//!
//! What is waited for stands in a word of its own, the *state*: a count, a flag, a phase. Beside it stands a *gate*, a word to be woken
//! by:
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
//! state that lets it through; and so it would where another, woken, has marked the gate again. (The models find both.) So it sleeps on two words at once,
//! [`futex_waitv`](https://docs.kernel.org/userspace-api/futex2.html): queued at the gate first, and then only if the state is still as it was seen.
//!
//! Kernels before 5.16 have no `futex_waitv`, and those before about 6.2 wake only for an announced word that is wholly zero; there each
//! sleep looks again after 100 ms (`baton` in `sys/kernel.rs`).

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, fence};
use ipc_core::primitive::time::Until;

use crate::lock::system::{Node, System, WAITERS, Woken};

/// Sleeps at the gate until `look` finds something in the state, and gives it; `None` when the time was over first.
///
/// `look` is given what stands in the state. When it gives nothing, that is because of this value alone: another look at the same
/// value would find nothing either. `more` says whether a state would let another through.
pub fn wait<S: System, T>(
    system: &S,
    gate: &Node,
    state: &AtomicU32,
    until: Until,
    mut look: impl FnMut(u32) -> Option<T>,
    more: impl Fn(u32) -> bool,
) -> Option<T> {
    if let Some(found) = look(state.load(SeqCst)) {
        return Some(found);
    }
    if until == Until::Now {
        return None;
    }
    let nothing = mutant::is("a sleeper announces nothing");
    let before = (!nothing).then(|| system.announce(gate));
    let mut marked = false;
    let found = loop {
        if !(marked && mutant::is("the mark is not renewed")) {
            gate.word.fetch_or(WAITERS, SeqCst);
            fence(SeqCst);
            marked = true;
        }
        system.crash_point("gate: marked");
        let seen = state.load(SeqCst);
        if let Some(found) = look(seen) {
            break Some(found);
        }
        system.crash_point("gate: about to sleep");
        let seen = (!mutant::is("the state is not compared")).then_some(seen);
        let woken = system.wait_at_gate(&gate.word, WAITERS, state, seen, until);
        system.crash_point("gate: woken");
        if woken == Woken::TimedOut {
            break look(state.load(SeqCst));
        }
    };
    system.crash_point("gate: found");
    if found.is_some() && more(state.load(SeqCst)) && !mutant::is("nothing is passed on") {
        system.wake(&gate.word, 1);
    }
    if let Some(before) = before {
        system.retract(before);
    }
    found
}

/// Changes the state, and wakes so many of those who sleep at the gate, at most.
///
/// In a signal handler, too: nothing here waits, and what was announced before is announced again afterwards.
pub fn change<S: System, R>(system: &S, gate: &Node, most: u32, change: impl FnOnce() -> R) -> R {
    let nothing = mutant::is("a waker announces nothing");
    let before = (!nothing).then(|| system.announce(gate));
    system.crash_point("gate: about to change");
    let result = change();
    system.crash_point("gate: changed");
    fence(SeqCst);
    if gate.word.load(Relaxed) & WAITERS != 0 {
        gate.word.swap(0, SeqCst);
        system.crash_point("gate: mark taken");
        system.wake(&gate.word, most);
    }
    system.crash_point("gate: woke");
    if let Some(before) = before {
        system.retract(before);
    }
    result
}
