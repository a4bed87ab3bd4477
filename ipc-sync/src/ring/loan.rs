//! Messages where they stand in the ring: written there, and read there.
//!
//! They are slices of memory that another process has as well. That is sound as long as that process keeps to the protocol: it neither writes nor reads
//! where a [`Loan`] is, for that is not published, and does not write where a [`RingMessage`] is, for that is not given back. Both hold their end
//! borrowed, so there is one at a time. Who does not trust the other side receives copies: [`recv_bytes`](crate::RingReceiver::recv_bytes) and its like
//! make none of these slices.

use std::fmt;
use std::ops::{Deref, DerefMut};

use ipc_shm::gate;

use super::receiver::RingReceiver;
use super::sender::RingSender;
use super::track::{Frame, Kind, Spot, lines_of};
use crate::{Result, crash};

/// Room in the ring for a message, which is written where it stands: a slice, aligned to 64 bytes. What stands in it at first is some bytes or others.
///
/// [Committed](Loan::commit), it is sent; dropped without, it never was.
#[must_use = "nothing is sent unless it is committed"]
pub struct Loan<'a, T> {
    sender: &'a mut RingSender<T>,
    spot: Spot,
    len: usize,
}

impl<'a, T> Loan<'a, T> {
    pub(super) fn new(sender: &'a mut RingSender<T>, spot: Spot, len: usize) -> Loan<'a, T> {
        Loan { sender, spot, len }
    }

    /// Makes the message shorter: so many bytes. A longer one stays as it is.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.spot = self.spot.shortened(lines_of(self.len));
    }

    /// Sends the message.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory): the kernel does not look after this thread (a sandbox); nothing is sent. Whether the receiver is still there it
    /// does not ask: the next send does.
    pub fn commit(self) -> Result<()> {
        let memory = &self.sender.end.memory;
        memory.ring().frame(memory.table(), &self.sender.side, self.spot, Kind::Bytes, self.len);
        crash::reached("ring sender: written in place");
        self.sender.publish(self.spot.end)
    }
}

impl<T> Deref for Loan<'_, T> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: room that is not published, of a sender that is borrowed as long as the loan is: nobody else's (the module's documentation).
        unsafe { self.sender.end.memory.slice(self.spot.line, self.len) }.unwrap_or_default()
    }
}

impl<T> DerefMut for Loan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this loan is borrowed mutably.
        unsafe { self.sender.end.memory.slice_mut(self.spot.line, self.len) }.unwrap_or_default()
    }
}

impl<T> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A message of bytes that stands in the ring still: a slice, aligned to 64 bytes. Its room is given back when it is dropped.
pub struct RingMessage<'a, T> {
    receiver: &'a mut RingReceiver<T>,
    frame: Frame,
}

impl<'a, T> RingMessage<'a, T> {
    pub(super) fn new(receiver: &'a mut RingReceiver<T>, frame: Frame) -> RingMessage<'a, T> {
        RingMessage { receiver, frame }
    }
}

impl<T> Deref for RingMessage<'_, T> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: a message that was not given back, of a receiver that is borrowed as long as this is: the sender does not write there (the module's
        // documentation).
        unsafe { self.receiver.end.memory.slice(self.frame.line, self.frame.len) }.unwrap_or_default()
    }
}

impl<T> Drop for RingMessage<'_, T> {
    fn drop(&mut self) {
        // It has been there: the message would not have come without.
        if let Ok(system) = gate::current() {
            self.receiver.give_back(system, self.frame);
        }
    }
}

impl<T> fmt::Debug for RingMessage<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMessage").field("len", &self.frame.len).finish_non_exhaustive()
    }
}
