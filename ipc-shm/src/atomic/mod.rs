//! Atomics that processes share, and that can be waited for.
//!
//! std's atomics work on shared memory as they are; what they lack is a way to sleep until one changes. A futex alone would not do: whoever has
//! changed it may be killed before it wakes anybody, and whoever is woken before it wakes the next. So an [`Atomic`] has a *gate* beside it
//! (`gate.rs`): each method that changes it announces that to the kernel first, changes it, and looks whether anybody sleeps.
//!
//! **Nothing is to be notified.** C++ and the futex crates wake by a call of its own, `notify_all`, that can be forgotten, and that one who dies between the two
//! never makes; announced first, both are one step. While nobody waits that costs no system call: two stores to the thread's own memory, a fence,
//! and a look at a word in the same cache line.
//!
//! A future there is none: the process that has one would have to pass a wake-up on even while nobody polls it, and for that the event of
//! `ipc-sync` is made, which rings a descriptor.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::primitive::time::Until;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::gate;
use crate::object::{self, Contents, Home, Kind, Object};
use crate::sys::cell::Cell;
use crate::sys::robust_list::Thread;
use crate::sys::unlisted::Unlisted;
use crate::{Arena, Error, Result, Segment};

mod primitive;

pub use primitive::{AtomicInteger, AtomicPrimitive};

/// An atomic integer or `bool` that processes share, and can wait for. Methods that std's atomics have are named as there and do the same.
///
/// A handle: cloned and sent, it stays the same atomic. It has no lock, so nobody is told of a death: what is changed is
/// changed in one step, or not at all.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::Atomic;
/// use std::sync::atomic::Ordering::{AcqRel, Relaxed};
///
/// fn work(done: Atomic<u32>, stop: Atomic<bool>) {
///     while !stop.load(Relaxed) && done.fetch_add(1, AcqRel) < 9 {
///         // …
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (done, stop) = (Atomic::new(0_u32)?, Atomic::new(false)?);
/// let child = spawn(work, (done.clone(), stop.clone()))?;
///
/// let mut count = done.wait(0);                // sleeps until there is another number
/// while count < 10 {
///     count = done.wait(count);
/// }
/// child.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # Waiting
///
/// [`wait`](Atomic::wait) sleeps as long as the atomic is what it was given. Each change wakes all who sleep, and none needs to be notified of
/// it: not by [`store`](Atomic::store), and not by any other method that changes it. Who is woken looks again, so a value that was
/// there and is gone before that may not be seen.
///
/// # When a process dies
///
/// | who dies (`kill -9` included) | what happens |
/// |---|---|
/// | one who changes it, before the change | nothing has changed, nobody is woken |
/// | one who has changed it, before it woke anybody | the kernel wakes one who waits, and that one the next: all see the change |
/// | one who wakes others, half way | the same |
/// | one who waits, asleep or just woken | the others are woken all the same |
/// | who has the last handle | the memory is freed |
///
/// "The kernel wakes" means within microseconds; before Linux 6.2, within 100 ms.
///
/// What nobody can tell is *who* has changed it last, or that who was to change it is dead: for that there is [`Value`](crate::Value).
#[derive(Clone)]
pub struct Atomic<T: AtomicPrimitive> {
    cell: Cell<T>,
}

impl<T: AtomicPrimitive> Atomic<T> {
    /// A new atomic, in a segment of its own: a page of memory, and a descriptor.
    ///
    /// # Errors
    /// As [`Value::new`](crate::Value::new); [`Error::Unsupported`] where the kernel does not look after threads (a sandbox).
    pub fn new(value: T) -> Result<Atomic<T>> {
        Atomic::create(value, Home::default())
    }

    /// A new atomic in an arena. It is not freed by itself but goes with the arena: who has a handle may use it at any time.
    ///
    /// # Errors
    /// As [`Value::new_with`](crate::Value::new_with) and [`new`](Atomic::new).
    pub fn new_with(value: T, arena: &Arena) -> Result<Atomic<T>> {
        Atomic::create(value, arena.into())
    }

    fn create(value: T, home: Home<'_>) -> Result<Atomic<T>> {
        Atomic::of(Object::create(Kind::Atomic, Contents::Elements(&[value.cell()]), home)?)
    }

