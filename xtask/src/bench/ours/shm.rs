//! Our side of group `shm`: segments that go to a child by a `duplex`, and an `Array`.

use std::io;

use ipc_core::{Connection, Context, duplex};
use ipc_shm::{Array, Segment};

use super::failed;
use super::memory::{Maker, Shelf, copy, create, size};
use super::protocol::Call;

/// The parent's end; the child's words are empty messages.
struct Ours(Connection<Segment>);

impl Maker for Ours {
    type Memory = Segment;

    fn make(&mut self, size: usize) -> io::Result<Segment> {
        Segment::new(size).map_err(failed)
    }

    fn send(&mut self, memory: &Segment) -> io::Result<()> {
        self.0.send(memory.clone()).map_err(failed)
    }

    fn hear(&mut self) -> io::Result<()> {
        self.0.recv_into(&mut [0]).map(drop).map_err(failed)
    }
}

/// The child: until the parent's end is closed.
fn receive(connection: Connection<Segment>) {
    while let Ok(segment) = connection.recv() {
        if connection.send_bytes(&[1]).is_err() {
            return;
        }
        drop(segment);
        if connection.send_bytes(&[1]).is_err() {
            return;
        }
    }
}

struct Shared(Array<u8>);

impl Shelf for Shared {
    fn put(&mut self, from: &[u8]) -> io::Result<()> {
        self.0.copy_from_slice(from).map_err(failed)
    }

    fn take(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.0.copy_to_slice(into).map_err(failed)
    }
}

/// Does what group `shm` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    let size = size(call)?;
    call.placement.enter_for_servers()?;
    match &*call.task {
        "create" => {
            let (ours, theirs) = duplex().map_err(failed)?;
            let child = Context::default().builder().spawn(receive, (theirs,)).map_err(failed)?;
            let mut ours = Ours(ours);
            create(size, &mut ours)?;
            drop(ours);
            child.join().map_err(failed)
        }
        "copy" => copy(size, &mut Shared(Array::zeroed(size).map_err(failed)?)),
        _ => Err(call.unknown()),
    }
}
