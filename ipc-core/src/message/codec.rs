//! From a value to bytes and back.
//!
//! The default is [`Postcard`]: compact, fast, and not self-describing, which suits two processes that run the same program.
//! Another format is another [`Codec`].
//!
//! The bytes come from a process that may have been corrupted, so decoding promises more than postcard does by itself:
//!
//! | hostile bytes | what happens |
//! |---|---|
//! | end too early, or go on after the value | an error; trailing bytes are never ignored |
//! | declare a length of 2⁶⁰ | an error; what is reserved ahead is bounded by the bytes that are there |
//! | repeat an element that takes no bytes (`Vec<()>`) | an error after 2²⁰ elements more than there are bytes |
//! | nest a recursive type | an error at [`DEPTH_LIMIT`], long before a thread's stack ends |
//!
//! Not self-describing means that it does not say what comes next: fields are told by their place, variants by their number. So types
//! that ask (`#[serde(untagged)]`, `#[serde(tag = "…")]`, `#[serde(flatten)]`, `serde_json::Value`) or that leave fields out
//! (`skip_serializing_if`) cannot be sent, and the error says so. `#[serde(skip)]` and `#[serde(default)]` do no harm.
//!
//! The depth is limited on the sending side as well: a value that would be refused on arrival is refused where it can still
//! be given back. And what a `Serialize` or `Deserialize` of one's own says when it fails, which postcard drops, reaches the
//! reader of the error. Both are the work of a thin layer around the format's own (de)serializer (see `guarded.rs`).

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::guarded;
pub use super::limits::{BYTELESS_ELEMENTS, DEPTH_LIMIT};

