//! The real [`System`]: futexes, and the calling thread's robust list.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::time::Until;

use super::robust_list::{Announced, Thread};
use crate::gate::State;
use crate::lock::system::{Node, System, WAITERS, Woken};

/// How often a taker looks before it sleeps: with the pauses between (`lock/word.rs`) it is about as long as falling asleep and being woken.
const SPINS: u32 = 5;

/// Where the kernel does not pass a dead thread's wake-up on, each sleeper looks again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Half of the shortest [nap](System::nap); the longest is 100 ms.
const SHORTEST: Duration = Duration::from_micros(50);

// SAFETY: the number is gettid's, and the record this thread's as long as it runs; in a forked copy of it nothing is held or taken (`is_own`).
unsafe impl System for Thread {
    type Announced = Announced;

    #[inline]
    fn thread(&self) -> u32 {
        self.number()
    }

    #[inline]
    fn process(&self) -> u32 {
        self.process()
    }

    #[inline]
    fn announce(&self, node: &Node) -> Announced {
        self.announce(node)
    }

    #[inline]
    fn retract(&self, before: Announced) {
        self.retract(before);
    }

    #[inline]
    fn is_own(&self) -> bool {
        self.is_current()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.has_room()
    }

    #[inline]
    fn announce_first(&self, node: &Node) -> Option<Announced> {
        self.announce_first(node)
    }

    #[inline]
    fn announce_only(&self, node: &Node) -> Option<Announced> {
        self.announce_only(node)
    }

    #[inline]
    fn link(&self, node: &Node) {
        self.link(node);
    }

    #[inline]
    fn link_first(&self, node: &Node, announced: &Announced) {
        self.link_first(node, announced);
    }

    #[inline]
    fn unlink(&self, node: &Node) -> bool {
        self.unlink(node)
    }

    #[inline]
    fn unlink_only(&self, node: &Node, announced: &Announced) -> bool {
        self.unlink_only(node, announced)
    }

    #[inline]
    fn holds(&self, node: &Node) -> bool {
        self.holds(node)
    }

    fn wait(&self, word: &AtomicU32, expected: u32, until: Until) -> Woken {
        sleep(word, expected, until)
    }

    fn wait_at_gate<W: State>(
        &self,
        gate: &AtomicU32,
        state: &W,
        (seen, words): (W::Seen, usize),
        until: Until,
    ) -> Woken {
        if !baton() {
            return sleep(gate, WAITERS, until);
        }
        let left = until.left();
        if left == Some(Duration::ZERO) {
            return Woken::TimedOut;
        }
        let values = W::words(seen);
        let word = |at: usize| Waitv::of(state.address().wrapping_add(at), values[at]);
        let list = [Waitv::of(ptr::from_ref(gate).cast(), WAITERS), word(0), word(1)];
        match wait_all(&list[..=words.min(W::WORDS)], left) {
            Ok(()) => Woken::Given,
            Err(libc::ETIMEDOUT) => Woken::TimedOut,
            Err(_) => Woken::Look,
        }
    }

    fn nap(&self, times: u32, until: Until) {
        nap(times, until);
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        wake(ptr::from_ref(word).cast(), most)
    }

    #[inline]
    fn spins(&self) -> u32 {
        SPINS
    }

    #[inline(always)]
    fn crash_point(&self, name: &'static str) {
        crate::crash::reached(name);
    }
}

pub(crate) fn nap(times: u32, until: Until) {
    let time = SHORTEST * (1 << times.min(11));
    std::thread::sleep(until.left().map_or(time, |left| left.min(time)));
}

pub(crate) fn wake(word: *const u32, most: u32) -> usize {
    // SAFETY: the kernel compares the address with those of who waits, and touches nothing; where nothing is mapped, it says so (EFAULT).
    let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, most.min(i32::MAX as u32)) };
    usize::try_from(woken).unwrap_or(0)
}

fn sleep(word: &AtomicU32, expected: u32, until: Until) -> Woken {
    sleep_at_most(word, expected, until, (!baton()).then_some(AGAIN))
}

/// Sleeps, and ends it after 100 ms.
pub(crate) fn sleep_in_slices(word: &AtomicU32, expected: u32, until: Until) -> Woken {
    sleep_at_most(word, expected, until, Some(AGAIN))
}

