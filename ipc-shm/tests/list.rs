//! Lists between real processes: items of all types, places, locks, deaths, travelling, names.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::time::Duration;

use ipc_core::{Context, Function, Message, Packed, duplex};
use ipc_shm::modelled::scribble;
use ipc_shm::{Arena, Array, Error, Item, ListGuard, Lock, LockError, Segment, ShareableList, Value};
use ipc_testkit::{GENEROUS, leaks};

#[track_caller]
fn joined<F, A>(f: F, args: A) -> F::Output
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    Context::exec().spawn(f, args).unwrap().join().unwrap_or_else(|error| panic!("the child: {error}"))
}

/// One of each type, and what is lost elsewhere.
fn items() -> Vec<Item> {
    vec![
        Item::None,
        true.into(),
        i64::MAX.into(),
        (-0.0).into(),
        "text with NULs\0\0".into(),
        b"\0bytes\0\0\0".into(),
        "".into(),
        b"".into(),
        "żółć🦀".into(),
    ]
}

#[test]
fn what_is_put_in_comes_out_here_and_elsewhere() {
    let _leaks = leaks();
    let list = ShareableList::new(items()).unwrap();
    assert_eq!(list.to_vec().unwrap(), items());
    let there = |list: ShareableList| (0..list.len()).map(|at| list.get(at).unwrap()).collect::<Vec<Item>>();
    assert_eq!(joined(there, (list.clone(),)), items());
    assert!(list.iter().rev().map(|item| item.unwrap()).eq(items().into_iter().rev()));
    assert_eq!(list.iter().len(), 9);
}

#[test]
fn an_item_changes_its_type_within_its_place() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into(), "12345678".into()]).unwrap();
    for item in items() {
        match item {
            Item::Str(ref text) if text.len() > 8 => {
                let error = list.set(0, item.clone()).unwrap_err();
                assert!(matches!(error, Error::TooLong { needed, available: 8 } if needed == text.len()));
            }
            Item::Bytes(ref bytes) if bytes.len() > 8 => {
                assert!(matches!(list.set(0, item.clone()), Err(Error::TooLong { available: 8, .. })));
            }
            item => {
                list.set(0, item.clone()).unwrap();
                assert_eq!(list.get(0).unwrap(), item);
            }
        }
    }
    // Measured in bytes, not in characters.
    list.set(1, "ööööööö\0\0").unwrap();
    assert!(matches!(list.set(1, "ööööööööö"), Err(Error::TooLong { needed: 18, available: 16 })));
    assert_eq!(list.get(1).unwrap(), "ööööööö\0\0".into(), "nothing has changed");
}

#[test]
fn indices_beyond_the_end() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into()]).unwrap();
    assert!(matches!(list.get(1), Err(Error::OutOfBounds { index: 1, len: 1 })));
    assert!(matches!(list.set(usize::MAX, 1), Err(Error::OutOfBounds { .. })));
    assert!(matches!(list.capacity(1), Err(Error::OutOfBounds { .. })));
    let empty = ShareableList::new([]).unwrap();
    assert!(empty.is_empty() && empty.iter().next().is_none() && empty.get(0).is_err());
    assert!(joined(|list: ShareableList| list.is_empty(), (empty,)));
}

#[test]
fn counted_and_found_by_type_and_value() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into(), 1.0.into(), true.into(), 1.into(), "1".into()]).unwrap();
    let count = |item: Item| (list.count(&item).unwrap(), list.index(&item).unwrap());
    assert_eq!(count(1.into()), (2, Some(0)));
    assert_eq!(count(1.0.into()), (1, Some(1)));
    assert_eq!(count(true.into()), (1, Some(2)));
    assert_eq!(count("1".into()), (1, Some(4)));
    assert_eq!(count(Item::None), (0, None));
}

#[test]
fn several_items_in_one_step() {
    const TIMES: i64 = 200;
    let _leaks = leaks();
    let list = ShareableList::new([0.into(), "0".into(), "                ".into()]).unwrap();
    let count = |list: ShareableList| {
        for _ in 0..TIMES {
            let mut items = list.lock_timeout(GENEROUS).unwrap();
            let Item::Int(n) = items.get(0).unwrap() else { panic!("no number") };
            assert_eq!(items.get(1).unwrap().to_string(), n.to_string());
            items.set(0, n + 1).unwrap();
            items.set(1, (n + 1).to_string()).unwrap();
        }
    };
    let children: Vec<_> = (0..3).map(|_| Context::exec().spawn(count, (list.clone(),)).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(list.get(0).unwrap(), Item::Int(3 * TIMES));
}

#[test]
fn a_lock_is_taken_in_four_ways() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into()]).unwrap();
    let guard = list.lock().unwrap();
    assert!(list.is_locked() && list.owner() == Some(std::process::id()));
    assert!(matches!(list.get(0), Err(Error::AlreadyHeld)));
    let there = |list: ShareableList| {
        let busy = matches!(list.try_lock(), Err(LockError::WouldBlock));
        let late = matches!(list.lock_timeout(Duration::from_millis(2)), Err(LockError::TimedOut));
        let deadline = std::time::Instant::now();
        busy && late && matches!(list.lock_deadline(deadline), Err(LockError::TimedOut))
    };
    assert!(joined(there, (list.clone(),)));
    assert_eq!(format!("{guard:?}"), "[Ok(Int(1))]");
    drop(guard);
    assert!(list.try_lock().is_ok());
    assert!(format!("{list:?}").starts_with("ShareableList { items: [Ok(Int(1))]"));
}

