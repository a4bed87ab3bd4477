//! The calling thread's robust list: what the kernel looks at when a thread ends.
//!
//! A thread has one list ([set_robust_list(2)](https://man7.org/linux/man-pages/man2/set_robust_list.2.html)), and glibc has it already, for its
//! own robust mutexes. So ours join it, behind an *anchor*, an entry of this module's own, at the end of the list:
//!
//! ```text
//! head → glibc's … → anchor → ours, the newest first … → head
//! ```
//!
//! glibc enters its mutexes at the front, and so never between ours; what it writes when it takes one off (the link back of the next
//! entry) goes to the anchor at the farthest. So between anchor and head stands what this module has put there, and it keeps a
//! *mirror* of that in memory of its own (`lock/mirror.rs`), to which the anchor belongs: the entries lie in shared memory, and no pointer is followed
//! that only shared memory knows.
//!
//! | state of a thread | means | left by |
//! |---|---|---|
//! | none | it has not locked anything | [`Thread::current`]: finds glibc's head (or registers one), puts the anchor there |
//! | in the list | the mirror is what stands behind the anchor | the thread's end |
//! | leaving | its destructors run, in whatever order, and any of them may still lock and free | the thread's end |
//! | a fork's copy | the page of [`Incarnation`] is another | [`Thread::current`]: what its parent holds is not its own; as *none* |
//! | gone | the system has no such thread any more, so the kernel has marked what it held | another thread takes the record over |
//!
//! Records are never freed, so that the kernel, and [`holds_within`], can look at any of them at any time. And none is given back by its own thread: as long as that
//! runs any code at all it may take a lock.
//!
//! A signal handler may announce, wait and wake, for that saves and restores what was announced; it must not lock, as with any mutex.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, compiler_fence};

use ipc_core::primitive::process::Incarnation;

use crate::lock::mirror::Mirror;
use crate::lock::system::{Node, OWNER, WORD_OFFSET};

/// As many as the kernel looks at (`ROBUST_LIST_LIMIT`), less the anchor.
pub(crate) const MOST: usize = 2048 - 1;

/// `struct robust_list_head`.
#[repr(C)]
struct Head {
    next: AtomicUsize,
    offset: isize,
    pending: AtomicUsize,
}

impl Head {
    /// Its address as the end of the list.
    #[inline]
    fn entry(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    #[inline]
    fn announce(&'static self, node: &Node) -> Announced {
        let before = self.pending.load(Relaxed);
        self.pending.store(node.entry(), Relaxed);
        // The kernel looks at what this thread has done, in the order of its instructions: only the compiler must keep it.
        compiler_fence(SeqCst);
        Announced { head: self, before }
    }
}

/// For a record's thread: one that is about to enter has it. No thread has such a number (`PID_MAX_LIMIT` is 2²²).
const CLAIMED: u32 = u32::MAX;

/// What was announced before, and where: it is not asked for a second time.
pub(crate) struct Announced {
    head: &'static Head,
    before: usize,
}

/// What is kept of a thread; see the module's documentation. What every lock needs comes first, in as few cache lines as it fits in.
#[repr(C, align(64))]
pub(crate) struct Thread {
    /// The number of the process's.
    incarnation: AtomicU64,
    head: AtomicPtr<Head>,
    /// The thread; 0: the record is free; [`CLAIMED`]. Above these 32 bits, how often the record was claimed: a number may come again.
    number: AtomicU64,
    process: AtomicU32,
    /// Its destructors run, or may have run: whether it is gone is worth a question.
    leaving: AtomicBool,
    held: Mirror<{ MOST - 1 }>,
    /// For a thread that had none.
    own: Head,
    next: AtomicPtr<Thread>,
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoList {
    /// The kernel, or a sandbox, refuses to tell.
    Refused(i32),
    /// The C library's mutexes have another layout: from entry to word it is so far.
    Offset(i32),
}

/// All records there are.
static ALL: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static CURRENT: Cell<*const Thread> = const { Cell::new(ptr::null()) };
    static END: End = const { End };
}

/// Says that the thread is about to end.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        if let Some(thread) = Thread::known() {
            thread.leaving.store(true, Release);
        }
    }
}