    fn of(object: Object) -> Result<Atomic<T>> {
        if object.len() != 1 {
            return Err(Error::not_a_segment("it holds more than one atomic"));
        }
        crate::lock::raw::kernel().map_err(Error::refused)?;
        Ok(Atomic { cell: Cell::of(object) })
    }

    /// The segment that it stands in: its own, for a process that cannot be sent a value ([`Segment::into_fd`]), or that of its arena.
    pub fn segment(&self) -> &Segment {
        self.cell.object().segment()
    }

    /// Changes it in one step that reads and writes, and wakes all who sleep if it says that it did.
    #[inline(always)]
    fn attempt<R>(&self, change: impl FnOnce(&T::Atom) -> (bool, R)) -> R {
        let change = || change(self.cell.atom());
        match Thread::current() {
            Ok(thread) => gate::update(thread, self.cell.gate(), u32::MAX, change),
            Err(_) => unlisted(self.cell.gate(), change),
        }
    }

    #[inline(always)]
    fn change<R>(&self, change: impl FnOnce(&T::Atom) -> R) -> R {
        self.attempt(|atom| (true, change(atom)))
    }

    /// The value.
    ///
    /// # Panics
    /// If `order` is `Release` or `AcqRel`, as std's.
    #[inline]
    pub fn load(&self, order: Ordering) -> T {
        self.cell.load(order)
    }

    /// Puts a value in, and wakes all who wait.
    ///
    /// # Panics
    /// If `order` is `Acquire` or `AcqRel`, as std's.
    #[inline]
    pub fn store(&self, value: T, order: Ordering) {
        let change = || (true, T::store(self.cell.atom(), value, order));
        match Thread::current() {
            Ok(thread) => gate::attempt(thread, self.cell.gate(), u32::MAX, change),
            Err(_) => unlisted(self.cell.gate(), change),
        }
    }

    /// Puts a value in, and gives the one that was there; wakes all who wait, if it is another one.
    #[inline]
    pub fn swap(&self, value: T, order: Ordering) -> T {
        self.attempt(|atom| {
            let before = T::swap(atom, value, order);
            (before != value, before)
        })
    }

    /// Puts `new` in if `current` is there, and wakes all who wait then. Gives what was there.
    ///
    /// # Errors
    /// What is there is something else, and is given.
    ///
    /// # Panics
    /// If `failure` is `Release` or `AcqRel`, as std's.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T> {
        self.exchange([current, new], [success, failure], false)
    }

    /// As [`compare_exchange`](Atomic::compare_exchange), but it may fail although `current` is there: for loops.
    ///
    /// # Errors
    /// As [`compare_exchange`](Atomic::compare_exchange).
    #[inline]
    pub fn compare_exchange_weak(
        &self,
        current: T,
        new: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<T, T> {
        self.exchange([current, new], [success, failure], true)
    }

    #[inline(always)]
    fn exchange(&self, values: [T; 2], orders: [Ordering; 2], weak: bool) -> Result<T, T> {
        self.attempt(|atom| {
            let answer = T::exchange(atom, values, orders, weak);
            (answer.is_ok() && values[0] != values[1], answer)
        })
    }

    /// Puts in what `f` makes of the value, and tries again where another was faster. Gives what was there.
    ///
    /// ```
    /// use ipc_shm::Atomic;
    /// use std::sync::atomic::Ordering::{Acquire, AcqRel};
    ///
    /// let permits = Atomic::new(1_u32)?;
    /// let take = || permits.fetch_update(AcqRel, Acquire, |n| n.checked_sub(1));
    /// assert_eq!((take(), take()), (Ok(1), Err(0)));
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `f` gave `None` for the value that is given.
    pub fn fetch_update(
        &self,
        set_order: Ordering,
        fetch_order: Ordering,
        mut f: impl FnMut(T) -> Option<T>,
    ) -> Result<T, T> {
        let mut seen = self.load(fetch_order);
        while let Some(new) = f(seen) {
            match self.compare_exchange_weak(seen, new, set_order, fetch_order) {
                Ok(before) => return Ok(before),
                Err(now) => seen = now,
            }
        }
        Err(seen)
    }

    /// Bitwise, or logical, "and" with the value; gives what was there.
    #[inline]
    pub fn fetch_and(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::and(atom, value, order))
    }

    /// "Not and" with the value; gives what was there.
    #[inline]
    pub fn fetch_nand(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::nand(atom, value, order))
    }

    /// "Or" with the value; gives what was there.
    #[inline]
    pub fn fetch_or(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::or(atom, value, order))
    }

    /// "Exclusive or" with the value; gives what was there.
    #[inline]
    pub fn fetch_xor(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::xor(atom, value, order))
    }

    /// Sleeps as long as it is `value`; gives what it is then. It sees all that was done before the change, whatever that change's ordering was, if it was at
    /// least `Release`.
    ///
    /// ```
    /// use ipc_shm::Atomic;
    /// use std::sync::atomic::Ordering::Release;
    ///
    /// let phase = Atomic::new(1_u8)?;
    /// let child = ipc_core::spawn(|phase: Atomic<u8>| phase.store(2, Release), (phase.clone(),));
    /// assert_eq!(phase.wait(1), 2);
    /// # child.unwrap().join().unwrap();
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    pub fn wait(&self, value: T) -> T {
        // Without a deadline it ends with a change only.
        loop {
            if let Some(now) = self.wait_until(value, Until::Forever) {
                return now;
            }
        }
    }

    /// As [`wait`](Atomic::wait), at most for `timeout`; `None`: it is `value` still.
    pub fn wait_timeout(&self, value: T, timeout: Duration) -> Option<T> {
        self.wait_until(value, Until::after(timeout))
    }

    /// As [`wait`](Atomic::wait), at most until `deadline`; `None`: it is `value` still.
    pub fn wait_deadline(&self, value: T, deadline: Instant) -> Option<T> {
        self.wait_until(value, Until::Deadline(deadline))
    }

    fn wait_until(&self, value: T, until: Until) -> Option<T> {
        let look = |now| (now != value).then_some(now);
        // What the others wait for nobody knows.
        let more = |_| true;
        match Thread::current() {
            Ok(thread) => gate::wait(thread, self.cell.gate(), &self.cell, until, look, more),
            Err(_) => gate::wait(&Unlisted, self.cell.gate(), &self.cell, until, look, more),
        }
    }
}

