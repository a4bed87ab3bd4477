//! The header at the start of every packet: 48 bytes, little-endian.
//!
//! | offset | size | field | in a message of one packet |
//! |---|---|---|---|
//! | 0 | 4 | magic, `"ipcM"` | |
//! | 4 | 2 | version of this layout, 1 | |
//! | 6 | 2 | kind, the caller's | |
//! | 8 | 2 | flags: 1 a part of a message, 2 its sender gives the message up | 0 |
//! | 10 | 2 | descriptors in this packet | as below |
//! | 12 | 4 | descriptors of the message | |
//! | 16 | 8 | length of the message in bytes | of this packet's content |
//! | 24 | 8 | which message: a random number | 0 |
//! | 32 | 8 | where this packet's bytes belong | 0 |
//! | 40 | 4 | where its descriptors belong | 0 |
//! | 44 | 4 | nothing | 0 |

use super::super::Error;

/// Its length.
pub(crate) const HEADER: usize = 48;

/// The most descriptors of one message.
pub(crate) const MAX_DESCRIPTORS: usize = 1 << 16;

const MAGIC: u32 = u32::from_le_bytes(*b"ipcM");
const VERSION: u16 = 1;
const PART: u16 = 1;
const GIVEN_UP: u16 = 2;

/// What a packet is of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    Whole,
    /// A part.
    Part,
    /// The word that no more of it will come.
    GivenUp,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) role: Role,
    pub(crate) kind: u16,
    /// Descriptors in this packet.
    pub(crate) here: u16,
    /// Descriptors of the message.
    pub(crate) total: u32,
    /// Bytes of the message.
    pub(crate) length: u64,
    pub(crate) id: u64,
    pub(crate) offset: u64,
    pub(crate) place: u32,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let flags = match self.role {
            Role::Whole => 0,
            Role::Part => PART,
            Role::GivenUp => GIVEN_UP,
        };
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..10].copy_from_slice(&flags.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.here.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.total.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    /// The bytes of the header of a whole message without descriptors: [`to_bytes`](Header::to_bytes) of it.
    ///
    /// Nearly all messages are such. With [`parse_plain`](Header::parse_plain) it spares the header's way through a structure, whose
    /// fields of different sizes would be written one by one and read again at once as a whole, which processors wait for.
    pub(crate) fn write_plain(kind: u16, content: usize, bytes: &mut [u8; HEADER]) {
        let first = u64::from(MAGIC) | u64::from(VERSION) << 32 | u64::from(kind) << 48;
        for (place, word) in bytes.chunks_exact_mut(8).zip([first, 0, content as u64, 0, 0, 0]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The kind of a whole message without descriptors; for any other header `None`, and it is to be [parsed](Header::parse).
    pub(crate) fn parse_plain(bytes: &[u8; HEADER], content: usize) -> Option<u16> {
        let word = |place: usize| u64::from_le_bytes(field(bytes, 8 * place));
        let first = u64::from(MAGIC) | u64::from(VERSION) << 32;
        let plain = word(0) << 16 == first << 16
            && word(2) == content as u64
            && word(1) | word(3) | word(4) | word(5) == 0;
        plain.then_some((word(0) >> 48) as u16)
    }

    /// The header of a packet of which the first bytes are `bytes`, and which has `content` more.
    ///
    /// What it says is compared with itself and with `content`; the descriptors are the caller's to count.
    pub(crate) fn parse(bytes: &[u8], content: usize) -> Result<Header, Error> {
        let Ok(bytes) = <&[u8; HEADER]>::try_from(bytes) else {
            return Err(malformed(format_args!("a packet of {} bytes", bytes.len())));
        };
        if bytes[0..4] != MAGIC.to_le_bytes() {
            return Err(malformed(format_args!("a packet that begins with {:02x?}", &bytes[..4])));
        }
        let version = u16::from_le_bytes(field(bytes, 4));
        if version != VERSION {
            return Err(malformed(format_args!(
                "layout version {version}, this side speaks {VERSION}: the peer is another build"
            )));
        }
        let flags = u16::from_le_bytes(field(bytes, 8));
        let role = match flags {
            0 => Role::Whole,
            PART => Role::Part,
            GIVEN_UP => Role::GivenUp,
            _ => return Err(malformed(format_args!("unknown flags {flags:#x}"))),
        };
        let header = Header {
            role,
            kind: u16::from_le_bytes(field(bytes, 6)),
            here: u16::from_le_bytes(field(bytes, 10)),
            total: u32::from_le_bytes(field(bytes, 12)),
            length: u64::from_le_bytes(field(bytes, 16)),
            id: u64::from_le_bytes(field(bytes, 24)),
            offset: u64::from_le_bytes(field(bytes, 32)),
            place: u32::from_le_bytes(field(bytes, 40)),
        };
        header.check(content as u64)?;
        Ok(header)
    }

    fn check(&self, content: u64) -> Result<(), Error> {
        let after = u64::from(self.place) + u64::from(self.here);
        if self.total as usize > MAX_DESCRIPTORS || after > u64::from(self.total) {
            return Err(malformed(format_args!(
                "descriptors {} to {after} of {} announced, at most {MAX_DESCRIPTORS} are allowed",
                self.place, self.total
            )));
        }
        let end = self.offset.checked_add(content).filter(|&end| end <= self.length);
        let Some(end) = end else {
            return Err(malformed(format_args!(
                "{content} bytes from {} on, of a message of {}",
                self.offset, self.length
            )));
        };
        let agrees = match self.role {
            Role::Whole => {
                end - self.offset == self.length && after == u64::from(self.total) && self.place == 0
            }
            // A part that brings nothing would never bring its message to the end.
            Role::Part => content > 0 || self.here > 0,
            Role::GivenUp => content == 0 && self.here == 0,
        };
        if !agrees {
            return Err(malformed(format_args!("{self:?} with {content} bytes")));
        }
        Ok(())
    }

    /// Whether this is the first packet of its message.
    pub(crate) fn begins(&self) -> bool {
        self.offset == 0 && self.place == 0
    }

    /// Whether nothing of the message follows this packet of `content` bytes.
    pub(crate) fn ends(&self, content: usize) -> bool {
        self.offset + content as u64 == self.length && self.place + u32::from(self.here) == self.total
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

pub(crate) fn malformed(what: std::fmt::Arguments<'_>) -> Error {
    Error::Malformed(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Header =
        Header { role: Role::Whole, kind: 0xa1b2, here: 0, total: 0, length: 70, id: 0, offset: 0, place: 0 };

    #[test]
    fn a_plain_header_is_the_same_both_ways() {
        let mut bytes = [0xff; HEADER];
        Header::write_plain(PLAIN.kind, 70, &mut bytes);
        assert_eq!(bytes, PLAIN.to_bytes());
        assert_eq!(Header::parse_plain(&bytes, 70), Some(PLAIN.kind));
        assert_eq!(Header::parse(&bytes, 70).unwrap(), PLAIN);
    }

    #[test]
    fn what_is_not_plain_is_parsed() {
        let bytes = PLAIN.to_bytes();
        assert_eq!(Header::parse_plain(&bytes, 69), None);
        // Bytes 6 and 7 are the kind; a change anywhere else is no plain header any more.
        for at in (0..HEADER).filter(|at| !matches!(at, 6 | 7)) {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Header::parse_plain(&changed, 70), None, "byte {at}");
        }
    }
}
