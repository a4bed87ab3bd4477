//! The word of a lock: how it is taken, waited for, freed, and what its owner's death makes of it.
//!
//! | word | means | left by |
//! |---|---|---|
//! | 0 | free | a taker: `me` |
//! | `WAITERS` | free, and somebody may sleep | a taker: `me`, `WAITERS`; or the one who freed it, when nobody sleeps: 0 |
//! | owner | held | its owner: 0; who wants to sleep: `WAITERS` with it; the kernel: `OWNER_DIED` |
//! | owner, `WAITERS` | held, and somebody may sleep | its owner: `WAITERS`, and one is woken; the kernel: `OWNER_DIED`, `WAITERS`, and one is woken |
//! | `OWNER_DIED`, perhaps `WAITERS` | its owner ended | a taker, who keeps `WAITERS` |
//!
//! **`WAITERS` stays when the lock is freed.** In the usual algorithm (and in glibc's robust mutex) the word goes to 0 and one sleeper is
//! woken, who puts the bit back. If another thread takes the free word meanwhile, and the woken one is killed before its first
//! instruction, then the bit is lost and the other sleepers are not woken by anybody: the kernel wakes the next for a dead sleeper only while the
//! word has no owner. So the bit stays until somebody finds that nobody sleeps: `futex_wake` woke nobody, and nobody has gone to sleep since
//! before that (`sleeps`, which each counts up before). Who finds afterwards that somebody has puts the bit back.
//!
//! | state | means | left by |
//! |---|---|---|
//! | 0 | the data is whole | a taker who finds `OWNER_DIED` and an `owner`: `DIED`; an owner who panics: `PANICKED` |
//! | `DIED` | an owner died with the data in its hands; whoever has it now was told | the owner says that it has repaired it: 0; hands it on: stays; gives it up, or frees it without a word: `LOST` |
//! | `PANICKED` | an owner panicked with the data in its hands | the owner says that it is repaired: 0 |
//! | `LOST` | nobody can repair it | |
//!
//! `owner` is set after the word was taken and it was seen that what it guards is there still (a place of an arena may have been freed, and be
//! another's by now), before the guard is given; and cleared after the guard is gone and before the word is freed.
//! So a dead owner's word without `owner` means that it died with nothing in its hands: such a lock is simply free.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | who has taken a freed place's word | anywhere | marked by the kernel, but nobody is told: it had nothing in its hands |
//! | the owner | anywhere | marked by the kernel, which wakes one sleeper; the next to take it is told |
//! | who frees it | before the word is free | as above, but nobody is told, for the data is whole |
//! | who frees it | between freeing and waking | the kernel wakes one sleeper: the node is still announced |
//! | who sleeps | before it sleeps | the bit stays, a wake-up goes to nobody |
//! | who was woken | before it has the lock | the kernel wakes the next, if nobody has the word; if somebody has, the bit is there and they will |
//! | who was woken | after it took the word | it is the owner |

use std::sync::atomic::compiler_fence;

use ipc_core::primitive::hint::spin_loop;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ipc_core::primitive::time::Until;

use super::system::{Node, OWNER, OWNER_DIED, System, WAITERS, Woken};

/// An owner died with the data in its hands, and the present owner was told.
pub const DIED: u32 = 1;
/// An owner panicked with the data in its hands.
pub const PANICKED: u32 = 2;
/// An owner died, and whoever was told has not repaired the data.
pub const LOST: u32 = 4;

/// How often a taker pauses before it looks again at a lock that somebody has, and twice as often before each further look. Each look takes the word's
/// cache line away from who has the lock, and what the other does meanwhile it does several times as fast.
const FIRST_PAUSE: u32 = 16;

