//! Words of a segment, as atomics: for what this crate keeps in shared memory beside locks and data.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::Segment;
use crate::lock::raw::RawLock;

impl Segment {
    /// The word of 32 bits at a distance that the caller has computed and not been told.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < self.len() && self.len() - at >= 4, "no word at {at}");
        // SAFETY: within the mapping, which lives as long as `self`, and aligned, as was just seen; for an atomic any bits are valid, and others may
        // change it.
        unsafe { self.as_ptr().add(at).cast().as_ref() }
    }

    /// As [`word`](Segment::word), of 64 bits.
    pub(crate) fn long(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.len() && self.len() - at >= 8, "no word at {at}");
        // SAFETY: as above.
        unsafe { self.as_ptr().add(at).cast().as_ref() }
    }

    /// Where so many lines of 64 bytes begin.
    pub(crate) fn lines_at(&self, at: usize, lines: usize) -> NonNull<u8> {
        let fits = at <= self.len() && (self.len() - at) / 64 >= lines;
        assert!(at.is_multiple_of(64) && fits, "no {lines} lines at {at}");
        // SAFETY: within the mapping, as was just seen.
        unsafe { self.as_ptr().add(at) }
    }

    /// The same of a lock.
    pub(crate) fn lock_at(&self, at: usize) -> NonNull<RawLock> {
        let room = at < self.len() && self.len() - at >= size_of::<RawLock>();
        assert!(at.is_multiple_of(align_of::<RawLock>()) && room, "no lock at {at}");
        // SAFETY: within the mapping, as was just seen.
        unsafe { self.as_ptr().add(at).cast() }
    }
}
