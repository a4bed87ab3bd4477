//! A list under its lock.

use std::fmt;

use super::ListWord;
use super::item::Item;
use super::layout;
use crate::lock::error::{LockError, OwnerDied, Poisoned};
use crate::lock::guard::{Guard, Guarded, sealed};
use crate::lock::raw::RawLock;
use crate::{Locking, Result};

/// A [`ShareableList`](crate::ShareableList) under its lock: several items are read and changed in one step.
///
/// It stays on the thread that took the lock. Dropped while its thread panics, it poisons the lock.
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct ListGuard<'a> {
    words: Guard<'a, [ListWord]>,
    len: usize,
}

impl sealed::Sealed for ListGuard<'_> {}

impl Guarded for ListGuard<'_> {
    fn raw(&self) -> &RawLock {
        self.words.raw()
    }

    fn answer_for(&mut self) {
        self.words.answer_for();
    }
}

impl<'a> ListGuard<'a> {
    pub(super) fn new(words: Guard<'a, [ListWord]>, len: usize) -> ListGuard<'a> {
        ListGuard { words, len }
    }

    /// Of an array's lock.
    pub(super) fn of(
        taken: Locking<'a, [ListWord]>,
        len: usize,
    ) -> Result<ListGuard<'a>, LockError<ListGuard<'a>>> {
        let guard = |words| ListGuard::new(words, len);
        match taken {
            Ok(words) => Ok(guard(words)),
            Err(LockError::OwnerDied(OwnerDied { guard: words, pid })) => {
                Err(LockError::OwnerDied(OwnerDied { guard: guard(words), pid }))
            }
            Err(LockError::Poisoned(Poisoned { guard: words })) => {
                Err(LockError::Poisoned(Poisoned { guard: guard(words) }))
            }
            Err(LockError::Lost) => Err(LockError::Lost),
            Err(LockError::WouldBlock) => Err(LockError::WouldBlock),
            Err(LockError::TimedOut) => Err(LockError::TimedOut),
            Err(LockError::Error(error)) => Err(LockError::Error(error)),
        }
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at an index.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds), [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn get(&self, index: usize) -> Result<Item> {
        layout::get(bytemuck::cast_slice(&self.words), self.len, index)
    }

    /// Puts an item at an index, of whatever type.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds), [`Error::TooLong`](crate::Error::TooLong),
    /// [`Error::Corrupt`](crate::Error::Corrupt); nothing has changed then.
    pub fn set(&mut self, index: usize, item: impl Into<Item>) -> Result<()> {
        layout::set(bytemuck::cast_slice_mut(&mut self.words), self.len, index, &item.into())
    }

    /// All items.
    ///
    /// # Errors
    /// As [`get`](ListGuard::get).
    pub fn to_vec(&self) -> Result<Vec<Item>> {
        layout::items(bytemuck::cast_slice(&self.words), self.len).collect()
    }

    /// How many bytes of text the place of an item has.
    ///
    /// # Errors
    /// As [`get`](ListGuard::get).
    pub fn capacity(&self, index: usize) -> Result<usize> {
        layout::capacity(bytemuck::cast_slice(&self.words), self.len, index)
    }
}

impl fmt::Debug for ListGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = layout::items(bytemuck::cast_slice(&self.words), self.len);
        f.debug_list().entries(items.map(|item| item.map_err(|error| error.to_string()))).finish()
    }
}
