//! Guards: the lock as long as they live, and the data behind it.

use std::fmt;
use std::ops::{Deref, DerefMut};

use ipc_core::primitive::time::Until;

use super::error::LockError;
use super::raw::RawLock;
use crate::Error;
use crate::sys::place::{Held, Place};

/// What errors need of a guard.
pub trait Guarded: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn raw(&self) -> &RawLock;

    /// Its owner answers for the data from now on: it is not dropped by one who had no occasion to repair anything.
    #[doc(hidden)]
    fn answer_for(&mut self);
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// The data behind a lock, as long as this lives. It stays on the thread that took the lock.
///
/// Dropped while its thread panics, it poisons the lock, as std's does.
///
/// ```compile_fail,E0277
/// # use ipc_shm::Value;
/// let value = Value::new(1).unwrap();
/// let guard = value.lock().unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(guard));
/// });
/// ```
///
/// Nor does it outlive the memory that it stands in:
///
/// ```compile_fail,E0505
/// # use ipc_shm::Value;
/// let value = Value::new(1).unwrap();
/// let guard = value.lock().unwrap();
/// drop(value);
/// drop(guard);
/// ```
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct Guard<'a, T: ?Sized> {
    held: Held<'a, T>,
}

impl<T: ?Sized> sealed::Sealed for Guard<'_, T> {}

impl<T: ?Sized> Guarded for Guard<'_, T> {
    fn raw(&self) -> &RawLock {
        self.held.lock()
    }

    fn answer_for(&mut self) {
        self.held.answer_for();
    }
}

impl<'a, T: ?Sized> Guard<'a, T> {
    #[inline(always)]
    pub(crate) fn take(place: &'a Place<T>, until: Until) -> Result<Self, LockError<Self>> {
        match place.take_at_once() {
            Some(held) => Ok(Guard { held }),
            None => Guard::take_in_full(place, until),
        }
    }

    /// By one who has to wait, or be told something.
    #[inline(never)]
    fn take_in_full(place: &'a Place<T>, until: Until) -> Result<Self, LockError<Self>> {
        let (taken, held) = place.take(until).map_err(LockError::refused)?;
        LockError::told(taken, Guard { held })
    }
}

/// A guard whose lock can be given back for a while and taken again: what a condition (`ipc-sync`) sleeps between.
///
/// ```
/// use ipc_shm::{Released, Relock, Value};
///
/// let value = Value::new(1)?;
/// let guard = value.lock()?;
/// let released = guard.release();
/// value.set(2)?;                           // anybody may
/// let guard = released.relock()?;
/// assert_eq!(*guard, 2);
/// # Ok::<(), ipc_shm::Error>(())
/// ```
pub trait Relock: Guarded {
    /// The lock that was given back.
    type Released: Released<Guard = Self>;

    /// Gives the lock back, as often as the thread has it.
    fn release(self) -> Self::Released;
}

/// A lock that was given back, by who wants it again: see [`Relock`].
pub trait Released: sealed::Sealed + Sized {
    /// Its guard.
    type Guard: Relock;

    /// Waits for the lock, and has it as it was.
    ///
    /// # Errors
    /// As `lock` of what the guard is of: a lock whose owner has died meanwhile, say.
    fn relock(self) -> Result<Self::Guard, LockError<Self::Guard>>;
}

/// The lock of a [`Guard`], given back.
pub struct ReleasedGuard<'a, T: ?Sized>(&'a Place<T>);

impl<T: ?Sized> sealed::Sealed for ReleasedGuard<'_, T> {}

impl<'a, T: ?Sized> Relock for Guard<'a, T> {
    type Released = ReleasedGuard<'a, T>;

    fn release(self) -> ReleasedGuard<'a, T> {
        ReleasedGuard(self.held.place())
    }
}

impl<'a, T: ?Sized> Released for ReleasedGuard<'a, T> {
    type Guard = Guard<'a, T>;

    fn relock(self) -> Locking<'a, T> {
        Guard::take(self.0, Until::Forever)
    }
}

impl Guard<'_, ()> {
    /// The data of an object that this guard's lock was given to.
    pub(crate) fn lend<'a, T: ?Sized>(&'a mut self, place: &'a Place<T>) -> crate::Result<&'a mut T> {
        if place.given().is_none() {
            return Err(Error::invalid("the guard", "the object has a lock of its own"));
        }
        if place.is_freed() {
            return Err(Error::Freed);
        }
        place.under(&mut self.held).ok_or_else(|| Error::invalid("the guard", "it is of another lock"))
    }
}

impl<T: ?Sized> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.held.get()
    }
}

impl<T: ?Sized> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.held.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What an operation says that could not repair anything.
#[cold]
#[inline(never)]
pub(crate) fn refused<T: ?Sized>(error: LockError<Guard<'_, T>>) -> crate::Error {
    error.into()
}

