//! Run a function in another process.