impl Thread {
    /// The calling thread's record.
    #[inline]
    pub(crate) fn current() -> Result<&'static Thread, NoList> {
        Thread::known().map_or_else(Thread::enter, Ok)
    }

    /// The calling thread's record, if it has one already.
    #[inline]
    pub(crate) fn known() -> Option<&'static Thread> {
        // SAFETY: records are never freed, and `CURRENT` holds nothing else.
        unsafe { CURRENT.get().as_ref() }.filter(|thread| thread.is_current())
    }

    /// The same without a look whether it is a copy's: for what asks that itself.
    #[inline]
    pub(crate) fn last() -> Option<&'static Thread> {
        // SAFETY: as in `known`.
        unsafe { CURRENT.get().as_ref() }
    }

    /// Whether it is this process's, and not copied from the one that was forked. Asked by any thread that has read its number: that is stored after it.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        Incarnation::of_number(self.incarnation.load(Relaxed)).is_this()
    }

    #[cold]
    fn enter() -> Result<&'static Thread, NoList> {
        let (mut head, mut size) = (ptr::null_mut::<Head>(), 0usize);
        // SAFETY: the kernel writes an address and a size to two locals.
        if unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) } != 0 {
            return Err(NoList::Refused(errno()));
        }
        let thread = Thread::claim();
        if head.is_null() {
            head = ptr::from_ref(&thread.own).cast_mut();
            thread.own.next.store(head as usize, Relaxed);
            thread.own.pending.store(0, Relaxed);
            // SAFETY: the head is part of a record, which is never freed.
            if unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) } != 0 {
                thread.set_number(0);
                return Err(NoList::Refused(errno()));
            }
        }
        // SAFETY: the head that the kernel has for this thread, registered above or by the C library, which keeps it as
        // long as the thread lives.
        let offset = unsafe { (*head).offset };
        if offset != WORD_OFFSET {
            thread.set_number(0);
            return Err(NoList::Offset(offset.try_into().unwrap_or(i32::MAX)));
        }
        thread.head.store(head, Relaxed);
        // Whatever its last thread held, or the parent of a copy: before it says whose it is.
        thread.held.empty(head as usize);
        thread.process.store(std::process::id(), Release);
        thread.incarnation.store(Incarnation::this().number(), Release);
        // SAFETY: gettid cannot fail, and takes nothing.
        thread.set_number(unsafe { libc::gettid() } as u32);
        thread.join();
        CURRENT.set(thread);
        // A thread that comes here first in its last destructors is leaving already.
        thread.leaving.store(END.try_with(|_| ()).is_err(), Release);
        Ok(thread)
    }

    /// A free record, or one of a thread that is gone, or a new one; [`CLAIMED`] by the caller.
    fn claim() -> &'static Thread {
        let mut at = ALL.load(Acquire);
        while !at.is_null() {
            // SAFETY: records are never freed.
            let thread = unsafe { &*at };
            let word = thread.number.load(Acquire);
            let claimed = ((word >> 32) + 1) << 32 | u64::from(CLAIMED);
            if (word as u32 == 0 || thread.is_gone(word as u32))
                && thread.number.compare_exchange(word, claimed, Acquire, Relaxed).is_ok()
            {
                return thread;
            }
            at = thread.next.load(Acquire);
        }
        let fresh = Box::leak(Box::new(Thread {
            head: AtomicPtr::new(ptr::null_mut()),
            held: Mirror::new(),
            number: AtomicU64::new(CLAIMED.into()),
            process: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
            incarnation: AtomicU64::new(0),
            own: Head { next: AtomicUsize::new(0), offset: WORD_OFFSET, pending: AtomicUsize::new(0) },
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let mut first = ALL.load(Acquire);
        loop {
            fresh.next.store(first, Relaxed);
            match ALL.compare_exchange(first, fresh, Release, Acquire) {
                Ok(_) => return fresh,
                Err(now) => first = now,
            }
        }
    }

    fn set_number(&self, number: u32) {
        let claims = self.number.load(Relaxed) >> 32 << 32;
        self.number.store(claims | u64::from(number), Release);
    }

    /// Whether the thread of this number, whose record it is, is none of this process, or has ended, the kernel's look at its list included.
    fn is_gone(&self, number: u32) -> bool {
        if number == CLAIMED {
            return false;
        }
        if !self.is_current() {
            return true;
        }
        // SAFETY: takes numbers, and sends nothing (signal 0).
        let is_there = || unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), number, 0) };
        self.leaving.load(Acquire) && is_there() == -1 && errno() == libc::ESRCH
    }

    #[inline]
    fn head(&self) -> &'static Head {
        // SAFETY: set by `enter` to the thread's head, which is there as long as the thread is; no other asks for it.
        unsafe { &*self.head.load(Relaxed) }
    }

    /// Puts the anchor at the end of the list.
    fn join(&self) {
        let head = ptr::from_ref(self.head()) as usize;
        let anchor = self.held.anchor().entry();
        let mut last = head;
        for _ in 0..=2 * MOST {
            let next = next_of(last) & !1;
            if next == anchor {
                // A copy by clone, where the C library has not emptied the list.
                return;
            }
            if next == head {
                break;
            }
            last = next;
        }
        self.held.anchor().prev.store(last, Relaxed);
        compiler_fence(SeqCst);
        set_next(last, anchor);
    }

    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Relaxed) as u32
    }

    #[inline]
    pub(crate) fn process(&self) -> u32 {
        self.process.load(Relaxed)
    }

    /// Announces a node, [unless](is_over) what is announced already must stay so; gives what was announced before.
    #[inline]
    pub(crate) fn announce(&self, node: &Node) -> Announced {
        let head = self.head();
        let before = head.pending.load(Relaxed);
        if before != 0 && !is_over(before, self.number()) {
            return Announced { head, before };
        }
        head.announce(node)
    }

    #[inline]
    pub(crate) fn retract(&self, announced: Announced) {
        compiler_fence(SeqCst);
        announced.head.pending.store(announced.before, Relaxed);
    }

    /// For who is about to be killed by a test: takes its announcement back, unless it has that word, as kernels before 6.2 would not look at it.
    #[cfg(feature = "crash-points")]
    pub(crate) fn pass_nothing_on(&self) {
        let pending = self.head().pending.load(Relaxed);
        if pending == 0 {
            return;
        }
        let word = pending.wrapping_add_signed(WORD_OFFSET) as *const AtomicU32;
        // SAFETY: what this thread has announced is a node, and mapped.
        if unsafe { (*word).load(Relaxed) } & OWNER != self.number() {
            self.head().pending.store(0, Relaxed);
        }
    }

    /// Announces a node if the thread holds nothing, glibc's mutexes included.
    #[inline]
    pub(crate) fn announce_first(&self, node: &Node) -> Option<Announced> {
        let head = self.head();
        let none = self.is_current()
            && self.held.newest() == head.entry()
            && head.next.load(Relaxed) == self.held.anchor().entry();
        none.then(|| head.announce(node))
    }

    /// Announces a node if it is the only lock that the thread holds.
    #[inline]
    pub(crate) fn announce_only(&self, node: &Node) -> Option<Announced> {
        (self.is_current() && self.held.holds_only(node.entry())).then(|| self.head().announce(node))
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        let alone = self.head().next.load(Relaxed) == self.held.anchor().entry();
        let others = if alone { 0 } else { self.of_others() };
        self.held.len(self.end()) + others < MOST
    }

    /// How many stand before the anchor: there is no telling how many glibc has put there since.
    #[cold]
    fn of_others(&self) -> usize {
        let (head, anchor) = (ptr::from_ref(self.head()) as usize, self.held.anchor().entry());
        let mut at = next_of(head) & !1;
        let mut count = 0;
        while at != anchor && at != head && count < MOST {
            at = next_of(at) & !1;
            count += 1;
        }
        count
    }

    #[inline]
    pub(crate) fn link(&self, node: &Node) {
        self.held.put(node.entry(), self.end(), |behind| node.point_at(behind));
    }

    /// The same of the first one.
    #[inline]
    pub(crate) fn link_first(&self, node: &Node, announced: &Announced) {
        node.point_at(announced.head.entry());
        self.held.put_first(node.entry());
    }

    /// Takes a node off the list; `false`: its link was not what it should be, and the list is mended.
    #[inline]
    pub(crate) fn unlink(&self, node: &Node) -> bool {
        if self.held.newest() != node.entry() {
            return self.unlink_older(node.entry());
        }
        let behind = self.held.take_newest(self.end());
        node.points_at(behind)
    }

    /// The same for the only one.
    #[inline]
    pub(crate) fn unlink_only(&self, node: &Node, announced: &Announced) -> bool {
        let end = announced.head.entry();
        self.held.take_only(end);
        node.points_at(end)
    }

    /// The same for one that is not the newest.
    #[cold]
    fn unlink_older(&self, entry: usize) -> bool {
        let mut whole = true;
        self.held.take_older(entry, self.end(), |newer, behind| {
            whole = next_of(entry) == behind;
            // The newer one is held, so its memory is mapped (`holds_within`).
            set_next(newer, behind);
            compiler_fence(SeqCst);
        });
        whole
    }

    #[inline]
    pub(crate) fn holds(&self, node: &Node) -> bool {
        self.held.holds(node.entry()) && self.is_current()
    }

    /// What stands behind the oldest: the head.
    #[inline]
    fn end(&self) -> usize {
        self.head.load(Relaxed) as usize
    }
}

