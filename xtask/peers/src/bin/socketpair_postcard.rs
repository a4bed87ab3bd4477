//! A raw socket pair and bare postcard: the floor for values.
//!
//! Each value is encoded into a buffer that is kept, goes out as one packet by one `write`, comes in by one `read` into a
//! buffer that is kept, and is decoded from there. Packets hold what these tasks send with room to spare.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use peers::parcel::{Parcel, Values};
use peers::protocol::contend;
use peers::traffic::Traffic;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

struct Encoded {
    socket: OwnedFd,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Values for Encoded {
    fn send(&mut self, parcel: Parcel) -> io::Result<()> {
        self.outgoing.clear();
        self.outgoing =
            postcard::to_extend(&parcel, std::mem::take(&mut self.outgoing)).map_err(io::Error::other)?;
        rustix::io::write(&self.socket, &self.outgoing)?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Parcel> {
        let length = rustix::io::read(&self.socket, &mut self.incoming[..])?;
        postcard::from_bytes(&self.incoming[..length]).map_err(io::Error::other)
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let end = |socket| Encoded { socket, outgoing: Vec::new(), incoming: vec![0; 2 * traffic.size + 64] };
        let mut end = peers::apart(call.placement, end(ours), end(theirs), |end| traffic.follow_values(end))?;
        traffic.lead_values(&mut end)
    })
}
