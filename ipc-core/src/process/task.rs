//! What the kernel tells of the calling thread, in its directory of /proc (proc(5)): opened once, read several times.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The calling thread's directory in /proc.
pub(super) struct Task(OwnedFd);

impl Task {
    pub(super) fn open() -> io::Result<Task> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Task(openat(CWD, c"/proc/thread-self", flags, Mode::empty())?))
    }

    /// A whole file of it.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(4096);
        loop {
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
                // /proc gives a short file at once; what comes up short of the room given is the end.
                Ok(0) => return Ok(text),
                Ok(_) if text.len() == text.capacity() => text.reserve(4096),
                Ok(_) => return Ok(text),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where a link of it points.
    pub(super) fn link<'a>(
        &self,
        name: &std::ffi::CStr,
        room: &'a mut [std::mem::MaybeUninit<u8>],
    ) -> io::Result<&'a [u8]> {
        let (target, _) = rustix::fs::readlinkat_raw(&self.0, name, room)?;
        Ok(target)
    }
}

/// The value of a line of /proc/PID/status.
pub(super) fn field<'a>(status: &'a [u8], name: &str) -> Option<&'a [u8]> {
    status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":\t"))
}
