//! Values on their way to another process.
//!
//! A value passes four rooms. A [`codec`] turns it into bytes; [`bytes`] is the type whose content goes through in one
//! piece (with the feature `bytemuck`, `block` is that for other plain data); [`descriptors`] collects the file descriptors found inside the value and hands them out again on the other side;
//! a [`packet`] carries bytes and descriptors over a socket as one whole frame. Each room knows only those before it, and
//! none of them trusts what arrives: whatever was sent, the receiver ends with a value or with an [`Error`], with bounded
//! memory and stack, and with no descriptor too many.

#[cfg(feature = "bytemuck")]
pub(crate) mod block;
pub(crate) mod bytes;
pub mod codec;
pub(crate) mod descriptors;
pub(crate) mod fragment;
mod guarded;
mod limits;
pub(crate) mod packed;
pub mod packet;

use std::fmt;
use std::io;

/// What can go wrong with a message; the crate's error type wraps it with who wanted what from whom.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The value could not be turned into bytes.
    Encode {
        /// The type of the value.
        type_name: &'static str,
        /// What its `Serialize`, the codec or a descriptor inside it said.
        reason: String,
    },
    /// The bytes are no value of the wanted type.
    Decode {
        /// The wanted type.
        type_name: &'static str,
        /// What its `Deserialize`, the codec or a descriptor inside it said.
        reason: String,
    },
    /// A system call failed.
    Os {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Descriptors were lost on arrival: the kernel could not install them in this process.
    DescriptorsLost {
        /// How many the frame carries.
        sent: u32,
        /// How many of them arrived (and were closed again).
        arrived: u32,
        /// The soft limit of open descriptors here, the likely cause.
        limit: Option<u64>,
    },
    /// What arrived is no frame of this protocol.
    Malformed(String),
    /// The peer died, or closed its end, in the middle of a frame.
    Unfinished {
        /// The descriptors that the frame announced.
        sent: u32,
        /// How many of them arrived (and were closed again).
        arrived: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Encode { type_name, reason } => write!(f, "cannot encode a `{type_name}`: {reason}"),
            Error::Decode { type_name, reason } => write!(f, "cannot decode a `{type_name}`: {reason}"),
            Error::Os { operation, source } => write!(f, "{operation}: {source}"),
            Error::DescriptorsLost { sent, arrived, limit } => {
                write!(f, "a message with {sent} descriptors arrived with only {arrived} of them: ")?;
                match limit {
                    Some(limit) => write!(
                        f,
                        "most likely this process is at its limit of {limit} open descriptors (RLIMIT_NOFILE, `ulimit -n`)"
                    ),
                    None => write!(f, "most likely the system's table of open files is full (fs.file-max)"),
                }
            }
            Error::Malformed(what) => write!(f, "received something that is no message: {what}"),
            Error::Unfinished { sent, arrived } => write!(
                f,
                "the sender ended in the middle of a message, after {arrived} of its {sent} descriptors"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Error {
    /// An [`Error::Os`].
    pub(crate) fn os(operation: &'static str, source: impl Into<io::Error>) -> Self {
        Error::Os { operation, source: source.into() }
    }
}
