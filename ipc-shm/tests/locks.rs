//! Values, arrays and locks that processes share, and what becomes of them when an owner dies.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

use ipc_core::{Context, Descriptor, Signal};
use ipc_shm::modelled::scribble;
use ipc_shm::{Array, Error, Lock, LockError, RLock, Segment, Value};
use ipc_testkit::{GENEROUS, leaks, wait_until};

/// Start methods that make processes afresh.
fn contexts() -> [Context; 2] {
    [Context::exec(), Context::fork_server()]
}

/// A child's function: says that it has the lock and has done half of its work, then stays until it is killed.
fn die_with(value: Value<[u32; 2]>, ready: Descriptor) {
    let mut ready: PipeWriter = ready.into_inner();
    let mut guard = value.lock().unwrap();
    guard[0] += 1;
    ready.write_all(&[1]).unwrap();
    loop {
        std::thread::park();
    }
}

/// Kills a child that has the lock; gives its pid.
fn kill_an_owner(context: &Context, value: &Value<[u32; 2]>) -> u32 {
    let (mut reader, writer): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
    let child = context.spawn(die_with, (value.clone(), writer.into())).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    child.kill().unwrap();
    let pid = child.pid();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
    pid
}

#[test]
fn the_next_is_told_of_a_killed_owner() {
    let _leaks = leaks();
    for context in contexts() {
        let value = Value::new([0_u32, 0]).unwrap();
        for round in 0..20 {
            let pid = kill_an_owner(&context, &value);
            // Who cannot repair anything is told, and so is the next.
            assert!(matches!(value.get(), Err(Error::OwnerDied { pid: died }) if died == pid));
            assert!(matches!(value.set([9, 9]), Err(Error::OwnerDied { .. })));
            match value.lock() {
                Err(LockError::OwnerDied(died)) => {
                    assert_eq!((died.pid(), **died.get_ref()), (pid, [round + 1, round]));
                    let mut guard = died.recover();
                    guard[1] += 1;
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(value.get().unwrap(), [round + 1; 2]);
        }
    }
}

#[test]
fn whoever_comes_is_told_until_one_has_repaired_it() {
    let _leaks = leaks();
    let value = Value::new([0_u32, 0]).unwrap();
    let pid = kill_an_owner(&Context::exec(), &value);
    let told = || assert_eq!(value.lock().unwrap_err().pid(), Some(pid));
    told();
    // As people are used to look at errors.
    if let Ok(guard) = value.lock() {
        panic!("{guard:?}");
    }
    told();
    assert!(value.lock().ok().is_none() && value.lock().is_err());
    assert!(value.lock().map_err(|error| error.to_string()).unwrap_err().contains(&pid.to_string()));
    told();
    let question_mark = || -> Result<(), Box<dyn std::error::Error>> {
        value.lock()?[0] += 1;
        Ok(())
    };
    assert!(question_mark().unwrap_err().to_string().contains(&pid.to_string()));
    let question_mark = || -> ipc_shm::Result<()> {
        value.lock()?[0] += 1;
        Ok(())
    };
    assert!(matches!(question_mark(), Err(Error::OwnerDied { pid: died }) if died == pid));
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value.lock().unwrap())));
    panics.unwrap_err();
    told();
    let elsewhere = |value: Value<[u32; 2]>| value.try_lock().unwrap_err().pid();
    assert_eq!(Context::exec().spawn(elsewhere, (value.clone(),)).unwrap().join().unwrap(), Some(pid));
    assert_eq!(*value.lock().or_else(LockError::recover).unwrap(), [1, 0]);
    assert!(value.lock().is_ok());
}

