//! An array that processes share, behind a lock of its own.

use std::ops::RangeBounds;

use bytemuck::Pod;

use crate::lock::guard::{locking, travelling};
use crate::object::{Contents, Home, Kind, Object};
use crate::raw_array;
use crate::sys::place::Place;
use crate::{Error, Lock, Result};

/// An array of fixed length that processes share, behind a lock that outlives its owner. Python's `multiprocessing.Array`.
///
/// A handle, as [`Value`](crate::Value) is: what stands there of types, locks and deaths holds here. The guard gives a slice.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::Array;
///
/// fn negate(numbers: Array<i32>) -> ipc_shm::Result<()> {
///     numbers.lock()?.iter_mut().for_each(|n| *n = -*n);
///     Ok(())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let numbers = Array::from_slice(&[0_i32, 1, 2, 3])?;
///     spawn(negate, (numbers.clone(),))?.join()??;
///     assert_eq!(numbers.to_vec()?, [0, -1, -2, -3]);
///     assert_eq!(numbers.get(3)?, -3);
///     Ok(())
/// }
/// ```
pub struct Array<T: Pod> {
    place: Place<[T]>,
}

impl<T: Pod> Array<T> {
    locking!([T]);

    /// A new array of `len` zeros; `len` may be 0.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    pub fn zeroed(len: usize) -> Result<Array<T>> {
        Array::zeroed_with(len, Home::default())
    }

    /// A new array with these elements.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    pub fn from_slice(elements: &[T]) -> Result<Array<T>> {
        Array::from_slice_with(elements, Home::default())
    }

    /// A new array with what an iterator gives.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    #[expect(clippy::should_implement_trait, reason = "it can fail, and FromIterator cannot")]
    pub fn from_iter(elements: impl IntoIterator<Item = T>) -> Result<Array<T>> {
        Array::from_slice(&elements.into_iter().collect::<Vec<T>>())
    }

    /// As [`zeroed`](Array::zeroed), in an arena, behind a lock that is given, or both: see [`Home`].
    ///
    /// # Errors
    /// As [`Value::new_with`](crate::Value::new_with).
    pub fn zeroed_with<'a>(len: usize, home: impl Into<Home<'a>>) -> Result<Array<T>> {
        Array::create(Contents::Zeros(len), home.into())
    }

    /// As [`from_slice`](Array::from_slice), in an arena, behind a lock that is given, or both: see [`Home`].
    ///
    /// # Errors
    /// As [`Value::new_with`](crate::Value::new_with).
    pub fn from_slice_with<'a>(elements: &[T], home: impl Into<Home<'a>>) -> Result<Array<T>> {
        Array::create(Contents::Elements(elements), home.into())
    }

    pub(crate) fn place(&self) -> &Place<[T]> {
        &self.place
    }

    fn create(contents: Contents<'_, T>, home: Home<'_>) -> Result<Array<T>> {
        Array::of(Object::create(Kind::Array, contents, home)?, home.lock.cloned())
    }

    fn of(object: Object, given: Option<Lock>) -> Result<Array<T>> {
        let place = Place::of_array(object, given);
        place.map(|place| Array { place }).ok_or_else(|| Error::not_a_segment("it is too short"))
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.place.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of one element, made under the lock.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`]; [`Error::OwnerDied`], [`Error::Poisoned`] and the others of [`lock`](Array::lock). What a dead owner left stays for
    /// who [locks](Array::lock), who is told as well.
    pub fn get(&self, index: usize) -> Result<T> {
        self.check(index)?;
        self.with(|elements| elements[index])
    }

    /// Puts an element in, under the lock.
    ///
    /// # Errors
    /// As [`get`](Array::get).
    pub fn set(&self, index: usize, element: T) -> Result<()> {
        self.check(index)?;
        self.with(|elements| elements[index] = element)
    }

    /// A copy of some elements, made under the lock. Python's `array[a:b]`.
    ///
    /// ```
    /// let array = ipc_shm::Array::from_iter(0..10)?;
    /// array.set_range(..2, &[7, 8])?;
    /// assert_eq!(array.get_range(1..=3)?, [8, 2, 3]);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]: there are not as many, or the range ends before it begins; otherwise as [`get`](Array::get).
    pub fn get_range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        let range = raw_array::elements(range, self.there()?)?;
        self.with(|all| all[range].to_vec())
    }

    /// Puts elements in under the lock, as many as the range has. Python's `array[a:b] = elements`.
    ///
    /// # Errors
    /// As [`get_range`](Array::get_range); [`Error::Invalid`], too, where there are more or fewer elements than the range has.
    pub fn set_range(&self, range: impl RangeBounds<usize>, elements: &[T]) -> Result<()> {
        let range = raw_array::places(range, self.there()?, elements.len())?;
        self.with(|all| all[range].copy_from_slice(elements))
    }

    /// A copy of all elements, made under the lock.
    ///
    /// # Errors
    /// As [`get`](Array::get).
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.with(|elements| elements.to_vec())
    }

    /// Copies all elements out, under the lock.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `elements` is not as long as the array; otherwise as [`get`](Array::get).
    pub fn copy_to_slice(&self, elements: &mut [T]) -> Result<()> {
        self.check_len(elements.len())?;
        self.with(|all| elements.copy_from_slice(all))
    }

    /// Copies all elements in, under the lock.
    ///
    /// # Errors
    /// As [`copy_to_slice`](Array::copy_to_slice).
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        self.check_len(elements.len())?;
        self.with(|all| all.copy_from_slice(elements))
    }

    /// Changes the elements in one step, under the lock, and gives what `f` gives.
    ///
    /// # Errors
    /// As [`get`](Array::get); `f` was not called then.
    pub fn update<R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        self.with(f)
    }

    /// A new array that holds the same, with a lock of its own. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`get`](Array::get) and [`from_slice`](Array::from_slice).
    pub fn copy(&self) -> Result<Array<T>> {
        Array::from_slice(&self.to_vec()?)
    }

    /// How many elements are there. One that was freed on its way in a message has none, and that is not what is wrong with an index.
    fn there(&self) -> Result<usize> {
        if self.place.is_freed() { Err(Error::Freed) } else { Ok(self.len()) }
    }

    fn check(&self, index: usize) -> Result<()> {
        let len = self.there()?;
        if index < len { Ok(()) } else { Err(Error::OutOfBounds { index, len }) }
    }

    fn check_len(&self, len: usize) -> Result<()> {
        if len == self.there()? {
            return Ok(());
        }
        Err(Error::invalid("the slice", format!("it has {len} elements, and the array {}", self.len())))
    }
}

travelling!(Array<T>, Kind::Array);
