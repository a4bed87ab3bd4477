//! Atomics that processes share: what they do, whom they wake, and what becomes of those who wait when others die.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::time::{Duration, Instant};

use ipc_core::{Builder, Child, Context, Signal};
use ipc_shm::modelled::scribble;
use ipc_shm::{Arena, Atomic, AtomicPrimitive, Error, Segment, Value};
use ipc_testkit::{GENEROUS, leaks, wait_until};

/// Start methods that make processes afresh.
fn contexts() -> [Context; 2] {
    [Context::exec(), Context::fork_server()]
}

/// Whether a process sleeps on a word.
fn sleeps(pid: u32) -> bool {
    let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    wchan.contains("futex")
}

fn all_sleep<R: ipc_core::Message>(children: &[Child<R>]) {
    assert!(wait_until(GENEROUS, || children.iter().all(|child| sleeps(child.pid()))));
}

/// Everything that one type's atomic does, once: what it gives, and what it is afterwards.
macro_rules! walk {
    ($($type:ident)*) => {$({
        let atomic = Atomic::<$type>::new(5).unwrap();
        let is = |expected: $type| assert_eq!(atomic.load(SeqCst), expected);
        is(5);
        atomic.store(6, Release);
        assert_eq!(atomic.swap(7, SeqCst), 6);
        assert_eq!(atomic.compare_exchange(7, 8, SeqCst, Relaxed), Ok(7));
        assert_eq!(atomic.compare_exchange(7, 9, SeqCst, Relaxed), Err(8));
        while atomic.compare_exchange_weak(8, 9, SeqCst, Acquire).is_err() {}
        is(9);
        assert_eq!(atomic.fetch_update(SeqCst, Relaxed, |n| n.checked_add(1)), Ok(9));
        assert_eq!(atomic.fetch_update(SeqCst, Relaxed, |_| None), Err(10));
        assert_eq!(atomic.fetch_and(6, SeqCst), 10);
        assert_eq!(atomic.fetch_or(9, SeqCst), 2);
        assert_eq!(atomic.fetch_xor(3, SeqCst), 11);
        assert_eq!(atomic.fetch_nand(12, SeqCst), 8);
        is(!8);
        atomic.store($type::MAX, Relaxed);
        assert_eq!(atomic.fetch_add(2, SeqCst), $type::MAX);
        is($type::MIN + 1);
        assert_eq!(atomic.fetch_sub(2, SeqCst), $type::MIN + 1);
        assert_eq!(atomic.fetch_min(3, SeqCst), $type::MAX);
        assert_eq!(atomic.fetch_max(4, SeqCst), 3);
        is(4);
        assert_eq!(format!("{atomic:?}"), "Atomic(4)");
    })*};
}

#[test]
fn operations_are_those_of_std() {
    let _leaks = leaks();
    walk!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);
    let flag = Atomic::new(false).unwrap();
    assert!(!flag.swap(true, SeqCst) && flag.load(SeqCst));
    assert_eq!(flag.compare_exchange(false, true, SeqCst, SeqCst), Err(true));
    assert_eq!(flag.compare_exchange_weak(false, true, SeqCst, SeqCst), Err(true));
    assert!(flag.fetch_and(true, SeqCst) && flag.fetch_nand(true, SeqCst));
    assert!(!flag.fetch_nand(false, SeqCst) && flag.fetch_xor(true, SeqCst));
    assert!(!flag.fetch_or(true, SeqCst) && flag.fetch_not(SeqCst));
    assert_eq!(flag.fetch_update(SeqCst, SeqCst, |is| Some(!is)), Ok(false));
    flag.store(false, SeqCst);
    assert_eq!(format!("{flag:?}"), "Atomic(false)");
}

/// A child sleeps as long as it is `before`; `change` makes it `after`.
fn wakes<T>(builder: Builder, before: T, after: T, change: impl Fn(&Atomic<T>))
where
    T: AtomicPrimitive + ipc_core::Message,
{
    let atomic = Atomic::new(before).unwrap();
    let wait = |atomic: Atomic<T>, before: T| atomic.wait(before);
    let child = builder.spawn(wait, (atomic.clone(), before)).unwrap();
    all_sleep(std::slice::from_ref(&child));
    change(&atomic);
    assert_eq!(child.join().unwrap(), after);
}

