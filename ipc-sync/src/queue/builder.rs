//! How a queue is made.

use std::marker::PhantomData;

use super::end::{End, Room, Side};
use super::layout::{BANDS, Geometry};
use super::position::COUNTS;
use super::{Queue, QueueReceiver, QueueSender, wires};
use crate::{Error, Result};

/// As many items as an unbounded queue can have.
const MANY: u32 = COUNTS / 2 - 1;

/// The bytes that a queue has room for, where nothing else is said: bounded, and unbounded.
const BOUNDED: usize = 64 << 20;
const UNBOUNDED: usize = 1 << 30;

/// Makes a [`Queue`] that is not as most are.
///
/// ```
/// use ipc_sync::Queue;
///
/// let queue = Queue::builder().items(1000).bytes(1 << 20).bands(2).make()?;
/// queue.put(1)?;
/// queue.sender().band(1).put(2)?;
/// assert_eq!((queue.get()?, queue.get()?), (2, 1));
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct QueueBuilder<T> {
    items: Option<usize>,
    bytes: Option<usize>,
    bands: u32,
    joinable: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> QueueBuilder<T> {
    pub(super) fn new() -> QueueBuilder<T> {
        QueueBuilder { items: None, bytes: None, bands: 1, joinable: false, of: PhantomData }
    }

    /// At most so many items at a time, 1 to 2³⁰ − 2; otherwise as many as there is room for.
    pub fn items(mut self, items: usize) -> Self {
        self.items = Some(items);
        self
    }

    /// Room for so many bytes of items: 64 MiB where the items are bounded, 1 GiB otherwise. Each item takes its bytes and 16 to 79 more. Memory is taken
    /// in chunks as it is needed (4 KiB, or 64 KiB from 512 KiB on), each reserved before it is used, and used again.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// So many bands of priority, 1 to 8: what stands in a higher one is taken first ([`QueueSender::band`]).
    pub fn bands(mut self, bands: u32) -> Self {
        self.bands = bands;
        self
    }

    /// Who takes an item says when it is done with it ([`QueueReceiver::task_done`]), and others wait until all are ([`Queue::join`]). Python's `JoinableQueue`.
    pub fn joinable(mut self) -> Self {
        self.joinable = true;
        self
    }

    /// The queue, empty.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a number out of its range; [`Error::Memory`]: no memory, or addresses, for so many bytes; [`Error::Os`]: no descriptors are left. It
    /// takes five, and two for each further band.
    pub fn make(self) -> Result<Queue<T>>
    where
        T: 'static,
    {
        let items = match self.items {
            None => MANY,
            Some(items) => {
                u32::try_from(items).ok().filter(|items| (1..=MANY).contains(items)).ok_or_else(|| {
                    Error::invalid(format!("a queue of {items} items"), format!("1 to {MANY} are possible"))
                })?
            }
        };
        if !(1..=BANDS as u32).contains(&self.bands) {
            return Err(Error::invalid(
                format!("{} bands", self.bands),
                format!("1 to {BANDS} are possible"),
            ));
        }
        let bytes = self.bytes.unwrap_or(if self.items.is_some() { BOUNDED } else { UNBOUNDED });
        let geometry = Geometry::of(bytes, items, self.bands).filter(|_| bytes > 0);
        let geometry = geometry.ok_or_else(|| {
            Error::invalid(format!("a queue of {bytes} bytes"), "1 byte to 31 GiB are possible")
        })?;
        let room = Room::new(geometry, self.joinable)?;
        let (senders, receivers) = wires::pair(self.bands as usize)?;
        let sender = QueueSender::of(End::new(room.clone(), senders, Side::Senders));
        let receiver = QueueReceiver::of(End::new(room, receivers, Side::Receivers), true);
        Ok(Queue { sender, receiver })
    }
}
