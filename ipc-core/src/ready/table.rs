//! Who waits for which descriptor, and with which waker: the part of the helper that threads share.
//!
//! | a waiter is | left by |
//! |---|---|
//! | absent | [`register`](Table::register): the waker is put down, then the kernel is armed, both under the lock |
//! | armed | an event: taken out under the lock, woken outside it |
//! | armed | [`renew`](Table::renew): another waker, same state |
//! | armed | [`cancel`](Table::cancel): the future was dropped, or found its descriptor ready |
//!
//! An event is one-shot, and stands for a number, which several waiters may share (the reader and the writer of one socket): those that it
//! does not concern are armed again. An event may also concern nobody any more, or another descriptor that got the number: whoever is woken
//! looks for itself, so that costs a look and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::task::Waker;

use crate::primitive::mutant;
use crate::primitive::sync::Mutex;

/// The part of the kernel: epoll, or a model of it.
pub trait Kernel {
    /// One event is to come once this descriptor is ready for one of `interest`; now, if it is.
    ///
    /// # Errors
    /// The kernel refuses.
    fn arm(&self, number: RawFd, interest: u8) -> io::Result<()>;

    /// No event is to come.
    fn disarm(&self, number: RawFd);
}

/// See the module's documentation.
pub struct Table {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiters: BTreeMap<RawFd, Vec<Waiter>>,
}

struct Waiter {
    id: u64,
    interest: u8,
    waker: Waker,
}

impl State {
    /// What all waiters of a number wait for.
    fn interest(&self, number: RawFd) -> u8 {
        self.waiters.get(&number).into_iter().flatten().fold(0, |all, waiter| all | waiter.interest)
    }

    /// Takes those out that `goes` says.
    fn take(&mut self, number: RawFd, goes: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(list) = self.waiters.remove(&number) else { return Vec::new() };
        let (gone, kept): (Vec<_>, Vec<_>) = list.into_iter().partition(goes);
        if !kept.is_empty() {
            self.waiters.insert(number, kept);
        }
        gone
    }
}

impl Default for Table {
    fn default() -> Table {
        Table { state: Mutex::new(State::default()) }
    }
}

// Wakers are the user's code: none is called, cloned or dropped under the lock.
impl Table {
    /// Adds a waiter; its waker is called once the descriptor is ready for `interest`. Gives the number by which it is known here.
    ///
    /// # Errors
    /// The kernel refuses; then there is no waiter.
    pub fn register(
        &self,
        kernel: &impl Kernel,
        number: RawFd,
        interest: u8,
        waker: &Waker,
    ) -> io::Result<u64> {
        let waker = waker.clone();
        if mutant::is("armed before the waker is there") {
            kernel.arm(number, interest)?;
        }
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.waiters.entry(number).or_default().push(Waiter { id, interest, waker });
        if mutant::is("armed before the waker is there") {
            return Ok(id);
        }
        let armed = kernel.arm(number, state.interest(number));
        let refused = if armed.is_err() { state.take(number, |waiter| waiter.id == id) } else { Vec::new() };
        drop(state);
        drop(refused);
        armed.map(|()| id)
    }

    /// Gives a waiter another waker. False: an event has taken it out (and has woken it, or is about to).
    pub fn renew(&self, number: RawFd, id: u64, waker: &Waker) -> bool {
        let mut fresh = waker.clone();
        let mut state = self.state.lock();
        let list = state.waiters.get_mut(&number).into_iter().flatten();
        let mut found = false;
        for waiter in list.filter(|waiter| waiter.id == id) {
            if !mutant::is("the first waker stays") {
                std::mem::swap(&mut waiter.waker, &mut fresh);
            }
            found = true;
        }
        drop(state);
        found
    }

    /// Takes a waiter out, if it is there.
    pub fn cancel(&self, kernel: &impl Kernel, number: RawFd, id: u64) {
        if mutant::is("a dropped future stays") {
            return;
        }
        let mut state = self.state.lock();
        let gone = state.take(number, |waiter| waiter.id == id);
        // With others left it stays armed for too much, which costs them a look.
        if !gone.is_empty() && !state.waiters.contains_key(&number) {
            kernel.disarm(number);
        }
        drop(state);
        drop(gone);
    }

    /// An event: wakes those that it concerns.
    pub fn fired(&self, kernel: &impl Kernel, number: RawFd, ready: u8) {
        let mut state = self.state.lock();
        let mut woken = state.take(number, |waiter| waiter.interest & ready != 0);
        let rest = state.interest(number);
        if rest != 0 && !mutant::is("the rest is forgotten") && kernel.arm(number, rest).is_err() {
            // They are told by the same error when they look.
            woken.extend(state.take(number, |_| true));
        }
        drop(state);
        for waiter in woken {
            crate::entry::panics::contain(|| waiter.waker.wake());
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state.lock().waiters.values().map(Vec::len).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One future's place in a [`Table`].
#[derive(Debug, Default)]
pub struct Place(Option<(RawFd, u64)>);

impl Place {
    /// Sees to it that `waker` is called when the descriptor is ready, whatever was arranged before.
    ///
    /// # Errors
    /// As [`Table::register`].
    pub fn wait(
        &mut self,
        table: &Table,
        kernel: &impl Kernel,
        number: RawFd,
        interest: u8,
        waker: &Waker,
    ) -> io::Result<()> {
        if let Some((known, id)) = self.0 {
            if known == number && table.renew(number, id, waker) {
                return Ok(());
            }
            self.leave(table, kernel);
        }
        self.0 = Some((number, table.register(kernel, number, interest, waker)?));
        Ok(())
    }

    /// Leaves nothing behind.
    pub fn leave(&mut self, table: &Table, kernel: &impl Kernel) {
        if let Some((number, id)) = self.0.take() {
            table.cancel(kernel, number, id);
        }
    }

    /// Forgets a place in a table of another process.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}
