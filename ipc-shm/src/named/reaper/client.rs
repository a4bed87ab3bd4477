//! An owner's side: finding the reaper, starting one, telling it.
//!
//! One connection a process, made with its first name and kept to its end: it is also what keeps the reaper. A forked copy makes its own.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ipc_core::primitive::process::Incarnation;
use ipc_core::{
    Address, Child, Connection, Connector, Context, Descriptor, Listener, Stdio, current, duplex,
};
use rustix::process::{Pid, PidfdFlags};
use sha2::{Digest, Sha256};

use super::server::reap;
use super::{Named, Word};
use crate::crash::reached as step;
use crate::named::name::Name;
use crate::named::record::Record;
use crate::sys::kept::Kept;
use crate::{Error, Result};

/// How long the reaper may take to answer; it does nothing else.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a name that goes may hold up its owner.
const COURTESY: Duration = Duration::from_millis(100);

/// How long whoever listens at one of the family's addresses may take to show that it is the reaper.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// How many reapers are tried at an address, each of which may have been about to end.
const TRIES: u32 = 4;

/// At how many addresses a family's reaper may listen: at the first that nobody else has.
const ADDRESSES: u32 = 8;

/// Why there is no reaper at an address.
enum Missing {
    /// Who has the address is no reaper, or does not answer. There are others.
    Taken(String),
    /// None can be had anywhere.
    Always(String),
}

struct Client {
    incarnation: Incarnation,
    /// Held for as long as the reaper takes to answer.
    state: Mutex<State>,
    /// Names that are gone, of which the reaper is to be told: by whoever has the state. Held for a moment.
    gone: Mutex<Vec<Named>>,
}

#[derive(Default)]
struct State {
    reaper: Option<Connection<Word, ()>>,
    names: Vec<Named>,
    /// The reaper that this process has started, if it has: it is waited for by its handle.
    started: Option<Child<()>>,
}

static CLIENT: Kept<Client> = Kept::new();

fn client() -> &'static Client {
    let known = CLIENT.get();
    match known {
        Some(client) if client.incarnation.is_this() => client,
        _ => {
            let incarnation = Incarnation::this();
            CLIENT.replace(known, Client { incarnation, state: Mutex::default(), gone: Mutex::default() })
        }
    }
}

impl Client {
    fn gone(&self) -> MutexGuard<'_, Vec<Named>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that may wait for the reaper.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.settle();
        result
    }

    /// Tells the reaper of the names that are gone, unless another thread has the state, which does it afterwards.
    fn settle(&self) {
        while !self.gone().is_empty() {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let gone = std::mem::take(&mut *self.gone());
            gone.into_iter().for_each(|named| state.forget(named));
        }
    }
}

/// Tells the reaper of a name that this process is about to make. It is answered when this returns.
///
/// # Errors
/// [`Error::Reaper`]: there is none, and none can be had.
pub(crate) fn add(name: &Name, record: Record) -> Result<()> {
    let named = Named { name: name.as_str().to_owned(), record };
    client().with(|state| {
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
    })
}

/// Makes sure that the reaper that was told lives now that the name is made: one that starts later finds the name.
///
/// # Errors
/// As [`add`].
pub(crate) fn confirm() -> Result<()> {
    client().with(|state| {
        let lives = state
            .reaper
            .as_ref()
            .is_some_and(|reaper| matches!(reaper.poll(Some(Duration::ZERO)), Ok(false)));
        if lives {
            return Ok(());
        }
        state.reaper = None;
        state.introduce().map_err(|why| Error::Reaper { why })
    })
}

/// Tells it that a name is gone, or has it told by the thread that waits for it.
pub(crate) fn forget(name: &Name, record: Record) {
    let client = client();
    client.gone().push(Named { name: name.as_str().to_owned(), record });
    client.settle();
}

