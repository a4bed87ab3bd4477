//! A value that is already encoded, and travels as a value itself.
//!
//! Whoever passes values on without knowing their types (a call by name, a server of objects) holds bytes and descriptors. Inside
//! another message the bytes go as one block, and the descriptors join those of that message: they are collected and handed out
//! by its frame (see [`descriptors`](super::descriptors)), in the order they have here.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::descriptors::{self, Descriptor, Encoded};
use crate::error::{Error, Result};

/// An encoded value of some type, with the descriptors inside it.
///
/// ```
/// use ipc_core::Packed;
///
/// let packed = Packed::new(&("three", 3))?;
/// assert_eq!(packed.open::<(String, i32)>()?, ("three".to_string(), 3));
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
pub struct Packed {
    body: Bytes,
    descriptors: Vec<Descriptor>,
}

impl Packed {
    /// Encodes `value`. Descriptors inside it are duplicated; halves of connections count as sent away.
    ///
    /// # Errors
    /// [`Error::Encode`]: what its `Serialize` said; [`Error::Os`]: a descriptor could not be duplicated.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Packed> {
        let encoded = descriptors::encode(value).map_err(|e| Error::encode(std::any::type_name::<T>(), e))?;
        Ok(encoded.into())
    }

    /// Decodes the value. Descriptors that it does not take are closed.
    ///
    /// # Errors
    /// [`Error::Decode`]: it is no `T`.
    pub fn open<T: DeserializeOwned>(self) -> Result<T> {
        let (body, descriptors) = self.into_parts();
        descriptors::decode(&body, descriptors).map_err(|e| Error::decode(std::any::type_name::<T>(), e))
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether it has no bytes, as `()` has none.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub(crate) fn from_parts(body: Vec<u8>, descriptors: Vec<OwnedFd>) -> Packed {
        Packed { body: body.into(), descriptors: descriptors.into_iter().map(Descriptor::from).collect() }
    }

    pub(crate) fn into_parts(self) -> (Bytes, Vec<OwnedFd>) {
        (self.body, self.descriptors.into_iter().map(Descriptor::into_inner).collect())
    }
}

impl From<Encoded> for Packed {
    fn from(encoded: Encoded) -> Packed {
        Packed::from_parts(encoded.body, encoded.descriptors)
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        f.debug_struct("Packed").field("body", &self.body).field("descriptors", &numbers).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_of_a_packed_value_join_those_of_its_message() {
        let pipe = || std::io::pipe().unwrap();
        let ((mut first, first_end), (mut second, second_end)) = (pipe(), pipe());
        let packed = Packed::new(&vec![Descriptor::from(first_end)]).unwrap();
        // One more descriptor before it and one after, so that the places inside differ from those outside.
        let message = (
            Descriptor::from(second_end),
            packed,
            Descriptor::from(std::fs::File::open("/dev/null").unwrap()),
        );
        let sent = descriptors::encode(&message).unwrap();
        drop(message);
        assert_eq!(sent.descriptors.len(), 3);
        let (other, packed, _null): (Descriptor, Packed, Descriptor) =
            descriptors::decode(&sent.body, sent.descriptors).unwrap();
        let inside: Vec<Descriptor> = packed.open().unwrap();
        let [inside] = <[Descriptor; 1]>::try_from(inside).unwrap();
        inside.into_inner::<std::io::PipeWriter>().write_all(b"first").unwrap();
        other.into_inner::<std::io::PipeWriter>().write_all(b"second").unwrap();
        let mut read = [String::new(), String::new()];
        first.read_to_string(&mut read[0]).unwrap();
        second.read_to_string(&mut read[1]).unwrap();
        assert_eq!(read, ["first", "second"]);
    }

    #[test]
    fn another_type_is_an_error() {
        let error = Packed::new(&"text").unwrap().open::<u8>().unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error}");
        assert_eq!(Packed::new(&()).unwrap().len(), 0);
    }
}