#[test]
fn what_is_given_up_is_lost() {
    let _leaks = leaks();
    let value = Value::new([0_u32, 0]).unwrap();
    kill_an_owner(&Context::exec(), &value);
    let Err(LockError::OwnerDied(died)) = value.lock() else { panic!("nobody was told") };
    died.abandon();
    assert!(matches!(value.lock(), Err(LockError::Lost)));
    assert!(matches!(value.get(), Err(Error::Lost)));
    let elsewhere = |value: Value<[u32; 2]>| matches!(value.try_lock(), Err(LockError::Lost));
    assert!(Context::exec().spawn(elsewhere, (value.clone(),)).unwrap().join().unwrap());
}

/// Who waits in another process is woken by the death, and told.
#[test]
fn who_waits_is_woken_when_the_owner_is_killed() {
    let _leaks = leaks();
    for context in contexts() {
        let value = Value::new([0_u32, 0]).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let owner = context.spawn(die_with, (value.clone(), writer.into())).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        let wait = |value: Value<[u32; 2]>| match value.lock_timeout(GENEROUS) {
            Err(LockError::OwnerDied(died)) => {
                let pid = died.pid();
                drop(died.recover());
                Some(pid)
            }
            _ => None,
        };
        let waiters = [(); 3].map(|()| context.spawn(wait, (value.clone(),)).unwrap());
        let asleep = |pid: u32| {
            let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            wchan.contains("futex")
        };
        assert!(wait_until(GENEROUS, || waiters.iter().all(|waiter| asleep(waiter.pid()))));
        owner.kill().unwrap();
        let pid = owner.pid();
        let told: Vec<Option<u32>> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        // The first is told; the others find it repaired.
        assert_eq!(told.iter().flatten().collect::<Vec<_>>(), [&pid], "{told:?}");
        owner.join().unwrap_err();
    }
}

#[test]
fn a_panic_poisons_and_is_told_from_a_death() {
    let _leaks = leaks();
    let value = Value::new(1_u64).unwrap();
    let panics = |value: Value<u64>| -> () {
        let _guard = value.lock().unwrap();
        panic!("with the lock");
    };
    Context::exec().spawn(panics, (value.clone(),)).unwrap().join().unwrap_err();
    assert!(matches!(value.get(), Err(Error::Poisoned)));
    match value.lock() {
        Err(LockError::Poisoned(poisoned)) => assert_eq!(*poisoned.into_inner(), 1),
        other => panic!("{other:?}"),
    }
    match value.lock() {
        Err(LockError::Poisoned(poisoned)) => *poisoned.recover() = 2,
        other => panic!("{other:?}"),
    }
    assert_eq!(value.get().unwrap(), 2);
}

#[test]
fn one_thread_has_one_guard() {
    let _leaks = leaks();
    let value = Value::new(1_u64).unwrap();
    let guard = value.lock().unwrap();
    for again in [value.lock(), value.clone().lock().map(|_| unreachable!()), value.try_lock()] {
        assert!(matches!(again, Err(LockError::Error(Error::AlreadyHeld))), "{again:?}");
    }
    assert!(value.is_locked());
    assert_eq!(value.owner(), Some(std::process::id()));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(matches!(value.try_lock(), Err(LockError::WouldBlock)));
            assert!(matches!(value.lock_timeout(Duration::from_millis(20)), Err(LockError::TimedOut)));
        });
        other.join().unwrap();
    });
    drop(guard);
    assert!(!value.is_locked());
}

/// A guard that was forgotten keeps its memory mapped, for the lock stands in the thread's list. (In a process of its own, because of
/// that.)
#[test]
fn a_forgotten_guard_is_no_danger() {
    let _leaks = leaks();
    Context::exec().spawn(forget, ()).unwrap().join().unwrap();
}

fn forget() {
    let value = Value::new(1_u64).unwrap();
    let forgotten = Value::new(2_u64).unwrap();
    let newer = Value::new(3_u64).unwrap();
    std::mem::forget(forgotten.lock().unwrap());
    let guard = newer.lock().unwrap();
    drop(forgotten);
    drop(guard);
    drop(newer);
    for n in 0..100 {
        *value.lock().unwrap() = n;
    }
    assert_eq!(value.get().unwrap(), 99);
}

