//! How a child finds its way: from the first instruction of the image to the function it is to run.
//!
//! | step | where |
//! |---|---|
//! | is this process a child? taken up before `main`, or by `init()` | [`hook`] |
//! | is the image on the other side of `exec` really this one? | [`image`] |
//! | which function, named so that a stray number cannot call anything else | [`identity`] |
//! | receive the start message, become what it says, run, report, leave | [`bootstrap`] |
//! | what a panic said, on its way to the parent | [`panics`] |
//! | which frames of its backtrace are the user's | [`trace`] |
//! | and what is said of a stack that is used up | [`last_words`] |

pub(crate) mod bootstrap;
pub(crate) mod fnv;
pub(crate) mod hook;
pub(crate) mod identity;
pub(crate) mod image;
#[cfg(feature = "hook")]
mod last_words;
pub(crate) mod leave;
pub(crate) mod panics;
pub(crate) mod trace;
pub(crate) mod wire;

pub use hook::init;
pub use identity::{Function, Message};
