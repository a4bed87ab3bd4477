//! Structures of one's own in shared memory: what the crates above are made of, and primitives of one's own.
//!
//! A structure is a *head*, and behind it as many *items* as it is made with. Both are made of atomics, of [locks](crate::raw::RawLock), of
//! [gates](crate::gate), and of cells that only who has one of those locks looks into; so that any bytes another process may have left there are
//! valid, and references to them are sound. Who makes one gets it all zero.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{self, Claim, Object};
use crate::sys::memory::Span;
use crate::{Arena, Error, Result, Segment};

/// What may stand in shared memory as a structure.
///
/// # Safety
/// Of the type and of [`Item`](Layout::Item) this must hold:
/// - The layout does not depend on the compiler (`repr(C)` or `repr(transparent)`, down to primitives): programs that were built apart share it.
/// - It is valid whatever bytes stand there, also when another process changes them at any time: it is made of atomics, of this crate's raw
///   locks and gates, and of `UnsafeCell`s of plain data ([`Pod`](crate::Pod)), which its own code looks into under such a lock.
/// - It holds no pointers and nothing to be dropped, and is aligned to 64 bytes at most.
/// - All zero is a new one.
/// - [`Item`](Layout::Item) holds no `UnsafeCell`s but those of atomics, locks and gates: [`Shared::write`] and [`Shared::read`] copy bytes of items beside whoever has a lock.
///   (Locks in items are for who does not use those two.)
/// - Name, version, the type's name without its path, and both sizes tell this layout from all others of the programs that share it: whoever has the bytes of another
///   that is called the same takes them for this one.
pub unsafe trait Layout: Sync + 'static {
    /// What stands behind the head, as often as is asked for; `()` for nothing.
    type Item: Sync + 'static;

    /// What it is to its users, for errors: "a Semaphore".
    const NAME: &'static str;

    /// The number of this layout; whoever knows another one is told so.
    const VERSION: u32;
}

/// A structure that processes share: a handle, which is cloned and sent, and stays the same structure. It dereferences to its head.
///
/// In a segment of its own, or in an [`Arena`]; there it is not freed by itself but goes with the arena, for whoever has a handle may be using
/// it at any time.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use ipc_core::spawn;
/// use ipc_shm::raw::{Layout, Shared};
///
/// #[repr(C)]
/// struct Hits {
///     all: AtomicU32,
/// }
///
/// // SAFETY: `repr(C)`, atomics alone, no pointers; zero hits is a new one.
/// unsafe impl Layout for Hits {
///     type Item = AtomicU32;
///     const NAME: &str = "a table of hits";
///     const VERSION: u32 = 1;
/// }
///
/// fn hit(hits: Shared<Hits>, which: usize) {
///     hits.items()[which].fetch_add(1, Relaxed);
///     hits.all.fetch_add(1, Relaxed);
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hits = Shared::<Hits>::new(10)?;
/// spawn(hit, (hits.clone(), 3))?.join()?;
/// assert_eq!((hits.all.load(Relaxed), hits.items()[3].load(Relaxed)), (1, 1));
/// # Ok(())
/// # }
/// ```
pub struct Shared<T: Layout> {
    /// Keeps the memory mapped.
    object: Object,
    head: NonNull<T>,
    /// What stands behind the head.
    items: Span,
}

/// Of what a structure's memory is made, and its length counted in.
pub(crate) const LINE: usize = 64;

// SAFETY: the pointer is into the segment's mapping, which belongs to the process; what stands there may be seen by all threads (`Sync`).
unsafe impl<T: Layout> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Layout> Sync for Shared<T> {}

impl<T: Layout> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared { object: self.object.clone(), ..*self }
    }
}

impl<T: Layout> Shared<T> {
    /// From the head's beginning to the items'.
    const ITEMS: usize = size_of::<T>().next_multiple_of(align_of::<T::Item>());

    /// A new one in a segment of its own, with so many items, all zero.
    ///
    /// # Errors
    /// As [`Segment::new`].
    pub fn new(items: usize) -> Result<Shared<T>> {
        Shared::of(Object::structure(Claim::structure::<T>(), Shared::<T>::lines(items)?, None, false)?)
    }

    /// A new one in an arena.
    ///
    /// # Errors
    /// [`Error::NoMemory`] and others, as for whatever is made in an [`Arena`].
    pub fn new_with(items: usize, arena: &Arena) -> Result<Shared<T>> {
        Shared::of(Object::structure(
            Claim::structure::<T>(),
            Shared::<T>::lines(items)?,
            Some(arena),
            false,
        )?)
    }