#[test]
fn a_panic_with_the_lock_is_told() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into()]).unwrap();
    let panics = |list: ShareableList| {
        let mut items = list.lock().unwrap();
        items.set(0, 2).unwrap();
        assert_eq!(items.get(0).unwrap(), 1.into(), "a panic on purpose");
    };
    joined_panics(panics, list.clone());
    assert!(matches!(list.get(0), Err(Error::Poisoned)));
    match list.lock() {
        Err(LockError::Poisoned(poisoned)) => assert_eq!(poisoned.recover().get(0).unwrap(), 2.into()),
        other => panic!("{other:?}"),
    }
    assert_eq!(list.get(0).unwrap(), 2.into());
}

fn joined_panics(f: fn(ShareableList), list: ShareableList) {
    // In a thread of this process: a function of a pointer cannot be sent.
    std::thread::spawn(move || f(list)).join().unwrap_err();
}

#[test]
fn the_next_is_told_of_a_killed_owner() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into(), "x".into()]).unwrap();
    let (line, theirs) = duplex::<(), ()>().unwrap();
    let hold = |list: ShareableList, theirs: ipc_core::Connection<(), ()>| {
        let mut items = list.lock().unwrap();
        items.set(0, "half").unwrap();
        theirs.send(()).unwrap();
        let _ = theirs.recv();
    };
    let child = Context::exec().spawn(hold, (list.clone(), theirs)).unwrap();
    line.recv().unwrap();
    let pid = child.pid();
    child.kill().unwrap();
    child.join().unwrap_err();
    assert!(matches!(list.get(0), Err(Error::OwnerDied { pid: of }) if of == pid));
    assert!(format!("{list:?}").contains(&format!("owner_died: {pid}")));
    let recovered = |guard: ListGuard<'_>| guard.to_vec().unwrap();
    match list.lock() {
        Err(LockError::OwnerDied(died)) => {
            assert_eq!((died.pid(), died.get_ref().len()), (pid, 2));
            assert_eq!(recovered(died.recover()), ["half".into(), "x".into()]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(list.get(0).unwrap(), "half".into());
}

#[test]
fn what_is_no_list_is_none() {
    let _leaks = leaks();
    let list = ShareableList::new(items()).unwrap();
    let no = |segment: Segment, why: &str| {
        let error = ShareableList::try_from(segment).unwrap_err();
        assert!(matches!(&error, Error::NotASegment { why: told } if told.contains(why)), "{error}");
    };
    no(Segment::new(1).unwrap(), "too few");
    no(Segment::new(4096).unwrap(), "begin");
    no(Array::<u64>::zeroed(64).unwrap().segment().clone(), "another type than those of a list");
    no(Value::new(0_u64).unwrap().segment().clone(), "it is a Value");
    assert!(Array::<u64>::try_from(list.segment().clone()).is_err(), "nor is a list an array");
    // Behind the object's header stands the list's own.
    for (at, word, why) in [(128, 0, "begin"), (136, 7, "version 7"), (144, 1 << 60, "too short")] {
        let list = ShareableList::new(items()).unwrap();
        scribble(list.segment(), at, &u64::to_le_bytes(word)).unwrap();
        no(list.segment().clone(), why);
    }
}

/// Whoever has the list writes over it: an error, for that item alone, until somebody puts another in.
#[test]
fn what_is_written_over_is_an_error() {
    let _leaks = leaks();
    let list = ShareableList::new(["one".into(), "two".into(), 3.into()]).unwrap();
    let entry = |index: usize| 128 + 32 + 32 * index;
    scribble(list.segment(), entry(0) + 24, &u64::to_le_bytes(1000)).unwrap();
    let error = list.get(0).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what, .. } if what == "item 0 of a list"), "{error}");
    assert!(list.to_vec().is_err() && list.count(&Item::None).is_err());
    assert_eq!(list.get(2).unwrap(), 3.into());
    list.set(0, "1").unwrap();
    scribble(list.segment(), entry(1), &u64::to_le_bytes(u64::MAX)).unwrap();
    assert!(matches!(list.set(1, "2"), Err(Error::Corrupt { .. })), "its place is lost");
    list.set(1, 2).unwrap();
    assert_eq!(list.to_vec().unwrap(), ["1".into(), 2.into(), 3.into()]);
    // How many there are was read once.
    scribble(list.segment(), 144, &u64::to_le_bytes(0)).unwrap();
    assert_eq!((list.len(), list.get(2).unwrap()), (3, 3.into()));
}

