//! The half of a queue that gets.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_core::{Bytes, ready};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::{End, Parcel, Side};
use crate::futures::Again;
use crate::{Error, Result};

/// Gets from a [`Queue`](crate::Queue): a handle that is cloned and sent. When the last one is gone, dropped or with its process, who puts gets
/// [`Error::Disconnected`], with the value.
pub struct QueueReceiver<T: 'static> {
    end: Arc<End<T>>,
    /// This process has a sender itself, as long as this handle is there.
    ours: bool,
}

impl<T: 'static> Clone for QueueReceiver<T> {
    fn clone(&self) -> QueueReceiver<T> {
        QueueReceiver { end: self.end.clone(), ours: self.ours }
    }
}

impl<T: 'static> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        self.end.wires.one_less();
    }
}

impl<T: 'static> QueueReceiver<T> {
    pub(super) fn of(end: End<T>, ours: bool) -> QueueReceiver<T> {
        QueueReceiver { end: Arc::new(end), ours }
    }

    /// As part of a queue.
    pub(super) fn with_sender(mut self) -> QueueReceiver<T> {
        self.ours = true;
        self
    }

    /// As a half by itself.
    pub(super) fn alone(&self) -> QueueReceiver<T> {
        QueueReceiver { end: self.end.clone(), ours: false }
    }

    pub(crate) fn end(&self) -> &End<T> {
        &self.end
    }

    /// How many items there are at this moment. Python's `qsize`.
    pub fn len(&self) -> usize {
        self.end.room.log().len()
    }

    /// Whether there is none at this moment.
    pub fn is_empty(&self) -> bool {
        self.end.room.log().is_empty()
    }

    /// Whether it was closed; there may be items still.
    pub fn is_closed(&self) -> bool {
        self.end.room.log().is_closed()
    }

    /// An item that this process got from a queue that can be [joined](crate::QueueBuilder::joinable) is done. A program that it executes instead of itself (`exec`)
    /// still has the items that are not: who joins waits for that one.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it has none that is not done; the queue cannot be joined.
    pub fn task_done(&self) -> Result<()> {
        self.end.task_done()
    }

    /// Closes the queue, and drops what is in it. Gives how many items that were.
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Corrupt`]: somebody has written over the queue.
    pub fn discard(&self) -> Result<usize> {
        self.end.discard()
    }
}

impl<T: DeserializeOwned + 'static> QueueReceiver<T> {
    /// Gets the next item, and waits for it as long as it takes.
    ///
    /// # Errors
    /// - [`Error::Closed`], [`Error::Disconnected`]: there is nothing, and nothing will come.
    /// - [`Error::Message`]: the item is no `T`; it is taken, and done.
    /// - [`Error::Os`]: this process has no room for the item's descriptors; it is still there.
    /// - [`Error::Corrupt`]: somebody has written over the queue, or a consumer died while it took an item with more than 253 descriptors: that
    ///   item is gone, and done.
    pub fn get(&self) -> Result<T> {
        match self.end.get(Until::Forever, self.ours) {
            Ok(Some(value)) => Ok(value),
            // Without a deadline it ends with an item, or an error.
            Ok(None) => Err(Error::Disconnected),
            Err(error) => Err(error),
        }
    }

    /// As [`get`](QueueReceiver::get), without waiting; `None`: there is nothing at this moment.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn try_get(&self) -> Result<Option<T>> {
        self.end.get(Until::Now, self.ours)
    }

    /// As [`get`](QueueReceiver::get), at most for `timeout`; `None`: nothing has come.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.end.get(Until::after(timeout), self.ours)
    }

    /// As [`get`](QueueReceiver::get), at most until `deadline`; `None`: nothing has come.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn get_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.end.get(Until::Deadline(deadline), self.ours)
    }

    /// Waits for an item, and gets as many as are there then, `most` at most. Empty only if `most` is 0.
    ///
    /// Items are decoded while other receivers wait, so that a wrong one can be left for the next call: a `Deserialize` of one's own must not use this queue, and
    /// should not take its time.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get), if that is so of the first; what is wrong with a later one is told by the next call.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>> {
        Ok(self.end.get_many(most, Until::Forever, self.ours)?.unwrap_or_default())
    }

    /// As [`get_many`](QueueReceiver::get_many), without waiting: perhaps none.
    ///
    /// # Errors
    /// As there.
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>> {
        Ok(self.end.get_many(most, Until::Now, self.ours)?.unwrap_or_default())
    }

    /// As [`get_many`](QueueReceiver::get_many), at most for `timeout`: perhaps none.
    ///
    /// # Errors
    /// As there.
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<T>> {
        Ok(self.end.get_many(most, Until::after(timeout), self.ours)?.unwrap_or_default())
    }

    /// As [`get_many`](QueueReceiver::get_many), at most until `deadline`: perhaps none.
    ///
    /// # Errors
    /// As there.
    pub fn get_many_deadline(&self, most: usize, deadline: Instant) -> Result<Vec<T>> {
        Ok(self.end.get_many(most, Until::Deadline(deadline), self.ours)?.unwrap_or_default())
    }

    /// As [`get`](QueueReceiver::get), awaited: for any executor.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub async fn get_async(&self) -> Result<T> {
        // Asked for first, so that a try that fails arms it.
        let bell = self.as_fd();
        let mut again = Again::default();
        loop {
            if let Some(value) = self.try_get()? {
                return Ok(value);
            }
            // Who puts and is killed before it rings leaves the item there.
            again.or(ready::readable(bell)).await?;
        }
    }

    /// Gets until nothing will come any more: until the queue is closed, or the last sender is gone.
    ///
    /// ```
    /// # let queue = ipc_sync::Queue::unbounded()?;
    /// queue.put_many(["a", "b"].map(str::to_string)).unwrap();
    /// queue.close()?;
    /// let all: Vec<String> = queue.receiver().iter().collect::<Result<_, _>>()?;
    /// assert_eq!(all, ["a", "b"]);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    fn until_the_end(&self) -> Option<Result<T>> {
        match self.get() {
            Err(error) if error.is_end() => None,
            got => Some(got),
        }
    }
}

