//! The half of a queue that puts.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use ipc_core::{Bytes, ready};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::{End, Parcel, Side};
use crate::PutError;
use crate::futures::Again;
use crate::{Error, Result};

/// Puts into a [`Queue`](crate::Queue): a handle that is cloned and sent. When the last one is gone, dropped or with its process, the receivers take what is there,
/// and get [`Error::Disconnected`] then.
pub struct QueueSender<T: 'static> {
    end: Arc<End<T>>,
    band: u32,
}

impl<T: 'static> Clone for QueueSender<T> {
    fn clone(&self) -> QueueSender<T> {
        QueueSender { end: self.end.clone(), band: self.band }
    }
}

impl<T: 'static> Drop for QueueSender<T> {
    fn drop(&mut self) {
        self.end.wires.one_less();
    }
}

impl<T: 'static> QueueSender<T> {
    pub(super) fn of(end: End<T>) -> QueueSender<T> {
        QueueSender { end: Arc::new(end), band: 0 }
    }

    pub(crate) fn end(&self) -> &End<T> {
        &self.end
    }

    /// The same sender, putting into another band of priority: the higher its number, the sooner it is taken. Order is kept within a band.
    #[must_use]
    pub fn band(&self, band: u32) -> QueueSender<T> {
        QueueSender { end: self.end.clone(), band }
    }

    /// Nobody puts anything any more, from any process: further puts are [`Error::Closed`], and who gets is told the same when all is taken. Gives whether it
    /// was closed before.
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Corrupt`]: somebody has written over the queue.
    pub fn close(&self) -> Result<bool> {
        self.end.close()
    }

    /// Waits until nothing is unfinished of a queue that can be [joined](crate::QueueBuilder::joinable): all that was put is taken, and who took it has said
    /// [`task_done`](crate::QueueReceiver::task_done).
    ///
    /// ```
    /// use ipc_core::spawn;
    /// use ipc_sync::{Queue, QueueReceiver};
    ///
    /// fn work(jobs: QueueReceiver<u32>) -> ipc_sync::Result<()> {
    ///     for job in jobs.iter() {
    ///         let _job = job?;
    ///         // …
    ///         jobs.task_done()?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let jobs = Queue::builder().items(100).joinable().make()?;
    /// let worker = spawn(work, (jobs.receiver(),))?;
    /// jobs.put_many(0..10)?;
    /// jobs.join()?;                       // all ten are done
    /// jobs.close()?;
    /// worker.join()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Abandoned`]: processes have died with items in their hands; the next call waits for what is unfinished besides.
    /// - [`Error::Invalid`]: the queue cannot be joined.
    pub fn join(&self) -> Result<()> {
        self.end.join(Until::Forever).map(drop)
    }

    /// As [`join`](QueueSender::join), at most for `timeout`; `false`: something is unfinished still.
    ///
    /// # Errors
    /// As there.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.end.join(Until::after(timeout))
    }

    /// As [`join`](QueueSender::join), at most until `deadline`; `false`: something is unfinished still.
    ///
    /// # Errors
    /// As there.
    pub fn join_deadline(&self, deadline: Instant) -> Result<bool> {
        self.end.join(Until::Deadline(deadline))
    }

    /// How many items there are at this moment.
    pub fn len(&self) -> usize {
        self.end.room.log().len()
    }

    /// Whether there is none at this moment.
    pub fn is_empty(&self) -> bool {
        self.end.room.log().is_empty()
    }

    /// Whether there are as many as there may be at this moment.
    pub fn is_full(&self) -> bool {
        self.end.room.log().is_full()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.end.room.log().is_closed()
    }
}

