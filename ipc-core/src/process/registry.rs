//! The children of this process.
//!
//! A child is entered when it starts and removed by whoever finds first that it has ended: a join, the sweep that comes with
//! every new child, [`active_children`](crate::active_children), the exit. Until then the registry holds it, so a dropped
//! handle neither loses the child nor leaves a zombie behind.

use crate::primitive::mutant;
use crate::primitive::sync::{Arc, Mutex};

/// What a registry needs to know of its members.
pub trait Member {
    /// Whether it has ended; takes the zombie away if so. Answers the same ever after.
    fn has_ended(&self) -> bool;
}

/// See the module's documentation.
pub struct Registry<C> {
    members: Mutex<Vec<Arc<C>>>,
}

impl<C: Member> Default for Registry<C> {
    fn default() -> Registry<C> {
        Registry::new()
    }
}

impl<C: Member> Registry<C> {
    /// No children.
    pub fn new() -> Registry<C> {
        Registry { members: Mutex::new(Vec::new()) }
    }

    /// Enters a child, and removes those that nobody has a handle of any more and that have ended.
    pub fn add(&self, child: Arc<C>) {
        let forget = mutant::is("a child without a handle is forgotten");
        let mut members = self.members.lock();
        let gone =
            take_out(&mut members, |member| Arc::strong_count(member) == 1 && (member.has_ended() || forget));
        members.push(child);
        drop(members);
        drop(gone);
    }

    /// Removes a child that has ended.
    pub fn remove(&self, child: &Arc<C>) {
        let mut members = self.members.lock();
        if let Some(at) =
            members.iter().position(|member| Arc::ptr_eq(member, child) || mutant::is("any is removed"))
        {
            members.swap_remove(at);
        }
    }

    /// Those that run; removes the others.
    pub fn running(&self) -> Vec<Arc<C>> {
        let mut members = self.members.lock();
        let gone = take_out(&mut members, |member| member.has_ended());
        let running = members.clone();
        if mutant::is("a list takes all out") {
            members.clear();
        }
        drop(members);
        drop(gone);
        running
    }
}

/// Takes those out that `goes` says. They are dropped when the lock is not held any more: a value that nobody has joined for
/// may be dropped with its child, and that is the user's code.
fn take_out<C>(members: &mut Vec<Arc<C>>, goes: impl Fn(&Arc<C>) -> bool) -> Vec<Arc<C>> {
    let (gone, kept) = std::mem::take(members).into_iter().partition(|member| goes(member));
    *members = kept;
    gone
}
