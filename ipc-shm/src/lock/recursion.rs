//! The count of a recursive lock: how often its owner, a thread, has taken it.
//!
//! The lock itself is `word.rs`; who has its word counts beside it, in `depth`, and nobody else does.
//!
//! | word | `depth` | means | left by |
//! |---|---|---|---|
//! | free | 0 | nobody has it | a taker, who has the word first |
//! | owner | 0 | just taken, or about to be freed | its owner: 1; or the word is freed |
//! | owner | n | taken n times | its owner: n + 1; n − 1; 1, to give all back; n, when it has taken it again after that |
//! | `OWNER_DIED` | n | its owner ended, with n of them | a taker: 1, whatever it finds |
//!
//! **The count goes to 0 before the word is free.** Afterwards it is the next owner's, who may have counted already. And who takes the word
//! begins with 1 instead of adding to what is there: a dead owner's count says nothing of the next.
//!
//! | who dies | where | what follows |
//! |---|---|---|
//! | the owner | at any depth | marked by the kernel, as any owner; the next is told, and has it once |
//! | who gives it back for the last time | before the word is free | as above, and told unless `word.rs` had let the data go |
//! | who gives it back for the last time | afterwards | as one who frees a lock: the count is 0 by then |

use std::sync::atomic::compiler_fence;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::time::Until;

use super::system::{Node, System};
use super::word::{self, DIED, Refused, Taken};

/// Takes the lock, or takes it once more. Who has it already was told what there was to tell: that is [`Taken::Whole`].
///
/// # Errors
/// See [`Refused`]; then nothing was counted.
pub fn take<S: System>(system: &S, node: &Node, until: Until) -> Result<Taken, Refused> {
    take_if(system, node, until, || true)
}

/// The same if what it guards is alive, as [`word::take_if`]. It is not asked by who has it already.
///
/// # Errors
/// As [`take`]; [`Refused::Freed`].
pub fn take_if<S: System>(
    system: &S,
    node: &Node,
    until: Until,
    alive: impl Fn() -> bool,
) -> Result<Taken, Refused> {
    if system.holds(node) {
        let deeper = node.depth.load(Relaxed).checked_add(1).ok_or(Refused::TooDeep)?;
        node.depth.store(deeper, Relaxed);
        system.crash_point("recursive: taken once more");
        return Ok(Taken::Whole);
    }
    let taken = word::take_if(system, node, until, alive)?;
    let found = if mutant::is("a dead owner's count stays") { node.depth.load(Relaxed) } else { 0 };
    node.depth.store(found + 1, Relaxed);
    system.crash_point("recursive: taken");
    Ok(taken)
}

/// How often the calling thread has it.
pub fn depth<S: System>(system: &S, node: &Node) -> u32 {
    if system.holds(node) { node.depth.load(Relaxed) } else { 0 }
}

/// Gives it back once; with the last time it is free, as after [`word::free`], which says what is given.
pub fn free<S: System>(system: &S, node: &Node) -> bool {
    give_back(system, node, word::free)
}

/// The same, as [`word::hand_on`].
#[cold]
pub fn hand_on<S: System>(system: &S, node: &Node) -> bool {
    give_back(system, node, word::hand_on)
}

/// The same by a holder of guards, of which some may have been told of a death and others not: with the last one goes what nobody has repaired, and the next is
/// told.
pub fn free_as_told<S: System>(system: &S, node: &Node) -> bool {
    let told = node.state.load(Relaxed) & DIED != 0;
    give_back(system, node, if told { word::hand_on } else { word::free })
}

/// Gives it back as often as its owner has it, as [`free_as_told`]; gives how often that was, 0 if another has it.
pub fn free_all<S: System>(system: &S, node: &Node) -> u32 {
    let depth = depth(system, node);
    if depth > 0 {
        let once = if mutant::is("all is given back but one") { 2 } else { 1 };
        node.depth.store(once, Relaxed);
        free_as_told(system, node);
    }
    depth
}

/// The owner, who has just taken it once more, has it so often more than before that, at least once. `false`: it would be too often, and it has it once more.
#[must_use]
pub fn restore<S: System>(system: &S, node: &Node, depth: u32) -> bool {
    let before = self::depth(system, node).saturating_sub(1);
    let after = before.checked_add(depth.max(1));
    if let (true, Some(after)) = (system.holds(node), after) {
        node.depth.store(after, Relaxed);
    }
    after.is_some()
}

/// A thread that does not have it, a forked copy of its owner say, changes nothing.
fn give_back<S: System>(system: &S, node: &Node, free: fn(&S, &Node) -> bool) -> bool {
    if !system.holds(node) {
        return true;
    }
    // 0 is what somebody wrote who does not have it.
    let left = node.depth.load(Relaxed).saturating_sub(1);
    if mutant::is("the word is freed before the count") && left == 0 {
        let whole = free(system, node);
        node.depth.store(left, Relaxed);
        return whole;
    }
    node.depth.store(left, Relaxed);
    compiler_fence(SeqCst);
    if left > 0 && !mutant::is("the first to be given back frees it") {
        system.crash_point("recursive: given back once");
        return true;
    }
    system.crash_point("recursive: given back");
    free(system, node)
}
