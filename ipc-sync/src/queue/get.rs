//! Getting: what the receivers' side does.

use std::os::fd::OwnedFd;

use ipc_core::primitive::message::decode;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::de::DeserializeOwned;

use super::end::{End, for_lock};
use super::position::GRANULE;
use super::raw;
use super::scratch::{keep, room};
use super::tasks::Tasks;
use crate::crash::reached;
use crate::waiting::Pace;
use crate::{Error, Result};

impl<T: 'static> End<T> {
    /// Gets the next item; `None`: there was none in time. `ours`: this process has a sender itself, so that nobody need look for others.
    pub(super) fn get(&self, until: Until, ours: bool) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        let mut room = room();
        let got = self.get_bytes(&mut room, until, ours);
        let value = match got {
            Ok(Some(_)) if raw::is::<T>() => Ok(raw::value(std::mem::take(&mut room))),
            Ok(Some(descriptors)) => decode(&room, descriptors).map(Some).map_err(Error::from),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        keep(room);
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
            if let Some(found) = self.try_get(system, to, until).transpose() {
                return Some(found);
            }
            let end = match () {
                () if log.is_closed() => Error::Closed,
                () if !ours && self.is_over(ask) => Error::Disconnected,
                () => return None,
            };
            // What was put before the end is there by now; nothing was found, perhaps, because another consumer did not let go of the lock in time.
            match self.try_get(system, to, until).transpose() {
                None if log.is_empty() => Some(Err(end)),
                found => found,
            }
        };
        if let Some(found) = look(false) {
            return found.map(Some);
        }
        let more = || self.may_go_on() || !ours && self.is_left();
        self.wait(system, (Pace::Stream, until), look, more).transpose()
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
            let cleared = (0..self.wires.bands())
                .filter_map(|band| Some((band, consumer.litter(band)?)))
                .fold(false, |cleared, (band, attempt)| self.wires.clear(band, Some(attempt)) || cleared);
            if cleared && log.made_room(system, u32::MAX) {
                self.ring();
            }
            if self.is_polled() {
                self.arm(|| self.may_go_on());
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
        let mut ring = consumer.take();
        if record.descriptors > 0 && descriptors.is_ok() {
            reached("consumer: descriptors left");
            self.wires.drop_packet(record.band);
            // A producer that was woken before that found no room for its own.
            ring |= log.made_room(system, 1);
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
        let Ok(mut consumer) = log.consumer(system, for_lock(Until::Now)) else { return Ok(Some(all)) };
        let (mut bytes, mut total) = (Vec::new(), 0);
        // What is said to be longer than the queue in all is no queue's.
        while all.len() < most && total < log.bytes() {
            let before = consumer.mark();
            bytes.clear();
            let value = match consumer.read(&mut bytes) {
                Ok(Some(record)) if record.descriptors == 0 => {
                    total += GRANULE + record.len;
                    // Before it is taken: what is no `T` is told of by the next call, and what came before it is not lost.
                    if raw::is::<T>() {
                        raw::value(std::mem::take(&mut bytes))
                    } else {
                        decode(&bytes, Vec::new()).ok()
                    }
                }
                _ => None,
            };
            match value {
                Some(value) => all.push(value),
                // What needs more care, or is wrong, is left for the next call.
                None => {
                    consumer.back_to(before);
                    break;
                }
            }
        }
        if let Some(tasks) = self.room.tasks()
            && tasks.take(system, all.len() as u32 - 1).is_err()
        {
            // They stay; the next call says why.
            all.truncate(1);
            return Ok(Some(all));
        }
        let ring = consumer.take();
        drop(consumer);
        if ring {
            self.ring();
        }
        Ok(Some(all))
    }

    /// Closes the queue, and drops what is in it.
    pub(super) fn discard(&self) -> Result<usize> {
        let system = gate::current()?;
        let log = self.room.log();
        log.producer(system, Until::Forever)?.close();
        let mut consumer = log.consumer(system, Until::Forever)?;
        let skipped = consumer.skip();
        consumer.take();
        // Nobody sends any more: what is there was of those, and may be what others wait for the end of.
        (0..self.wires.bands()).for_each(|band| _ = self.wires.clear(band, None));
        drop(consumer);
        self.ring_for_all();
        if let Some(tasks) = self.room.tasks() {
            tasks.changed(system);
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
        self.tasks()?.done(gate::current()?)
    }

    /// Until nothing is unfinished.
    pub(super) fn join(&self, until: Until) -> Result<bool> {
        let log = self.room.log();
        self.tasks()?.join(gate::current()?, until, || log.is_empty())
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