/// The number of the [`Incarnation`] of which the calling thread has a record: of this process, where it has just taken a lock.
#[inline(always)]
pub(crate) fn process_of_thread() -> u64 {
    Thread::last().map_or(0, |thread| thread.incarnation.load(Relaxed))
}

/// Whether a thread of this process holds a lock that lies within these addresses: then they must stay mapped, for the lock stands in
/// that thread's list.
pub(crate) fn holds_within(range: std::ops::Range<usize>) -> bool {
    let mut at = ALL.load(Acquire);
    while !at.is_null() {
        // SAFETY: records are never freed.
        let thread = unsafe { &*at };
        let number = thread.number.load(Acquire) as u32;
        let here = ![0, CLAIMED].contains(&number) && thread.is_current();
        if here && thread.held.holds_within(&range) && !thread.is_gone(number) {
            return true;
        }
        at = thread.next.load(Acquire);
    }
    false
}

impl Node {
    /// Its address as an entry of a list.
    #[inline]
    fn entry(&self) -> usize {
        ptr::from_ref(&self.next) as usize
    }

    /// Links it to what is to stand behind it, before it is in the list.
    #[inline]
    fn point_at(&self, behind: usize) {
        self.next.store(behind, Relaxed);
        compiler_fence(SeqCst);
    }

