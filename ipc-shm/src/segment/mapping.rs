//! Mapped once: a file that this process has mapped already is found again when another handle of it arrives.
//!
//! Not only to save addresses. A lock stands in a list by its address, and whether it is held is asked by its address: the same lock at
//! two would be two locks for what this process remembers of it. So there is a table of what is mapped, by the file's device and inode.
//! Both are the file's own as long as the mapping lives, for it keeps the file.
//!
//! | state of the table | means | left by |
//! |---|---|---|
//! | none | nothing was mapped yet | the first look |
//! | this process's | its entries are mappings; one whose last handle is gone does not count any more | a fork, in the copy |
//! | another process's | this is a forked copy of it, and its mappings are inherited with its memory | the next look: a new table takes the entries over |
//!
//! The copy cannot use the table it finds: a thread that it has no copy of may hold its lock for ever. So it makes its own, and takes over
//! what is in the old one if that is not locked. If it is, nothing is taken over: handles stay what they are, and one that arrives is mapped a
//! second time.
//!
//! std's locks and not those of the seam for loom: the algorithm is a map under a lock, and lives in a static.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ipc_core::primitive::process::Incarnation;
use rustix::io::Errno;

use super::check::{Found, Key};
use super::limits;
use super::users::Users;
use crate::error::{Error, Result};
use crate::sys::kept::Kept;
use crate::sys::memory::{Access, Map};

/// A mapping that handles share.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) map: Map,
    /// It was reserved, and has no holes.
    pub(crate) reserved: bool,
    /// Of the file: mappings of it that differ in access have the same.
    pub(crate) users: Arc<Users>,
    pub(crate) entry: Entry,
}

impl AsRef<Map> for Mapping {
    fn as_ref(&self) -> &Map {
        &self.map
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Mapping {
    /// The mapping of a file that was [looked at](super::check): the one there is, or a new one.
    ///
    /// # Errors
    /// What [`map`] says.
    pub(crate) fn of(file: OwnedFd, found: &Found, access: Access) -> Result<Arc<Mapping>> {
        let key = (found.key, access);
        let mut table = table();
        let known = table.entries.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            // Both are dropped without the lock if they are not what is given back: the last handle takes it.
            if known.map.len() == found.len {
                drop(table);
                return Ok(known);
            }
            drop(table);
            return Err(Error::not_a_segment("its number is that of another file of this process"));
        }
        let map = map(file, found.len, access)?;
        Ok(table.enter(key, map, found.reserved))
    }

    /// The mapping of a file that is mapped already; or the one that was made of it meanwhile.
    pub(crate) fn enter(map: Map, reserved: bool, key: Key, access: Access) -> Arc<Mapping> {
        let mut table = table();
        if let Some(known) = table.entries.get(&(key, access)).and_then(Weak::upgrade) {
            drop(table);
            return known;
        }
        table.enter((key, access), map, reserved)
    }

    /// Puts one back that was taken out of its only handle.
    pub(crate) fn again(map: Map, reserved: bool, users: Arc<Users>, entry: Entry) -> Arc<Mapping> {
        let key = entry.0;
        let mapping = Arc::new(Mapping { map, reserved, users, entry });
        table().entries.insert(key, Arc::downgrade(&mapping));
        mapping
    }
}

/// Maps a file.
///
/// # Errors
/// [`Error::NoMemory`] where the process has no addresses left, [`Error::Os`] otherwise.
pub(crate) fn map(file: OwnedFd, len: usize, access: Access) -> Result<Map> {
    Map::new(file, len, access).map_err(|(_, error)| {
        if error == Errno::NOMEM
            && let Err(limit) = limits::of_process(len as u64)
        {
            return limit;
        }
        Error::os(format!("could not map {len} bytes of shared memory: mmap"), error)
    })
}

/// A place in the table, given back on drop.
#[derive(Debug)]
pub(crate) struct Entry((Key, Access));

impl Entry {
    pub(crate) fn access(&self) -> Access {
        self.0.1
    }

    pub(crate) fn key(&self) -> Key {
        self.0.0
    }

    /// For messages: what tells the file from all others.
    pub(crate) fn number(&self) -> ipc_core::primitive::message::Key {
        let (key, access) = self.0;
        (key.device, key.inode, access as u8)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = table();
        // Another mapping may stand there already, made when this one had no handle any more.
        if table.entries.get(&self.0).is_some_and(|mapping| mapping.strong_count() == 0) {
            table.entries.remove(&self.0);
        }
        if table.users.get(&self.key()).is_some_and(|users| users.strong_count() == 0) {
            table.users.remove(&self.key());
        }
    }
}

struct Table {
    incarnation: Incarnation,
    state: Mutex<State>,
}

struct State {
    entries: BTreeMap<(Key, Access), Weak<Mapping>>,
    users: BTreeMap<Key, Weak<Users>>,
    /// That of the process this one is a copy of, until its entries are taken over.
    before: Option<&'static Table>,
}

impl State {
    fn enter(&mut self, key: (Key, Access), map: Map, reserved: bool) -> Arc<Mapping> {
        let users = self.users.get(&key.0).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Users::new()));
        self.users.insert(key.0, Arc::downgrade(&users));
        let mapping = Arc::new(Mapping { map, reserved, users, entry: Entry(key) });
        self.entries.insert(key, Arc::downgrade(&mapping));
        mapping
    }
}

/// The table, this process's or that of one it is a copy of.
static TABLE: Kept<Table> = Kept::new();

fn table() -> MutexGuard<'static, State> {
    let mut state = current().state.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(before) = state.before.take() {
        let Ok(mut older) = before.state.try_lock() else { break };
        state.before = older.before.take();
        let mut entries = std::mem::take(&mut older.entries);
        state.entries.append(&mut entries);
        let mut users = std::mem::take(&mut older.users);
        state.users.append(&mut users);
    }
    state
}

fn current() -> &'static Table {
    let before = TABLE.get();
    match before {
        Some(table) if table.incarnation.is_this() => table,
        _ => {
            let state = Mutex::new(State { entries: BTreeMap::new(), users: BTreeMap::new(), before });
            TABLE.replace(before, Table { incarnation: Incarnation::this(), state })
        }
    }
}

#[cfg(test)]
mod tests;
