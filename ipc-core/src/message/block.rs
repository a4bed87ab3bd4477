//! Slices of plain data that go through a codec in one piece.
//!
//! What [`Bytes`](crate::Bytes) is to `Vec<u8>`, [`Block`] is to `Vec<f32>`: serde visits every element of a sequence, and postcard
//! writes each as a number of as many bytes as it needs, while the elements stand in memory ready to be copied. Where any bits are a
//! value of the type and it has no padding (`bytemuck::Pod`: numbers, arrays of them, `#[repr(C)]` structs that derive it), the bytes
//! of the slice are its encoding: one length, one copy.
//!
//! That encoding is the memory's: sender and receiver must agree on the type's layout, as on every other type, and on the order of
//! bytes in a number, which is the same on all processors that this crate is tried on and is not converted.
//!
//! The receiver believes nothing: a length that is no multiple of the element's size is an error, and where the bytes stand does not
//! matter, for they are copied into a vector of the right alignment. A length beyond what arrived reserves nothing, as with `Bytes`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A growable block of plain data that serialises as one block of bytes.
///
/// It dereferences to the `Vec` inside. For a field that should stay a `Vec` or a boxed slice see [`as_block`].
///
/// ```
/// use ipc_core::{Block, Packed};
///
/// let mut samples: Block<f32> = (0..1000).map(|n| n as f32 / 2.0).collect();
/// samples.push(7.0);
/// let packed = Packed::new(&samples)?;
/// assert_eq!(packed.len(), 2 + 1001 * 4); // a length, and the bytes
/// assert_eq!(packed.open::<Block<f32>>()?, samples);
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block<T>(Vec<T>);

impl<T> Block<T> {
    /// The `Vec` inside; nothing is copied.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Deref for Block<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> From<Vec<T>> for Block<T> {
    fn from(elements: Vec<T>) -> Self {
        Self(elements)
    }
}

impl<T> From<Block<T>> for Vec<T> {
    fn from(block: Block<T>) -> Self {
        block.0
    }
}

impl<T> FromIterator<T> for Block<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T> IntoIterator for Block<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Pod> Serialize for Block<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_block::serialize(&self.0, serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Block<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_block::deserialize(deserializer).map(Self)
    }
}

/// For `#[serde(with = "ipc_core::as_block")]`: a `Vec<T>` or `Box<[T]>` of plain data that travels as one block.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Spectrum {
///     name: String,
///     #[serde(with = "ipc_core::as_block")]
///     bins: Vec<[f32; 2]>,
///     #[serde(with = "ipc_core::as_block")]
///     counts: Box<[u64]>,
/// }
/// ```
///
/// An element must have a size:
///
/// ```compile_fail
/// let _ = ipc_core::Packed::new(&ipc_core::Block::from(vec![(), ()]));
/// ```
pub mod as_block {
    use super::*;

    /// The bytes of the elements, as one block.
    ///
    /// # Errors
    /// What the format says.
    pub fn serialize<B, S>(elements: &B, serializer: S) -> Result<S::Ok, S::Error>
    where
        B: Elements,
        S: Serializer,
    {
        const { assert!(size_of::<B::Element>() > 0, "elements without a size cannot be counted") };
        serializer.serialize_bytes(bytemuck::cast_slice(elements.as_ref()))
    }

    /// The elements of a block.
    ///
    /// # Errors
    /// What the format says; and where the bytes are no whole number of elements.
    pub fn deserialize<'de, B, D>(deserializer: D) -> Result<B, D::Error>
    where
        B: Elements,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_bytes(BlockVisitor::<B::Element>(PhantomData)).map(B::from)
    }
}

/// What [`as_block`] takes: `Vec<T>` and `Box<[T]>` of plain data.
pub trait Elements: AsRef<[Self::Element]> + From<Vec<Self::Element>> {
    /// The type of the elements.
    type Element: Pod;
}

impl<T: Pod> Elements for Vec<T> {
    type Element = T;
}

impl<T: Pod> Elements for Box<[T]> {
    type Element = T;
}

struct BlockVisitor<T>(PhantomData<T>);

impl<'de, T: Pod> Visitor<'de> for BlockVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a block of bytes, {} for each {}", size_of::<T>(), std::any::type_name::<T>())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        const { assert!(size_of::<T>() > 0, "elements without a size cannot be counted") };
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytemuck::allocation::pod_collect_to_vec(bytes))
    }

    /// Codecs without byte strings (JSON) have only this.
    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Vec<T>, A::Error> {
        let bytes = crate::message::bytes::collect(sequence)?;
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests;