    /// Whether it is linked to that still, when it is off the list.
    #[inline]
    fn points_at(&self, behind: usize) -> bool {
        compiler_fence(SeqCst);
        self.next.load(Relaxed) == behind
    }
}

/// Whether something else may be announced over what this thread, `me`, has announced. The kernel looks at one announcement only, and the thread may be killed before the
/// second is retracted.
///
/// | what is announced | |
/// |---|---|
/// | a lock that this thread has, and perhaps not in its list: a signal's handler has interrupted it | it stays, or the lock would be nobody's for ever |
/// | a gate, or a lock that this thread has not | one who sleeps there is woken now, as the kernel would; who is woken for no reason looks, and sleeps again |
/// | nothing that is mapped: glibc leaves a robust mutex announced when the time of who waited for it was over, whatever becomes of it | |
///
/// In a signal handler, too.
#[cold]
pub fn is_over(entry: usize, me: u32) -> bool {
    let word = entry.wrapping_add_signed(WORD_OFFSET);
    if peek(word).is_some_and(|word| word & OWNER == me) {
        return false;
    }
    super::kernel::wake(word as *const u32, 1);
    true
}

/// The word at an address, if something is mapped there.
fn peek(address: usize) -> Option<u32> {
    let mut word = 0_u32;
    let local = libc::iovec { iov_base: ptr::from_mut(&mut word).cast(), iov_len: size_of::<u32>() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: size_of::<u32>() };
    let me = std::process::id() as libc::pid_t;
    // SAFETY: the kernel writes four bytes to a local, and where it cannot read them, nothing.
    let read = unsafe { libc::process_vm_readv(me, &raw const local, 1, &raw const remote, 1, 0) };
    (read == size_of::<u32>() as isize).then_some(word)
}

