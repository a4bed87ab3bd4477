//! A thread as a signal handler finds it: enough of a [`System`] to wake, without anything that would have to be made first.
//!
//! [`gate::current`](ipc_shm::gate::current) enters the thread into this process's records, which allocates the first time: a handler that has
//! interrupted `malloc` must not. What a waker needs is little: a place to announce the gate in, and futex(2). The place is the head of the
//! robust list that the C library registered when the thread began; the kernel tells where it is
//! ([get_robust_list(2)](https://man7.org/linux/man-pages/man2/get_robust_list.2.html)), and it stays there as long as the thread lives, in a forked copy
//! too. What was announced before is announced again afterwards, so a handler may interrupt any other operation at a gate or a lock. The kernel looks at one
//! announcement only, and the handler may be killed as well:
//!
//! | what the handler finds announced | while it runs | if it is killed |
//! |---|---|---|
//! | a gate, or a lock that this thread has not | one who sleeps there is woken at once, and the handler's gate is announced | who sleeps at the handler's gate is woken |
//! | a lock that this thread has, and perhaps not in its list | that stays announced | the lock is freed; who sleeps at the handler's gate is not woken if it dies between its change and its wake |
//!
//! It also serves who may not enter any more, in a sandbox: a sleep here looks again after 100 ms.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicUsize, compiler_fence};
use std::time::Duration;

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{Node, State, System, WAITERS, Woken, is_over};
use rustix::io::Errno;
use rustix::thread::futex;

/// `struct robust_list_head`.
#[repr(C)]
struct Head {
    next: AtomicUsize,
    offset: isize,
    pending: AtomicUsize,
}

/// From a node's word to the entry that the kernel knows it by.
const ENTRY: usize = 32;

/// How long it sleeps before it looks again.
const AGAIN: Duration = Duration::from_millis(100);

thread_local! {
    // Without a destructor, so that a handler may be the first to touch it.
    static HEAD: Cell<*const Head> = const { Cell::new(ptr::null()) };
}

/// See the module's documentation. It takes no locks.
#[derive(Clone, Copy)]
pub(crate) struct Bare {
    /// Null where there is none, or it is laid out otherwise: nothing is announced then.
    head: *const Head,
}

impl Bare {
    #[inline]
    pub(crate) fn current() -> Bare {
        let known = HEAD.get();
        if known.is_null() { Bare::ask() } else { Bare { head: known } }
    }

    #[cold]
    fn ask() -> Bare {
        let (mut head, mut size) = (ptr::null::<Head>(), 0_usize);
        // SAFETY: the kernel writes an address and a size to two locals.
        let asked = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) };
        // SAFETY: the head that is registered for this thread is there as long as the thread, and only the thread looks at it.
        let fits = asked == 0 && !head.is_null() && unsafe { (*head).offset } == -(ENTRY as isize);
        if fits {
            HEAD.set(head);
        }
        Bare { head: if fits { head } else { ptr::null() } }
    }

    fn pending(&self) -> Option<&AtomicUsize> {
        // SAFETY: null, or the calling thread's head (a `Bare` is used by the thread that made it, at once).
        unsafe { self.head.as_ref() }.map(|head| &head.pending)
    }
}

// SAFETY: it has no room for a lock, so none is taken.
unsafe impl System for Bare {
    type Announced = usize;

    fn thread(&self) -> u32 {
        0
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    #[inline]
    fn announce(&self, node: &Node) -> usize {
        let Some(pending) = self.pending() else { return 0 };
        let before = pending.load(Relaxed);
        // SAFETY: gettid cannot fail, and takes nothing.
        if before != 0 && !is_over(before, unsafe { libc::gettid() } as u32) {
            return before;
        }
        pending.store(ptr::from_ref(&node.word) as usize + ENTRY, Relaxed);
        // The kernel looks at what this thread has done in the order of its instructions.
        compiler_fence(SeqCst);
        before
    }

    #[inline]
    fn retract(&self, before: usize) {
        compiler_fence(SeqCst);
        if let Some(pending) = self.pending() {
            pending.store(before, Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        false
    }

    fn link(&self, _node: &Node) {}

    fn unlink(&self, _node: &Node) -> bool {
        true
    }

    fn holds(&self, _node: &Node) -> bool {
        false
    }

    fn wait(&self, word: &AtomicU32, expected: u32, until: Until) -> Woken {
        sleep(word, expected, until)
    }

    fn wait_at_gate<W: State>(
        &self,
        gate: &AtomicU32,
        _state: &W,
        _seen: (W::Seen, usize),
        until: Until,
    ) -> Woken {
        sleep(gate, WAITERS, until)
    }

    fn nap(&self, _times: u32, until: Until) {
        std::thread::sleep(until.left().map_or(AGAIN, |left| left.min(AGAIN)));
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        wake(word, most)
    }

    fn spins(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn crash_point(&self, name: &'static str) {
        crate::crash::reached(name);
    }
}

fn sleep(word: &AtomicU32, expected: u32, until: Until) -> Woken {
    let slice = until.left().map_or(AGAIN, |left| left.min(AGAIN));
    let timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
    match futex::wait(plain(word), futex::Flags::empty(), expected, Some(&timespec)) {
        Ok(()) => Woken::Given,
        Err(Errno::TIMEDOUT) if until.is_over() => Woken::TimedOut,
        Err(_) => Woken::Look,
    }
}

fn wake(word: &AtomicU32, most: u32) -> usize {
    futex::wake(plain(word), futex::Flags::empty(), most.min(i32::MAX as u32)).unwrap_or(0)
}

/// A word as those have it who know nothing of models (where it is another type, and nobody comes here).
pub(crate) fn plain(word: &AtomicU32) -> &std::sync::atomic::AtomicU32 {
    const { assert!(ipc_core::primitive::MODEL || size_of::<AtomicU32>() == 4) };
    // SAFETY: the same type in every build that runs this; borrowed as long.
    unsafe { &*ptr::from_ref(word).cast() }
}
