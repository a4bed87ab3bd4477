//! Values and arrays without a lock, and with one that its owner may take again.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::ops::Bound;

use ipc_core::{Context, Descriptor, Signal};
use ipc_shm::modelled::scribble;
use ipc_shm::{
    Arena, Array, Atomic, Error, LockError, Pod, RLock, RawArray, RawValue, Segment, Synchronized, Value,
    Zeroable,
};
use ipc_testkit::leaks;

/// Start methods that make processes afresh.
fn contexts() -> [Context; 2] {
    [Context::exec(), Context::fork_server()]
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
    z: f64,
}

fn same_elsewhere<T: Pod + PartialEq + std::fmt::Debug + ipc_core::Message>(before: T, after: T) {
    let value = RawValue::new(before).unwrap();
    let set = |value: RawValue<T>, after: T| {
        let was = value.get();
        value.set(after);
        was
    };
    for context in contexts() {
        value.set(before);
        assert_eq!(context.spawn(set, (value.clone(), after)).unwrap().join().unwrap(), before);
        assert_eq!(value.get(), after);
    }
}

#[test]
fn raw_values_of_every_size() {
    let _leaks = leaks();
    same_elsewhere(1_u8, 255);
    same_elsewhere(-1_i16, 3);
    same_elsewhere(1.5_f32, -2.5);
    same_elsewhere(u64::MAX, 1);
    same_elsewhere([1_u8, 2, 3], [4, 5, 6]);
    same_elsewhere([1_u64; 5], [2; 5]);
    same_elsewhere([7_u8; 4], [8; 4]);
    same_elsewhere((), ());
    let point = RawValue::new(Point { x: 1.0, y: 2.0, z: 3.0 }).unwrap();
    let copy = point.copy().unwrap();
    point.set(Point { x: 0.0, ..point.get() });
    assert_eq!((point.get().x, copy.get().x, copy.get().z), (0.0, 1.0, 3.0));
    assert_eq!(format!("{:?}", RawValue::new(4_u8).unwrap()), "RawValue(4)");
}

