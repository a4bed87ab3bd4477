//! How the two ends of a fresh connection prove to each other that they hold the same key.
//!
//! Whoever can reach a listener's address can connect to it; what follows decides whether anything of theirs is ever decoded. Both
//! sides prove that they know the key, neither shows it, and the one who waits allocates nothing on the other's word. This
//! file is the protocol alone: bytes in, bytes out, no socket and no clock. So a listener runs many of them side by side, and a
//! fuzzer feeds them.
//!
//! # The transcript
//!
//! A message is a byte with the length of the rest, a byte for its kind, and its content; so none is longer than 256 bytes. On a
//! packet socket each is one packet.
//!
//! | | | content |
//! |---|---|---|
//! | HELLO | listener → client | `ipcA`, version (1), whether a key is needed (1), 32 random bytes |
//! | ANSWER | client → listener | `ipcA`, version (1), whether it has a key (1), 32 random bytes, its MAC if it has one |
//! | WELCOME | listener → client | its MAC, if there is a key |
//! | REFUSED | either, instead | why, as a number; then the sender closes |
//!
//! The listener speaks first and decides last. After WELCOME the next byte on the socket is the first message's: a
//! [`Handshake`] never asks for more than it needs.
//!
//! A MAC is HMAC-SHA256 under the key, over a label that names the protocol and the sender's role, the length of the key (HMAC by itself
//! cannot tell `a` from `a` and a NUL), all of HELLO, and ANSWER up to the MAC. Both random numbers and both sides' wishes are in
//! it, as they were sent and as they were received.
//!
//! # What an attacker can do
//!
//! - **Reflect**: send our own MAC back to us. It was made for the other role, and is wrong.
//! - **Replay** an old handshake. Our 32 bytes are others every time, and its MACs are over the old ones.
//! - **Downgrade**: claim that no key is needed. A side that has a key refuses a peer that has none, whoever of the two it
//!   is, and a changed HELLO makes both MACs wrong.
//! - **Ask** a client for its MAC, as a false listener, and then try keys at leisure. So a key should be random bytes
//!   ([`AuthKey::random`](crate::AuthKey::random), which is what a family has) and no word; the same holds in Python.
//! - **Guess** byte by byte from the time that a comparison takes: it always takes the same.
//! - **Relay**: sit between an honest client and an honest listener and pass on what they say. The handshake succeeds, for it *is*
//!   between those two; afterwards whoever sits there can read and change everything. Nothing here encrypts: over a network that
//!   others can write to, TCP needs a tunnel. Unix sockets have nobody in between.
//! - **Waste our time**: be silent, trickle, flood. That is the listener's side of it, see `reception.rs`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::AuthKey;

mod refusal;

pub use refusal::Refusal;

/// The version of this protocol and of the frames that follow it.
const VERSION: u8 = 1;

const MAGIC: &[u8; 4] = b"ipcA";

/// What one side contributes so that no two handshakes are alike.
pub type Nonce = [u8; 32];

const MAC: usize = 32;

/// HELLO, and ANSWER up to its MAC: length, kind, magic, version, mode, nonce.
const GREETING: usize = 2 + 4 + 1 + 1 + 32;

const HELLO: u8 = 1;
const ANSWER: u8 = 2;
const WELCOME: u8 = 3;
const REFUSED: u8 = 4;

/// The longest message, its length included.
pub const LONGEST: usize = 256;

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that was connected to.
    Listener,
    /// The one that connected.
    Client,
}

impl Role {
    /// What its MACs begin with. Neither label is the beginning of the other.
    fn label(self) -> &'static [u8] {
        match self {
            Role::Listener => b"ipc-core handshake 1, listener\0",
            Role::Client => b"ipc-core handshake 1, client\0",
        }
    }
}

/// One side of one handshake.
///
/// Whoever drives it sends [`output`](Self::output), and feeds it at most [`wants`](Self::wants) bytes at a time, until there is
/// an [`outcome`](Self::outcome) and nothing more to send.
pub struct Handshake {
    role: Role,
    key: Option<AuthKey>,
    /// The kind of the message awaited; REFUSED may come instead.
    awaits: u8,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    sent: usize,
    /// HELLO, then ANSWER without its MAC.
    transcript: Vec<u8>,
    nonce: Nonce,
    outcome: Option<Result<(), Refusal>>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("role", &self.role).field("outcome", &self.outcome).finish()
    }
}

