//! A list of items of mixed types that processes share. Python's `ShareableList`, without its traps: [`ShareableList`] has both.
//!
//! The layout is our own (`layout`); Python's could not keep lengths.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};

#[cfg(feature = "named")]
use crate::SharedMemory;
use crate::lock::error::LockError;
use crate::lock::guard::refused;
use crate::{Array, Error, Home, Result, Segment};

pub(crate) mod guard;
pub(crate) mod item;
mod layout;
mod travel;

use guard::ListGuard;
use item::Item;

/// Eight bytes of a list: a type of its own, so that an array is not taken for one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct ListWord(u64);

/// Taking the list's lock.
type ListLocking<'a> = Result<ListGuard<'a>, LockError<ListGuard<'a>>>;

/// A list of fixed length that processes share, of numbers, text, bytes, truth and nothing ([`Item`]). Python's
/// `multiprocessing.shared_memory.ShareableList`.
///
/// A handle, as [`Value`](crate::Value) is: cloned and sent, it stays the same list, and what stands there of locks and deaths holds here. An item's
/// type may change. Its place is as long as it was made: for text and bytes the next multiple of 8 *above* their length in bytes, for all else 8
/// bytes; what does not fit later is [`Error::TooLong`].
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::{Item, ShareableList};
///
/// fn work(list: ShareableList) -> ipc_shm::Result<()> {
///     list.set(1, "done\0")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let list = ShareableList::new(["worker".into(), 1.into(), 273.15.into(), true.into(), ().into()])?;
/// spawn(work, (list.clone(),))?.join()??;
/// assert_eq!(list.get(1)?, Item::from("done\0")); // the NUL as well
/// assert_eq!(list.index(&true.into())?, Some(3));
/// assert!(matches!(list.set(0, "a longer name"), Err(ipc_shm::Error::TooLong { needed: 13, available: 8 })));
/// # Ok(())
/// # }
/// ```
///
/// Several items in one step go under its [lock](ShareableList::lock):
///
/// ```
/// use ipc_shm::{Item, LockError, ShareableList};
/// let list = ShareableList::new([0.into(), "nobody".into()])?;
/// let mut items = match list.lock() {
///     Ok(items) => items,
///     // Each item is whole, or `None` if it was the one being changed.
///     Err(LockError::OwnerDied(died)) => died.recover(),
///     Err(error) => return Err(error.into()),
/// };
/// if let Item::Int(n) = items.get(0)? {
///     items.set(0, n + 1)?;
///     items.set(1, "somebody".get(..4))?;
/// }
/// drop(items);
/// assert_eq!(list.to_vec()?, [1.into(), "some".into()]);
/// # Ok::<(), ipc_shm::Error>(())
/// ```
///
/// # Python's traps
///
/// | Python | here |
/// |---|---|
/// | no locking: a reader meets half an item | each operation is one step, under the list's own lock, and the death of its owner is told |
/// | NULs at the end of text and bytes are gone when they are read | lengths are kept: what was put in comes out |
/// | the place of a text is measured in characters and checked in bytes, so that a list can refuse its own items | bytes, always |
/// | a type that it does not know is a KeyError, an int beyond 64 bits a struct.error | neither can be written down |
/// | `1 == 1.0 == True` in `count` and `index` | items of other types are others |
/// | a block that is no list is read as one | what is no list of this layout is an error, whatever is written over it later |
/// | the tracker of whoever attaches destroys it | only its owner takes the name away |
///
/// Negative indices have no equivalent: `list.len() - 1` is the last.
///
/// # When a process dies
///
/// | who dies | who notices | what happens |
/// |---|---|---|
/// | who has the lock, amid a change | the next to lock, within microseconds; one who waits is woken | [`LockError::OwnerDied`](crate::LockError::OwnerDied), with the guard. Each item is the old one, the new one, or the changing one `None` |
/// | the last process with a handle | the kernel | the memory is freed |
/// | the owner of its name | the reaper | the name goes (feature `named`); who has the list keeps it |
#[derive(Clone)]
pub struct ShareableList {
    words: Array<ListWord>,
    len: usize,
    #[cfg(feature = "named")]
    memory: Option<SharedMemory>,
}

