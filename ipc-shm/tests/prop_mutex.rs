//! Any sequence of operations on a value gives what a mutex of std gives, panics with the data in hand among them.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use ipc_core::Packed;
use ipc_shm::{Error, Guard, LockError, Locking, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const SHORT: Duration = Duration::from_millis(2);

/// How a lock is asked for.
#[derive(Clone, Copy, Debug)]
enum How {
    Lock,
    Try,
    Timeout,
}

/// What is done with both; a thread has their guards in between.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Takes them, through this handle; if they are poisoned, perhaps clears that.
    Take { handle: usize, how: How, clear: bool },
    /// Changes what is behind the guards.
    Set(u64),
    /// Drops the guards.
    Give,
    /// Panics with the guards, after a change.
    Panic(u64),
    /// Panics without them: that is nobody's affair.
    PanicBeside,
    /// Another thread tries to take them, and changes what it finds; perhaps it panics then.
    Elsewhere { handle: usize, clear: bool, panics: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Lock), Just(How::Try), Just(How::Timeout)];
    prop_oneof![
        4 => (0..2_usize, how, any::<bool>()).prop_map(|(handle, how, clear)| Step::Take { handle, how, clear }),
        2 => any::<u64>().prop_map(Step::Set),
        3 => Just(Step::Give),
        2 => any::<u64>().prop_map(Step::Panic),
        1 => Just(Step::PanicBeside),
        3 => (0..2_usize, any::<bool>(), any::<bool>())
            .prop_map(|(handle, clear, panics)| Step::Elsewhere { handle, clear, panics }),
    ]
}

/// What somebody found who asked for a lock.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Whole,
    Poisoned,
    Taken,
}

/// Of the value, which the calling thread may have.
fn value<'a>(taken: Locking<'a, u64>, mine: bool, clear: bool) -> (Found, Option<Guard<'a, u64>>) {
    match taken {
        Ok(guard) => (Found::Whole, Some(guard)),
        Err(LockError::Poisoned(poisoned)) if clear => (Found::Poisoned, Some(poisoned.recover())),
        Err(LockError::Poisoned(poisoned)) => (Found::Poisoned, Some(poisoned.into_inner())),
        Err(LockError::Error(Error::AlreadyHeld)) if mine => (Found::Taken, None),
        Err(LockError::WouldBlock) if !mine => (Found::Taken, None),
        Err(other) => panic!("{other:?}"),
    }
}

/// The same of the mutex. Std's cannot be asked for by who has it, but with `try_lock`; if it is free, it is the same as `lock`.
fn mutex(mutex: &Mutex<u64>, clear: bool) -> (Found, Option<MutexGuard<'_, u64>>) {
    match mutex.try_lock() {
        Ok(guard) => (Found::Whole, Some(guard)),
        Err(TryLockError::Poisoned(poisoned)) => {
            if clear {
                mutex.clear_poison();
            }
            (Found::Poisoned, Some(poisoned.into_inner()))
        }
        Err(TryLockError::WouldBlock) => (Found::Taken, None),
    }
}

/// Panics with something in hand, without a word on stderr, and goes on.
fn panics<T>(hand: T) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _hand = hand;
        resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
}

fn elsewhere(
    handle: &Value<u64>,
    other: &Mutex<u64>,
    clear: bool,
    then_panics: bool,
) -> Result<Found, TestCaseError> {
    let (found, ours) = value(handle.try_lock(), false, clear);
    let (expected, theirs) = mutex(other, clear);
    prop_assert_eq!(found, expected);
    if let (Some(mut ours), Some(mut theirs)) = (ours, theirs) {
        prop_assert_eq!(*ours, *theirs);
        (*ours, *theirs) = (ours.wrapping_mul(3), theirs.wrapping_mul(3));
        if then_panics {
            panics((ours, theirs));
        }
    }
    Ok(found)
}

fn all(handles: &[Value<u64>; 2], other: &Mutex<u64>, steps: &[Step]) -> TestCaseResult {
    let mut held: Option<(Guard<'_, u64>, MutexGuard<'_, u64>)> = None;
    for step in steps {
        match *step {
            Step::Take { handle, how, clear } => {
                let taken = match how {
                    How::Lock => handles[handle].lock(),
                    How::Try => handles[handle].try_lock(),
                    How::Timeout => handles[handle].lock_timeout(SHORT),
                };
                let (found, ours) = value(taken, held.is_some(), clear);
                let (expected, theirs) = mutex(other, clear);
                prop_assert_eq!(found, expected);
                held = ours.zip(theirs).or(held);
            }
            Step::Set(n) => {
                if let Some((ours, theirs)) = &mut held {
                    (**ours, **theirs) = (n, n);
                }
            }
            Step::Give => held = None,
            Step::Panic(n) => {
                if let Some((mut ours, mut theirs)) = held.take() {
                    (*ours, *theirs) = (n, n);
                    panics((ours, theirs));
                }
            }
            Step::PanicBeside => panics(()),
            Step::Elsewhere { handle, clear, panics } => {
                let other_thread = || elsewhere(&handles[handle], other, clear, panics);
                let found = std::thread::scope(|scope| scope.spawn(other_thread).join().unwrap())?;
                prop_assert_eq!(found == Found::Taken, held.is_some());
            }
        }
        for handle in handles {
            prop_assert_eq!(handle.is_locked(), held.is_some());
            match &held {
                Some((ours, theirs)) => {
                    prop_assert_eq!(**ours, **theirs);
                    prop_assert!(matches!(handle.get(), Err(Error::AlreadyHeld)));
                }
                // Whoever looks is told as well, and changes nothing by that.
                None => match (handle.get(), other.lock().map(|guard| *guard)) {
                    (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                    (Err(Error::Poisoned), Err(_)) => {}
                    unlike => prop_assert!(false, "{:?}", unlike),
                },
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_is_a_mutex(steps in vec(step(), 0..60), first: u64) {
        let value = Value::new(first).unwrap();
        let handles = [Packed::new(&value).unwrap().open().unwrap(), value];
        let mutex = Mutex::new(first);
        all(&handles, &mutex, &steps)?;
        // What is there in the end, poisoned or not.
        let left = match handles[0].lock() {
            Ok(guard) => *guard,
            Err(LockError::Poisoned(poisoned)) => **poisoned.get_ref(),
            Err(other) => panic!("{other:?}"),
        };
        prop_assert_eq!(left, *mutex.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