/// Also where the one half of a wide one, or a byte of a narrow one, is all that changes.
#[test]
fn a_change_of_any_width_wakes_who_waits_elsewhere() {
    let _leaks = leaks();
    for context in contexts() {
        wakes(context.builder(), -1_i8, 1, |atomic| atomic.store(1, Relaxed));
        wakes(context.builder(), 200_u8, 0, |atomic| assert_eq!(atomic.fetch_add(56, Relaxed), 200));
        wakes(context.builder(), -1_i16, -257, |atomic| assert_eq!(atomic.fetch_sub(256, Relaxed), -1));
        wakes(context.builder(), 1_u16, 0x101, |atomic| assert_eq!(atomic.fetch_or(0x100, Relaxed), 1));
        wakes(context.builder(), -3_i32, 4, |atomic| assert_eq!(atomic.fetch_max(4, Relaxed), -3));
        wakes(context.builder(), 3_u32, 2, |atomic| assert_eq!(atomic.fetch_min(2, Relaxed), 3));
        wakes(context.builder(), 7_i64, 7 + (1 << 32), |atomic| {
            assert_eq!(atomic.fetch_add(1 << 32, Relaxed), 7)
        });
        wakes(context.builder(), 1_u64 << 40, (1 << 40) + 1, |atomic| {
            assert_eq!(atomic.swap((1 << 40) + 1, Relaxed), 1 << 40)
        });
        wakes(context.builder(), 1_usize, 0, |atomic| assert_eq!(atomic.fetch_xor(1, Relaxed), 1));
        wakes(context.builder(), 1_isize, !1, |atomic| assert_eq!(atomic.fetch_nand(1, Relaxed), 1));
        wakes(context.builder(), 3_u8, 1, |atomic| assert_eq!(atomic.fetch_and(1, Relaxed), 3));
        wakes(context.builder(), false, true, |atomic| assert!(!atomic.fetch_not(Relaxed)));
        wakes(context.builder(), 1_u32, 2, |atomic| {
            assert_eq!(atomic.compare_exchange(1, 2, SeqCst, Relaxed), Ok(1))
        });
        wakes(context.builder(), 1_u32, 2, |atomic| {
            assert_eq!(atomic.fetch_update(SeqCst, Relaxed, |n| Some(n + 1)), Ok(1));
        });
    }
}

#[test]
fn what_is_there_already_is_not_waited_for() {
    let _leaks = leaks();
    let atomic = Atomic::new(1_u64).unwrap();
    assert_eq!(atomic.wait(2), 1);
    assert_eq!(atomic.wait_timeout(2, Duration::ZERO), Some(1));
    assert_eq!(atomic.wait_timeout(1, Duration::ZERO), None);
    assert_eq!(atomic.wait_timeout(1, Duration::from_millis(2)), None);
    assert_eq!(atomic.wait_deadline(1, Instant::now()), None);
    assert_eq!(atomic.wait_deadline(1, Instant::now() + Duration::from_millis(2)), None);
    assert_eq!(atomic.wait_deadline(0, Instant::now() + GENEROUS), Some(1));
    atomic.store(3, Relaxed);
    assert_eq!(atomic.wait_timeout(1, GENEROUS), Some(3));
}

/// Many wait at once, for different values; one change wakes them all.
#[test]
fn all_who_wait_are_woken() {
    let _leaks = leaks();
    let atomic = Atomic::new(0_u16).unwrap();
    let wait = |atomic: Atomic<u16>, value: u16| {
        let mut seen = atomic.wait(value);
        while seen < 2 {
            seen = atomic.wait(seen);
        }
        seen
    };
    let children: Vec<Child<u16>> =
        (0..6).map(|_| contexts()[1].spawn(wait, (atomic.clone(), 0)).unwrap()).collect();
    all_sleep(&children);
    atomic.store(1, Release);
    atomic.store(2, Release);
    children.into_iter().for_each(|child| assert_eq!(child.join().unwrap(), 2));
}

/// Two processes hand a number to and fro, and only ever sleep.
#[test]
fn to_and_fro() {
    let _leaks = leaks();
    const ROUNDS: i64 = 2_000;
    fn turn(number: &Atomic<i64>, odd: i64) {
        let mut seen = number.load(SeqCst);
        while seen < ROUNDS {
            if seen % 2 == odd {
                // In the upper half every other time.
                number.fetch_add(1, SeqCst);
            }
            seen = number.load(SeqCst);
            if seen % 2 != odd && seen < ROUNDS {
                seen = number.wait(seen);
            }
        }
    }
    for context in contexts() {
        let number = Atomic::new(0_i64).unwrap();
        let theirs = |number: Atomic<i64>| turn(&number, 1);
        let child = context.spawn(theirs, (number.clone(),)).unwrap();
        turn(&number, 0);
        child.join().unwrap();
        assert_eq!(number.load(SeqCst), ROUNDS);
    }
}

