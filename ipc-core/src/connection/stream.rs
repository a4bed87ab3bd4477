//! Frames over a socket of bytes, which is what TCP is.
//!
//! | bytes | |
//! |---|---|
//! | 8 | the length of the rest, little-endian: content and kind |
//! | any | the content |
//! | 1 | its kind |
//!
//! Nothing is read beyond the frame that is being received, so that the descriptor is ready exactly when the next one has begun to arrive.
//! The kind comes last so that every frame has a last byte: `poll` takes in all of a frame but that one, and looks
//! whether it is there. Whoever then polls the descriptor finds it ready, as it should be.
//!
//! A stream has no whole messages by itself. A frame that arrived in part waits for the rest, over as many calls as it takes; one that is
//! too long is skipped as its bytes come. What is no frame is an error once, and then the end, as nobody knows where the next one begins. A frame that was *sent* in part, when the time was over, cannot be taken back: the
//! sending direction ends there, and both sides are told; the same of a future that is dropped in the middle. So a deadline over TCP should be one after which the connection is given
//! up; on Unix sockets it costs nothing.
//!
//! Memory follows what has arrived, and never the length that is claimed.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};

use super::channel::Kind;
use super::turn::{self, Turn};
use crate::error::{Error, Ran, Result};
use crate::message::fragment::{Body, Whole};
use crate::poll::{self, Patience, STEPS, Until};

mod decoder;

pub use decoder::{Decoder, Found, HEADER, frame};

/// A connected `SOCK_STREAM` socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    receiving: Turn<Receiving>,
    sending: Turn<Sending>,
}

#[derive(Debug, Default)]
struct Sending {
    /// Whether a frame was sent in part, which ends the direction.
    torn: bool,
    /// What is not sent yet of a frame that a future has begun: it goes before all others.
    rest: Vec<u8>,
    /// Of that frame; each has the next.
    number: u64,
}

#[derive(Debug, Default)]
struct Receiving {
    decoder: Decoder,
    /// What `poll` has come upon while it looked for a frame's last byte.
    found: Option<Found>,
    /// What came was no frame, which was told: nobody knows where the next one begins.
    lost: bool,
}