#[test]
fn children_count_without_losing_one() {
    let _leaks = leaks();
    for context in contexts() {
        let value = Value::new(0_u64).unwrap();
        let count = |value: Value<u64>| {
            for _ in 0..20_000 {
                *value.lock().unwrap() += 1;
            }
        };
        let children = [(); 4].map(|()| context.spawn(count, (value.clone(),)).unwrap());
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!(value.get().unwrap(), 80_000);
    }
}

#[test]
fn arrays() {
    let _leaks = leaks();
    let array = Array::from_iter(0..10_i16).unwrap();
    assert_eq!((array.len(), array.is_empty()), (10, false));
    array.set(3, -7).unwrap();
    assert_eq!(array.get(3).unwrap(), -7);
    assert!(matches!(array.get(10), Err(Error::OutOfBounds { index: 10, len: 10 })));
    assert!(matches!(array.set(usize::MAX, 0), Err(Error::OutOfBounds { .. })));
    assert_eq!(array.update(|all| all.iter().sum::<i16>()).unwrap(), 45 - 3 - 7);
    array.copy_from_slice(&[1; 10]).unwrap();
    let mut out = [0; 10];
    array.copy_to_slice(&mut out).unwrap();
    assert_eq!(out, [1; 10]);
    assert!(matches!(array.copy_from_slice(&[1; 9]), Err(Error::Invalid { .. })));
    assert!(matches!(array.copy_to_slice(&mut [1; 11]), Err(Error::Invalid { .. })));
    array.set_range(2..4, &[2, 3]).unwrap();
    assert_eq!(array.get_range(..=4).unwrap(), [1, 1, 2, 3, 1]);
    assert!(array.get_range(10..).unwrap().is_empty());
    #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
    let refused =
        [array.get_range(9..11).map(drop), array.get_range(3..2).map(drop), array.set_range(..3, &[1])];
    assert!(refused.iter().all(|refused| matches!(refused, Err(Error::Invalid { .. }))), "{refused:?}");
    array.set_range(2..4, &[1, 1]).unwrap();
    let empty = Array::<u64>::zeroed(0).unwrap();
    assert!(empty.is_empty() && empty.to_vec().unwrap().is_empty());
    let back = |array: Array<i16>| array;
    let same = Context::exec().spawn(back, (array.clone(),)).unwrap().join().unwrap();
    same.set(0, 5).unwrap();
    assert_eq!(array.get(0).unwrap(), 5);
    assert!(Array::<u64>::zeroed(usize::MAX / 4).is_err());
}

/// What was received is what it says it is, or an error.
#[test]
fn another_type_is_an_error() {
    let value = Value::new(1.0_f64).unwrap();
    let segment = || value.segment().clone();
    let refused = |error: Error, word: &str| {
        assert!(matches!(error, Error::NotASegment { .. }) && error.to_string().contains(word), "{error}");
    };
    assert_eq!(Value::<f64>::try_from(segment()).unwrap().get().unwrap(), 1.0);
    refused(Value::<u64>::try_from(segment()).unwrap_err(), "another type");
    refused(Value::<[f32; 2]>::try_from(segment()).unwrap_err(), "another type");
    refused(Array::<f64>::try_from(segment()).unwrap_err(), "a Value, not an Array");
    refused(Value::<f64>::try_from(Segment::new(4096).unwrap()).unwrap_err(), "does not begin");
    refused(Value::<f64>::try_from(Segment::new(64).unwrap()).unwrap_err(), "too few");
    // Somebody has written over the header.
    for (at, byte, word) in
        [(8, 77, "version"), (12, 9, "unknown"), (24, 200, "too short"), (40, 1, "namespace")]
    {
        let value = Value::new(1.0_f64).unwrap();
        scribble(value.segment(), at, &[byte]).unwrap();
        refused(Value::<f64>::try_from(value.segment().clone()).unwrap_err(), word);
    }
}

