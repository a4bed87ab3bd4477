//! The stock of a fork server's client: newborns asked for, answered, and not yet used.
//!
//! A fork takes the server 60 µs, and longer until the child waits for its message. A *spare* is a newborn that was asked for before
//! it is needed; taking one costs no more than sending it its message. The answers of the server come in the order of
//! the requests, so what was asked for is a queue.
//!
//! | state | means | left by |
//! |---|---|---|
//! | no source | no server was started, or it was lost | `take` with a source |
//! | asked n | n requests were sent whose answers have not been read | `take`, which reads one |
//! | ready n | n newborns wait here | `take` |
//!
//! One lock; it is held while an answer is awaited, so callers that find nothing ready queue up behind each other, as
//! they would in front of the server.

use std::collections::VecDeque;

use crate::primitive::sync::Mutex;

/// Where newborns come from: a server process.
pub(crate) trait Source {
    type Newborn;
    type Error;

    /// Sends a request, without waiting.
    fn ask(&mut self) -> Result<(), Self::Error>;

    /// Waits for the next answer.
    fn answer(&mut self) -> Result<Self::Newborn, Self::Error>;

    /// Whether nothing more is to be had from it.
    fn is_lost(&self) -> bool;
}

/// See the module's documentation.
pub(crate) struct Supply<S: Source> {
    stock: Mutex<Option<Stock<S>>>,
}

pub(crate) struct Stock<S: Source> {
    pub(crate) source: S,
    asked: usize,
    ready: VecDeque<S::Newborn>,
}

/// What is kept in stock for the next caller.
const SPARES: usize = 1;

impl<S: Source> Supply<S> {
    pub(crate) fn new() -> Supply<S> {
        Supply { stock: Mutex::new(None) }
    }

    /// Runs `f` with the stock, if there is a source.
    pub(crate) fn with<T>(&self, f: impl FnOnce(Option<&mut Stock<S>>) -> T) -> T {
        f(self.stock.lock().as_mut())
    }

    /// Takes a newborn that `fits` says is alive; the others are given to `discard`.
    ///
    /// `source` is asked for a source where there is none; it may replace the one there is (by returning a new one), whose
    /// stock is then discarded.
    pub(crate) fn take<E: From<S::Error>>(
        &self,
        source: impl FnOnce(Option<&S>) -> Result<Option<S>, E>,
        fits: impl Fn(&S::Newborn) -> bool,
        discard: impl Fn(S::Newborn),
    ) -> Result<S::Newborn, E> {
        let mut slot = self.stock.lock();
        if let Some(fresh) = source(slot.as_ref().map(|stock| &stock.source))? {
            let old = slot.replace(Stock { source: fresh, asked: 0, ready: VecDeque::new() });
            old.into_iter().for_each(|old| old.discard(&discard));
        }
        let Some(stock) = slot.as_mut() else { unreachable!("`source` gives one where there is none") };
        let taken = stock.take(fits, &discard);
        if taken.is_err() && stock.source.is_lost() {
            // What it gave lives on for those who have it; what nobody has goes.
            slot.take().into_iter().for_each(|old| old.discard(&discard));
        }
        Ok(taken?)
    }

    /// Asks for a spare if there is none, without waiting for it.
    pub(crate) fn renew(&self) {
        // If somebody holds the lock, they are taking one, and will see to it.
        let Some(mut slot) = self.stock.try_lock() else { return };
        if let Some(stock) = slot.as_mut()
            && stock.asked + stock.ready.len() < SPARES
            && stock.source.ask().is_ok()
        {
            stock.asked += 1;
        }
    }

    /// Gives everything up.
    pub(crate) fn clear(&self, discard: impl Fn(S::Newborn)) {
        self.stock.lock().take().into_iter().for_each(|old| old.discard(&discard));
    }
}

impl<S: Source> Stock<S> {
    fn take(
        &mut self,
        fits: impl Fn(&S::Newborn) -> bool,
        discard: impl Fn(S::Newborn),
    ) -> Result<S::Newborn, S::Error> {
        while let Some(spare) = self.ready.pop_front() {
            if fits(&spare) {
                return Ok(spare);
            }
            discard(spare);
        }
        // What was asked for earlier may have been refused earlier, for want of something that is there now.
        let mut earlier = self.asked;
        loop {
            if self.asked == 0 {
                // None was made in advance, so children are wanted faster than they are joined: one for now and one to spare.
                for _ in 0..=SPARES {
                    self.source.ask()?;
                    self.asked += 1;
                }
            }
            // Whatever the answer is, one is awaited no more.
            self.asked -= 1;
            match self.source.answer() {
                Ok(answer) if fits(&answer) => return Ok(answer),
                Ok(answer) => discard(answer),
                Err(_) if earlier > 0 && !self.source.is_lost() => {}
                Err(error) => return Err(error),
            }
            earlier = earlier.saturating_sub(1);
        }
    }

    /// Reads what was asked for, so that nobody is left behind, and gives all of it up.
    fn discard(mut self, discard: impl Fn(S::Newborn)) {
        while self.asked > 0 {
            self.asked -= 1;
            match self.source.answer() {
                Ok(newborn) => discard(newborn),
                Err(_) => break,
            }
        }
        self.ready.into_iter().for_each(discard);
    }
}
