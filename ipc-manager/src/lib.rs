//! A server process that hosts objects: the crate's turn has not come, nothing stands here.
//!
//! What will: `Manager`, which keeps lists, dicts, locks, queues and types of the user's own in one
//! process, and typed proxies through which other processes, on this machine or elsewhere, work on
//! them; what a client held is given back when it dies.
