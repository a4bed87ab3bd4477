//! What group `shm` does with memory: the same for ours and the peers, as `protocol.rs` is.
//!
//! | task | the parent, timed | the parent, after that | the child |
//! |---|---|---|---|
//! | `create` | makes memory, maps it, sends it, waits until it is there | waits until the child has dropped it, drops it | receives it, maps it, says so; drops it, says so |
//! | `copy` | copies a buffer in, and another out | looks whether they are the same | is none |
//!
//! Both buffers lie at a multiple of 64 bytes, for ours and for the peers: other destinations are many times slower on some processors, which
//! is no matter of anybody's library.

#![allow(dead_code, unreachable_pub, reason = "compiled into ours and the peers' library, each using a part")]

use std::io;

use super::protocol::{Call, serve, timed};

/// The parent's end.
pub trait Maker {
    /// What is made, with its mapping.
    type Memory;

    /// Makes memory of so many bytes, and maps it.
    fn make(&mut self, size: usize) -> io::Result<Self::Memory>;

    /// Sends it to the child.
    fn send(&mut self, memory: &Self::Memory) -> io::Result<()>;

    /// Waits for the child's word.
    fn hear(&mut self) -> io::Result<()>;
}

/// How many bytes a contender is called for.
pub fn size(call: &Call) -> io::Result<usize> {
    call.more.first().and_then(|text| text.parse().ok()).ok_or_else(|| call.unknown())
}

/// The parent's side of `create`.
pub fn create(size: usize, maker: &mut impl Maker) -> io::Result<()> {
    serve(|| {
        let (time, memory) = timed(|| {
            let memory = maker.make(size)?;
            maker.send(&memory)?;
            maker.hear()?;
            Ok(memory)
        })?;
        maker.hear()?;
        drop(memory);
        Ok(time)
    })
}

/// Shared memory to copy to.
pub trait Shelf {
    /// Copies all of it in.
    fn put(&mut self, from: &[u8]) -> io::Result<()>;

    /// Copies all of it out.
    fn take(&mut self, into: &mut [u8]) -> io::Result<()>;
}

/// All of `copy`.
pub fn copy(size: usize, shelf: &mut impl Shelf) -> io::Result<()> {
    let (mut from, mut into) = (vec![0; size + LINE], vec![0; size + LINE]);
    let (from, into) = (lined(&mut from, size), lined(&mut into, size));
    let mut round = 0_u8;
    serve(|| {
        round = round.wrapping_add(1);
        for (place, byte) in from.iter_mut().enumerate().step_by(LINE) {
            *byte = round ^ (place / LINE) as u8;
        }
        let (time, ()) = timed(|| {
            shelf.put(from)?;
            shelf.take(into)
        })?;
        if from == into { Ok(time) } else { Err(io::Error::other("what was put in is not what came out")) }
    })
}

const LINE: usize = 64;

/// So much of a buffer, from a multiple of 64 on.
fn lined(buffer: &mut [u8], size: usize) -> &mut [u8] {
    let at = buffer.as_ptr().align_offset(LINE);
    &mut buffer[at..at + size]
}
