//! `crossbeam-channel`: a bounded channel in each direction between two threads of one process, so without anything that processes need. Messages
//! up to 1 KiB are in the channel themselves, longer ones in a box of their own each.

use std::io;
use std::process::ExitCode;

use crossbeam_channel::{Receiver, Sender, bounded};
use peers::protocol::{Call, Placement, contend, pin, serve, timed};
use peers::traffic::{Bytes, Traffic};

/// A message in the channel.
trait Item: Send + 'static {
    fn of(message: &[u8]) -> Self;
    fn bytes(&self) -> &[u8];
}

impl<const N: usize> Item for [u8; N] {
    fn of(message: &[u8]) -> Self {
        let mut item = [0; N];
        item[..message.len()].copy_from_slice(message);
        item
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Item for Box<[u8]> {
    fn of(message: &[u8]) -> Self {
        message.into()
    }

    fn bytes(&self) -> &[u8] {
        self
    }
}

struct End<T> {
    there: Sender<T>,
    back: Receiver<T>,
    buffer: Vec<u8>,
}

impl<T: Item> Bytes for End<T> {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.there.send(T::of(message)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn receive(&mut self, length: usize) -> io::Result<&[u8]> {
        let item = self.back.recv().map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.buffer[..length].copy_from_slice(&item.bytes()[..length]);
        Ok(&self.buffer[..length])
    }
}

fn run<T: Item>(call: &Call, traffic: Traffic) -> io::Result<()> {
    let room = ((1 << 20) / traffic.size.max(64)).clamp(8, 1024);
    let ((there, from_here), (from_there, back)) = (bounded::<T>(room), bounded::<T>(room));
    let buffer = || vec![0; traffic.size.max(8)];
    let child = call.placement.child();
    let mut theirs = End { there: from_there, back: from_here, buffer: buffer() };
    call.placement.enter()?;
    let follower = std::thread::spawn(move || {
        if let Some(cpu) = child {
            let _ = pin(cpu);
        }
        let _ = traffic.follow(&mut theirs);
    });
    let mut end = End { there, back, buffer: buffer() };
    let led = traffic.lead(&mut end);
    drop(end);
    let _ = follower.join();
    led
}

/// Two that put, two that get, one channel; told when, and telling when all is there, by channels of their own.
fn crowd(call: &Call, traffic: Traffic) -> io::Result<()> {
    const EACH: usize = 2;
    type Item = [u8; 64];
    let batch = traffic.batch.ok_or_else(|| call.unknown())?;
    let (put, get) = bounded::<Option<Item>>(1024);
    let (done, is_done) = bounded::<()>(EACH);
    let (putting, getting) = match call.placement {
        Placement::Two { parent, child } => (Some(parent), Some(child)),
        _ => (None, None),
    };
    call.placement.enter()?;
    let mut go = Vec::new();
    for _ in 0..EACH {
        let (tell, told) = bounded::<usize>(1);
        go.push(tell);
        let (put, get, done) = (put.clone(), get.clone(), done.clone());
        std::thread::spawn(move || {
            let _ = putting.map(pin);
            let item = Some([7; 64]);
            for part in told {
                let sent = (0..part).try_for_each(|_| put.send(item)).and_then(|()| put.send(None));
                if sent.is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || {
            let _ = getting.map(pin);
            let mut buffer: Item = [0; 64];
            for item in get {
                match item {
                    Some(item) => buffer.copy_from_slice(std::hint::black_box(&item)),
                    None if done.send(()).is_err() => break,
                    None => _ = std::hint::black_box(&buffer),
                }
            }
        });
    }
    serve(|| {
        let once = || {
            go.iter().try_for_each(|tell| tell.send(batch / EACH)).map_err(|_| io::ErrorKind::BrokenPipe)?;
            (0..EACH).try_for_each(|_| is_done.recv()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(())
        };
        timed(once).map(|(time, ())| time)
    })
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        if call.task == "many-to-many" {
            return crowd(&call, traffic);
        }
        match traffic.size {
            0..=8 => run::<[u8; 8]>(&call, traffic),
            9..=64 => run::<[u8; 64]>(&call, traffic),
            65..=1024 => run::<[u8; 1024]>(&call, traffic),
            _ => run::<Box<[u8]>>(&call, traffic),
        }
    })
}
