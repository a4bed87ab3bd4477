//! A raw socket pair: the least that a pipe of ours can be, and the floor that it is compared with.
//!
//! Plain blocking `write` and `read` on a pair from `socketpair`, nothing set. Named after size and batch is the kind:
//! `seqpacket`, where a message is a packet and a read, or `stream`, where a reader knows the length and reads until it
//! has it. No header, no length, no check: both sides know what comes.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use peers::protocol::contend;
use peers::traffic::{Bytes, Traffic};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

struct Raw {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Bytes for Raw {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < message.len() {
            sent += rustix::io::write(&self.socket, &message[sent..])?;
        }
        Ok(())
    }

    fn receive(&mut self, length: usize) -> io::Result<&[u8]> {
        let mut received = 0;
        while received < length {
            match rustix::io::read(&self.socket, &mut self.buffer[received..length])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => received += some,
            }
        }
        Ok(&self.buffer[..length])
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        let kind = match call.more.last().map(String::as_str) {
            Some("seqpacket") => SocketType::SEQPACKET,
            Some("stream") => SocketType::STREAM,
            _ => return Err(call.unknown()),
        };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let end = |socket| Raw { socket, buffer: vec![0; traffic.size.max(8)] };
        let mut end = peers::apart(call.placement, end(ours), end(theirs), |end| traffic.follow(end))?;
        traffic.lead(&mut end)
    })
}
