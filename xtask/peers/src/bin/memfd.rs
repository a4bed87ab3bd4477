//! A fresh memfd a message: the other way to send much at once.
//!
//! Create, write, seal, send the descriptor; over there map, copy out, unmap. Acknowledgements are plain packets on the
//! same socket. The receiver looks at the size before it maps, and needs not look at the seals: it copies before it looks.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::ptr;

use peers::protocol::contend;
use peers::traffic::{Bytes, Traffic};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// What is shorter goes as a packet: the acknowledgement.
const LEAST: usize = 9;

struct Sealed {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Bytes for Sealed {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if message.len() < LEAST {
            rustix::io::write(&self.socket, message)?;
            return Ok(());
        }
        let memory = memfd_create("message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut written = 0;
        while written < message.len() {
            written += rustix::io::write(&memory, &message[written..])?;
        }
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let memory = [std::os::fd::AsFd::as_fd(&memory)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&memory));
        sendmsg(&self.socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive(&mut self, length: usize) -> io::Result<&[u8]> {
        let into = &mut self.buffer[..length];
        if length < LEAST {
            let received = rustix::io::read(&self.socket, &mut *into)?;
            return Ok(&into[..received]);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&self.socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let memory = control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
                _ => None,
            })
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if fstat(&memory)?.st_size as usize != length {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a fresh private mapping of a file that is as long; the sender cannot shrink it any more.
        let mapped =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, &memory, 0)? };
        // SAFETY: both are valid for `length` bytes and are apart.
        unsafe { ptr::copy_nonoverlapping(mapped.cast::<u8>(), into.as_mut_ptr(), length) };
        // SAFETY: nothing refers to the mapping any more.
        unsafe { munmap(mapped, length)? };
        Ok(into)
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let end = |socket| Sealed { socket, buffer: vec![0; traffic.size.max(8)] };
        let mut end = peers::apart(call.placement, end(ours), end(theirs), |end| traffic.follow(end))?;
        traffic.lead(&mut end)
    })
}
