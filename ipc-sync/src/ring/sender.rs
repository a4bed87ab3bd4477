//! The sending end.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipc_core::Message;
use ipc_core::codec::{Codec, Postcard};
use ipc_core::primitive::time::Until;
use ipc_shm::gate;

use super::end::End;
use super::loan::Loan;
use super::track::{Kind, Sending, Spot, lines_of};
use crate::SendError;
use crate::waiting::Pace;
use crate::{Error, Result, Waitable, crash};

/// The sending end of a [`ring`](crate::ring()).
///
/// One thread uses it at a time (`&mut self`); it travels inside values, and whoever has it then is the sender. Dropped, it closes: the receiver reads what is
/// there, then gets the end.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_sync::{RingSender, ring};
///
/// fn squares(mut sender: RingSender<u64>) -> ipc_sync::Result<()> {
///     for n in 1..=3 {
///         sender.send(n * n)?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, mut receiver) = ring(1 << 16)?;
/// let child = spawn(squares, (sender,))?;
/// assert_eq!(receiver.iter().collect::<ipc_sync::Result<Vec<u64>>>()?, [1, 4, 9]);
/// child.join()??;
/// # Ok(())
/// # }
/// ```
pub struct RingSender<T> {
    pub(super) end: End,
    pub(super) side: Sending,
    scratch: Vec<u8>,
    values: PhantomData<fn(T)>,
}

impl<T> RingSender<T> {
    pub(super) fn of(end: End, side: Sending) -> RingSender<T> {
        RingSender { end, side, scratch: Vec::new(), values: PhantomData }
    }

    /// The longest message it takes, in bytes: half the ring's size, for a message stands in one piece, wherever the ring happens to begin.
    pub fn max_message(&self) -> usize {
        self.end.memory.longest()
    }

    /// Lines behind `begin`, for so many bytes; `None` when the time is over.
    #[inline(always)]
    pub(super) fn room(&mut self, begin: u64, len: usize, until: Until) -> Result<Option<Spot>> {
        let longest = self.end.memory.longest();
        if len > longest {
            return Err(too_long(len, longest));
        }
        let side = &mut self.side;
        let room =
            |memory: &super::memory::Memory| memory.ring().room(memory.table(), side, begin, lines_of(len));
        // Who waits for room is in the middle of a stream.
        self.end.wait(until, Pace::Stream, room)
    }

    /// Publishes what is written up to `end`.
    #[inline(always)]
    pub(super) fn publish(&mut self, end: u64) -> Result<()> {
        let system = gate::current()?;
        self.end.tell_place(self.end.memory.ring().begin(&self.side), end);
        let bell = self.end.memory.ring().publish(system, &mut self.side, end);
        self.end.ring(bell);
        crash::reached("ring sender: published");
        Ok(())
    }

    /// Writes a message behind `begin`, and gives the index after it.
    #[inline(always)]
    fn write(&mut self, begin: u64, kind: Kind, bytes: &[u8], until: Until) -> Result<Option<u64>> {
        let Some(spot) = self.room(begin, bytes.len(), until)? else { return Ok(None) };
        let memory = &self.end.memory;
        crash::reached("ring sender: has room");
        memory.write(spot.line, bytes)?;
        memory.prefetch(spot.end as usize + 4);
        memory.ring().frame(memory.table(), &self.side, spot, kind, bytes.len());
        crash::reached("ring sender: written");
        Ok(Some(spot.end))
    }

    #[inline(always)]
    fn put(&mut self, kind: Kind, bytes: &[u8], until: Until) -> Result<()> {
        let begin = self.end.memory.ring().begin(&self.side);
        match self.write(begin, kind, bytes, until)? {
            Some(end) => self.publish(end),
            None => Err(timed_out(kind)),
        }
    }
}

#[cold]
fn too_long(len: usize, longest: usize) -> Error {
    let why = format!("it has {len} bytes, and the ring takes messages of {longest} bytes at the most");
    Error::invalid("a message", why)
}

#[cold]
fn timed_out(kind: Kind) -> Error {
    let what = if kind == Kind::Value { "send a value" } else { "send bytes" };
    ipc_core::Error::TimedOut { what: what.into() }.into()
}