impl QueueReceiver<Bytes> {
    /// As [`get`](QueueReceiver::get) of [`Bytes`], to the end of a vector, which may have room already: one copy less. Gives how many bytes that were.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn get_into(&self, to: &mut Vec<u8>) -> Result<usize> {
        self.end.get_slice(to, Until::Forever, self.ours)?.ok_or(Error::Disconnected)
    }

    /// As [`get_into`](QueueReceiver::get_into), at most for `timeout`; `None`: nothing has come.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn get_into_timeout(&self, to: &mut Vec<u8>, timeout: Duration) -> Result<Option<usize>> {
        self.end.get_slice(to, Until::after(timeout), self.ours)
    }

    /// As [`get_into`](QueueReceiver::get_into), at most until `deadline`; `None`: nothing has come.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn get_into_deadline(&self, to: &mut Vec<u8>, deadline: Instant) -> Result<Option<usize>> {
        self.end.get_slice(to, Until::Deadline(deadline), self.ours)
    }

    /// As [`get_into`](QueueReceiver::get_into), without waiting; `None`: there is nothing at this moment.
    ///
    /// # Errors
    /// As [`get`](QueueReceiver::get).
    pub fn try_get_into(&self, to: &mut Vec<u8>) -> Result<Option<usize>> {
        self.end.get_slice(to, Until::Now, self.ours)
    }

    /// As [`get_many`](QueueReceiver::get_many): the items' bytes one after the other to the end of `to`, and where each one ends in it to the end of
    /// `ends`. Gives how many items that were; 0 only if `most` is.
    ///
    /// # Errors
    /// As [`get_many`](QueueReceiver::get_many).
    pub fn get_many_into(&self, most: usize, to: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<usize> {
        self.end.get_slices(most, (to, ends), Until::Forever, self.ours)
    }

    /// As [`get_many_into`](QueueReceiver::get_many_into), at most for `timeout`; 0: nothing has come.
    ///
    /// # Errors
    /// As there.
    pub fn get_many_into_timeout(
        &self,
        most: usize,
        to: &mut Vec<u8>,
        ends: &mut Vec<usize>,
        timeout: Duration,
    ) -> Result<usize> {
        self.end.get_slices(most, (to, ends), Until::after(timeout), self.ours)
    }
}

/// What [`iter`](QueueReceiver::iter) gives.
impl<T: DeserializeOwned + 'static> IntoIterator for QueueReceiver<T> {
    type Item = Result<T>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

/// What [`iter`](QueueReceiver::iter) gives.
impl<'a, T: DeserializeOwned + 'static> IntoIterator for &'a QueueReceiver<T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        Iter(self)
    }
}

/// The items of a [`QueueReceiver`], until nothing will come any more; what [`iter`](QueueReceiver::iter) gives.
#[derive(Debug)]
pub struct Iter<'a, T: 'static>(&'a QueueReceiver<T>);

impl<T: DeserializeOwned + 'static> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.0.until_the_end()
    }
}

/// The items of a [`QueueReceiver`], until nothing will come any more.
#[derive(Debug)]
pub struct IntoIter<T: 'static>(QueueReceiver<T>);

impl<T: DeserializeOwned + 'static> Iterator for IntoIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.0.until_the_end()
    }
}

/// To be polled for reading: readable, as a hint, when there may be items, or nothing will come any more.
impl<T: 'static> AsFd for QueueReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.descriptor()
    }
}

impl<T: 'static> fmt::Debug for QueueReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReceiver").field("end", &self.end).finish()
    }
}

impl<T: 'static> Serialize for QueueReceiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.end.pack().serialize(serializer)
    }
}

impl<'de, T: 'static> Deserialize<'de> for QueueReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueueReceiver<T>, D::Error> {
        let parcel = Parcel::deserialize(deserializer)?;
        let end = End::unpack(parcel, Side::Receivers).map_err(serde::de::Error::custom)?;
        Ok(QueueReceiver::of(end, false))
    }
}