/// Each item was as long as the list, and all of them together as long as its square.
#[test]
fn places_that_lie_over_one_another_give_no_more_than_there_is() {
    const ITEMS: u64 = 500;
    let _leaks = leaks();
    let list = ShareableList::new((0..ITEMS).map(|_| Item::Bytes(vec![7; 16]))).unwrap();
    let (places, long) = (32 + ITEMS * 32, ITEMS * 24);
    for index in 0..ITEMS {
        for (at, word) in [places, long, 5, long].into_iter().enumerate() {
            let at = 128 + 32 + 32 * index as usize + 8 * at;
            scribble(list.segment(), at, &word.to_le_bytes()).unwrap();
        }
    }
    assert!(matches!(list.to_vec(), Err(Error::Corrupt { .. })));
    assert!(matches!(list.lock().unwrap().to_vec(), Err(Error::Corrupt { .. })));
    assert!(format!("{list:?}").len() < 1_000_000);
    // One by itself is within the list.
    assert!(matches!(list.get(499).unwrap(), Item::Bytes(bytes) if bytes.len() as u64 == long));
}

/// Its array was made, and stayed in the arena when the lock that was to fill it could not be had.
#[test]
fn a_list_is_made_behind_a_lock_that_is_held_or_lost() {
    let _leaks = leaks();
    let (arena, lock) = (Arena::new(1 << 20).unwrap(), Lock::new().unwrap());
    let guard = lock.lock().unwrap();
    let list = ShareableList::new_with(items(), (&arena, &lock)).unwrap();
    assert!(matches!(list.get(0), Err(Error::AlreadyHeld)));
    assert_eq!(arena.objects(), 1);
    drop(guard);
    assert_eq!(list.to_vec().unwrap(), items());
    let dies = |lock: Lock| -> () {
        std::mem::forget(lock.lock().unwrap());
        std::process::exit(0);
    };
    Context::exec().spawn(dies, (lock.clone(),)).unwrap().join().unwrap_err();
    let other = ShareableList::new_with(items(), (&arena, &lock)).unwrap();
    assert!(matches!(other.get(0), Err(Error::OwnerDied { .. })), "who uses it is told");
    assert_eq!(arena.objects(), 2);
}

#[test]
fn a_list_travels_as_itself() {
    let _leaks = leaks();
    let list = ShareableList::new([1.into()]).unwrap();
    let packed = Packed::new(&list).unwrap();
    list.set(0, 2).unwrap();
    let arrived: ShareableList = packed.open().unwrap();
    assert_eq!(arrived.get(0).unwrap(), 2.into(), "the handle was sent, not the data");
    assert!(arrived.shared_memory().is_none());
    arrived.set(0, 3).unwrap();
    drop(list);
    assert_eq!(arrived.get(0).unwrap(), 3.into());
    let copy = ShareableList::new(arrived.to_vec().unwrap()).unwrap();
    copy.set(0, 4).unwrap();
    assert_eq!(arrived.get(0).unwrap(), 3.into());
}

#[test]
fn a_list_has_a_name_or_gets_one() {
    let _leaks = leaks().allow(1, 5, 0);
    let list = ShareableList::new([1.into()]).unwrap().named().unwrap();
    let name = list.shared_memory().unwrap().name().to_owned();
    let there = |list: ShareableList, name: String| {
        let found = ShareableList::attach(&name).unwrap();
        found.set(0, "x").unwrap();
        assert_eq!(list.get(0).unwrap(), "x".into());
        let memory = list.shared_memory().unwrap();
        (memory.name() == name, memory.is_owner())
    };
    assert_eq!(joined(there, (list.clone(), name.clone())), (true, false));
    assert!(matches!(ShareableList::create(&name, []), Err(Error::AlreadyExists { .. })));
    assert_eq!(list.clone().named().unwrap().shared_memory().unwrap().name(), name, "it keeps that");
    let attached = ShareableList::attach(&name).unwrap();
    drop(list);
    assert!(matches!(ShareableList::attach(&name), Err(Error::NotFound { .. })));
    assert_eq!(attached.get(0).unwrap(), "x".into());
}

#[test]
fn formats_are_pythons() {
    let _leaks = leaks();
    let list = ShareableList::new(["123456".into(), b"12345678".into(), 1.into(), Item::None]).unwrap();
    assert_eq!(list.format().unwrap(), "8s16sqxxxxxx?x");
    list.set(1, true).unwrap();
    list.set(2, 1.5).unwrap();
    assert_eq!(list.format().unwrap(), "8sxxxxxxx?dxxxxxx?x");
    assert_eq!((0..4).map(|at| list.capacity(at).unwrap()).collect::<Vec<_>>(), [8, 16, 8, 8]);
}