#[test]
fn a_lock_by_itself() {
    let _leaks = leaks();
    let lock = Lock::new().unwrap();
    let busy = |lock: Lock| matches!(lock.try_lock(), Err(LockError::WouldBlock));
    for context in contexts() {
        let guard = lock.lock().unwrap();
        assert!(context.spawn(busy, (lock.clone(),)).unwrap().join().unwrap());
        drop(guard);
        assert!(!context.spawn(busy, (lock.clone(),)).unwrap().join().unwrap());
    }
}

#[test]
fn a_recursive_lock() {
    let _leaks = leaks();
    let lock = RLock::new().unwrap();
    let busy = |lock: RLock| matches!(lock.try_lock(), Err(LockError::WouldBlock));
    let elsewhere = || Context::exec().spawn(busy, (lock.clone(),)).unwrap().join().unwrap();
    let outer = lock.lock().unwrap();
    let inner = lock.try_lock().unwrap();
    assert_eq!((lock.depth(), elsewhere()), (2, true));
    drop(outer);
    assert_eq!((lock.depth(), elsewhere()), (1, true));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(lock.depth(), 0);
            assert!(matches!(lock.lock_timeout(Duration::from_millis(20)), Err(LockError::TimedOut)));
        });
    });
    drop(inner);
    assert_eq!((lock.depth(), lock.is_locked(), elsewhere()), (0, false, false));
    // Its owner dies at some depth: the next is told, and begins from the beginning. Who is told need not repair anything, and then the next is told as well.
    let die = |lock: RLock| -> () {
        let _guards = [lock.lock().unwrap(), lock.lock().unwrap()];
        std::process::abort();
    };
    let child = Context::exec().spawn(die, (lock.clone(),)).unwrap();
    let pid = child.pid();
    child.join().unwrap_err();
    for _ in 0..3 {
        let told = lock.lock().unwrap_err();
        assert_eq!((told.pid(), lock.depth()), (Some(pid), 1));
    }
    let told = lock.lock().unwrap_err();
    let inner = lock.lock().unwrap();
    assert_eq!(lock.depth(), 2, "who has it was told");
    drop(told);
    drop(inner);
    // Who is told dies of it.
    let die = |lock: RLock| -> () {
        let _told = lock.lock().unwrap_err();
        std::process::abort();
    };
    let child = Context::exec().spawn(die, (lock.clone(),)).unwrap();
    let second = child.pid();
    child.join().unwrap_err();
    let guard = lock.lock().unwrap_err();
    assert_eq!(guard.pid(), Some(second));
    drop(guard.recover().unwrap());
    assert_eq!(lock.depth(), 0);
    drop(lock.lock().unwrap());
    assert!(!lock.is_locked());
    // Who panics with it tells the next, until one has recovered it.
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let _guard = lock.lock().unwrap();
            panic!("with the lock");
        });
        panics.join().unwrap_err();
    });
    for _ in 0..2 {
        assert!(matches!(lock.lock(), Err(LockError::Poisoned(_))));
    }
    drop(lock.lock().or_else(LockError::recover).unwrap());
    assert!(lock.lock().is_ok());
}