impl<T: AtomicInteger> Atomic<T> {
    /// Adds a number, wrapping around; gives what was there.
    #[inline]
    pub fn fetch_add(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::add(atom, value, order))
    }

    /// Subtracts a number, wrapping around; gives what was there.
    #[inline]
    pub fn fetch_sub(&self, value: T, order: Ordering) -> T {
        self.change(|atom| T::sub(atom, value, order))
    }

    /// Makes it the larger of itself and `value`; gives what was there.
    #[inline]
    pub fn fetch_max(&self, value: T, order: Ordering) -> T {
        self.attempt(|atom| {
            let before = T::larger(atom, value, order);
            (before < value, before)
        })
    }

    /// Makes it the smaller of itself and `value`; gives what was there.
    #[inline]
    pub fn fetch_min(&self, value: T, order: Ordering) -> T {
        self.attempt(|atom| {
            let before = T::smaller(atom, value, order);
            (before > value, before)
        })
    }
}

impl Atomic<bool> {
    /// Makes it what it is not; gives what was there.
    #[inline]
    pub fn fetch_not(&self, order: Ordering) -> bool {
        self.fetch_xor(true, order)
    }
}

#[cold]
fn unlisted<R>(gate: &crate::lock::system::Node, change: impl FnOnce() -> (bool, R)) -> R {
    gate::attempt(&Unlisted, gate, u32::MAX, change)
}

impl<T: AtomicPrimitive> TryFrom<Segment> for Atomic<T> {
    type Error = Error;

    /// The atomic that has the segment for itself.
    ///
    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Atomic<T>> {
        Atomic::of(Object::of_segment::<T::Cell>(segment, Kind::Atomic, None)?)
    }
}

impl<T: AtomicPrimitive> Serialize for Atomic<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.cell.object().serialize(serializer)
    }
}

impl<'de, T: AtomicPrimitive> Deserialize<'de> for Atomic<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Atomic<T>, D::Error> {
        let object = object::received_alone::<T::Cell, D>(Kind::Atomic, deserializer)?;
        Atomic::of(object).map_err(serde::de::Error::custom)
    }
}

impl<T: AtomicPrimitive> fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Atomic").field(&self.load(Ordering::Relaxed)).finish()
    }
}