/// The link of an entry.
fn next_of(entry: usize) -> usize {
    // SAFETY: an entry of this thread's list: the head, the anchor, a mutex of glibc that it holds, or a lock of ours that the mirror has.
    unsafe { (*(entry as *const AtomicUsize)).load(Relaxed) }
}

fn set_next(entry: usize, next: usize) {
    // SAFETY: as above; the lowest bit, which glibc uses for mutexes of another kind, is that of the entry pointed at, and ours have none.
    unsafe { (*(entry as *const AtomicUsize)).store(next, Relaxed) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use ipc_core::primitive::time::Until;

    use super::*;
    use crate::Value;
    use crate::lock::word::{self, Refused, Taken};

    #[test]
    fn a_copy_holds_takes_and_frees_nothing() {
        let thread = Thread::current().unwrap();
        let (held, free) = (Node::new(), Node::new());
        let take = |node| word::take(thread, node, Until::Now);
        assert_eq!(take(&held), Ok(Taken::Whole));
        // SAFETY: the copy looks at locks, and leaves by `_exit`.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            let word = held.word.load(Relaxed);
            word::free(thread, &held);
            word::hand_on(thread, &held);
            word::repaired(thread, &held);
            let nothing = !thread.holds(&held) && held.word.load(Relaxed) == word && word != 0;
            let refused = take(&free) == Err(Refused::Copied) && free.word.load(Relaxed) == 0;
            // SAFETY: ends the copy, and nothing else.
            unsafe { libc::_exit(i32::from(!nothing) + 2 * i32::from(!refused)) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above; the status is a local.
        assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
        assert_eq!(status, 0);
        assert!(word::free(thread, &held) && held.word.load(Relaxed) == 0);
    }

    fn records() -> usize {
        let mut at = ALL.load(Acquire);
        let mut count = 0;
        while !at.is_null() {
            // SAFETY: records are never freed.
            at = unsafe { &*at }.next.load(Acquire);
            count += 1;
        }
        count
    }

    /// Comes back in the thread's last destructors.
    struct Late;

    impl Drop for Late {
        fn drop(&mut self) {
            assert!(Thread::current().is_ok());
        }
    }

    thread_local! {
        static LATE: Late = const { Late };
    }

    #[test]
    fn the_records_of_threads_that_are_gone_are_taken_over() {
        const THREADS: usize = 300;
        let before = records();
        for turn in 0..THREADS {
            let thread = std::thread::spawn(move || {
                LATE.with(|_| ());
                // Every third holds something to its end, and every other comes here in its destructors only.
                if turn % 3 == 0 {
                    let value: &'static Value<u64> = Box::leak(Box::new(Value::new(0).unwrap()));
                    std::mem::forget(value.lock().unwrap());
                } else if turn % 3 == 1 {
                    Thread::current().unwrap();
                }
            });
            thread.join().unwrap();
        }
        // Other tests have threads, too, and what is joined may be there for a moment.
        let more = records() - before;
        assert!(more < THREADS / 4, "{more} new ones");
    }
}
