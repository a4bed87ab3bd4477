//! The values of group `pipe`: what they are, and the traffic in them.
//!
//! One type for all sizes, as a program's messages are one enum: a number for 8 bytes, one record for about 64, many
//! for more. A record is of what messages are mostly made of: numbers, a string, a list. Whoever sends a value gives it away,
//! so a batch is made before the clock starts, and everybody pays for dropping what was sent.

#![allow(dead_code, unreachable_pub, reason = "compiled into ours and the peers' library, each using a part")]

use std::io;

use serde::{Deserialize, Serialize};

use super::protocol::{serve, timed};
use super::traffic::Traffic;

/// One end of a pipe for values.
pub trait Values {
    /// Sends one value.
    fn send(&mut self, parcel: Parcel) -> io::Result<()>;

    /// Receives one value.
    fn receive(&mut self) -> io::Result<Parcel>;
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Parcel {
    /// Eight bytes, and the acknowledgement.
    Number(u64),
    /// About 64 bytes.
    Record(Record),
    /// So many times that.
    Records(Vec<Record>),
}

/// About 64 bytes, encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    id: u64,
    at: f64,
    name: String,
    tags: Vec<u32>,
}

impl Parcel {
    /// A value of about so many bytes.
    pub fn of_size(size: usize) -> Self {
        match size {
            ..=8 => Self::Number(0x0123_4567_89ab_cdef),
            9..=64 => Self::Record(Record::sample()),
            more => Self::Records(vec![Record::sample(); more / 64]),
        }
    }
}

impl Record {
    fn sample() -> Self {
        Self {
            id: 0x0123_4567,
            at: 1234.5,
            name: "a name of usual length".to_owned(),
            tags: vec![1, 300, 70_000, 20_000_000, 5, 600, 80_000, 30_000_000],
        }
    }
}

impl Traffic {
    /// The parent's side: answers the harness.
    pub fn lead_values(self, end: &mut impl Values) -> io::Result<()> {
        let sample = Parcel::of_size(self.size);
        serve(|| {
            let parcels = vec![sample.clone(); self.batch.unwrap_or(1)];
            let (time, last) = timed(|| {
                for parcel in parcels {
                    end.send(parcel)?;
                }
                end.receive()
            })?;
            let expected = if self.batch.is_some() { Parcel::Number(1) } else { sample.clone() };
            if last == expected {
                Ok(time)
            } else {
                Err(io::Error::other("what was sent is not what arrived"))
            }
        })
    }

    /// The child's side, until the parent's is closed.
    pub fn follow_values(self, end: &mut impl Values) -> io::Result<()> {
        let sample = Parcel::of_size(self.size);
        loop {
            match self.batch {
                None => {
                    let parcel = end.receive()?;
                    end.send(parcel)?;
                }
                Some(batch) => {
                    for _ in 1..batch {
                        end.receive()?;
                    }
                    let same = end.receive()? == sample;
                    end.send(Parcel::Number(same.into()))?;
                }
            }
        }
    }
}
