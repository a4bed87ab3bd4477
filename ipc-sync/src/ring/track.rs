//! The ring's words in shared memory, and what is done with them: all but the bytes themselves.
//!
//! A ring is a row of *lines* of 64 bytes, a power of two of them. A message takes as many as it needs, at least one, that stand one after the other: where too few are left before the
//! row's end, they are skipped. What stands in a line where a message begins is told by a table beside them, a word for each line:
//!
//! | header | means |
//! |---|---|
//! | kind `VALUE`, length | a value begins here, encoded |
//! | kind `BYTES`, length | bytes begin here |
//! | kind `SKIP` | nothing, up to the row's end |
//!
//! Two *indices* count lines, from the beginning of time, so that the line is an index modulo their number. Each has one writer, and there is nothing that
//! both sides write but marks of who sleeps:
//!
//! | index | written by | lines before it |
//! |---|---|---|
//! | `sent` | the sender | are published: their headers and bytes are there |
//! | `received` | the receiver | are free again |
//!
//! Their lowest bit says that the side has closed. So a message is published by one store, after all of it is written, and lines are given back by
//! one store, after they were read: who is killed has done either or has not. Each side keeps a copy of the other's index and looks at that only when
//! the copy has nothing more for it.
//!
//! Beside the index each side has a [`Post`]: the gate that it sleeps at, and the bell that it wants rung.
//!
//! Nothing that stands here is believed: what does not fit is a [`Fault::Corrupt`].

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ipc_core::primitive::sync::atomic::{AtomicU32, AtomicU64, fence};
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, Node, System};

use crate::waiting::Place;

/// Bytes of a line.
pub const LINE: usize = 64;

/// A header says a length in its low bits, and a kind above.
const KIND: u32 = 56;

/// The bit of an index that says that its side has closed.
const CLOSED: u64 = 1;

/// What begins in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value, encoded.
    Value = 1,
    /// Bytes as they are.
    Bytes = 2,
    /// Nothing, up to the row's end.
    Skip = 3,
}

/// Eight words: of a message, or of the table of headers.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Line(pub [AtomicU64; 8]);

impl Line {
    /// All zero.
    #[allow(clippy::new_without_default, reason = "for models; else it is made by zeroing")]
    pub fn new() -> Line {
        Line(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// What one side has told the other.
#[repr(C, align(64))]
#[derive(Debug)]
struct Index(AtomicU64);

/// Where one side is reached: it writes here when it is about to sleep, and the other side looks here whenever it has done something. So it is a cache
/// line that seldom changes.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Post {
    /// Where it sleeps.
    gate: Node,
    /// Not 0: it waits for its descriptor, which is to be made readable.
    bell: AtomicU32,
    /// Not 0: it has closed. The same as the bit of its index, for a sender, who need not look at that as long as there is room.
    closed: AtomicU32,
    /// How often the end has come to another process: who has it knows this number, and nobody else.
    pub seat: AtomicU32,
    /// Where it runs.
    pub(crate) place: Place,
}

impl Post {
    fn new() -> Post {
        Post {
            gate: Node::new(),
            bell: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            seat: AtomicU32::new(0),
            place: Place::new(),
        }
    }

    /// From now on the other side makes the descriptor readable when it does something. Who calls this looks again afterwards.
    pub fn arm(&self) {
        if self.bell.load(Relaxed) == 0 && !mutant::is("the bell is not armed") {
            self.bell.store(1, Relaxed);
        }
        if !mutant::is("the bell is armed without a fence") {
            fence(SeqCst);
        }
    }

    /// Whether the descriptor is to be made readable, by the one who gets this answer. After a change and a fence.
    #[inline(always)]
    fn is_to_be_rung(&self) -> bool {
        self.bell.load(Relaxed) != 0 && self.bell.swap(0, SeqCst) != 0
    }
}

/// What stands in shared memory before the lines.
///
/// What one side writes often stands two cache lines apart, for processors that fetch them in pairs.
#[repr(C)]
#[derive(Debug)]
pub struct RawRing {
    sent: Index,
    /// Where the receiver is reached.
    pub receiver: Post,
    received: Index,
    /// Where the sender is reached.
    pub sender: Post,
}

/// Why nothing comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The other side has closed, and there is nothing left.
    Closed,
    /// Somebody has written over the ring.
    Corrupt(&'static str),
}

/// What the sender knows by itself, in its own memory.
#[derive(Debug)]
pub struct Sending {
    /// So many lines have been published.
    sent: u64,
    /// So many lines are free again, as it was when it last looked.
    received: u64,
    lines: u64,
}

/// What the receiver knows by itself, in its own memory.
#[derive(Debug)]
pub struct Receiving {
    /// So many lines have been read.
    received: u64,
    /// So many lines are published, as it was when it last looked.
    sent: u64,
    lines: u64,
}

impl Receiving {
    /// Whether there is more than this message, as far as was seen.
    #[inline(always)]
    pub fn has_more_than(&self, frame: Frame) -> bool {
        self.sent != frame.end
    }
}

/// Lines for a message that is not published yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line at which it begins, of those there are.
    pub line: usize,
    begin: u64,
    /// The index after it.
    pub end: u64,
}

impl Spot {
    /// The first lines of it, for a shorter message than there was room for.
    pub fn shortened(self, lines: u64) -> Spot {
        Spot { end: self.end.min(self.begin.wrapping_add(lines)), ..self }
    }
}

/// A message that has not been given back yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: usize,
    /// The line at which it begins, of those there are.
    pub line: usize,
    /// The index after it.
    end: u64,
}