/// Bytes of a hostile peer in the lock itself: errors, and nobody waits longer than the timeout.
#[test]
fn a_lock_that_was_written_over() {
    let hour = Duration::from_secs(3600);
    for word in [1_u32, std::process::id(), 0x3fff_ffff, 0x8000_0000, 0x4000_0000, 0xffff_ffff, 0xc000_0000] {
        for state in [0_u32, 1, 2, 4, 0xffff_ffff] {
            let value = Value::new(7_u64).unwrap();
            scribble(value.segment(), 64, &word.to_le_bytes()).unwrap();
            scribble(value.segment(), 64 + 12, &state.to_le_bytes()).unwrap();
            scribble(value.segment(), 64 + 24, &[0x5a; 16]).unwrap();
            let begin = std::time::Instant::now();
            match value.lock_timeout(Duration::from_millis(5)) {
                Ok(guard) => assert_eq!(*guard, 7),
                Err(LockError::OwnerDied(died)) => drop(died.recover()),
                Err(LockError::Poisoned(poisoned)) => drop(poisoned.recover()),
                Err(_) => {}
            }
            assert!(begin.elapsed() < hour);
        }
    }
    // The links, while it is held.
    let (value, other) = (Value::new(1_u8).unwrap(), Value::new(2_u8).unwrap());
    let guard = value.lock().unwrap();
    let second = other.lock().unwrap();
    scribble(value.segment(), 64 + 24, &[0x5a; 16]).unwrap();
    scribble(other.segment(), 64 + 24, &[0xa5; 16]).unwrap();
    drop(guard);
    let third = Value::new(3_u8).unwrap();
    let third = third.lock().unwrap();
    drop((second, third));
    assert!(value.lock().is_ok() && other.lock().is_ok());
}

/// Handles travel in messages of processes alone.
#[test]
fn elsewhere_than_in_a_message_a_handle_is_an_error() {
    let value = Value::new(1_u8).unwrap();
    let mut bytes = Vec::new();
    let error = ipc_core::codec::Codec::encode(&ipc_core::codec::Postcard, &value, &mut bytes).unwrap_err();
    assert!(error.to_string().contains("descriptor"), "{error}");
}

/// A held lock whose word was written over with "free" gave its thread a second guard, and with it a second `&mut`.
#[test]
fn a_held_lock_that_is_said_to_be_free() {
    let value = Value::new(7_u64).unwrap();
    let guard = value.lock().unwrap();
    for len in [4, 40] {
        scribble(value.segment(), 64, &[0; 40][..len]).unwrap();
        for again in [value.lock(), value.try_lock(), value.lock_timeout(Duration::from_millis(5))] {
            assert!(matches!(again, Err(LockError::Error(Error::AlreadyHeld))), "{again:?}");
        }
    }
    drop(guard);
    assert_eq!(*value.lock().unwrap(), 7);
}

/// What a condition does between two of its guards: given back, however deep, and had again as it was.
#[test]
fn given_back_for_a_while_and_taken_again() {
    let _leaks = leaks();
    use ipc_shm::{Released, Relock};
    let value = Value::new(1_u64).unwrap();
    let released = value.lock().unwrap().release();
    assert!(!value.is_locked());
    let add = |value: Value<u64>| value.update(|n| *n += 1).unwrap();
    Context::exec().spawn(add, (value.clone(),)).unwrap().join().unwrap();
    let guard = released.relock().unwrap();
    assert!(*guard == 2 && value.is_locked());
    let released = guard.release();
    // An owner that dies meanwhile is told of.
    let die = |value: Value<u64>| -> () {
        let _guard = value.lock().unwrap();
        std::process::abort();
    };
    let child = Context::exec().spawn(die, (value.clone(),)).unwrap();
    let pid = child.pid();
    let _: ipc_core::Error = child.join().unwrap_err();
    let Err(LockError::OwnerDied(died)) = released.relock() else { panic!("nobody was told") };
    assert_eq!(died.pid(), pid);
    drop(died.recover());

    let lock = RLock::new().unwrap();
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    let released = inner.release();
    assert!(!lock.is_locked() && lock.depth() == 0);
    let free = |lock: RLock| lock.try_lock().is_ok();
    assert!(Context::exec().spawn(free, (lock.clone(),)).unwrap().join().unwrap());
    let inner = released.relock().unwrap();
    assert_eq!(lock.depth(), 2);
    // What was taken meanwhile counts, too.
    let released = inner.release();
    let meanwhile = lock.lock().unwrap();
    let inner = released.relock().unwrap();
    assert_eq!(lock.depth(), 3);
    drop(meanwhile);
    assert!(lock.depth() == 2 && !Context::exec().spawn(free, (lock.clone(),)).unwrap().join().unwrap());
    let released = inner.release();
    let die = |lock: RLock| -> () {
        let _guard = lock.lock().unwrap();
        std::process::abort();
    };
    let _: ipc_core::Error = Context::exec().spawn(die, (lock.clone(),)).unwrap().join().unwrap_err();
    let Err(LockError::OwnerDied(died)) = released.relock() else { panic!("nobody was told") };
    assert_eq!(lock.depth(), 2);
    drop(died.recover());
    assert_eq!(lock.depth(), 1, "the outer one is held still");
    drop(outer);
    assert!(lock.lock().is_ok());
    assert!(!lock.is_locked());
}

