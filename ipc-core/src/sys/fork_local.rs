//! Values of one process that a forked child must not take for its own.
//!
//! fork copies the memory but not the threads: a child finds its parent's locks in the state of that moment, perhaps
//! held by a thread that it does not have, and its parent's lists, which speak of things that are not its own. So the
//! process-wide state of this crate stands in a [`ForkLocal`]: it carries the process it was made in, and in another
//! one it counts as not yet made. Reading takes no lock, so there is none to be found held.
//!
//! The other thing kept here, [`AppendList`], is for what a child *does* take over: the hooks to be run after a fork.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::incarnation::Incarnation;
use crate::primitive::mutant;

/// A value made once in every process that asks for it. It is never freed: another thread may be using it.
///
/// The pointer is `std`'s, or in a model loom's, which no static can hold: so the type has it as a parameter.
pub struct ForkLocal<T: 'static, P: Pointer<Made<T>> = AtomicPtr<Made<T>>>(P, std::marker::PhantomData<T>);

/// What the race to make a value is run on.
pub trait Pointer<T> {
    /// What is there.
    fn load(&self) -> *mut T;

    /// Puts `new` there if `old` is still there.
    ///
    /// # Errors
    /// Something else is.
    fn exchange(&self, old: *mut T, new: *mut T) -> Result<(), *mut T>;
}

impl<T> Pointer<T> for AtomicPtr<T> {
    fn load(&self) -> *mut T {
        AtomicPtr::load(self, Ordering::Acquire)
    }

    fn exchange(&self, old: *mut T, new: *mut T) -> Result<(), *mut T> {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// A value, and the process that it belongs to.
pub struct Made<T> {
    by: Incarnation,
    value: T,
}

impl<T: Send + Sync> ForkLocal<T> {
    pub(crate) const fn new() -> ForkLocal<T> {
        ForkLocal(AtomicPtr::new(ptr::null_mut()), std::marker::PhantomData)
    }
}

impl<T: Send + Sync, P: Pointer<Made<T>>> ForkLocal<T, P> {
    /// One that nobody has asked for its value, on a pointer that is null.
    pub fn on(null: P) -> ForkLocal<T, P> {
        ForkLocal(null, std::marker::PhantomData)
    }

    /// This process's value; `make` makes it. Threads that come at once may all make one, one of them is kept: so
    /// making must have no effect but the value.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> &'static T {
        let by = Incarnation::this();
        let mut found = self.0.load();
        // SAFETY: never freed (see below).
        if let Some(made) = unsafe { found.as_ref() }.filter(|made| made.by == by)
            && !mutant::is("each thread keeps its own")
        {
            return &made.value;
        }
        let mine = Box::into_raw(Box::new(Made { by, value: make() }));
        loop {
            match self.0.exchange(found, mine) {
                // SAFETY: just made, and leaked by this.
                Ok(()) => return unsafe { &(*mine).value },
                Err(now) => found = now,
            }
            if mutant::is("each thread keeps its own") {
                continue;
            }
            // SAFETY: never freed (see below).
            if let Some(made) = unsafe { found.as_ref() }.filter(|made| made.by == by) {
                // SAFETY: `mine` lost the race and was shown to nobody. This is the only place that frees one.
                drop(unsafe { Box::from_raw(mine) });
                return &made.value;
            }
        }
    }

    /// This process's value, if it was made.
    pub fn get(&self) -> Option<&'static T> {
        self.made().filter(|made| made.by.is_this()).map(|made| &made.value)
    }

    fn made(&self) -> Option<&'static Made<T>> {
        // SAFETY: what was stored came from a Box and is never freed.
        unsafe { self.0.load().as_ref() }
    }
}

/// A list that only grows, in the order of appending. Neither reading nor appending takes a lock.
pub(crate) struct AppendList<T: 'static> {
    first: AtomicPtr<Node<T>>,
}

struct Node<T> {
    value: T,
    next: AtomicPtr<Node<T>>,
}

impl<T: Send + Sync> AppendList<T> {
    pub(crate) const fn new() -> AppendList<T> {
        AppendList { first: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn append(&'static self, value: T) {
        let node = Box::into_raw(Box::new(Node { value, next: AtomicPtr::new(ptr::null_mut()) }));
        let mut end = &self.first;
        while let Err(next) = end.compare_exchange(ptr::null_mut(), node, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: not null, for the exchange failed; what was stored came from a Box and is never freed.
            end = unsafe { &(*next).next };
        }
    }

    pub(crate) fn iter(&'static self) -> impl Iterator<Item = &'static T> {
        let mut at = &self.first;
        std::iter::from_fn(move || {
            // SAFETY: what was stored came from a Box and is never freed.
            let node = unsafe { at.load(Ordering::Acquire).as_ref() }?;
            at = &node.next;
            Some(&node.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn all_threads_get_one_value() {
        static VALUE: ForkLocal<usize> = ForkLocal::new();
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let barrier = Barrier::new(4);
        assert!(VALUE.get().is_none());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let value = VALUE.get_or_make(|| MADE.fetch_add(1, Ordering::Relaxed));
                    assert!(ptr::eq(value, VALUE.get().unwrap()));
                });
            }
        });
    }

    #[test]
    fn a_forked_child_makes_its_own() {
        static VALUE: ForkLocal<u32> = ForkLocal::new();
        let parent = *VALUE.get_or_make(std::process::id);
        // SAFETY: the child calls nothing but getpid, the allocator (which glibc's fork keeps usable) and _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let right = VALUE.get().is_none() && *VALUE.get_or_make(std::process::id) == std::process::id();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if right { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above; the status is written to a local.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        assert_eq!(VALUE.get(), Some(&parent));
    }

    #[test]
    fn a_process_of_the_same_number_makes_its_own() {
        use crate::process::alone::{alone, in_fork, is_root};
        static VALUE: ForkLocal<u32> = ForkLocal::new();
        if !is_root("a process 1 that is a copy of a process 1") {
            return;
        }
        // Its next child is process 1 of a new pid namespace.
        fn unshare() {
            // SAFETY: numbers only.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        }
        alone("sys::fork_local::tests::a_process_of_the_same_number_makes_its_own", || {
            unshare();
            let code = in_fork(|| {
                assert_eq!(*VALUE.get_or_make(std::process::id), 1);
                unshare();
                in_fork(|| {
                    assert_eq!(std::process::id(), 1);
                    assert!(VALUE.get().is_none());
                    0
                })
            });
            assert_eq!(code, 0);
        });
    }

    #[test]
    fn a_list_keeps_the_order_of_each_appender() {
        static LIST: AppendList<(usize, usize)> = AppendList::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (0..1000).for_each(|item| LIST.append((thread, item))));
            }
        });
        for thread in 0..4 {
            let items = LIST.iter().filter(|(by, _)| *by == thread).map(|(_, item)| *item);
            assert!(items.eq(0..1000));
        }
    }
}
