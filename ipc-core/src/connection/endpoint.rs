//! Sockets at addresses: made, bound, connected.
//!
//! Unix sockets are of packets (`SOCK_SEQPACKET`), so that a message is whole by the kernel; TCP's are of bytes.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::address::Address;
use super::lock::PathLock;
use crate::error::{Error, Result};
use crate::poll::Until;

/// The longest path that fits into an address, without the NUL at its end.
const LONGEST_PATH: usize = 107;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: OwnedFd,
    /// With the real port, and the whole path.
    pub(crate) address: Address,
    pub(crate) lock: Option<PathLock>,
}

/// Binds `address` and listens there; a path gets these permissions. The socket does not block.
pub(crate) fn bind(address: &Address, backlog: i32, mode: Option<u32>) -> Result<Bound> {
    let failed =
        |call: &str, error: io::Error| Error::os(format!("could not listen at {address}: {call}"), error);
    if mode.is_some() && !matches!(address, Address::Unix(_)) {
        return Err(address.invalid("it is no path, and only that has permissions"));
    }
    let (socket, address, lock) = match address {
        Address::Tcp(host, port) => {
            // With SO_REUSEADDR: connections of a listener that is gone do not keep its port.
            let listener =
                TcpListener::bind((host.as_str(), *port)).map_err(|error| failed("bind", error))?;
            listener.set_nonblocking(true).map_err(|error| failed("fcntl", error))?;
            let port = listener.local_addr().map_err(|error| failed("getsockname", error))?.port();
            (OwnedFd::from(listener), Address::Tcp(host.clone(), port), None)
        }
        Address::Abstract(name) => {
            if name.is_empty() {
                return Err(address.invalid("an abstract name must not be empty"));
            }
            let name = abstract_name(address, name)?;
            let socket = unix_socket(SocketFlags::NONBLOCK).map_err(|e| failed("socket", e.into()))?;
            rustix::net::bind(&socket, &name).map_err(|e| failed("bind", e.into()))?;
            (socket, address.clone(), None)
        }
        Address::Unix(path) => {
            // What is removed at the end must be what is bound now, wherever the process goes.
            let path = std::path::absolute(path).map_err(|error| failed("getcwd", error))?;
            let socket = unix_socket(SocketFlags::NONBLOCK).map_err(|e| failed("socket", e.into()))?;
            let mut lock = PathLock::acquire(&path)?;
            if let Some(mode) = mode {
                // What the socket has when it is bound, less the umask, its file has from its first instant on.
                rustix::fs::fchmod(&socket, Mode::from_bits_truncate(mode))
                    .map_err(|e| failed("fchmod", e.into()))?;
            }
            at_path(&path, |at| rustix::net::bind(&socket, at)).map_err(|e| failed("bind", e.into()))?;
            lock.bound();
            if let Some(mode) = mode {
                set_mode(&path, mode).map_err(|error| failed("chmod", error))?;
            }
            (socket, Address::Unix(path), Some(lock))
        }
    };
    rustix::net::listen(&socket, backlog)
        .map_err(|error| Error::os(format!("could not listen at {address}: listen"), error))?;
    Ok(Bound { socket, address, lock })
}

/// Gives the socket at `path` these permissions, also those that the umask has taken. Nobody can connect yet: it does not listen.
///
/// By a descriptor of that file itself: a link that somebody has put in its place is not followed.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK.into());
    }
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::chmod(name, Mode::from_bits_truncate(mode))?)
}

/// Connects to `address`. Waits where the listener's backlog is full, and as TCP does.
pub(crate) fn connect(address: &Address, until: Until) -> Result<OwnedFd> {
    let failed = |call: &str, error: io::Error| {
        if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
            && until != Until::Forever
        {
            return Error::TimedOut { what: format!("connect to {address}") };
        }
        Error::os(format!("could not connect to {address}: {call}"), error)
    };
    match address {
        Address::Tcp(host, port) => {
            let all =
                (host.as_str(), *port).to_socket_addrs().map_err(|error| failed("getaddrinfo", error))?;
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for one in all {
                let connected = match until.left() {
                    None => TcpStream::connect(one),
                    Some(left) => TcpStream::connect_timeout(&one, left.max(SHORTEST)),
                };
                match connected {
                    Ok(stream) => {
                        prepare_stream(stream.as_fd()).map_err(|error| failed("setsockopt", error.into()))?;
                        return Ok(stream.into());
                    }
                    Err(error) => last = error,
                }
            }
            Err(failed("connect", last))
        }
        Address::Abstract(name) => {
            let name = abstract_name(address, name)?;
            connect_unix(until, |socket| rustix::net::connect(socket, &name))
                .map_err(|error| failed("connect", error.into()))
        }
        Address::Unix(path) => {
            connect_unix(until, |socket| at_path(path, |at| rustix::net::connect(socket, at)))
                .map_err(|error| failed("connect", error.into()))
        }
    }
}

/// No time at all means for ever to the kernel, and is refused by std.
const SHORTEST: Duration = Duration::from_millis(1);

/// A Unix socket with a full backlog gives no event to poll for; but its `connect` waits, for as long as the socket's time-out says.
/// The socket is still this function's alone, and has no time-out any more when it is handed out.
fn connect_unix(
    until: Until,
    connect: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> rustix::io::Result<OwnedFd> {
    let socket = unix_socket(SocketFlags::empty())?;
    loop {
        let left = until.left();
        if let Some(left) = left {
            set_socket_timeout(&socket, Timeout::Send, Some(left.max(SHORTEST)))?;
        }
        match connect(socket.as_fd()) {
            Ok(()) => {
                if left.is_some() {
                    set_socket_timeout(&socket, Timeout::Send, None)?;
                }
                return Ok(socket);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Small messages go at once.
pub(crate) fn prepare_stream(socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    set_tcp_nodelay(socket, true)
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None)
}

fn abstract_name(address: &Address, name: &[u8]) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(name)
        .map_err(|_| address.invalid(format!("an abstract name has at most {LONGEST_PATH} bytes")))
}

/// Calls `f` with the address of a path of any length: a directory that is open has a short name as well.
fn at_path<T>(path: &Path, f: impl Fn(&SocketAddrUnix) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    if path.as_os_str().len() <= LONGEST_PATH {
        return f(&SocketAddrUnix::new(path)?);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NAMETOOLONG);
    };
    let directory = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    short.push(name);
    if short.as_os_str().as_bytes().len() > LONGEST_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    f(&SocketAddrUnix::new(&short)?)
}

/// Whether nobody listens at the socket of this path any more.
pub(crate) fn is_dead(path: &Path) -> io::Result<bool> {
    let socket = unix_socket(SocketFlags::NONBLOCK)?;
    loop {
        return match at_path(path, |at| rustix::net::connect(&socket, at)) {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(true),
            // It answers, is busy, or is of another type.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}
