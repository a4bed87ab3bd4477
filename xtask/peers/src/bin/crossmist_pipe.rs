//! crossmist 1.1.2: its duplex channel of byte vectors.
//!
//! Forked by us, so that its channel is measured even where its own start of processes does not work.

use std::io;
use std::process::ExitCode;

use crossmist::{Duplex, duplex};
use peers::protocol::contend;
use peers::traffic::{Bytes, Traffic};

struct End {
    channel: Duplex<Vec<u8>, Vec<u8>>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Bytes for End {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        // It takes vectors only; one that is kept costs a copy, not an allocation.
        self.outgoing.clear();
        self.outgoing.extend_from_slice(message);
        self.channel.send(&self.outgoing)
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        self.incoming = self.channel.recv()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(&self.incoming)
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        let (ours, theirs) = duplex()?;
        let end = |channel| End { channel, outgoing: Vec::new(), incoming: Vec::new() };
        let mut end = peers::apart(call.placement, end(ours), end(theirs), |end| traffic.follow(end))?;
        traffic.lead(&mut end)
    })
}
