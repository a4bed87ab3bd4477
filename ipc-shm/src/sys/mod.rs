//! Everything `unsafe`, a file per concern.

pub(crate) mod kept;
pub(crate) mod kernel;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod robust_list;
#[cfg(feature = "named")]
pub(crate) mod signals;
pub(crate) mod words;
