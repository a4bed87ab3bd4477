//! Words that are owed to a receiver: of each message that was begun and given up, that no more of it will come.
//!
//! | a number | means | left by |
//! |---|---|---|
//! | in the list | nobody has told it | a thread that takes it out to tell it |
//! | with a thread | it is being told | told; or put back, where there was no room |
//!
//! Any number of threads send by one end: no two tell the same, and none is forgotten. A count beside the list lets a sender that owes nothing
//! pass without the lock.

use crate::primitive::mutant;
use crate::primitive::sync::Mutex;
use crate::primitive::sync::atomic::{AtomicUsize, Ordering};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Owed {
    given_up: Mutex<Vec<u64>>,
    count: AtomicUsize,
}

impl Owed {
    /// Nothing is owed.
    pub fn new() -> Owed {
        Owed { given_up: Mutex::new(Vec::new()), count: AtomicUsize::new(0) }
    }

    /// Whether anything may be owed.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Notes a message that was given up.
    pub fn add(&self, id: u64) {
        let mut given_up = self.given_up.lock();
        given_up.push(id);
        self.count.store(given_up.len(), Ordering::Relaxed);
    }

    /// Tells of each that is owed, until `tell` fails.
    ///
    /// # Errors
    /// That of `tell`; what it failed at is owed as before.
    pub fn tell_all<E>(&self, mut tell: impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
        while let Some(id) = self.take() {
            if let Err(error) = tell(id) {
                if !mutant::is("what was not told is forgotten") {
                    self.add(id);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&self) -> Option<u64> {
        let mut given_up = self.given_up.lock();
        let id = if mutant::is("two tell the same") { given_up.last().copied() } else { given_up.pop() };
        self.count.store(given_up.len(), Ordering::Relaxed);
        id
    }
}