/// What a lock was found to be by who has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Whole.
    Whole,
    /// An owner died with the data in its hands: the process of this number.
    OwnerDied(u32),
    /// An owner panicked with the data in its hands.
    Panicked,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Somebody has it, and there was no time to wait.
    Busy,
    /// The time is over.
    TimedOut,
    /// The calling thread has it already.
    AlreadyHeld,
    /// The thread holds as many as the kernel looks after.
    TooMany,
    /// Its owner has taken it 2³²−1 times. (Said of a recursive lock only.)
    TooDeep,
    /// Nobody has repaired what a dead owner left.
    Lost,
    /// It stood in an arena, and was freed. (Not said by the word: by who finds the generation changed.)
    Freed,
    /// The calling thread is the copy, made by a fork, of the one that it was to be taken for.
    Copied,
    /// The word says that the calling thread has it, and it has not: somebody has written over it.
    Damaged,
    /// The kernel does not tell of the thread's robust list (the error's number): a sandbox, or a kernel without futexes.
    NoRobustList(i32),
    /// The C library's robust mutexes are laid out otherwise, so that ours cannot stand in the same list; so far are their words from
    /// their entries.
    OtherLayout(i32),
}

/// Takes a lock, and tells the kernel to look after it.
///
/// # Errors
/// See [`Refused`]; then it was not taken.
#[inline(always)]
pub fn take<S: System>(system: &S, node: &Node, until: Until) -> Result<Taken, Refused> {
    take_if(system, node, until, || true)
}

/// Takes a lock if what it guards is `alive`, which is asked when the word is taken and nothing is in anybody's hands yet: it has the same answer as
/// long as the lock is held.
///
/// # Errors
/// See [`Refused`]; [`Refused::Freed`] where it is not alive.
#[inline(always)]
pub fn take_if<S: System>(
    system: &S,
    node: &Node,
    until: Until,
    alive: impl Fn() -> bool,
) -> Result<Taken, Refused> {
    if take_at_once(system, node, &alive) {
        Ok(Taken::Whole)
    } else {
        take_in_full(system, node, until, &alive)
    }
}

/// The same for the usual case, that the lock is free and whole and the thread has no other; `false`: it was not taken, and
/// [`take_in_full`] knows why. It calls nothing and gives one bit, so that where it is inlined nothing goes to memory but what must:
/// each store waits to be done at the next locked instruction.
#[inline(always)]
pub fn take_at_once<S: System>(system: &S, node: &Node, alive: impl Fn() -> bool) -> bool {
    let Some(before) = system.announce_first(node) else { return false };
    system.crash_point("locker: announced");
    if node.word.compare_exchange(0, system.thread(), Acquire, Relaxed).is_err() {
        system.retract(before);
        return false;
    }
    system.crash_point("locker: taken");
    system.link_first(node, &before);
    if entered(system, node, before) != 0
        || !(alive() || mutant::is("a freed place is in the hands of who takes it"))
    {
        hand_on(system, node);
        return false;
    }
    own(system, node);
    true
}

/// Takes a lock, however it is.
///
/// # Errors
/// As [`take`].
#[inline(never)]
pub fn take_in_full<S: System>(
    system: &S,
    node: &Node,
    until: Until,
    alive: &dyn Fn() -> bool,
) -> Result<Taken, Refused> {
    // By what this thread knows of itself: the word may have been written over, and a lock taken twice would give two guards.
    if system.holds(node) {
        return Err(Refused::AlreadyHeld);
    }
    if !system.is_own() {
        return Err(Refused::Copied);
    }
    if !system.has_room() {
        return Err(Refused::TooMany);
    }
    let before = system.announce(node);
    system.crash_point("locker: announced");
    let died = match contend(system, node, until) {
        Ok(died) => died,
        Err(refused) => {
            system.retract(before);
            return Err(refused);
        }
    };
    system.crash_point("locker: taken");
    system.link(node);
    let state = entered(system, node, before);
    let taken = if died || state != 0 { judge(system, node, died, state)? } else { Taken::Whole };
    if !alive() {
        hand_on(system, node);
        return Err(Refused::Freed);
    }
    own(system, node);
    Ok(taken)
}

