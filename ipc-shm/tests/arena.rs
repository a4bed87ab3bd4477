//! Arenas: many objects in one segment, their handles, and what happens to those when an object is freed.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use ipc_core::{Context, Descriptor, Packed, Signal, pipe, spawn};
use ipc_shm::{Arena, Array, Error, Home, Lock, LockError, RLock, Segment, ShareableList, Value};
use ipc_testkit::{GENEROUS, LeakGuard, wait_until};

/// The default fork server and its spare child stay, with their sockets.
fn leaks() -> LeakGuard {
    ipc_testkit::leaks().allow(2, 8, 0)
}

/// How many descriptors of this process are of this segment.
fn descriptors(segment: &Segment) -> usize {
    let number = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let of = |fd: i32| std::fs::metadata(format!("/proc/self/fd/{fd}")).ok().map(number);
    let this = of(segment.as_fd().as_raw_fd());
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|entry| of(entry.as_ref().unwrap().file_name().to_str().unwrap().parse().unwrap()) == this)
        .count()
}

/// Has a child killed that has the lock; its pid.
fn kill_an_owner(value: &Value<u64>) -> u32 {
    let hold = |value: Value<u64>| {
        let _guard = value.lock().unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    let child = spawn(hold, (value.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || value.is_locked()));
    let pid = child.pid();
    child.kill().unwrap();
    assert_eq!(child.join().map(|never: ()| never).unwrap_err().signal(), Some(Signal::KILL));
    pid
}

#[test]
fn a_hundred_thousand_values() {
    let _leaks = leaks();
    let arena = Arena::new(16 << 20).unwrap();
    let values: Vec<_> = (0..100_000_u64).map(|n| Value::new_with(n, &arena).unwrap()).collect();
    assert_eq!((descriptors(arena.segment()), arena.objects()), (1, 100_000));
    let sum = spawn(
        |values: Vec<Value<u64>>| values.iter().map(|value| value.get().unwrap()).sum::<u64>(),
        (values.clone(),),
    );
    assert_eq!(sum.unwrap().join().unwrap(), 4_999_950_000_u64);
    for value in values.iter().step_by(2) {
        arena.free(value).unwrap();
    }
    assert_eq!(arena.objects(), 50_000);
    let freed = values.iter().step_by(2).filter(|value| matches!(value.get(), Err(Error::Freed))).count();
    assert_eq!(freed, 50_000);
    assert!(values.iter().enumerate().skip(1).step_by(2).all(|(n, value)| value.get().unwrap() == n as u64));
}

/// `_TestHeap.test_heap` of CPython: blocks of random sizes come and go, and in the end all of it is free.
#[test]
fn test_heap() {
    let _leaks = leaks();
    let mut rng = ipc_testkit::Rng::new();
    let arena = Arena::new(4 << 20).unwrap();
    let empty = arena.available();
    let mut blocks: Vec<Array<u8>> = Vec::new();
    let mut most = 0;
    for _ in 0..5000 {
        let len = (2.0_f64.powf(rng.below(1300) as f64 / 100.0)) as usize;
        blocks.push(Array::zeroed_with(len, &arena).unwrap());
        if blocks.len() > 100 {
            let block = blocks.swap_remove(rng.below(blocks.len() as u64) as usize);
            arena.free(&block).unwrap();
        }
        most = most.max(arena.objects());
    }
    for block in &blocks {
        arena.free(block).unwrap();
    }
    assert_eq!(arena.objects(), 0);
    // But for the pages that entries stand in, which are kept for others.
    assert!(empty - arena.available() <= (most / 32 + 2) * 4096, "{} bytes", empty - arena.available());
    let rest = arena.available();
    let all = Array::<u8>::zeroed_with(rest - 4096, &arena).unwrap();
    arena.free(&all).unwrap();
}

#[test]
fn a_handle_of_what_was_freed_is_refused_also_when_its_place_is_used_again() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let old = Value::new_with(1_u64, &arena).unwrap();
    arena.free(&old).unwrap();
    let new = Value::new_with(2_u64, &arena).unwrap();
    assert!(matches!(old.get(), Err(Error::Freed)));
    assert!(matches!(old.set(3), Err(Error::Freed)));
    assert!(matches!(old.lock(), Err(LockError::Error(Error::Freed))));
    assert!(matches!(arena.free(&old), Err(Error::Freed)));
    let guard = new.lock().unwrap();
    assert!(matches!(old.try_lock(), Err(LockError::Error(Error::Freed))));
    drop(guard);
    assert_eq!(new.get().unwrap(), 2);
    let (tx, rx) = pipe::<Value<u64>>().unwrap();
    tx.send(new).unwrap();
    assert_eq!(rx.recv().unwrap().get().unwrap(), 2);
}

