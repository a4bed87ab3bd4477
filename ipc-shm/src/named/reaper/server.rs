//! The reaper itself: one thread, which waits for words and for deaths.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::{Connection, Listener, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Named, Word, client};
use crate::crash::reached as step;
use crate::named::entry;
use crate::named::name::Name;
use crate::named::record::Owner;
use crate::sys::signals;

/// How long the first owner, which has begun to speak, may take.
const FIRST: Duration = Duration::from_secs(1);

/// How long nobody is let in after somebody could not be, for want of a descriptor: the listener is ready all that time.
const PAUSE: Duration = Duration::from_millis(50);

/// How soon a name that could not be removed is tried again: somebody has locked its file, or its owner executes another program and has not
/// closed its memory yet.
const SOON: Duration = Duration::from_millis(10);

/// And how late, after pauses each of which is twice the one before.
const LATE: Duration = Duration::from_secs(10);

/// A process that has names.
struct Client {
    /// `None`: it has hung up, and may live on by exec.
    connection: Option<Connection<(), Word>>,
    /// Ready when it is dead. `None` before its first word.
    process: Option<OwnedFd>,
    names: Vec<Named>,
    dead: bool,
    /// When its names are to be removed, if it is dead or has hung up.
    due: Option<Instant>,
    pause: Duration,
}

/// The reaper's life; `first` is who has started it.
pub(super) fn reap(listener: Listener, first: Connection<(), Word>) {
    step("reaper: born");
    signals::ignore_endings();
    // What is sent to the whole group of who started it, SIGKILL too, is not for it.
    let _ = rustix::process::setsid();
    // Two descriptors an owner.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    step("reaper: apart");
    // It waits for the answer, which the look at all names there are must not hold up.
    let _ = wait(&[&first], Some(FIRST));
    let mut clients = vec![Client::new(first)];
    clients.iter_mut().for_each(Client::listen);
    let family = client::family().ok();
    for (name, record) in entry::sweep() {
        let named = Named { name: name.as_str().to_owned(), record };
        let process = family.and_then(|family| record.watch(family));
        if process.is_some() {
            // Told to a reaper before this one. Its owner need not come.
            clients.push(Client { process, names: vec![named], ..Client::default() });
        } else if record.owner().is_ok_and(|owner| owner == Owner::Gone) {
            // Dead since, or somebody has locked its file.
            let due = Some(Instant::now());
            clients.push(Client { names: vec![named], dead: true, due, ..Client::default() });
        }
    }
    step("reaper: looked around");
    let mut opens: Option<Instant> = None;
    // Somebody who connects when it has none left finds it gone, and starts another.
    while clients.iter().any(Client::is_waited_for) {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let closed = opens.map(left).filter(|left| !left.is_zero());
        let due = clients.iter().filter_map(|client| client.due).min().map(left);
        let connections = clients.iter().flat_map(|client| &client.connection).map(|one| one as &dyn AsFd);
        let processes = clients.iter().flat_map(|client| &client.process).map(|one| one as &dyn AsFd);
        let door = closed.is_none().then_some(&listener as &dyn AsFd);
        let all: Vec<&dyn AsFd> = door.into_iter().chain(connections).chain(processes).collect();
        // Without memory or descriptors for a poll it can do nothing; its owners start another.
        if wait(&all, closed.into_iter().chain(due).min()).is_err() {
            return;
        }
        clients.iter_mut().for_each(Client::listen);
        clients.iter_mut().for_each(Client::look);
        clients.iter_mut().for_each(Client::remove);
        clients.retain(|client| !client.is_over());
        if closed.is_none() {
            opens = admit(&listener, &mut clients);
        }
    }
    step("reaper: about to end");
}

/// Lets in who is there; gives when the next may come, if that is later.
fn admit(listener: &Listener, clients: &mut Vec<Client>) -> Option<Instant> {
    loop {
        match listener.try_accept() {
            Ok(Some(connection)) => {
                step("reaper: accepted");
                clients.push(Client::new(connection));
            }
            Ok(None) => return None,
            Err(_) => return Some(Instant::now() + PAUSE),
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client { connection: None, process: None, names: Vec::new(), dead: false, due: None, pause: SOON }
    }
}

impl Client {
    fn new(connection: Connection<(), Word>) -> Client {
        Client { connection: Some(connection), ..Client::default() }
    }

    /// Whether the reaper stays for it. What is left of the dead is tried until it is late, and then is the next reaper's.
    fn is_waited_for(&self) -> bool {
        !self.dead || self.pause < LATE
    }

    /// Takes the words that are there.
    fn listen(&mut self) {
        while let Some(connection) = &self.connection {
            let answered = match connection.try_recv() {
                Ok(Some(Word::Owner(process, names))) => {
                    step("reaper: owner heard");
                    self.process = Some(process.into_inner());
                    self.names.extend(names);
                    let sent = connection.try_send(()).is_ok();
                    step("reaper: owner answered");
                    sent
                }
                Ok(Some(Word::Add(named))) => {
                    step("reaper: name heard");
                    self.names.push(named);
                    let sent = connection.try_send(()).is_ok();
                    step("reaper: name answered");
                    sent
                }
                Ok(Some(Word::Forget(named))) => {
                    step("reaper: name given back");
                    self.names.retain(|other| *other != named);
                    true
                }
                Ok(None) => return,
                Err(_) => false,
            };
            if !answered {
                step("reaper: owner has hung up");
                self.connection = None;
                // It lives on where it has only executed another program: its memory is gone with that.
                self.due = Some(Instant::now());
            }
        }
    }

    /// Whether it is dead.
    fn look(&mut self) {
        let Some(process) = &self.process else { return };
        if wait(&[process], Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty()) {
            step("reaper: owner is dead");
            (self.connection, self.process, self.dead) = (None, None, true);
            (self.due, self.pause) = (Some(Instant::now()), SOON);
        }
    }

    /// Whether nothing is to be waited for any more.
    fn is_over(&self) -> bool {
        let is_known = self.process.is_some() || self.dead;
        self.connection.is_none() && (self.names.is_empty() || !is_known)
    }

    /// Removes its names when they are due.
    fn remove(&mut self) {
        let now = Instant::now();
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.names.retain(|named| !remove(named, self.dead));
        if self.dead {
            step("reaper: owner is buried");
        }
        // Who lives on with its memory has not executed anything. Its death is waited for.
        self.due = (self.dead || self.pause < LATE).then(|| now + self.pause);
        self.pause = LATE.min(2 * self.pause);
    }
}

/// Removes a name that is still what it was said to be, of an owner that is `dead` or has given its memory up; `false`: not now.
fn remove(named: &Named, dead: bool) -> bool {
    let Ok(name) = Name::new(named.name.as_str()) else { return true };
    if !dead && !named.record.owner().is_ok_and(|owner| owner == Owner::Gone) {
        return false;
    }
    // It is all that the others have: nobody's lock is waited for.
    entry::try_remove(&name, |found| Ok(*found == named.record)).is_ok()
}
