//! Everything `unsafe`, a file per concern.

pub(crate) mod cell;
pub(crate) mod kept;
pub(crate) mod kernel;
pub(crate) mod live;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod robust_list;
#[cfg(feature = "named")]
pub(crate) mod signals;
pub(crate) mod unlisted;
pub(crate) mod words;