#[test]
fn children_add_without_losing_one() {
    let _leaks = leaks();
    for context in contexts() {
        let (count, high) = (Atomic::new(0_u32).unwrap(), Atomic::new(0_i8).unwrap());
        let add = |count: Atomic<u32>, high: Atomic<i8>| {
            for _ in 0..20_000 {
                count.fetch_add(1, Relaxed);
                high.fetch_max((count.load(Relaxed) / 1_000) as i8, Relaxed);
            }
        };
        let children = [(); 3].map(|()| context.spawn(add, (count.clone(), high.clone())).unwrap());
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!((count.load(Relaxed), high.load(Relaxed)), (60_000, 60));
    }
}

/// Who waits is killed: the others are woken all the same.
#[test]
fn a_killed_waiter_is_no_harm() {
    let _leaks = leaks();
    for context in contexts() {
        let atomic = Atomic::new(0_u8).unwrap();
        let wait = |atomic: Atomic<u8>| atomic.wait(0);
        let mut children: Vec<_> = (0..4).map(|_| context.spawn(wait, (atomic.clone(),)).unwrap()).collect();
        all_sleep(&children);
        let victim = children.remove(0);
        victim.kill().unwrap();
        assert_eq!(victim.join().unwrap_err().signal(), Some(Signal::KILL));
        atomic.store(9, Relaxed);
        children.into_iter().for_each(|child| assert_eq!(child.join().unwrap(), 9));
    }
}

/// As before Linux 6.2: who sleeps looks again.
#[test]
fn on_an_older_kernel() {
    let _leaks = leaks();
    let builder = || Context::exec().builder().env("IPC_SHM_WITHOUT", "baton");
    wakes(builder(), 1_u64 << 40, 0, |atomic| atomic.store(0, Relaxed));
    // Written past the atomic, so that nobody is woken.
    wakes(builder(), 7_u8, 8, |atomic| write(atomic.segment(), &[8]));
}

/// Where a cell stands in a segment of its own.
const CELL: usize = 104;

fn write(segment: &Segment, bytes: &[u8]) {
    scribble(segment, CELL, bytes).unwrap();
}

/// What another process writes beside a small value keeps nobody from being woken, and what is no `bool` is one.
#[test]
fn bytes_that_stand_beside_it() {
    let _leaks = leaks();
    let (small, flag) = (Atomic::new(1_u8).unwrap(), Atomic::new(false).unwrap());
    write(small.segment(), &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(small.wait_timeout(1, Duration::from_millis(20)), None);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| small.wait(1));
        small.fetch_add(1, Relaxed);
        assert_eq!(waiter.join().unwrap(), 2);
    });
    write(flag.segment(), &[0xf0]);
    assert!(flag.load(Relaxed) && flag.fetch_or(false, Relaxed));
    assert_eq!(flag.wait_timeout(true, Duration::from_millis(20)), None);
    // The gate's word and the rest of its node, in any state.
    for bytes in [[0xff_u8; 40], [0x80; 40], [0; 40], [1; 40]] {
        scribble(small.segment(), 64, &bytes).unwrap();
        assert_eq!(small.wait_timeout(2, Duration::from_millis(2)), None);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| small.wait(2));
            small.store(3, Relaxed);
            assert_eq!(waiter.join().unwrap(), 3);
        });
        small.store(2, Relaxed);
    }
}

