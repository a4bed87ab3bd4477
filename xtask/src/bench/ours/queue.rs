//! Our side of group `queue`: a `Queue` of `Bytes` in each direction, and one child.

use std::io;

use ipc_core::{Bytes, Context};
use ipc_sync::{Queue, QueueReceiver, QueueSender};

use super::protocol::Call;
use super::traffic::{self, Traffic};
use super::{crowd, failed, ring};

/// One side: where it puts, where it gets, and what it has got.
struct End {
    there: QueueSender<Bytes>,
    back: QueueReceiver<Bytes>,
    buffer: Vec<u8>,
}

impl traffic::Bytes for End {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.there.put_bytes(message).map_err(failed)
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.back.get_into(&mut self.buffer).map_err(failed)?;
        Ok(&self.buffer)
    }
}

/// The same, many at a time.
struct Many {
    end: End,
    most: usize,
    /// What is to be put: the first `waiting` of these.
    pending: Vec<Box<[u8]>>,
    waiting: usize,
    /// Where the items end that were got, and which is the next.
    ends: Vec<usize>,
    next: usize,
}

impl Many {
    fn flush(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.end.there.put_many_bytes(&self.pending[..waiting]).map_err(failed)
    }
}

impl traffic::Bytes for Many {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self.pending.get_mut(self.waiting) {
            Some(place) if place.len() == message.len() => place.copy_from_slice(message),
            Some(place) => *place = message.into(),
            None => self.pending.push(message.into()),
        }
        self.waiting += 1;
        if self.waiting < self.most && message.len() > 8 {
            return Ok(());
        }
        self.flush()
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        self.flush()?;
        if self.next == self.ends.len() {
            self.end.buffer.clear();
            self.ends.clear();
            self.next = 0;
            self.end.back.get_many_into(self.most, &mut self.end.buffer, &mut self.ends).map_err(failed)?;
        }
        let begin = match self.next {
            0 => 0,
            next => self.ends[next - 1],
        };
        self.next += 1;
        Ok(&self.end.buffer[begin..self.ends[self.next - 1]])
    }
}

type Halves = (QueueSender<Bytes>, QueueReceiver<Bytes>);

/// Leads, or follows.
fn run((there, back): Halves, traffic: Traffic, many: usize, leads: bool) -> io::Result<()> {
    let mut end = End { there, back, buffer: Vec::new() };
    if many > 1 {
        let (pending, ends) = (Vec::new(), Vec::new());
        let mut end = Many { end, most: many, pending, waiting: 0, ends, next: 0 };
        return if leads { traffic.lead(&mut end) } else { traffic.follow(&mut end) };
    }
    if leads { traffic.lead(&mut end) } else { traffic.follow(&mut end) }
}

/// The child: until the other side is gone, which is an error here.
fn follow(halves: Halves, size: usize, batch: Option<usize>, many: usize) {
    let _ = run(halves, Traffic { typed: false, size, batch }, many, false);
}

/// Does what group `queue` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    match call.more.last().map(String::as_str) {
        Some("crowd") => return crowd::run(call),
        Some("ring") => return ring::run(call, false),
        Some("loan") => return ring::run(call, true),
        _ => {}
    }
    let traffic = Traffic::of(call)?;
    let many = call.more.get(2).and_then(|text| text.parse().ok()).ok_or_else(|| call.unknown())?;
    // As long as the ring that it is compared with.
    let bytes = (8 * traffic.size).max(1 << 20);
    let queue = || Queue::builder().items(100_000).bytes(bytes).make().map_err(failed);
    let ((there, from_here), (from_there, back)) = (queue()?.split(), queue()?.split());
    let context = Context::default();
    let builder = match call.placement.child() {
        Some(cpu) => context.builder().affinity([cpu]),
        None => context.builder(),
    };
    call.placement.enter()?;
    let child = builder
        .spawn(follow, ((from_there, from_here), traffic.size, traffic.batch, many))
        .map_err(failed)?;
    run((there, back), traffic, many, true)?;
    child.join().map_err(failed)
}