/// Handles of what was freed on its way, and what else is in their message.
type Freed = (Value<u64>, Array<u64>, ShareableList, Value<u8>, Value<[u64; 4]>, Lock, String);

#[test]
fn what_was_freed_on_its_way_does_not_take_its_message_along() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let lock = Lock::new_with(&arena).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let array = Array::from_slice_with(&[1_u64, 2, 3], &arena).unwrap();
    let list = ShareableList::new_with([1.into(), 2.into()], &arena).unwrap();
    let inside = Value::new_with(4_u8, (&arena, &lock)).unwrap();
    let alone = Value::new_with([0_u64; 4], &lock).unwrap();
    let (tx, rx) = pipe::<Freed>().unwrap();
    let message = || {
        let (value, array, list, inside) = (value.clone(), array.clone(), list.clone(), inside.clone());
        (value, array, list, inside, alone.clone(), lock.clone(), "the rest".to_owned())
    };
    tx.send(message()).unwrap();
    arena.free(&value).unwrap();
    arena.free(&array).unwrap();
    arena.free(&list).unwrap();
    arena.free(&lock).unwrap();
    // In the same places, and of another type.
    let _others: Vec<_> = (0..8).map(|n| Value::new_with(n as u16, &arena).unwrap()).collect();
    let mut arrived = rx.recv().unwrap();
    for _ in 0..2 {
        let (value, array, list, inside, alone, lock, rest) = &arrived;
        assert!(matches!(value.get(), Err(Error::Freed)));
        assert!(matches!(value.set(1), Err(Error::Freed)));
        assert!(!value.is_locked() && value.owner().is_none());
        assert!(matches!(array.to_vec(), Err(Error::Freed)));
        assert!(matches!(array.get(0), Err(Error::Freed)), "{:?}", array.get(0));
        assert!(matches!(array.get_range(1..2), Err(Error::Freed)));
        assert!(matches!(array.copy_from_slice(&[1, 2, 3]), Err(Error::Freed)));
        assert!(matches!(list.get(0), Err(Error::Freed)), "{:?}", list.get(0));
        assert!(matches!(inside.get(), Err(Error::Freed)));
        assert!(matches!(alone.get(), Err(Error::Freed)));
        assert!(matches!(lock.lock(), Err(LockError::Error(Error::Freed))));
        assert!(matches!(arena.free(value), Err(Error::Freed)));
        assert_eq!(rest, "the rest");
        // And once more, by who has received it.
        tx.send(arrived).unwrap();
        arrived = rx.recv().unwrap();
    }
}

#[test]
fn a_waiter_is_told_that_it_was_freed() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let guard = value.lock().unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let value = value.clone();
            std::thread::spawn(move || value.lock_timeout(GENEROUS).map(|guard| *guard).map_err(Error::from))
        })
        .collect();
    drop(guard);
    // Who was not there yet is told as well.
    while let Err(Error::InUse { .. }) = arena.free(&value) {}
    for waiter in waiters {
        let got = waiter.join().unwrap();
        assert!(matches!(got, Ok(1) | Err(Error::Freed)), "{got:?}");
    }
}