    /// A new one in a segment of its own, of which each page is taken when it is first touched: what that means, [`Segment::lazy`] says. The head's are
    /// touched.
    ///
    /// # Errors
    /// As [`Segment::lazy`].
    pub fn lazy(items: usize) -> Result<Shared<T>> {
        Shared::of(Object::structure(Claim::structure::<T>(), Shared::<T>::lines(items)?, None, true)?)
    }

    fn lines(items: usize) -> Result<usize> {
        let bytes = size_of::<T::Item>().checked_mul(items).and_then(|bytes| bytes.checked_add(Self::ITEMS));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes =
            bytes.ok_or_else(|| Error::invalid("the length", format!("{items} items fit into no memory")))?;
        Ok(bytes.div_ceil(LINE).max(1))
    }

    fn of(object: Object) -> Result<Shared<T>> {
        const { assert!(align_of::<T>() <= LINE && align_of::<T::Item>() <= LINE) }
        if object.len() * LINE < Self::ITEMS.max(size_of::<T>()) {
            return Err(Error::not_a_segment(format!("it is too short for {}", T::NAME)));
        }
        crate::lock::raw::kernel().map_err(Error::refused)?;
        let (head, len) = (object.lines(), object.len() * LINE - Self::ITEMS);
        // SAFETY: within the object, whose length was compared with its segment's and is not less than the head's just now; mapped for writing as long as the
        // object is; what can be referred to there are atomics, and what is looked into under a lock (`Layout`).
        let items = unsafe { Span::new(head.add(Self::ITEMS), len) };
        Ok(Shared { object, head: head.cast(), items })
    }

    /// What stands behind the head: at least as many as it was made with, as it is rounded up to 64 bytes.
    pub fn items(&self) -> &[T::Item] {
        let count = self.items.len().checked_div(size_of::<T::Item>()).unwrap_or(0);
        // SAFETY: within the object (`of`), aligned as the head is to 64 and `ITEMS` to the item; mapped as long as `self` is; valid and to be shared
        // whatever stands there (`Layout`).
        unsafe { std::slice::from_raw_parts(self.items.start().cast::<T::Item>().as_ptr(), count) }
    }

    /// Copies bytes into what stands behind the head, from `at` on; `false`: there is not as much room, and nothing was copied.
    ///
    /// As [`Segment::write`]: it takes no lock.
    #[inline]
    pub fn write(&self, at: usize, from: &[u8]) -> bool {
        self.items.write(at, from)
    }

    /// Copies bytes out of what stands behind the head, from `at` on; `false`: there are not as many, and nothing was copied.
    ///
    /// As [`Segment::read`]: it takes no lock.
    #[inline]
    pub fn read(&self, at: usize, into: &mut [u8]) -> bool {
        self.items.read(at, into)
    }

    /// As [`read`](Shared::read), to the end of a vector.
    #[inline]
    pub fn append(&self, at: usize, len: usize, to: &mut Vec<u8>) -> bool {
        self.items.append(at, len, to)
    }

    /// Asks for the cache line that stands there, to be written soon: it may be another CPU's, and whoever waits for it then waits longer than for all else.
    /// A hint, which changes nothing; where there is no such instruction (but on x86-64), or nothing stands there, it does nothing.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        self.items.prefetch(at);
    }

    /// How far behind the segment's beginning its items begin.
    pub fn offset_of_items(&self) -> usize {
        self.object.data() + Self::ITEMS
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`]), or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.object.segment()
    }

    /// What tells it from all other objects, in every process.
    pub fn number(&self) -> u64 {
        self.object.number()
    }
}

impl<T: Layout> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: within the object and aligned, mapped as long as `self` is; valid and to be shared whatever stands there (`Layout`).
        unsafe { self.head.as_ref() }
    }
}

impl<T: Layout> TryFrom<Segment> for Shared<T> {
    type Error = Error;

    /// The structure that has the segment for itself.
    ///
    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or another version of it.
    fn try_from(segment: Segment) -> Result<Shared<T>> {
        Shared::of(Object::claimed_segment(segment, Claim::structure::<T>())?)
    }
}

impl<T: Layout> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: Layout> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        let arrived = object::Arrived::deserialize(deserializer)?;
        let object = Object::claimed(arrived, Claim::structure::<T>()).and_then(Shared::of);
        object.map_err(serde::de::Error::custom)
    }
}

impl<T: Layout> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("of", &T::NAME).field("object", &self.object).finish()
    }
}
