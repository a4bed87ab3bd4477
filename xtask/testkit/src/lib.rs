//! Helpers that the tests of all crates share.
