//! A ring: a channel from one process to another in shared memory, crash-safe by construction.
//!
//! One sender, one receiver, bytes in between: no system call as long as neither has to wait. Values, bytes, and bytes that are written and read where they
//! stand ([`Loan`], [`RingMessage`]). A message is whole or not there: it is published by one store, after all of it is written (`track.rs` has the
//! words and what they mean). A message has its bytes in one piece and aligned to 64.
//!
//! # When a process dies
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | the sender, before it has published | the receiver | nothing of the message is seen: what was published is received, then the end |
//! | the sender, after it, before it has woken anybody | the kernel wakes the receiver | the message is received, then the end |
//! | the receiver, with a message or without | the sender, when it next finds no room | the value comes back, and so does each after it |
//! | either, while it sleeps or waits | the other | the same |
//! | an end on its way, that nobody receives | the other | the same |
//! | one of which forked copies live that were not given the end | the other | the same |
//!
//! "Notices": a sleeper within 100 ms, who polls its descriptor at once, and who tries and finds nothing within 20 µs of tries. An end that is dropped closes
//! at once. A sender that finds room makes no system call, so it may fill the ring of a dead one before it is told; who polls its descriptor sees it. What was sent and not received is lost with the receiver, as with a pipe.
//!
//! An end that the closure of a [`Builder::fork`](ipc_core::Builder::fork) captures is the child's; the original is dropped, and closes nothing. Behind an `Arc` that
//! both have it stays the parent's, and so does what other code's `fork` copies: only one of the two may use it then, and a copy of `libc::fork` keeps it open.
//!
//! # What the other side is trusted with
//!
//! Nothing, by who receives values and copies of bytes: indices, lengths and kinds are checked before they are used, and what does not fit is
//! [`Error::Corrupt`](crate::Error::Corrupt). To keep to the protocol, by who has a loan or a message in place (`loan.rs`).

mod end;
mod loan;
mod memory;
mod pace;
mod receiver;
mod sender;
pub mod track;
mod travel;

use ipc_core::Message;
use ipc_core::primitive::process::Tie;
use ipc_shm::Arena;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

pub use loan::{Loan, RingMessage};
pub use receiver::{Iter, RingReceiver};
pub use sender::RingSender;

use crate::Result;
use end::{End, Role};
use memory::Memory;

/// A ring from one process to another, with room for so many bytes, rounded up to a power of two of at least 4096. A message takes up to
/// half of it, and a multiple of 64.
///
/// It has a segment of its own, and each end a descriptor besides.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::{RingReceiver, ring};
///
/// fn total(mut numbers: RingReceiver<u64>) -> u64 {
///     numbers.iter().flatten().sum()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut sender, receiver) = ring(1 << 16)?;
/// let child = spawn(total, (receiver,))?;
/// for n in 1..=100 {
///     sender.send(n)?;
/// }
/// drop(sender);
/// assert_eq!(child.join()?, 5050);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory): there is no memory for it. [`Error::Message`](crate::Error::Message): no descriptors are left.
pub fn ring<T: Message>(bytes: usize) -> Result<(RingSender<T>, RingReceiver<T>)> {
    make(bytes, None)
}

/// The same in an arena, which it goes with: nobody frees it before.
///
/// # Errors
/// As [`ring`], and as for whatever is made in an [`Arena`].
pub fn ring_with<T: Message>(bytes: usize, arena: &Arena) -> Result<(RingSender<T>, RingReceiver<T>)> {
    make(bytes, Some(arena))
}

fn make<T>(bytes: usize, arena: Option<&Arena>) -> Result<(RingSender<T>, RingReceiver<T>)> {
    let memory = Memory::new(bytes, arena)?;
    let pair = || Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?.into());
    let [sends, receives] = Tie::make(pair).map_err(|source| ipc_core::Error::Os {
        operation: "could not make a ring: socketpair".into(),
        source,
        hint: None,
        child: None,
        ran: ipc_core::Ran::DidNotRun,
    })?;
    let other = Memory::of(memory.shared().clone())?;
    let receiver = RingReceiver::begin(End::new(Role::Receives, other, receives, 0))?;
    // The sender has room, and the receiver nothing yet (`end.rs`).
    receiver.end.ring_now();
    receiver.end.post().arm();
    Ok((RingSender::begin(End::new(Role::Sends, memory, sends, 0))?, receiver))
}

/// The memory of a ring, for tests that write over it.
#[cfg(feature = "crash-points")]
pub fn segment<T>(receiver: &RingReceiver<T>) -> ipc_shm::Segment {
    receiver.end.memory.shared().segment().clone()
}
