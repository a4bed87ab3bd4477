//! A value that processes share, behind a lock of its own.

use bytemuck::Pod;

use crate::lock::guard::{locking, travelling};
use crate::object::{Contents, Home, Kind, Object};
use crate::sys::place::Place;
use crate::{Error, Lock, Result};

/// A value that processes share, behind a lock that outlives its owner. Python's `multiprocessing.Value`.
///
/// A handle: cloned and sent, in arguments, results and through connections, it stays the same value. The type is one
/// that any bits are valid for ([`Pod`]: numbers, arrays of them, structures of one's own by its derive).
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::Value;
///
/// fn add(total: Value<u64>, n: u64) -> ipc_shm::Result<()> {
///     *total.lock()? += n;
///     Ok(())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let total = Value::new(0_u64)?;
///     let children: Vec<_> = (1..=4).map(|n| spawn(add, (total.clone(), n))).collect::<Result<_, _>>()?;
///     for child in children {
///         child.join()??;
///     }
///     assert_eq!(total.get()?, 10);
///     Ok(())
/// }
/// ```
///
/// ```
/// use ipc_shm::{LockError, Value};
///
/// let num = Value::new(1.5_f64)?;
/// match num.lock() {
///     Ok(mut num) => *num += 1.0,
///     Err(LockError::OwnerDied(died)) => {
///         eprintln!("process {} died with it", died.pid());
///         *died.recover() = 0.0;
///     }
///     Err(error) => return Err(error.into()),
/// }
/// assert_eq!(num.get()?, 2.5);
/// # Ok::<(), ipc_shm::Error>(())
/// ```
///
/// # Which types
///
/// | Python's code | here | | Python's code | here |
/// |---|---|---|---|---|
/// | `b`, `B` | `i8`, `u8` | | `l`, `L` | `i64`, `u64` |
/// | `h`, `H` | `i16`, `u16` | | `q`, `Q` | `i64`, `u64` |
/// | `i`, `I` | `i32`, `u32` | | `f`, `d` | `f32`, `f64` |
/// | `c` | `u8`; in an array also [as text](crate::Array::text) | | `u` | `u32`, a `char`'s number |
///
/// `bool` and `char` are none of them, as not all bits are one: a flag is an [`Atomic<bool>`](crate::Atomic) or a `u8`. A structure
/// is one by its derive, if it has no padding.
///
/// A program that receives one takes its type for the same by its name, without paths, its size and its alignment: two builds in which a field has changed
/// its meaning, and none of these, are not told apart. Then a new name does it.
///
/// ```
/// use ipc_shm::{Pod, Value, Zeroable};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "ipc_shm::bytemuck")] // or a dependency on bytemuck
/// #[repr(C)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// let point = Value::new(Point { x: 3.0, y: 4.0 })?;
/// point.update(|point| point.x *= 2.0)?;
/// assert_eq!(point.get()?.x, 6.0);
/// # Ok::<(), ipc_shm::Error>(())
/// ```
///
/// # When a process dies
///
/// | who dies | who notices | what happens |
/// |---|---|---|
/// | who has the lock | the next to lock, within microseconds; one who waits is woken | [`LockError::OwnerDied`](crate::LockError::OwnerDied), with the guard |
/// | who waits for it, or has just been woken | nobody need | the next is woken |
/// | the last process with a handle | the kernel | the memory is freed |
pub struct Value<T: Pod> {
    place: Place<T>,
}

impl<T: Pod> Value<T> {
    locking!(T);

    /// A new shared value, in a segment of its own: a page of memory, and a descriptor.
    ///
    /// # Errors
    /// [`Error::NoMemory`] and [`Error::Os`], as of [`Segment::new`](crate::Segment::new); [`Error::Invalid`] for a type that is aligned to more than 64
    /// bytes.
    pub fn new(value: T) -> Result<Value<T>> {
        Value::new_with(value, Home::default())
    }

    /// A new shared value in an [arena](crate::Arena), behind a [lock](Lock) that guards other objects, too, or both: see [`Home`].
    ///
    /// # Errors
    /// As [`new`](Value::new); [`Error::NoMemory`] if the arena is full, [`Error::TimedOut`] if its lock is not free within 30 seconds.
    pub fn new_with<'a>(value: T, home: impl Into<Home<'a>>) -> Result<Value<T>> {
        let home = home.into();
        let object = Object::create(Kind::Value, Contents::Elements(&[value]), home)?;
        Value::of(object, home.lock.cloned())
    }

    pub(crate) fn place(&self) -> &Place<T> {
        &self.place
    }

    fn of(object: Object, given: Option<Lock>) -> Result<Value<T>> {
        if object.len() != 1 {
            return Err(Error::not_a_segment("it holds more than one value"));
        }
        let place = Place::of_value(object, given);
        place.map(|place| Value { place }).ok_or_else(|| Error::not_a_segment("it is too short"))
    }

    /// A copy of the value, made under the lock.
    ///
    /// # Errors
    /// [`Error::OwnerDied`], [`Error::Poisoned`], and the others of [`lock`](Value::lock). What a dead owner left stays for who
    /// [locks](Value::lock), who is told as well.
    pub fn get(&self) -> Result<T> {
        self.with(|value| *value)
    }

    /// Puts another value in, under the lock; gives the old one.
    ///
    /// # Errors
    /// As [`get`](Value::get).
    pub fn replace(&self, value: T) -> Result<T> {
        self.with(|old| std::mem::replace(old, value))
    }

    /// Puts a value in, under the lock.
    ///
    /// # Errors
    /// As [`get`](Value::get).
    pub fn set(&self, value: T) -> Result<()> {
        self.replace(value).map(drop)
    }

    /// Changes the value in one step, under the lock, and gives what `f` gives. Python's trap, `value += 1` that is read and written apart,
    /// cannot be written.
    ///
    /// ```
    /// let n = ipc_shm::Value::new(41)?;
    /// assert_eq!(n.update(|n| { *n += 1; *n })?, 42);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Value::get); `f` was not called then.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.with(f)
    }

    /// A new value that holds the same, with a lock of its own. Python's `sharedctypes.copy`.
    ///
    /// # Errors
    /// As [`get`](Value::get) and [`new`](Value::new).
    pub fn copy(&self) -> Result<Value<T>> {
        Value::new(self.get()?)
    }
}

travelling!(Value<T>, Kind::Value);