/// The four ways to wait for the lock of a handle with a `place`, whose guard gives a `$data`.
macro_rules! locking {
    ($data:ty) => {
        /// Waits for the lock. The guard gives the data, to read and to write.
        ///
        /// # Errors
        /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) and [`LockError::Poisoned`](crate::LockError::Poisoned) come with the guard;
        /// [`LockError::Lost`](crate::LockError::Lost); [`Error::AlreadyHeld`](crate::Error::AlreadyHeld) if this thread has the lock;
        /// [`Error::TooManyLocks`](crate::Error::TooManyLocks) if it has as many as the kernel looks after (2047).
        #[inline]
        pub fn lock(&self) -> $crate::lock::guard::Locking<'_, $data> {
            $crate::Guard::take(&self.place, $crate::Until::Forever)
        }

        /// As [`lock`](Self::lock), without waiting.
        ///
        /// # Errors
        /// [`LockError::WouldBlock`](crate::LockError::WouldBlock) if somebody has it; otherwise as [`lock`](Self::lock).
        #[inline]
        pub fn try_lock(&self) -> $crate::lock::guard::Locking<'_, $data> {
            $crate::Guard::take(&self.place, $crate::Until::Now)
        }

        /// As [`lock`](Self::lock), at most for `timeout`.
        ///
        /// # Errors
        /// [`LockError::TimedOut`](crate::LockError::TimedOut) when somebody has it still; otherwise as [`lock`](Self::lock).
        pub fn lock_timeout(&self, timeout: std::time::Duration) -> $crate::lock::guard::Locking<'_, $data> {
            $crate::Guard::take(&self.place, $crate::Until::after(timeout))
        }

        /// As [`lock`](Self::lock), at most until `deadline`.
        ///
        /// # Errors
        /// As [`lock_timeout`](Self::lock_timeout).
        pub fn lock_deadline(&self, deadline: std::time::Instant) -> $crate::lock::guard::Locking<'_, $data> {
            $crate::Guard::take(&self.place, $crate::Until::Deadline(deadline))
        }

        /// The data, for who has taken the lock that was [given](crate::Home) to it: several objects behind one lock are changed in one step so.
        ///
        /// # Errors
        /// [`Error::Invalid`](crate::Error::Invalid): the guard is of another lock, or the object was given none.
        /// [`Error::Freed`](crate::Error::Freed).
        pub fn under<'a>(&'a self, guard: &'a mut $crate::Guard<'_, ()>) -> $crate::Result<&'a mut $data> {
            guard.lend(&self.place)
        }

        /// Whether somebody has the lock, at this moment. Python's `locked()`.
        pub fn is_locked(&self) -> bool {
            !self.place.is_freed() && self.place.lock().is_locked()
        }

        /// The process that has the lock, at this moment and as far as shared memory is to be believed.
        pub fn owner(&self) -> Option<u32> {
            self.place.lock().owner().filter(|_| !self.place.is_freed())
        }

        /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`](crate::Segment::into_fd)), or
        /// that of its arena.
        pub fn segment(&self) -> &$crate::Segment {
            self.place.segment()
        }

        /// Changes the data in one step, for an operation that could not repair what a dead owner has left.
        #[inline(always)]
        fn with<R>(&self, f: impl FnOnce(&mut $data) -> R) -> $crate::Result<R> {
            match self.lock() {
                Ok(mut guard) => Ok(f(&mut guard)),
                Err(error) => Err($crate::lock::guard::refused(error)),
            }
        }
    };
}

pub(crate) use locking;

/// What taking a lock gives.
pub type Locking<'a, T> = Result<Guard<'a, T>, LockError<Guard<'a, T>>>;

/// Handles travel as the places of their objects; `of` makes one of an object that has come.
macro_rules! travelling {
    ($handle:ident<$element:ident>, $kind:expr) => {
        impl<$element: bytemuck::Pod> TryFrom<$crate::Segment> for $handle<$element> {
            type Error = $crate::Error;

            /// The object that has the segment for itself, and a lock of its own.
            ///
            /// # Errors
            /// [`Error::NotASegment`](crate::Error::NotASegment): it holds something else, or was made by another version of this crate.
            fn try_from(segment: $crate::Segment) -> $crate::Result<$handle<$element>> {
                $handle::of($crate::object::Object::of_segment::<$element>(segment, $kind, None)?, None)
            }
        }

        impl<$element: bytemuck::Pod> Clone for $handle<$element> {
            /// Another handle on the same.
            fn clone(&self) -> $handle<$element> {
                $handle { place: self.place.clone() }
            }
        }

        impl<$element: bytemuck::Pod> $crate::object::sealed::Sealed for $handle<$element> {
            fn free_in(&self, arena: &$crate::Arena) -> $crate::Result<()> {
                self.place.free_in(arena)
            }
        }

        impl<$element: bytemuck::Pod> $crate::object::Placed for $handle<$element> {}

        impl<$element: bytemuck::Pod> serde::Serialize for $handle<$element> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (self.place.object(), self.place.given()).serialize(serializer)
            }
        }

        impl<'de, $element: bytemuck::Pod> serde::Deserialize<'de> for $handle<$element> {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$handle<$element>, D::Error> {
                let (object, lock) = $crate::object::received::<$element, D>($kind, deserializer)?;
                $handle::of(object, lock).map_err(serde::de::Error::custom)
            }
        }

        impl<$element: bytemuck::Pod + std::fmt::Debug> std::fmt::Debug for $handle<$element> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut handle = f.debug_struct(stringify!($handle));
                match self.try_lock() {
                    Ok(guard) => handle.field("data", &&*guard).finish(),
                    Err($crate::LockError::Poisoned(poisoned)) => {
                        handle.field("data", &&**poisoned.get_ref()).field("poisoned", &true).finish()
                    }
                    Err($crate::LockError::OwnerDied(died)) => {
                        handle.field("owner_died", &died.pid).finish_non_exhaustive()
                    }
                    Err($crate::LockError::WouldBlock) => {
                        handle.field("owner", &self.place.lock().owner()).finish_non_exhaustive()
                    }
                    Err(error) => {
                        let error = error.to_string();
                        handle.field("error", &error).finish_non_exhaustive()
                    }
                }
            }
        }
    };
}

pub(crate) use travelling;
