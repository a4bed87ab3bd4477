//! A list inside values: its array, and the name that it was found by.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ListWord, ShareableList};
use crate::object::{Placed, sealed};
use crate::{Arena, Array, Error, Result, Segment};

impl TryFrom<Segment> for ShareableList {
    type Error = Error;

    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<ShareableList> {
        ShareableList::of(Array::try_from(segment)?)
    }
}

/// The list itself, and no copy of its items.
impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(feature = "named")]
        let name = self.memory.as_ref().map(crate::SharedMemory::name);
        #[cfg(not(feature = "named"))]
        let name = None::<&str>;
        (name, &self.words).serialize(serializer)
    }
}

/// Looked at first; whoever receives it has attached to its name.
impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShareableList, D::Error> {
        let (name, words) = <(Option<String>, Array<ListWord>)>::deserialize(deserializer)?;
        let list = ShareableList::of(words).map_err(serde::de::Error::custom)?;
        #[cfg(feature = "named")]
        let list = list.called(name).map_err(serde::de::Error::custom)?;
        #[cfg(not(feature = "named"))]
        drop(name);
        Ok(list)
    }
}

impl sealed::Sealed for ShareableList {
    fn free_in(&self, arena: &Arena) -> Result<()> {
        self.words.free_in(arena)
    }
}

impl Placed for ShareableList {}
