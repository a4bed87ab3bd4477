//! What crosses a pipe in group `pipe`, and who waits for whom: the same for ours and every peer, as `protocol.rs` is.
//!
//! A contender is called with the message's size and, for one way, how many make a batch. The parent leads, the child
//! follows until its end is closed:
//!
//! | task | the leader, timed | the follower |
//! |---|---|---|
//! | `round-trip` | sends one, receives one | receives one, sends it back |
//! | `one-way` | sends the batch, receives an acknowledgement | receives the batch, sends an acknowledgement |
//! | `many-to-many` | says when to two that send half of the batch each, is told when all is received | two that receive, wherever it comes from |
//! | `… typed` | the same with values: see `parcel.rs` | the same |
//!
//! So the clock of a batch covers its last byte's arrival in a buffer of the receiver's own. What is sent lies ready before
//! the clock starts; whether the right thing came back is looked at after it has stopped.

#![allow(dead_code, unreachable_pub, reason = "compiled into ours and the peers' library, each using a part")]

use std::io;

use super::protocol::{Call, serve, timed};

/// One end of a pipe for bytes.
pub trait Bytes {
    /// Sends one message.
    fn send(&mut self, message: &[u8]) -> io::Result<()>;

    /// Receives one message of so many bytes into memory of the end's own, for as long as it is looked at.
    fn receive(&mut self, length: usize) -> io::Result<&[u8]>;
}

/// How long an acknowledgement is.
const ACKNOWLEDGEMENT: usize = 8;

/// What is to be sent, and whether it comes back.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Whether values travel, instead of bytes.
    pub typed: bool,
    /// A message's size in bytes; of a value, about.
    pub size: usize,
    /// How many messages make a batch; none, if each is to come back by itself.
    pub batch: Option<usize>,
}

impl Traffic {
    /// What a contender is called for.
    pub fn of(call: &Call) -> io::Result<Self> {
        let number = |place: usize| call.more.get(place).and_then(|text| text.parse().ok());
        let size = number(0).ok_or_else(|| call.unknown())?;
        let one_way = match call.task.strip_suffix(" typed").unwrap_or(&call.task) {
            "round-trip" => false,
            "one-way" | "many-to-many" => true,
            _ => return Err(call.unknown()),
        };
        let batch = match one_way {
            true => Some(number(1).ok_or_else(|| call.unknown())?),
            false => None,
        };
        Ok(Self { typed: call.task.ends_with(" typed"), size, batch })
    }

    /// The parent's side: answers the harness.
    pub fn lead(self, end: &mut impl Bytes) -> io::Result<()> {
        let message: Vec<u8> = (0..self.size).map(|place| place as u8).collect();
        serve(|| match self.batch {
            None => {
                let (time, ()) = timed(|| {
                    end.send(&message)?;
                    end.receive(message.len()).map(drop)
                })?;
                Ok(time)
            }
            Some(batch) => {
                let (time, same) = timed(|| {
                    for _ in 0..batch {
                        end.send(&message)?;
                    }
                    Ok(end.receive(ACKNOWLEDGEMENT)? == ends_of(&message))
                })?;
                if same { Ok(time) } else { Err(io::Error::other("what was sent is not what arrived")) }
            }
        })
    }

    /// The child's side, until the parent's is closed.
    pub fn follow(self, end: &mut impl Bytes) -> io::Result<()> {
        let mut message = vec![0; self.size];
        loop {
            match self.batch {
                None => {
                    message.copy_from_slice(end.receive(self.size)?);
                    end.send(&message)?;
                }
                Some(batch) => {
                    for _ in 1..batch {
                        end.receive(self.size)?;
                    }
                    let last = ends_of(end.receive(self.size)?);
                    end.send(&last)?;
                }
            }
        }
    }
}

/// The first and the last bytes of a message: enough to tell a wrong or a short one.
fn ends_of(message: &[u8]) -> [u8; ACKNOWLEDGEMENT] {
    let mut ends = [0; ACKNOWLEDGEMENT];
    let (first, last) = ends.split_at_mut(ACKNOWLEDGEMENT / 2);
    for (end, byte) in first.iter_mut().zip(message) {
        *end = *byte;
    }
    for (end, byte) in last.iter_mut().zip(message.iter().rev()) {
        *end = *byte;
    }
    ends
}