impl<T: Serialize + 'static> QueueSender<T> {
    /// Puts a value, and waits for room as long as it takes. When it returns, the item is there, and stays there if this process ends.
    ///
    /// # Errors
    /// The value comes back, with
    /// - [`Error::Closed`], [`Error::Disconnected`]: nobody will take it;
    /// - [`Error::Message`]: it cannot be encoded, or its descriptors not be duplicated;
    /// - [`Error::Invalid`]: it is longer than the queue has [room](crate::QueueBuilder::bytes) for, has more than 16,192 descriptors, or the queue has no such band;
    /// - [`Error::Memory`]: no memory for one chunk more ([`NoMemory`](ipc_shm::Error::NoMemory));
    /// - [`Error::Corrupt`]: somebody has written over the queue.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.end.put(value, self.band, Until::Forever)
    }

    /// As [`put`](QueueSender::put), without waiting for room.
    ///
    /// # Errors
    /// As [`put`](QueueSender::put), and [`Error::Full`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.end.put(value, self.band, Until::Now)
    }

    /// As [`put`](QueueSender::put), at most for `timeout`.
    ///
    /// # Errors
    /// As [`put`](QueueSender::put), and [`Error::Full`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.end.put(value, self.band, Until::after(timeout))
    }

    /// As [`put`](QueueSender::put), at most until `deadline`.
    ///
    /// # Errors
    /// As [`put`](QueueSender::put), and [`Error::Full`].
    pub fn put_deadline(&self, value: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.end.put(value, self.band, Until::Deadline(deadline))
    }

    /// Puts many values in their order, as many at a time as there is room for: three times as fast as one by one, and more. The iterator is asked for up to 256
    /// values, or 64 KiB, before these are put; one that takes its time keeps nobody else waiting. It must have an end: what is left when something goes wrong is
    /// read from it, to be given back.
    ///
    /// ```
    /// # let queue = ipc_sync::Queue::bounded(3)?;
    /// queue.put_many(1..=3).unwrap();
    /// assert_eq!(queue.get_many(10)?, [1, 2, 3]);
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of [`put`](QueueSender::put); what was not put comes back with it.
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.end.put_many(values, self.band, Until::Forever)
    }

    /// As [`put_many`](QueueSender::put_many), at most for `timeout`.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn put_many_timeout(
        &self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.end.put_many(values, self.band, Until::after(timeout))
    }

    /// As [`put_many`](QueueSender::put_many), at most until `deadline`.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn put_many_deadline(
        &self,
        values: impl IntoIterator<Item = T>,
        deadline: Instant,
    ) -> Result<(), PutError<Vec<T>>> {
        self.end.put_many(values, self.band, Until::Deadline(deadline))
    }

    /// As [`put_many`](QueueSender::put_many), without waiting for room: what there is none for comes back.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn try_put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.end.put_many(values, self.band, Until::Now)
    }

    /// As [`put`](QueueSender::put), awaited: for any executor.
    ///
    /// # Errors
    /// As [`put`](QueueSender::put).
    pub async fn put_async(&self, value: T) -> Result<(), PutError<T>> {
        let mut value = value;
        // Asked for first, so that a try that fails arms it.
        let bell = self.as_fd();
        let mut again = Again::default();
        loop {
            match self.try_put(value) {
                Err(full) if matches!(full.error(), Error::Full) => value = full.into_value(),
                done => return done,
            }
            // Who gets and is killed before it rings has made room all the same.
            if let Err(error) = again.or(ready::readable(bell)).await {
                return Err(PutError::new(value, error));
            }
        }
    }
}

impl QueueSender<Bytes> {
    /// As [`put`](QueueSender::put) of [`Bytes`], from a slice: one copy less.
    ///
    /// # Errors
    /// As [`put`](QueueSender::put).
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.end.put_bytes(bytes, &[], self.band, Until::Forever)
    }

    /// As [`put_bytes`](QueueSender::put_bytes), without waiting for room.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn try_put_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.end.put_bytes(bytes, &[], self.band, Until::Now)
    }

    /// As [`put_bytes`](QueueSender::put_bytes), at most for `timeout`.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn put_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.end.put_bytes(bytes, &[], self.band, Until::after(timeout))
    }

    /// As [`put_bytes`](QueueSender::put_bytes), at most until `deadline`.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn put_bytes_deadline(&self, bytes: &[u8], deadline: Instant) -> Result<()> {
        self.end.put_bytes(bytes, &[], self.band, Until::Deadline(deadline))
    }

    /// Puts many in their order, as [`put_many`](QueueSender::put_many) does, from slices.
    ///
    /// ```
    /// use ipc_core::Bytes;
    /// let queue = ipc_sync::Queue::<Bytes>::bounded(10)?;
    /// queue.sender().put_many_bytes(&["one", "three"])?;
    /// let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    /// assert_eq!(queue.receiver().get_many_into(10, &mut bytes, &mut ends)?, 2);
    /// assert_eq!((&bytes[..], &ends[..]), (&b"onethree"[..], &[3, 8][..]));
    /// # Ok::<(), ipc_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of [`put`](QueueSender::put); what was not put comes back with it.
    pub fn put_many_bytes<'b, B: AsRef<[u8]>>(&self, items: &'b [B]) -> Result<(), PutError<&'b [B]>> {
        self.end.put_slices(items, self.band, Until::Forever)
    }

    /// As [`put_many_bytes`](QueueSender::put_many_bytes), at most for `timeout`.
    ///
    /// # Errors
    /// As there, and [`Error::Full`].
    pub fn put_many_bytes_timeout<'b, B: AsRef<[u8]>>(
        &self,
        items: &'b [B],
        timeout: Duration,
    ) -> Result<(), PutError<&'b [B]>> {
        self.end.put_slices(items, self.band, Until::after(timeout))
    }
}

/// To be polled for reading: readable, as a hint, when there may be room, or nobody is left to take anything.
impl<T: 'static> AsFd for QueueSender<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.descriptor()
    }
}

impl<T: 'static> fmt::Debug for QueueSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSender").field("end", &self.end).field("band", &self.band).finish()
    }
}

impl<T: 'static> Serialize for QueueSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.end.pack(), self.band).serialize(serializer)
    }
}

impl<'de, T: 'static> Deserialize<'de> for QueueSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueueSender<T>, D::Error> {
        let (parcel, band) = <(Parcel<T>, u32)>::deserialize(deserializer)?;
        let end = End::unpack(parcel, Side::Senders).map_err(serde::de::Error::custom)?;
        Ok(QueueSender { band, end: Arc::new(end) })
    }
}
