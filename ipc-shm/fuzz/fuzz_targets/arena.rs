//! Hostile bytes in the books of an arena and in its entries, between any operations: an object or an error, and what is taken for an object
//! can be used: no panic, no access beyond the segment, nobody waits longer than his timeout.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_core::Packed;
use ipc_shm::modelled::scribble;
use ipc_shm::{Arena, Array, Error, Value};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Value(u64),
    Array(u16),
    Free(u8),
    Use(u8),
    /// A handle that is sent to and fro.
    Send(u8),
    /// A ticket that nobody was given.
    Ticket { entry: u16, generation: u8, array: bool },
    /// Anywhere in the first pages: header and books.
    Books { at: u16, bytes: &'a [u8] },
    /// What is said to be under way, and where to look first.
    UnderWay { tag: u8, start: u32, count: u16, next: u32 },
    /// In the pages of entries, which stand at the end.
    Entry { at: u16, bytes: &'a [u8] },
}

const MS: Duration = Duration::from_millis(1);
const LEN: usize = 1 << 15;
/// Where the arena's own lock stands: whoever has that written over waits for half a minute.
const LOCK: std::ops::Range<usize> = 64..104;

enum Object {
    Value(Value<u64>),
    Array(Array<u64>),
}

fn exercise(object: &Object) {
    match object {
        Object::Value(value) => {
            if let Ok(mut guard) = value.lock_timeout(MS) {
                *guard = guard.wrapping_add(1);
            }
        }
        Object::Array(array) => {
            let len = array.len();
            if let Ok(mut guard) = array.lock_timeout(MS) {
                assert_eq!(guard.len(), len);
                guard.fill(7);
            }
        }
    }
}

fn check<T>(made: Result<T, Error>) -> Option<T> {
    made.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let arena = Arena::new(LEN).unwrap();
    let mut objects: Vec<Object> = Vec::new();
    let write = |at: usize, bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(LEN - at)];
        if at + bytes.len() <= LOCK.start || at >= LOCK.end {
            scribble(arena.segment(), at, bytes).unwrap();
        }
    };
    for step in steps.iter().take(64) {
        let which = |number: u8| number as usize % objects.len().max(1);
        match step {
            Step::Value(value) => objects.extend(check(Value::new_with(*value, &arena)).map(Object::Value)),
            Step::Array(len) => {
                let made = check(Array::zeroed_with((*len % 1024).into(), &arena));
                objects.extend(made.map(Object::Array));
            }
            Step::Free(number) => match objects.get(which(*number)) {
                Some(Object::Value(value)) => drop(check(arena.free(value))),
                Some(Object::Array(array)) => drop(check(arena.free(array))),
                None => {}
            },
            Step::Use(number) => objects.get(which(*number)).into_iter().for_each(exercise),
            Step::Send(number) => {
                let came = match objects.get(which(*number)) {
                    Some(Object::Value(value)) => Packed::new(value).unwrap().open().map(Object::Value),
                    Some(Object::Array(array)) => Packed::new(array).unwrap().open().map(Object::Array),
                    None => continue,
                };
                came.iter().for_each(exercise);
            }
            Step::Ticket { entry, generation, array } => {
                let sent = ((arena.segment(), u32::from(*entry), u32::from(*generation)), None::<u8>);
                let sent = Packed::new(&sent).unwrap();
                let came = if *array { sent.open().map(Object::Array) } else { sent.open().map(Object::Value) };
                came.iter().for_each(exercise);
            }
            Step::Books { at, bytes } => write(usize::from(*at) % 4096, bytes),
            Step::UnderWay { tag, start, count, next } => {
                let word = u64::from(*tag) << 62 | u64::from(*start) << 31 | u64::from(*count);
                write(104, &word.to_ne_bytes());
                write(112, &next.to_ne_bytes());
                write(116, &next.to_ne_bytes());
            }
            Step::Entry { at, bytes } => write(LEN - 1 - usize::from(*at) % 8192, bytes),
        }
        let _ = (arena.available(), arena.objects(), format!("{arena:?}"));
    }
    let _ = Arena::try_from(arena.segment().clone());
});
