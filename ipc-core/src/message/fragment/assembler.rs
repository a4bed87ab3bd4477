//! The receiving side: packets become messages again.
//!
//! Each unfinished message has an [entry](Unfinished) under its number. The parts of one message come in their order, as one
//! sender sent them one after the other; parts of different messages come in any order.
//!
//! | a packet | what happens |
//! |---|---|
//! | a whole message | it is received, before all that are unfinished |
//! | the first part of a message | an entry |
//! | the next part of an entry | the entry grows; with the last part it is received |
//! | any other part: its message began in another process, or was forgotten | one error; its further parts are read away |
//! | the sender gives the message up | the entry is forgotten |
//! | longer than allowed, or with more descriptors | one error; read away |
//! | with descriptors for which there is no room here | read away; one error when it is complete |
//! | anything else | an error, and that packet is gone |
//! | the end, with entries | an error that says so, then the end |
//!
//! What a peer can have this process remember: [`UNFINISHED`] messages, the oldest of which is forgotten for the next one, each
//! of no more bytes than really arrived, and of no more than the receiver's [limits](Limits); all together [`TOGETHER`] times as many bytes,
//! and no more descriptors than one may have.
//!
//! Bytes move once where that is possible. A receipt is given the place where the next bytes will most likely belong, which
//! is behind those of the message that grew last; if they turn out to belong elsewhere, they are copied there.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::{Resource, getrlimit};

use super::header::{HEADER, Header, Role, malformed};
use super::{Body, LARGEST, Limits, Refused, Scratch, Whole};
use crate::message::Error;
use crate::poll::{Patience, STEPS, Until};
use crate::sys::scatter::{self, Data, Peeked, Room, Scattered};

/// How many messages may be unfinished at a time.
pub(crate) const UNFINISHED: usize = 64;

/// All unfinished messages together have so many times the bytes that one may have: several threads may send long ones at once. Descriptors are
/// few in a process, and together they have no more of them than one may have.
const TOGETHER: u64 = 4;

/// The most that is reserved by a peer's word. Pages that no byte reaches are never touched.
const RESERVE: u64 = 64 << 20;

/// What a receipt found.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message.
    Message(Whole),
    /// None in the time given.
    Nothing,
    /// The peer has closed its end or died, and all it sent has been received.
    Closed,
}

/// The unfinished messages of one receiving end.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The one that grew last is the last.
    entries: VecDeque<Unfinished>,
    /// Received by a look ahead, because another receiver on this socket took what was seen.
    early: VecDeque<Result<Whole, Refused>>,
}

/// A message of which some parts are still to come.
#[derive(Debug)]
struct Unfinished {
    id: u64,
    length: u64,
    /// How many descriptors it has.
    total: u32,
    /// How many bytes came.
    arrived: u64,
    /// How many descriptors came, the lost ones included.
    place: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Its bytes are at the start of the buffer of the caller who is receiving.
    InCaller(Vec<OwnedFd>),
    /// Its bytes are here.
    Here(Vec<u8>, Vec<OwnedFd>),
    /// It is read away, its error told.
    Dropped,
    /// It is read away: descriptors did not arrive, which is told when all are counted. So many did.
    Lost(u32),
}

/// A packet that was received.
struct Packet {
    header: Header,
    /// How many of its bytes went into the room; the rest is in `spill`.
    in_room: usize,
    spill: Scratch,
    descriptors: Vec<OwnedFd>,
    lost: bool,
}

impl Packet {
    fn len(&self) -> usize {
        self.in_room + self.spill.len()
    }
}

impl Assembler {
    /// Whether a part of a message was here, of which more is to come: also of one that is read away.
    pub(crate) fn has_unfinished(&self) -> bool {
        !self.early.is_empty() || !self.entries.is_empty()
    }

