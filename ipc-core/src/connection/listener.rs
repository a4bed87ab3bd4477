//! Listeners: an address at which other programs find this one.
//!
//! What comes by a listener comes from strangers. So a client is authenticated before a byte of a message is looked at (`auth.rs`), on a
//! Unix socket the kernel says who it is, messages are limited in length, and a client that does not answer holds up nobody but
//! itself (`reception.rs`). Processes of one family share a key already, so that between them all this needs no word.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::Connection;
use super::address::Address;
use super::auth::Refusal;
use super::channel::Link;
use super::credentials::Credentials;
use super::lock::{PathLock, SharedLock};
use super::reception::{Arrival, Front, ROOM, Reception, Rules};
use crate::AuthKey;
use crate::error::{Error, Result};
use crate::message::fragment::Limits;
use crate::poll::{Patience, Until};
use crate::primitive::sync::{Condvar, Mutex};
use crate::sys::incarnation::Incarnation;
use crate::sys::wait;

mod builder;
mod travel;

pub(crate) use builder::Authentication;
pub use builder::ListenerBuilder;

/// Who connected: see [`Listener::last_accepted`]. Of a connection of one's own: [`Connection::peer_address`],
/// [`Connection::credentials`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it came from, over TCP. Unix clients have no address.
    pub address: Option<Address>,
    /// Which process it was, on a Unix socket.
    pub credentials: Option<Credentials>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.credentials) {
            (Some(address), _) => write!(f, "{address}"),
            (None, Some(who)) => write!(f, "process {} of user {}", who.pid, who.uid),
            (None, None) => f.write_str("somebody"),
        }
    }
}

/// The lock of a path.
enum Lock {
    /// This process bound the path, and removes it.
    Ours(PathLock),
    /// It came with the listener.
    Shared(SharedLock),
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Lock::Ours(lock) => lock.as_fd(),
            Lock::Shared(lock) => lock.as_fd(),
        }
    }
}

/// An address at which others can connect.
///
/// ```
/// use ipc_core::{Listener, connect, spawn};
///
/// fn greet(address: ipc_core::Address) -> ipc_core::Result<String> {
///     let server = connect::<String, String>(address)?;
///     server.send("hello".into())?;
///     server.recv()
/// }
///
/// let listener = Listener::private()?;
/// let child = spawn(greet, (listener.address().clone(),))?;
/// let client = listener.accept::<String, String>()?;
/// assert_eq!(client.recv()?, "hello");
/// client.send("welcome".into())?;
/// assert_eq!(child.join()??, "welcome");
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// # Who is let in
///
/// Both sides prove that they have the same key, without showing it: the process's own, which children inherit, or one that was
/// [given](ListenerBuilder::authkey). A client that fails, or takes longer than
/// [it may](ListenerBuilder::handshake_timeout), is closed and [counted](Listener::refused), and holds up nobody else. Nothing is
/// encrypted: over a network that others can write to, TCP needs a tunnel.
///
/// The handshake has two sides, and the listener's is done by whoever accepts, at that moment: there is no thread behind it. So a client
/// waits in [`connect`](crate::connect()) until somebody does, and a thread that connects to a listener which it was itself to accept from
/// waits for ever, unless the client has [a time limit](crate::Connector::timeout). Connect in another thread or process.
///
/// # Addresses
///
/// [`Address`] says how they are written, and [`connection`](crate::connection) what connections at which of them can carry.
/// [`ListenerBuilder::mode`] says who may connect to a path. A path is removed when the listener is closed by the process that bound it. When that is killed, the next one can bind the path at once:
/// a lock beside it, `PATH.lock`, tells the dead from the living. A name in the abstract namespace or a port ends with the last
/// process that has the listener.
///
/// # Many threads, many processes
///
/// Several threads may accept at once. A listener travels inside values: then several processes accept from one address, and each
/// client comes to one of them. A key that was given by hand does not travel with it, see [`set_authkey`](Self::set_authkey).
///
/// Waiting for a listener together with others: it is [`AsFd`], for [`wait`](crate::wait()) and for poll. Ready means that there is
/// something to do, which need not be a whole client yet: follow it by [`try_accept`](Self::try_accept). That is also how a client
/// is closed in time that does not answer: nothing happens between calls.
pub struct Listener {
    address: Address,
    options: ListenerBuilder,
    /// The socket, those whose handshakes are under way, and the two below.
    epoll: OwnedFd,
    /// Rung, once, by `close`.
    bell: OwnedFd,
    /// When the next of those is late.
    timer: OwnedFd,
    /// Who made the three: a forked copy leaves them alone.
    made_by: Incarnation,
    state: Mutex<State>,
    /// The reception was put back.
    back: Condvar,
}

