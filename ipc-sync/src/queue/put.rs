//! Putting: what the senders' side does.

use std::os::fd::OwnedFd;

use ipc_core::primitive::message::{Encoded, encode};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::Serialize;

use super::end::{End, for_lock};
use super::log::Written;
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

    /// Puts bytes and descriptors that are a value already.
    pub(super) fn put_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<()> {
        let bands = self.room.geometry().bands;
        if band >= bands {
            return Err(Error::invalid(format!("band {band}"), format!("the queue has {bands}")));
        }
        let system = gate::current()?;
        let look = |ask| {
            if self.is_over(ask) {
                return Some(Err(Error::Disconnected));
            }
            self.try_put(system, bytes, descriptors, band, until).transpose()
        };
        if let Some(done) = look(false) {
            return done;
        }
        // Who is told of the end passes it on.
        let more = || !self.room.log().is_full() || self.room.log().is_closed() || self.is_left();
        self.wait(system, (Pace::Stream, until), look, more).unwrap_or(Err(Error::Full))
    }

    /// `None`: there is no room.
    fn try_put<S: System>(
        &self,
        system: &S,
        bytes: &[u8],
        descriptors: &[OwnedFd],
        band: u32,
        until: Until,
    ) -> Result<Option<()>> {
        let log = self.room.log();
        let mut producer = match log.producer(system, for_lock(until)) {
            Ok(producer) => producer,
            Err(error) if error.is_timed_out() => return Ok(None),
            Err(error) => return Err(error),
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
        match producer.write(band as usize, bytes, beside, send)? {
            Written::Yes => {
                let ring = producer.publish();
                drop(producer);
                if ring {
                    self.ring();
                }
                Ok(Some(()))
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
                Ok(None)
            }
        }
    }

    /// Puts as many values as there is room for, in one step, and goes on as room is made; gives those back that are left, and why.
    pub(super) fn put_many(
        &self,
        values: impl IntoIterator<Item = T>,
        band: u32,
        until: Until,
    ) -> Result<(), (Vec<T>, Error)>
    where
        T: Serialize,
    {
        let mut values = values.into_iter();
        let bands = self.room.geometry().bands;
        let system = match gate::current() {
            Ok(system) if band < bands => system,
            Ok(_) => {
                let error = Error::invalid(format!("band {band}"), format!("the queue has {bands}"));
                return Err((values.collect(), error));
            }
            Err(error) => return Err((values.collect(), error.into())),
        };
        let mut batch = Batch::default();
        loop {
            let alone = batch.fill(&mut values);
            let mut put = Ok(());
            while put.is_ok() && !batch.is_empty() {
                let written = self.try_put_batch(system, &batch, band, until);
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
                    Err(error) => return Err((batch.values.into_iter().chain(values).collect(), error)),
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
                return Err((left.collect(), error));
            }
        }
    }

    /// As many of these as there is room for, in one step; gives how many.
    fn try_put_batch<S: System>(&self, system: &S, batch: &Batch<T>, band: u32, until: Until) -> usize {
        if self.is_left() {
            return 0;
        }
        let Ok(mut producer) = self.room.log().producer(system, for_lock(until)) else { return 0 };
        let mut written = 0;
        while let Some(bytes) = batch.bytes(written) {
            match producer.write(band as usize, bytes, (0, 0), |_| Ok(true)) {
                Ok(Written::Yes) => written += 1,
                _ => break,
            }
        }
        let ring = producer.publish();
        drop(producer);
        if ring {
            self.ring();
        }
        written
    }

    /// Nobody puts anything any more. Gives whether it was closed already.
    pub(super) fn close(&self) -> Result<bool> {
        let system = gate::current()?;
        let was = self.room.log().producer(system, Until::Forever)?.close();
        self.ring_for_all();
        Ok(was)
    }
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
