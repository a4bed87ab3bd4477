//! Any sequence of operations on an atomic gives what std's does, and any on a raw array what a `Vec` does; whatever handle they are done on.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

use ipc_core::Packed;
use ipc_shm::{Atomic, RawArray};
use proptest::collection::vec;
use proptest::prelude::*;

/// What is done to an atomic; numbers are cut to its size.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Store(u64),
    Swap(u64),
    Exchange { current: Option<u64>, new: u64 },
    Update { add: u64, only_below: u64 },
    Add(u64),
    Sub(u64),
    And(u64),
    Nand(u64),
    Or(u64),
    Xor(u64),
    Max(u64),
    Min(u64),
    Wait(Option<u64>),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit), Just(u64::MAX)]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        number().prop_map(Turn::Store),
        number().prop_map(Turn::Swap),
        (proptest::option::of(number()), number()).prop_map(|(current, new)| Turn::Exchange { current, new }),
        (number(), number()).prop_map(|(add, only_below)| Turn::Update { add, only_below }),
        number().prop_map(Turn::Add),
        number().prop_map(Turn::Sub),
        number().prop_map(Turn::And),
        number().prop_map(Turn::Nand),
        number().prop_map(Turn::Or),
        number().prop_map(Turn::Xor),
        number().prop_map(Turn::Max),
        number().prop_map(Turn::Min),
        proptest::option::of(number()).prop_map(Turn::Wait),
    ]
}

/// The same turns for ours and std's.
macro_rules! against_std {
    ($type:ty, $std:ident, $turns:expr) => {{
        let first = Atomic::<$type>::new(0).unwrap();
        let handles = [first.clone(), Packed::new(&first).unwrap().open().unwrap()];
        let std = std::sync::atomic::$std::new(0);
        for (at, turn) in $turns.iter().enumerate() {
            let ours: &Atomic<$type> = &handles[at % 2];
            let now = std.load(SeqCst);
            prop_assert_eq!(ours.load(Acquire), now);
            let cut = |number: u64| number as $type;
            let (was, expected) = match *turn {
                Turn::Store(to) => {
                    ours.store(cut(to), Release);
                    (Ok(now), Ok(std.swap(cut(to), SeqCst)))
                }
                Turn::Swap(to) => (Ok(ours.swap(cut(to), AcqRel)), Ok(std.swap(cut(to), SeqCst))),
                Turn::Exchange { current, new } => {
                    let (current, new) = (current.map_or(now, cut), cut(new));
                    (
                        ours.compare_exchange(current, new, AcqRel, Relaxed),
                        std.compare_exchange(current, new, SeqCst, SeqCst),
                    )
                }
                Turn::Update { add, only_below } => {
                    let f = |n: $type| (n < cut(only_below)).then(|| n.wrapping_add(cut(add)));
                    (ours.fetch_update(AcqRel, Relaxed, f), std.fetch_update(SeqCst, SeqCst, f))
                }
                Turn::Add(n) => (Ok(ours.fetch_add(cut(n), AcqRel)), Ok(std.fetch_add(cut(n), SeqCst))),
                Turn::Sub(n) => (Ok(ours.fetch_sub(cut(n), AcqRel)), Ok(std.fetch_sub(cut(n), SeqCst))),
                Turn::And(n) => (Ok(ours.fetch_and(cut(n), AcqRel)), Ok(std.fetch_and(cut(n), SeqCst))),
                Turn::Nand(n) => (Ok(ours.fetch_nand(cut(n), AcqRel)), Ok(std.fetch_nand(cut(n), SeqCst))),
                Turn::Or(n) => (Ok(ours.fetch_or(cut(n), AcqRel)), Ok(std.fetch_or(cut(n), SeqCst))),
                Turn::Xor(n) => (Ok(ours.fetch_xor(cut(n), AcqRel)), Ok(std.fetch_xor(cut(n), SeqCst))),
                Turn::Max(n) => (Ok(ours.fetch_max(cut(n), AcqRel)), Ok(std.fetch_max(cut(n), SeqCst))),
                Turn::Min(n) => (Ok(ours.fetch_min(cut(n), AcqRel)), Ok(std.fetch_min(cut(n), SeqCst))),
                Turn::Wait(n) => {
                    let n = n.map_or(now, cut);
                    let other = ours.wait_timeout(n, Duration::from_micros(20));
                    prop_assert_eq!(other, (n != now).then_some(now));
                    (Ok(now), Ok(now))
                }
            };
            prop_assert_eq!(was, expected, "{:?}", turn);
        }
        prop_assert_eq!(first.load(SeqCst), std.load(SeqCst));
    }};
}

