//! The reaper: a small process that takes the names of dead owners away.
//!
//! A name outlives `kill -9`, and nothing of the kernel's removes it. So there is one more process for each family of them (each tree), started with
//! the first name: this program, executed again, detached, in a session of its own, deaf to SIGINT, SIGTERM, SIGHUP and SIGQUIT, with
//! `/dev/null` for its streams. It waits for the deaths of owners, by their pidfds. Python's `resource_tracker`.
//!
//! # How it is found
//!
//! It listens at an abstract address that follows from the family's [key](ipc_core::AuthKey) and the user, by SHA-256. So every process of
//! the family finds it, and one that was started before the first name needs no word of it; strangers can neither guess nor talk to it. Who finds nobody there binds the
//! address, which one of several can, and starts a reaper with that listener and the end of a connection as its arguments.
//!
//! Strangers can read the address while it listens, and bind it when it is dead. They cannot show the key: so there are several addresses, none
//! of which can be told from another, and who meets a stranger at one, or nobody who answers within a second, goes on to the next. Two reapers of one
//! family do no harm: each knows the names that it was told, and those that it found.
//!
//! # Order
//!
//! A name is told to the reaper *before* it is made. What the reaper keeps of it is the whole record, and it removes what stands under the name only if
//! that is the same record: so it may know too much, and that is never wrong. When the name is made, its owner looks whether the reaper lives
//! still: one that is started later finds the name. To forget a name is a courtesy, which nobody waits for.
//!
//! | who dies | when | what happens |
//! |---|---|---|
//! | an owner | before it told the reaper | there is no name |
//! | | between that and the name | the reaper finds nothing under the name, or another's |
//! | | with the name | the reaper removes it, in the time of a wake-up |
//! | | amid unlinking | the same, or it is gone already |
//! | the reaper | at any time | the family's next name finds it gone, and another is started, which watches over all names that it finds of the family |
//! | the reaper and an owner | before the family's next name | the name stays, 96 bytes, and names nothing; the next reaper of this user removes it, or who makes the name anew |
//! | who starts the reaper | amid it | the address is free again, or the reaper sees that its first owner is gone, and leaves |
//!
//! It ends when no owner is left.

use ipc_core::Descriptor;
use serde::{Deserialize, Serialize};

use super::record::Record;

pub(crate) mod client;
mod server;

/// What an owner says.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Who it is, by a pidfd, and which names it has: the first word. Answered.
    Owner(Descriptor, Vec<Named>),
    /// It is about to make one more. Answered.
    Add(Named),
    /// It has one less. Not answered.
    Forget(Named),
}

/// A name, and what is to stand under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    name: String,
    record: Record,
}
