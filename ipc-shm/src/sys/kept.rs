//! A value of the process that is replaced and never freed, so that it can be had without a lock.
//!
//! What a forked copy finds in its memory may stand under a lock that a thread holds which was not copied. So the copy must be able to
//! look, and to put its own there, without any.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// At most one value at a time, for good.
pub(crate) struct Kept<T: 'static>(AtomicPtr<T>, PhantomData<T>);

impl<T: Send + Sync> Kept<T> {
    pub(crate) const fn new() -> Kept<T> {
        Kept(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or from a Box of `replace` that is never freed once it stands here.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Puts `new` in the place of what `get` gave; gives what stands there then, which is another one if another thread was first.
    pub(crate) fn replace(&self, old: Option<&'static T>, new: T) -> &'static T {
        let old = old.map_or(ptr::null_mut(), |old| ptr::from_ref(old).cast_mut());
        let mine = Box::into_raw(Box::new(new));
        match self.0.compare_exchange(old, mine, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just made, and leaked by this.
            Ok(_) => unsafe { &*mine },
            Err(theirs) => {
                // SAFETY: `mine` was shown to nobody. This is the only place that frees one.
                drop(unsafe { Box::from_raw(mine) });
                // SAFETY: as in `get`; not null, for nothing is ever taken away.
                unsafe { &*theirs }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_kept_and_the_second_is_told() {
        static VALUE: Kept<u32> = Kept::new();
        assert_eq!(VALUE.get(), None);
        assert_eq!(*VALUE.replace(None, 1), 1);
        assert_eq!(*VALUE.replace(None, 2), 1);
        assert_eq!(*VALUE.replace(VALUE.get(), 3), 3);
        assert_eq!(VALUE.get(), Some(&3));
    }
}