    /// The next message, within `limits`; into the caller's buffer, if one is given and it fits.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        mut caller: Option<&mut [u8]>,
        limits: Limits,
        until: Until,
    ) -> Result<Received, Refused> {
        if let Some(early) = self.early.pop_front() {
            return early.map(|Whole { kind, body, descriptors }| {
                let body = self.hand_over(body.into_vec(), caller);
                Received::Message(Whole { kind, body, descriptors })
            });
        }
        let mut patience = Patience::new(until, STEPS);
        let received = loop {
            match self.step(socket, caller.as_deref_mut(), limits, until) {
                Ok(None) if patience.lasts() => {}
                Ok(None) => break Ok(Received::Nothing),
                Ok(Some(received)) => break Ok(received),
                Err(refused) => break Err(refused),
            }
        };
        // The buffer is the caller's again.
        if let Some(buffer) = caller {
            self.move_out(buffer);
        }
        received
    }

    /// Draws in what is no whole message, and leaves the packet in the socket with which the next message is received;
    /// whether there is one (or the end, or an error) in the time given.
    pub(crate) fn poll(
        &mut self,
        socket: BorrowedFd<'_>,
        limits: Limits,
        until: Until,
    ) -> Result<bool, Error> {
        let mut patience = Patience::new(until, STEPS);
        loop {
            if !self.early.is_empty() {
                return Ok(true);
            }
            let mut bytes = [0; HEADER];
            let seen = scatter::peek(socket, &mut bytes, until);
            match seen.map_err(|error| Error::os("look at a message", error))? {
                Peeked::None => return Ok(false),
                Peeked::End => return Ok(true),
                Peeked::Packet(len) if self.completes(&bytes[..len.min(HEADER)], len, limits) => {
                    return Ok(true);
                }
                Peeked::Packet(_) => match self.step(socket, None, limits, Until::Now) {
                    Ok(None | Some(Received::Nothing)) if patience.lasts() => {}
                    Ok(None | Some(Received::Nothing)) => return Ok(false),
                    Ok(Some(Received::Closed)) => return Ok(true),
                    Ok(Some(Received::Message(message))) => self.early.push_back(Ok(message)),
                    Err(refused) => self.early.push_back(Err(refused)),
                },
            }
        }
    }

    /// Whether receiving a packet of `len` bytes that begins like this brings a message or an error.
    fn completes(&self, header: &[u8], len: usize, limits: Limits) -> bool {
        let content = len.saturating_sub(HEADER);
        let Ok(header) = Header::parse(header, content) else { return true };
        let entry = self.entries.iter().find(|entry| entry.id == header.id);
        match (header.role, entry) {
            (Role::Whole, _) => true,
            (Role::GivenUp, _) => false,
            (Role::Part, Some(entry)) if !entry.is_followed_by(&header) => true,
            (Role::Part, Some(Unfinished { content: Content::Dropped, .. })) => false,
            (Role::Part, Some(_)) => header.ends(content),
            (Role::Part, None) => {
                !header.begins() || header.ends(content) || exceeded(&header, limits).is_some()
            }
        }
    }

    /// Receives one packet; `None` where that brought no message.
    fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        mut caller: Option<&mut [u8]>,
        limits: Limits,
        until: Until,
    ) -> Result<Option<Received>, Refused> {
        let mut bytes = [0; HEADER];
        let mut spill = Scratch::take();
        let mut descriptors = Vec::new();
        let room = self.room(caller.as_deref_mut());
        let received = scatter::receive(socket, &mut bytes, room, &mut spill, &mut descriptors, until);
        let data = match received.map_err(|error| Error::os("receive a message", error))? {
            Scattered::None => return Ok(Some(Received::Nothing)),
            Scattered::End => return self.end(),
            Scattered::Data(data) => data,
        };
        crash_point!("receiver: packet taken");
        if let Some(kind) = plain(&bytes, data, &spill, &descriptors)
            && self.entries.is_empty()
            && data.room + spill.len() <= limits.bytes
            && (caller.is_none() || spill.is_empty())
        {
            let body = if caller.is_some() { Body::Caller(data.room) } else { Body::Scratch(spill) };
            return Ok(Some(Received::Message(Whole { kind, body, descriptors })));
        }
        let header = match examine(&bytes[..data.header], data, spill.len(), descriptors.len()) {
            Ok(header) => header,
            Err(error) => {
                self.take_out(data.room, None);
                return Err(error.into());
            }
        };
        let packet = Packet { header, in_room: data.room, spill, descriptors, lost: data.descriptors_lost };
        match header.role {
            Role::Whole => self.whole(packet, caller, limits).map(Some),
            Role::Part => self.part(packet, caller, limits),
            Role::GivenUp => {
                self.entries.retain(|entry| entry.id != header.id);
                Ok(None)
            }
        }
    }

    /// Where the next packet's bytes are to go: behind those of the message that grew last, or into the caller's buffer.
    fn room<'a>(&'a mut self, caller: Option<&'a mut [u8]>) -> Room<'a> {
        let taken = self.callers_taken();
        match self.entries.back_mut() {
            Some(Unfinished { content: Content::Here(bytes, _), .. }) => Room::Spare(bytes),
            Some(Unfinished { content: Content::InCaller(_), arrived, length, .. }) => {
                // Both are within the buffer, or the message would not be there.
                let rest = caller.and_then(|buffer| buffer.get_mut(*arrived as usize..*length as usize));
                Room::Slice(rest.unwrap_or_default())
            }
            _ if taken => Room::Slice(&mut []),
            _ => Room::Slice(caller.unwrap_or_default()),
        }
    }

    /// Takes `len` bytes out of the room again, where they do not belong.
    fn take_out(&mut self, len: usize, caller: Option<&[u8]>) -> Vec<u8> {
        match self.entries.back_mut() {
            Some(Unfinished { content: Content::Here(bytes, _), .. }) => bytes.split_off(bytes.len() - len),
            Some(Unfinished { content: Content::InCaller(_), arrived, .. }) => {
                let at = *arrived as usize;
                caller.and_then(|buffer| buffer.get(at..at + len)).unwrap_or_default().to_vec()
            }
            _ => caller.and_then(|buffer| buffer.get(..len)).unwrap_or_default().to_vec(),
        }
    }

    /// Whether the room is the caller's buffer from its start on.
    fn room_is_callers(&self) -> bool {
        !self.entries.back().is_some_and(Unfinished::is_kept) && !self.callers_taken()
    }

    fn whole(
        &mut self,
        packet: Packet,
        caller: Option<&mut [u8]>,
        limits: Limits,
    ) -> Result<Received, Refused> {
        let Packet { header, in_room, spill, descriptors, lost } = packet;
        let whole_in_caller = self.room_is_callers() && caller.is_some() && spill.is_empty();
        let body = if whole_in_caller {
            Body::Caller(in_room)
        } else if in_room == 0 && caller.is_none() {
            Body::Scratch(spill)
        } else {
            let mut bytes = self.take_out(in_room, caller.as_deref());
            bytes.extend_from_slice(&spill);
            self.hand_over(bytes, caller)
        };
        if let Some(refused) = exceeded(&header, limits) {
            return Err(refused);
        }
        if lost {
            return Err(descriptors_lost(header.total, descriptors.len() as u32));
        }
        Ok(Received::Message(Whole { kind: header.kind, body, descriptors }))
    }

    fn part(
        &mut self,
        packet: Packet,
        mut caller: Option<&mut [u8]>,
        limits: Limits,
    ) -> Result<Option<Received>, Refused> {
        let header = packet.header;
        let Some(at) = self.entries.iter().position(|entry| entry.id == header.id) else {
            return self.begin(packet, caller, limits);
        };
        let last = at + 1 == self.entries.len();
        let kept = self.entries[at].is_kept();
        let (arrived, place) = (self.entries[at].arrived, self.entries[at].place);
        let ends = header.ends(packet.len());
        if !self.entries[at].is_followed_by(&header) {
            self.take_out(packet.in_room, None);
            self.entries.remove(at);
            self.drop_rest(header, ends);
            return Err(Refused::Message(malformed(format_args!(
                "{header:?} where byte {arrived} and descriptor {place} were to follow"
            ))));
        }
        // What did not go where it belongs is copied there.
        let elsewhere = (!last || !kept).then(|| self.take_out(packet.in_room, caller.as_deref()));
        let Some(mut entry) = self.entries.remove(at) else { return Ok(None) };
        let came = packet.descriptors.len() as u32;
        entry.grow(packet, elsewhere, caller.as_deref_mut());
        if !ends {
            entry.make_room()?;
            self.entries.push_back(entry);
            self.forget_beyond(limits);
            return Ok(None);
        }
        match entry.content {
            Content::InCaller(descriptors) => {
                let body = Body::Caller(entry.length as usize);
                Ok(Some(Received::Message(Whole { kind: header.kind, body, descriptors })))
            }
            Content::Here(bytes, descriptors) => {
                let body = self.hand_over(bytes, caller);
                Ok(Some(Received::Message(Whole { kind: header.kind, body, descriptors })))
            }
            Content::Dropped => Ok(None),
            Content::Lost(arrived) => Err(descriptors_lost(header.total, arrived.max(came))),
        }
    }

    /// A part of a message of which nothing is known.
    fn begin(
        &mut self,
        packet: Packet,
        caller: Option<&mut [u8]>,
        limits: Limits,
    ) -> Result<Option<Received>, Refused> {
        let header = packet.header;
        let ends = header.ends(packet.len());
        let refused = if header.begins() {
            exceeded(&header, limits)
        } else {
            Some(Refused::Message(malformed(format_args!(
                "a part of a message whose beginning another process has received, or that was given up here because \
                 more than {UNFINISHED} were unfinished, or too much of them"
            ))))
        };
        if let Some(refused) = refused {
            self.take_out(packet.in_room, None);
            self.drop_rest(header, ends);
            return Err(refused);
        }
        let arrived = packet.len() as u64;
        let place = u32::from(header.here);
        let fits = |buffer: &&mut [u8]| header.length <= buffer.len() as u64;
        let content = if packet.lost {
            self.take_out(packet.in_room, None);
            Content::Lost(packet.descriptors.len() as u32)
        } else if self.room_is_callers() && caller.as_ref().is_some_and(fits) {
            Content::InCaller(packet.descriptors)
        } else {
            let mut bytes = self.take_out(packet.in_room, caller.as_deref());
            bytes.extend_from_slice(&packet.spill);
            Content::Here(bytes, packet.descriptors)
        };
        let mut entry =
            Unfinished { id: header.id, length: header.length, total: header.total, arrived, place, content };
        if let Err(refused) = entry.make_room() {
            self.drop_rest(header, ends);
            return Err(refused);
        }
        self.push(entry);
        if ends {
            // One part alone: no sender of ours does that.
            self.entries.pop_back();
            return Err(Refused::Message(malformed(format_args!("a message in one part"))));
        }
        self.forget_beyond(limits);
        Ok(None)
    }

    /// Whether the caller's buffer holds a part of some message.
    fn callers_taken(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.content, Content::InCaller(_)))
    }

    /// Remembers that no more of a message is wanted.
    fn drop_rest(&mut self, header: Header, ended: bool) {
        if !ended {
            self.push(Unfinished {
                id: header.id,
                length: header.length,
                total: header.total,
                arrived: 0,
                place: 0,
                content: Content::Dropped,
            });
        }
    }

    fn push(&mut self, entry: Unfinished) {
        if self.entries.len() == UNFINISHED {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Forgets the oldest messages while all together are more than they may; never the one that grew last.
    fn forget_beyond(&mut self, limits: Limits) {
        let most = (limits.bytes as u64).saturating_mul(TOGETHER);
        loop {
            let kept = self.entries.iter().filter(|entry| entry.is_kept());
            let (bytes, descriptors) = kept.fold((0_u64, 0_usize), |(bytes, descriptors), entry| {
                (bytes.saturating_add(entry.arrived), descriptors + entry.place as usize)
            });
            let oldest = self.entries.iter().position(Unfinished::is_kept);
            match oldest {
                Some(at) if bytes > most || descriptors > limits.descriptors => {
                    if at + 1 == self.entries.len() {
                        return;
                    }
                    self.entries.remove(at);
                }
                _ => return,
            }
        }
    }

    /// A message that was put together elsewhere, to the caller: into the buffer, if it fits.
    fn hand_over(&mut self, bytes: Vec<u8>, caller: Option<&mut [u8]>) -> Body {
        let Some(buffer) = caller else { return Body::Own(bytes) };
        self.move_out(buffer);
        match buffer.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                Body::Caller(bytes.len())
            }
            None => Body::Own(bytes),
        }
    }

    /// Moves a part of a message out of the caller's buffer.
    fn move_out(&mut self, buffer: &[u8]) {
        for entry in &mut self.entries {
            if let Content::InCaller(descriptors) = &mut entry.content {
                let bytes = buffer.get(..entry.arrived as usize).unwrap_or_default().to_vec();
                entry.content = Content::Here(bytes, std::mem::take(descriptors));
                if entry.make_room().is_err() {
                    entry.content = Content::Dropped;
                }
            }
        }
    }

    /// The peer's end; a message that will stay unfinished is told first.
    fn end(&mut self) -> Result<Option<Received>, Refused> {
        let unfinished = self.entries.iter().rfind(|entry| entry.is_kept());
        let told =
            unfinished.map(|entry| Refused::Unfinished { arrived: entry.arrived, length: entry.length });
        self.entries.clear();
        told.map_or(Ok(Some(Received::Closed)), Err)
    }
}