impl Handshake {
    /// The beginning, with this side's key (`None`: without authentication) and its random number.
    pub fn new(role: Role, key: Option<AuthKey>, nonce: Nonce) -> Handshake {
        let awaits = if role == Role::Listener { ANSWER } else { HELLO };
        let mut handshake = Handshake {
            role,
            key,
            awaits,
            inbox: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            transcript: Vec::with_capacity(2 * GREETING),
            nonce,
            outcome: None,
        };
        if role == Role::Listener {
            let hello = handshake.greeting(HELLO);
            handshake.transcript.extend_from_slice(&hello);
            handshake.say(HELLO, &hello[2..]);
        }
        handshake
    }

    /// What is to be sent next; empty when it is the peer's turn.
    pub fn output(&self) -> &[u8] {
        &self.outbox[self.sent..]
    }

    /// So much of it has been sent.
    pub fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.outbox.len());
    }

    /// How many bytes may be read for it now, exactly; 0 once there is an outcome.
    pub fn wants(&self) -> usize {
        match (&self.outcome, self.inbox.first()) {
            (Some(_), _) => 0,
            (None, None) => 1,
            (None, Some(&rest)) => 1 + usize::from(rest) - self.inbox.len(),
        }
    }

    /// Takes what was received; says how much of it belongs to the handshake.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let wanted @ 1.. = self.wants().min(bytes.len() - taken) {
            self.inbox.extend_from_slice(&bytes[taken..taken + wanted]);
            taken += wanted;
            match self.inbox[..] {
                _ if !self.is_plausible() => {
                    self.refuse(Refusal::Malformed("another message than the next one"))
                }
                [rest, ..] if self.inbox.len() == 1 + usize::from(rest) => {
                    let message = std::mem::take(&mut self.inbox);
                    if let Err(refusal) = self.take(&message) {
                        self.refuse(refusal);
                    }
                }
                _ => {}
            }
        }
        taken
    }

    /// Whether the beginning of a message can be that of one that may come now: nobody waits for the rest of what is none.
    fn is_plausible(&self) -> bool {
        let (bare, with_mac) = match self.awaits {
            WELCOME => (1, 1 + MAC),
            HELLO => (GREETING - 1, GREETING - 1),
            _ => (GREETING - 1, GREETING - 1 + MAC),
        };
        let is = |lengths: [usize; 2], kind: u8| {
            let length = self.inbox.first().is_none_or(|&length| lengths.contains(&length.into()));
            length && self.inbox.get(1).is_none_or(|&first| first == kind)
        };
        is([bare, with_mac], self.awaits) || is([3, 3], REFUSED)
    }

    /// Feeds a whole packet, which must be one message.
    pub fn feed_packet(&mut self, packet: &[u8]) {
        let taken = self.feed(packet);
        if taken < packet.len() || !self.inbox.is_empty() {
            // Also where the first part of it was fine: nobody of this protocol sends such a packet.
            self.outcome = None;
            self.refuse(Refusal::Malformed("a packet that is not one message"));
        }
    }

    /// Gives up. The peer is told why, as far as there is a number for it.
    pub fn refuse(&mut self, refusal: Refusal) {
        if self.outcome.is_some() {
            return;
        }
        // In the place of a message that has not been sent yet; one of which a part is on its way is not followed by another.
        if (self.sent == 0 || self.output().is_empty()) && !matches!(refusal, Refusal::Closed) {
            self.say(REFUSED, &[refusal.number(), VERSION]);
        }
        self.outcome = Some(Err(refusal));
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Result<(), Refusal>> {
        self.outcome.as_ref()
    }

    /// Handles one whole message.
    fn take(&mut self, message: &[u8]) -> Result<(), Refusal> {
        match (message[1], &message[2..]) {
            (REFUSED, &[number, version]) => {
                self.outcome = Some(Err(Refusal::received(number, version)));
                Ok(())
            }
            (REFUSED, _) => Err(Refusal::Malformed("a refusal of the wrong length")),
            (HELLO, _) => self.hello(message),
            (ANSWER, _) => self.answer(message),
            (_, mac) => self.welcome(mac),
        }
    }

    /// The client's turn: the listener's HELLO has come.
    fn hello(&mut self, hello: &[u8]) -> Result<(), Refusal> {
        let (greeting, mac) = self.greeted(hello)?;
        if !mac.is_empty() {
            return Err(Refusal::Malformed("a longer HELLO"));
        }
        self.transcript.extend_from_slice(greeting);
        let answer = self.greeting(ANSWER);
        self.transcript.extend_from_slice(&answer);
        let mut content = answer[2..].to_vec();
        content.extend_from_slice(&self.mac(Role::Client));
        self.say(ANSWER, &content);
        self.awaits = WELCOME;
        Ok(())
    }

    /// The listener's turn: the client's ANSWER has come.
    fn answer(&mut self, answer: &[u8]) -> Result<(), Refusal> {
        let (greeting, mac) = self.greeted(answer)?;
        self.transcript.extend_from_slice(greeting);
        self.verify(Role::Client, mac)?;
        let mac = self.mac(Role::Listener);
        self.say(WELCOME, &mac);
        self.outcome = Some(Ok(()));
        Ok(())
    }

    /// The client's turn: the listener's WELCOME has come.
    fn welcome(&mut self, mac: &[u8]) -> Result<(), Refusal> {
        self.verify(Role::Listener, mac)?;
        self.outcome = Some(Ok(()));
        Ok(())
    }

    /// Looks at a HELLO or an ANSWER, and splits it into what the MACs are over and the rest.
    fn greeted<'a>(&self, message: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Refusal> {
        let Some((greeting, rest)) = message.split_at_checked(GREETING) else {
            return Err(Refusal::Malformed("a greeting that is too short"));
        };
        if greeting[2..6] != *MAGIC {
            return Err(Refusal::Malformed("it is not of this protocol"));
        }
        if greeting[6] != VERSION {
            return Err(Refusal::Version(greeting[6]));
        }
        match (greeting[7], &self.key) {
            (0, None) | (1, Some(_)) => Ok((greeting, rest)),
            (0, Some(_)) => Err(Refusal::NoKey),
            (1, None) => Err(Refusal::KeyNeeded),
            _ => Err(Refusal::Malformed("an unknown mode")),
        }
    }

    /// This side's HELLO, or its ANSWER up to the MAC.
    fn greeting(&self, kind: u8) -> [u8; GREETING] {
        let mac = if kind == ANSWER && self.key.is_some() { MAC } else { 0 };
        let mut greeting = [0; GREETING];
        greeting[0] = (GREETING - 1 + mac) as u8;
        greeting[1] = kind;
        greeting[2..6].copy_from_slice(MAGIC);
        greeting[6] = VERSION;
        greeting[7] = u8::from(self.key.is_some());
        greeting[8..].copy_from_slice(&self.nonce);
        greeting
    }

    /// Only the output of one message is ever outstanding: each side waits for the other in between.
    fn say(&mut self, kind: u8, content: &[u8]) {
        self.sent = 0;
        self.outbox.clear();
        self.outbox.push(1 + content.len() as u8);
        self.outbox.push(kind);
        self.outbox.extend_from_slice(content);
    }

    /// `None` without a key. (HMAC takes keys of every length, the empty one too.)
    fn hmac(&self, role: Role) -> Option<Hmac<Sha256>> {
        let key = self.key.as_ref()?.as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(role.label());
        mac.update(&(key.len() as u64).to_le_bytes());
        mac.update(&self.transcript);
        Some(mac)
    }

    fn mac(&self, role: Role) -> Vec<u8> {
        self.hmac(role).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
    }

    /// Takes the same time for every wrong MAC of the right length.
    fn verify(&self, role: Role, mac: &[u8]) -> Result<(), Refusal> {
        match (&self.key, self.hmac(role)) {
            (None, _) if mac.is_empty() => Ok(()),
            (Some(_), Some(right)) if mac.len() == MAC => {
                right.verify_slice(mac).map_err(|_| Refusal::WrongKey)
            }
            _ => Err(Refusal::Malformed("a digest of the wrong length")),
        }
    }
}

#[cfg(test)]
mod tests;