impl ShareableList {
    /// A new list of these items. Another list's copy is `ShareableList::new(other.to_vec()?)`, with places as they were or shorter.
    ///
    /// # Errors
    /// [`Error::NoMemory`] and [`Error::Os`], as of [`Segment::new`]; [`Error::Invalid`] for more than fits into memory.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Result<ShareableList> {
        ShareableList::new_with(items, Home::default())
    }

    /// As [`new`](ShareableList::new), in an arena, behind a lock that is given, or both: see [`Home`].
    ///
    /// # Errors
    /// As [`new`](ShareableList::new) and [`Value::new_with`](crate::Value::new_with).
    pub fn new_with<'a>(
        items: impl IntoIterator<Item = Item>,
        home: impl Into<Home<'a>>,
    ) -> Result<ShareableList> {
        let items: Vec<Item> = items.into_iter().collect();
        let size = layout::size(&items)
            .ok_or_else(|| Error::invalid("the list", "it is longer than anything in memory"))?;
        // Each part is a multiple of eight. Filled before it is anywhere, it needs no lock, which somebody may have for long.
        let mut words = vec![ListWord::zeroed(); size / 8];
        layout::fill(bytemuck::cast_slice_mut(&mut words), &items)?;
        Ok(ShareableList::over(Array::from_slice_with(&words, home)?, items.len()))
    }

    fn over(words: Array<ListWord>, len: usize) -> ShareableList {
        ShareableList {
            words,
            len,
            #[cfg(feature = "named")]
            memory: None,
        }
    }

    /// Of an array that has come: that it is a list is looked at without the lock, which somebody may hold for long.
    fn of(words: Array<ListWord>) -> Result<ShareableList> {
        if words.place().is_freed() {
            // It was freed on its way in a message, and whoever uses it is told.
            return Ok(ShareableList::over(words, 0));
        }
        let mut head = [0; layout::HEADER];
        let all = words.len() * size_of::<ListWord>();
        words.segment().peek(words.place().object().data(), &mut head[..all.min(layout::HEADER)])?;
        let len = layout::check(&head[..all.min(layout::HEADER)], all)?;
        Ok(ShareableList::over(words, len))
    }

    /// Waits for the lock. The guard reads and changes items.
    ///
    /// # Errors
    /// As [`Value::lock`](crate::Value::lock).
    pub fn lock(&self) -> ListLocking<'_> {
        ListGuard::of(self.words.lock(), self.len)
    }

    /// As [`lock`](ShareableList::lock), without waiting.
    ///
    /// # Errors
    /// As [`Value::try_lock`](crate::Value::try_lock).
    pub fn try_lock(&self) -> ListLocking<'_> {
        ListGuard::of(self.words.try_lock(), self.len)
    }

    /// As [`lock`](ShareableList::lock), at most for `timeout`.
    ///
    /// # Errors
    /// As [`Value::lock_timeout`](crate::Value::lock_timeout).
    pub fn lock_timeout(&self, timeout: Duration) -> ListLocking<'_> {
        ListGuard::of(self.words.lock_timeout(timeout), self.len)
    }

    /// As [`lock`](ShareableList::lock), at most until `deadline`.
    ///
    /// # Errors
    /// As [`Value::lock_deadline`](crate::Value::lock_deadline).
    pub fn lock_deadline(&self, deadline: Instant) -> ListLocking<'_> {
        ListGuard::of(self.words.lock_deadline(deadline), self.len)
    }

    /// Whether somebody has the lock, at this moment.
    pub fn is_locked(&self) -> bool {
        self.words.is_locked()
    }

    /// The process that has the lock, at this moment and as far as shared memory is to be believed.
    pub fn owner(&self) -> Option<u32> {
        self.words.owner()
    }

    /// The segment that it stands in.
    pub fn segment(&self) -> &Segment {
        self.words.segment()
    }

    /// Under the lock, for an operation that could not repair what a dead owner has left.
    fn with<R>(&self, f: impl FnOnce(&mut ListGuard<'_>) -> Result<R>) -> Result<R> {
        match self.words.lock() {
            Ok(words) => f(&mut ListGuard::new(words, self.len)),
            Err(error) => Err(refused(error)),
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

    /// A copy of an item, made under the lock.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`]; [`Error::OwnerDied`], [`Error::Poisoned`] and the others of [`lock`](ShareableList::lock) (what a dead
    /// owner left stays for who locks, who is told as well); [`Error::Corrupt`]: somebody has written over the item.
    pub fn get(&self, index: usize) -> Result<Item> {
        self.with(|items| items.get(index))
    }

    /// Puts an item in, of whatever type, under the lock.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get); [`Error::TooLong`]: it does not fit into the item's place. Nothing has changed then.
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<()> {
        let item = item.into();
        self.with(|items| items.set(index, item))
    }

    /// A copy of all items, of one moment.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    pub fn to_vec(&self) -> Result<Vec<Item>> {
        self.with(|items| items.to_vec())
    }

    /// Copies of the items one by one, each of its own moment; [`to_vec`](ShareableList::to_vec) is all of one.
    ///
    /// ```
    /// let list = ipc_shm::ShareableList::new((0..4).map(Into::into))?;
    /// let texts: Vec<String> = list.iter().map(|item| Ok(item?.to_string())).collect::<ipc_shm::Result<_>>()?;
    /// assert_eq!(texts.join(","), "0,1,2,3");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    pub fn iter(&self) -> Items<'_> {
        Items { list: self, left: 0..self.len }
    }

    /// How many items equal this one.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    pub fn count(&self, item: &Item) -> Result<usize> {
        Ok(self.to_vec()?.iter().filter(|other| *other == item).count())
    }

    /// The first place of an item that equals this one.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    pub fn index(&self, item: &Item) -> Result<Option<usize>> {
        Ok(self.to_vec()?.iter().position(|other| other == item))
    }

    /// How many bytes of text the place of an item has.
    ///
    /// ```
    /// let list = ipc_shm::ShareableList::new(["12345678".into(), 5.into()])?;
    /// assert_eq!((list.capacity(0)?, list.capacity(1)?), (16, 8));
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    pub fn capacity(&self, index: usize) -> Result<usize> {
        self.with(|items| items.capacity(index))
    }

    /// The items' types as Python's `struct` writes them, which is what its `format` gives.
    ///
    /// ```
    /// let list = ipc_shm::ShareableList::new([1.into(), 0.5.into(), true.into(), ().into(), "12345678".into()])?;
    /// assert_eq!(list.format()?, "qdxxxxxxx?xxxxxx?x16s");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    pub fn format(&self) -> Result<String> {
        self.with(|items| {
            let one = |index| {
                Ok(match items.get(index)? {
                    Item::None => "xxxxxx?x".to_owned(),
                    Item::Bool(_) => "xxxxxxx?".to_owned(),
                    Item::Int(_) => "q".to_owned(),
                    Item::Float(_) => "d".to_owned(),
                    Item::Str(_) | Item::Bytes(_) => format!("{}s", items.capacity(index)?),
                })
            };
            (0..items.len()).map(one).collect()
        })
    }
}

