//! Two connected ends.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::channel::{Link, ReceiveHalf, SendHalf};
use super::{Connection, Receiver, Sender, memory};
use crate::entry::Message;
use crate::error::{Error, Result};
use crate::message::fragment::Limits;

/// A pipe of values from one process to another.
///
/// ```
/// let (sender, receiver) = ipc_core::pipe::<Vec<u8>>()?;
/// sender.send(vec![1, 2, 3])?;
/// assert_eq!(receiver.recv()?, [1, 2, 3]);
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Os`]: no descriptors are left.
pub fn pipe<T: Message>() -> Result<(Sender<T>, Receiver<T>)> {
    let (sends, receives) = sockets()?;
    let sender = Sender::over(SendHalf::new(link(sends), false));
    Ok((sender, Receiver::over(ReceiveHalf::new(link(receives), false, Limits::NONE))))
}

/// Two ends that both send and receive: what one sends as `S`, the other receives.
///
/// ```
/// use ipc_core::{Connection, duplex, spawn};
///
/// fn squares(peer: Connection<u64, u32>) {
///     for n in peer.receiver() {
///         let Ok(n) = n else { return };
///         let _ = peer.send(u64::from(n) * u64::from(n));
///     }
/// }
///
/// # fn main() -> ipc_core::Result<()> {
/// let (ours, theirs) = duplex::<u32, u64>()?;
/// let child = spawn(squares, (theirs,))?;
/// ours.send(12)?;
/// assert_eq!(ours.recv()?, 144);
/// drop(ours);
/// child.join()
/// # }
/// ```
///
/// # Errors
/// [`Error::Os`]: no descriptors are left.
pub fn duplex<S: Message, R: Message>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    let (one, other) = sockets()?;
    Ok((Connection::over(link(one), Limits::NONE), Connection::over(link(other), Limits::NONE)))
}

pub(crate) fn pipe_in_memory<T: Message>() -> Result<(Sender<T>, Receiver<T>)> {
    let (sending, receiving) = memory::pipe().map_err(|e| Error::os("could not make a pipe: eventfd", e))?;
    Ok((Sender::in_memory(sending), Receiver::in_memory(receiving)))
}

pub(crate) fn duplex_in_memory<S: Message, R: Message>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    let ((there, arrivals), (back, answers)) = (pipe_in_memory()?, pipe_in_memory()?);
    Ok((Connection::of(there, answers), Connection::of(back, arrivals)))
}

fn sockets() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::os("could not make a pipe: socketpair", e))
}

fn link(socket: OwnedFd) -> Arc<Link> {
    Arc::new(Link::Packets(socket.into()))
}