impl Unfinished {
    fn is_kept(&self) -> bool {
        matches!(self.content, Content::InCaller(_) | Content::Here(..))
    }

    /// Whether this is the header of its next part; of what is read away any other will do.
    fn is_followed_by(&self, header: &Header) -> bool {
        let in_order = !self.is_kept() || (header.offset, header.place) == (self.arrived, self.place);
        in_order && (header.length, header.total) == (self.length, self.total)
    }

    /// Takes the next part; `elsewhere` are those of its bytes that are not yet where they belong.
    fn grow(&mut self, packet: Packet, elsewhere: Option<Vec<u8>>, caller: Option<&mut [u8]>) {
        let at = self.arrived as usize;
        self.arrived = self.arrived.saturating_add(packet.len() as u64);
        // Of what is read away nobody compares it, and a peer may count as far as it likes.
        self.place = self.place.saturating_add(u32::from(packet.header.here));
        let foreign = elsewhere.unwrap_or_default();
        match &mut self.content {
            Content::InCaller(descriptors) => {
                let at = if foreign.is_empty() { at + packet.in_room } else { at };
                for (place, byte) in caller
                    .and_then(|buffer| buffer.get_mut(at..))
                    .unwrap_or_default()
                    .iter_mut()
                    .zip(foreign.iter().chain(packet.spill.iter()))
                {
                    *place = *byte;
                }
                descriptors.extend(packet.descriptors);
            }
            Content::Here(bytes, descriptors) => {
                bytes.extend_from_slice(&foreign);
                bytes.extend_from_slice(&packet.spill);
                descriptors.extend(packet.descriptors);
            }
            Content::Dropped => return,
            Content::Lost(arrived) => {
                *arrived = arrived.saturating_add(packet.descriptors.len() as u32);
                return;
            }
        }
        if packet.lost {
            let arrived = match &self.content {
                Content::InCaller(descriptors) | Content::Here(_, descriptors) => descriptors.len(),
                _ => 0,
            };
            self.content = Content::Lost(arrived as u32);
        }
    }

