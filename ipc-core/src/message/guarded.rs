//! A thin layer around any serde format: it limits depth and number of elements, and keeps the words of errors.
//!
//! Why each is needed: serde recurses as deep as the bytes say, for a recursive type until the stack ends; a sequence of
//! elements that take no bytes is as long as its length claims; and postcard's error type has no room for what a
//! `Serialize` or `Deserialize` says, it becomes "Serde Deserialization Error".
//!
//! How: the layer wraps serializer, deserializer, visitors and accessors, so that every nested value passes through it.
//! The depth travels by value. Errors of user code become a [`Fault`], whose words are put aside in a thread-local while the
//! format's own error carries the failure outwards, and are taken up again where it leaves. What is left after inlining is
//! a comparison for each nested value.
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

use super::limits::{BYTELESS_ELEMENTS, DEPTH_LIMIT};

/// Serialises `value` under the guard.
pub(super) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, String>
where
    T: Serialize + ?Sized,
    S: Serializer,
{
    value.serialize(Guarded { inner: serializer, depth: 0, watch: () }).map_err(Fault::into_words)
}

/// Deserialises a value from a message of `len` bytes under the guard.
pub(super) fn deserialize<'de, T, D>(deserializer: D, len: usize) -> Result<T, String>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let watch = Watch { elements: Cell::new(len.saturating_add(BYTELESS_ELEMENTS)) };
    T::deserialize(Guarded { inner: deserializer, depth: 0, watch: &watch }).map_err(Fault::into_words)
}

/// Something of the format's, under the guard.
struct Guarded<X, W> {
    inner: X,
    /// The depth of what `inner` reads or writes.
    depth: u16,
    /// On the reading side a `&Watch`.
    watch: W,
}

/// The depth one level further in.
#[inline]
fn deeper(depth: u16) -> Result<u16, Fault> {
    if depth < DEPTH_LIMIT { Ok(depth + 1) } else { Err(too_deep()) }
}

#[cold]
fn too_deep() -> Fault {
    Fault::new(format!("the value nests deeper than {DEPTH_LIMIT} levels"))
}

/// What sequences and maps of one message may still have.
struct Watch {
    elements: Cell<usize>,
}

impl Watch {
    #[inline]
    fn charge(&self, count: usize) -> Result<(), Fault> {
        let left = self.elements.get().checked_sub(count).ok_or_else(too_many)?;
        self.elements.set(left);
        Ok(())
    }
}

#[cold]
fn too_many() -> Fault {
    Fault::new(format!(
        "sequences declare more elements than the message has bytes for, by more than {BYTELESS_ELEMENTS}"
    ))
}

thread_local! {
    /// The words of the error that is on its way out.
    static WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// An error on its way out; its words are put aside. It has no size, so that a result is as small as the format's own:
/// carrying a `String` made encoding numbers twice as slow.
#[derive(Debug)]
struct Fault;

impl Fault {
    #[cold]
    fn new(words: String) -> Self {
        // In a thread that is ending the words are lost, and not the error.
        let _ = WORDS.try_with(|kept| kept.replace(Some(words)));
        Fault
    }

    /// An error of the format leaves it: with the words put aside, if it was one of ours.
    #[cold]
    fn from_format(error: impl Display) -> Self {
        let ours = WORDS.try_with(|kept| kept.borrow().is_some()).unwrap_or(true);
        if ours { Fault } else { Fault::new(error.to_string()) }
    }

    /// As [`from_format`](Fault::from_format) where a type has asked the format what comes next. The usual one does not know, and
    /// says so in words that help nobody.
    #[cold]
    fn not_told(error: impl Display) -> Self {
        let ours = WORDS.try_with(|kept| kept.borrow().is_some()).unwrap_or(true);
        if ours {
            return Fault;
        }
        Fault::new(format!(
            "the type asks the format what comes next (`#[serde(untagged)]`, `#[serde(tag)]`, a value of any kind), and this \
             format does not say: {error}"
        ))
    }

    /// A serialiser's own error for this one; the words stay aside.
    #[cold]
    fn into_ser<E: serde::ser::Error>(self) -> E {
        E::custom(self)
    }

    /// A deserialiser's own error for this one; the words stay aside.
    #[cold]
    fn into_de<E: serde::de::Error>(self) -> E {
        E::custom(self)
    }

    fn into_words(self) -> String {
        let words = WORDS.try_with(RefCell::take).ok().flatten();
        words.unwrap_or_else(|| "an error whose words are lost".to_owned())
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its words are put aside")
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    #[cold]
    fn custom<T: Display>(words: T) -> Self {
        Fault::new(words.to_string())
    }
}

impl serde::de::Error for Fault {
    #[cold]
    fn custom<T: Display>(words: T) -> Self {
        Fault::new(words.to_string())
    }
}