/// What is done to an array.
#[derive(Clone, Debug)]
enum Move {
    Set(usize, u64),
    Get(usize),
    SetRange(usize, Vec<u64>),
    GetRange(usize, usize),
    All(bool),
}

fn a_move() -> impl Strategy<Value = Move> {
    let at = || 0..24_usize;
    prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, n)| Move::Set(at, n)),
        at().prop_map(Move::Get),
        (at(), vec(any::<u64>(), 0..12)).prop_map(|(at, all)| Move::SetRange(at, all)),
        (at(), at()).prop_map(|(from, to)| Move::GetRange(from, to)),
        any::<bool>().prop_map(Move::All),
    ]
}

/// The same moves for ours and a `Vec`, of elements of a type.
fn against_vec<T>(len: usize, moves: &[Move], cut: fn(u64) -> T) -> Result<(), TestCaseError>
where
    T: ipc_shm::Pod + PartialEq + std::fmt::Debug,
{
    let first = RawArray::<T>::zeroed(len).unwrap();
    let handles = [first.clone(), Packed::new(&first).unwrap().open().unwrap()];
    let mut model = vec![T::zeroed(); len];
    for (at, one) in moves.iter().enumerate() {
        let ours: &RawArray<T> = &handles[at % 2];
        match one {
            Move::Set(at, n) => {
                prop_assert_eq!(ours.set(*at, cut(*n)).is_ok(), *at < len);
                if let Some(element) = model.get_mut(*at) {
                    *element = cut(*n);
                }
            }
            Move::Get(at) => prop_assert_eq!(ours.get(*at).ok(), model.get(*at).copied()),
            Move::SetRange(at, all) => {
                let all: Vec<T> = all.iter().copied().map(cut).collect();
                let range = *at..at + all.len();
                let place = model.get_mut(range.clone());
                prop_assert_eq!(ours.set_range(range, &all).is_ok(), place.is_some());
                if let Some(place) = place {
                    place.copy_from_slice(&all);
                }
            }
            Move::GetRange(from, to) => {
                let expected = model.get(*from..*to).map(<[T]>::to_vec);
                prop_assert_eq!(ours.get_range(*from..*to).ok(), expected);
            }
            Move::All(one_by_one) => {
                let all = if *one_by_one { ours.iter().collect() } else { ours.to_vec() };
                prop_assert_eq!(&all, &model);
            }
        }
    }
    prop_assert_eq!(first.copy().unwrap().to_vec(), model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against std's of every width.
    #[test]
    fn atomics(turns in vec(turn(), 0..40)) {
        against_std!(u8, AtomicU8, turns);
        against_std!(i8, AtomicI8, turns);
        against_std!(u16, AtomicU16, turns);
        against_std!(i16, AtomicI16, turns);
        against_std!(u32, AtomicU32, turns);
        against_std!(i32, AtomicI32, turns);
        against_std!(u64, AtomicU64, turns);
        against_std!(i64, AtomicI64, turns);
        against_std!(usize, AtomicUsize, turns);
        against_std!(isize, AtomicIsize, turns);
    }

    /// Against a `Vec`, with elements that are atomics and elements that are not.
    #[test]
    fn raw_arrays(len in 0..20_usize, moves in vec(a_move(), 0..40)) {
        against_vec::<u8>(len, &moves, |n| n as u8)?;
        against_vec::<u16>(len, &moves, |n| n as u16)?;
        against_vec::<u32>(len, &moves, |n| n as u32)?;
        against_vec::<u64>(len, &moves, |n| n)?;
        against_vec::<[u8; 3]>(len, &moves, |n| [n as u8, (n >> 8) as u8, (n >> 16) as u8])?;
        against_vec::<[u64; 3]>(len, &moves, |n| [n, !n, n / 3])?;
    }
}
