//! The stock of a fork server's client: newborns that were asked for and not yet used.
//!
//! A fork takes the server 60 µs, and longer until the child waits for its message. A *spare* is a newborn that was asked for before
//! it is needed; taking one costs no more than reading the server's answer and sending the child its message. The answers come
//! in the order of the requests, so the stock is a number: how many answers are still to be read.
//!
//! | state | means | left by |
//! |---|---|---|
//! | no source | no server was started, or it was lost | `take` with a source |
//! | asked 0 | nothing is in stock | `renew`, which asks for one; `take`, which asks for two |
//! | asked n | n requests were sent whose answers have not been read | `take`, which reads one |
//! | lost | the source has said that it is gone | `take`, which reads what can still be had and gives it up |
//!
//! One lock; it is held while an answer is awaited, so callers that find nothing ready queue up behind each other, as
//! they would in front of the server.

use crate::primitive::mutant;
use crate::primitive::sync::Mutex;

/// Where newborns come from: a server process.
pub trait Source {
    /// What it gives.
    type Newborn;
    /// Why it does not.
    type Error;

    /// Sends a request, without waiting.
    ///
    /// # Errors
    /// The request was not sent, and will not be answered.
    fn ask(&mut self) -> Result<(), Self::Error>;

    /// Waits for the next answer.
    ///
    /// # Errors
    /// The answer is that there is no newborn. Either way the request is answered.
    fn answer(&mut self) -> Result<Self::Newborn, Self::Error>;

    /// Whether nothing more is to be had from it.
    fn is_lost(&self) -> bool;
}

/// See the module's documentation.
pub struct Supply<S: Source> {
    stock: Mutex<Option<Stock<S>>>,
}

struct Stock<S: Source> {
    source: S,
    asked: usize,
}

/// What is kept in stock for the next caller.
const SPARES: usize = 1;

impl<S: Source> Default for Supply<S> {
    fn default() -> Supply<S> {
        Supply::new()
    }
}

impl<S: Source> Supply<S> {
    /// Nothing in stock, and no source.
    pub fn new() -> Supply<S> {
        Supply { stock: Mutex::new(None) }
    }

    /// Runs `f` with the source, if there is one.
    pub fn with<T>(&self, f: impl FnOnce(Option<&S>) -> T) -> T {
        f(self.stock.lock().as_ref().map(|stock| &stock.source))
    }

    /// Takes a newborn, and what `of` says of the source it came from. Spares of which `fits` says that they are dead are given
    /// to `discard`.
    ///
    /// `source` is asked for a source where there is none; it may replace the one there is (by returning a new one), whose
    /// stock is then discarded.
    ///
    /// # Errors
    /// Those of `source` and of the source.
    pub fn take<E: From<S::Error>, T>(
        &self,
        source: impl FnOnce(Option<&S>) -> Result<Option<S>, E>,
        fits: impl Fn(&S::Newborn) -> bool,
        discard: impl Fn(S::Newborn),
        of: impl FnOnce(&S) -> T,
    ) -> Result<(S::Newborn, T), E> {
        let mut slot = self.stock.lock();
        if let Some(fresh) = source(slot.as_ref().map(|stock| &stock.source))? {
            let old = slot.replace(Stock { source: fresh, asked: 0 });
            old.into_iter().for_each(|old| old.discard(&discard));
        }
        let Some(stock) = slot.as_mut() else { unreachable!("`source` gives one where there is none") };
        match stock.take(fits, &discard) {
            Ok(newborn) => Ok((newborn, of(&stock.source))),
            Err(error) => {
                if stock.source.is_lost() {
                    // What it gave lives on for those who have it; what nobody has goes.
                    slot.take().into_iter().for_each(|old| old.discard(&discard));
                }
                Err(error.into())
            }
        }
    }

    /// Asks for a spare if there is none, without waiting for it.
    pub fn renew(&self) {
        // If somebody holds the lock, they are taking one: the next to end will ask for it.
        let Some(mut slot) = self.stock.try_lock() else { return };
        if let Some(stock) = slot.as_mut()
            && stock.asked < SPARES
            && stock.source.ask().is_ok()
            && !mutant::is("a renewal is not counted")
        {
            stock.asked += 1;
        }
    }

    /// Gives everything up.
    pub fn clear(&self, discard: impl Fn(S::Newborn)) {
        self.stock.lock().take().into_iter().for_each(|old| old.discard(&discard));
    }
}

impl<S: Source> Stock<S> {
    fn take(
        &mut self,
        fits: impl Fn(&S::Newborn) -> bool,
        discard: impl Fn(S::Newborn),
    ) -> Result<S::Newborn, S::Error> {
        loop {
            let in_advance = self.asked > 0;
            if !in_advance {
                self.source.ask()?;
                self.asked += 1;
                // None was made in advance, so children are wanted faster than they are joined: another one to spare. If
                // that cannot be asked for, the caller has no part in it.
                self.asked += (0..SPARES).take_while(|_| self.source.ask().is_ok()).count();
            }
            match self.answer() {
                // One that was made for this caller is theirs, alive or dead: another might be killed as well, and so on.
                Ok(newborn) if !in_advance || fits(&newborn) || mutant::is("a dead spare is handed out") => {
                    return Ok(newborn);
                }
                Ok(newborn) => discard(newborn),
                // A spare could not be made: that was then.
                Err(_) if in_advance && !self.source.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next answer, whatever it is, is one that is no longer awaited.
    fn answer(&mut self) -> Result<S::Newborn, S::Error> {
        let answer = self.source.answer();
        if answer.is_ok() || !mutant::is("a refusal is not counted") {
            self.asked -= 1;
        }
        answer
    }

    /// Reads what was asked for, so that nobody is left behind, and gives all of it up.
    fn discard(mut self, discard: impl Fn(S::Newborn)) {
        while self.asked > 0 && !mutant::is("old stock is forgotten") {
            self.answer().into_iter().for_each(&discard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Answers every request with a number, for ever.
    struct Numbers(Rc<Cell<u32>>, u32);

    impl Source for Numbers {
        type Newborn = u32;
        type Error = ();

        fn ask(&mut self) -> Result<(), ()> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }

        fn answer(&mut self) -> Result<u32, ()> {
            self.1 += 1;
            Ok(self.1)
        }

        fn is_lost(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_taker_of_whom_all_spares_die_asks_once_more_and_no_further() {
        let supply = Supply::new();
        let asked = Rc::new(Cell::new(0));
        let mut last = 0;
        for _ in 0..100 {
            let before = asked.get();
            let source = |known: Option<&Numbers>| Ok(known.is_none().then(|| Numbers(asked.clone(), 0)));
            let (newborn, ()) = supply.take::<(), _>(source, |_| false, |_| {}, |_| ()).unwrap();
            assert!(newborn > last);
            last = newborn;
            assert!(asked.get() - before <= 1 + SPARES as u32);
            supply.renew();
        }
    }
}
