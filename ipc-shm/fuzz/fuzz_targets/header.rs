//! Hostile bytes in a segment that is said to be a Value, an Array or a lock: an object or an error, and what is taken for an object
//! can be used: no panic, no access beyond the segment, nobody waits longer than his timeout.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::Packed;
use ipc_shm::modelled::{peek, scribble};
use ipc_shm::{Array, Error, Lock, LockError, Pod, RLock, Segment, Value};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    begin: Begin<'a>,
    patches: Vec<Patch<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Begin<'a> {
    Value,
    Array,
    Lock,
    RLock,
    /// Nothing of ours, of any length.
    Bytes(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Patch<'a> {
    Anywhere {
        at: u8,
        bytes: &'a [u8],
    },
    /// One of the header's fields, by its number.
    Field {
        field: u8,
        value: u64,
    },
    /// One of the lock's words: this thread's number, and what the kernel adds to it, are not found by chance.
    Word {
        word: u8,
        bits: u32,
        mine: bool,
    },
}

const MS: Duration = Duration::from_millis(1);

/// An object, whose segment is used again: with what stood there first.
struct Object {
    segment: Segment,
    bytes: Vec<u8>,
}

impl Object {
    fn new(segment: Segment) -> Object {
        let mut bytes = vec![0; segment.len()];
        peek(&segment, 0, &mut bytes).unwrap();
        Object { segment, bytes }
    }

    fn again(&self) -> Segment {
        scribble(&self.segment, 0, &self.bytes).unwrap();
        self.segment.clone()
    }
}

thread_local! {
    static OBJECTS: RefCell<Option<[Object; 4]>> = const { RefCell::new(None) };
}

/// The segment of what has no other way to it.
fn segment_of(handle: &impl ipc_core::Message) -> Segment {
    let ((segment, _, _), _): Sent = Packed::new(handle).unwrap().open().unwrap();
    segment
}

/// A handle as it is sent: the segment, its place in an arena, and the lock that was given to it.
type Sent = ((Segment, u32, u32), Option<u8>);

/// What comes of a segment that is sent as an object.
fn open<T: ipc_core::Message>(segment: &Segment) -> Option<T> {
    let sent: Sent = ((segment.clone(), 0, 0), None);
    Packed::new(&sent).unwrap().open().ok()
}

fn begin(begin: &Begin<'_>) -> Segment {
    let number = match begin {
        Begin::Value => 0,
        Begin::Array => 1,
        Begin::Lock => 2,
        Begin::RLock => 3,
        Begin::Bytes(bytes) => {
            let segment = Segment::lazy(bytes.len().max(1)).unwrap();
            scribble(&segment, 0, bytes).unwrap();
            return segment;
        }
    };
    OBJECTS.with_borrow_mut(|objects| {
        let objects = objects.get_or_insert_with(|| {
            [
                Object::new(Value::new(7_u64).unwrap().segment().clone()),
                Object::new(Array::from_iter(0..16_u32).unwrap().segment().clone()),
                Object::new(segment_of(&Lock::new().unwrap())),
                Object::new(segment_of(&RLock::new().unwrap())),
            ]
        });
        objects[number].again()
    })
}

fn patch(segment: &Segment, patch: &Patch<'_>) {
    // What does not fit is left out.
    let _ = match patch {
        Patch::Anywhere { at, bytes } => scribble(&segment, (*at).into(), bytes),
        Patch::Field { field, value } => scribble(&segment, usize::from(field % 8) * 8, &value.to_ne_bytes()),
        Patch::Word { word, bits, mine } => {
            let me = if *mine { rustix::thread::gettid().as_raw_nonzero().get() as u32 } else { 0 };
            scribble(&segment, 64 + usize::from(word % 10) * 4, &(bits ^ me).to_ne_bytes())
        }
    };
}

/// What is known of a lock after a try: whether waiting for it ends.
fn tried<G: ipc_shm::Guarded>(locked: Result<G, LockError<G>>) -> bool {
    match locked {
        Ok(_) => true,
        Err(LockError::OwnerDied(died)) => {
            drop(died.recover());
            true
        }
        Err(LockError::Poisoned(poisoned)) => {
            drop(poisoned.recover());
            true
        }
        Err(LockError::Lost) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn value<T: Pod + std::fmt::Debug>(segment: &Segment) {
    let value = match Value::<T>::try_from(segment.clone()) {
        Ok(value) => value,
        Err(Error::NotASegment { why }) => return assert!(!why.is_empty()),
        Err(other) => panic!("{other}"),
    };
    let _ = (value.is_locked(), value.owner(), format!("{value:?}"));
    if tried(value.lock_timeout(MS)) {
        let _ = (value.get(), value.set(T::zeroed()), value.update(|_| ()));
    }
}

fn array<T: Pod + PartialEq>(segment: &Segment) {
    let array = match Array::<T>::try_from(segment.clone()) {
        Ok(array) => array,
        Err(Error::NotASegment { why }) => return assert!(!why.is_empty()),
        Err(other) => panic!("{other}"),
    };
    let len = array.len();
    assert!(size_of::<T>() == 0 || 104 + len * size_of::<T>() <= segment.len());
    if tried(array.lock_timeout(MS)) {
        // `get` may fail because of what stands in the lock, and then for that alone.
        assert!(!matches!(array.get(len.wrapping_sub(1)), Err(Error::OutOfBounds { .. })) || len == 0);
        assert!(matches!(array.get(len), Err(Error::OutOfBounds { .. })));
        if let Ok(all) = array.to_vec() {
            assert_eq!(all.len(), len);
            let _ = array.copy_from_slice(&all);
            assert!(array.to_vec().is_ok_and(|again| size_of::<T>() == 0 || again == all));
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let segment = begin(&input.begin);
    let patched = || input.patches.iter().take(8).for_each(|one| patch(&segment, one));
    patched();
    value::<u64>(&segment);
    patched();
    value::<[u8; 40]>(&segment);
    patched();
    array::<u32>(&segment);
    patched();
    array::<u64>(&segment);
    array::<()>(&segment);
    patched();
    if let Some(lock) = open::<Lock>(&segment) {
        tried(lock.lock_timeout(MS));
    }
    patched();
    if let Some(lock) = open::<RLock>(&segment) {
        let outer = lock.lock_timeout(MS);
        let inner = lock.lock_timeout(MS);
        let _ = (format!("{lock:?}"), lock.depth());
        drop((outer, inner));
        assert_eq!(lock.depth(), 0);
    }
});
