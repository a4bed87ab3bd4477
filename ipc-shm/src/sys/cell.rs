//! The cell of an atomic: 8 bytes in a segment, beside a gate.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{self, SeqCst};

use crate::atomic::AtomicPrimitive;
use crate::gate::State;
use crate::lock::system::Node;
use crate::object::Object;

/// An atomic's object. Atomics are not freed in an arena: what stands here stays one as long as the segment is mapped.
#[derive(Debug)]
pub(crate) struct Cell<T: AtomicPrimitive> {
    /// Keeps the memory mapped.
    object: Object,
    gate: NonNull<Node>,
    atom: NonNull<T::Atom>,
}

// SAFETY: the pointers are into the segment's mapping, which belongs to the process, and to atomics.
unsafe impl<T: AtomicPrimitive> Send for Cell<T> {}
// SAFETY: as above.
unsafe impl<T: AtomicPrimitive> Sync for Cell<T> {}

impl<T: AtomicPrimitive> Clone for Cell<T> {
    fn clone(&self) -> Cell<T> {
        Cell { object: self.object.clone(), ..*self }
    }
}

impl<T: AtomicPrimitive> Cell<T> {
    /// Of an object whose elements are cells; the gate stands where others have their lock.
    pub(crate) fn of(object: Object) -> Cell<T> {
        let segment = object.segment();
        let gate = segment.lock_at(object.lock()).cast();
        let atom = NonNull::from(segment.long(object.data())).cast();
        Cell { object, gate, atom }
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    #[inline(always)]
    pub(crate) fn gate(&self) -> &Node {
        // SAFETY: in the segment's mapping, which is there as long as `self`; atomics only, so that any bits are valid.
        unsafe { self.gate.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn atom(&self) -> &T::Atom {
        // SAFETY: as above: at the beginning of 8 bytes, aligned to 8.
        unsafe { self.atom.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> T {
        T::load(self.atom(), order)
    }
}

impl<T: AtomicPrimitive> State for Cell<T> {
    type Seen = T;
    const WORDS: usize = if size_of::<T>() > 4 { 2 } else { 1 };

    fn load(&self) -> T {
        self.load(SeqCst)
    }

    fn address(&self) -> *const u32 {
        self.atom.as_ptr().cast::<u32>().cast_const()
    }

    /// What stands behind a small value is zero.
    fn words(seen: T) -> [u32; 2] {
        bytemuck::pod_read_unaligned(bytemuck::bytes_of(&seen.cell()))
    }
}
