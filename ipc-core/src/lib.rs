//! Run a function in another process.

mod message;
pub mod primitive;
mod sys;

pub use message::bytes::Bytes;
pub use message::codec;
pub use message::descriptors::{Descriptor, as_descriptor};

/// The message layer for this crate's own fuzz targets and property tests: no part of its interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::message::descriptors::{Encoded, decode, encode};
    pub use crate::message::{Error, packet};
}
