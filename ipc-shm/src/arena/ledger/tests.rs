//! Unit tests of `ledger`: every death, and any sequence of makings and freeings.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ipc_testkit::Rng;

use super::super::Arena;
use super::*;
use crate::object::{Kind, Object};
use crate::{Array, Home, Value};

thread_local! {
    /// After so many steps this thread dies, as far as the arena can tell.
    static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

pub(super) fn step(name: &'static str) {
    let left = LEFT.get();
    if left != u32::MAX {
        LEFT.set(left - 1);
        if left == 1 {
            LEFT.set(u32::MAX);
            std::panic::resume_unwind(Box::new(name));
        }
    }
}

/// Runs `f`, which dies at its `nth` step: the step's name, or what it gives if it has not so many.
fn dies_at<R>(nth: u32, f: impl FnOnce() -> R) -> Result<R, &'static str> {
    LEFT.set(nth);
    let result = catch_unwind(AssertUnwindSafe(f));
    LEFT.set(u32::MAX);
    result.map_err(|name| *name.downcast::<&'static str>().unwrap())
}

/// What the books say: how much is free, and how many objects there are.
fn books(arena: &Arena) -> (usize, usize) {
    (arena.available(), arena.objects())
}

/// Has somebody finish what was begun.
fn finish(arena: &Arena) {
    arena.locked(|_| Ok(())).unwrap();
}

#[test]
fn who_dies_making_something_leaves_nothing() {
    for large in [false, true] {
        let mut seen = Vec::new();
        let arena = Arena::new(1 << 16).unwrap();
        // The page of entries stays one.
        let first = Value::new_with(0_u64, &arena).unwrap();
        let before = books(&arena);
        for nth in 1.. {
            let make = || match large {
                true => Array::from_slice_with(&[7_u64; 100], &arena).map(drop),
                false => Value::new_with(7_u64, &arena).map(drop),
            };
            match dies_at(nth, make) {
                Err(name) => seen.push(name),
                Ok(made) => {
                    made.unwrap();
                    break;
                }
            }
            finish(&arena);
            // One that lives was made, and nobody knows of it: not there, either.
            assert_eq!(books(&arena), before, "after a death at {:?}", seen.last());
        }
        assert!(
            seen.contains(&"arena: entry lives") && seen.contains(&"arena: entry names its data"),
            "{seen:?}"
        );
        assert_eq!(seen.contains(&"arena: granules marked"), large);
        first.set(1).unwrap();
        assert_eq!(arena.objects(), 2);
    }
}

#[test]
fn who_dies_taking_a_page_leaves_nothing_or_the_page() {
    let mut seen = Vec::new();
    for nth in 1.. {
        let arena = Arena::new(1 << 16).unwrap();
        let before = books(&arena);
        let died = dies_at(nth, || Value::new_with(7_u64, &arena).map(drop));
        finish(&arena);
        let Err(name) = died else { break };
        seen.push(name);
        let page = if before.0 == arena.available() { 0 } else { PAGE };
        assert_eq!(books(&arena), (before.0 - page, 0), "after a death at {name}");
        let all: Vec<_> = std::iter::from_fn(|| Value::new_with(1_u64, &arena).ok()).collect();
        assert_eq!(all.len(), before.0 / ENTRY, "after a death at {name}");
    }
    assert!(
        seen.contains(&"arena: page is empty") && seen.contains(&"arena: page holds entries"),
        "{seen:?}"
    );
}

#[test]
fn who_dies_freeing_something_has_freed_it_or_not_begun() {
    let mut seen = Vec::new();
    for nth in 1.. {
        let arena = Arena::new(1 << 16).unwrap();
        let _first = Value::new_with(0_u64, &arena).unwrap();
        let before = books(&arena);
        let array = Array::from_slice_with(&[7_u64; 100], &arena).unwrap();
        let with = books(&arena);
        let died = dies_at(nth, || arena.free(&array));
        finish(&arena);
        match died {
            Err(name) if array.to_vec().is_ok() => {
                assert_eq!((name, books(&arena)), ("arena: about to free", with));
            }
            _ => assert_eq!(books(&arena), before, "after {died:?}"),
        }
        match died {
            Err(name) => seen.push(name),
            Ok(freed) => {
                freed.unwrap();
                break;
            }
        }
        // And what frees it again finds it gone, or frees it.
        let again = arena.free(&array);
        assert!(matches!(again, Ok(()) | Err(Error::Freed)), "{again:?}");
        assert_eq!(books(&arena), before);
    }
    assert!(seen.contains(&"arena: entry is dead") && seen.contains(&"arena: data freed"), "{seen:?}");
}

#[test]
fn who_dies_finishing_what_another_began_leaves_it_to_the_next() {
    for nth in 1..20 {
        for second in 1..20 {
            let arena = Arena::new(1 << 16).unwrap();
            let _first = Value::new_with(0_u64, &arena).unwrap();
            let before = books(&arena);
            let _died = dies_at(nth, || Array::from_slice_with(&[7_u64; 100], &arena).map(drop)).is_err();
            let died_again = dies_at(second, || finish(&arena)).is_err();
            finish(&arena);
            if _died {
                assert_eq!(books(&arena), before, "deaths at {nth} and {second}");
            }
            if !died_again {
                break;
            }
        }
    }
}

/// An object, and what it should hold.
enum Made {
    Value(Value<[u64; 2]>, [u64; 2]),
    Array(Array<u64>, Vec<u64>),
    Wide(Array<u8>, Vec<u8>),
}

impl Made {
    fn make(arena: &Arena, rng: &mut Rng) -> crate::Result<Made> {
        Ok(match rng.below(3) {
            0 => {
                let value = [rng.next_u64(), rng.next_u64()];
                Made::Value(Value::new_with(value, arena)?, value)
            }
            1 => {
                let elements: Vec<u64> = (0..rng.below(60)).map(|_| rng.next_u64()).collect();
                Made::Array(Array::from_slice_with(&elements, arena)?, elements)
            }
            _ => {
                let elements = vec![rng.next_u64() as u8; rng.below(6000) as usize];
                Made::Wide(Array::from_slice_with(&elements, arena)?, elements)
            }
        })
    }

    fn check(&self) {
        match self {
            Made::Value(handle, value) => assert_eq!(handle.get().unwrap(), *value),
            Made::Array(handle, elements) => assert_eq!(handle.to_vec().unwrap(), *elements),
            Made::Wide(handle, elements) => assert_eq!(handle.to_vec().unwrap(), *elements),
        }
    }

    fn free(&self, arena: &Arena) -> crate::Result<()> {
        match self {
            Made::Value(handle, _) => arena.free(handle),
            Made::Array(handle, _) => arena.free(handle),
            Made::Wide(handle, _) => arena.free(handle),
        }
    }
}

/// With a death here and there: what is alive holds what it should, and in the end all is free but the pages of entries.
#[test]
fn any_sequence_of_makings_and_freeings() {
    let mut rng = Rng::new();
    for _ in 0..if ipc_testkit::quick() { 20 } else { 100 } {
        let arena = Arena::new(1 << 17).unwrap();
        let empty = arena.available();
        let mut made: Vec<Made> = Vec::new();
        let mut full = 0;
        for _ in 0..400 {
            let nth = if rng.below(4) == 0 { 1 + rng.below(12) as u32 } else { u32::MAX };
            if made.is_empty() || rng.below(100) < 60 {
                match dies_at(nth, || Made::make(&arena, &mut rng)) {
                    Ok(Ok(one)) => made.push(one),
                    Ok(Err(Error::NoMemory { .. })) => full += 1,
                    Ok(Err(other)) => panic!("{other}"),
                    Err(_) => {}
                }
            } else {
                let one = made.swap_remove(rng.below(made.len() as u64) as usize);
                one.check();
                if dies_at(nth, || one.free(&arena).unwrap()).is_err() {
                    assert!(matches!(one.free(&arena), Ok(()) | Err(Error::Freed)));
                }
            }
            finish(&arena);
            assert_eq!(arena.objects(), made.len());
        }
        made.iter().for_each(Made::check);
        for one in made.drain(..) {
            one.free(&arena).unwrap();
        }
        let ledger = arena.ledger();
        let pages = (0..arena.shape.pages()).filter(|page| ledger.holds_entries(*page)).count();
        assert_eq!(books(&arena), (empty - pages * PAGE, 0), "{full} times full");
    }
}

#[test]
fn what_is_under_way_fits_into_its_word() {
    let most = (1_usize << 31) - 1;
    for what in [
        UnderWay::Nothing,
        UnderWay::Data { start: most, count: 1 },
        UnderWay::Data { start: 64, count: most },
        UnderWay::Making(u32::MAX),
        UnderWay::Freeing(32),
    ] {
        assert_eq!(UnderWay::of_word(what.to_word()), what);
    }
}

#[test]
fn books_that_were_written_over_are_not_believed() {
    let mut rng = Rng::new();
    for round in 0..if ipc_testkit::quick() { 300 } else { 3000 } {
        let arena = Arena::new(1 << 15).unwrap();
        let value = Value::new_with(1_u64, &arena).unwrap();
        let array = Array::from_slice_with(&[2_u64; 50], &arena).unwrap();
        let books = arena.shape.first_page() * PAGE;
        for _ in 0..=rng.below(8) {
            // Not the lock: whoever has that written over is held until the time is over.
            let at = match round % 3 {
                0 => UNDER_WAY + rng.below(24) as usize,
                1 => UNDER_WAY + rng.below((books - UNDER_WAY) as u64) as usize,
                _ => value.place().object().ticket().unwrap().alive() + rng.below(64) as usize,
            };
            arena.segment().poke(at, &[rng.next_u64() as u8]).unwrap();
        }
        let _ = arena.available();
        let _ = arena.objects();
        let _ = Value::new_with(3_u64, &arena);
        let _ = Array::from_slice_with(&[4_u64; 70], &arena);
        let _ = (value.get(), array.to_vec());
        let ticket = value.place().object().ticket().unwrap();
        let _ = super::super::find(arena.segment(), ticket, Claim::of::<u64>(Kind::Value, None));
        let _ = (arena.free(&array), arena.free(&value));
        let _: Result<Object, _> =
            Object::create(Kind::Value, crate::object::Contents::Zeros::<u64>(1), Home::from(&arena));
    }
}

/// A handle of 2³¹ uses ago was good again, and its data another's.
#[test]
fn an_entry_whose_generations_are_used_up_is_given_out_no_more() {
    let arena = Arena::new(1 << 16).unwrap();
    let stale = Value::new_with(0_u64, &arena).unwrap();
    let ticket = stale.place().object().ticket().unwrap();
    assert_eq!(ticket.generation, 1);
    arena.free(&stale).unwrap();
    arena.ledger().generation(ticket.entry).store(USED_UP - 2, SeqCst);
    let last = Value::new_with(1_u64, &arena).unwrap();
    assert_eq!(last.place().object().ticket(), Some(Ticket { entry: ticket.entry, generation: USED_UP - 1 }));
    arena.free(&last).unwrap();
    let next = Value::new_with(2_u64, &arena).unwrap();
    assert_ne!(next.place().object().ticket().unwrap().entry, ticket.entry);
    assert!(matches!(stale.get(), Err(Error::Freed)) && matches!(last.get(), Err(Error::Freed)));
}
