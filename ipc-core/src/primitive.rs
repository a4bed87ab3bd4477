//! The seam for loom: every algorithm that threads or processes share takes its locks, atomics and cells from here.
//!
//! A model checker can only explore what goes through its own types. tokio's answer is one module, shaped like loom, that
//! stands for `std` in a normal build and for loom under a cfg, and no cfg anywhere else; this is that module. The cfg is
//! `ipc_loom` and not the customary `loom`, because the latter would switch dependencies over as well.
//!
//! Two things differ from `std`, both on purpose:
//!
//! - [`sync::Mutex::lock`] returns the guard itself. A lock poisoned by a panic is taken over: the critical sections of
//!   these crates change their data in steps that each leave it consistent, and call no user code while they hold a lock,
//!   so there is nothing that poisoning could protect from.
//! - [`cell::UnsafeCell`] hands its pointer to a closure (loom's shape), so that the model sees where an access begins and
//!   ends.
//!
//! The module is public so that the crates above use this seam and no second one; it is no part of what the crate promises
//! to its users.

/// Whether this is a build for loom, where atomics have another size than those that processes share.
pub const MODEL: bool = cfg!(ipc_loom);

/// Locks, condition variables, reference counts and atomics.
pub mod sync {
    #[cfg(ipc_loom)]
    use loom::sync as imp;
    #[cfg(not(ipc_loom))]
    use std::sync as imp;
    use std::sync::PoisonError;
    use std::time::Duration;

    pub use imp::{Arc, MutexGuard};

    /// Atomic integers, pointers and fences.
    pub mod atomic {
        #[cfg(ipc_loom)]
        pub use loom::sync::atomic::*;
        #[cfg(not(ipc_loom))]
        pub use std::sync::atomic::*;

        /// What `fence(SeqCst)` does, for who has just changed an atomic in one step (`fetch_add`, a `compare_exchange` that did): on x86-64 that
        /// instruction was a fence already, of whatever ordering it was, and a second one costs as much again.
        #[inline(always)]
        pub fn fence_after_update() {
            #[cfg(all(target_arch = "x86_64", not(ipc_loom)))]
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
            #[cfg(not(all(target_arch = "x86_64", not(ipc_loom))))]
            fence(Ordering::SeqCst);
        }
    }

    /// A mutual exclusion lock whose `lock` cannot fail.
    ///
    /// ```
    /// use ipc_core::primitive::sync::Mutex;
    /// let counter = Mutex::new(1);
    /// *counter.lock() += 1;
    /// assert_eq!(*counter.lock(), 2);
    /// ```
    #[derive(Debug, Default)]
    pub struct Mutex<T: ?Sized>(imp::Mutex<T>);

    impl<T> Mutex<T> {
        /// A new, unlocked lock around `value`.
        #[cfg(not(ipc_loom))]
        pub const fn new(value: T) -> Self {
            Self(imp::Mutex::new(value))
        }

        /// A new, unlocked lock around `value`. (The model's locks belong to one run of it, so this one is not `const`.)
        #[cfg(ipc_loom)]
        pub fn new(value: T) -> Self {
            Self(imp::Mutex::new(value))
        }

