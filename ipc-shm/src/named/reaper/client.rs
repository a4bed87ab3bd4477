//! An owner's side: finding the reaper, starting one, telling it.
//!
//! One connection a process, made with its first name and kept to its end: it is also what keeps the reaper. A forked copy makes its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::primitive::process::Incarnation;
use ipc_core::{Address, Child, Connection, Connector, Context, Descriptor, Listener, Stdio, current};
use rustix::process::{Pid, PidfdFlags};
use sha2::{Digest, Sha256};

use super::server::reap;
use super::{Named, Word};
use crate::named::name::Name;
use crate::named::record::Record;
use crate::sys::kept::Kept;
use crate::{Error, Result};

/// How long the reaper may take to answer; it does nothing else.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a name that goes may hold up its owner.
const COURTESY: Duration = Duration::from_millis(100);

struct Client {
    incarnation: Incarnation,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reaper: Option<Connection<Word, ()>>,
    names: Vec<Named>,
    /// The reaper that this process has started, if it has: a process's child is waited for by its handle.
    started: Option<Child<()>>,
}

static CLIENT: Kept<Client> = Kept::new();

fn state() -> MutexGuard<'static, State> {
    let known = CLIENT.get();
    let client = match known {
        Some(client) if client.incarnation.is_this() => client,
        _ => CLIENT.replace(known, Client { incarnation: Incarnation::this(), state: Mutex::default() }),
    };
    client.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the reaper of a name that this process is about to make. It is answered when this returns.
///
/// # Errors
/// [`Error::Reaper`]: there is none, and none can be had.
pub(crate) fn add(name: &Name, record: Record) -> Result<()> {
    let named = Named { name: name.as_str().to_owned(), record };
    let mut state = state();
    state.names.push(named.clone());
    // One that has died is noticed here, and one more is started then.
    if state.tell(Word::Add(named.clone())).is_ok() {
        return Ok(());
    }
    state.reaper = None;
    state.introduce().map_err(|why| {
        state.names.retain(|other| *other != named);
        Error::Reaper { why }
    })
}

/// Tells it that a name is gone.
pub(crate) fn forget(name: &Name, record: Record) {
    let named = Named { name: name.as_str().to_owned(), record };
    let mut state = state();
    state.names.retain(|other| *other != named);
    let told = state.reaper.as_ref().map(|reaper| reaper.send_timeout(Word::Forget(named), COURTESY).is_ok());
    if told == Some(false) {
        state.reaper = None;
    }
}

impl State {
    /// Says a word and waits for the answer.
    fn tell(&self, word: Word) -> Result<(), String> {
        let Some(reaper) = &self.reaper else { return Err("there is none".to_owned()) };
        reaper.send_timeout(word, PATIENCE).map_err(|failed| failed.to_string())?;
        match reaper.recv_timeout(PATIENCE) {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(format!("it has not answered for {PATIENCE:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Finds a reaper, or starts one, and tells it all.
    fn introduce(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let done = self.reach(end).and_then(|()| {
                let own = Pid::from_raw(std::process::id() as i32);
                let own = own.ok_or_else(|| "this process has no number".to_owned())?;
                let own = rustix::process::pidfd_open(own, PidfdFlags::empty())
                    .map_err(|error| format!("could not open this process: pidfd_open: {error}"))?;
                self.tell(Word::Owner(Descriptor::from(own), self.names.clone()))
            });
            match done {
                Ok(()) => return Ok(()),
                // It ends with its last owner, perhaps just then.
                Err(_) if self.reaper.take().is_some() && Instant::now() < end => {}
                Err(why) => return Err(why),
            }
        }
    }

    fn reach(&mut self, end: Instant) -> Result<(), String> {
        let address = address()?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let found = Connector::new().timeout(left).connect(address.clone());
            let error = match found {
                Ok(reaper) => {
                    self.reaper = Some(reaper);
                    return Ok(());
                }
                Err(error) => error,
            };
            let kind = error.io_error().map(std::io::Error::kind);
            if kind == Some(std::io::ErrorKind::ConnectionRefused) {
                self.start(&address)?;
            } else if !error.is_disconnected() && kind != Some(std::io::ErrorKind::ConnectionReset) {
                return Err(error.to_string());
            }
            if Instant::now() >= end {
                return Err(error.to_string());
            }
        }
    }

    /// Starts a reaper, unless somebody else is about to.
    fn start(&mut self, address: &Address) -> Result<(), String> {
        let listener = match Listener::builder().same_user(true).bind(address.clone()) {
            Ok(listener) => listener,
            Err(error) => {
                let taken = std::io::ErrorKind::AddrInUse;
                if error.io_error().is_some_and(|error| error.kind() == taken) {
                    // Bound, and not listening yet: that takes two system calls.
                    std::thread::sleep(Duration::from_millis(1));
                    return Ok(());
                }
                return Err(error.to_string());
            }
        };
        let reaper = Context::exec().builder().name("ipc-shm reaper").detached(true).current_dir("/");
        let reaper = reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.started = Some(reaper.spawn(reap, (listener,)).map_err(|failed| failed.to_string())?);
        Ok(())
    }
}

/// Where this family's reaper listens, this user's.
fn address() -> Result<Address, String> {
    let key = current().authkey().map_err(|error| error.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    // One way: whoever sees the name in /proc/net/unix cannot tell the key by it.
    let hash = Sha256::new()
        .chain_update(b"ipc-shm reaper 1")
        .chain_update(user.to_le_bytes())
        .chain_update(key.as_bytes())
        .finalize();
    let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Address::Abstract(format!("ipc-shm-reaper-{digits}").into_bytes()))
}