#[test]
fn whoever_has_a_handle_frees_it_where_it_stands() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let other = Arena::new(1 << 16).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let invalid =
        |result: ipc_shm::Result<()>| assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
    invalid(other.free(&value));
    invalid(arena.free(&Value::new(1_u64).unwrap()));
    // A handle that has come back is as good as the one that made it.
    let back = spawn(|value: Value<u64>| value, (value.clone(),)).unwrap().join().unwrap();
    let free = |arena: Arena, value: Value<u64>| arena.free(&value);
    spawn(free, (arena.clone(), back.clone())).unwrap().join().unwrap().unwrap();
    for stale in [&value, &back] {
        assert!(matches!(arena.free(stale), Err(Error::Freed)));
    }
    // What a worker made is its parent's to free, whether the worker lives or not.
    let make = |arena: Arena| Value::new_with(7_u64, &arena).unwrap();
    let made = spawn(make, (arena.clone(),)).unwrap().join().unwrap();
    assert_eq!((made.get().unwrap(), arena.objects()), (7, 1));
    arena.free(&made).unwrap();
    assert_eq!(arena.objects(), 0);
    // SAFETY: this process's other threads hold nothing that the child would want.
    let fork = unsafe { Context::fork() };
    let value = Value::new_with(1_u64, &arena).unwrap();
    fork.spawn(free, (arena.clone(), value.clone())).unwrap().join().unwrap().unwrap();
    assert!(matches!(value.get(), Err(Error::Freed)));
}

#[test]
fn children_make_objects_of_their_own() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 20).unwrap();
    let make = |arena: Arena, n: u64| -> ipc_shm::Result<Vec<Array<u64>>> {
        let arrays = (0..100).map(|i| Array::from_slice_with(&[n, i, n, i, n], &arena));
        let arrays: Vec<_> = arrays.collect::<ipc_shm::Result<_>>()?;
        arena.free(&arrays[50])?;
        Ok(arrays.into_iter().enumerate().filter(|(i, _)| *i != 50).map(|(_, array)| array).collect())
    };
    let children: Vec<_> = (0..4_u64).map(|n| spawn(make, (arena.clone(), n)).unwrap()).collect();
    for (n, child) in children.into_iter().enumerate() {
        let arrays = child.join().unwrap().unwrap();
        assert_eq!(arrays.len(), 99);
        assert_eq!(arrays[98].to_vec().unwrap(), [n as u64, 99, n as u64, 99, n as u64]);
    }
    assert_eq!(arena.objects(), 4 * 99);
}

#[test]
fn an_arena_that_is_full_says_so_and_goes_on() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 15).unwrap();
    let array = Array::<u8>::zeroed_with(10_000, &arena).unwrap();
    let error = Array::<u8>::zeroed_with(20_000, &arena).unwrap_err();
    let Error::NoMemory { needed: 20_000, available, limit } = &error else { panic!("{error:?}") };
    assert_eq!(*available, arena.available() as u64);
    assert!(limit.contains("32768"), "{error}");
    let values: Vec<_> = std::iter::from_fn(|| Value::new_with([0_u8; 100], &arena).ok()).collect();
    assert!(values.len() > 30);
    arena.free(&array).unwrap();
    Array::<u8>::zeroed_with(9_000, &arena).unwrap();
    assert!(Array::<u64>::zeroed_with(usize::MAX / 2, &arena).is_err());
}

#[test]
fn sizes() {
    for len in [0, 1, 4096, 8191, (128_usize << 30) + 1] {
        assert!(matches!(Arena::new(len), Err(Error::Invalid { .. })), "{len}");
    }
    let arena = Arena::new(8192).unwrap();
    assert_eq!(std::iter::from_fn(|| Value::new_with(0_u8, &arena).ok()).count(), 32);
    let arena = Arena::lazy(100 << 30).unwrap();
    let array = Array::<u64>::zeroed_with(1000, &arena).unwrap();
    array.set(999, 1).unwrap();
    assert_eq!((array.len(), arena.len()), (1000, 100 << 30));
}

#[test]
fn locks_of_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let (lock, recursive) = (Lock::new_with(&arena).unwrap(), RLock::new_with(&arena).unwrap());
    let guard = lock.lock().unwrap();
    let twice = (recursive.lock().unwrap(), recursive.lock().unwrap());
    let tries = |lock: Lock, recursive: RLock| (lock.try_lock().is_err(), recursive.try_lock().is_err());
    let child = spawn(tries, (lock.clone(), recursive.clone())).unwrap();
    assert_eq!(child.join().unwrap(), (true, true));
    assert!(matches!(arena.free(&lock), Err(Error::InUse { .. })));
    assert!(matches!(arena.free(&recursive), Err(Error::InUse { .. })));
    drop((guard, twice));
    arena.free(&lock).unwrap();
    arena.free(&recursive).unwrap();
    assert!(matches!(recursive.lock(), Err(LockError::Error(Error::Freed))));
    // A kind of its own: neither passes for the other.
    let (tx, rx) = pipe::<Lock>().unwrap();
    tx.send(Lock::new_with(&arena).unwrap()).unwrap();
    rx.recv().unwrap();
}

