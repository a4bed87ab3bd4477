//! What the algorithms of this crate ask of the kernel and of the calling thread: the seam at which a model takes their place.
//!
//! A lock that survives its owner is half an algorithm and half a contract with the kernel: what it does with a thread's robust
//! list when the thread ends (`futex_cleanup`, `handle_futex_death` in kernel/futex/core.c;
//! [robust futexes](https://docs.kernel.org/locking/robust-futexes.html)). So both stand behind one trait. In the program it is
//! `Kernel` in `sys`; in `tests/loom` a model that does the same at a thread's death as the kernel.

use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicUsize};
use ipc_core::primitive::time::Until;

use crate::gate::State;

/// Who holds a lock, in its word: the low 30 bits. Not a number of a thread (threads go up to 2²²) but 0: nobody.
pub const OWNER: u32 = 0x3fff_ffff;

/// The owner of this word has died, says the kernel (`FUTEX_OWNER_DIED`).
pub const OWNER_DIED: u32 = 0x4000_0000;

/// Somebody may be asleep on this word (`FUTEX_WAITERS`): whoever frees it wakes one.
pub const WAITERS: u32 = 0x8000_0000;

/// A word to lock or to sleep on, laid out as an entry of a robust list: as glibc's `pthread_mutex_t` is, because a thread has one
/// list, and one distance between entry and word for all that stand in it.
///
/// The list's entry is `next`; the word stands 32 bytes before it, and a link back, which only glibc's own neighbours
/// use, 8 bytes before it.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Node {
    /// What the kernel compares, marks and wakes by.
    pub word: AtomicU32,
    /// Of a lock: how many have gone to sleep on it, so far and modulo 2³².
    pub sleeps: AtomicU32,
    /// Of a lock: the process that holds it; 0 for nobody.
    pub owner: AtomicU32,
    /// Of a lock: what is known of the data behind it (`word.rs`).
    pub state: AtomicU32,
    /// Of a recursive lock: how often its owner has it.
    pub depth: AtomicU32,
    /// Of a lock whose state is `DIED`: the process that died with the data in its hands.
    pub dead: AtomicU32,
    pub(crate) prev: AtomicUsize,
    pub(crate) next: AtomicUsize,
}

/// From an entry of the list to its word.
pub const WORD_OFFSET: isize = -32;

const _: () = assert!(
    ipc_core::primitive::MODEL
        || (size_of::<Node>() == 40
            && std::mem::offset_of!(Node, next) as isize + WORD_OFFSET
                == std::mem::offset_of!(Node, word) as isize
            && std::mem::offset_of!(Node, prev) + 8 == std::mem::offset_of!(Node, next))
);

impl Node {
    /// Free, and nobody sleeps: all zero.
    pub fn new() -> Node {
        Node {
            word: AtomicU32::new(0),
            sleeps: AtomicU32::new(0),
            owner: AtomicU32::new(0),
            state: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            dead: AtomicU32::new(0),
            prev: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }
}

impl Default for Node {
    fn default() -> Node {
        Node::new()
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A wake-up was given to this sleeper, by one who wakes or by the kernel for a dead one: look.
    Given,
    /// The word was not what it was thought to be, or it ended for no reason: look.
    Look,
    /// The time is over. Nobody's wake-up was used up.
    TimedOut,
}

/// See the module's documentation. The methods speak of the calling thread.
///
/// In a forked copy of the process the same thread is another's copy, and what it held is not its own: there it holds nothing, takes nothing and frees nothing
/// by what it had before the fork.
///
/// # Safety
/// The algorithms give one thread at a time a lock by what this says, and some write to memory by that: so [`thread`](System::thread) is not 0 and the calling thread's own as long as it
/// lives (or no lock is taken with it), [`holds`](System::holds) says what [`link`](System::link) and [`unlink`](System::unlink) were told, and nothing else.
pub unsafe trait System {
    /// What stood in `list_op_pending` before.
    type Announced;

    /// The thread's number.
    fn thread(&self) -> u32;

    /// The process's number.
    fn process(&self) -> u32;

    /// Announces, in `list_op_pending`, that something is under way at this node: if the thread ends before it is
    /// [retracted](System::retract), the kernel looks at the word. If the thread owns it, it is marked as a dead owner's; if nobody does, one
    /// who sleeps on it is woken.
    fn announce(&self, node: &Node) -> Self::Announced;

    /// Takes an announcement back: what was announced before it is again.
    fn retract(&self, before: Self::Announced);

    /// Whether this is the calling thread's, and not a copy's of a thread in the process that was forked.
    fn is_own(&self) -> bool {
        true
    }

    /// Whether the list has room for one lock more.
    fn has_room(&self) -> bool;

    /// [Announces](System::announce) the first lock of a thread; nothing is announced, and none given, if it holds any, or something else stands
    /// in its list, or it is [not its own](System::is_own).
    fn announce_first(&self, _node: &Node) -> Option<Self::Announced> {
        None
    }

    /// [Announces](System::announce) the only lock of a thread; nothing is announced, and none given, if it does not have it, or has others, or it
    /// is [not its own](System::is_own).
    fn announce_only(&self, _node: &Node) -> Option<Self::Announced> {
        None
    }

    /// Enters a lock into the thread's list.
    fn link(&self, node: &Node);

    /// The same after [`announce_first`](System::announce_first).
    fn link_first(&self, node: &Node, _announced: &Self::Announced) {
        self.link(node);
    }

    /// Takes a lock off the list; says whether its links were what they should be. (If not, somebody wrote over them; the list is
    /// whole again.)
    fn unlink(&self, node: &Node) -> bool;

    /// The same after [`announce_only`](System::announce_only).
    fn unlink_only(&self, node: &Node, _announced: &Self::Announced) -> bool {
        self.unlink(node)
    }

    /// Whether the thread has it in its list, which is [its own](System::is_own).
    fn holds(&self, node: &Node) -> bool;

    /// Sleeps as long as the word is `expected`, nobody wakes it and the time is not over; perhaps shorter.
    fn wait(&self, word: &AtomicU32, expected: u32, until: Until) -> Woken;

    /// Sleeps at a gate as long as its word is `WAITERS`, the state what was `seen` (so many of its words), nobody wakes the gate's word and the
    /// time is not over; perhaps shorter. It is queued at the gate before the state is compared, which is word by word.
    fn wait_at_gate<W: State>(
        &self,
        gate: &AtomicU32,
        state: &W,
        seen: (W::Seen, usize),
        until: Until,
    ) -> Woken;

    /// Does nothing for a moment, and for twice as long a moment for each one more of `times`, but no longer than `until`.
    fn nap(&self, times: u32, until: Until);

    /// Wakes so many who sleep on the word, at most; gives how many there were.
    fn wake(&self, word: &AtomicU32, most: u32) -> usize;

    /// How often a look is worth more than a sleep.
    fn spins(&self) -> u32;

    /// A place where the victim of a test dies.
    fn crash_point(&self, name: &'static str);
}
