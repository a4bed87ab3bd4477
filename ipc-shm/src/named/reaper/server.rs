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

/// How long nobody is let in after somebody could not be, for want of a descriptor: the listener is ready all that time.
const PAUSE: Duration = Duration::from_millis(50);

/// A process that has names.
struct Client {
    /// `None`: it has hung up, and may live on by exec.
    connection: Option<Connection<(), Word>>,
    /// Ready when it is dead. `None` before its first word.
    process: Option<OwnedFd>,
    names: Vec<Named>,
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
    let mut clients = vec![Client::new(first)];
    let family = client::family().ok();
    for (name, record) in entry::sweep() {
        // Told to a reaper before this one. Its owner need not come.
        match family.and_then(|family| record.watch(family)) {
            Some(process) => {
                let named = Named { name: name.as_str().to_owned(), record };
                clients.push(Client { connection: None, process: Some(process), names: vec![named] });
            }
            // Of another family, or dead since.
            None => drop(entry::remove_stale(&name)),
        }
    }
    step("reaper: looked around");
    let mut opens: Option<Instant> = None;
    // Somebody who connects when it has none left finds it gone, and starts another.
    while !clients.is_empty() {
        let closed = opens.map(|opens| opens.saturating_duration_since(Instant::now()));
        let closed = closed.filter(|left| !left.is_zero());
        let connections = clients.iter().flat_map(|client| &client.connection).map(|one| one as &dyn AsFd);
        let processes = clients.iter().flat_map(|client| &client.process).map(|one| one as &dyn AsFd);
        let door = closed.is_none().then_some(&listener as &dyn AsFd);
        let all: Vec<&dyn AsFd> = door.into_iter().chain(connections).chain(processes).collect();
        // Without memory or descriptors for a poll it can do nothing; its owners start another.
        if wait(&all, closed).is_err() {
            return;
        }
        clients.iter_mut().for_each(Client::listen);
        clients.retain_mut(|client| !client.is_over());
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

impl Client {
    fn new(connection: Connection<(), Word>) -> Client {
        Client { connection: Some(connection), process: None, names: Vec::new() }
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
                self.names.retain(|named| !remove(named, false));
            }
        }
    }

    /// Whether nothing is to be waited for any more; the names of who is dead are removed.
    fn is_over(&mut self) -> bool {
        let Some(process) = &self.process else { return self.connection.is_none() };
        let dead = wait(&[process], Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty());
        if dead {
            step("reaper: owner is dead");
            self.names.iter().for_each(|named| {
                remove(named, true);
            });
            step("reaper: owner is buried");
        }
        dead || (self.connection.is_none() && self.names.is_empty())
    }
}

/// Removes a name that is still what it was said to be, of an owner that is `dead` or has given its memory up.
fn remove(named: &Named, dead: bool) -> bool {
    let Ok(name) = Name::new(named.name.as_str()) else { return true };
    let gone = entry::remove(&name, |found| {
        Ok(*found == named.record && (dead || named.record.owner()? == Owner::Gone))
    });
    gone.unwrap_or(false)
}