impl Frame {
    /// The index of its first line.
    pub fn begin(self) -> u64 {
        self.end.wrapping_sub(lines_of(self.len))
    }

    /// The index after it.
    pub fn end(self) -> u64 {
        self.end
    }
}

/// How many lines so many bytes take.
pub fn lines_of(len: usize) -> u64 {
    (len.div_ceil(LINE) as u64).max(1)
}

/// The longest message that a ring of so many lines takes, in bytes. More would not find its lines in a row wherever the ring stands, though all were
/// free.
pub fn longest(lines: u64) -> usize {
    (lines as usize / 2) * LINE
}

impl RawRing {
    /// Empty; but for models, it is made by zeroing.
    #[allow(clippy::new_without_default, reason = "for models; else it is made by zeroing")]
    pub fn new() -> RawRing {
        RawRing {
            sent: Index(AtomicU64::new(0)),
            receiver: Post::new(),
            received: Index(AtomicU64::new(0)),
            sender: Post::new(),
        }
    }

    /// Both indices, if they fit to each other: that of the one who asks, which only he writes, and the other.
    fn indices(&self, lines: u64) -> Result<(u64, u64), Fault> {
        let [sent, received] = [&self.sent, &self.received].map(|index| index.0.load(Acquire) >> 1);
        if sent.wrapping_sub(received) > lines {
            return Err(Fault::Corrupt("its indices do not fit to each other"));
        }
        Ok((sent, received))
    }

    /// What a sender begins with that has just come to the ring.
    ///
    /// # Errors
    /// [`Fault::Corrupt`]: the indices do not fit to each other.
    pub fn sending(&self, lines: u64) -> Result<Sending, Fault> {
        let (sent, received) = self.indices(lines)?;
        Ok(Sending { sent, received, lines })
    }

    /// What a receiver begins with that has just come to the ring.
    ///
    /// # Errors
    /// As [`sending`](RawRing::sending).
    pub fn receiving(&self, lines: u64) -> Result<Receiving, Fault> {
        let (sent, received) = self.indices(lines)?;
        Ok(Receiving { sent, received, lines })
    }

    /// Lines for a message of so many, behind what is written up to `begin` but not published; `None` where there is no room. Those before the row's end that
    /// are too few are skipped, in the table.
    ///
    /// # Errors
    /// See [`Fault`].
    #[inline]
    pub fn room(
        &self,
        table: &[Line],
        side: &mut Sending,
        begin: u64,
        lines: u64,
    ) -> Result<Option<Spot>, Fault> {
        if self.receiver.closed.load(Relaxed) != 0 {
            return Err(Fault::Closed);
        }
        let left = side.lines - (begin & (side.lines - 1));
        let skipped = if left < lines { left } else { 0 };
        let end = begin.wrapping_add(skipped + lines);
        if end.wrapping_sub(side.received) > side.lines {
            let word = self.received.0.load(Acquire);
            if word & CLOSED != 0 {
                return Err(Fault::Closed);
            }
            let received = word >> 1;
            // It may have moved on, as far as was published.
            if received.wrapping_sub(side.received) > side.sent.wrapping_sub(side.received) {
                return Err(Fault::Corrupt("more has been received than was sent"));
            }
            side.received = received;
            if end.wrapping_sub(received) > side.lines && !mutant::is("the ring is never full") {
                return Ok(None);
            }
        }
        if skipped != 0 {
            self.write_header(table, side, begin, Kind::Skip, 0);
        }
        let begin = begin.wrapping_add(skipped);
        Ok(Some(Spot { line: (begin & (side.lines - 1)) as usize, begin, end }))
    }

    /// Says in the table what will be in lines that [`room`](RawRing::room) has given.
    #[inline]
    pub fn frame(&self, table: &[Line], side: &Sending, spot: Spot, kind: Kind, len: usize) {
        self.write_header(table, side, spot.begin, kind, len);
    }

