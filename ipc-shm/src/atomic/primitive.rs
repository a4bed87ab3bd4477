//! Which types an [`Atomic`](super::Atomic) holds, and std's atomic for each of them.
//!
//! All stand in cells of 8 bytes, the value first and zeros behind it, so that the kernel, which compares 32 bits at a time, has whole words to look
//! at.

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

use bytemuck::{Pod, Zeroable};

/// A type that an [`Atomic`](crate::Atomic) holds: the integers of up to 64 bits, and `bool`. Named as std's trait of this purpose.
pub trait AtomicPrimitive: Copy + PartialEq + fmt::Debug + Hash + Send + Sync + sealed::Primitive {}

/// One of them that is a number.
pub trait AtomicInteger: AtomicPrimitive + Ord + sealed::Integer {}

pub(crate) mod sealed {
    use super::{Ordering, Pod};

    /// An atom's operations are std's, so that they panic for the same orderings.
    pub trait Primitive: Sized {
        /// What stands in shared memory: 8 bytes, of a type that tells one atomic from another.
        type Cell: Pod;
        type Atom: Sync;

        fn cell(self) -> Self::Cell;
        fn load(atom: &Self::Atom, order: Ordering) -> Self;
        fn store(atom: &Self::Atom, value: Self, order: Ordering);
        fn swap(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn exchange(
            atom: &Self::Atom,
            values: [Self; 2],
            orders: [Ordering; 2],
            weak: bool,
        ) -> Result<Self, Self>;
        fn and(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn nand(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn or(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn xor(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
    }

    pub trait Integer: Primitive {
        fn add(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn sub(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn larger(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
        fn smaller(atom: &Self::Atom, value: Self, order: Ordering) -> Self;
    }
}

macro_rules! integers {
    ($($integer:ident: $atom:ident)*) => {$(
        impl sealed::Primitive for $integer {
            type Cell = [$integer; 8 / size_of::<$integer>()];
            type Atom = $atom;

            fn cell(self) -> Self::Cell {
                let mut cell = [0; 8 / size_of::<$integer>()];
                cell[0] = self;
                cell
            }

            #[inline(always)]
            fn load(atom: &$atom, order: Ordering) -> $integer {
                atom.load(order)
            }

            #[inline(always)]
            fn store(atom: &$atom, value: $integer, order: Ordering) {
                atom.store(value, order);
            }

            #[inline(always)]
            fn swap(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.swap(value, order)
            }

            #[inline(always)]
            fn exchange(
                atom: &$atom,
                [current, new]: [$integer; 2],
                [success, failure]: [Ordering; 2],
                weak: bool,
            ) -> Result<$integer, $integer> {
                if weak {
                    atom.compare_exchange_weak(current, new, success, failure)
                } else {
                    atom.compare_exchange(current, new, success, failure)
                }
            }

            #[inline(always)]
            fn and(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_and(value, order)
            }

            #[inline(always)]
            fn nand(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_nand(value, order)
            }

            #[inline(always)]
            fn or(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_or(value, order)
            }

            #[inline(always)]
            fn xor(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_xor(value, order)
            }
        }

        impl sealed::Integer for $integer {
            #[inline(always)]
            fn add(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_add(value, order)
            }

            #[inline(always)]
            fn sub(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_sub(value, order)
            }

            #[inline(always)]
            fn larger(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_max(value, order)
            }

            #[inline(always)]
            fn smaller(atom: &$atom, value: $integer, order: Ordering) -> $integer {
                atom.fetch_min(value, order)
            }
        }

        impl AtomicPrimitive for $integer {}
        impl AtomicInteger for $integer {}
    )*};
}

integers! {
    i8: AtomicI8
    i16: AtomicI16
    i32: AtomicI32
    i64: AtomicI64
    isize: AtomicIsize
    u8: AtomicU8
    u16: AtomicU16
    u32: AtomicU32
    u64: AtomicU64
    usize: AtomicUsize
}

/// The cell of a `bool`: a type of its own, for it is no `u8`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bool([u8; 8]);

/// As bytes, for another process may have written what is neither: all but 0 is `true`.
impl sealed::Primitive for bool {
    type Cell = Bool;
    type Atom = AtomicU8;

    fn cell(self) -> Bool {
        Bool([self.into(), 0, 0, 0, 0, 0, 0, 0])
    }

    #[inline(always)]
    fn load(atom: &AtomicU8, order: Ordering) -> bool {
        atom.load(order) != 0
    }

    #[inline(always)]
    fn store(atom: &AtomicU8, value: bool, order: Ordering) {
        atom.store(value.into(), order);
    }

    #[inline(always)]
    fn swap(atom: &AtomicU8, value: bool, order: Ordering) -> bool {
        atom.swap(value.into(), order) != 0
    }

    fn exchange(
        atom: &AtomicU8,
        [current, new]: [bool; 2],
        [success, failure]: [Ordering; 2],
        weak: bool,
    ) -> Result<bool, bool> {
        let exchange = |current: u8| {
            <u8 as sealed::Primitive>::exchange(atom, [current, new.into()], [success, failure], weak)
        };
        // Of a byte that is neither, the number is found first.
        let answer = match exchange(current.into()) {
            Err(is) if (is != 0) == current => exchange(is),
            answer => answer,
        };
        answer.map(|was| was != 0).map_err(|is| is != 0)
    }

    #[inline(always)]
    fn and(atom: &AtomicU8, value: bool, order: Ordering) -> bool {
        atom.fetch_and(value.into(), order) != 0
    }

    /// `!(x & true)` is `!x`, and `!(x & false)` is `true`: as std does it, for a `u8`'s own would set other bits.
    #[inline(always)]
    fn nand(atom: &AtomicU8, value: bool, order: Ordering) -> bool {
        if value { atom.fetch_xor(1, order) != 0 } else { atom.swap(1, order) != 0 }
    }

    #[inline(always)]
    fn or(atom: &AtomicU8, value: bool, order: Ordering) -> bool {
        atom.fetch_or(value.into(), order) != 0
    }

    #[inline(always)]
    fn xor(atom: &AtomicU8, value: bool, order: Ordering) -> bool {
        atom.fetch_xor(value.into(), order) != 0
    }
}

impl AtomicPrimitive for bool {}
