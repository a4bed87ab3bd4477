//! Segments, views and frozen data inside values.
//!
//! Each travels as its descriptor and the little that the descriptor should agree with: the length, and whether it was reserved. The
//! receiver trusts neither before it has looked.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ipc_core::primitive::message::{Shared, share};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::mapping::Mapping;
use super::{Frozen, Segment, View, check};
use crate::error::Result;
use crate::sys::memory::Access;

fn leave<S: Serializer>(mapping: &Mapping, serializer: S) -> Result<S::Ok, S::Error> {
    (mapping.map.len() as u64, mapping.reserved, Sharing(mapping)).serialize(serializer)
}

struct Sharing<'a>(&'a Mapping);

impl Serialize for Sharing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        share(self.0.as_fd(), self.0.entry.number(), serializer)
    }
}

fn arrive<'de, D: Deserializer<'de>>(access: Access, deserializer: D) -> Result<Arc<Mapping>, D::Error> {
    let (len, reserved, shared) = <(u64, bool, Shared)>::deserialize(deserializer)?;
    let first = |file: OwnedFd| {
        let found = check::check_said(file.as_fd(), access, len, reserved)?;
        Mapping::of(file, &found, access)
    };
    let mapping = shared.take::<_, crate::Error>(first).map_err(D::Error::custom)?;
    if mapping.entry.access() != access || mapping.map.len() as u64 != len {
        return Err(D::Error::custom("another handle of this message says otherwise of the same memory"));
    }
    Ok(mapping)
}

/// Its descriptor goes with the message, once for all handles of it; serialised otherwise, as JSON say, it is an error.
impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(&self.mapping, serializer)
    }
}

/// Looked at first: [`Error::NotASegment`](crate::Error::NotASegment) is an error of the message then.
impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Segment, D::Error> {
        Ok(Segment { mapping: arrive(Access::Shared, deserializer)? })
    }
}

/// As a descriptor that is open for reading only, once for all handles of it; serialised otherwise, as JSON say, it is an error.
impl Serialize for View {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(&self.mapping, serializer)
    }
}

/// Looked at first, as a [`Segment`].
impl<'de> Deserialize<'de> for View {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<View, D::Error> {
        Ok(View { mapping: arrive(Access::View, deserializer)? })
    }
}

/// Its descriptor goes with the message, once for all handles of it; serialised otherwise, as JSON say, it is an error.
impl Serialize for Frozen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        leave(self.mapping(), serializer)
    }
}

/// Looked at first: it must be sealed against writing.
impl<'de> Deserialize<'de> for Frozen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Frozen, D::Error> {
        Frozen::of(arrive(Access::Private, deserializer)?).map_err(D::Error::custom)
    }
}
