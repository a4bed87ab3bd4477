//! Run a function in another process.

mod error;
mod message;
pub mod primitive;
mod process;
mod sys;

pub use error::{ChildId, Error, Location, Panic, Ran, Result};
pub use message::bytes::Bytes;
pub use message::codec;
pub use message::descriptors::{Descriptor, as_descriptor};
pub use process::exit::ExitStatus;
pub use process::hooks::{ExitHook, after_fork, at_exit};
pub use process::parallelism::available_parallelism;
pub use process::resource::Resource;
pub use process::signal::Signal;
pub use process::stdio::{Line, Stdio, Stream};

/// The message layer for this crate's own fuzz targets and property tests: no part of its interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::message::descriptors::{Encoded, decode, encode};
    pub use crate::message::{Error, packet};
}