impl<T: Message> RingSender<T> {
    /// Sends a value; waits for room as long as it takes.
    ///
    /// # Errors
    /// The value comes back. [`is_disconnected`](Error::is_disconnected): the receiver has closed its end or died. [`Error::Message`] otherwise: the value could
    /// not be serialised; one with descriptors inside goes through a pipe or a queue. [`Error::Invalid`]: it is longer, encoded, than the ring
    /// [takes](RingSender::max_message), or the end was sent to another process. [`Error::Corrupt`]: somebody has written over the ring.
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Forever)
    }

    /// Sends a value if there is room for it now.
    ///
    /// # Errors
    /// As [`send`](RingSender::send), and [`is_timed_out`](Error::is_timed_out).
    pub fn try_send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Now)
    }

    /// Sends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    /// As [`try_send`](RingSender::try_send).
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_until(value, Until::after(timeout))
    }

    /// Sends a value; waits for room at most until `deadline`.
    ///
    /// # Errors
    /// As [`try_send`](RingSender::try_send).
    pub fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.send_until(value, Until::Deadline(deadline))
    }

    fn send_until(&mut self, value: T, until: Until) -> Result<(), SendError<T>> {
        let scratch = match self.encode(&value) {
            Ok(scratch) => scratch,
            Err(error) => return Err(SendError::new(value, error)),
        };
        let sent = self.put(Kind::Value, &scratch, until);
        self.scratch = scratch;
        sent.map_err(|error| SendError::new(value, error))
    }

    /// The value's bytes, in the sender's own buffer, which is to be put back.
    fn encode(&mut self, value: &T) -> Result<Vec<u8>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        match Postcard.encode(value, &mut scratch) {
            Ok(()) => Ok(scratch),
            Err(why) => Err(not_encoded(why.into_reason())),
        }
    }

    /// Sends values one after the other, and publishes them together: as many as the ring has room for, or all. That is a few times as fast as
    /// one by one. Gives how many there were.
    ///
    /// ```
    /// let (mut sender, mut receiver) = ipc_sync::ring::<u32>(4096)?;
    /// assert_eq!(sender.send_many(0..10)?, 10);
    /// assert_eq!(receiver.recv()?, 0);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](RingSender::send). All values before the one that comes back were sent, and none after it: those are still in the iterator, for who
    /// gives a `&mut` of one.
    pub fn send_many(&mut self, values: impl IntoIterator<Item = T>) -> Result<usize, SendError<T>> {
        self.send_many_until(values, Until::Forever)
    }

    /// Sends so many of these as there is room for now.
    ///
    /// # Errors
    /// As [`send_many`](RingSender::send_many), and [`is_timed_out`](Error::is_timed_out), with the first that found no room.
    pub fn try_send_many(&mut self, values: impl IntoIterator<Item = T>) -> Result<usize, SendError<T>> {
        self.send_many_until(values, Until::Now)
    }

    /// Sends values; waits for room for all of them at most for `timeout`.
    ///
    /// # Errors
    /// As [`try_send_many`](RingSender::try_send_many).
    pub fn send_many_timeout(
        &mut self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<usize, SendError<T>> {
        self.send_many_until(values, Until::after(timeout))
    }

    /// Sends values; waits for room for all of them at most until `deadline`.
    ///
    /// # Errors
    /// As [`try_send_many`](RingSender::try_send_many).
    pub fn send_many_deadline(
        &mut self,
        values: impl IntoIterator<Item = T>,
        deadline: Instant,
    ) -> Result<usize, SendError<T>> {
        self.send_many_until(values, Until::Deadline(deadline))
    }

    fn send_many_until(
        &mut self,
        values: impl IntoIterator<Item = T>,
        until: Until,
    ) -> Result<usize, SendError<T>> {
        let mut batch = Batch { end: self.end.memory.ring().begin(&self.side), sender: self };
        let mut count = 0;
        for value in values {
            if let Err(error) = batch.add(&value, until) {
                // What was added is published with the batch.
                return Err(SendError::new(value, error));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Sends a value; a future for any executor. Dropped before it is done, it has sent nothing.
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub async fn send_async(&mut self, value: T) -> Result<(), SendError<T>> {
        let mut value = value;
        loop {
            // Asked for first, so that who finds no room has its bell armed.
            let _ = self.as_fd();
            value = match self.try_send(value) {
                Err(full) if full.error().is_timed_out() => full.into_value(),
                sent => return sent,
            };
            if let Err(error) = ipc_core::ready::readable(self.as_fd()).await {
                return Err(SendError::new(value, error.into()));
            }
        }
    }
}

/// Messages that are written and not published yet; they are when it is dropped, also by a panic of whoever brings the values.
struct Batch<'a, T> {
    sender: &'a mut RingSender<T>,
    /// The index after them.
    end: u64,
}

impl<T: Message> Batch<'_, T> {
    fn add(&mut self, value: &T, until: Until) -> Result<()> {
        let scratch = self.sender.encode(value)?;
        let written = self.write(&scratch, until);
        self.sender.scratch = scratch;
        self.end = written?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], until: Until) -> Result<u64> {
        if let Some(end) = self.sender.write(self.end, Kind::Value, bytes, Until::Now)? {
            return Ok(end);
        }
        // The receiver need not wait for what there is no room for.
        self.sender.publish(self.end)?;
        self.sender.write(self.end, Kind::Value, bytes, until)?.ok_or_else(|| timed_out(Kind::Value))
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        // It fails where the thread has no robust list: then nothing was written, for no message could be.
        let _ = self.sender.publish(self.end);
    }
}