#[test]
fn a_dead_owner_in_an_arena_is_reported() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let pid = kill_an_owner(&value);
    assert!(matches!(value.get(), Err(Error::OwnerDied { pid: died }) if died == pid));
    // Freed as it is; and who has the place next knows nothing of it.
    arena.free(&value).unwrap();
    let next = Value::new_with(2_u64, &arena).unwrap();
    assert_eq!(next.get().unwrap(), 2);
}

#[test]
fn a_lock_that_is_given_guards_several() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    for home in [None, Some(&arena)] {
        let lock = home.map_or_else(Lock::new, Lock::new_with).unwrap();
        let home = home.map_or(Home::from(&lock), |arena| Home::from((arena, &lock)));
        let (from, to) = (Value::new_with(100_u64, home).unwrap(), Array::zeroed_with(2, home).unwrap());
        let pay = |lock: Lock, from: Value<u64>, to: Array<u64>| {
            for _ in 0..50 {
                let mut guard = lock.lock().unwrap();
                *from.under(&mut guard).unwrap() -= 1;
                to.under(&mut guard).unwrap()[1] += 1;
            }
        };
        let children: Vec<_> =
            (0..2).map(|_| spawn(pay, (lock.clone(), from.clone(), to.clone())).unwrap()).collect();
        while lock.is_locked() || from.get().unwrap() > 0 {
            let mut guard = lock.lock().unwrap();
            assert_eq!(*from.under(&mut guard).unwrap() + to.under(&mut guard).unwrap()[1], 100);
        }
        children.into_iter().for_each(|child| child.join().unwrap());

        let mut guard = lock.lock().unwrap();
        assert!(matches!(from.get(), Err(Error::AlreadyHeld)));
        let own = Value::new(1_u8).unwrap();
        assert!(matches!(own.under(&mut guard), Err(Error::Invalid { .. })));
        let other = Lock::new().unwrap();
        assert!(matches!(from.under(&mut other.lock().unwrap()), Err(Error::Invalid { .. })));
        drop(guard);
        assert_eq!(*from.lock().unwrap(), 0);
        assert_eq!(to.to_vec().unwrap(), [0, 100]);
    }
}

#[test]
fn what_a_given_lock_guards_is_not_freed_while_somebody_has_it() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let lock = Lock::new().unwrap();
    let value = Value::new_with(1_u64, (&arena, &lock)).unwrap();
    let guard = lock.lock().unwrap();
    assert!(matches!(arena.free(&value), Err(Error::InUse { .. })));
    drop(guard);
    arena.free(&value).unwrap();
    let mut guard = lock.lock().unwrap();
    assert!(matches!(value.under(&mut guard), Err(Error::Freed)));
    drop(guard);
    assert!(matches!(value.get(), Err(Error::Freed)));

    let lock = Lock::new_with(&arena).unwrap();
    let value = Value::new_with(1_u64, &lock).unwrap();
    arena.free(&lock).unwrap();
    let _next = Lock::new_with(&arena).unwrap();
    assert!(matches!(value.get(), Err(Error::Freed)));
}

/// Without the lock that guards it an object would be guarded by its own, and by another one elsewhere.
#[test]
fn an_object_does_not_come_without_its_lock() {
    let _leaks = leaks();
    let lock = Lock::new().unwrap();
    let value = Value::new_with(1_u64, &lock).unwrap();
    let error = Value::<u64>::try_from(value.segment().clone()).unwrap_err();
    assert!(error.to_string().contains("another lock"), "{error}");

    // Nor with another one: a handle is its object, and the lock.
    type Sent = (((u64, bool, Descriptor), u32, u32), Option<Lock>);
    for (object, lock, why) in [
        (&value, Some(Lock::new().unwrap()), "another lock, which"),
        (&value, None, "another lock, which"),
        (&Value::new(1).unwrap(), Some(lock.clone()), "its own lock"),
    ] {
        let (object, _): Sent = Packed::new(object).unwrap().open().unwrap();
        let error = Packed::new(&(object, lock)).unwrap().open::<Value<u64>>().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let came: Value<u64> = Packed::new(&value).unwrap().open().unwrap();
    assert_eq!(came.get().unwrap(), 1);
}

#[test]
fn lists_of_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let list = ShareableList::new_with(["a".into(), 1.into()], &arena).unwrap();
    let child = spawn(|list: ShareableList| list.set(1, 2), (list.clone(),)).unwrap();
    child.join().unwrap().unwrap();
    assert_eq!(list.to_vec().unwrap(), ["a".into(), 2.into()]);
    assert!(matches!(list.clone().named(), Err(Error::Invalid { .. })));
    arena.free(&list).unwrap();
    assert!(matches!(list.get(0), Err(Error::Freed)));
}

