//! Processes: how they are set up, watched, and how they end.

#[cfg(test)]
pub(crate) mod alone;
pub(crate) mod baseline;
pub(crate) mod environment;
pub(crate) mod exit;
pub(crate) mod family;
pub(crate) mod hooks;
pub(crate) mod identity;
mod lines;
pub(crate) mod parallelism;
pub(crate) mod relay;
pub(crate) mod resource;
pub(crate) mod setup;
pub(crate) mod signal;
pub(crate) mod stdio;