#[cfg(feature = "named")]
impl ShareableList {
    /// A new list under this name; see [`SharedMemory`].
    ///
    /// ```
    /// use ipc_shm::ShareableList;
    /// let name = format!("doc-list-{}", std::process::id());
    /// let list = ShareableList::create(&name, ["a".into(), 1.into()])?;
    /// let other = ShareableList::attach(&name)?;
    /// other.set(1, 2)?;
    /// assert_eq!(list.get(1)?, 2.into());
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](ShareableList::new) and [`SharedMemory::create`].
    pub fn create(name: impl Into<String>, items: impl IntoIterator<Item = Item>) -> Result<ShareableList> {
        let mut list = ShareableList::new(items)?;
        list.memory = Some(SharedMemory::of(name, list.segment().clone())?);
        Ok(list)
    }

    /// The list that has this name.
    ///
    /// # Errors
    /// As [`SharedMemory::attach`]; [`Error::NotASegment`]: it is no list.
    pub fn attach(name: impl Into<String>) -> Result<ShareableList> {
        let memory = SharedMemory::attach(name)?;
        let mut list = ShareableList::try_from(memory.segment().clone())?;
        list.memory = Some(memory);
        Ok(list)
    }

    /// The same list under a name that nobody has; one that has a name keeps that.
    ///
    /// # Errors
    /// As [`SharedMemory::new`]; [`Error::Invalid`] for a list in an arena or with a lock that was given, which nobody could find by a name.
    pub fn named(mut self) -> Result<ShareableList> {
        let place = self.words.place();
        if place.object().ticket().is_some() || place.given().is_some() {
            return Err(Error::invalid(
                "the list",
                "a name leads to a segment of its own, and a lock of its own",
            ));
        }
        if self.memory.is_none() {
            self.memory = Some(SharedMemory::random(self.segment().clone())?);
        }
        Ok(self)
    }

    /// As it arrives, with the name that it has where it comes from.
    fn called(mut self, name: Option<String>) -> Result<ShareableList> {
        if let Some(name) = name {
            self.memory = Some(SharedMemory::attached(name, self.segment().clone())?);
        }
        Ok(self)
    }

    /// The memory that it was named by: its name, and `unlink`. Python's `.shm`.
    pub fn shared_memory(&self) -> Option<&SharedMemory> {
        self.memory.as_ref()
    }
}

/// The items of a list, one by one; see [`ShareableList::iter`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    list: &'a ShareableList,
    left: Range<usize>,
}

impl Iterator for Items<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        self.left.next().map(|index| self.list.get(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl DoubleEndedIterator for Items<'_> {
    fn next_back(&mut self) -> Option<Result<Item>> {
        self.left.next_back().map(|index| self.list.get(index))
    }
}

impl ExactSizeIterator for Items<'_> {}
impl FusedIterator for Items<'_> {}

impl<'a> IntoIterator for &'a ShareableList {
    type Item = Result<Item>;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Items<'a> {
        self.iter()
    }
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut handle = f.debug_struct("ShareableList");
        match self.words.try_lock() {
            Ok(words) => handle.field("items", &ListGuard::new(words, self.len)).finish(),
            Err(error) => {
                if let Some(pid) = error.pid() {
                    handle.field("owner_died", &pid);
                    // Who can repair it is told as well.
                    let _ = refused(error);
                } else {
                    handle.field("owner", &self.owner());
                }
                handle.finish_non_exhaustive()
            }
        }
    }
}
