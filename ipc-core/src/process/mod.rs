//! Processes as their parents and they themselves see them.
//!
//! | concern | where |
//! |---|---|
//! | asking for a child | [`builder`], with [`stdio`], [`resource`], [`environment`], [`setup`] for what it is to be |
//! | the handle | [`child`], and without its type [`active`]; what became of it: [`ledger`], [`exit`], [`signal`] |
//! | all children of this process, and its own end | [`family`], [`registry`], [`hooks`] |
//! | this process and its parent | [`current`], [`parent`], [`parallelism`] |
//! | what a fork server's children must be told, and what they cannot be | [`baseline`], [`identity`], read from [`task`] |
//! | the same interface over threads | [`thread`] |
//! | lines of a child's output, passed on | [`relay`] |

pub(crate) mod active;
#[cfg(test)]
pub(crate) mod alone;
pub(crate) mod baseline;
pub(crate) mod builder;
pub(crate) mod child;
pub(crate) mod current;
pub(crate) mod environment;
pub(crate) mod exit;
pub(crate) mod family;
pub(crate) mod hooks;
pub(crate) mod identity;
pub(crate) mod join_future;
pub(crate) mod ledger;
pub(crate) mod life;
mod lines;
pub(crate) mod parallelism;
pub(crate) mod parent;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod resource;
pub(crate) mod setup;
pub(crate) mod signal;
pub(crate) mod spawn_error;
pub(crate) mod stdio;
mod task;
pub(crate) mod thread;
