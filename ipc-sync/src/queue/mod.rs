//! Queues: many processes put, many get, each item goes to one of them.
//!
//! ```
//! use ipc_core::spawn;
//! use ipc_sync::{Queue, QueueReceiver};
//!
//! fn work(jobs: QueueReceiver<u64>) -> u64 {
//!     jobs.iter().map(|job| job.unwrap()).sum()
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = Queue::bounded(100)?;
//! let workers: Vec<_> = (0..4).map(|_| spawn(work, (queue.receiver(),))).collect::<Result<_, _>>()?;
//! for job in 1..=1000 {
//!     queue.put(job)?;
//! }
//! queue.close()?;                     // the workers' loops end
//! let mut sum = 0;
//! for worker in workers {
//!     sum += worker.join()?;
//! }
//! assert_eq!(sum, 500_500);
//! # Ok(())
//! # }
//! ```
//!
//! # What it is
//!
//! Memory that all share: a log of items in chunks, with a robust lock at each end (`log.rs`). `put` encodes in the caller, and returns what is wrong with a
//! value, with the value; when it returns, the item is there. No thread and no process stands between the two sides, so nothing waits for anybody at exit, and what was put
//! stays when who put it is gone. The order is that of the puts.
//!
//! # When a process dies
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | who puts, before it returned | the next who puts | the item is there or it is not, whole; nobody waits |
//! | who gets, before it returned | the next who gets | the item is there, or it went with the dead |
//! | who waits for an item or for room, or was just woken | the kernel | the next is woken |
//! | the last sender | who gets, within 100 ms, when all is taken | [`Error::Disconnected`](crate::Error::Disconnected) |
//! | the last receiver | who puts, when the queue is full or within 100 ms of waiting | [`Error::Disconnected`](crate::Error::Disconnected), with the value |
//! | who was about to ring for one that polls | nobody | the ring may be lost: `select` and the futures look again after 100 ms, and who polls a descriptor by hand should, too |
//!
//! Senders and receivers that are dropped, not killed, tell the other side at once. A forked child of any of them counts only if it was given one: as an argument of a
//! function ([`Context::fork`](ipc_core::Context::fork)), or by a closure that captured it ([`Builder::fork`](ipc_core::Builder::fork)). What the closure has behind an `Arc` that the
//! parent has as well works, and does not count; what other code's `fork` copies counts as long as the copy lives.
//!
//! **Who is stopped** (SIGSTOP, a debugger) is not dead, and what it holds is not free: in the middle of a put it keeps others from putting, in the middle of a
//! get from getting. Calls with a time limit end all the same; `try_…` gives up after a tenth of a second; `put`, `get`, `close` and `discard` wait until it goes
//! on or is killed.

mod builder;
#[doc(hidden)]
pub mod chain;
mod end;
mod get;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod position;
mod put;
mod raw;
mod receiver;
mod scratch;
mod sender;
mod tasks;
mod wires;

use std::fmt;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::PutError;
pub use builder::QueueBuilder;
pub use receiver::{IntoIter, Iter, QueueReceiver};
pub use sender::QueueSender;

use crate::Result;

/// A queue among processes, both halves of it: a handle that is cloned and sent, and stays the same queue. See the [module](self).
///
/// As long as a process has one, it is a sender and a receiver. Those that are to learn of the end by the last sender's must have
/// [halves](Queue::split).
pub struct Queue<T: 'static> {
    sender: QueueSender<T>,
    receiver: QueueReceiver<T>,
}

impl<T: 'static> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue { sender: self.sender.clone(), receiver: self.receiver.clone() }
    }
}