/// A format for values.
///
/// ```
/// use ipc_core::codec::{Codec, Postcard};
///
/// let mut wire = Vec::new();
/// Postcard.encode(&("answer", 42u8), &mut wire)?;
/// assert_eq!(Postcard.decode::<(String, u8)>(&wire)?, ("answer".to_owned(), 42));
/// # Ok::<(), ipc_core::codec::CodecError>(())
/// ```
pub trait Codec {
    /// Appends `value`'s bytes to `out`.
    ///
    /// # Errors
    /// What the value's `Serialize` returned, or that the format cannot express it, or that it nests deeper than
    /// [`DEPTH_LIMIT`]; `out` is then as before.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value that `bytes` hold, all of them.
    ///
    /// # Errors
    /// What the value's `Deserialize` returned, or how the bytes break the format; bytes left over are an error.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// Why a value could not be encoded or decoded, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    /// An error that says `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The words alone.
    pub fn into_reason(self) -> String {
        self.0
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

/// The default format: [postcard](https://postcard.jamesmunns.com/wire-format).
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl Codec for Postcard {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        // By value while it is written to: a third faster than through a reference.
        let mut serializer = postcard::Serializer { output: Appended(std::mem::take(out)) };
        let encoded = guarded::serialize(value, &mut serializer);
        *out = serializer.output.0;
        encoded.map_err(|reason| {
            out.truncate(start);
            CodecError(reason)
        })
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let value = guarded::deserialize(&mut deserializer, bytes.len()).map_err(CodecError)?;
        match deserializer.finalize() {
            Ok([]) => Ok(value),
            Ok(rest) => Err(CodecError(format!("{} of {} bytes are left over", rest.len(), bytes.len()))),
            Err(error) => Err(CodecError(error.to_string())),
        }
    }
}

/// postcard's own storage for a `Vec` is lost on an error.
struct Appended(Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        // A number is a few bytes, for which a call of memcpy costs more than the copy; and a plain loop becomes that call.
        if data.len() <= 16 {
            let (eights, rest) = data.as_chunks::<8>();
            for eight in eights {
                self.0.extend_from_slice(eight);
            }
            for &byte in rest {
                self.0.push(byte);
            }
        } else {
            self.0.extend_from_slice(data);
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum List {
        End,
        Item(u8, Box<List>),
    }

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        Postcard.encode(value, &mut out).unwrap();
        out
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut wire = encoded(&7u32);
        wire.push(0);
        let error = Postcard.decode::<u32>(&wire).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 bytes are left over");
    }

    #[test]
    fn every_shorter_prefix_is_refused() {
        let wire = encoded(&(vec![1u64, 1 << 40], "text", Some(1.5f64)));
        for end in 0..wire.len() {
            Postcard.decode::<(Vec<u64>, String, Option<f64>)>(&wire[..end]).unwrap_err();
        }
    }

    #[test]
    fn a_failed_encode_leaves_the_buffer_as_before() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("the sensor is not calibrated"))
            }
        }
        let mut out = vec![1, 2];
        let error = Postcard.encode(&(1u8, "abc", [Fails]), &mut out).unwrap_err();
        assert_eq!(error.to_string(), "the sensor is not calibrated");
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn reasons_of_deserialize_are_kept() {
        let wire = encoded(&(1u8, 0u8));
        let error = Postcard.decode::<(u8, std::num::NonZeroU8)>(&wire).unwrap_err();
        assert!(error.to_string().contains("nonzero"), "{error}");
        let error = Postcard.decode::<(u8, bool, bool)>(&[0, 9, 9]).unwrap_err();
        assert!(error.to_string().contains("bool"), "{error}");
    }

    #[test]
    fn a_nesting_bomb_does_not_reach_the_end_of_the_stack() {
        let bomb = [1u8, 0].repeat(1 << 20);
        let error = Postcard.decode::<List>(&bomb).unwrap_err();
        assert!(error.to_string().contains("deeper than 256"), "{error}");
        // The sender is told before anything is sent.
        let deep = (0..1000).fold(List::End, |rest, n| List::Item(n as u8, Box::new(rest)));
        let error = Postcard.encode(&deep, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("deeper than 256"), "{error}");
    }

    /// Test threads have 2 MiB, and maps and enums the largest frames; so this ends with a SIGSEGV where the limit is too high.
    #[test]
    fn a_default_thread_bears_the_deepest_value() {
        use std::collections::{BTreeMap, HashMap};

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Document {
            Null,
            Wide([u64; 16]),
            Text(String),
            List(Vec<Document>),
            Sorted(BTreeMap<String, Document>),
            Hashed(HashMap<String, Document>),
            Fields { a: Option<Box<Document>>, b: Box<Document> },
        }
        let mut document = Document::Null;
        let mut deepest = Vec::new();
        for level in 0.. {
            document = match level % 4 {
                0 => Document::Sorted([(level.to_string(), document)].into()),
                1 => Document::Hashed([(level.to_string(), document)].into()),
                2 => Document::List(vec![Document::Wide([level; 16]), document]),
                _ => Document::Fields { a: Some(Box::new(document)), b: Box::new(Document::Null) },
            };
            let mut wire = Vec::new();
            if Postcard.encode(&document, &mut wire).is_err() {
                break;
            }
            deepest = wire;
        }
        let back: Document = Postcard.decode(&deepest).unwrap();
        let mut again = Vec::new();
        Postcard.encode(&back, &mut again).unwrap();
        assert_eq!(again, deepest);
    }

    #[test]
    fn what_can_be_sent_can_be_received() {
        // At every depth near the limit both sides must agree.
        for depth in 100..300 {
            let list = (0..depth).fold(List::End, |rest, n| List::Item(n as u8, Box::new(rest)));
            let mut out = Vec::new();
            if Postcard.encode(&list, &mut out).is_ok() {
                assert_eq!(Postcard.decode::<List>(&out).unwrap(), list);
            } else {
                assert!(depth > 120);
            }
        }
    }

    #[test]
    fn length_bombs_reserve_little() {
        let huge = encoded(&u64::MAX);
        Postcard.decode::<Vec<u64>>(&huge).unwrap_err();
        Postcard.decode::<String>(&huge).unwrap_err();
        Postcard.decode::<crate::Bytes>(&huge).unwrap_err();
        Postcard.decode::<std::collections::HashMap<u64, u64>>(&huge).unwrap_err();
        // Elements without bytes: 2^64 of them would take a century or all memory.
        let error = Postcard.decode::<Vec<()>>(&huge).unwrap_err();
        assert!(error.to_string().contains("elements"), "{error}");
        Postcard.decode::<std::collections::LinkedList<()>>(&huge).unwrap_err();
        Postcard.decode::<std::collections::BTreeMap<(), ()>>(&huge).unwrap_err();
        // An honest number of them passes: the results of a million tasks that return nothing.
        let units = vec![(); 1_000_000];
        assert_eq!(Postcard.decode::<Vec<()>>(&encoded(&units)).unwrap(), units);
    }
}