fn sleep_at_most(word: &AtomicU32, expected: u32, until: Until, again: Option<Duration>) -> Woken {
    let left = until.left();
    if left == Some(Duration::ZERO) {
        return Woken::TimedOut;
    }
    let slice = [left, again].into_iter().flatten().min();
    match wait(word, expected, slice) {
        None => Woken::Given,
        Some(libc::ETIMEDOUT) if until.left() == Some(Duration::ZERO) => Woken::TimedOut,
        _ => Woken::Look,
    }
}

/// `struct futex_waitv`.
#[repr(C)]
struct Waitv {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32`; shared.
const SIZE_U32: u32 = 2;

impl Waitv {
    fn of(word: *const u32, expected: u32) -> Waitv {
        Waitv { value: expected.into(), address: word as u64, flags: SIZE_U32, reserved: 0 }
    }
}

/// futex_waitv: queues at the words one after the other, as long as each is as expected, and sleeps if all were. An error's number if
/// it was not woken.
fn wait_all(list: &[Waitv], left: Option<Duration>) -> Result<(), i32> {
    // It takes a time of the clock, not a length.
    let end = left.and_then(|left| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
        let end = now.checked_add(left)?;
        let tv_sec = end.as_secs().try_into().ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: end.subsec_nanos().into() })
    });
    let end: *const libc::timespec = end.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: list and time are there as long as the call; where there is no word, the kernel says so (EFAULT).
    let woken = unsafe {
        libc::syscall(libc::SYS_futex_waitv, list.as_ptr(), list.len(), 0, end, libc::CLOCK_MONOTONIC)
    };
    if woken >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// FUTEX_WAIT of [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html), on a word that processes share; an error's number if it
/// was not woken.
fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Option<i32> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout: *const libc::timespec = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is there as long as it is borrowed, and the time as long as the call.
    let woken =
        unsafe { libc::syscall(libc::SYS_futex, ptr::from_ref(word), libc::FUTEX_WAIT, expected, timeout) };
    if woken == 0 { None } else { io::Error::last_os_error().raw_os_error() }
}

/// Whether the kernel has all that a gate needs: `futex_waitv` (5.16), and when a thread ends that has announced a word without
/// owner, it wakes one who sleeps on it, also where the word is not wholly zero (about 6.2). Tried once, with a thread that ends so.
pub(crate) fn baton() -> bool {
    // Not a `OnceLock`: a copy that was forked while another thread tried would wait for that thread, which it has no copy of.
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const THERE: u8 = 1;
    const MISSING: u8 = 2;
    match KNOWN.load(Relaxed) {
        UNKNOWN => {
            let there = !crate::switch::is_off("baton") && has_waitv() && try_baton().unwrap_or(false);
            KNOWN.store(if there { THERE } else { MISSING }, Relaxed);
            there
        }
        known => known == THERE,
    }
}

fn has_waitv() -> bool {
    let word = AtomicU32::new(0);
    let list = [(); 2].map(|()| Waitv::of(ptr::from_ref(&word).cast(), 1));
    // Neither is as expected, so whoever has the call says so.
    wait_all(&list, Some(Duration::ZERO)) == Err(libc::EAGAIN)
}

fn try_baton() -> Option<bool> {
    // Not on the stack: the kernel looks at it when a thread has ended. By the time that is joined, it has: it wakes who joins afterwards
    // (`exit_mm_release` in kernel/fork.c).
    let gate = Arc::new(Node::new());
    gate.word.store(WAITERS, std::sync::atomic::Ordering::SeqCst);
    let (send, asleep) = std::sync::mpsc::channel();
    let slept_on = gate.clone();
    let sleeper = std::thread::Builder::new()
        .name("ipc-shm-probe".into())
        .spawn(move || {
            let _ = send.send(());
            wait(&slept_on.word, WAITERS, Some(Duration::from_millis(200))).is_none()
        })
        .ok()?;
    asleep.recv().ok()?;
    // Threads end with the announcement standing until one has found the sleeper asleep, or it has given up.
    while !sleeper.is_finished() {
        let announced = gate.clone();
        let dying = std::thread::Builder::new().name("ipc-shm-probe".into()).spawn(move || {
            if let Ok(thread) = Thread::current() {
                thread.announce(&announced);
            }
        });
        let _ = dying.ok()?.join();
        std::thread::yield_now();
    }
    sleeper.join().ok()
}