#[test]
fn raw_arrays() {
    let _leaks = leaks();
    let array = RawArray::from_iter(0..10_i16).unwrap();
    assert_eq!((array.len(), array.is_empty()), (10, false));
    array.set(3, -7).unwrap();
    assert_eq!(array.get(3).unwrap(), -7);
    assert!(matches!(array.get(10), Err(Error::OutOfBounds { index: 10, len: 10 })));
    assert!(matches!(array.set(usize::MAX, 0), Err(Error::OutOfBounds { .. })));
    assert_eq!(array.get_range(2..=4).unwrap(), [2, -7, 4]);
    assert_eq!(array.get_range((Bound::Excluded(7), Bound::Unbounded)).unwrap(), [8, 9]);
    assert!(array.get_range(4..4).unwrap().is_empty() && array.get_range(10..).unwrap().is_empty());
    array.set_range(..2, &[5, 6]).unwrap();
    assert_eq!(array.iter().take(3).collect::<Vec<_>>(), [5, 6, 2]);
    assert_eq!(array.iter().next_back(), Some(9));
    assert_eq!(array.iter().len(), 10);
    #[expect(clippy::reversed_empty_ranges, reason = "refused")]
    let backwards = 5..4;
    for refused in [
        array.get_range(backwards).map(drop),
        array.get_range(11..).map(drop),
        array.get_range(..=10).map(drop),
        array.get_range(..=usize::MAX).map(drop),
        array.get_range((Bound::Excluded(usize::MAX), Bound::Unbounded)).map(drop),
        array.set_range(..2, &[1]),
        array.copy_from_slice(&[1; 9]),
        array.copy_to_slice(&mut [1; 11]),
    ] {
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    array.copy_from_slice(&[1; 10]).unwrap();
    let mut out = [0; 10];
    array.copy_to_slice(&mut out).unwrap();
    assert_eq!((out, array.to_vec()), ([1; 10], vec![1; 10]));
    let copy = array.copy().unwrap();
    array.set(0, 9).unwrap();
    assert_eq!((array.get(0).unwrap(), copy.get(0).unwrap()), (9, 1));
    assert!(RawArray::<u64>::zeroed(0).unwrap().to_vec().is_empty());
    assert_eq!(RawArray::from_slice(&[(); 3]).unwrap().iter().count(), 3);
    assert_eq!(
        format!("{:?}", RawArray::from_slice(&[1_u8, 2]).unwrap()),
        "RawArray { len: 2, first: [1, 2], .. }"
    );
    assert!(RawArray::<u64>::zeroed(usize::MAX / 4).is_err());
}

/// An element of a word is the old one or the new one, whoever writes it meanwhile.
#[test]
fn elements_of_a_word_are_whole() {
    let _leaks = leaks();
    const TIMES: u64 = 20_000;
    let (array, stop) = (RawArray::<u64>::zeroed(5000).unwrap(), Atomic::new(false).unwrap());
    let write = |array: RawArray<u64>, stop: Atomic<bool>| {
        let mut n = 0_u64;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            n = (n + 1) % 256;
            array.set(4321, n * 0x0101_0101_0101_0101).unwrap();
        }
    };
    let child = Context::exec().spawn(write, (array.clone(), stop.clone())).unwrap();
    for _ in 0..TIMES {
        let bytes = array.get(4321).unwrap().to_ne_bytes();
        assert_eq!(bytes, [bytes[0]; 8]);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    child.join().unwrap();
}

/// What was received is what it says it is, or an error.
#[test]
fn another_type_is_an_error() {
    let _leaks = leaks();
    let (value, array) = (RawValue::new(1_u32).unwrap(), RawArray::<u32>::zeroed(1).unwrap());
    let of_value = || value.segment().clone();
    let refused = |error: Error, word: &str| {
        assert!(matches!(error, Error::NotASegment { .. }) && error.to_string().contains(word), "{error}");
    };
    assert_eq!(RawValue::<u32>::try_from(of_value()).unwrap().get(), 1);
    assert_eq!(RawArray::<u32>::try_from(array.segment().clone()).unwrap().len(), 1);
    refused(RawValue::<i32>::try_from(of_value()).unwrap_err(), "another type");
    refused(Value::<u32>::try_from(of_value()).unwrap_err(), "a RawValue, not a Value");
    refused(RawArray::<u32>::try_from(of_value()).unwrap_err(), "a RawValue, not a RawArray");
    refused(Array::<u32>::try_from(array.segment().clone()).unwrap_err(), "a RawArray, not an Array");
    refused(RawArray::<u32>::try_from(Segment::new(4096).unwrap()).unwrap_err(), "does not begin");
    scribble(array.segment(), 24, &[255, 255]).unwrap();
    refused(RawArray::<u32>::try_from(array.segment().clone()).unwrap_err(), "too short");
    scribble(value.segment(), 24, &[2]).unwrap();
    refused(RawValue::<u32>::try_from(of_value()).unwrap_err(), "more than one");
}

#[test]
fn in_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    let value = RawValue::new_with(1_u8, &arena).unwrap();
    let array = RawArray::from_slice_with(&[1.0_f64; 20], &arena).unwrap();
    let zeros = RawArray::<u16>::zeroed_with(3, &arena).unwrap();
    let lock = RLock::new_with(&arena).unwrap();
    let both = (Synchronized::with_lock(value, lock.clone()), Synchronized::with_lock(array, lock));
    let change = |(value, array): (Synchronized<RawValue<u8>>, Synchronized<RawArray<f64>>)| {
        let _guard = value.lock().unwrap();
        value.update(|n| *n += 1).unwrap();
        array.update(19, |x| *x += 0.5).unwrap();
    };
    contexts()[0].spawn(change, (both.clone(),)).unwrap().join().unwrap();
    assert_eq!((both.0.get().unwrap(), both.1.get(19).unwrap()), (2, 1.5));
    assert_eq!(zeros.to_vec(), [0; 3]);
}

#[test]
fn synchronized_values_and_arrays() {
    let _leaks = leaks();
    let value = Synchronized::new(RawValue::new(1_u64).unwrap()).unwrap();
    value.set(2).unwrap();
    assert_eq!(value.replace(3).unwrap(), 2);
    assert_eq!(
        value
            .update(|n| {
                *n += 1;
                *n * 2
            })
            .unwrap(),
        8
    );
    assert_eq!((value.raw().get(), value.copy().unwrap().get().unwrap()), (4, 4));
    let array = Synchronized::with_lock(RawArray::from_slice(b"abcd").unwrap(), value.rlock().clone());
    array.set(0, b'x').unwrap();
    array.set_range(2.., b"yz").unwrap();
    assert_eq!(array.get(0).unwrap(), b'x');
    assert!(matches!(array.get(4), Err(Error::OutOfBounds { index: 4, len: 4 })));
    assert!(matches!(array.update(4, |_| ()), Err(Error::OutOfBounds { .. })));
    assert!(matches!(array.set_range(.., b"abc"), Err(Error::Invalid { .. })));
    assert_eq!(array.to_vec().unwrap(), b"xbyz");
    array.copy_from_slice(b"1234").unwrap();
    let mut out = [0; 4];
    array.copy_to_slice(&mut out).unwrap();
    assert_eq!((&out, array.len(), array.is_empty()), (b"1234", 4, false));
    let copy = array.copy().unwrap();
    array.set(0, 0).unwrap();
    assert_eq!(copy.get(0).unwrap(), b'1');
    // One lock for both; a copy has its own.
    let guard = array.lock().unwrap();
    assert_eq!((value.rlock().depth(), value.rlock().is_locked()), (1, true));
    let elsewhere = |value: Synchronized<RawValue<u64>>, copy: Synchronized<RawArray<u8>>| {
        (matches!(value.try_lock(), Err(LockError::WouldBlock)), copy.try_lock().is_ok())
    };
    for context in contexts() {
        let child = context.spawn(elsewhere, (value.clone(), copy.clone())).unwrap();
        assert_eq!(child.join().unwrap(), (true, true));
    }
    drop(guard);
    assert!(!value.rlock().is_locked());
}

