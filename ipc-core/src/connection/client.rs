//! The other side of a listener: connecting to an address.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use super::address::Address;
use super::auth::{Refusal, Role};
use super::channel::Link;
use super::endpoint;
use super::listener::Authentication;
use super::pending::{Pending, Step};
use crate::AuthKey;
use crate::error::{Error, Result};
use crate::message::fragment::Limits;
use crate::poll::{self, Until};

/// How long connecting may take, where nothing else is said: a listener that was stopped never answers.
const TIME: Duration = Duration::from_secs(60);

/// How to connect, where [`connect`] is not enough: with a key of one's own, for a limited time.
///
/// ```no_run
/// use ipc_core::{AuthKey, Connector};
/// use std::time::Duration;
///
/// let key = AuthKey::from_bytes(std::fs::read("/etc/app.key")?);
/// let server = Connector::new()
///     .authkey(key)
///     .timeout(Duration::from_secs(3))
///     .connect::<String, u64>("localhost:7000")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Connector {
    authentication: Authentication,
    time: Duration,
    max_message: Option<usize>,
}

impl Default for Connector {
    fn default() -> Self {
        Connector::new()
    }
}

impl Connector {
    /// With this process's key, within a minute.
    pub fn new() -> Connector {
        Connector { authentication: Authentication::Family, time: TIME, max_message: None }
    }

    /// The key that the listener must have, too.
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.authentication = Authentication::Key(key);
        self
    }

    /// For a listener that [does not authenticate](crate::ListenerBuilder::without_authentication).
    pub fn without_authentication(mut self) -> Self {
        self.authentication = Authentication::Off;
        self
    }

    /// How long connecting and handshake may take together, which both wait until somebody accepts; a minute if not said. A time that
    /// no clock can hold, as [`Duration::MAX`], is for ever.
    ///
    /// Before that a host's name is looked up, by the system, which takes the time that *its* configuration says (resolv.conf(5)): where it
    /// matters, connect to a number.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The longest message that the connection receives. Without it there is no limit, nor is there one to its descriptors: the listener
    /// has shown that it has the key. Say one where it has not ([`without_authentication`](Self::without_authentication)), or where
    /// others have the key as well.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Connects to the listener at `address`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for text that is no address; [`Error::Os`] where nobody listens there
    /// ([`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused), [`NotFound`](std::io::ErrorKind::NotFound)) or the system
    /// cannot; [`Error::Unauthenticated`] when one side does not have the other's key, or is no listener of this crate;
    /// [`Error::Disconnected`] when the listener closes, [`Error::TimedOut`] when the time is over.
    pub fn connect<S, R>(
        &self,
        address: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Connection<S, R>> {
        let address = address.try_into().map_err(Into::into)?;
        let socket = self.socket(&address, self.until())?;
        let link = Link::over(socket, !address.is_unix());
        let limits = Limits { bytes: self.max_message.unwrap_or(usize::MAX), ..Limits::NONE };
        Ok(Connection::over(Arc::new(link), limits))
    }

    fn until(&self) -> Until {
        Until::after(self.time)
    }

    /// A socket whose handshake has succeeded.
    pub(crate) fn socket(&self, address: &Address, until: Until) -> Result<OwnedFd> {
        let key = self.authentication.key(address)?;
        let socket = endpoint::connect(address, until)?;
        crash_point!("client: connected");
        let failed =
            |error: rustix::io::Errno| Error::os(format!("could not connect to {address}: handshake"), error);
        let mut pending = Pending::new(socket, !address.is_unix(), Role::Client, key).map_err(failed)?;
        loop {
            match pending.step().map_err(failed)? {
                Step::Done(Ok(())) => {
                    crash_point!("client: through");
                    return Ok(pending.into_socket());
                }
                Step::Done(Err(refusal)) => return Err(refused(address, &refusal)),
                Step::Waits(flags) => {
                    if !poll::ready(pending.as_fd(), flags, until).map_err(failed)? {
                        pending.refuse(Refusal::Late);
                        return Err(Error::TimedOut { what: format!("connect to {address}") });
                    }
                }
            }
        }
    }
}

/// Connects to the listener at `address`, with this process's key, within a minute. See [`Connector`] for other ways.
///
/// ```no_run
/// let server = ipc_core::connect::<String, u64>("/run/app.sock")?;
/// server.send("how many?".into())?;
/// println!("{}", server.recv()?);
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// It waits until somebody [accepts](crate::Listener::accept), who does the listener's side of the handshake: so not in the thread that is
/// to accept.
///
/// # Errors
/// As [`Connector::connect`].
pub fn connect<S, R>(address: impl TryInto<Address, Error: Into<Error>>) -> Result<Connection<S, R>> {
    Connector::new().connect(address)
}

fn refused(address: &Address, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Closed => Error::Disconnected { how: format!("could not connect to {address}: {refusal}") },
        Refusal::Failed(number) => Error::os(
            format!("could not connect to {address}: handshake"),
            std::io::Error::from_raw_os_error(*number),
        ),
        refusal => Error::Unauthenticated { why: format!("could not connect to {address}: {refusal}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that was stopped held its client for ever.
    #[test]
    fn connecting_has_an_end_also_where_nobody_has_said_when() {
        assert!(matches!(Connector::new().until(), Until::Deadline(_)));
        assert!(matches!(Connector::default().until(), Until::Deadline(_)));
        assert_eq!(Connector::new().timeout(Duration::MAX).until(), Until::Forever);
    }
}
