//! Shared memory by plain system calls, and plain copies: the floor of segments and arrays.
//!
//! `create`: memfd_create, ftruncate, fallocate, F_ADD_SEALS, mmap and sendmsg here, recvmsg and mmap there; nothing is looked at. `copy`: memcpy
//! to and from memory that was made so.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::ptr;

use peers::memory::{Maker, Shelf, copy, create, size};
use peers::protocol::contend;
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// A file and its mapping.
struct Memory {
    file: OwnedFd,
    start: *mut u8,
    size: usize,
}

impl Memory {
    fn new(size: usize) -> io::Result<Self> {
        let file = memfd_create(c"raw", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, size as u64)?;
        fallocate(&file, FallocateFlags::empty(), 0, size as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Self::of(file, size)
    }

    fn of(file: OwnedFd, size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0)? };
        Ok(Self { file, start: start.cast(), size })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        let _ = unsafe { munmap(self.start.cast(), self.size) };
    }
}

/// A socket's end.
struct Raw(OwnedFd);

impl Maker for Raw {
    type Memory = Memory;

    fn make(&mut self, size: usize) -> io::Result<Memory> {
        Memory::new(size)
    }

    fn send(&mut self, memory: &Memory) -> io::Result<()> {
        let files = [memory.file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(&self.0, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn hear(&mut self) -> io::Result<()> {
        match rustix::io::read(&self.0, &mut [0])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Raw {
    /// The child: until the parent's end is closed, which is an error here.
    fn receive(&mut self, size: usize) -> io::Result<()> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let file = control
                .drain()
                .find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
                    _ => None,
                })
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let memory = Memory::of(file, size)?;
            rustix::io::write(&self.0, &[1])?;
            drop(memory);
            rustix::io::write(&self.0, &[1])?;
        }
    }
}

impl Shelf for Memory {
    fn put(&mut self, from: &[u8]) -> io::Result<()> {
        // SAFETY: as many bytes are mapped (the tasks' size), and the two are apart.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.start, from.len()) };
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> io::Result<()> {
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(self.start, into.as_mut_ptr(), into.len()) };
        Ok(())
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let size = size(&call)?;
        match &*call.task {
            "create" => {
                let (ours, theirs) =
                    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
                let mut end = peers::apart(call.placement, Raw(ours), Raw(theirs), |end| end.receive(size))?;
                create(size, &mut end)
            }
            "copy" => {
                call.placement.enter()?;
                copy(size, &mut Memory::new(size)?)
            }
            _ => Err(call.unknown()),
        }
    })
}
