//! An array that processes share, without a lock.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{self, Contents, Home, Kind, Object};
use crate::sys::live::Live;
use crate::{Arena, Error, Result, Segment};

/// An array of fixed length that processes share, without a lock. Python's `RawArray`, and `Array(…, lock=False)`.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::RawArray;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let squares = RawArray::<u64>::zeroed(10)?;
/// let fill = |squares: RawArray<u64>| (0..10).try_for_each(|n| squares.set(n, (n * n) as u64));
/// spawn(fill, (squares.clone(),))?.join()??;
/// assert_eq!(squares.get(9)?, 81);
/// assert_eq!(squares.get_range(..4)?, [0, 1, 4, 9]);
/// assert_eq!(squares.iter().sum::<u64>(), 285);
/// # Ok(())
/// # }
/// ```
///
/// | what is copied | while another writes it |
/// |---|---|
/// | one element of 1, 2, 4 or 8 bytes ([`get`](RawArray::get), [`set`](RawArray::set), [`iter`](RawArray::iter)) | it is the old one or the new one, and who gets the new one sees all that was done before it was set |
/// | one element of another size | some of its bytes may be old, and some new |
/// | several elements | any of their bytes may be old or new, as with a writer that is killed half way |
///
/// Whole ranges are copied as memory is, and faster than one by one. What must be whole stands behind a lock: [`Array`](crate::Array), or this in a
/// [`Synchronized`](crate::Synchronized).
#[derive(Clone)]
pub struct RawArray<T: Pod> {
    live: Live<T>,
}

impl<T: Pod> RawArray<T> {
    /// A new array of `len` zeros; `len` may be 0.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    pub fn zeroed(len: usize) -> Result<RawArray<T>> {
        RawArray::create(Contents::Zeros(len), Home::default())
    }

    /// A new array with these elements.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    pub fn from_slice(elements: &[T]) -> Result<RawArray<T>> {
        RawArray::create(Contents::Elements(elements), Home::default())
    }

    /// A new array with what an iterator gives.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    #[expect(clippy::should_implement_trait, reason = "it can fail, and FromIterator cannot")]
    pub fn from_iter(elements: impl IntoIterator<Item = T>) -> Result<RawArray<T>> {
        RawArray::from_slice(&elements.into_iter().collect::<Vec<T>>())
    }

    /// As [`zeroed`](RawArray::zeroed), in an arena. It is not freed by itself but goes with the arena: who has a handle may use it at any
    /// time.
    ///
    /// # Errors
    /// As [`Value::new_with`](crate::Value::new_with).
    pub fn zeroed_with(len: usize, arena: &Arena) -> Result<RawArray<T>> {
        RawArray::create(Contents::Zeros(len), arena.into())
    }

    /// As [`from_slice`](RawArray::from_slice), in an arena.
    ///
    /// # Errors
    /// As [`zeroed_with`](RawArray::zeroed_with).
    pub fn from_slice_with(elements: &[T], arena: &Arena) -> Result<RawArray<T>> {
        RawArray::create(Contents::Elements(elements), arena.into())
    }

    fn create(contents: Contents<'_, T>, home: Home<'_>) -> Result<RawArray<T>> {
        RawArray::of(Object::create(Kind::RawArray, contents, home)?)
    }

    fn of(object: Object) -> Result<RawArray<T>> {
        let live = Live::of(object).ok_or_else(|| Error::not_a_segment("it is too short"))?;
        Ok(RawArray { live })
    }

    /// How many elements it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of one element.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    #[inline]
    pub fn get(&self, index: usize) -> Result<T> {
        self.check(index)?;
        Ok(self.live.load(index))
    }

    /// Puts an element in.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    #[inline]
    pub fn set(&self, index: usize, element: T) -> Result<()> {
        self.check(index)?;
        self.live.store(index, element);
        Ok(())
    }

    /// A copy of some elements. Python's `array[a:b]`.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there are not as many, or the range ends before it begins.
    pub fn get_range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        let range = self.range(range)?;
        let mut elements = vec![T::zeroed(); range.len()];
        self.live.read(range.start, &mut elements);
        Ok(elements)
    }

    /// Puts elements in, as many as the range has. Python's `array[a:b] = elements`.
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`get_range`](RawArray::get_range), and where there are more or fewer elements than the range has.
    pub fn set_range(&self, range: impl RangeBounds<usize>, elements: &[T]) -> Result<()> {
        let range = places(range, self.len(), elements.len())?;
        self.live.write(range.start, elements);
        Ok(())
    }

    /// A copy of all elements.
    pub fn to_vec(&self) -> Vec<T> {
        let mut elements = vec![T::zeroed(); self.len()];
        self.live.read(0, &mut elements);
        elements
    }

    /// Copies all elements out.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `elements` is not as long as the array.
    pub fn copy_to_slice(&self, elements: &mut [T]) -> Result<()> {
        self.check_len(elements.len())?;
        self.live.read(0, elements);
        Ok(())
    }

    /// Copies all elements in.
    ///
    /// # Errors
    /// As [`copy_to_slice`](RawArray::copy_to_slice).
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        self.set_range(.., elements)
    }

    /// The elements one by one, each as it is when it is asked for.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator {
        (0..self.len()).map(|index| self.live.load(index))
    }

    /// A new array that holds the same, and is another's affair from then on. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`from_slice`](RawArray::from_slice).
    pub fn copy(&self) -> Result<RawArray<T>> {
        RawArray::from_slice(&self.to_vec())
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`]), or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.live.object().segment()
    }

    fn check(&self, index: usize) -> Result<()> {
        let len = self.len();
        if index < len { Ok(()) } else { Err(Error::OutOfBounds { index, len }) }
    }

    fn check_len(&self, len: usize) -> Result<()> {
        if len == self.len() {
            return Ok(());
        }
        Err(Error::invalid("the slice", format!("it has {len} elements, and the array {}", self.len())))
    }

    /// The elements that a range means.
    fn range(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        elements(range, self.len())
    }
}

impl<T: Pod> TryFrom<Segment> for RawArray<T> {
    type Error = Error;

    /// The array that has the segment for itself.
    ///
    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<RawArray<T>> {
        RawArray::of(Object::of_segment::<T>(segment, Kind::RawArray, None)?)
    }
}

impl<T: Pod> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.live.object().serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawArray<T>, D::Error> {
        let object = object::received_alone::<T, D>(Kind::RawArray, deserializer)?;
        RawArray::of(object).map_err(serde::de::Error::custom)
    }
}

/// The elements of a range, of so many.
///
/// # Errors
/// [`Error::Invalid`]: there are not as many, or the range ends before it begins.
pub(crate) fn elements(range: impl RangeBounds<usize>, len: usize) -> Result<Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => Ok(start..end),
        _ => {
            let what = format!("the range {:?} to {:?}", range.start_bound(), range.end_bound());
            Err(Error::invalid(what, format!("there are {len} elements")))
        }
    }
}

/// As [`elements`], for as many as are to be put there.
///
/// # Errors
/// [`Error::Invalid`], too, where the range has more or fewer.
pub(crate) fn places(range: impl RangeBounds<usize>, len: usize, new: usize) -> Result<Range<usize>> {
    let range = elements(range, len)?;
    if range.len() != new {
        let why = format!("it has {new} elements, and the range {}", range.len());
        return Err(Error::invalid("the slice", why));
    }
    Ok(range)
}

/// Its length, and the first 16 elements: it may be longer than what memory there is for a copy.
impl<T: Pod + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<T> = self.iter().take(16).collect();
        f.debug_struct("RawArray").field("len", &self.len()).field("first", &first).finish_non_exhaustive()
    }
}