impl State {
    fn forget(&mut self, named: Named) {
        self.names.retain(|other| *other != named);
        let told =
            self.reaper.as_ref().map(|reaper| reaper.send_timeout(Word::Forget(named), COURTESY).is_ok());
        if told == Some(false) {
            self.reaper = None;
        }
    }

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
        let own = Pid::from_raw(std::process::id().cast_signed());
        let own = own.ok_or_else(|| "this process has no number".to_owned())?;
        let own = rustix::process::pidfd_open(own, PidfdFlags::empty())
            .map_err(|error| format!("could not open this process: pidfd_open: {error}"))?;
        let family = family().map_err(|error| error.to_string())?;
        let mut why = String::new();
        for number in 0..ADDRESSES {
            for _ in 0..TRIES {
                match self.reach(&address(family, number)) {
                    Ok(()) => {}
                    Err(Missing::Taken(failed)) => {
                        why = failed;
                        break;
                    }
                    Err(Missing::Always(failed)) => return Err(failed),
                }
                let own = own.try_clone().map_err(|error| format!("could not open this process: {error}"))?;
                match self.tell(Word::Owner(Descriptor::from(own), self.names.clone())) {
                    Ok(()) => return Ok(()),
                    // It ends with its last owner, perhaps just then; or was killed.
                    Err(failed) => why = failed,
                }
                self.reaper = None;
            }
        }
        Err(why)
    }

    fn reach(&mut self, address: &Address) -> Result<(), Missing> {
        let end = Instant::now() + HANDSHAKE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let error = match Connector::new().timeout(left).connect(address.clone()) {
                Ok(reaper) => {
                    self.reaper = Some(reaper);
                    return Ok(());
                }
                Err(error) => error,
            };
            let kind = error.io_error().map(io::Error::kind);
            let refused = kind == Some(io::ErrorKind::ConnectionRefused);
            if refused && self.start(address).map_err(Missing::Always)? {
                return Ok(());
            }
            let ends = error.is_disconnected() || kind == Some(io::ErrorKind::ConnectionReset);
            let strange =
                matches!(error, ipc_core::Error::TimedOut { .. } | ipc_core::Error::Unauthenticated { .. });
            if strange || (Instant::now() >= end && (refused || ends)) {
                return Err(Missing::Taken(error.to_string()));
            }
            if !(refused || ends) {
                return Err(Missing::Always(error.to_string()));
            }
            // It is about to end, or another one is bound and does not listen yet: that takes a few system calls.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts a reaper, whose first owner this process is; `false`: somebody else is about to.
    fn start(&mut self, address: &Address) -> Result<bool, String> {
        let listener = match Listener::builder().same_user(true).bind(address.clone()) {
            Ok(listener) => listener,
            Err(error) => {
                let taken = error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
                return if taken { Ok(false) } else { Err(error.to_string()) };
            }
        };
        step("name: address bound");
        // The one before: its address is free, so it is dead, or has nothing left to do but die.
        if let Some(before) = self.started.take() {
            let _ = before.join_timeout(COURTESY);
        }
        let (ours, theirs) = duplex().map_err(|error| error.to_string())?;
        let reaper = Context::exec().builder().name("ipc-shm reaper").detached(true).current_dir("/");
        let reaper = reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.started = Some(reaper.spawn(reap, (listener, theirs)).map_err(|failed| failed.to_string())?);
        self.reaper = Some(ours);
        step("name: reaper started");
        Ok(true)
    }
}

/// This process's family and user, as a number from which its key cannot be told.
///
/// # Errors
/// [`Error::Reaper`]: the kernel has no random bytes for a key.
pub(crate) fn family() -> Result<[u8; 16]> {
    let key = current().authkey().map_err(|error| Error::Reaper { why: error.to_string() })?;
    let user = rustix::process::geteuid().as_raw();
    let hash = Sha256::new()
        .chain_update(b"ipc-shm reaper 1")
        .chain_update(user.to_le_bytes())
        .chain_update(key.as_bytes())
        .finalize();
    let mut family = [0; 16];
    family.copy_from_slice(&hash[..16]);
    Ok(family)
}

/// Where a family's reaper listens, by the address's number. Addresses can be read in /proc/net/unix: from one, no other can be told.
fn address(family: [u8; 16], number: u32) -> Address {
    let hash = Sha256::new()
        .chain_update(b"ipc-shm reaper's address 1")
        .chain_update(family)
        .chain_update(number.to_le_bytes())
        .finalize();
    let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Address::Abstract(format!("ipc-shm-reaper-{digits}").into_bytes())
}
