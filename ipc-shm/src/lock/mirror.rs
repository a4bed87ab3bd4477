//! What a thread holds, in memory of its own: the mirror of what stands in its robust list (`sys/robust_list.rs`).
//!
//! The newest lock is the one that the list's anchor points at: the anchor is memory of this process too, so it needs no other place. Most locks are
//! held alone, and so cost no store but those that the kernel needs. The others are in `older`.
//!
//! | newest | `count` | `moves` | held |
//! |---|---|---|---|
//! | the end | 0 | even | nothing |
//! | an entry | 0 | even | that one |
//! | an entry | n | even | that one, and the first n of `older` |
//! | an entry | n | odd | an entry is on its way from one place to another, and may be found in neither |
//!
//! Only its thread changes it. Other threads look whether it holds what lies in some memory, which would be unmapped otherwise; what was held before they
//! look and is held still, they find. When another lock is taken, the newest gets its place among the older ones first, and whoever looks looks at the
//! newest first: it is found in one of the two. When one is given back, entries go the other way, and `moves` is odd for that time and another number
//! afterwards: who has seen one of the two looks again.

use std::ops::Range;

use ipc_core::primitive::hint::spin_loop;
use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicUsize;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::system::Node;

/// Room for `N` locks, and one more. Locks are told by their entries in the list, which are addresses; the end of the list is told by each caller.
#[repr(C)]
pub struct Mirror<const N: usize> {
    /// Its link is to the newest.
    anchor: Node,
    count: AtomicUsize,
    moves: AtomicUsize,
    /// The oldest first.
    older: [AtomicUsize; N],
}

impl<const N: usize> Mirror<N> {
    /// One that holds nothing; it must be [emptied](Mirror::empty) before it is used.
    #[allow(clippy::new_without_default, reason = "it is not ready for use")]
    pub fn new() -> Mirror<N> {
        Mirror {
            count: AtomicUsize::new(0),
            anchor: Node::new(),
            moves: AtomicUsize::new(0),
            older: std::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// Forgets whatever it holds: a record's last thread has ended, or it is the copy of a parent's.
    pub fn empty(&self, end: usize) {
        self.anchor.next.store(end, Release);
        self.count.store(0, Release);
        // The copy may have been made amid a move.
        self.moves.store(0, Release);
    }

    /// The node behind which the thread's locks stand.
    #[inline]
    pub fn anchor(&self) -> &Node {
        &self.anchor
    }

    /// The newest entry, or the end.
    #[inline]
    pub fn newest(&self) -> usize {
        self.anchor.next.load(Relaxed)
    }

    /// How many it holds.
    #[inline]
    pub fn len(&self, end: usize) -> usize {
        self.count.load(Relaxed) + usize::from(self.newest() != end)
    }

    /// Whether it holds this one.
    #[inline]
    pub fn holds(&self, entry: usize) -> bool {
        let count = self.count.load(Relaxed);
        self.newest() == entry || (count > 0 && self.place_of(entry, count).is_some())
    }

    /// Whether it holds this one and no other.
    #[inline]
    pub fn holds_only(&self, entry: usize) -> bool {
        self.newest() == entry && self.count.load(Relaxed) == 0
    }

    #[cold]
    fn place_of(&self, entry: usize, count: usize) -> Option<usize> {
        self.older.iter().take(count).rposition(|older| older.load(Relaxed) == entry)
    }

    /// Enters one, before whatever it holds; `link` links it to the newest so far. There must be room.
    #[inline]
    pub fn put(&self, entry: usize, end: usize, link: impl FnOnce(usize)) {
        let behind = self.newest();
        let count = self.count.load(Relaxed);
        if behind != end
            && let Some(place) = self.older.get(count)
        {
            if mutant::is("the newest is overwritten before it has another place") {
                self.put_first(entry);
            }
            place.store(behind, Release);
            self.count.store(count + 1, Release);
        }
        link(behind);
        self.put_first(entry);
    }

    /// The same where it holds nothing.
    #[inline]
    pub fn put_first(&self, entry: usize) {
        self.anchor.next.store(entry, Release);
    }

    /// Takes the newest out, and gives the one behind it.
    #[inline]
    pub fn take_newest(&self, end: usize) -> usize {
        let Some(below) = self.count.load(Relaxed).checked_sub(1) else {
            self.take_only(end);
            return end;
        };
        let behind = self.older[below].load(Relaxed);
        self.moving(|| {
            self.anchor.next.store(behind, Release);
            self.count.store(below, Release);
        });
        behind
    }

    /// The same where it holds no other.
    #[inline]
    pub fn take_only(&self, end: usize) {
        self.anchor.next.store(end, Release);
    }

    /// Takes one out that is not the newest; `link` is told of it first, between which entries it stands: the newer one and what is behind it. `false`: it is
    /// not held.
    #[cold]
    pub fn take_older(&self, entry: usize, end: usize, link: impl FnOnce(usize, usize)) -> bool {
        let count = self.count.load(Relaxed);
        let Some(at) = self.place_of(entry, count) else { return false };
        let behind = at.checked_sub(1).map_or(end, |below| self.older[below].load(Relaxed));
        let newer = if at + 1 == count { self.newest() } else { self.older[at + 1].load(Relaxed) };
        link(newer, behind);
        self.moving(|| {
            for place in at..count - 1 {
                self.older[place].store(self.older[place + 1].load(Relaxed), Release);
            }
            self.count.store(count - 1, Release);
        });
        true
    }

    /// Changes places. All that `change` stores, it stores with `Release`: not before the odd number is there.
    fn moving(&self, change: impl FnOnce()) {
        let moves = self.moves.load(Relaxed);
        self.moves.store(moves.wrapping_add(1), Relaxed);
        change();
        self.moves.store(moves.wrapping_add(2), Release);
    }

    /// Whether it holds one at these addresses; asked by any thread.
    pub fn holds_within(&self, range: &Range<usize>) -> bool {
        loop {
            let moves = self.moves.load(Acquire);
            if range.contains(&self.anchor.next.load(Acquire)) {
                return true;
            }
            let count = self.count.load(Acquire).min(N);
            if self.older[..count].iter().any(|older| range.contains(&older.load(Acquire))) {
                return true;
            }
            let still = moves.is_multiple_of(2) && self.moves.load(Relaxed) == moves;
            if still || mutant::is("who looks does not look again") {
                return false;
            }
            spin_loop();
        }
    }
}