/// What was received is what it says it is, or an error.
#[test]
fn another_type_is_an_error() {
    let _leaks = leaks();
    let atomic = Atomic::new(1_u8).unwrap();
    let segment = || atomic.segment().clone();
    let refused = |error: Error, word: &str| {
        assert!(matches!(error, Error::NotASegment { .. }) && error.to_string().contains(word), "{error}");
    };
    let same = Atomic::<u8>::try_from(segment()).unwrap();
    same.store(2, Relaxed);
    assert_eq!(atomic.load(Relaxed), 2);
    refused(Atomic::<i8>::try_from(segment()).unwrap_err(), "another type than i8");
    refused(Atomic::<bool>::try_from(segment()).unwrap_err(), "another type than bool");
    refused(Atomic::<u64>::try_from(segment()).unwrap_err(), "another type than u64");
    refused(Atomic::<u16>::try_from(segment()).unwrap_err(), "another type than u16");
    refused(Value::<u8>::try_from(segment()).unwrap_err(), "an Atomic, not a Value");
    let value = Value::new([0_u8; 8]).unwrap();
    refused(Atomic::<u8>::try_from(value.segment().clone()).unwrap_err(), "a Value, not an Atomic");
    // More than one.
    scribble(atomic.segment(), 24, &[2]).unwrap();
    refused(Atomic::<u8>::try_from(segment()).unwrap_err(), "more than one");
}

#[test]
fn many_in_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let atomics: Vec<Atomic<u32>> = (0..50).map(|n| Atomic::new_with(n, &arena).unwrap()).collect();
    let add = |atomics: Vec<Atomic<u32>>, stop: Atomic<bool>| {
        stop.wait(false);
        for atomic in &atomics {
            atomic.fetch_add(1, Relaxed);
        }
    };
    for context in contexts() {
        let stop = Atomic::new_with(false, &arena).unwrap();
        let child = context.spawn(add, (atomics.clone(), stop.clone())).unwrap();
        stop.store(true, Relaxed);
        child.join().unwrap();
    }
    let all: Vec<u32> = atomics.iter().map(|atomic| atomic.load(Relaxed)).collect();
    assert_eq!(all, (2..52).collect::<Vec<_>>());
}

/// What the calling thread has announced to the kernel.
fn announced() -> usize {
    let (mut head, mut len) = (std::ptr::null::<[usize; 3]>(), 0_usize);
    // SAFETY: the call writes an address and a number; the head is this thread's, its third word what is announced.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len), 0);
        (*head)[2]
    }
}

/// The announcement stayed, and when the thread ended the kernel wrote to whatever was mapped there by then.
#[test]
fn a_panic_amid_a_change_takes_the_announcement_back() {
    let atomic = Atomic::new(1_u32).unwrap();
    let before = announced();
    for change in [
        &(|| atomic.store(2, Acquire)) as &dyn Fn(),
        &|| assert!(atomic.compare_exchange(1, 2, AcqRel, Release).is_err()),
        &|| assert!(atomic.compare_exchange_weak(1, 2, AcqRel, AcqRel).is_err()),
    ] {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).unwrap_err();
        assert_eq!(announced(), before);
    }
    assert_eq!(atomic.load(Relaxed), 1);
}

/// A byte that is neither `false` nor `true` made this go on for ever.
#[test]
fn a_bool_that_is_neither_is_exchanged() {
    let atomic = Atomic::new(false).unwrap();
    scribble(atomic.segment(), CELL, &[2]).unwrap();
    assert!(atomic.load(Relaxed));
    assert_eq!(atomic.compare_exchange(true, false, AcqRel, Acquire), Ok(true));
    assert!(!atomic.load(Relaxed));
}

/// A copy that was forked while another thread tried out what the kernel has waited for that thread, which it had no copy of.
#[test]
fn a_copy_forked_amid_the_first_wait_keeps_its_time() {
    let program = || {
        let atomic = Atomic::new(1_u32).unwrap();
        let first = std::thread::spawn({
            let atomic = atomic.clone();
            move || atomic.wait_timeout(1, Duration::from_millis(50)).is_none()
        });
        for _ in 0..20 {
            // SAFETY: the copy waits for a word, and leaves without anything of this process's.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                let none = atomic.wait_timeout(1, Duration::from_millis(5)).is_none();
                // SAFETY: as above.
                unsafe { libc::_exit(if none { 0 } else { 1 }) };
            }
            let mut status = 0;
            let ended = wait_until(GENEROUS / 4, || {
                // SAFETY: a child of this process, and a number to write to.
                unsafe { libc::waitpid(copy, &mut status, libc::WNOHANG) == copy }
            });
            if !ended {
                // SAFETY: as above.
                unsafe { libc::kill(copy, libc::SIGKILL) };
            }
            assert!(ended && status == 0, "{status}");
        }
        assert!(first.join().unwrap());
    };
    ipc_core::Context::exec().spawn(program, ()).unwrap().join().unwrap();
}
