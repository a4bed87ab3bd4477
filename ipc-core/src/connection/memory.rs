//! The pipe of the thread back end: the same faces, and values are moved, never encoded.
//!
//! A queue under a lock, with room for [`CAPACITY`] messages: a socket has no room for ever either. It ends like a socket: what
//! was sent before the sender's end was dropped can be received, then comes the end; and nobody can send to a receiver that
//! is gone. So that an end can be waited for like any other, two eventfds mirror the queue: [`Bell`].
//!
//! | the queue | receiver's descriptor | sender's descriptor |
//! |---|---|---|
//! | empty | not readable | writable |
//! | between | readable | writable |
//! | full | readable | not writable |
//! | the other end is gone | readable | writable |

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};

use crate::poll::Until;
use crate::primitive::mutant;
use crate::primitive::sync::{Arc, Condvar, Mutex};

/// How many messages a pipe holds.
pub(crate) const CAPACITY: usize = 256;

/// A message.
#[derive(Debug)]
pub enum Item<T> {
    /// As it was given.
    Value(T),
    /// By `send_bytes`.
    Bytes(Vec<u8>),
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// There was no room in the time given.
    Full,
    /// The receiver's end is gone.
    Gone,
}

/// What shows the state of a queue to those who wait for descriptors. Called under the queue's lock, in turn.
pub trait Bell {
    /// There is something to receive, or not.
    fn set_readable(&self, readable: bool);
    /// There is room, or not.
    fn set_writable(&self, writable: bool);
}

/// A queue of messages with two ends.
#[derive(Debug)]
pub struct Queue<T, B> {
    state: Mutex<State<T>>,
    /// Notified for one when there is something to receive.
    arrived: Condvar,
    /// Notified for one when there is room.
    room: Condvar,
    capacity: usize,
    pub(crate) bell: B,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<Item<T>>,
    sender_gone: bool,
    receiver_gone: bool,
}

impl<T, B: Bell> Queue<T, B> {
    /// An empty queue with room for so many.
    pub fn new(capacity: usize, bell: B) -> Queue<T, B> {
        let state = State { items: VecDeque::new(), sender_gone: false, receiver_gone: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), room: Condvar::new(), capacity, bell }
    }

    /// Appends a message.
    pub fn send(&self, item: Item<T>, until: Until) -> Result<(), (Item<T>, Refused)> {
        let mut state = self.state.lock();
        loop {
            if state.receiver_gone {
                return Err((item, Refused::Gone));
            }
            if state.items.len() < self.capacity {
                break;
            }
            let left = until.left();
            if left.is_some_and(|left| left.is_zero()) {
                return Err((item, Refused::Full));
            }
            state = match left {
                None => self.room.wait(state),
                Some(left) => self.room.wait_timeout(state, left).0,
            };
        }
        state.items.push_back(item);
        if state.items.len() == 1 {
            self.bell.set_readable(true);
        }
        if state.items.len() == self.capacity {
            self.bell.set_writable(false);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes the next message: `Ok(None)` when the time is over, `Err` when there will be none.
    pub fn receive(&self, until: Until) -> Result<Option<Item<T>>, Refused> {
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.sender_gone {
                return Err(Refused::Gone);
            }
            let left = until.left();
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            state = match left {
                None => self.arrived.wait(state),
                Some(left) => self.arrived.wait_timeout(state, left).0,
            };
        }
        let item = state.items.pop_front();
        if state.items.is_empty() && !state.sender_gone {
            self.bell.set_readable(false);
        }
        if state.items.len() + 1 == self.capacity && !mutant::is("memory: room untold") {
            self.bell.set_writable(true);
        }
        self.room.notify_one();
        Ok(item)
    }

    /// Whether there is something to receive, or the end, in the time given.
    pub fn poll(&self, until: Until) -> bool {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() || state.sender_gone {
                // A wake-up meant for one who takes is passed on.
                if !mutant::is("memory: look keeps the wake-up") {
                    self.arrived.notify_one();
                }
                return true;
            }
            let left = until.left();
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            state = match left {
                None => self.arrived.wait(state),
                Some(left) => self.arrived.wait_timeout(state, left).0,
            };
        }
    }

    /// The sender's end is gone.
    pub fn sender_gone(&self) {
        let mut state = self.state.lock();
        state.sender_gone = true;
        self.bell.set_readable(true);
        if !mutant::is("memory: end untold") {
            self.arrived.notify_all();
        }
    }

    /// The receiver's end is gone.
    pub fn receiver_gone(&self) {
        let mut state = self.state.lock();
        state.receiver_gone = true;
        // Dropped when nobody is kept out any more: a value may do anything when it is dropped.
        let items = std::mem::take(&mut state.items);
        self.bell.set_writable(true);
        self.room.notify_all();
        drop(state);
        drop(items);
    }
}

/// Two eventfds: see the module's documentation.
#[derive(Debug)]
pub(crate) struct Eventfds {
    /// Counts 1 when there is something to receive.
    pub(crate) readable: OwnedFd,
    /// Has the highest count when there is no room.
    pub(crate) writable: OwnedFd,
}

/// The highest count: adding to it would block, so the descriptor is not writable.
const FULL: u64 = u64::MAX - 1;

impl Eventfds {
    fn new() -> rustix::io::Result<Eventfds> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Eventfds { readable: eventfd(0, flags)?, writable: eventfd(0, flags)? })
    }

    /// Sets the count to `count` if it was 0, or to 0. That it has the value already is no error.
    fn set(descriptor: &OwnedFd, count: u64) {
        if count == 0 {
            let _ = rustix::io::read(descriptor, &mut [0; 8]);
        } else {
            let _ = rustix::io::write(descriptor, &count.to_ne_bytes());
        }
    }
}

impl Bell for Eventfds {
    fn set_readable(&self, readable: bool) {
        Eventfds::set(&self.readable, readable.into());
    }

    fn set_writable(&self, writable: bool) {
        Eventfds::set(&self.writable, if writable { 0 } else { FULL });
    }
}

/// The sending end; dropping it is the end.
#[derive(Debug)]
pub(crate) struct Sending<T>(pub(crate) Arc<Queue<T, Eventfds>>);

impl<T> Drop for Sending<T> {
    fn drop(&mut self) {
        self.0.sender_gone();
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiving<T>(pub(crate) Arc<Queue<T, Eventfds>>);

impl<T> Drop for Receiving<T> {
    fn drop(&mut self) {
        self.0.receiver_gone();
    }
}

/// A pipe.
pub(crate) fn pipe<T>() -> rustix::io::Result<(Sending<T>, Receiving<T>)> {
    let queue = Arc::new(Queue::new(CAPACITY, Eventfds::new()?));
    Ok((Sending(queue.clone()), Receiving(queue)))
}
