//! Who is on the other side of a Unix socket: `SO_PEERCRED` and `SO_PEERPIDFD`, see
//! [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::switch;

/// Linux 6.5; the number of all architectures but two that Rust does not run on.
const SO_PEERPIDFD: libc::c_int = 77;

/// Process, user and group; `None` where it is no Unix socket.
///
/// Not by rustix, whose process ids are never 0: one of another pid namespace is.
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<Option<(u32, u32, u32)>> {
    match rustix::net::sockopt::socket_domain(socket) {
        Ok(rustix::net::AddressFamily::UNIX) => {}
        Ok(_) | Err(rustix::io::Errno::NOTSOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let peer: libc::ucred =
        option(socket.as_raw_fd(), libc::SO_PEERCRED, libc::ucred { pid: 0, uid: 0, gid: 0 })?;
    Ok(Some((u32::try_from(peer.pid).unwrap_or(0), peer.uid, peer.gid)))
}

/// A descriptor for the peer's process, closed on exec; `None` where there is none to be had.
pub(crate) fn pidfd(socket: RawFd) -> io::Result<Option<OwnedFd>> {
    if switch::is_off("peer_pidfd") {
        return Ok(None);
    }
    match option::<libc::c_int>(socket, SO_PEERPIDFD, -1) {
        // SAFETY: the kernel has just made it, for this call.
        Ok(number @ 0..) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Ok(_) => Ok(None),
        // An older kernel; no Unix socket, or one without a peer; a peer that is gone and was waited for.
        Err(error) => match error.raw_os_error() {
            Some(
                libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENODATA
                | libc::EINVAL
                | libc::ESRCH
                | libc::ENOTSOCK,
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

/// An option of the socket's level. `T` is made of integers, of which every bit pattern is a value.
fn option<T: Integers>(socket: RawFd, name: libc::c_int, mut value: T) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the place, which is of that length and of integers.
    let done =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Types of which every bit pattern is a value.
trait Integers {}

impl Integers for libc::c_int {}
impl Integers for libc::ucred {}
