//! A value that processes share, without a lock.

use std::fmt;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{self, Contents, Home, Kind, Object};
use crate::sys::live::Live;
use crate::{Arena, Error, Result, Segment};

/// A value that processes share, without a lock. Python's `RawValue`, and `Value(…, lock=False)`.
///
/// It is got and set by copies. For what changes in one step there is [`Atomic`](crate::Atomic), and for what must be whole
/// [`Value`](crate::Value), or this in a [`Synchronized`](crate::Synchronized).
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::RawValue;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let progress = RawValue::new(0.0_f32)?;
/// let child = spawn(|progress: RawValue<f32>| progress.set(0.5), (progress.clone(),))?;
/// child.join()?;
/// assert_eq!(progress.get(), 0.5);
/// # Ok(())
/// # }
/// ```
///
/// | size of the type | who gets it while another sets it |
/// |---|---|
/// | 1, 2, 4 or 8 bytes | gets the old value or the new one, and sees all that was done before it was set |
/// | any other | may get some bytes of the one and some of the other, as from who is killed while he sets it |
#[derive(Clone)]
pub struct RawValue<T: Pod> {
    live: Live<T>,
}

impl<T: Pod> RawValue<T> {
    /// A new shared value, in a segment of its own: a page of memory, and a descriptor.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new).
    pub fn new(value: T) -> Result<RawValue<T>> {
        RawValue::create(value, Home::default())
    }

    /// A new shared value in an arena. It is not freed by itself but goes with the arena: who has a handle may use it at any time.
    ///
    /// # Errors
    /// As [`Value::new_with`](crate::Value::new_with).
    pub fn new_with(value: T, arena: &Arena) -> Result<RawValue<T>> {
        RawValue::create(value, arena.into())
    }

    fn create(value: T, home: Home<'_>) -> Result<RawValue<T>> {
        RawValue::of(Object::create(Kind::RawValue, Contents::Elements(&[value]), home)?)
    }

    fn of(object: Object) -> Result<RawValue<T>> {
        if object.len() != 1 {
            return Err(Error::not_a_segment("it holds more than one value"));
        }
        let live = Live::of(object).ok_or_else(|| Error::not_a_segment("it is too short"))?;
        Ok(RawValue { live })
    }

    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T {
        self.live.load(0)
    }

    /// Puts a value in.
    #[inline]
    pub fn set(&self, value: T) {
        self.live.store(0, value);
    }

    /// A new value that holds the same, and is another's affair from then on. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`new`](RawValue::new).
    pub fn copy(&self) -> Result<RawValue<T>> {
        RawValue::new(self.get())
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`]), or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.live.object().segment()
    }
}

impl<T: Pod> TryFrom<Segment> for RawValue<T> {
    type Error = Error;

    /// The value that has the segment for itself.
    ///
    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<RawValue<T>> {
        RawValue::of(Object::of_segment::<T>(segment, Kind::RawValue, None)?)
    }
}

impl<T: Pod> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.live.object().serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawValue<T>, D::Error> {
        let object = object::received_alone::<T, D>(Kind::RawValue, deserializer)?;
        RawValue::of(object).map_err(serde::de::Error::custom)
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}
