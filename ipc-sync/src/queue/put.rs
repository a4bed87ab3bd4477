//! Putting: what the senders' side does.

use std::os::fd::OwnedFd;

use ipc_core::primitive::message::{Encoded, encode};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::Serialize;

use super::end::{End, Room};
use super::log::{Log, Written};
use super::raw;
use super::scratch::{keep, room};
use crate::PutError;
use crate::crash::reached;
use crate::waiting::Pace;
use crate::{Error, Result};

impl<T: 'static> End<T> {
    /// Encodes a value, and puts it.
    pub(super) fn put(&self, value: T, band: u32, until: Until) -> Result<(), PutError<T>>
    where
        T: Serialize,
    {
        if let Some(bytes) = raw::of(&value) {
            return match self.put_bytes(bytes, &[], band, until) {
                Ok(()) => Ok(()),
                Err(error) => Err(PutError::new(value, error)),
            };
        }
        let mut encoded = match encode(&value, room()) {
            Ok(encoded) => encoded,
            Err(error) => return Err(PutError::new(value, error.into())),
        };
        let put = self.put_bytes(&encoded.body, &encoded.descriptors, band, until);
        if put.is_err() {
            encoded.take_back();
        }
        keep(std::mem::take(&mut encoded.body));
        put.map_err(|error| PutError::new(value, error))
    }

    /// The calling thread, where the queue has that band.
    #[inline(always)]
    fn at_band(&self, band: u32) -> Result<&'static (impl System + use<T>)> {
        let bands = self.room.geometry().bands;
        if band >= bands {
            return Err(no_band(band, bands));
        }
        Ok(gate::current()?)
    }

    /// Puts bytes and descriptors that are a value already.
    pub(super) fn put_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<()> {
        let system = self.at_band(band)?;
        let log = self.room.log();
        if !self.is_left() && self.try_put(system, &log, bytes, descriptors, band, until)? {
            return Ok(());
        }
        self.put_waiting(system, &log, bytes, descriptors, band, until)
    }

    /// The same where there was no room at once, or where it is the end.
    #[cold]
    #[inline(never)]
    fn put_waiting<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<()> {
        if self.is_over(false) {
            return Err(Error::Disconnected);
        }
        let look = |ask| {
            if self.is_over(ask) {
                return Some(Err(Error::Disconnected));
            }
            match self.try_put(system, log, bytes, descriptors, band, until) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        };
        // Who is told of the end passes it on.
        let more = || !log.is_full() || log.is_closed() || self.is_left();
        self.wait(system, (Pace::Stream, until), look, more).unwrap_or(Err(Error::Full))
    }

    /// `false`: there is no room.
    #[inline(always)]
    fn try_put<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<bool> {
        if self.is_polled() || !descriptors.is_empty() {
            return self.try_put_in_full(system, log, bytes, descriptors, band, until);
        }
        // The lock is let go of before the bell is rung.
        let ring = {
            let mut producer = match log.producers(system, until) {
                Ok(held) => log.producer(held, band as usize),
                Err(error) => return busy(error),
            };
            match producer.write(bytes, (0, 0), |_| Ok(true))? {
                Written::Yes => producer.publish(),
                Written::Closed => return Err(Error::Closed),
                Written::Full => return Ok(false),
            }
        };
        if ring {
            self.ring();
        }
        Ok(true)
    }

    /// The same with descriptors, or where somebody polls for room.
    #[cold]
    #[inline(never)]
    fn try_put_in_full<S: System>(
        &self,
        system: &S,
        log: &Log<'_, Room<T>>,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<bool> {
        let mut producer = match log.producers(system, until) {
            Ok(held) => log.producer(held, band as usize),
            Err(error) => return busy(error),
        };
        let attempt = if descriptors.is_empty() { 0 } else { producer.attempt() };
        let beside = (descriptors.len() as u32, attempt);
        // Where what is looked at below stood before.
        let heads = self.is_polled().then(|| log.heads());
        let mut refused = false;
        let send = |record| {
            if descriptors.is_empty() {
                return Ok(true);
            }
            refused = !self.wires.send(record, descriptors)?;
            reached("producer: descriptors sent");
            Ok(!refused)
        };
        match producer.write(bytes, beside, send)? {
            Written::Yes => {
                let ring = producer.publish();
                drop(producer);
                if ring {
                    self.ring();
                }
                Ok(true)
            }
            Written::Closed => Err(Error::Closed),
            Written::Full => {
                if refused {
                    // What of it was sent is nobody's.
                    producer.attempt();
                }
                drop(producer);
                if refused && log.ask_to_clear(system, band as usize) {
                    self.ring();
                }
                if let Some(heads) = heads {
                    // Room is made by taking; there may be room for more items all the time, and for no more bytes.
                    self.arm(|| {
                        log.heads() != heads
                            || log.is_closed()
                            || refused && !log.is_asked_to_clear(band as usize)
                    });
                }
                Ok(false)
            }
        }
    }

    /// Puts as many values as there is room for, in one step, and goes on as room is made; gives those back that are left, and why.
    pub(super) fn put_many(
        &self,
        values: impl IntoIterator<Item = T>,
        band: u32,
        until: Until,
    ) -> Result<(), PutError<Vec<T>>>
    where
        T: Serialize,
    {
        let mut values = values.into_iter();
        let system = match self.at_band(band) {
            Ok(system) => system,
            Err(error) => return Err(PutError::new(values.collect(), error)),
        };
        let mut batch = Batch::default();
        loop {
            let alone = batch.fill(&mut values);
            let mut put = Ok(());
            while put.is_ok() && !batch.is_empty() {
                let written = self.try_put_batch(system, |at| batch.bytes(at), band, until);
                batch.are_put(written);
                // What did not fit waits by itself; what is wrong is found there, too.
                if let Some(first) = batch.bytes(0) {
                    put = self.put_bytes(first, &[], band, until);
                    batch.are_put(usize::from(put.is_ok()));
                }
            }
            let Some((value, encoded)) = alone else {
                match put {
                    Ok(()) if batch.is_over => return Ok(()),
                    Ok(()) => continue,
                    Err(error) => {
                        let left = batch.values.into_iter().chain(values);
                        return Err(PutError::new(left.collect(), error));
                    }
                }
            };
            // What went wrong first is what is told.
            let put = match (put, encoded) {
                (put, Ok(mut encoded)) => {
                    let put =
                        put.and_then(|()| self.put_bytes(&encoded.body, &encoded.descriptors, band, until));
                    if put.is_err() {
                        encoded.take_back();
                    }
                    put
                }
                (put, Err(error)) => put.and(Err(error)),
            };
            if let Err(error) = put {
                let left = batch.values.into_iter().chain(std::iter::once(value)).chain(values);
                return Err(PutError::new(left.collect(), error));
            }
        }
    }

    /// As many of these as there is room for, in one step; gives how many.
    fn try_put_batch<'b, S: System>(
        &self,
        system: &S,
        batch: impl Fn(usize) -> Option<&'b [u8]>,
        band: u32,
        until: Until,
    ) -> usize {
        if self.is_left() {
            return 0;
        }
        let log = self.room.log();
        let mut written = 0;
        let ring = {
            let Ok(held) = log.producers(system, until) else { return 0 };
            let mut producer = log.producer(held, band as usize);
            while let Some(bytes) = batch(written) {
                match producer.write(bytes, (0, 0), |_| Ok(true)) {
                    Ok(Written::Yes) => written += 1,
                    _ => break,
                }
            }
            producer.publish()
        };
        if ring {
            self.ring();
        }
        written
    }

    /// As [`put_many`](End::put_many), of bytes; gives those back that are left.
    pub(super) fn put_slices<'b, B: AsRef<[u8]>>(
        &self,
        items: &'b [B],
        band: u32,
        until: Until,
    ) -> Result<(), PutError<&'b [B]>> {
        let system = match self.at_band(band) {
            Ok(system) => system,
            Err(error) => return Err(PutError::new(items, error)),
        };
        let (mut left, mut batch) = (items, Vec::new());
        while let Some(first) = left.first() {
            let mut bytes = 0;
            // Asked for before the lock is taken: that is their owner's code.
            let fit = left.iter().take(VALUES).map(AsRef::as_ref).take_while(|item: &&[u8]| {
                bytes += item.len();
                bytes <= BYTES
            });
            batch.clear();
            batch.extend(fit);
            let put = self.try_put_batch(system, |at| batch.get(at).copied(), band, until);
            left = &left[put..];
            if put == 0 {
                // It waits by itself; what is wrong is found there, too.
                if let Err(error) = self.put_bytes(first.as_ref(), &[], band, until) {
                    return Err(PutError::new(left, error));
                }
                left = &left[1..];
            }
        }
        Ok(())
    }

    /// Nobody puts anything any more. Gives whether it was closed already.
    pub(super) fn close(&self) -> Result<bool> {
        let system = gate::current()?;
        let log = self.room.log();
        let was = log.producer(log.producers(system, Until::Forever)?, 0).close();
        self.ring_for_all();
        Ok(was)
    }
}