struct State {
    /// Taken by the thread that serves; gone when the listener is closed.
    reception: Option<Reception>,
    /// Its socket, which may travel meanwhile.
    socket: Option<Arc<OwnedFd>>,
    closed: bool,
    lock: Option<Lock>,
    last: Option<Peer>,
    refused: u64,
}

/// A connection that has just been let in.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    pub(crate) stream: bool,
    pub(crate) limits: Limits,
}

impl Listener {
    /// Listens at `address`, for clients that have this process's key.
    ///
    /// ```no_run
    /// # use ipc_core::Listener;
    /// let by_path = Listener::bind("/run/app.sock")?;
    /// let by_port = Listener::bind(("0.0.0.0", 7000))?;
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ListenerBuilder::bind`].
    pub fn bind(address: impl TryInto<Address, Error: Into<Error>>) -> Result<Listener> {
        Listener::builder().bind(address)
    }

    /// Listens at an address of its own that nobody can guess ([`Address::private`]).
    ///
    /// # Errors
    /// As [`ListenerBuilder::bind`].
    pub fn private() -> Result<Listener> {
        Listener::bind(Address::private()?)
    }

    /// To say how it is to listen.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::new()
    }

    fn new(
        socket: OwnedFd,
        address: Address,
        lock: Option<Lock>,
        options: ListenerBuilder,
    ) -> Result<Listener> {
        let failed = |call: &'static str| {
            let operation = format!("could not listen at {address}: {call}");
            move |error: rustix::io::Errno| Error::os(operation, error)
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll_create1"))?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(failed("eventfd"))?;
        let timer = wait::unset_timer().map_err(failed("timerfd_create"))?;
        for source in [socket.as_fd(), bell.as_fd(), timer.as_fd()] {
            epoll::add(&epoll, source, EventData::new_u64(0), EventFlags::IN).map_err(failed("epoll_ctl"))?;
        }
        let socket = Arc::new(socket);
        let reception = Some(Reception::new(socket.clone()));
        let state = State { reception, socket: Some(socket), closed: false, lock, last: None, refused: 0 };
        Ok(Listener {
            address,
            options,
            epoll,
            bell,
            timer,
            made_by: Incarnation::this(),
            state: Mutex::new(state),
            back: Condvar::new(),
        })
    }

    /// Where it listens, as clients need it: with the real port, and the whole path.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Who was accepted last, by whichever thread; `None` before the first.
    pub fn last_accepted(&self) -> Option<Peer> {
        self.state.lock().last.clone()
    }

    /// How many clients were not let in so far: a wrong key, no key, no handshake, too slow.
    pub fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// The key that clients must have from now on.
    pub fn set_authkey(&mut self, key: AuthKey) {
        self.options.authentication = Authentication::Key(key);
    }

    /// Waits for the next client that may come in. The connection that is returned sends `S`s and receives `R`s.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the listener is closed; [`Error::Os`] when the system cannot (no descriptor is left, say), after
    /// which the listener is as good as before; [`Error::Unauthenticated`] for a client that failed, only
    /// [on request](ListenerBuilder::report_refused).
    pub fn accept<S, R>(&self) -> Result<Connection<S, R>> {
        // For ever is as long as it takes.
        loop {
            if let Some(connection) = self.accept_connection(Until::Forever)? {
                return Ok(connection);
            }
        }
    }

    /// As [`accept`](Self::accept); `None` where nobody is through now. Handshakes that are under way go on a step.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn try_accept<S, R>(&self) -> Result<Option<Connection<S, R>>> {
        self.accept_connection(Until::Now)
    }

    /// As [`accept`](Self::accept); `None` where nobody comes within `timeout`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_timeout<S, R>(&self, timeout: Duration) -> Result<Option<Connection<S, R>>> {
        self.accept_connection(Until::after(timeout))
    }

    /// As [`accept`](Self::accept); `None` where nobody comes until `deadline`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_deadline<S, R>(&self, deadline: Instant) -> Result<Option<Connection<S, R>>> {
        self.accept_connection(Until::Deadline(deadline))
    }

    fn accept_connection<S, R>(&self, until: Until) -> Result<Option<Connection<S, R>>> {
        let Some(Accepted { socket, stream, limits }) = self.accept_until(until)? else {
            return Ok(None);
        };
        Ok(Some(Connection::over(Arc::new(Link::over(socket, stream)), limits)))
    }

    /// Waits for the next client that may come in; gives its socket. `None` when the time is over.
    pub(crate) fn accept_until(&self, until: Until) -> Result<Option<Accepted>> {
        let Some(mut serving) = self.serve(until)? else { return Ok(None) };
        let key = self.options.authentication.key(&self.address)?;
        let rules = Rules {
            key,
            stream: !self.address.is_unix(),
            time: self.options.handshake,
            admits: &|socket| self.options.admits(socket),
        };
        // Those who stand before an honest client are fewer than there is room for.
        let mut patience = Patience::new(until, ROOM);
        loop {
            let arrival = serving.reception()?.next(&rules, self.front(), until);
            let arrival = arrival.map_err(|error| {
                Error::os(format!("could not accept a connection at {}: accept", self.address), error)
            })?;
            let Some(Arrival { from, outcome }) = arrival else {
                return if self.state.lock().closed { Err(self.is_closed()) } else { Ok(None) };
            };
            let address = from.and_then(|from| std::net::SocketAddr::try_from(from).ok()).map(Address::from);
            match outcome {
                Ok(socket) => {
                    let credentials = Credentials::of(socket.as_fd()).ok().flatten();
                    self.state.lock().last = Some(Peer { address, credentials });
                    let (stream, limits) = (rules.stream, self.options.limits);
                    return Ok(Some(Accepted { socket, stream, limits }));
                }
                Err(refusal) => {
                    let mut state = self.state.lock();
                    state.refused += 1;
                    // With the next one there already, nobody looks at the bell.
                    if state.closed {
                        return Err(self.is_closed());
                    }
                    drop(state);
                    if self.options.report_refused {
                        return Err(self.refusal(&refusal, address));
                    }
                    if !patience.lasts() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn refusal(&self, refusal: &Refusal, from: Option<Address>) -> Error {
        let whose = from.map(|from| format!(" of {from}")).unwrap_or_default();
        match refusal {
            Refusal::Failed(number) => Error::os(
                format!("could not take a connection{whose} at {}: handshake", self.address),
                std::io::Error::from_raw_os_error(*number),
            ),
            refusal => Error::Unauthenticated {
                why: format!("a client{whose} of the listener at {} was refused: {refusal}", self.address),
            },
        }
    }

    fn is_closed(&self) -> Error {
        Error::Disconnected {
            how: format!("could not accept a connection at {}: the listener is closed", self.address),
        }
    }

    fn front(&self) -> Option<Front<'_>> {
        let Listener { epoll, bell, timer, .. } = self;
        self.made_by.is_this().then(|| Front {
            epoll: epoll.as_fd(),
            bell: bell.as_fd(),
            timer: timer.as_fd(),
        })
    }

    /// Waits until nobody else serves; `None` when the time is over.
    fn serve(&self, until: Until) -> Result<Option<Serving<'_>>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Err(self.is_closed());
            }
            if let Some(reception) = state.reception.take() {
                return Ok(Some(Serving { listener: self, reception: Some(reception) }));
            }
            state = match until.left() {
                None => self.back.wait(state),
                Some(left) if left.is_zero() => return Ok(None),
                Some(left) => self.back.wait_timeout(state, left).0,
            };
        }
    }

    /// Stops listening: whoever waits in [`accept`](Self::accept) gets an error, clients are refused by the system, and a path that
    /// this process bound is removed. Connections that were accepted stay. Closing twice is closing once; dropping closes.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.closed, true)
            && let Some(front) = self.front()
        {
            // A full counter rings as well.
            let _ = rustix::io::write(front.bell, &1_u64.to_ne_bytes());
        }
        self.back.notify_all();
        // Who serves drops it on the way out.
        if let Some(reception) = state.reception.take() {
            self.shut(&mut state, reception);
        }
    }

    /// The end of the socket and of its path.
    fn shut(&self, state: &mut State, reception: Reception) {
        if let Some(front) = self.front() {
            let _ = epoll::delete(front.epoll, reception.socket());
        }
        state.socket = None;
        state.lock = None;
        drop(reception);
    }
}

/// The thread that serves, until it has somebody or gives up.
struct Serving<'a> {
    listener: &'a Listener,
    reception: Option<Reception>,
}

impl Serving<'_> {
    fn reception(&mut self) -> Result<&mut Reception> {
        self.reception.as_mut().ok_or_else(|| self.listener.is_closed())
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut state = self.listener.state.lock();
        let Some(reception) = self.reception.take() else { return };
        if state.closed {
            self.listener.shut(&mut state, reception);
        } else {
            state.reception = Some(reception);
            self.listener.back.notify_one();
        }
    }
}

/// Ready when [`try_accept`](Listener::try_accept) has something to do, or the listener is closed.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