/// It stands in the list: what is known of the data.
#[inline(always)]
fn entered<S: System>(system: &S, node: &Node, before: S::Announced) -> u32 {
    system.crash_point("locker: linked");
    system.retract(before);
    node.state.load(Relaxed)
}

/// From here on the data is in this process's hands.
#[inline(always)]
fn own<S: System>(system: &S, node: &Node) {
    node.owner.store(system.process(), Relaxed);
    // For the order in which this thread's stores are found by whoever comes after its death.
    compiler_fence(SeqCst);
    system.crash_point("owner: has the data");
}

/// Looks at what a dead owner or a panic has left.
#[cold]
fn judge<S: System>(system: &S, node: &Node, died: bool, state: u32) -> Result<Taken, Refused> {
    let dead = node.owner.load(Relaxed);
    let state = if died && dead != 0 {
        node.dead.store(dead, Relaxed);
        state | DIED
    } else if mutant::is("a panic is told once") {
        state & !PANICKED
    } else {
        state
    };
    node.state.store(state, Relaxed);
    compiler_fence(SeqCst);
    system.crash_point("locker: judges");
    if state & LOST != 0 {
        node.owner.store(0, Relaxed);
        free(system, node);
        return Err(Refused::Lost);
    }
    Ok(match state {
        _ if state & DIED != 0 => Taken::OwnerDied(node.dead.load(Relaxed)),
        _ if state & PANICKED != 0 => Taken::Panicked,
        _ => Taken::Whole,
    })
}

/// Takes the word; whether it is a dead owner's.
fn contend<S: System>(system: &S, node: &Node, until: Until) -> Result<bool, Refused> {
    let me = system.thread();
    let mut seen = node.word.load(Relaxed);
    let mut looks = 0;
    let mut slept = 0;
    loop {
        let owner = seen & OWNER;
        if owner == 0 {
            // Who has slept may not have been the only one.
            let keep = if mutant::is("a taker drops the bit") { 0 } else { (seen & WAITERS) | slept };
            match node.word.compare_exchange(seen, me | keep, Acquire, Relaxed) {
                Ok(_) => return Ok(seen & OWNER_DIED != 0),
                Err(now) => seen = now,
            }
            continue;
        }
        if owner == me {
            return Err(Refused::Damaged);
        }
        if until == Until::Now {
            return Err(Refused::Busy);
        }
        if looks < system.spins() && seen & WAITERS == 0 {
            (0..FIRST_PAUSE << looks).for_each(|_| spin_loop());
            looks += 1;
            seen = node.word.load(Relaxed);
            continue;
        }
        // Counted before the bit is seen or set: whoever clears the bit afterwards finds the count changed.
        node.sleeps.fetch_add(1, SeqCst);
        if seen & WAITERS == 0
            && let Err(now) = node.word.compare_exchange(seen, seen | WAITERS, SeqCst, Relaxed)
        {
            seen = now;
            continue;
        }
        system.crash_point("sleeper: about to sleep");
        let woken = system.wait(&node.word, seen | WAITERS, until);
        system.crash_point("sleeper: woken");
        if woken == Woken::TimedOut {
            if mutant::is("who gives up takes the bit along") {
                node.word.fetch_and(!WAITERS, SeqCst);
            }
            return Err(Refused::TimedOut);
        }
        slept = WAITERS;
        seen = node.word.load(Relaxed);
    }
}

/// Says that the data is whole again, whatever was told. Only its owner's word counts.
pub fn repaired<S: System>(system: &S, node: &Node) {
    if !system.holds(node) {
        return;
    }
    if mutant::is("what was told is cleared after the word is free") {
        free(system, node);
    }
    node.state.store(0, Relaxed);
}

/// Notes that its owner panicked with the data in its hands. Only its owner's word counts.
#[cold]
pub fn poison<S: System>(system: &S, node: &Node) {
    if !system.holds(node) {
        return;
    }
    if mutant::is("poison is set after the word is free") {
        free(system, node);
    }
    node.state.store(node.state.load(Relaxed) | PANICKED, Relaxed);
}

