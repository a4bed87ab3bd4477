//! Getting: what the receivers' side does.

use std::os::fd::OwnedFd;

use ipc_core::primitive::message::decode;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::de::DeserializeOwned;

use super::end::{End, Room};
use super::log::Log;
use super::position::GRANULE;
use super::put::busy;
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
        let (mut room, mut descriptors) = (room(), Vec::new());
        let value = match self.get_bytes(&mut room, &mut descriptors, until, ours) {
            Ok(true) if raw::is::<T>() => Ok(raw::value(std::mem::take(&mut room))),
            Ok(true) => match decode(&room, descriptors) {
                Ok(value) => Ok(Some(value)),
                Err(error) => self.is_lost(error.into()),
            },
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        keep(room);
        value
    }

    /// An item was taken that nobody has: it is done.
    #[cold]
    fn is_lost<R>(&self, error: Error) -> Result<R> {
        if self.room.tasks().is_some() {
            self.task_done()?;
        }
        Err(error)
    }

    /// As [`get`](End::get), the bytes to the end of a vector, and the descriptors to that of another; `false`: there was nothing in time.
    #[inline]
    pub(super) fn get_bytes(
        &self,
        to: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        until: Until,
        ours: bool,
    ) -> Result<bool> {
        let system = gate::current()?;
        let log = self.room.log();
        if self.try_get(system, &log, to, descriptors, until)? {
            return Ok(true);
        }
        self.get_waiting(system, &log, (to, descriptors), until, ours)
    }

    /// The same where there was nothing at once.
    #[cold]
    #[inline(never)]
    fn get_waiting<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        (to, descriptors): (&mut Vec<u8>, &mut Vec<OwnedFd>),
        until: Until,
        ours: bool,
    ) -> Result<bool> {
        let is_over = |ask| match () {
            () if log.is_closed() => Some(Error::Closed),
            () if !ours && self.is_over(ask) => Some(Error::Disconnected),
            () => None,
        };
        let mut try_get = || match self.try_get(system, log, to, descriptors, until) {
            Ok(true) => Some(Ok(true)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        let mut look = |ask| {
            let found = try_get();
            if found.is_some() {
                return found;
            }
            let end = is_over(ask)?;
            // What was put before the end is there by now; nothing was found, perhaps, because another consumer did not let go of the lock in time.
            match try_get() {
                None if log.is_empty() => Some(Err(end)),
                found => found,
            }
        };
        if is_over(false).is_some()
            && let Some(found) = look(false)
        {
            return found;
        }
        let more = || self.may_go_on() || !ours && self.is_left();
        self.wait(system, (Pace::Stream, until), look, more).unwrap_or(Ok(false))
    }

    /// `false`: there is nothing.
    #[inline(always)]
    fn try_get<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        to: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        until: Until,
    ) -> Result<bool> {
        if self.is_polled() {
            return self.try_get_in_full(system, log, to, descriptors, until);
        }
        let before = to.len();
        log.let_gather();
        // The lock is let go of before the bell is rung.
        let taken = {
            let mut consumer = match log.consumers(system, until) {
                Ok(held) => log.consumer(held),
                Err(error) => return busy(error),
            };
            match consumer.read(to)? {
                Some(record) if record.descriptors == 0 => {
                    if let Some(tasks) = self.room.tasks() {
                        tasks.take(system, 1)?;
                    }
                    Some(consumer.take())
                }
                None if !log.is_littered() => return Ok(false),
                _ => None,
            }
        };
        let Some(ring) = taken else {
            to.truncate(before);
            return self.try_get_in_full(system, log, to, descriptors, until);
        };
        if ring {
            self.ring();
        }
        Ok(true)
    }

    /// The same with descriptors, or where there is litter in the sockets, or where somebody polls for items.
    #[cold]
    #[inline(never)]
    fn try_get_in_full<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        to: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        until: Until,
    ) -> Result<bool> {
        let mut consumer = match log.consumers(system, until) {
            Ok(held) => log.consumer(held),
            Err(error) => return busy(error),
        };
        let Some(record) = consumer.read(to)? else {
            let cleared = (0..self.wires.bands())
                .filter_map(|band| Some((band, consumer.litter(band)?)))
                .fold(false, |cleared, (band, attempt)| self.wires.clear(band, Some(attempt)) || cleared);
            if cleared && log.made_room(system, u32::MAX) {
                self.ring();
            }
            drop(consumer);
            if self.is_polled() {
                self.arm(|| self.may_go_on());
            }
            return Ok(false);
        };
        let received = match record.descriptors {
            0 => Ok(Vec::new()),
            _ => self.wires.receive(record),
        };
        if let Err(error @ Error::Os { .. }) = received {
            // Not for want of descriptors: it stays, for who has room.
            return Err(error);
        }
        if let Some(tasks) = self.room.tasks() {
            tasks.take(system, 1)?;
        }
        let mut ring = consumer.take();
        if record.descriptors > 0 && received.is_ok() {
            reached("consumer: descriptors left");
            self.wires.drop_packet(record.band);
            // A producer that was woken before that found no room for its own.
            ring |= log.made_room(system, 1);
        }
        drop(consumer);
        if ring {
            self.ring();
        }
        match received {
            Ok(received) => descriptors.extend(received),
            Err(error) => return self.is_lost(error),
        }
        Ok(true)
    }

    /// As [`get`](End::get), and what else is there then, in one step.
    pub(super) fn get_many(&self, most: usize, until: Until, ours: bool) -> Result<Option<Vec<T>>>
    where
        T: DeserializeOwned,
    {
        let mut all = Vec::new();
        if most > 0 && self.try_get_values(most, &mut all)? == 0 {
            // Nothing, or what needs more care.
            let Some(first) = self.get(until, ours)? else { return Ok(None) };
            all.push(first);
            // What is wrong with a later one is told by the next call.
            let _ = self.try_get_values(most - 1, &mut all);
        }
        Ok(Some(all))
    }

    /// What is there, at most so many; gives how many that are.
    fn try_get_values(&self, most: usize, all: &mut Vec<T>) -> Result<usize>
    where
        T: DeserializeOwned,
    {
        let (mut room, before) = (room(), all.len());
        let got = self.try_get_many(most, &mut room, |bytes| {
            // Before it is taken: what is no `T` is told of by the next call, and what came before it is not lost.
            let value = match raw::is::<T>() {
                true => raw::value(std::mem::take(bytes)),
                false => decode(bytes, Vec::new()).ok(),
            };
            bytes.clear();
            let is_one = value.is_some();
            all.extend(value);
            is_one
        });
        keep(room);
        all.truncate(before + got.as_ref().unwrap_or(&0));
        got
    }

    /// Reads and takes what is there, at most so many, of one band after the other: each is appended to `room`, and `each` says whether it is to be taken. What
    /// needs more care, or is wrong, is left for [`get`](End::get). Gives how many were taken: `each` may have been given more.
    ///
    /// # Errors
    /// Nothing was taken.
    fn try_get_many(
        &self,
        most: usize,
        room: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> Result<usize> {
        let mut taken = 0;
        // Not for as long as others put something: each band has its turn.
        for _ in 0..self.room.geometry().bands {
            let more = match self.try_get_some(most - taken, room, &mut each) {
                Err(error) if taken == 0 => return Err(error),
                more => more.unwrap_or(0),
            };
            taken += more;
            if more == 0 || taken == most {
                break;
            }
        }
        Ok(taken)
    }

    /// The same of the highest band that has something.
    fn try_get_some(
        &self,
        most: usize,
        room: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> Result<usize> {
        let system = gate::current()?;
        let log = self.room.log();
        let mut taken = 0;
        let ring = {
            let mut consumer = match log.consumers(system, Until::Now) {
                Ok(held) => log.consumer(held),
                Err(error) => return busy(error).map(usize::from),
            };
            let mut total = 0;
            // What is said to be longer than the queue in all is no queue's.
            while taken < most && total < log.bytes() {
                let (mark, before) = (consumer.mark(), room.len());
                match consumer.read(room) {
                    Ok(Some(record)) if record.descriptors == 0 && each(room) => {
                        total += GRANULE + record.len;
                        taken += 1;
                    }
                    Ok(None) => break,
                    _ => {
                        room.truncate(before);
                        consumer.back_to(mark);
                        break;
                    }
                }
            }
            if taken > 0
                && let Some(tasks) = self.room.tasks()
            {
                tasks.take(system, taken as u32)?;
            }
            consumer.take()
        };
        if ring {
            self.ring();
        }
        Ok(taken)
    }

    /// Closes the queue, and drops what is in it.
    pub(super) fn discard(&self) -> Result<usize> {
        let system = gate::current()?;
        let log = self.room.log();
        log.producer(log.producers(system, Until::Forever)?, 0).close();
        let mut consumer = log.consumer(log.consumers(system, Until::Forever)?);
        let skipped = consumer.skip();
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
        let (before, mut descriptors) = (to.len(), Vec::new());
        match self.get_bytes(to, &mut descriptors, until, ours) {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(to.len() - before)),
            Err(error) => {
                to.truncate(before);
                Err(error)
            }
        }
    }
    /// As [`get_many`](End::get_many): the bytes to the end of one vector, and where each item's end to that of another; gives how many items.
    pub(super) fn get_slices(
        &self,
        most: usize,
        (to, ends): (&mut Vec<u8>, &mut Vec<usize>),
        until: Until,
        ours: bool,
    ) -> Result<usize> {
        let before = (to.len(), ends.len());
        let more = |most, to: &mut Vec<u8>, ends: &mut Vec<usize>| {
            let before = (to.len(), ends.len());
            let got = self.try_get_many(most, to, |bytes| {
                ends.push(bytes.len());
                true
            });
            ends.truncate(before.1 + got.as_ref().unwrap_or(&0));
            to.truncate(if ends.len() == before.1 { before.0 } else { ends[ends.len() - 1] });
            got
        };
        if most > 0 && more(most, to, ends)? == 0 && self.get_slice(to, until, ours)?.is_some() {
            ends.push(to.len());
            // What is wrong with a later one is told by the next call.
            let _ = more(most - 1, to, ends);
        }
        Ok(ends.len() - before.1)
    }
}