#[test]
fn an_arena_from_its_descriptor() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let same =
        Arena::try_from(Segment::from_fd(arena.segment().clone().into_fd().unwrap()).unwrap()).unwrap();
    same.free(&value).unwrap();
    assert_eq!(arena.objects(), 0);
    let error = Arena::try_from(Segment::new(1 << 16).unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotASegment { .. }), "{error}");
    let error = Arena::try_from(Value::new(1_u64).unwrap().segment().clone()).unwrap_err();
    assert!(error.to_string().contains("not an Arena"), "{error}");
    assert!(Value::<u64>::try_from(arena.segment().clone()).is_err());
}

#[test]
fn many_handles_of_one_object_share_a_descriptor_of_a_message() {
    let _leaks = leaks();
    let value = Value::new(5_u64).unwrap();
    let handles: Vec<_> = (0..2000).map(|_| value.clone()).collect();
    let (tx, rx) = pipe::<(Vec<Value<u64>>, Value<u64>)>().unwrap();
    let other = Value::new(6_u64).unwrap();
    tx.send((handles, other)).unwrap();
    let (handles, other) = rx.recv().unwrap();
    assert_eq!((handles.len(), handles[1999].get().unwrap(), other.get().unwrap()), (2000, 5, 6));
    assert_eq!(descriptors(value.segment()), 1, "it was mapped already");
}

/// It took the lock that stood there by then for its own, and freed it under the guard of another object.
#[test]
fn a_stale_recursive_lock_leaves_alone_what_stands_there_now() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let stale = RLock::new_with(&arena).unwrap();
    arena.free(&stale).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    let guard = value.lock().unwrap();
    assert!(matches!(stale.lock(), Err(LockError::Error(Error::Freed))));
    assert_eq!((stale.depth(), stale.is_locked(), stale.owner()), (0, false, None));
    let other = value.clone();
    let thread = std::thread::spawn(move || matches!(other.try_lock(), Err(LockError::WouldBlock)));
    assert!(thread.join().unwrap());
    drop(guard);
}

/// Freeing one of them took the death for repaired, of which the others were still to be told.
#[test]
fn freeing_keeps_the_deaths_and_panics_that_others_are_to_be_told_of() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 20).unwrap();
    let lock = Lock::new_with(&arena).unwrap();
    let [a, b] = [1_u64, 2].map(|n| Value::new_with(n, (&arena, &lock)).unwrap());
    kill_an_owner(&b);
    arena.free(&a).unwrap();
    assert!(matches!(b.get(), Err(Error::OwnerDied { .. })));

    // Nor does one that fails: here for want of a lock more.
    let value = Value::new_with(1_u64, &arena).unwrap();
    let panics = value.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = panics.lock().unwrap();
        panic!("half changed");
    });
    panicked.join().unwrap_err();
    let locks: Vec<_> = (0..2046).map(|_| Lock::new_with(&arena).unwrap()).collect();
    let held: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
    assert!(matches!(arena.free(&value), Err(Error::TooManyLocks)));
    drop(held);
    assert!(matches!(value.get(), Err(Error::Poisoned)));
}

/// One look per granule: a thousand handles of a large array in a message took a minute.
#[test]
fn handles_of_much_arrive_as_soon_as_those_of_little() {
    let _leaks = leaks();
    let arena = Arena::lazy(128 << 20).unwrap();
    let array = Array::<u8>::zeroed_with(64 << 20, &arena).unwrap();
    let begun = std::time::Instant::now();
    let handles: Vec<Array<u8>> = Packed::new(&vec![array; 1000]).unwrap().open().unwrap();
    assert_eq!(handles.len(), 1000);
    assert!(begun.elapsed() < GENEROUS);
}
