//! What has no lock, together with one that its owner may take again.
//!
//! A guard of an [`RLock`] gives access to nothing, as a thread may have two of them, and two may not both give a `&mut`. So what is behind one is
//! got and set by copies, each made under the lock; and a guard held around several of them makes them one step.

use std::time::{Duration, Instant};

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use crate::{RLock, RLocking, RawArray, RawValue, Result};

/// A [`RawValue`] or a [`RawArray`], and an [`RLock`] that each operation takes. Python's `synchronized(obj, lock)`, and `Value(…, lock=RLock())`.
///
/// A handle: value and lock travel together.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::{RLock, RawArray, RawValue, Synchronized};
///
/// type Account = (Synchronized<RawValue<i64>>, Synchronized<RawArray<i64>>);
///
/// fn pay((balance, last): Account, amount: i64) -> ipc_shm::Result<()> {
///     let _both = balance.lock()?;                 // as `with balance.get_lock():`
///     balance.set(balance.get()? - amount)?;       // takes the lock once more
///     last.set(0, amount)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lock = RLock::new()?;
/// let balance = Synchronized::with_lock(RawValue::new(100)?, lock.clone());
/// let last = Synchronized::with_lock(RawArray::zeroed(8)?, lock);
/// let account = (balance.clone(), last.clone());
/// spawn(pay, (account.clone(), 30))?.join()??;
/// spawn(pay, (account, 20))?.join()??;
/// assert_eq!((balance.get()?, last.get(0)?), (50, 20));
/// # Ok(())
/// # }
/// ```
///
/// What is synchronized is no raw object, and cannot be so twice:
///
/// ```compile_fail
/// # use ipc_shm::{RawValue, Synchronized};
/// Synchronized::new(Synchronized::new(RawValue::new(1)?)?)?;
/// # Ok::<(), ipc_shm::Error>(())
/// ```
///
/// # When a process dies
///
/// | who dies | what happens |
/// |---|---|
/// | who has the lock | the next to take it is told ([`LockError::OwnerDied`](crate::LockError::OwnerDied)): what stands here may be half changed. So is whoever comes after that, until one has repaired it and says so ([`recover`](crate::LockError::recover)): `object.lock().or_else(LockError::recover)?` |
/// | who waits for it, or has just been woken | the next is woken |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
pub struct Synchronized<R: Raw> {
    raw: R,
    lock: RLock,
}

/// What a [`Synchronized`] can hold: a [`RawValue`] or a [`RawArray`].
pub trait Raw: Serialize + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

impl<T: Pod> sealed::Sealed for RawValue<T> {}
impl<T: Pod> sealed::Sealed for RawArray<T> {}
impl<T: Pod> Raw for RawValue<T> {}
impl<T: Pod> Raw for RawArray<T> {}

impl<R: Raw> Synchronized<R> {
    /// With a new lock. Other handles on the same raw object do not know of it.
    ///
    /// # Errors
    /// As [`RLock::new`].
    pub fn new(raw: R) -> Result<Synchronized<R>> {
        Ok(Synchronized::with_lock(raw, RLock::new()?))
    }

    /// With a lock that guards other things as well.
    pub fn with_lock(raw: R, lock: RLock) -> Synchronized<R> {
        Synchronized { raw, lock }
    }

    /// Takes the lock, or takes it once more: as long as the guard is there, what this thread does here is one step.
    ///
    /// # Errors
    /// As [`RLock::lock`].
    pub fn lock(&self) -> RLocking<'_> {
        self.lock.lock()
    }

    /// As [`lock`](Synchronized::lock), without waiting.
    ///
    /// # Errors
    /// As [`RLock::try_lock`].
    pub fn try_lock(&self) -> RLocking<'_> {
        self.lock.try_lock()
    }

    /// As [`lock`](Synchronized::lock), at most for `timeout`.
    ///
    /// # Errors
    /// As [`RLock::lock_timeout`].
    pub fn lock_timeout(&self, timeout: Duration) -> RLocking<'_> {
        self.lock.lock_timeout(timeout)
    }

    /// As [`lock`](Synchronized::lock), at most until `deadline`.
    ///
    /// # Errors
    /// As [`RLock::lock_deadline`].
    pub fn lock_deadline(&self, deadline: Instant) -> RLocking<'_> {
        self.lock.lock_deadline(deadline)
    }

    /// Whether somebody has the lock, at this moment. Python's `locked()`.
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// The process that has the lock, at this moment and as far as shared memory is to be believed.
    pub fn owner(&self) -> Option<u32> {
        self.lock.owner()
    }

    /// The lock. Python's `get_lock()`.
    pub fn rlock(&self) -> &RLock {
        &self.lock
    }

    /// What is behind it, to be had without the lock. Python's `get_obj()`.
    pub fn raw(&self) -> &R {
        &self.raw
    }
}

