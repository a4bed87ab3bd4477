//! This process, as it is named in its family.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{ChildId, Error, Result};

use crate::sys::fork_local::ForkLocal;
use crate::sys::random;

/// What a process is told about itself by its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) daemon: bool,
    /// Which child of which child it is: `[2, 1]` is the first child of the program's second.
    pub(crate) lineage: Vec<u32>,
    pub(crate) parent: Option<ChildId>,
    /// `None`: not made yet.
    pub(crate) key: Option<Vec<u8>>,
}

static ME: Mutex<Option<Identity>> = Mutex::new(None);

static CHILDREN_NAMED: ForkLocal<AtomicU32> = ForkLocal::new();

thread_local! {
    /// Who a thread is that stands for a process (`Context::threads`).
    static THREAD: RefCell<Option<Identity>> = const { RefCell::new(None) };
}

/// This process: its name, its place in the family, its key. What it returns is a copy; [`Current::set_name`]
/// and [`Current::set_authkey`] change the process.
///
/// ```
/// let me = ipc_core::current();
/// assert_eq!(me.name(), "MainProcess");
/// assert_eq!(me.pid(), std::process::id());
/// assert!(!me.is_daemon());
/// ```
pub fn current() -> Current {
    Current(identity())
}

/// See [`current`].
#[derive(Clone)]
pub struct Current(Identity);

impl Current {
    /// The name: `MainProcess`, or what the parent chose. Names need not be unique.
    pub fn name(&self) -> String {
        self.0.name.clone()
    }

    /// Renames this process, for its own messages and for the names its children get. The parent's handle keeps its name.
    pub fn set_name(&self, name: impl Into<String>) {
        let name = name.into();
        change(|me| me.name = name);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether the parent's normal exit terminates this process instead of waiting for it.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// The key by which processes of this family know each other; children inherit it. The program's first process makes it
    /// at random.
    ///
    /// # Errors
    /// [`Error::Os`] when the kernel has no random bytes to give.
    pub fn authkey(&self) -> Result<AuthKey> {
        authkey()
    }

    /// Replaces the key, for this process and the children it starts from now on.
    pub fn set_authkey(&self, key: AuthKey) {
        change(|me| me.key = Some(key.0));
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("name", &self.0.name)
            .field("pid", &self.pid())
            .field("daemon", &self.0.daemon)
            .field("parent", &self.0.parent)
            .finish()
    }
}

/// A secret shared by the processes of one family. It is not serialisable, and its `Debug` does not show it: it travels
/// to children only, by itself.
///
/// ```
/// use ipc_core::AuthKey;
/// let key = AuthKey::from_bytes(b"between us".to_vec());
/// assert_eq!(key.as_bytes(), b"between us");
/// assert_eq!(format!("{key:?}"), "AuthKey(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Vec<u8>);

impl AuthKey {
    /// 32 random bytes.
    ///
    /// # Errors
    /// [`Error::Os`] when the kernel has none to give.
    pub fn random() -> Result<AuthKey> {
        let bytes: [u8; 32] = random::bytes().map_err(|e| Error::os("could not make a key: getrandom", e))?;
        Ok(AuthKey(bytes.to_vec()))
    }

    /// A key of the caller's choice; the empty key is one too.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> AuthKey {
        AuthKey(bytes.into())
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(..)")
    }
}

fn identity() -> Identity {
    // At exit the thread's values may be gone; who runs hooks then is the process.
    if let Ok(Some(thread)) = THREAD.try_with(|thread| thread.borrow().clone()) {
        return thread;
    }
    with_me(|me| me.clone())
}

fn change(f: impl FnOnce(&mut Identity)) {
    let mut f = Some(f);
    let _ = THREAD.try_with(|thread| {
        if let Some(me) = thread.borrow_mut().as_mut()
            && let Some(f) = f.take()
        {
            f(me);
        }
    });
    if let Some(f) = f {
        with_me(f);
    }
}

/// The lock of this process's identity, for a fork to hold.
pub(crate) fn lock() -> MutexGuard<'static, Option<Identity>> {
    ME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_me<T>(f: impl FnOnce(&mut Identity) -> T) -> T {
    f(lock().get_or_insert_with(|| Identity {
        name: "MainProcess".into(),
        daemon: false,
        lineage: Vec::new(),
        parent: None,
        key: None,
    }))
}

/// The key of this process; made if there is none.
fn authkey() -> Result<AuthKey> {
    if let Some(key) = identity().key {
        return Ok(AuthKey(key));
    }
    let fresh = AuthKey::random()?;
    Ok(AuthKey(with_me(|me| me.key.get_or_insert(fresh.0).clone())))
}

/// Who the parent of this process is, if it is a child of the family.
pub(crate) fn parent_id() -> Option<ChildId> {
    identity().parent
}

/// Whether the calling thread stands for a process.
pub(crate) fn is_thread() -> bool {
    THREAD.try_with(|thread| thread.borrow().is_some()).unwrap_or(false)
}

/// The identity of the next child: its given name or a numbered one, and what it inherits.
pub(crate) fn identity_of_child(
    name: Option<String>,
    daemon: Option<bool>,
    key: Option<AuthKey>,
) -> Result<Identity> {
    let me = identity();
    let number = CHILDREN_NAMED.get_or_make(|| AtomicU32::new(0)).fetch_add(1, Ordering::Relaxed) + 1;
    let mut lineage = me.lineage.clone();
    lineage.push(number);
    let numbered = || {
        let numbers: Vec<_> = lineage.iter().map(u32::to_string).collect();
        format!("Process-{}", numbers.join(":"))
    };
    Ok(Identity {
        name: name.unwrap_or_else(numbered),
        daemon: daemon.unwrap_or(me.daemon),
        lineage,
        parent: Some(ChildId { name: me.name, pid: std::process::id() }),
        key: Some(match key {
            Some(key) => key.0,
            None => authkey()?.0,
        }),
    })
}

/// The identity of a helper process of this crate: named after what it does, unnumbered, and never joined.
pub(crate) fn identity_of_helper(what: &str) -> Identity {
    let me = identity();
    let parent = ChildId { name: me.name.clone(), pid: std::process::id() };
    Identity { name: what.into(), daemon: true, lineage: me.lineage, parent: Some(parent), key: None }
}

/// This process is the child that `identity` says.
pub(crate) fn become_child(identity: Identity) {
    // Forked by a thread that stood for another: here it stands for nobody.
    let _ = THREAD.try_with(|thread| thread.take());
    with_me(|me| *me = identity);
}

/// The calling thread stands for the child that `identity` says, while `f` runs.
pub(crate) fn as_thread<T>(identity: Identity, f: impl FnOnce() -> T) -> T {
    THREAD.set(Some(identity));
    let result = f();
    THREAD.set(None);
    result
}