impl<T: 'static> Queue<T> {
    /// A queue of at most so many items, 1 or more, and 64 MiB: an item may be as long as that, and longer where there is [more room](QueueBuilder::bytes).
    ///
    /// # Errors
    /// As [`QueueBuilder::make`].
    pub fn bounded(items: usize) -> Result<Queue<T>> {
        Queue::builder().items(items).make()
    }

    /// A queue of as many items as fit into 1 GiB, or into [what is asked for](QueueBuilder::bytes).
    ///
    /// # Errors
    /// As [`QueueBuilder::make`].
    pub fn unbounded() -> Result<Queue<T>> {
        Queue::builder().make()
    }

    /// For a queue that is not as most are.
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder::new()
    }

    /// A half that puts.
    pub fn sender(&self) -> QueueSender<T> {
        self.sender.clone()
    }

    /// What is waited for, of the two.
    pub(crate) fn half(&self) -> &QueueReceiver<T> {
        &self.receiver
    }

    /// A half that gets.
    pub fn receiver(&self) -> QueueReceiver<T> {
        self.receiver.alone()
    }

    /// The two halves, and no more than these.
    ///
    /// ```
    /// use ipc_core::spawn;
    /// use ipc_sync::{Error, Queue, QueueSender};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = Queue::<u32>::unbounded()?.split();
    /// let child = spawn(|sender: QueueSender<u32>| sender.put(7).is_ok(), (sender,))?;
    /// assert_eq!(receiver.get()?, 7);
    /// child.join()?;
    /// assert!(matches!(receiver.get(), Err(Error::Disconnected)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (QueueSender<T>, QueueReceiver<T>) {
        let receiver = self.receiver.alone();
        (self.sender, receiver)
    }

    /// As [`QueueSender::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&self) -> Result<bool> {
        self.sender.close()
    }

    /// Closes it, and drops what is in it. Gives how many items that were. Python's `shutdown(immediate=True)`.
    ///
    /// # Errors
    /// As [`close`](Queue::close).
    pub fn discard(&self) -> Result<usize> {
        self.receiver.discard()
    }

    /// As [`QueueReceiver::task_done`].
    ///
    /// # Errors
    /// As there.
    pub fn task_done(&self) -> Result<()> {
        self.receiver.task_done()
    }

    /// As [`QueueSender::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(&self) -> Result<()> {
        self.sender.join()
    }

    /// As [`QueueSender::join_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.sender.join_timeout(timeout)
    }

    /// As [`QueueSender::join_deadline`].
    ///
    /// # Errors
    /// As there.
    pub fn join_deadline(&self, deadline: Instant) -> Result<bool> {
        self.sender.join_deadline(deadline)
    }

    /// How many items there are at this moment. Python's `qsize`.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    /// Whether there is none at this moment.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Whether there are as many as there may be at this moment. (Room for bytes may be short before.)
    pub fn is_full(&self) -> bool {
        self.sender.is_full()
    }

    /// Whether it was closed; there may be items still.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T: Serialize + 'static> Queue<T> {
    /// As [`QueueSender::put`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.sender.put(value)
    }

    /// As [`QueueSender::try_put`]. Python's `put_nowait`.
    ///
    /// # Errors
    /// As there.
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.sender.try_put(value)
    }

    /// As [`QueueSender::put_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.sender.put_timeout(value, timeout)
    }

    /// As [`QueueSender::put_deadline`].
    ///
    /// # Errors
    /// As there.
    pub fn put_deadline(&self, value: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.sender.put_deadline(value, deadline)
    }

    /// As [`QueueSender::put_many`].
    ///
    /// # Errors
    /// As there.
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.sender.put_many(values)
    }

    /// As [`QueueSender::try_put_many`].
    ///
    /// # Errors
    /// As there.
    pub fn try_put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.sender.try_put_many(values)
    }

    /// As [`QueueSender::put_many_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn put_many_timeout(
        &self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.sender.put_many_timeout(values, timeout)
    }

    /// As [`QueueSender::put_many_deadline`].
    ///
    /// # Errors
    /// As there.
    pub fn put_many_deadline(
        &self,
        values: impl IntoIterator<Item = T>,
        deadline: Instant,
    ) -> Result<(), PutError<Vec<T>>> {
        self.sender.put_many_deadline(values, deadline)
    }

    /// As [`QueueSender::put_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn put_async(&self, value: T) -> Result<(), PutError<T>> {
        self.sender.put_async(value).await
    }
}

impl<T: DeserializeOwned + 'static> Queue<T> {
    /// As [`QueueReceiver::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self) -> Result<T> {
        self.receiver.get()
    }

    /// As [`QueueReceiver::try_get`]. Python's `get_nowait`.
    ///
    /// # Errors
    /// As there.
    pub fn try_get(&self) -> Result<Option<T>> {
        self.receiver.try_get()
    }

    /// As [`QueueReceiver::get_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.receiver.get_timeout(timeout)
    }

    /// As [`QueueReceiver::get_deadline`].
    ///
    /// # Errors
    /// As there.
    pub fn get_deadline(&self, deadline: Instant) -> Result<Option<T>> {
        self.receiver.get_deadline(deadline)
    }

    /// As [`QueueReceiver::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>> {
        self.receiver.get_many(most)
    }

    /// As [`QueueReceiver::try_get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>> {
        self.receiver.try_get_many(most)
    }

    /// As [`QueueReceiver::get_many_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<T>> {
        self.receiver.get_many_timeout(most, timeout)
    }

    /// As [`QueueReceiver::get_many_deadline`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many_deadline(&self, most: usize, deadline: Instant) -> Result<Vec<T>> {
        self.receiver.get_many_deadline(most, deadline)
    }

    /// As [`QueueReceiver::get_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_async(&self) -> Result<T> {
        self.receiver.get_async().await
    }

    /// As [`QueueReceiver::iter`].
    pub fn iter(&self) -> impl Iterator<Item = Result<T>> {
        self.receiver.iter()
    }
}

/// The memory of a queue, and where its head begins there, for who is to write over it.
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub fn segment_of<T: 'static>(queue: &Queue<T>) -> (ipc_shm::Segment, usize) {
    queue.sender.end().room.segment()
}

impl<T: 'static> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).field("closed", &self.is_closed()).finish()
    }
}

impl<T: 'static> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.sender, &self.receiver).serialize(serializer)
    }
}

impl<'de, T: 'static> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queue<T>, D::Error> {
        let (sender, receiver) = <(QueueSender<T>, QueueReceiver<T>)>::deserialize(deserializer)?;
        if sender.end().room.number() != receiver.end().room.number() {
            return Err(serde::de::Error::custom("the halves of a queue are of two queues"));
        }
        Ok(Queue { sender, receiver: receiver.with_sender() })
    }
}
