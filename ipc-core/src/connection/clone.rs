//! Another receiving end on the same socket.
//!
//! A sender is cloned by counting: all clones are one end. A receiver remembers what has arrived of a long message, which two
//! cannot share; so its clone is an end of its own, over a duplicate of the descriptor, as one is that travelled. That is what several
//! processes need who take jobs from one pipe. Threads of one process share the receiver itself.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::channel::{Link, ReceiveHalf};
use super::{Connection, Receiver, receiver};
use crate::error::{Error, Result};
use crate::message::fragment::Limits;

/// A duplicate of what carries a receiving end, and the limits of its messages.
fn duplicate<T, C>(receiver: &Receiver<T, C>, what: &str) -> Result<(Arc<Link>, Limits)> {
    let refused = |why: &str| Error::Invalid { what: format!("a clone of {what}"), why: why.into() };
    match &receiver.way {
        receiver::Way::Memory(..) => {
            Err(refused("it is in this process's memory, where threads share it by reference"))
        }
        receiver::Way::Socket(half) => match &*half.link {
            Link::Packets(packets) => {
                let socket = packets.as_fd().try_clone_to_owned();
                let socket =
                    socket.map_err(|error| Error::os(format!("could not clone {what}: fcntl"), error))?;
                Ok((Arc::new(Link::over(socket, false)), half.limits()))
            }
            Link::Stream(_) => Err(refused(
                "over TCP two would take bytes of one message; threads share it by reference, and `split` parts its directions",
            )),
        },
    }
}

impl<T, C> Receiver<T, C> {
    /// Another receiving end on the same socket, to be given to another process: each message goes to one of the two.
    ///
    /// It has the same [limit](Receiver::set_max_message) and closes by itself. A message of more than 64 KiB comes in parts, which
    /// cannot be shared: where its beginning has gone to another, the rest is an error. The clone of a half of a
    /// [split](Connection::split) connection ends nothing; the direction ends with the half, for the clone as well.
    ///
    /// ```
    /// use ipc_core::{Receiver, pipe, spawn};
    ///
    /// fn sum(jobs: Receiver<u64>) -> u64 {
    ///     jobs.iter().flatten().sum()
    /// }
    ///
    /// let (sender, jobs) = pipe()?;
    /// let workers = [spawn(sum, (jobs.try_clone()?,))?, spawn(sum, (jobs,))?];
    /// for n in 1..=100 {
    ///     sender.send(n)?;
    /// }
    /// drop(sender);
    /// let [one, other] = workers.map(|worker| worker.join());
    /// assert_eq!(one? + other?, 5050);
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`]: no descriptor is left. [`Error::Invalid`]: over TCP, and in memory ([`Context::threads`](crate::Context::threads));
    /// there threads share the receiver itself.
    pub fn try_clone(&self) -> Result<Receiver<T, C>> {
        let (link, limits) = duplicate(self, "a receiver")?;
        Ok(Receiver::over(ReceiveHalf::new(link, false, limits)))
    }
}

impl<S, R, C> Connection<S, R, C> {
    /// Another end on the same socket, to be given to another process: both send, and each message that arrives goes to one of the two.
    ///
    /// As [`Receiver::try_clone`]; the connection ends when both are dropped.
    ///
    /// ```
    /// use ipc_core::{Connection, duplex, spawn};
    ///
    /// fn echo(peer: Connection<u8>) -> ipc_core::Result<()> {
    ///     let value = peer.recv()?;
    ///     Ok(peer.send(value)?)
    /// }
    ///
    /// let (ours, theirs) = duplex()?;
    /// let workers = [spawn(echo, (theirs.try_clone()?,))?, spawn(echo, (theirs,))?];
    /// ours.send(1)?;
    /// ours.send(2)?;
    /// assert_eq!(ours.recv()? + ours.recv()?, 3);
    /// for worker in workers {
    ///     worker.join()??;
    /// }
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Receiver::try_clone`].
    pub fn try_clone(&self) -> Result<Connection<S, R, C>> {
        let (link, limits) = duplicate(self.receiver(), "a connection")?;
        Ok(Connection::over(link, limits))
    }
}
