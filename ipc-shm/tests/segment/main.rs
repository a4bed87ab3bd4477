//! Segments between real processes: limits, descriptors that are none, travelling, freezing, views.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr;

use ipc_core::{Builder, Context, Descriptor, Function, Message, Packed, Receiver, Resource, Sender, pipe};
use ipc_shm::{Arena, Array, Error, Frozen, HugePage, Result, Segment, Value, View};
use ipc_testkit::{GENEROUS, leaks, not_here, wait_until};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use serde::{Deserialize, Serialize};

mod access;
mod descriptors;
mod freezing;
mod limits;
mod travel;

fn exec() -> Builder {
    Context::exec().builder()
}

/// Runs `f` in a process of its own.
#[track_caller]
fn joined<F, A>(builder: Builder, f: F, args: A) -> F::Output
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    builder.spawn(f, args).unwrap().join().unwrap_or_else(|error| panic!("the child: {error}"))
}

#[track_caller]
fn text_of(segment: &Segment, at: usize, len: usize) -> String {
    let mut bytes = vec![0; len];
    segment.read(at, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn inode(fd: &impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

/// How often this process has the file mapped.
fn mappings(fd: &impl AsFd) -> usize {
    let inode = inode(fd).to_string();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.contains("/memfd:") && line.split_ascii_whitespace().nth(4) == Some(&inode))
        .count()
}

/// Whether the kernel lets this process map a file for writing.
fn map_for_writing(fd: &impl AsFd) -> rustix::io::Result<()> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a fresh mapping at an address of the kernel's choice, unmapped before anybody knows of it.
    unsafe { rustix::mm::munmap(rustix::mm::mmap(ptr::null_mut(), 1, protection, flags, fd, 0)?, 1) }
}

/// Runs `f` in a forked copy of this process, which has one thread.
fn forked<R: Message>(f: impl FnOnce() -> R + 'static) -> ipc_core::Child<R> {
    // SAFETY: whoever calls runs in a program of one thread.
    unsafe { Builder::new().fork(f) }.unwrap()
}
