//! Our side of group `pipe`: one `duplex`, one child, the other end as its argument.

use std::io;

use ipc_core::{Connection, Context, duplex};

use super::failed;
use super::parcel::{Parcel, Values};
use super::protocol::Call;
use super::traffic::{Bytes, Traffic};

/// An end, and where it receives bytes.
struct End {
    connection: Connection<Parcel>,
    buffer: Vec<u8>,
}

impl Bytes for End {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.connection.send_bytes(message).map_err(failed)
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        let length = self.connection.recv_into(&mut self.buffer).map_err(failed)?;
        Ok(&self.buffer[..length])
    }
}

impl Values for End {
    fn send(&mut self, parcel: Parcel) -> io::Result<()> {
        self.connection.send(parcel).map_err(failed)
    }

    fn receive(&mut self) -> io::Result<Parcel> {
        self.connection.recv().map_err(failed)
    }
}

impl End {
    fn new(connection: Connection<Parcel>, size: usize) -> Self {
        Self { connection, buffer: vec![0; size.max(8)] }
    }
}

/// The child: until the other end is closed, which is an error here.
fn follow(connection: Connection<Parcel>, typed: bool, size: usize, batch: Option<usize>) {
    let traffic = Traffic { typed, size, batch };
    let mut end = End::new(connection, size);
    let _ = if typed { traffic.follow_values(&mut end) } else { traffic.follow(&mut end) };
}

/// Does what group `pipe` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    let traffic = Traffic::of(call)?;
    let Traffic { typed, size, batch } = traffic;
    let (ours, theirs) = duplex().map_err(failed)?;
    let context = Context::default();
    let builder = match call.placement.child() {
        Some(cpu) => context.builder().affinity([cpu]),
        None => context.builder(),
    };
    call.placement.enter()?;
    let child = builder.spawn(follow, (theirs, typed, size, batch)).map_err(failed)?;
    let mut end = End::new(ours, size);
    if typed { traffic.lead_values(&mut end) } else { traffic.lead(&mut end) }?;
    drop(end);
    child.join().map_err(failed)
}
