//! Getting: what the receivers' side does.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use ipc_core::primitive::message::decode;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::de::DeserializeOwned;

use super::end::{End, for_lock};
use super::raw;
use super::tasks::Tasks;
use crate::waiting::Pace;
use crate::{Error, Result};

thread_local! {
    /// Room for an item's bytes, which is used again.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// No more of it is kept from one item to the next.
const KEPT: usize = 1 << 20;

impl<T: 'static> End<T> {
    /// Gets the next item; `None`: there was none in time. `ours`: this process has a sender itself, so that nobody need look for others.
    pub(super) fn get(&self, until: Until, ours: bool) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        let mut room = ROOM.try_with(|room| room.take()).unwrap_or_default();
        room.clear();
        let got = self.get_bytes(&mut room, until, ours);
        let value = match got {
            Ok(Some(_)) if raw::is::<T>() => return Ok(raw::value(std::mem::take(&mut room))),
            Ok(Some(descriptors)) => decode(&room, descriptors).map(Some).map_err(Error::from),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if room.capacity() <= KEPT {
            let _ = ROOM.try_with(|kept| kept.replace(room));
        }
        value
    }

    /// As [`get`](End::get), the bytes to the end of a vector, and the descriptors.
    pub(super) fn get_bytes(
        &self,
        to: &mut Vec<u8>,
        until: Until,
        ours: bool,
    ) -> Result<Option<Vec<OwnedFd>>> {
        let system = gate::current()?;
        let log = self.room.log();
        let mut look = |ask| {
            if let Some(found) = self.try_get(&system, to, until).transpose() {
                return Some(found);
            }
            let end = match () {
                () if log.is_closed() => Error::Closed,
                () if !ours && self.is_over(ask) => Error::Disconnected,
                () => return None,
            };
            // What was put before the end is there by now.
            Some(self.try_get(&system, to, until).transpose().unwrap_or(Err(end)))
        };
        if let Some(found) = look(false) {
            return found.map(Some);
        }
        let more = || !log.is_empty() || log.is_closed();
        self.wait(&system, (Pace::Stream, until), look, more).transpose()
    }

    /// `None`: there is nothing.
    fn try_get<S: System>(&self, system: &S, to: &mut Vec<u8>, until: Until) -> Result<Option<Vec<OwnedFd>>> {
        let log = self.room.log();
        let mut consumer = match log.consumer(system, for_lock(until)) {
            Ok(consumer) => consumer,
            Err(error) if error.is_timed_out() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(record) = consumer.read(to)? else {
            if self.is_polled() {
                self.arm(|| !log.is_empty() || log.is_closed());
            }
            return Ok(None);
        };
        let descriptors = match record.descriptors {
            0 => Ok(Vec::new()),
            _ => self.wires.receive(record),
        };
        if let Err(Error::Os { .. }) = &descriptors {
            // Not for want of descriptors: it stays, for who has room.
            return descriptors.map(Some);
        }
        if let Some(tasks) = self.room.tasks() {
            tasks.take(system, 1)?;
        }
        let ring = consumer.take();
        if record.descriptors > 0 && descriptors.is_ok() {
            self.wires.drop_packet(record.band);
        }
        drop(consumer);
        if ring {
            self.ring();
        }
        descriptors.map(Some)
    }

    /// As [`get`](End::get), and what else is there then, in one step.
    pub(super) fn get_many(&self, most: usize, until: Until, ours: bool) -> Result<Option<Vec<T>>>
    where
        T: DeserializeOwned,
    {
        if most == 0 {
            return Ok(None);
        }
        let Some(first) = self.get(until, ours)? else { return Ok(None) };
        let mut all = vec![first];
        let system = gate::current()?;
        let log = self.room.log();
        let Ok(mut consumer) = log.consumer(&system, for_lock(Until::Now)) else { return Ok(Some(all)) };
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        while ends.len() + 1 < most {
            let before = consumer.mark();
            let begin = bytes.len();
            match consumer.read(&mut bytes) {
                Ok(Some(record)) if record.descriptors == 0 => ends.push(bytes.len()),
                // What needs more care, or is wrong, is left for the next call.
                _ => {
                    bytes.truncate(begin);
                    consumer.back_to(before);
                    break;
                }
            }
        }
        if let Some(tasks) = self.room.tasks()
            && tasks.take(&system, ends.len() as u32).is_err()
        {
            // The next call says why.
            return Ok(Some(all));
        }
        let ring = consumer.take();
        drop(consumer);
        if ring {
            self.ring();
        }
        let mut begin = 0;
        for end in ends {
            let item = &bytes[begin..end];
            let raw = if raw::is::<T>() { raw::value(item.to_vec()) } else { None };
            all.push(match raw {
                Some(value) => value,
                None => decode(item, Vec::new())?,
            });
            begin = end;
        }
        Ok(Some(all))
    }

    /// Closes the queue, and drops what is in it.
    pub(super) fn discard(&self) -> Result<usize> {
        let system = gate::current()?;
        let log = self.room.log();
        log.producer(&system, Until::Forever)?.close();
        let mut consumer = log.consumer(&system, Until::Forever)?;
        let skipped = consumer.skip();
        consumer.take();
        drop(consumer);
        self.ring();
        self.ring_again();
        if let Some(tasks) = self.room.tasks() {
            tasks.changed(&system);
        }
        Ok(skipped)
    }

    /// The tasks of a queue that can be joined.
    fn tasks(&self) -> Result<&Tasks> {
        self.room
            .tasks()
            .ok_or_else(|| Error::invalid("the queue", "it was not made to be joined (`joinable`)"))
    }

    /// An item that this process has is done.
    pub(super) fn task_done(&self) -> Result<()> {
        self.tasks()?.done(&gate::current()?)
    }

    /// Until nothing is unfinished.
    pub(super) fn join(&self, until: Until) -> Result<bool> {
        let log = self.room.log();
        self.tasks()?.join(&gate::current()?, until, || log.is_empty())
    }
}

impl End<ipc_core::Bytes> {
    /// As [`get_bytes`](End::get_bytes) of items that are bytes; gives how many.
    pub(super) fn get_slice(&self, to: &mut Vec<u8>, until: Until, ours: bool) -> Result<Option<usize>> {
        let before = to.len();
        match self.get_bytes(to, until, ours) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Ok(Some(to.len() - before)),
            Err(error) => {
                to.truncate(before);
                Err(error)
            }
        }
    }
}