/// Frees a lock that the calling thread has; what a dead owner left and nobody has repaired is lost. `false`: its links had been
/// written over, and are mended.
///
/// A thread that does not have it, a forked copy of its owner say, changes nothing.
#[inline(always)]
pub fn free<S: System>(system: &S, node: &Node) -> bool {
    // As with taking: the usual case first.
    if node.state.load(Relaxed) & DIED == 0
        && let Some(before) = system.announce_only(node)
    {
        lets_go(system, node);
        let whole = system.unlink_only(node, &before);
        unlinked(system, node, before);
        return whole;
    }
    free_in_full(system, node)
}

#[inline(never)]
fn free_in_full<S: System>(system: &S, node: &Node) -> bool {
    if !system.holds(node) {
        return true;
    }
    if node.state.load(Relaxed) & DIED != 0 {
        abandon(system, node);
    }
    let_go(system, node)
}

/// Says that what a dead owner left cannot be repaired: whoever takes the lock after this owner is [refused](Refused::Lost). Only its owner's word counts.
#[cold]
pub fn abandon<S: System>(system: &S, node: &Node) {
    if !system.holds(node) {
        return;
    }
    node.state.store((node.state.load(Relaxed) & !DIED) | LOST, Relaxed);
    compiler_fence(SeqCst);
    system.crash_point("owner: calls it lost");
}

/// As [`free`], by one who had no occasion to repair anything: the next is told what this one was told.
#[cold]
#[inline(never)]
pub fn hand_on<S: System>(system: &S, node: &Node) -> bool {
    if !system.holds(node) {
        return true;
    }
    system.crash_point("owner: hands it on");
    let_go(system, node)
}

fn let_go<S: System>(system: &S, node: &Node) -> bool {
    let before = system.announce(node);
    lets_go(system, node);
    let whole = system.unlink(node);
    unlinked(system, node, before);
    whole
}

/// Before it is taken off the list.
#[inline(always)]
fn lets_go<S: System>(system: &S, node: &Node) {
    compiler_fence(SeqCst);
    node.owner.store(0, Relaxed);
    compiler_fence(SeqCst);
    system.crash_point("unlocker: lets the data go");
}

/// It is off the list.
#[inline(always)]
fn unlinked<S: System>(system: &S, node: &Node, before: S::Announced) {
    system.crash_point("unlocker: unlinked");
    match node.word.compare_exchange(system.thread(), 0, Release, Relaxed) {
        Ok(_) => system.retract(before),
        Err(_) => pass_on_and_retract(system, node, before),
    }
}

#[cold]
#[inline(never)]
fn pass_on_and_retract<S: System>(system: &S, node: &Node, before: S::Announced) {
    pass_on(system, node);
    system.retract(before);
}

/// Frees a word on which somebody may sleep, and wakes one.
fn pass_on<S: System>(system: &S, node: &Node) {
    let leave = if mutant::is("the bit goes when the lock is freed") { 0 } else { WAITERS };
    node.word.fetch_and(leave, SeqCst);
    system.crash_point("unlocker: freed");
    let sleeps = node.sleeps.load(SeqCst);
    if mutant::is("nobody is woken") {
        return;
    }
    if system.wake(&node.word, 1) > 0 {
        return;
    }
    system.crash_point("unlocker: woke nobody");
    // Nobody slept at that moment, so the bit may go. Who has gone to sleep since then, while another had the lock, has counted before.
    if node.word.compare_exchange(WAITERS, 0, SeqCst, Relaxed).is_err() {
        return;
    }
    system.crash_point("unlocker: took the bit");
    if node.sleeps.load(SeqCst) != sleeps && !mutant::is("sleeps are not counted") {
        node.word.fetch_or(WAITERS, SeqCst);
        system.crash_point("unlocker: put the bit back");
        system.wake(&node.word, 1);
    }
}
