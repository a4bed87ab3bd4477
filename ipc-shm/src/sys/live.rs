//! Data without a lock: elements that are copied in and out while others may write them.
//!
//! There is never a reference to them, for nobody promises that nobody writes. An element of 1, 2, 4 or 8 bytes is one atomic word, and so
//! always whole; larger ones, and many at once, are copied as `memory.rs` does it, and may come half old and half new.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use bytemuck::Pod;

use super::memory::copy;
use super::place::within;
use crate::object::Object;

/// The elements of an object. Such objects are not freed in an arena: what stands here stays one as long as the segment is mapped.
#[derive(Debug)]
pub(crate) struct Live<T: Pod> {
    /// Keeps the memory mapped.
    object: Object,
    first: NonNull<T>,
}

// SAFETY: the pointer is into the segment's mapping, which belongs to the process; what is done there is copies of plain data that may race.
unsafe impl<T: Pod> Send for Live<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for Live<T> {}

impl<T: Pod> Clone for Live<T> {
    fn clone(&self) -> Live<T> {
        Live { object: self.object.clone(), ..*self }
    }
}

/// Reads one element by an atomic of its size.
macro_rules! load {
    ($atom:ident, $at:expr) => {{
        // SAFETY: an element in the mapping (`Live::at`), of this size and aligned to it; what else touches it are such atomics, and foreign code.
        let bits = unsafe { $atom::from_ptr($at.cast()) }.load(Acquire);
        bytemuck::pod_read_unaligned(bytemuck::bytes_of(&bits))
    }};
}

/// Writes one.
macro_rules! store {
    ($atom:ident, $at:expr, $element:expr) => {{
        let bits = bytemuck::pod_read_unaligned(bytemuck::bytes_of(&$element));
        // SAFETY: as above.
        unsafe { $atom::from_ptr($at.cast()) }.store(bits, Release);
    }};
}

impl<T: Pod> Live<T> {
    /// `None` where it does not lie in its segment, or not so that its elements can be atomics.
    pub(crate) fn of(object: Object) -> Option<Live<T>> {
        let first = within(object.segment(), object.data(), size_of::<T>().checked_mul(object.len())?)?;
        object.data().is_multiple_of(8).then_some(Live { object, first })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.object.len()
    }

    /// The address of the element that has `more` behind it.
    #[inline]
    fn at(&self, index: usize, more: usize) -> *mut T {
        assert!(index <= self.len() && more <= self.len() - index, "no element {index}");
        // SAFETY: within the object, or at its end, as was just seen; the object lies in the mapping.
        unsafe { self.first.add(index) }.as_ptr()
    }

    #[inline]
    pub(crate) fn load(&self, index: usize) -> T {
        let at = self.at(index, 1);
        match size_of::<T>() {
            1 => load!(AtomicU8, at),
            2 => load!(AtomicU16, at),
            4 => load!(AtomicU32, at),
            8 => load!(AtomicU64, at),
            size => {
                let mut element = MaybeUninit::<T>::zeroed();
                // SAFETY: one element in the mapping, and a local of the same size.
                unsafe { copy(at.cast(), element.as_mut_ptr().cast(), size) };
                // SAFETY: any bits are valid.
                unsafe { element.assume_init() }
            }
        }
    }

    #[inline]
    pub(crate) fn store(&self, index: usize, element: T) {
        let at = self.at(index, 1);
        match size_of::<T>() {
            1 => store!(AtomicU8, at, element),
            2 => store!(AtomicU16, at, element),
            4 => store!(AtomicU32, at, element),
            8 => store!(AtomicU64, at, element),
            // SAFETY: as above.
            size => unsafe { copy((&raw const element).cast(), at.cast(), size) },
        }
    }

    /// Copies as many elements as `into` has.
    pub(crate) fn read(&self, index: usize, into: &mut [T]) {
        let at = self.at(index, into.len());
        // SAFETY: so many elements in the mapping, as was just seen; a safe reference cannot point into it.
        unsafe { copy(at.cast(), into.as_mut_ptr().cast(), size_of_val(into)) };
    }

    /// Copies as many elements as `from` has.
    pub(crate) fn write(&self, index: usize, from: &[T]) {
        let at = self.at(index, from.len());
        // SAFETY: as above.
        unsafe { copy(from.as_ptr().cast(), at.cast(), size_of_val(from)) };
    }
}
