//! Bytes that go through a codec in one piece.
//!
//! serde sees a `Vec<u8>` as a sequence of numbers and visits each of them: decoding runs at 0.6 GB/s. Told that it is one
//! block of bytes, the same codec copies it at 24 GB/s, what memory gives. serde cannot make that choice by itself (it
//! would need specialisation), so the type makes it: where a payload is large and opaque, say [`Bytes`] instead of
//! `Vec<u8>`.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// What a hostile length may make us reserve before its bytes are seen (the fall-back for codecs without byte strings).
const RESERVE: usize = 64 * 1024;

/// A growable block of bytes that serialises as one block: forty times as fast as `Vec<u8>`.
///
/// It dereferences to `[u8]` and converts from and into `Vec<u8>` without copying.
///
/// ```
/// use ipc_core::Bytes;
///
/// let mut image = Bytes::from(vec![0u8; 4096]);
/// image[0] = 255;
/// assert_eq!(image.len(), 4096);
/// assert_eq!(image.iter().filter(|&&byte| byte > 0).count(), 1);
/// let plain: Vec<u8> = image.into();
/// assert_eq!(plain[0], 255);
/// ```
///
/// In a struct of one's own it is a field like any other:
///
/// ```
/// use ipc_core::Bytes;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Tile {
///     x: u32,
///     y: u32,
///     pixels: Bytes,
/// }
/// # let _ = Tile { x: 0, y: 0, pixels: Bytes::new() };
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// An empty block; nothing is allocated.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes as the `Vec` that holds them; nothing is copied.
    ///
    /// ```
    /// # use ipc_core::Bytes;
    /// assert_eq!(Bytes::from("abc").into_vec(), b"abc");
    /// ```
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// The `Vec` inside, for whatever a slice cannot do.
    ///
    /// ```
    /// # use ipc_core::Bytes;
    /// let mut bytes = Bytes::new();
    /// bytes.as_mut_vec().extend_from_slice(b"abc");
    /// assert_eq!(&*bytes, b"abc");
    /// ```
    pub fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// The length and the first bytes, never a megabyte of numbers in somebody's log.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        write!(f, "Bytes({}: b\"{}", self.len(), self[..self.len().min(SHOWN)].escape_ascii())?;
        f.write_str(if self.len() > SHOWN { "\"…)" } else { "\")" })
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Box<[u8]>> for Bytes {
    fn from(bytes: Box<[u8]>) -> Self {
        Self(bytes.into())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Bytes {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        Self(bytes.into_iter().collect())
    }
}

impl Extend<u8> for Bytes {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

impl<'a> Extend<&'a u8> for Bytes {
    fn extend<I: IntoIterator<Item = &'a u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

impl IntoIterator for Bytes {
    type Item = u8;
    type IntoIter = std::vec::IntoIter<u8>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Bytes {
    type Item = &'a u8;
    type IntoIter = std::slice::Iter<'a, u8>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl PartialEq<[u8]> for Bytes {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}

impl PartialEq<&[u8]> for Bytes {
    fn eq(&self, other: &&[u8]) -> bool {
        self.0 == *other
    }
}

impl PartialEq<Vec<u8>> for Bytes {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.0 == *other
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(text.into())
    }

    /// Codecs without byte strings (JSON) have only this.
    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Bytes, A::Error> {
        collect(sequence).map(Bytes)
    }
}

/// The bytes of a sequence of numbers.
pub(super) fn collect<'de, A: SeqAccess<'de>>(mut sequence: A) -> Result<Vec<u8>, A::Error> {
    let mut bytes = Vec::with_capacity(sequence.size_hint().unwrap_or(0).min(RESERVE));
    while let Some(byte) = sequence.next_element()? {
        bytes.push(byte);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, SeqDeserializer};

    #[test]
    fn one_block_on_the_wire() {
        let bytes: Bytes = (0..=255).collect();
        let wire = postcard::to_allocvec(&bytes).unwrap();
        assert_eq!(wire.len(), 256 + 2);
        assert_eq!(&wire[2..], &*bytes);
        assert_eq!(postcard::from_bytes::<Bytes>(&wire).unwrap(), bytes);
    }

    #[test]
    fn from_a_sequence_and_from_text() {
        let sequence: SeqDeserializer<_, Error> = vec![1u8, 2, 3].into_deserializer();
        assert_eq!(Bytes::deserialize(sequence).unwrap(), vec![1, 2, 3]);
        let text: de::value::StrDeserializer<'_, Error> = "abc".into_deserializer();
        assert_eq!(Bytes::deserialize(text).unwrap(), b"abc"[..]);
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Bytes::from("a\n")), r#"Bytes(2: b"a\n")"#);
        assert_eq!(
            format!("{:?}", Bytes::from(vec![0; 1 << 20])).len(),
            "Bytes(1048576: b\"\"…)".len() + 16 * 4
        );
    }
}
