//! Our side of group `queue` for rings: one in each direction, and one child.

use std::io;

use ipc_core::Context;
use ipc_sync::{RingReceiver, RingSender, ring};

use super::failed;
use super::protocol::Call;
use super::traffic::{self, Traffic};

/// What goes through them: bytes alone.
type Nothing = ();

/// One side, which copies in and out.
struct Copied {
    there: RingSender<Nothing>,
    back: RingReceiver<Nothing>,
    buffer: Vec<u8>,
}

impl traffic::Bytes for Copied {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.there.send_bytes(message).map_err(failed)
    }

    fn receive(&mut self, length: usize) -> io::Result<&[u8]> {
        let length = self.back.recv_into(&mut self.buffer[..length]).map_err(failed)?;
        Ok(&self.buffer[..length])
    }
}

/// One side, which writes messages where they stand, and reads no more of them there than their ends.
struct InPlace {
    there: RingSender<Nothing>,
    back: RingReceiver<Nothing>,
    ends: [u8; 8],
}

impl traffic::Bytes for InPlace {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut loan = self.there.loan(message.len()).map_err(failed)?;
        loan.copy_from_slice(message);
        loan.commit().map_err(failed)
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        let message = self.back.recv_loan().map_err(failed)?;
        let (Some(first), Some(last)) = (message.first_chunk::<4>(), message.last_chunk::<4>()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        self.ends[..4].copy_from_slice(first);
        self.ends[4..].copy_from_slice(last);
        Ok(&self.ends)
    }
}

type Halves = (RingSender<Nothing>, RingReceiver<Nothing>);

/// Leads, or follows.
fn go((there, back): Halves, traffic: Traffic, in_place: bool, leads: bool) -> io::Result<()> {
    if in_place {
        let mut end = InPlace { there, back, ends: [0; 8] };
        return if leads { traffic.lead(&mut end) } else { traffic.follow(&mut end) };
    }
    let mut end = Copied { there, back, buffer: vec![0; traffic.size.max(8)] };
    if leads { traffic.lead(&mut end) } else { traffic.follow(&mut end) }
}

/// The child: until the other side is gone, which is an error here.
fn follow(halves: Halves, size: usize, batch: Option<usize>, in_place: bool) {
    let _ = go(halves, Traffic { typed: false, size, batch }, in_place, false);
}

/// Does what group `queue` asks for.
pub(crate) fn run(call: &Call, in_place: bool) -> io::Result<()> {
    let traffic = Traffic::of(call)?;
    // As long as the one that it is compared with.
    let new = || ring((8 * traffic.size).max(1 << 20)).map_err(failed);
    let ((there, from_here), (from_there, back)) = (new()?, new()?);
    let context = Context::default();
    let builder = match call.placement.child() {
        Some(cpu) => context.builder().affinity([cpu]),
        None => context.builder(),
    };
    call.placement.enter()?;
    let arguments = ((from_there, from_here), traffic.size, traffic.batch, in_place);
    let child = builder.spawn(follow, arguments).map_err(failed)?;
    go((there, back), traffic, in_place, true)?;
    child.join().map_err(failed)
}
