//! Any sequence of operations on an arena agrees with a model allocator: what is there, what it holds, how much is free, and which
//! handles are refused.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use ipc_core::Packed;
use ipc_shm::{Arena, Array, Error, Value};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Value(u64),
    Array(Vec<u16>),
    Set(usize, u16),
    Free(usize),
    /// A handle goes through a message.
    Send(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u64>().prop_map(Step::Value),
        4 => prop::collection::vec(any::<u16>(), 0..700).prop_map(Step::Array),
        2 => (any::<usize>(), any::<u16>()).prop_map(|(at, element)| Step::Set(at, element)),
        5 => any::<usize>().prop_map(Step::Free),
        2 => any::<usize>().prop_map(Step::Send),
    ]
}

/// An object, and what the model knows of it: its contents, or that it is freed.
enum Object {
    Value(Value<u64>, Option<u64>),
    Array(Array<u16>, Option<Vec<u16>>),
}

impl Object {
    /// Bytes of granules that its data takes: 24 stand in its entry.
    fn data(&self) -> usize {
        match self {
            Object::Array(_, Some(elements)) if elements.len() > 12 => {
                (elements.len() * 2).next_multiple_of(64)
            }
            _ => 0,
        }
    }

    fn lives(&self) -> bool {
        matches!(self, Object::Value(_, Some(_)) | Object::Array(_, Some(_)))
    }

    fn agrees(&self) -> bool {
        match self {
            Object::Value(value, Some(model)) => value.get().unwrap() == *model,
            Object::Array(array, Some(model)) => array.to_vec().unwrap() == *model,
            Object::Value(value, None) => matches!(value.get(), Err(Error::Freed)),
            Object::Array(array, None) => matches!(array.to_vec(), Err(Error::Freed)),
        }
    }
}

/// What the arena's books must say: the model's objects, their data, and pages of 32 entries for the most that there ever were.
fn books(objects: &[Object], most: usize) -> (usize, usize) {
    let data: usize = objects.iter().map(Object::data).sum();
    (objects.iter().filter(|object| object.lives()).count(), data + most.div_ceil(32) * 4096)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if ipc_testkit::quick() { 30 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn an_arena_agrees_with_a_model_allocator(steps in prop::collection::vec(step(), 1..250)) {
        let arena = Arena::new(1 << 16).unwrap();
        let empty = arena.available();
        let mut objects: Vec<Object> = Vec::new();
        let mut most = 0;
        for step in steps {
            let at = |at: usize| at % objects.len().max(1);
            match step {
                Step::Value(value) => match Value::new_with(value, &arena) {
                    Ok(handle) => objects.push(Object::Value(handle, Some(value))),
                    Err(Error::NoMemory { .. }) => prop_assert!(arena.available() < 4096 + 64, "it is not full"),
                    Err(other) => panic!("{other}"),
                },
                Step::Array(elements) => match Array::from_slice_with(&elements, &arena) {
                    Ok(handle) => objects.push(Object::Array(handle, Some(elements))),
                    // In pieces, perhaps: of these there are not more than one beside each object.
                    Err(Error::NoMemory { available, .. }) => {
                        let pieces = objects.len() + 1;
                        let fits = available as usize / pieces >= elements.len() * 2 + 64 + 4096;
                        prop_assert!(!fits, "{available} bytes in {pieces} pieces at most");
                    }
                    Err(other) => panic!("{other}"),
                },
                Step::Set(which, element) => match objects.get_mut(which % most.max(1)) {
                    Some(Object::Value(handle, Some(model))) => {
                        *model = element.into();
                        handle.set(*model).unwrap();
                    }
                    Some(Object::Array(handle, Some(model))) if !model.is_empty() => {
                        let at = which % model.len();
                        model[at] = element;
                        handle.set(at, element).unwrap();
                    }
                    _ => {}
                },
                Step::Free(which) => {
                    let at = at(which);
                    match objects.get_mut(at) {
                        Some(Object::Value(handle, model)) => {
                            prop_assert_eq!(arena.free(handle).is_ok(), model.take().is_some());
                        }
                        Some(Object::Array(handle, model)) => {
                            prop_assert_eq!(arena.free(handle).is_ok(), model.take().is_some());
                        }
                        None => {}
                    }
                }
                Step::Send(which) => match objects.get(at(which)) {
                    Some(Object::Value(handle, model)) => {
                        let came = Packed::new(handle).unwrap().open::<Value<u64>>();
                        prop_assert_eq!(came.unwrap().get().ok(), *model);
                    }
                    Some(Object::Array(handle, model)) => {
                        let came = Packed::new(handle).unwrap().open::<Array<u16>>();
                        prop_assert_eq!(came.unwrap().to_vec().ok(), model.clone());
                    }
                    None => {}
                },
            }
            let (count, used) = books(&objects, most.max(objects.iter().filter(|object| object.lives()).count()));
            most = most.max(count);
            prop_assert_eq!(arena.objects(), count);
            // A page of entries may have been taken for an object that then had no room.
            let more = empty - arena.available() - used;
            prop_assert!(more == 0 || more == 4096, "{more} bytes more than the model's");
        }
        prop_assert!(objects.iter().all(Object::agrees));
    }
}
