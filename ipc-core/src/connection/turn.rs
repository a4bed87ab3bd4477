//! Whose turn it is: a lock that can be waited for with a deadline.
//!
//! Of the threads that receive on one end, one at a time takes packets off the socket and puts messages together. It may
//! wait for long, and the others must be able to give up meanwhile. A mutex knows no deadline; so what is needed for
//! receiving lies in a box behind one, who takes it out has the turn, and who puts it back wakes another.
//!
//! | the box | means | becomes |
//! |---|---|---|
//! | full | nobody receives | empty, for whoever looks first |
//! | empty | somebody has the turn | full when that one is done, also by a panic; one waiter is woken |
//!
//! Who is woken looks into the box before it looks at the clock: a wake-up is never lost on one whose time is over.

use std::ops::{Deref, DerefMut};

use crate::poll::Until;
use crate::primitive::mutant;
use crate::primitive::sync::{Condvar, Mutex};

/// See the module's documentation.
#[derive(Debug)]
pub struct Turn<S> {
    inside: Mutex<Lent<S>>,
    back: Condvar,
}

#[derive(Debug)]
struct Lent<S> {
    content: Option<S>,
    /// How many wait for it: a wake-up is a system call, also where nobody sleeps.
    waiting: usize,
}

impl<S> Turn<S> {
    /// Nobody has the turn.
    pub fn new(inside: S) -> Turn<S> {
        Turn { inside: Mutex::new(Lent { content: Some(inside), waiting: 0 }), back: Condvar::new() }
    }

    /// Waits for the turn; `None` when the time is over.
    pub fn take(&self, until: Until) -> Option<Guard<'_, S>> {
        let mut inside = self.inside.lock();
        loop {
            if let Some(taken) = inside.content.take() {
                return Some(Guard { turn: self, taken: Some(taken) });
            }
            let left = until.left();
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            inside.waiting += 1;
            inside = match left {
                None => self.back.wait(inside),
                Some(left) => self.back.wait_timeout(inside, left).0,
            };
            inside.waiting -= 1;
        }
    }
}

/// The turn; given on by drop.
#[derive(Debug)]
pub struct Guard<'a, S> {
    turn: &'a Turn<S>,
    taken: Option<S>,
}

impl<S> Drop for Guard<'_, S> {
    fn drop(&mut self) {
        let mut inside = self.turn.inside.lock();
        inside.content = self.taken.take();
        let awaited = inside.waiting > 0 && !mutant::is("turn: nobody woken");
        drop(inside);
        if awaited {
            self.turn.back.notify_one();
        }
    }
}

impl<S> Deref for Guard<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        match &self.taken {
            Some(taken) => taken,
            None => unreachable!("taken only by drop"),
        }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        match &mut self.taken {
            Some(taken) => taken,
            None => unreachable!("taken only by drop"),
        }
    }
}
