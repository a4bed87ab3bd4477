//! Who is on the other side of a Unix socket, as the kernel knows it and not as they say.
//!
//! The kernel notes the credentials of a client when it connects, those of a listener when it begins to listen, and those of a
//! pair when it is made ([unix(7)], `SO_PEERCRED`): a socket that was given away since still answers with its first owner.
//!
//! [unix(7)]: https://man7.org/linux/man-pages/man7/unix.7.html

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::{Address, Connection};
use crate::error::{Error, Result};
use crate::sys::peer;

/// The process on the other side of a connection, at the time when it connected, listened, or made the pair.
///
/// ```
/// # use ipc_core::Credentials;
/// fn is_trusted(peer: &Credentials) -> bool {
///     peer.uid == 0 || peer.is_same_user()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Credentials {
    /// Its process id; 0 where it is in a pid namespace that cannot be seen from here.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl Credentials {
    /// Of the peer of a Unix socket; `None` for other sockets.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Option<Credentials>> {
        Ok(peer::credentials(socket)?.map(|(pid, uid, gid)| Credentials { pid, uid, gid }))
    }

    /// Whether it is this process's effective user.
    pub fn is_same_user(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Who is there, by what the kernel says.
impl<S, R, C> Connection<S, R, C> {
    /// The process on the other side, as it was when the connection was made. `None` over TCP and in memory.
    ///
    /// # Errors
    /// [`Error::Os`]: the system does not say.
    pub fn credentials(&self) -> Result<Option<Credentials>> {
        Credentials::of(self.as_fd())
            .map_err(|error| Error::os("could not look at the peer of a connection: getsockopt", error))
    }

    /// Where the other side is, over TCP: its host, in digits, and its port. `None` on a Unix socket, whose clients have no address,
    /// and in memory. This connection's own, also where several threads accept from one listener.
    ///
    /// ```
    /// use ipc_core::{Address, Listener, connect};
    ///
    /// let listener = Listener::bind(("127.0.0.1", 0))?;
    /// std::thread::scope(|scope| {
    ///     let client = scope.spawn(|| connect::<u8, u8>(listener.address()));
    ///     let ours = listener.accept::<u8, u8>()?;
    ///     assert!(matches!(ours.peer_address()?, Some(Address::Tcp(host, _)) if host == "127.0.0.1"));
    ///     client.join().expect("no panic").map(drop)
    /// })?;
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`]: the system does not say; it forgets
    /// ([`NotConnected`](std::io::ErrorKind::NotConnected)) when the connection is reset.
    pub fn peer_address(&self) -> Result<Option<Address>> {
        match rustix::net::getpeername(self) {
            Ok(peer) => {
                Ok(peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok()).map(Address::from))
            }
            Err(rustix::io::Errno::NOTSOCK) => Ok(None),
            Err(error) => Err(Error::os("could not look at the peer of a connection: getpeername", error)),
        }
    }

    /// A descriptor of the process on the other side, which is ready when that has ended, and means that process and no later one
    /// of its number. `None` where the kernel cannot tell: before Linux 6.5, over TCP, in memory.
    ///
    /// # Errors
    /// [`Error::Os`]: the system does not say, or no descriptor is left.
    pub fn peer_pidfd(&self) -> Result<Option<OwnedFd>> {
        peer::pidfd(self.as_fd().as_raw_fd())
            .map_err(|error| Error::os("could not look at the peer of a connection: getsockopt", error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn of_a_pair_it_is_oneself() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Credentials::of(ours.as_fd()).unwrap().unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert!(peer.is_same_user());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    }

    #[test]
    fn of_tcp_nothing_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(Credentials::of(client.as_fd()).unwrap(), None);
        assert!(peer::pidfd(client.as_raw_fd()).unwrap().is_none());
    }
}