    /// Sees to it that the next part has a place.
    fn make_room(&mut self) -> Result<(), Refused> {
        let Content::Here(bytes, _) = &mut self.content else { return Ok(()) };
        let left = self.length - self.arrived;
        if bytes.capacity() - bytes.len() < left.min(LARGEST as u64) as usize {
            let more = left.min(RESERVE.max(bytes.len() as u64));
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            bytes.try_reserve_exact(more).map_err(|_| Refused::NoMemory { length: self.length })?;
        }
        Ok(())
    }
}

/// The kind of a packet that is a whole message without descriptors, as nearly all are.
fn plain(bytes: &[u8; HEADER], data: Data, spill: &[u8], descriptors: &[OwnedFd]) -> Option<u16> {
    let as_it_should =
        data.header == HEADER && !data.truncated && !data.descriptors_lost && descriptors.is_empty();
    as_it_should.then(|| Header::parse_plain(bytes, data.room + spill.len())).flatten()
}

/// The header of a packet, compared with what arrived.
fn examine(bytes: &[u8], data: Data, spilled: usize, descriptors: usize) -> Result<Header, Error> {
    let header = Header::parse(bytes, data.room + spilled)?;
    if data.truncated {
        return Err(malformed(format_args!("a packet of more than {LARGEST} bytes")));
    }
    if !data.descriptors_lost && descriptors != usize::from(header.here) {
        return Err(malformed(format_args!(
            "a packet with {descriptors} descriptors that announces {}",
            header.here
        )));
    }
    Ok(header)
}

/// What of a message is beyond the limits.
fn exceeded(header: &Header, limits: Limits) -> Option<Refused> {
    if header.length > limits.bytes as u64 {
        return Some(Refused::TooLong { length: header.length });
    }
    let total = header.total;
    (total as usize > limits.descriptors).then_some(Refused::TooManyDescriptors { total })
}

fn descriptors_lost(sent: u32, arrived: u32) -> Refused {
    Refused::Message(Error::DescriptorsLost { sent, arrived, limit: getrlimit(Resource::Nofile).current })
}

#[cfg(test)]
mod tests;