#[cold]
fn no_band(band: u32, bands: u32) -> Error {
    Error::invalid(format!("band {band}"), format!("the queue has {bands}"))
}

/// The lock of this side was not free: as if there were no room, if that is all.
#[cold]
pub(super) fn busy(error: Error) -> Result<bool> {
    if error.is_timed_out() { Ok(false) } else { Err(error) }
}

/// Values that are put together. They are asked for and encoded, which is their owner's code and may take its time, before the lock is taken.
struct Batch<T> {
    values: Vec<T>,
    /// The encoded ones one after the other, and where each ends; none for values that are bytes already.
    encoded: Vec<u8>,
    ends: Vec<usize>,
    /// Where the first of them begins.
    begin: usize,
    /// Nothing comes any more.
    is_over: bool,
}

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch { values: Vec::new(), encoded: Vec::new(), ends: Vec::new(), begin: 0, is_over: false }
    }
}

/// A batch has as many values and bytes as that, at most: others want to put something, too.
const VALUES: usize = 256;
const BYTES: usize = 64 << 10;

impl<T: 'static> Batch<T> {
    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The bytes of a value that is in it.
    fn bytes(&self, at: usize) -> Option<&[u8]> {
        let value = self.values.get(at)?;
        if let Some(bytes) = raw::of(value) {
            return Some(bytes);
        }
        let begin = if at == 0 { self.begin } else { self.ends[at - 1] };
        Some(&self.encoded[begin..self.ends[at]])
    }

    /// So many were put.
    fn are_put(&mut self, count: usize) {
        self.values.drain(..count);
        if let Some(last) = self.ends.drain(..count.min(self.ends.len())).next_back() {
            self.begin = last;
        }
    }

    /// Takes on what comes next. Gives one that must go by itself behind them: it has descriptors, is long, or cannot be encoded.
    fn fill(&mut self, values: &mut impl Iterator<Item = T>) -> Option<(T, Result<Encoded>)>
    where
        T: Serialize,
    {
        self.encoded.clear();
        self.begin = 0;
        let (mut room, mut bytes) = (room(), 0);
        let mut alone = None;
        while self.values.len() < VALUES && bytes < BYTES {
            let Some(value) = values.next() else {
                self.is_over = true;
                break;
            };
            if let Some(raw) = raw::of(&value) {
                bytes += raw.len();
                self.values.push(value);
                continue;
            }
            let encoded = encode(&value, std::mem::take(&mut room));
            match encoded {
                Ok(mut encoded) if encoded.descriptors.is_empty() && encoded.body.len() < BYTES => {
                    bytes += encoded.body.len();
                    self.encoded.extend_from_slice(&encoded.body);
                    self.ends.push(self.encoded.len());
                    self.values.push(value);
                    room = std::mem::take(&mut encoded.body);
                    room.clear();
                }
                encoded => {
                    alone = Some((value, encoded.map_err(Error::from)));
                    break;
                }
            }
        }
        keep(room);
        alone
    }
}
