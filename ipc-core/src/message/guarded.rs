//! A thin layer around any serde format: it limits depth and number of elements, and keeps the words of errors.
//!
//! Why each is needed: serde recurses as deep as the bytes say, for a recursive type until the stack ends; a sequence of
//! elements that take no bytes is as long as its length claims; and postcard's error type has no room for what a
//! `Serialize` or `Deserialize` says, it becomes "Serde Deserialization Error".
//!
//! How: the layer wraps serializer, deserializer, visitors and accessors, so that every nested value passes through it.
//! The depth travels by value. Errors of user code become a [`Fault`], whose text is put aside in the [`Watch`] while the
//! format's own error carries the failure outwards, and is taken up again where it leaves. What is left after inlining is a
//! comparison for each nested value.
//!
//! Elements are charged against one allowance per message: as many as it has bytes, and 2²⁰. An element that takes bytes
//! takes one of its own, so no honest message without a million units in it comes near. A sequence is charged when it
//! begins, with the length it declares; thereby all that decoding reserves ahead is bounded together, and not for each of
//! many nested sequences. Tuples and structs are not charged: their type fixes their length.

mod de;
mod ser;

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{BYTELESS_ELEMENTS, DEPTH_LIMIT};

/// Serialises `value` under the guard.
pub(super) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, String>
where
    T: Serialize + ?Sized,
    S: Serializer,
{
    let watch = Watch::new(0);
    value.serialize(Guarded { inner: serializer, watch: &watch, depth: 0 }).map_err(|fault| fault.0)
}

/// Deserialises a value from a message of `len` bytes under the guard.
pub(super) fn deserialize<'de, T, D>(deserializer: D, len: usize) -> Result<T, String>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let watch = Watch::new(len);
    T::deserialize(Guarded { inner: deserializer, watch: &watch, depth: 0 }).map_err(|fault| fault.0)
}

/// What all wrappers of one message share.
struct Watch {
    /// The elements that sequences and maps may still have.
    elements: Cell<usize>,
    /// The words of an error that is on its way through the format's layers.
    words: RefCell<Option<String>>,
}

impl Watch {
    fn new(len: usize) -> Self {
        Self { elements: Cell::new(len.saturating_add(BYTELESS_ELEMENTS)), words: RefCell::new(None) }
    }

    fn charge(&self, count: usize) -> Result<(), Fault> {
        match self.elements.get().checked_sub(count) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(Fault(format!(
                "sequences declare more elements than the message has bytes for, by more than {BYTELESS_ELEMENTS}"
            ))),
        }
    }

    /// An error of the format leaves it: with the words put aside, if it was one of ours.
    #[cold]
    fn leave(&self, error: impl Display) -> Fault {
        Fault(self.words.take().unwrap_or_else(|| error.to_string()))
    }

    /// Puts the words of `fault` aside before the format's error type drops them.
    #[cold]
    fn put_aside(&self, fault: Fault) -> &'static str {
        self.words.replace(Some(fault.0));
        "see the words put aside"
    }
}

/// Something of the format's, under the guard.
struct Guarded<'w, X> {
    inner: X,
    watch: &'w Watch,
    /// The depth of what `inner` reads or writes.
    depth: u16,
}

/// The depth one level further in.
#[inline]
fn deeper(depth: u16) -> Result<u16, Fault> {
    if depth < DEPTH_LIMIT { Ok(depth + 1) } else { Err(too_deep()) }
}

#[cold]
fn too_deep() -> Fault {
    Fault(format!("the value nests deeper than {DEPTH_LIMIT} levels"))
}

/// An error that is nothing but its words.
#[derive(Debug)]
struct Fault(String);

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Fault(words.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Fault(words.to_string())
    }
}