impl From<OwnedFd> for Stream {
    fn from(socket: OwnedFd) -> Stream {
        Stream { socket, receiving: Turn::new(Receiving::default()), sending: Turn::new(Sending::default()) }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream {
    /// Sends one frame.
    pub(crate) fn send(
        &self,
        kind: Kind,
        content: &[u8],
        descriptors: &[OwnedFd],
        until: Until,
    ) -> Result<()> {
        let what = kind.sending();
        let mut sending = self.turn_to_send(what, descriptors, until)?;
        let (header, kind) = frame(kind.to_wire() as u8, content.len());
        let (sent, ended) = self.push([&header, content, &kind], what, until);
        match ended {
            Some(error) if sent > 0 => {
                self.tear(&mut sending);
                // Nobody should try once more with what comes back.
                Err(if error.is_timed_out() { torn(what) } else { error })
            }
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends as much of a frame as there is room for. What stays behind is kept here and goes before all that is sent after it, whoever sends
    /// that; `TimedOut` until it is gone, which the next call looks after.
    pub(crate) fn send_some(
        &self,
        kind: Kind,
        content: &[u8],
        descriptors: &[OwnedFd],
        begun: &mut Option<u64>,
    ) -> Result<()> {
        let what = kind.sending();
        let mut sending = match *begun {
            None => self.turn_to_send(what, descriptors, Until::Now)?,
            Some(number) => {
                let Some(mut sending) = self.sending.take(Until::Now) else { return Err(timed_out(what)) };
                if sending.number == number {
                    self.send_rest(&mut sending, what, Until::Now)?;
                }
                return Ok(());
            }
        };
        let (header, kind) = frame(kind.to_wire() as u8, content.len());
        let parts = [&header[..], content, &kind];
        let (sent, ended) = self.push(parts, what, Until::Now);
        let Some(error) = ended else { return Ok(()) };
        if sent > 0 && error.is_timed_out() {
            sending.number += 1;
            sending.rest = rest(parts, sent).concat();
            *begun = Some(sending.number);
        } else if sent > 0 {
            self.tear(&mut sending);
        }
        Err(error)
    }

    /// Gives a frame up that was sent in part: the direction ends, unless somebody who sends after it is seeing to the rest of it.
    pub(crate) fn abandon(&self, begun: Option<u64>) {
        if let Some(number) = begun
            && let Some(mut sending) = self.sending.take(Until::Now)
            && sending.number == number
            && !sending.rest.is_empty()
        {
            self.tear(&mut sending);
        }
    }

    /// The turn to send a frame, when all that was begun before is sent.
    fn turn_to_send(
        &self,
        what: &str,
        descriptors: &[OwnedFd],
        until: Until,
    ) -> Result<turn::Guard<'_, Sending>> {
        if !descriptors.is_empty() {
            return Err(Error::Encode {
                what: "a value".into(),
                why: "it holds file descriptors, which TCP cannot carry: only connections over Unix sockets can".into(),
                child: None,
                ran: Ran::MayHaveRun,
            });
        }
        let Some(mut sending) = self.sending.take(until) else { return Err(timed_out(what)) };
        if sending.torn {
            return Err(Error::Disconnected {
                how: format!("could not {what}: an earlier message was sent in part when its time was over"),
            });
        }
        self.send_rest(&mut sending, what, until)?;
        Ok(sending)
    }

    /// Sends what a future has begun.
    fn send_rest(&self, sending: &mut Sending, what: &str, until: Until) -> Result<()> {
        if sending.rest.is_empty() {
            return Ok(());
        }
        let (sent, ended) = self.push([&sending.rest, &[], &[]], what, until);
        sending.rest.drain(..sent);
        ended.map_or(Ok(()), Err)
    }

    /// Ends the direction, in the middle of a frame.
    fn tear(&self, sending: &mut Sending) {
        sending.torn = true;
        sending.rest = Vec::new();
        let _ = rustix::net::shutdown(self, Shutdown::Write);
    }

    /// Sends these bytes: how many, and why no more.
    fn push(&self, parts: [&[u8]; 3], what: &str, until: Until) -> (usize, Option<Error>) {
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        while sent < whole {
            let left = rest(parts, sent).map(IoSlice::new);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let error = match sendmsg(self, &left, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => {
                    sent += count;
                    crash_point!("stream sender: bytes sent");
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => match poll::ready(self.as_fd(), PollFlags::OUT, until) {
                    Ok(true) => continue,
                    Ok(false) => timed_out(what),
                    Err(error) => Error::os(format!("could not {what}: poll"), error),
                },
                Err(Errno::PIPE | Errno::CONNRESET) => Error::Disconnected {
                    how: format!("could not {what}: the peer has closed its end or died"),
                },
                Err(error) => Error::os(format!("could not {what}: sendmsg"), error),
            };
            return (sent, Some(error));
        }
        (sent, None)
    }

    /// The next frame, of at most `limit` bytes, into the caller's buffer if one is given and it fits; `None` when the time is over.
    pub(crate) fn receive(
        &self,
        into: Option<&mut [u8]>,
        limit: usize,
        until: Until,
    ) -> Result<Option<Whole>> {
        let Some(mut receiving) = self.receiving.take(until) else { return Ok(None) };
        if receiving.lost {
            return Err(Error::Disconnected {
                how: "could not receive: what arrived before was no message, and nothing that follows can be read".into(),
            });
        }
        let mut patience = Patience::new(until, STEPS);
        loop {
            match receiving.found.take() {
                Some(Found::Frame(kind, content)) => {
                    let body = match into.and_then(|into| into.get_mut(..content.len())) {
                        Some(place) => {
                            place.copy_from_slice(&content);
                            Body::Caller(content.len())
                        }
                        None => Body::Own(content),
                    };
                    return Ok(Some(Whole { kind: kind.into(), body, descriptors: Vec::new() }));
                }
                Some(Found::TooLong(length)) => return Err(Error::TooLong { length, limit }),
                Some(Found::Malformed) => {
                    receiving.lost = true;
                    return Err(Error::protocol("what arrives over TCP is no frame"));
                }
                None => {}
            }
            let wants = receiving.decoder.wants();
            match self.take_in(&mut receiving, wants, limit, until)? {
                Took::Some if receiving.found.is_none() && !patience.lasts() => return Ok(None),
                Took::Some => {}
                Took::Nothing => return Ok(None),
                Took::End => return Err(ended(&receiving.decoder)),
            }
        }
    }

    /// Whether a frame, an error or the end can be received without waiting, in the time given.
    pub(crate) fn poll(&self, limit: usize, until: Until) -> Result<bool> {
        let Some(mut receiving) = self.receiving.take(until) else { return Ok(false) };
        let mut patience = Patience::new(until, STEPS);
        loop {
            if receiving.found.is_some() || receiving.lost {
                return Ok(true);
            }
            let wants = receiving.decoder.wants_but_last();
            if wants == 0 {
                return poll::ready(self.as_fd(), PollFlags::IN, until)
                    .map_err(|error| Error::os("could not wait for a message: poll", error));
            }
            match self.take_in(&mut receiving, wants, limit, until)? {
                Took::Some if receiving.found.is_none() && !patience.lasts() => return Ok(false),
                Took::Some => {}
                Took::Nothing => return Ok(false),
                Took::End => return Ok(true),
            }
        }
    }

    /// Whether receiving has begun on a frame and not ended.
    pub(crate) fn is_amid_frame(&self) -> bool {
        // Somebody who is receiving may be in the middle of one.
        self.receiving.take(Until::Now).is_none_or(|receiving| {
            receiving.decoder.is_amid() || receiving.found.is_some() || receiving.lost
        })
    }

    /// Takes in some of the next bytes, at most so many.
    fn take_in(&self, receiving: &mut Receiving, room: usize, limit: usize, until: Until) -> Result<Took> {
        let flags = if until == Until::Forever { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        loop {
            let read = |place: &mut [u8]| rustix::net::recv(self, place, flags).map(|(_, count)| count);
            let failed = |call: &str, error| Error::os(format!("could not receive: {call}"), error);
            match receiving.decoder.fill(room, limit, read) {
                Ok((0, _)) => return Ok(Took::End),
                Ok((_, found)) => {
                    receiving.found = found;
                    return Ok(Took::Some);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if until.is_over() => return Ok(Took::Nothing),
                Err(Errno::AGAIN) => match poll::ready(self.as_fd(), PollFlags::IN, until) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Took::Nothing),
                    Err(error) => return Err(failed("poll", error)),
                },
                Err(Errno::CONNRESET) => return Ok(Took::End),
                Err(error) => return Err(failed("recv", error)),
            }
        }
    }
}

/// What is left of these bytes without the first `sent`.
fn rest(parts: [&[u8]; 3], mut sent: usize) -> [&[u8]; 3] {
    parts.map(|part| {
        let before = sent.min(part.len());
        sent -= before;
        &part[before..]
    })
}

fn timed_out(what: &str) -> Error {
    Error::TimedOut { what: what.into() }
}

/// As [`timed_out`], in the middle.
fn torn(what: &str) -> Error {
    timed_out(&format!("{what} whole, which over TCP ends the direction,"))
}

enum Took {
    Some,
    Nothing,
    End,
}

/// The peer is gone: between frames, or within one.
fn ended(decoder: &Decoder) -> Error {
    let how = "could not receive: the peer has closed its end or died in the middle of a message";
    let how = match decoder.progress() {
        // Of a frame that is skipped the error was told.
        (0, _) => return super::packets::closed(),
        (there, Some(all)) => format!("{how}, after {there} of {all} bytes"),
        (there, None) => format!("{how}, after {there} bytes"),
    };
    Error::Disconnected { how }
}