thread_local! {
    static KEPT: std::cell::RefCell<Option<ipc_shm::Guard<'static, u64>>> = const { std::cell::RefCell::new(None) };
}

/// A guard that a thread-local keeps is dropped by the thread's last destructors, after the crate's own have run.
#[test]
fn a_guard_that_goes_with_its_thread_frees_the_lock() {
    let value: &'static Value<u64> = Box::leak(Box::new(Value::new(0).unwrap()));
    let thread = std::thread::spawn(|| {
        // First, so that it goes last.
        KEPT.with(|_| ());
        let mut guard = value.lock().unwrap();
        *guard = 1;
        KEPT.with(|kept| *kept.borrow_mut() = Some(guard));
    });
    thread.join().unwrap();
    assert_eq!(*value.lock().unwrap(), 1);
}

/// What a thread was ended with is its own, and then nobody's: it does not keep memory from being frozen.
#[test]
fn a_lock_whose_thread_is_gone_keeps_nothing_mapped() {
    let value = Value::new(0_u64).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(value.lock().unwrap()));
    });
    drop(value.lock().or_else(LockError::recover).unwrap());
    let segment = value.segment().clone();
    drop(value);
    // A joined thread may be there for a moment.
    let mut left = Some(segment);
    let frozen = || match left.take().unwrap().freeze() {
        Ok(_) => true,
        Err(error) => {
            left = error.into_segment();
            false
        }
    };
    assert!(wait_until(GENEROUS, frozen));
}

/// A copy of a guard frees nothing in a forked copy of its owner, also where that has taken the lock itself.
#[test]
fn a_copy_of_a_guard_frees_nothing() {
    let _leaks = leaks();
    let (value, recursive) = (Value::new(0_u64).unwrap(), RLock::new().unwrap());
    let (guard, depth) = (value.lock().unwrap(), recursive.lock().unwrap());
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let (mut go_on, goes_on) = std::io::pipe().unwrap();
    // SAFETY: the copy takes locks of this crate, and leaves by `_exit`; no other thread of this test has the allocator's.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        drop(goes_on);
        // When the parent has freed them.
        let (mut mine, deeper) = (value.lock().unwrap(), recursive.lock().unwrap());
        drop((guard, depth));
        *mine = 1;
        tell.write_all(&[1]).unwrap();
        let _ = go_on.read(&mut [0]);
        let still = *mine == 1 && recursive.depth() == 1;
        drop((mine, deeper));
        // SAFETY: ends the copy, and nothing else.
        unsafe { libc::_exit(i32::from(!still)) };
    }
    drop((guard, depth));
    told.read_exact(&mut [0]).unwrap();
    assert!(matches!(value.try_lock(), Err(LockError::WouldBlock)));
    assert!(matches!(recursive.try_lock(), Err(LockError::WouldBlock)));
    drop(goes_on);
    let mut status = -1;
    // SAFETY: waits for the child made above; the status is a local.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    assert_eq!((status, *value.lock().unwrap()), (0, 1));
    assert!(recursive.lock().is_ok());
}
