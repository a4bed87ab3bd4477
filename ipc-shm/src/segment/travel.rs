//! Segments, views and frozen data inside values.
//!
//! Each travels as its descriptor and the little that the descriptor should agree with: the length, and whether it was reserved. The
//! receiver trusts neither before it has looked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::primitive::message::{Shared, share};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::mapping::{self, Mapping};
use super::{Frozen, Segment, View, check};
use crate::error::Result;
use crate::sys::memory::Access;

/// Memory as it is sent.
#[derive(serde::Serialize)]
struct Leaving<'a> {
    len: u64,
    reserved: bool,
    #[serde(with = "ipc_core::as_descriptor")]
    file: BorrowedFd<'a>,
}

/// Memory as it is received.
#[derive(serde::Deserialize)]
struct Arriving {
    len: u64,
    reserved: bool,
    #[serde(with = "ipc_core::as_descriptor")]
    file: OwnedFd,
}

impl Arriving {
    fn check(&self, access: Access) -> Result<check::Found> {
        check::check_said(self.file.as_fd(), access, self.len, self.reserved)
    }
}

/// Its descriptor goes with the message, once for all handles of it; serialised otherwise, as JSON say, it is an error.
impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.len() as u64, self.mapping.reserved, Sharing(self)).serialize(serializer)
    }
}

struct Sharing<'a>(&'a Segment);

impl Serialize for Sharing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        share(self.0.as_fd(), self.0.number(), serializer)
    }
}

/// Looked at first: [`Error::NotASegment`](crate::Error::NotASegment) is an error of the message then.
impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Segment, D::Error> {
        let (len, reserved, shared) = <(u64, bool, Shared)>::deserialize(deserializer)?;
        let first = |file: OwnedFd| -> Result<Segment> {
            let found = check::check_said(file.as_fd(), Access::Shared, len, reserved)?;
            Ok(Segment { mapping: Mapping::of(file, &found, Access::Shared)? })
        };
        let segment = shared.take(first).map_err(D::Error::custom)?;
        if segment.len() as u64 != len {
            return Err(D::Error::custom(format!(
                "a segment of {} bytes is said to have {len}",
                segment.len()
            )));
        }
        Ok(segment)
    }
}

/// As a descriptor that is open for reading only; serialised otherwise, as JSON say, it is an error.
impl Serialize for View {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Mapping { map, reserved, .. } = &*self.mapping;
        Leaving { len: map.len() as u64, reserved: *reserved, file: map.as_fd() }.serialize(serializer)
    }
}

/// Looked at first, as a [`Segment`].
impl<'de> Deserialize<'de> for View {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<View, D::Error> {
        let arriving = Arriving::deserialize(deserializer)?;
        let found = arriving.check(Access::View).map_err(D::Error::custom)?;
        let mapping = Mapping::of(arriving.file, &found, Access::View).map_err(D::Error::custom)?;
        Ok(View { mapping })
    }
}

/// Its descriptor goes with the message; serialised otherwise, as JSON say, it is an error.
impl Serialize for Frozen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Leaving { len: self.len() as u64, reserved: self.reserved, file: self.as_fd() }.serialize(serializer)
    }
}

/// Looked at first: it must be sealed against writing.
impl<'de> Deserialize<'de> for Frozen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Frozen, D::Error> {
        let arriving = Arriving::deserialize(deserializer)?;
        let found = arriving.check(Access::Private).map_err(D::Error::custom)?;
        let map = mapping::map(arriving.file, found.len, Access::Private).map_err(D::Error::custom)?;
        Frozen::of(map, found.reserved).map_err(D::Error::custom)
    }
}