#[cold]
fn not_encoded(why: String) -> Error {
    let hint = if why.contains("descriptor") { "; a pipe or a queue carries descriptors" } else { "" };
    let (child, ran) = (None, ipc_core::Ran::MayHaveRun);
    ipc_core::Error::Encode { what: "a value for a ring".into(), why: why + hint, child, ran }.into()
}

impl<T> RingSender<T> {
    /// Sends bytes as one message, for [`recv_bytes`](crate::RingReceiver::recv_bytes) and its like.
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(Kind::Bytes, bytes, Until::Forever)
    }

    /// Sends bytes if there is room for all of them now.
    ///
    /// # Errors
    /// As [`try_send`](RingSender::try_send).
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(Kind::Bytes, bytes, Until::Now)
    }

    /// Sends bytes; waits for room at most for `timeout`.
    ///
    /// # Errors
    /// As [`try_send`](RingSender::try_send).
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.put(Kind::Bytes, bytes, Until::after(timeout))
    }

    /// Sends bytes; waits for room at most until `deadline`.
    ///
    /// # Errors
    /// As [`try_send`](RingSender::try_send).
    pub fn send_bytes_deadline(&mut self, bytes: &[u8], deadline: Instant) -> Result<()> {
        self.put(Kind::Bytes, bytes, Until::Deadline(deadline))
    }

    /// Room for a message of so many bytes, to be written where it stands, without a copy; waits for it as long as it takes.
    ///
    /// ```
    /// let (mut sender, mut receiver) = ipc_sync::ring::<()>(1 << 16)?;
    /// let mut loan = sender.loan(1000)?;
    /// loan.fill(7);
    /// loan.commit()?;
    /// let message = receiver.recv_loan()?;
    /// assert_eq!((message.len(), message[999]), (1000, 7));
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub fn loan(&mut self, len: usize) -> Result<Loan<'_, T>> {
        let spot = self.spot(len, Until::Forever)?.ok_or_else(|| timed_out(Kind::Bytes))?;
        Ok(Loan::new(self, spot, len))
    }

    /// The same if there is room now; else `None`.
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub fn try_loan(&mut self, len: usize) -> Result<Option<Loan<'_, T>>> {
        Ok(self.spot(len, Until::Now)?.map(|spot| Loan::new(self, spot, len)))
    }

    /// The same; waits for room at most for `timeout`. `None`: there was none.
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub fn loan_timeout(&mut self, len: usize, timeout: Duration) -> Result<Option<Loan<'_, T>>> {
        Ok(self.spot(len, Until::after(timeout))?.map(|spot| Loan::new(self, spot, len)))
    }

    /// The same; waits for room at most until `deadline`. `None`: there was none.
    ///
    /// # Errors
    /// As [`send`](RingSender::send).
    pub fn loan_deadline(&mut self, len: usize, deadline: Instant) -> Result<Option<Loan<'_, T>>> {
        Ok(self.spot(len, Until::Deadline(deadline))?.map(|spot| Loan::new(self, spot, len)))
    }

    fn spot(&mut self, len: usize, until: Until) -> Result<Option<Spot>> {
        let begin = self.end.memory.ring().begin(&self.side);
        self.room(begin, len, until)
    }
}

/// Readable (not writable) when there may be room, or the receiver is gone: then try, and wait again when there was none. A hint, for poll(2), for
/// [`ipc_core::wait`] and for runtimes; what is read from it is nobody's business.
impl<T> AsFd for RingSender<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// There may be room, or the receiver is gone: something has become free since the last try that found too little.
impl<T> Waitable for RingSender<T> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        // How much is wanted is not known here: who found too little has silenced the descriptor.
        self.end.memory.ring().has_moved(&self.side) || self.end.is_readable()
    }
}

impl<T> Drop for RingSender<T> {
    fn drop(&mut self) {
        if self.end.closes()
            && let Ok(system) = gate::current()
        {
            // Its descriptor tells who polls.
            self.end.memory.ring().close_sending(system, &self.side);
        }
    }
}

impl<T> fmt::Debug for RingSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSender").field("end", &self.end).finish_non_exhaustive()
    }
}
