//! Hand-written shared memory: the floor of what a queue can be. Named after size and batch is the kind:
//!
//! | kind | what it is |
//! |---|---|
//! | `ring` | one ring in each direction, of places as long as the message: each index has one writer and a cache line of its own, each side remembers the other's; who waits looks, and gives way after 2,000 looks |
//! | `memcpy` | copies into memory as long as such a ring, by one process alone |
//! | `futex` | one word in each direction that is waited for and woken, and the message beside it: for one at a time |

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::io;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use peers::in_shared_memory;
use peers::protocol::{contend, serve, timed};
use peers::traffic::{Bytes, Traffic};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::thread::futex;

#[repr(C, align(128))]
#[derive(Default)]
struct Apart<T>(T);

#[derive(Default)]
struct Indices {
    written: Apart<AtomicUsize>,
    read: Apart<AtomicUsize>,
}

/// One direction.
#[derive(Clone, Copy)]
struct Way {
    indices: &'static Indices,
    memory: *mut u8,
    place: usize,
    places: usize,
}

impl Way {
    fn new(size: usize) -> io::Result<Way> {
        let place = size.next_multiple_of(64);
        let places = ((8 * size).max(1 << 20) / place).next_power_of_two() / 2;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let memory =
            unsafe { mmap_anonymous(ptr::null_mut(), place * places, protection, MapFlags::SHARED)? };
        Ok(Way { indices: in_shared_memory(Indices::default())?, memory: memory.cast(), place, places })
    }

    fn at(&self, index: usize) -> *mut u8 {
        // SAFETY: within the mapping, which has so many places.
        unsafe { self.memory.add(index % self.places * self.place) }
    }
}

fn until(done: impl Fn() -> bool) {
    let mut looks = 0;
    while !done() {
        looks += 1;
        if looks > 2_000 { std::thread::yield_now() } else { spin_loop() }
    }
}

struct Ring {
    there: Way,
    back: Way,
    written: usize,
    read_there: usize,
    read: usize,
    written_there: usize,
    buffer: Vec<u8>,
}

impl Bytes for Ring {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let Way { indices, places, .. } = self.there;
        if self.written - self.read_there == places {
            until(|| indices.read.0.load(Acquire) != self.read_there);
            self.read_there = indices.read.0.load(Acquire);
        }
        // SAFETY: the place was read, or never written; it is as long as a message.
        unsafe { ptr::copy_nonoverlapping(message.as_ptr(), self.there.at(self.written), message.len()) };
        self.written += 1;
        indices.written.0.store(self.written, Release);
        Ok(())
    }

    fn receive(&mut self, length: usize) -> io::Result<&[u8]> {
        let indices = self.back.indices;
        if self.read == self.written_there {
            until(|| indices.written.0.load(Acquire) != self.read);
            self.written_there = indices.written.0.load(Acquire);
        }
        // SAFETY: the place was written, and is not written again before it was read.
        unsafe { ptr::copy_nonoverlapping(self.back.at(self.read), self.buffer.as_mut_ptr(), length) };
        self.read += 1;
        indices.read.0.store(self.read, Release);
        Ok(&self.buffer[..length])
    }
}

/// A word, and what it is told with.
#[derive(Default)]
struct Told {
    word: AtomicU32,
    message: UnsafeCell<[u8; 8]>,
}

struct Futex {
    there: &'static Told,
    back: &'static Told,
    seen: u32,
    buffer: [u8; 8],
}

impl Bytes for Futex {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let message = message.first_chunk().ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the other side waits for the word.
        unsafe { *self.there.message.get() = *message };
        self.there.word.fetch_add(1, Release);
        let _ = futex::wake(&self.there.word, futex::Flags::empty(), 1);
        Ok(())
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        while self.back.word.load(Acquire) == self.seen {
            let _ = futex::wait(&self.back.word, futex::Flags::empty(), self.seen, None);
        }
        self.seen = self.back.word.load(Relaxed);
        // SAFETY: the other side has told it, and waits for the answer.
        self.buffer = unsafe { *self.back.message.get() };
        Ok(&self.buffer)
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        match call.more.last().map(String::as_str) {
            Some("ring") => {
                let (one, other) = (Way::new(traffic.size.max(8))?, Way::new(traffic.size.max(8))?);
                let end = |there, back| Ring {
                    there,
                    back,
                    written: 0,
                    read_there: 0,
                    read: 0,
                    written_there: 0,
                    buffer: vec![0; traffic.size.max(8)],
                };
                let mut end = peers::apart(call.placement, end(one, other), end(other, one), |end| {
                    traffic.follow(end)
                })?;
                traffic.lead(&mut end)
            }
            Some("memcpy") => {
                let way = Way::new(traffic.size)?;
                let (message, mut written) = (vec![7; traffic.size], 0);
                let batch = traffic.batch.ok_or_else(|| call.unknown())?;
                call.placement.enter()?;
                serve(|| {
                    let copies = || {
                        for _ in 0..batch {
                            // SAFETY: the place is as long as a message, and nobody else has it.
                            unsafe {
                                ptr::copy_nonoverlapping(message.as_ptr(), way.at(written), message.len())
                            };
                            written += 1;
                        }
                        Ok(())
                    };
                    timed(copies).map(|(time, ())| time)
                })
            }
            Some("futex") => {
                let (one, other) = (in_shared_memory(Told::default())?, in_shared_memory(Told::default())?);
                let end = |there, back| Futex { there, back, seen: 0, buffer: [0; 8] };
                let mut end = peers::apart(call.placement, end(one, other), end(other, one), |end| {
                    traffic.follow(end)
                })?;
                traffic.lead(&mut end)
            }
            _ => Err(call.unknown()),
        }
    })
}
