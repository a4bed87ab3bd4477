//! How a listener is to listen.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Listener, Lock};
use crate::connection::address::Address;
use crate::connection::credentials::Credentials;
use crate::connection::endpoint::{self, Bound};
use crate::error::{Error, Result};
use crate::message::fragment::Limits;
use crate::sys::socket::DESCRIPTORS;
use crate::{AuthKey, current};

/// How long a handshake may take, where nothing else is said.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a message may bring, where nothing else is said.
const LIMITS: Limits = Limits { bytes: 64 << 20, descriptors: DESCRIPTORS };

/// Which key, if any.
#[derive(Clone, Debug)]
pub(crate) enum Authentication {
    /// That of the process, at the time when it is needed.
    Family,
    /// This one.
    Key(AuthKey),
    /// None: everybody is let in.
    Off,
    /// One that did not travel with the listener.
    Left,
}

impl Authentication {
    pub(crate) fn key(&self, whose: &Address) -> Result<Option<AuthKey>> {
        match self {
            Authentication::Family => current().authkey().map(Some),
            Authentication::Key(key) => Ok(Some(key.clone())),
            Authentication::Off => Ok(None),
            Authentication::Left => Err(Error::Invalid {
                what: format!("the listener at {whose}"),
                why: "it came from another process, and its key does not travel: call `set_authkey` first"
                    .into(),
            }),
        }
    }
}

type Admits = Arc<dyn Fn(&Credentials) -> bool + Send + Sync>;

/// How a [`Listener`] is to listen; made by [`Listener::builder`].
#[derive(Clone)]
pub struct ListenerBuilder {
    pub(super) authentication: Authentication,
    pub(super) backlog: i32,
    pub(super) mode: Option<u32>,
    pub(super) handshake: Duration,
    pub(super) limits: Limits,
    pub(super) same_user: bool,
    pub(super) admits: Option<Admits>,
    pub(super) report_refused: bool,
}

impl fmt::Debug for ListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("authentication", &self.authentication)
            .field("backlog", &self.backlog)
            .field("mode", &self.mode)
            .field("handshake_timeout", &self.handshake)
            .field("max_message", &self.limits.bytes)
            .field("max_descriptors", &self.limits.descriptors)
            .field("same_user", &self.same_user)
            .field("report_refused", &self.report_refused)
            .finish_non_exhaustive()
    }
}

impl ListenerBuilder {
    pub(super) fn new() -> ListenerBuilder {
        ListenerBuilder {
            authentication: Authentication::Family,
            backlog: 128,
            mode: None,
            handshake: HANDSHAKE,
            limits: LIMITS,
            same_user: false,
            admits: None,
            report_refused: false,
        }
    }

    /// Whether what the kernel says of the client on this socket is right, where somebody wants to know.
    pub(super) fn admits(&self, socket: BorrowedFd<'_>) -> bool {
        if !self.same_user && self.admits.is_none() {
            return true;
        }
        let Ok(Some(who)) = Credentials::of(socket) else { return false };
        (!self.same_user || who.is_same_user()) && self.admits.as_ref().is_none_or(|admits| admits(&who))
    }

    /// Clients must have this key, instead of the process's ([`Current::authkey`](crate::Current::authkey)). The empty key is a
    /// key, which those who have it can prove.
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.authentication = Authentication::Key(key);
        self
    }

    /// Everybody who reaches the address is let in: only where the address itself ([`mode`](Self::mode)), or
    /// [`same_user`](Self::same_user), keeps out whom it should. A client that has a key refuses such a listener.
    pub fn without_authentication(mut self) -> Self {
        self.authentication = Authentication::Off;
        self
    }

    /// How many clients may wait to be accepted before the next ones must wait to connect; 128 if not said. The system may have a
    /// lower limit (`net.core.somaxconn`).
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = i32::try_from(clients).unwrap_or(i32::MAX);
        self
    }

    /// Who may connect to a path, as the file's permissions say it: write permission is what a client needs. Exactly so, whatever the umask
    /// is, and from before the first client can connect. If not said, the umask decides. Other addresses have none.
    ///
    /// ```
    /// use ipc_core::Listener;
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let path = std::env::temp_dir().join(format!("ipc-core-mode-{}", std::process::id()));
    /// let _listener = Listener::builder().mode(0o600).bind(&path)?;
    /// assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How long a client's handshake may take, from its arrival; five seconds if not said.
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.handshake = time;
        self
    }

    /// The longest message that accepted connections receive; 64 MiB if not said. Of the messages that a client has begun and not
    /// ended, a connection keeps four times as much, and then forgets the oldest.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// The most descriptors of a message that accepted connections receive, and of all that a client has begun and not ended; 253 if not
    /// said, which is one packet's. A process has room for a thousand where nobody has asked for more (RLIMIT_NOFILE). A message
    /// with more of them is [`Error::Decode`], and gone.
    pub fn max_descriptors(mut self, descriptors: usize) -> Self {
        self.limits.descriptors = descriptors.min(Limits::NONE.descriptors);
        self
    }

    /// Whether only clients of this process's effective user are let in, by what the kernel says. There is no such knowledge over
    /// TCP: there nobody is.
    pub fn same_user(mut self, only: bool) -> Self {
        self.same_user = only;
        self
    }

    /// Asks `admits` about every client before its handshake, by what the kernel says of it; over TCP nobody is let in then. It is
    /// called by whoever accepts, and should not take long. A listener with such a function does not travel.
    pub fn admit(mut self, admits: impl Fn(&Credentials) -> bool + Send + Sync + 'static) -> Self {
        self.admits = Some(Arc::new(admits));
        self
    }

    /// Whether a client that failed is an error of [`accept`](Listener::accept), as in Python, instead of being counted
    /// ([`Listener::refused`]) and passed over. With it, anybody can make `accept` fail: the loop around it must go on.
    pub fn report_refused(mut self, report: bool) -> Self {
        self.report_refused = report;
        self
    }

    /// Listens at `address`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for text that is no address, and for a [`mode`](Self::mode) where the address is no path; [`Error::Os`] with [`AddrInUse`](std::io::ErrorKind::AddrInUse) where
    /// somebody listens already, else with what the system said.
    pub fn bind(self, address: impl TryInto<Address, Error: Into<Error>>) -> Result<Listener> {
        let address = address.try_into().map_err(Into::into)?;
        let Bound { socket, address, lock } = endpoint::bind(&address, self.backlog, self.mode)?;
        Listener::new(socket, address, lock.map(Lock::Ours), self)
    }
}