/// A guard around several operations makes them one step.
#[test]
fn children_count_under_a_recursive_lock() {
    let _leaks = leaks();
    for context in contexts() {
        let value = Synchronized::new(RawValue::new(0_u64).unwrap()).unwrap();
        let count = |value: Synchronized<RawValue<u64>>| {
            for _ in 0..5_000 {
                let _guard = value.lock().unwrap();
                value.set(value.get().unwrap() + 1).unwrap();
            }
        };
        let children = [(); 4].map(|()| context.spawn(count, (value.clone(),)).unwrap());
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!(value.get().unwrap(), 20_000);
    }
}

/// Who has the lock is killed: the next is told once, and then it goes on.
#[test]
fn a_killed_owner_is_told_of_until_one_recovers() {
    let _leaks = leaks();
    fn die_with(value: Synchronized<RawValue<u64>>, ready: Descriptor) {
        let mut ready: PipeWriter = ready.into_inner();
        let _guard = value.lock().unwrap();
        value.set(1).unwrap();
        ready.write_all(&[1]).unwrap();
        loop {
            std::thread::park();
        }
    }
    for context in contexts() {
        let value = Synchronized::new(RawValue::new(0_u64).unwrap()).unwrap();
        let (mut reader, writer): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
        let child = context.spawn(die_with, (value.clone(), writer.into())).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        child.kill().unwrap();
        let pid = child.pid();
        assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
        assert!(matches!(value.set(5), Err(Error::OwnerDied { pid: died }) if died == pid));
        assert!(matches!(value.get(), Err(Error::OwnerDied { pid: died }) if died == pid));
        let guard = value.lock().or_else(LockError::recover).unwrap();
        assert_eq!(value.get().unwrap(), 1, "nothing was put in");
        drop(guard);
        value.set(2).unwrap();
    }
}

/// Python's `.value` and `.raw` of arrays of `c`.
#[test]
fn bytes_as_text() {
    let _leaks = leaks();
    let array = Array::from_slice(b"hello").unwrap();
    assert_eq!(array.text().unwrap(), b"hello");
    array.set_text(b"by").unwrap();
    assert_eq!((array.text().unwrap(), array.to_vec().unwrap()), (b"by".to_vec(), b"by\0lo".to_vec()));
    array.set_text(b"world").unwrap();
    assert_eq!(array.text().unwrap(), b"world");
    assert!(matches!(array.set_text(b"longer"), Err(Error::Invalid { .. })));
    array.set_text(b"").unwrap();
    assert_eq!((array.text().unwrap(), array.to_vec().unwrap()), (vec![], b"\0orld".to_vec()));
    let raw = RawArray::<u8>::zeroed(4).unwrap();
    raw.set_text(b"abc").unwrap();
    assert_eq!((raw.text(), raw.to_vec()), (b"abc".to_vec(), b"abc\0".to_vec()));
    assert!(raw.set_text(b"abcde").is_err());
    let locked = Synchronized::new(raw).unwrap();
    locked.set_text(b"wxyz").unwrap();
    assert_eq!(locked.text().unwrap(), b"wxyz");
    assert!(locked.set_text(b"abcde").is_err());
    assert!(RawArray::<u8>::zeroed(0).unwrap().text().is_empty());
}

#[test]
fn copies_are_independent() {
    let _leaks = leaks();
    let (value, array) = (Value::new(1_u8).unwrap(), Array::from_slice(&[1_u8, 2]).unwrap());
    let copies = (value.copy().unwrap(), array.copy().unwrap());
    value.set(9).unwrap();
    array.set(0, 9).unwrap();
    assert_eq!((copies.0.get().unwrap(), copies.1.to_vec().unwrap()), (1, vec![1, 2]));
}

/// Among threads they are what they are among processes.
#[test]
fn threads_share_the_same_objects() {
    let _leaks = leaks();
    let (value, array) = (Value::new(0_u32).unwrap(), Array::<u32>::zeroed(4).unwrap());
    let (raw, locked) =
        (RawArray::<u32>::zeroed(4).unwrap(), Synchronized::new(RawValue::new(0_u32).unwrap()).unwrap());
    std::thread::scope(|scope| {
        for at in 0..4 {
            let (value, array, raw, locked) = (&value, &array, &raw, &locked);
            scope.spawn(move || {
                for _ in 0..1_000 {
                    *value.lock().unwrap() += 1;
                    array.lock().unwrap()[at] += 1;
                    raw.set(at, raw.get(at).unwrap() + 1).unwrap();
                    locked.update(|n| *n += 1).unwrap();
                }
            });
        }
    });
    assert_eq!((value.get().unwrap(), locked.get().unwrap()), (4_000, 4_000));
    assert_eq!((array.to_vec().unwrap(), raw.to_vec()), (vec![1_000; 4], vec![1_000; 4]));
}
