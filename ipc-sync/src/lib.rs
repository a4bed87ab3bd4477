//! Synchronisation between processes: the crate's turn has not come, nothing stands here.
//!
//! What will: semaphores, conditions, events and barriers that notice the death of a party, a
//! one-to-one ring and a many-to-many queue that survive `kill -9` of either side, and `select` over
//! all of them. Each in two forms: raw, to be placed in any shared memory, and as a handle that can be
//! sent to another process.
