//! The record of a name as bytes, for those who make hostile ones (the fuzz target `record`): no part of this crate's interface.

use super::record::{LENGTH, Owner, Record};
use crate::{Result, Segment};

/// What comes of bytes that stand under a name.
#[derive(Debug)]
pub struct Found {
    /// Whether their owner is taken for a living one.
    pub lives: Result<bool>,
    /// Whether a reaper of their family would wait for its death.
    pub watched: bool,
    /// What [`SharedMemory::attach`](crate::SharedMemory::attach) would give, were it so.
    pub memory: Result<Option<Segment>>,
}

/// What stands under the name of memory that this process has.
///
/// # Errors
/// As [`SharedMemory::create`](crate::SharedMemory::create).
pub fn of(segment: &Segment) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    bytes.copy_from_slice(Record::of(segment, [7; 16])?.as_bytes());
    Ok(bytes)
}

/// All that is done with a record by whoever finds it.
///
/// # Errors
/// Why it is no record.
pub fn found(bytes: &[u8; LENGTH]) -> Result<Found, String> {
    let record = Record::parse(bytes)?;
    let watched = record.watch([7; 16]).is_some();
    let lives = record.owner().map(|owner| owner != Owner::Gone);
    Ok(Found { lives, watched, memory: record.open() })
}
