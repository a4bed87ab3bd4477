//! A place in a segment: a lock, and the data behind it, of which only who has the lock sees references.
//!
//! Soundness: the data is of a type that any bits are valid for ([`Pod`]), it is never moved, and as long as processes keep to the lock
//! nobody writes while a reference exists. A process that writes without the lock is outside of what any library can keep in order; what
//! it can do to this one is what a thread with an unsafe block could.

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;
use ipc_core::primitive::time::Until;

use crate::Segment;
use crate::lock::raw::RawLock;
use crate::lock::word::{Refused, Taken};

/// See the module's documentation.
pub(crate) struct Place<T: ?Sized> {
    /// Keeps the memory mapped.
    segment: Segment,
    lock: NonNull<RawLock>,
    data: NonNull<T>,
}

// SAFETY: the pointers are into the segment's mapping, which belongs to the process; the data is plain, and references to it are given to
// who has the lock alone.
unsafe impl<T: ?Sized> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> Sync for Place<T> {}

impl<T: ?Sized> Clone for Place<T> {
    fn clone(&self) -> Self {
        Place { segment: self.segment.clone(), lock: self.lock, data: self.data }
    }
}

/// Whether `len` bytes at `at` lie in the segment, aligned.
fn lies_within(segment: &Segment, at: usize, len: usize, align: usize) -> bool {
    at.is_multiple_of(align) && at.checked_add(len).is_some_and(|end| end <= segment.len())
}

impl<T: Pod> Place<T> {
    /// The lock and the value that stand at these distances from the segment's beginning; `None` where they do not fit.
    pub(crate) fn of_value(segment: Segment, lock: usize, data: usize) -> Option<Place<T>> {
        let fits = lies_within(&segment, lock, size_of::<RawLock>(), align_of::<RawLock>())
            && lies_within(&segment, data, size_of::<T>(), align_of::<T>());
        // SAFETY: within the mapping, as was just seen; mappings begin at a page.
        fits.then(|| unsafe {
            let (lock, data) = (segment.as_ptr().add(lock).cast(), segment.as_ptr().add(data).cast());
            Place { segment, lock, data }
        })
    }
}

impl<T: Pod> Place<[T]> {
    /// The same for so many elements.
    pub(crate) fn of_array(segment: Segment, lock: usize, data: usize, len: usize) -> Option<Place<[T]>> {
        let fits = lies_within(&segment, lock, size_of::<RawLock>(), align_of::<RawLock>())
            && lies_within(&segment, data, size_of::<T>().checked_mul(len)?, align_of::<T>());
        // SAFETY: as above.
        fits.then(|| unsafe {
            let lock = segment.as_ptr().add(lock).cast();
            let data = NonNull::slice_from_raw_parts(segment.as_ptr().add(data).cast(), len);
            Place { segment, lock, data }
        })
    }
}

impl<T> Place<[T]> {
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }
}

impl<T: ?Sized> Place<T> {
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    #[inline]
    pub(crate) fn lock(&self) -> &RawLock {
        // SAFETY: in the segment's mapping, which is there as long as `self`; atomics only, so that any bits are valid.
        unsafe { self.lock.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn take(&self, until: Until) -> Result<(Taken, Held<'_, T>), Refused> {
        // SAFETY: `Held` borrows the place, and so keeps the segment mapped; where it is forgotten, the segment finds the lock in the
        // thread's list and stays mapped (`robust_list::holds_within`).
        let taken = unsafe { self.lock().take(until) }?;
        Ok((taken, Held { place: self, hand_on: false, thread: PhantomData }))
    }
}

impl<T: ?Sized> Place<T> {
    /// Frees the lock, for who has forgotten what [`take`](Place::take) gave.
    pub(crate) fn free(&self) {
        // SAFETY: the memory is mapped as long as `self` is there.
        unsafe { self.lock().free() };
    }
}

/// The lock of a place, taken by this thread, on which it stays.
pub(crate) struct Held<'a, T: ?Sized> {
    place: &'a Place<T>,
    hand_on: bool,
    thread: PhantomData<*const ()>,
}

impl<T: ?Sized> Held<'_, T> {
    pub(crate) fn lock(&self) -> &RawLock {
        self.place.lock()
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: plain data in the mapping; this thread has the lock, and gives no other reference that writes while this one is there.
        unsafe { self.place.data.as_ref() }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        let mut data = self.place.data;
        // SAFETY: as above; nobody else has the lock, a thread cannot take it twice, and `self` is borrowed for writing.
        unsafe { data.as_mut() }
    }

    /// What the lock has told is told to the next owner as well.
    pub(crate) fn hand_on(&mut self) {
        self.hand_on = true;
    }
}

impl<T: ?Sized> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the place is borrowed, so the memory is mapped.
        unsafe {
            if self.hand_on {
                self.place.lock().hand_on();
            } else {
                self.place.lock().free();
            }
        }
    }
}
