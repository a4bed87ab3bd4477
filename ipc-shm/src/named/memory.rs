//! A handle on memory that has a name.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::primitive::process::Incarnation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::{self, Found};
use super::name::Name;
use super::reaper::client;
use super::record::{Owner, Record};
use crate::crash::reached as step;
use crate::{Error, Result, Segment};

/// How often a name that dead owners keep leaving is tried.
const TRIES: usize = 100;

/// Memory that other processes of the same user find by its name: a [`Segment`], and a name for it as long as its owner lives. Python's
/// `multiprocessing.shared_memory.SharedMemory`.
///
/// The process that [creates](SharedMemory::create) it owns the name: it is gone when that process has dropped its last handle, has called
/// [`unlink`](SharedMemory::unlink), or has died, by `kill -9` too. Who [attaches](SharedMemory::attach) never takes it away. The memory itself
/// lives as long as anybody has it, with a name or without.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::SharedMemory;
///
/// fn fill(name: String) -> ipc_shm::Result<()> {
///     SharedMemory::attach(&name)?.write(4, b"found by its name")
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let name = format!("doc-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 4096)?;
/// spawn(fill, (name,))?.join()??;
/// let mut text = [0; 17];
/// memory.read(4, &mut text)?;
/// assert_eq!(&text, b"found by its name");
/// # Ok(())
/// # }
/// ```
///
/// A clone is one more handle of the same standing, and does not outlive the owner's process as its owner. Sent inside a value, it arrives as the same memory, even when the name is
/// gone by then; who receives it has attached.
///
/// [The module's documentation](crate::named) says how it is kept, and who may have it.
#[derive(Clone)]
pub struct SharedMemory {
    inner: Arc<Inner>,
}

struct Inner {
    name: Name,
    segment: Segment,
    owned: Option<Owned>,
}

/// What an owner has beside the memory.
struct Owned {
    record: Record,
    /// A forked copy of the owner is none.
    by: Incarnation,
    unlinked: AtomicBool,
}

#[allow(clippy::len_without_is_empty, reason = "none is empty")]
impl SharedMemory {
    /// New memory of `len` bytes, all zero, [reserved](Segment::new), under this name, which nobody may have.
    ///
    /// A name that a dead owner has left is taken over.
    ///
    /// ```
    /// use ipc_shm::{Error, SharedMemory};
    /// let name = format!("doc-create-{}", std::process::id());
    /// let memory = SharedMemory::create(&name, 100)?;
    /// assert_eq!((memory.name(), memory.len(), memory.is_owner()), (&*name, 100, true));
    /// assert!(matches!(SharedMemory::create(&name, 100), Err(Error::AlreadyExists { .. })));
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::AlreadyExists`]: somebody has the name, a living owner or a program that does not use this crate.
    /// - [`Error::Invalid`]: the name is empty, longer than 255 bytes, `.` or `..`, or has a `/` or a NUL in it; the length is 0.
    /// - [`Error::NoMemory`], [`Error::Os`]: as [`Segment::new`]; there is no /dev/shm or no /proc.
    /// - [`Error::Reaper`]: the process that would remove the name after this one's death cannot be had.
    pub fn create(name: impl Into<String>, len: usize) -> Result<SharedMemory> {
        let name = Name::new(name)?;
        SharedMemory::named(name, Segment::new(len)?)
    }

    /// As [`create`](SharedMemory::create), under a name that nobody has: `ipc_` and sixteen digits.
    ///
    /// ```
    /// let memory = ipc_shm::SharedMemory::new(100)?;
    /// let same = ipc_shm::SharedMemory::attach(memory.name())?;
    /// assert_eq!(same.len(), 100);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create`](SharedMemory::create).
    pub fn new(len: usize) -> Result<SharedMemory> {
        SharedMemory::random(Segment::new(len)?)
    }

    /// Under a name that nobody has.
    pub(crate) fn random(segment: Segment) -> Result<SharedMemory> {
        loop {
            match SharedMemory::named(Name::random()?, segment.clone()) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
    }

    /// Gives memory that is there a name: a [lazy](Segment::lazy) segment, one in [huge pages](Segment::huge), one that holds a
    /// [`Value`](crate::Value), an [`Array`](crate::Array) or a list.
    ///
    /// ```
    /// use ipc_shm::{SharedMemory, Value};
    /// let hits = Value::new(0_u64)?;
    /// let name = format!("doc-hits-{}", std::process::id());
    /// let _owner = SharedMemory::of(&name, hits.segment().clone())?;
    ///
    /// // In another program of this user:
    /// let hits = Value::<u64>::try_from(SharedMemory::attach(&name)?.into_segment())?;
    /// hits.update(|n| *n += 1)?;
    /// # assert_eq!(hits.get()?, 1);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create`](SharedMemory::create), but for what concerns the memory.
    pub fn of(name: impl Into<String>, segment: Segment) -> Result<SharedMemory> {
        SharedMemory::named(Name::new(name)?, segment)
    }

    fn named(name: Name, segment: Segment) -> Result<SharedMemory> {
        let record = Record::of(&segment, client::family()?)?;
        step("name: about to tell");
        client::add(&name, record)?;
        step("name: told");
        let made = publish(&name, &record).and_then(|()| client::confirm());
        if made.is_err() {
            let _ = entry::remove(&name, |found| Ok(*found == record));
            client::forget(&name, record);
        }
        made?;
        step("name: confirmed");
        let owned = Owned { record, by: Incarnation::this(), unlinked: AtomicBool::new(false) };
        Ok(SharedMemory { inner: Arc::new(Inner { name, segment, owned: Some(owned) }) })
    }

    /// The memory that has this name.
    ///
    /// # Errors
    /// - [`Error::NotFound`]: nobody has the name, or whoever had it is gone.
    /// - [`Error::NotASegment`]: what has the name was not made by this crate, or by another user.
    /// - [`Error::Invalid`]: as of [`create`](SharedMemory::create).
    /// - [`Error::Unsupported`]: its owner is in another pid namespace, where its memory cannot be got at.
    /// - [`Error::Os`]: the kernel does not let this process have it ([`PermissionDenied`](std::io::ErrorKind::PermissionDenied): another
    ///   user's, or its owner has changed its user since it was executed); no descriptor is left.
    pub fn attach(name: impl Into<String>) -> Result<SharedMemory> {
        let name = Name::new(name)?;
        let missing = || Error::NotFound { name: name.as_str().to_owned() };
        let record = match entry::look(&name)? {
            Found::Nothing => return Err(missing()),
            Found::Foreign(why) => {
                return Err(Error::not_a_segment(format!("the name {:?}: {why}", name.as_str())));
            }
            Found::Ours(_, record) => record,
        };
        match record.owner()? {
            Owner::Lives => {}
            Owner::Gone => return Err(missing()),
            Owner::Elsewhere => {
                return Err(Error::Unsupported {
                    what: format!("the memory named {:?}", name.as_str()),
                    why: "its owner is in another pid namespace".to_owned(),
                });
            }
        }
        let segment = record.open()?.ok_or_else(missing)?;
        Ok(SharedMemory { inner: Arc::new(Inner { name, segment, owned: None }) })
    }

    /// As it arrives inside a value.
    pub(crate) fn attached(name: String, segment: Segment) -> Result<SharedMemory> {
        Ok(SharedMemory { inner: Arc::new(Inner { name: Name::new(name)?, segment, owned: None }) })
    }

    /// The name, also when it is gone.
    pub fn name(&self) -> &str {
        self.inner.name.as_str()
    }

    /// How many bytes it has: as many as it was made with, and not rounded up to whole pages.
    pub fn len(&self) -> usize {
        self.segment().len()
    }

    /// Whether this process owns the name, or has until it was unlinked.
    pub fn is_owner(&self) -> bool {
        self.inner.owned.as_ref().is_some_and(|owned| owned.by.is_this())
    }

    /// The memory, without its name.
    pub fn segment(&self) -> &Segment {
        &self.inner.segment
    }

    /// The memory, without its name, which the owner's last handle takes with it.
    pub fn into_segment(self) -> Segment {
        self.inner.segment.clone()
    }

    /// Where it begins in this process; [`Segment::as_ptr`] says what may be done with that.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.segment().as_ptr()
    }

    /// Copies `into.len()` bytes from offset `at` on; see [`Segment::read`].
    ///
    /// # Errors
    /// [`Error::Invalid`]: that is more than there is; nothing was copied. [`Error::InUse`]: an object stands there, as for [`Segment::read`].
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        self.segment().read(at, into)
    }

    /// Copies `from` to offset `at` on; see [`Segment::write`].
    ///
    /// # Errors
    /// [`Error::Invalid`]: that is more than there is room for; nothing was copied. [`Error::InUse`]: an object stands there, as for [`Segment::write`].
    pub fn write(&self, at: usize, from: &[u8]) -> Result<()> {
        self.segment().write(at, from)
    }

    /// Takes the name away: nobody finds the memory any more, and whoever has it keeps it. For the owner alone.
    ///
    /// ```
    /// use ipc_shm::{Error, SharedMemory};
    /// let memory = SharedMemory::new(100)?;
    /// let other = SharedMemory::attach(memory.name())?;
    /// assert!(matches!(other.unlink(), Err(Error::NotOwner { .. })));
    /// memory.unlink()?;
    /// assert!(matches!(memory.unlink(), Err(Error::NotFound { .. })));
    /// assert!(matches!(SharedMemory::attach(memory.name()), Err(Error::NotFound { .. })));
    /// other.write(0, b"still there")?;
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotOwner`]; [`Error::NotFound`] the second time, and where somebody has removed the file from /dev/shm;
    /// [`Error::Os`], [`Error::InUse`]: it cannot be removed now, and may be tried again.
    pub fn unlink(&self) -> Result<()> {
        let name = || self.name().to_owned();
        let owned = self.inner.owned.as_ref().filter(|owned| owned.by.is_this());
        let owned = owned.ok_or_else(|| Error::NotOwner { name: name() })?;
        owned.unlink(&self.inner.name)?.then_some(()).ok_or_else(|| Error::NotFound { name: name() })
    }
}

/// Puts the record there, in the place of a dead owner's if need be.
fn publish(name: &Name, record: &Record) -> Result<()> {
    for _ in 0..TRIES {
        if entry::publish(name, record)? {
            return Ok(());
        }
        step("name: found taken");
        let living = match entry::look(name) {
            Ok(Found::Nothing) => false,
            Ok(Found::Ours(..)) => !entry::remove_stale(name)?,
            Ok(Found::Foreign(_)) => true,
            // It is another user's.
            Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => true,
            Err(error) => return Err(error),
        };
        // Removed by somebody else between the two looks, it is free as well.
        if living && !matches!(entry::look(name), Ok(Found::Nothing)) {
            break;
        }
        step("name: free again");
    }
    Err(Error::AlreadyExists { name: name.as_str().to_owned() })
}

impl Owned {
    /// `false`: it is gone already.
    fn unlink(&self, name: &Name) -> Result<bool> {
        if self.unlinked.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let removed = entry::remove(name, |found| Ok(*found == self.record));
        match &removed {
            Ok(_) => {
                client::forget(name, self.record);
                step("name: forgotten");
            }
            Err(_) => self.unlinked.store(false, Ordering::Release),
        }
        removed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(owned) = &self.owned
            && owned.by.is_this()
        {
            // What cannot be removed now is the reaper's, when this process ends.
            let _ = owned.unlink(&self.name);
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("owner", &self.is_owner())
            .finish()
    }
}

/// As the memory itself, and its name: the receiver has attached, though the name may be gone.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.name(), self.segment()).serialize(serializer)
    }
}

/// Looked at first, as a [`Segment`].
impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMemory, D::Error> {
        let (name, segment) = <(String, Segment)>::deserialize(deserializer)?;
        SharedMemory::attached(name, segment).map_err(serde::de::Error::custom)
    }
}
