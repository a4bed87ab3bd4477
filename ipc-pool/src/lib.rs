//! A pool of worker processes: the crate's turn has not come, nothing stands here.
//!
//! What will: `Pool` with `map`, `imap_unordered`, `apply` and their kin, typed results, deadlines,
//! retries and cancellation. A worker that is killed fails the one task it had; every other task and
//! the pool go on.