    #[inline(always)]
    fn write_header(&self, table: &[Line], side: &Sending, index: u64, kind: Kind, len: usize) {
        let at = (index & (side.lines - 1)) as usize;
        if let Some(word) = table.get(at / 8).map(|line| &line.0[at % 8]) {
            word.store((kind as u64) << KIND | len as u64, Relaxed);
        }
    }

    /// So far everything is written: the receiver may see it, and is woken if it sleeps. Says whether its descriptor is to be made readable.
    #[inline]
    pub fn publish<S: System>(&self, system: &S, side: &mut Sending, end: u64) -> bool {
        if end == side.sent {
            return false;
        }
        side.sent = end;
        self.tell(system, &self.sent, &self.receiver, end << 1)
    }

    /// So many lines as nothing has been published for.
    pub fn begin(&self, side: &Sending) -> u64 {
        side.sent
    }

    #[inline(always)]
    fn tell<S: System>(&self, system: &S, index: &Index, other: &Post, word: u64) -> bool {
        let order = if mutant::is("an index is told too early") { Relaxed } else { Release };
        if mutant::is("nobody is woken") {
            index.0.store(word, order);
            return false;
        }
        gate::attempt(system, &other.gate, 1, || (true, index.0.store(word, order)));
        // After the fence of the gate.
        other.is_to_be_rung()
    }

    /// The next message; `None` where there is none yet. It stays there until it is [given back](RawRing::give_back).
    ///
    /// # Errors
    /// See [`Fault`].
    #[inline]
    pub fn next(&self, table: &[Line], side: &mut Receiving) -> Result<Option<Frame>, Fault> {
        loop {
            let mut there = side.sent.wrapping_sub(side.received);
            if there == 0 {
                let order = if mutant::is("an index is read too early") { Relaxed } else { Acquire };
                let word = self.sent.0.load(order);
                there = (word >> 1).wrapping_sub(side.received);
                if there > side.lines {
                    return Err(Fault::Corrupt("more has been sent than there is room for"));
                }
                side.sent = word >> 1;
                if there == 0 {
                    return if word & CLOSED != 0 { Err(Fault::Closed) } else { Ok(None) };
                }
            }
            let line = (side.received & (side.lines - 1)) as usize;
            let header = table.get(line / 8).map_or(0, |words| words.0[line % 8].load(Relaxed));
            let left = side.lines - line as u64;
            let len = header & ((1 << KIND) - 1);
            let kind = match header >> KIND {
                1 => Kind::Value,
                2 => Kind::Bytes,
                // Something follows, or it would not have been published.
                3 if len == 0 && left < there => {
                    side.received = side.received.wrapping_add(left);
                    continue;
                }
                _ => return Err(Fault::Corrupt("where a message should begin is none")),
            };
            if len > (there.min(left) * LINE as u64) {
                return Err(Fault::Corrupt("a message is longer than what was sent"));
            }
            let end = side.received.wrapping_add(lines_of(len as usize));
            return Ok(Some(Frame { kind, len: len as usize, line, end }));
        }
    }

    /// Whether the receiver has something to look at: a message, or the end.
    pub fn has_news(&self, side: &Receiving) -> bool {
        side.sent != side.received || self.sent.0.load(Acquire) != side.received << 1
    }

    /// Whether the receiver has given something back, or closed, since the sender last looked.
    pub fn has_moved(&self, side: &Sending) -> bool {
        self.received.0.load(Acquire) != side.received << 1
    }

    /// A message has been read: its lines are free, and the sender is woken if it sleeps. Says whether its descriptor is to be made readable.
    #[inline]
    pub fn give_back<S: System>(&self, system: &S, side: &mut Receiving, frame: Frame) -> bool {
        side.received = frame.end;
        self.tell(system, &self.received, &self.sender, frame.end << 1)
    }

    /// No more will be sent, and who waits for it is woken.
    pub fn close_sending<S: System>(&self, system: &S, side: &Sending) {
        self.tell(system, &self.sent, &self.receiver, side.sent << 1 | CLOSED);
    }

    /// No more will be received, and who waits for it is woken.
    pub fn close_receiving<S: System>(&self, system: &S, side: &Receiving) {
        self.receiver.closed.store(1, Relaxed);
        self.tell(system, &self.received, &self.sender, side.received << 1 | CLOSED);
    }

    /// Sleeps until `look` finds something in what the sender has told, or the time is over.
    pub fn sleep_receiver<S: System, T>(
        &self,
        system: &S,
        until: Until,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        gate::wait(system, &self.receiver.gate, &self.sent.0, until, |_| look(), |_| false)
    }

    /// Sleeps until `look` finds something in what the receiver has told, or the time is over.
    pub fn sleep_sender<S: System, T>(
        &self,
        system: &S,
        until: Until,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        gate::wait(system, &self.sender.gate, &self.received.0, until, |_| look(), |_| false)
    }
}