impl<T: Pod> Synchronized<RawValue<T>> {
    /// A copy of the value, made under the lock.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock).
    pub fn get(&self) -> Result<T> {
        let _guard = self.lock()?;
        Ok(self.raw.get())
    }

    /// Puts a value in, under the lock.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock); nothing was put in then.
    pub fn set(&self, value: T) -> Result<()> {
        self.replace(value).map(drop)
    }

    /// Puts another value in, under the lock; gives the old one.
    ///
    /// # Errors
    /// As [`set`](Synchronized::set).
    pub fn replace(&self, value: T) -> Result<T> {
        self.update(|old| std::mem::replace(old, value))
    }

    /// Changes the value in one step, under the lock, and gives what `f` gives. `f` works on a copy, which is put in when it returns.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock); `f` was not called then.
    pub fn update<A>(&self, f: impl FnOnce(&mut T) -> A) -> Result<A> {
        let _guard = self.lock()?;
        let mut value = self.raw.get();
        let answer = f(&mut value);
        self.raw.set(value);
        Ok(answer)
    }

    /// A new value that holds the same, with a lock of its own. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock), [`RawValue::new`] and [`new`](Synchronized::new).
    pub fn copy(&self) -> Result<Synchronized<RawValue<T>>> {
        Synchronized::new(RawValue::new(self.get()?)?)
    }
}

impl<T: Pod> Synchronized<RawArray<T>> {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// A copy of one element, made under the lock.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds); otherwise as [`lock`](Synchronized::lock).
    pub fn get(&self, index: usize) -> Result<T> {
        let _guard = self.lock()?;
        self.raw.get(index)
    }

    /// Puts an element in, under the lock.
    ///
    /// # Errors
    /// As [`get`](Synchronized::get).
    pub fn set(&self, index: usize, element: T) -> Result<()> {
        let _guard = self.lock()?;
        self.raw.set(index, element)
    }

    /// A copy of some elements, made under the lock.
    ///
    /// # Errors
    /// As [`RawArray::get_range`] and [`lock`](Synchronized::lock).
    pub fn get_range(&self, range: impl std::ops::RangeBounds<usize>) -> Result<Vec<T>> {
        let _guard = self.lock()?;
        self.raw.get_range(range)
    }

    /// Puts elements in, under the lock.
    ///
    /// # Errors
    /// As [`RawArray::set_range`] and [`lock`](Synchronized::lock).
    pub fn set_range(&self, range: impl std::ops::RangeBounds<usize>, elements: &[T]) -> Result<()> {
        let _guard = self.lock()?;
        self.raw.set_range(range, elements)
    }

    /// A copy of all elements, made under the lock.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock).
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.get_range(..)
    }

    /// Copies all elements out, under the lock.
    ///
    /// # Errors
    /// As [`RawArray::copy_to_slice`] and [`lock`](Synchronized::lock).
    pub fn copy_to_slice(&self, elements: &mut [T]) -> Result<()> {
        let _guard = self.lock()?;
        self.raw.copy_to_slice(elements)
    }

    /// Copies all elements in, under the lock.
    ///
    /// # Errors
    /// As [`copy_to_slice`](Synchronized::copy_to_slice).
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        self.set_range(.., elements)
    }

    /// Changes one element in one step, under the lock, and gives what `f` gives. `f` works on a copy, which is put in when it returns.
    ///
    /// # Errors
    /// As [`get`](Synchronized::get); `f` was not called then.
    pub fn update<A>(&self, index: usize, f: impl FnOnce(&mut T) -> A) -> Result<A> {
        let _guard = self.lock()?;
        let mut element = self.raw.get(index)?;
        let answer = f(&mut element);
        self.raw.set(index, element)?;
        Ok(answer)
    }

    /// A new array that holds the same, with a lock of its own. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock), [`RawArray::from_slice`] and [`new`](Synchronized::new).
    pub fn copy(&self) -> Result<Synchronized<RawArray<T>>> {
        Synchronized::new(RawArray::from_slice(&self.to_vec()?)?)
    }
}
