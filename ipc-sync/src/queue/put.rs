//! Putting: what the senders' side does.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use ipc_core::primitive::message::encode;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use serde::Serialize;

use super::end::{End, for_lock};
use super::log::Written;
use super::put_error::PutError;
use super::raw;
use crate::waiting::Pace;
use crate::{Error, Result};

thread_local! {
    /// Room for a value's bytes, which is used again.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// No more of it is kept from one value to the next.
const KEPT: usize = 1 << 20;

/// Empty room for a value's bytes.
fn room() -> Vec<u8> {
    ROOM.try_with(|room| room.take()).unwrap_or_default()
}

/// Room that is not needed any more.
fn keep(mut room: Vec<u8>) {
    if room.capacity() <= KEPT {
        room.clear();
        let _ = ROOM.try_with(|kept| kept.replace(room));
    }
}

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
            self.try_put(&system, bytes, descriptors, band, until).transpose()
        };
        if let Some(done) = look(false) {
            return done;
        }
        let more = || !self.room.log().is_full();
        self.wait(&system, (Pace::Stream, until), look, more).unwrap_or(Err(Error::Full))
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
        let send = |record| {
            descriptors.is_empty().then_some(true).map_or_else(|| self.wires.send(record, descriptors), Ok)
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
                drop(producer);
                if self.is_polled() {
                    self.arm(|| !log.is_full());
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
        let system = match gate::current() {
            Ok(system) => system,
            Err(error) => return Err((values.collect(), error.into())),
        };
        let bands = self.room.geometry().bands;
        if band >= bands {
            let error = Error::invalid(format!("band {band}"), format!("the queue has {bands}"));
            return Err((values.collect(), error));
        }
        let log = self.room.log();
        // One that did not fit, or that must go by itself.
        let mut next = values.next();
        loop {
            let Some(value) = next.take() else { return Ok(()) };
            // The first waits; behind it goes what there is room for at once.
            match self.put(value, band, until) {
                Ok(()) => {}
                Err(failed) => {
                    let (value, error) = failed.into_parts();
                    return Err((std::iter::once(value).chain(values).collect(), error));
                }
            }
            next = values.next();
            let Ok(mut producer) = log.producer(&system, for_lock(until)) else { continue };
            let mut room = room();
            while let Some(value) = next.take() {
                if let Some(bytes) = raw::of(&value) {
                    let written = producer.write(band as usize, bytes, (0, 0), |_| Ok(true));
                    if !matches!(written, Ok(Written::Yes)) {
                        next = Some(value);
                        break;
                    }
                    next = values.next();
                    continue;
                }
                room.clear();
                let encoded = encode(&value, std::mem::take(&mut room));
                next = Some(value);
                // Whatever is wrong with it, or needs more care, is found when it is put by itself.
                let Ok(mut encoded) = encoded else { break };
                if !encoded.descriptors.is_empty() {
                    encoded.take_back();
                    break;
                }
                let written = producer.write(band as usize, &encoded.body, (0, 0), |_| Ok(true));
                room = std::mem::take(&mut encoded.body);
                if !matches!(written, Ok(Written::Yes)) {
                    break;
                }
                next = values.next();
            }
            let ring = producer.publish();
            drop(producer);
            keep(room);
            if ring {
                self.ring();
            }
        }
    }

    /// Nobody puts anything any more. Gives whether it was closed already.
    pub(super) fn close(&self) -> Result<bool> {
        let system = gate::current()?;
        let was = self.room.log().producer(&system, Until::Forever)?.close();
        wake_pollers(self);
        Ok(was)
    }
}

fn wake_pollers<T: 'static>(end: &End<T>) {
    end.ring();
    end.ring_again();
}
