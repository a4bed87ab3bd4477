//! A scope of names.

use std::sync::Mutex;

use super::memory::SharedMemory;
use crate::{Item, Result, Segment, ShareableList};

/// Named memory and lists that lose their names together: when the scope is closed or dropped, or when its process ends, however it dies. Python's
/// `multiprocessing.managers.SharedMemoryManager`, without a server.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::{Item, SharedMemory, ShareableList, SharedMemoryScope};
///
/// fn sum(names: Vec<String>) -> ipc_shm::Result<i64> {
///     let list = ShareableList::attach(&names[1])?;
///     list.iter().map(|item| Ok(if let Item::Int(n) = item? { n } else { 0 })).sum()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scope = SharedMemoryScope::new();
/// let memory = scope.shared_memory(128)?;
/// let list = scope.shareable_list([1.into(), 2.into(), "three".into()])?;
/// assert_eq!(spawn(sum, (scope.names(),))?.join()??, 3);
/// let name = memory.name().to_owned();
/// scope.close()?;
/// assert!(SharedMemory::attach(name).is_err());
/// assert_eq!(list.get(2)?, Item::from("three")); // who has it keeps it
/// # Ok(())
/// # }
/// ```
///
/// What is in it keeps its name also when all handles that it gave are dropped. It stays in its process: to others go names, or handles.
#[derive(Debug, Default)]
#[must_use = "what it names loses its name as soon as this is dropped"]
pub struct SharedMemoryScope {
    all: Mutex<Vec<SharedMemory>>,
}

impl SharedMemoryScope {
    /// An empty scope. There is nothing to start.
    pub fn new() -> SharedMemoryScope {
        SharedMemoryScope::default()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<SharedMemory>> {
        self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn keep(&self, memory: &SharedMemory) {
        self.all().push(memory.clone());
    }

    /// New memory under a name that nobody has; Python's `smm.SharedMemory(size)`.
    ///
    /// # Errors
    /// As [`SharedMemory::new`].
    pub fn shared_memory(&self, len: usize) -> Result<SharedMemory> {
        let memory = SharedMemory::new(len)?;
        self.keep(&memory);
        Ok(memory)
    }

    /// New memory under this name.
    ///
    /// # Errors
    /// As [`SharedMemory::create`].
    pub fn create(&self, name: impl Into<String>, len: usize) -> Result<SharedMemory> {
        let memory = SharedMemory::create(name, len)?;
        self.keep(&memory);
        Ok(memory)
    }

    /// A name for memory that is there.
    ///
    /// # Errors
    /// As [`SharedMemory::of`].
    pub fn name(&self, name: impl Into<String>, segment: Segment) -> Result<SharedMemory> {
        let memory = SharedMemory::of(name, segment)?;
        self.keep(&memory);
        Ok(memory)
    }

    /// A new list under a name that nobody has; Python's `smm.ShareableList(sequence)`.
    ///
    /// # Errors
    /// As [`ShareableList::new`] and [`SharedMemory::new`].
    pub fn shareable_list(&self, items: impl IntoIterator<Item = Item>) -> Result<ShareableList> {
        let list = ShareableList::new(items)?.named()?;
        if let Some(memory) = list.shared_memory() {
            self.keep(memory);
        }
        Ok(list)
    }

    /// The names of all that is in it, in the order in which it was made.
    pub fn names(&self) -> Vec<String> {
        self.all().iter().map(|memory| memory.name().to_owned()).collect()
    }

    /// Takes all names away; Python's `shutdown()`. Dropping does the same, and says nothing of what could not be done.
    ///
    /// What was unlinked before, by hand, is no error.
    ///
    /// # Errors
    /// The first that was met, when all others are gone: as [`SharedMemory::unlink`].
    pub fn close(self) -> Result<()> {
        let mut first = Ok(());
        for memory in self.all().drain(..) {
            match memory.unlink() {
                Ok(()) | Err(crate::Error::NotFound { .. }) => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }
}

impl Drop for SharedMemoryScope {
    /// Names go although others hold handles.
    fn drop(&mut self) {
        for memory in self.all().drain(..) {
            let _ = memory.unlink();
        }
    }
}