        /// The value, without locking: nobody else can hold the lock any more.
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T: ?Sized> Mutex<T> {
        /// Waits for the lock and returns the guard, also after a holder panicked (see the module's documentation).
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// The guard, or `None` where somebody holds the lock now.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }

        /// The value, without locking: the borrow shows that nobody else has it.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A condition variable for [`Mutex`].
    ///
    /// ```
    /// use ipc_core::primitive::{sync::{Arc, Condvar, Mutex}, thread};
    /// let pair = Arc::new((Mutex::new(false), Condvar::new()));
    /// let setter = thread::spawn({
    ///     let pair = pair.clone();
    ///     move || {
    ///         *pair.0.lock() = true;
    ///         pair.1.notify_one();
    ///     }
    /// });
    /// let mut ready = pair.0.lock();
    /// while !*ready {
    ///     ready = pair.1.wait(ready);
    /// }
    /// # drop(ready);
    /// # setter.join().unwrap();
    /// ```
    #[derive(Debug, Default)]
    pub struct Condvar(imp::Condvar);

    impl Condvar {
        /// A new condition variable nobody waits on.
        #[cfg(not(ipc_loom))]
        pub const fn new() -> Self {
            Self(imp::Condvar::new())
        }

        /// A new condition variable nobody waits on.
        #[cfg(ipc_loom)]
        pub fn new() -> Self {
            Self(imp::Condvar::new())
        }

        /// Releases the lock, sleeps until notified (or for no reason at all), and locks again.
        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        /// As [`wait`](Self::wait), at most for `timeout`; the flag says whether that passed.
        ///
        /// In loom's model time does not pass: there it waits for a notification.
        pub fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            let (guard, result) = self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
            (guard, result.timed_out())
        }

        /// Wakes one waiter.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all waiters.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// Faults on purpose, to show that a model would find them.
///
/// A model that passes may also have looked at nothing. So each mechanism that a model is about has a place in the code
/// that breaks it, `mutant::is("…")`, and a second model that switches it on and must fail. In a normal build the answer is a
/// constant `false`, and nothing remains of the place.
pub mod mutant {
    /// Whether the code is to be wrong in this place.
    #[cfg(not(ipc_loom))]
    #[inline(always)]
    pub const fn is(_place: &str) -> bool {
        false
    }

    #[cfg(ipc_loom)]
    pub use on::{is, with};

    #[cfg(ipc_loom)]
    mod on {
        use std::cell::Cell;

        // The model's threads all run on the thread that runs the model: this is one cell for all of them, and another for
        // the test beside.
        thread_local! {
            static PLACE: Cell<&'static str> = const { Cell::new("") };
        }

        /// Whether the code is to be wrong in this place.
        pub fn is(place: &str) -> bool {
            PLACE.get() == place
        }

        /// Runs a model with the code wrong in one place.
        pub fn with<R>(place: &'static str, model: impl FnOnce() -> R) -> R {
            PLACE.set(place);
            let _right_again = Right;
            model()
        }

        struct Right;

        impl Drop for Right {
            fn drop(&mut self) {
                PLACE.set("");
            }
        }
    }
}

/// Threads.
pub mod thread {
    #[cfg(ipc_loom)]
    pub use loom::thread::*;
    #[cfg(not(ipc_loom))]
    pub use std::thread::*;
}

/// Hints to the processor.
pub mod hint {
    #[cfg(ipc_loom)]
    pub use loom::hint::spin_loop;
    #[cfg(not(ipc_loom))]
    pub use std::hint::spin_loop;
}

/// Deadlines.
pub mod time {
    use std::time::{Duration, Instant};

    /// How long an operation may wait: the one mechanism behind `try_…`, `…_timeout` and `…_deadline`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Until {
        /// Not at all.
        Now,
        /// Until this instant.
        Deadline(Instant),
        /// As long as it takes.
        Forever,
    }

    impl Until {
        /// From now on for `time`; one that no clock can hold is for ever.
        pub fn after(time: Duration) -> Until {
            Instant::now().checked_add(time).map_or(Until::Forever, Until::Deadline)
        }

        /// As [`after`](Until::after), for ever where there is no time given.
        pub fn within(time: Option<Duration>) -> Until {
            time.map_or(Until::Forever, Until::after)
        }

        /// What is left of it; `None` for ever.
        pub fn left(self) -> Option<Duration> {
            match self {
                Until::Now => Some(Duration::ZERO),
                Until::Deadline(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                Until::Forever => None,
            }
        }

        /// Whether nothing is left of it.
        pub fn is_over(self) -> bool {
            self.left().is_some_and(|left| left.is_zero())
        }
    }
}

/// Processes.
pub mod process {
    pub use crate::sys::incarnation::Incarnation;
    pub use crate::sys::life::{Life, Look, exists, is_nothing};
    pub use crate::sys::private::Tie;
}

pub use crate::error::io_error;

/// Values as bytes and descriptors, for who carries both in another way than by a connection; files that many handles of one message share, and
/// handles that leave with theirs.
pub mod message {
    use std::os::fd::OwnedFd;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::codec::Postcard;
    use crate::error::{Error, Result};
    use crate::message::descriptors;
    pub use crate::message::descriptors::{Encoded, Key, Shared, give, share};

    /// A value as bytes, in an empty vector that may have room already, and duplicates of the descriptors that it mentions. What is sent away with it is
    /// [taken back](Encoded::take_back) if it is not sent.
    ///
    /// # Errors
    /// [`Error::Encode`]; [`Error::Os`]: a descriptor could not be duplicated.
    pub fn encode<T: Serialize + ?Sized>(value: &T, room: Vec<u8>) -> Result<Encoded> {
        let encoded = descriptors::encode_into(&Postcard, value, room);
        encoded.map_err(|error| Error::encode(std::any::type_name::<T>(), error))
    }

    /// The value of such bytes. Descriptors that it does not take are closed.
    ///
    /// # Errors
    /// [`Error::Decode`].
    pub fn decode<T: DeserializeOwned>(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<T> {
        descriptors::decode(body, descriptors)
            .map_err(|error| Error::decode(std::any::type_name::<T>(), error))
    }
}

/// Named places where a test can have a process killed (`sys/crash.rs`), for crates that bring a list of their own.
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub mod crash {
    pub use crate::sys::crash::{CrashPoints, Point, reached, reached_by_name};
}

/// Interior mutability.
pub mod cell {
    #[cfg(ipc_loom)]
    pub use loom::cell::UnsafeCell;

    /// `std`'s cell in loom's shape: the pointer exists for the time of a closure.
    ///
    /// ```
    /// use ipc_core::primitive::cell::UnsafeCell;
    /// let cell = UnsafeCell::new(1);
    /// // SAFETY: no other reference to the value exists.
    /// cell.with_mut(|value| unsafe { *value += 1 });
    /// assert_eq!(cell.into_inner(), 2);
    /// ```
    #[cfg(not(ipc_loom))]
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    #[cfg(not(ipc_loom))]
    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// The value.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    #[cfg(not(ipc_loom))]
    impl<T: ?Sized> UnsafeCell<T> {
        /// Calls `f` with a pointer for reading. Whoever dereferences it answers for there being no writer meanwhile.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with a pointer for writing. Whoever dereferences it answers for there being no other access meanwhile.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use super::sync::Mutex;

    #[test]
    fn a_poisoned_lock_is_taken_over() {
        let lock = Mutex::new(1);
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guard = lock.lock();
                panic!("while holding the lock");
            });
            holder.join().unwrap_err();
        });
        *lock.lock() += 1;
        assert_eq!(*lock.try_lock().unwrap(), 2);
        assert_eq!(lock.into_inner(), 2);
    }
}
