//! Any sequence of operations on a list gives what a plain vector gives, through any of its handles.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use ipc_core::Packed;
use ipc_shm::{Error, Item, LockError, ShareableList};
use ipc_testkit::leaks;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    Set(usize, Item),
    Count(Item),
    Swap(usize, usize),
    Clone,
    Send,
    Name,
    Copy,
    Drop(usize),
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        Just(Item::None),
        any::<bool>().prop_map(Item::from),
        any::<i64>().prop_map(Item::from),
        // Those that equal nothing are another matter.
        (-1e9..1e9).prop_map(|n: f64| Item::from(n)),
        "\\PC{0,12}".prop_map(Item::from),
        "[ab\0]{0,20}".prop_map(Item::from),
        vec(any::<u8>(), 0..20).prop_map(Item::from),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..14_usize;
    prop_oneof![
        4 => at().prop_map(Step::Get),
        8 => (at(), item()).prop_map(|(at, item)| Step::Set(at, item)),
        2 => item().prop_map(Step::Count),
        2 => (at(), at()).prop_map(|(one, other)| Step::Swap(one, other)),
        1 => Just(Step::Clone),
        1 => Just(Step::Send),
        1 => Just(Step::Name),
        1 => Just(Step::Copy),
        1 => any::<usize>().prop_map(Step::Drop),
    ]
}

fn long(item: &Item) -> usize {
    match item {
        Item::Str(text) => text.len(),
        Item::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// The model: an item, and how long one may be in its place.
type Model = Vec<(Item, usize)>;

fn model(items: &[Item]) -> Model {
    items.iter().map(|item| (item.clone(), 8 * (long(item) / 8 + 1))).collect()
}

/// What setting an item gives; the model is changed where the list is to be.
fn set(model: &mut Model, at: usize, item: &Item) -> Result<(), (usize, usize)> {
    let len = model.len();
    let Some((old, capacity)) = model.get_mut(at) else { return Err((at, len)) };
    if long(item) > *capacity {
        return Err((long(item), *capacity));
    }
    *old = item.clone();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists(items in vec(item(), 0..12), steps in vec(step(), 0..60)) {
        let _leaks = leaks().allow(1, 5, 0);
        let mut model = model(&items);
        let mut handles = vec![ShareableList::new(items).unwrap()];
        for (number, step) in steps.into_iter().enumerate() {
            let list = &handles[number % handles.len()];
            match step {
                Step::Get(at) => match (list.get(at), model.get(at)) {
                    (Ok(found), Some((right, capacity))) => {
                        prop_assert_eq!(&found, right);
                        prop_assert_eq!(list.capacity(at).unwrap(), *capacity);
                    }
                    (Err(Error::OutOfBounds { index, len }), None) => prop_assert_eq!((index, len), (at, model.len())),
                    other => prop_assert!(false, "{other:?}"),
                },
                Step::Set(at, item) => {
                    let done = list.set(at, item.clone()).map_err(|error| match error {
                        Error::OutOfBounds { index, len } => (index, len),
                        Error::TooLong { needed, available } => (needed, available),
                        other => panic!("{other}"),
                    });
                    prop_assert_eq!(done, set(&mut model, at, &item));
                }
                Step::Count(item) => {
                    let same = || model.iter().filter(|(other, _)| *other == item);
                    prop_assert_eq!(list.count(&item).unwrap(), same().count());
                    prop_assert_eq!(list.index(&item).unwrap(), model.iter().position(|(other, _)| *other == item));
                }
                Step::Swap(one, other) => {
                    let mut guard = match list.lock() {
                        Ok(guard) => guard,
                        Err(error) => return Err(TestCaseError::fail(LockError::to_string(&error))),
                    };
                    if let (Ok(first), Ok(second)) = (guard.get(one), guard.get(other)) {
                        let right = set(&mut model, one, &second).is_ok();
                        prop_assert_eq!(guard.set(one, second).is_ok(), right);
                        let right = set(&mut model, other, &first).is_ok();
                        prop_assert_eq!(guard.set(other, first).is_ok(), right);
                    }
                }
                Step::Clone => handles.push(list.clone()),
                Step::Send => handles.push(Packed::new(list).unwrap().open().unwrap()),
                Step::Name => {
                    let named = list.clone().named().unwrap();
                    let memory = named.shared_memory().unwrap();
                    if memory.is_owner() {
                        handles.push(ShareableList::attach(memory.name()).unwrap());
                    }
                    handles.push(named);
                }
                Step::Copy => {
                    let copy = ShareableList::new(list.to_vec().unwrap()).unwrap();
                    model = self::model(&copy.to_vec().unwrap());
                    handles = vec![copy];
                }
                Step::Drop(at) if handles.len() > 1 => {
                    handles.swap_remove(at % handles.len());
                }
                Step::Drop(_) => {}
            }
            let all: Vec<Item> = model.iter().map(|(item, _)| item.clone()).collect();
            for list in &handles {
                prop_assert_eq!(&list.to_vec().unwrap(), &all);
            }
        }
    }
}
