//! CPython's own tests of semaphores, under CPython's names (`_TestSemaphore`, and what `_TestLock` says of a lock that anybody may release).
//!
//! One body over exec, fork server, fork and threads. What these tests leave out stands in `semaphore.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::time::{Duration, Instant};

use ipc_core::Context;
use ipc_sync::{BoundedSemaphore, CountingSemaphore, Error, Semaphore};
use ipc_testkit::leaks;

/// Runs a function with a semaphore elsewhere, and gives its value.
#[derive(Clone, Copy)]
enum Start {
    Process(fn() -> Context),
    Thread,
}

/// Elsewhere: in a child, or on a thread.
macro_rules! elsewhere {
    ($start:expr, $function:expr, $semaphore:expr) => {{
        let (function, semaphore) = ($function, $semaphore.clone());
        match $start {
            Start::Process(context) => context().spawn(function, (semaphore,)).unwrap().join().unwrap(),
            Start::Thread => std::thread::spawn(move || function(semaphore)).join().unwrap(),
        }
    }};
}

mod bodies {
    use super::*;

    pub(crate) fn semaphore(start: Start) {
        let sem = Semaphore::new(2).unwrap();
        sem.acquire().unwrap().forget();
        assert_eq!(sem.available(), 1);
        sem.acquire().unwrap().forget();
        assert_eq!(sem.available(), 0);
        assert!(sem.try_acquire().unwrap().is_none());
        assert!(elsewhere!(start, |sem: Semaphore| sem.try_acquire().unwrap().is_none(), sem));
        for value in 1..=4 {
            assert!(elsewhere!(start, |sem: Semaphore| sem.release().is_ok(), sem));
            assert_eq!(sem.available(), value);
        }
    }

    pub(crate) fn bounded_semaphore(start: Start) {
        let sem = BoundedSemaphore::new(2).unwrap();
        let permits = [sem.acquire().unwrap(), sem.acquire().unwrap()];
        assert_eq!(sem.available(), 0);
        assert!(elsewhere!(start, |sem: BoundedSemaphore| sem.try_acquire().unwrap().is_none(), sem));
        for (at, permit) in permits.into_iter().enumerate() {
            drop(permit);
            assert_eq!(sem.available() as usize, 1 + at);
        }
        let over = |sem: BoundedSemaphore| matches!(sem.release(), Err(Error::TooManyPermits { .. }));
        assert!(elsewhere!(start, over, sem));
        assert_eq!(sem.available(), 2);
    }

    pub(crate) fn timeout(start: Start) {
        let sem = Semaphore::new(0).unwrap();
        let none = |sem: Semaphore| {
            let begin = Instant::now();
            assert!(sem.try_acquire().unwrap().is_none());
            assert!(sem.acquire_timeout(Duration::ZERO).unwrap().is_none());
            let timeout = Duration::from_millis(50);
            assert!(sem.acquire_timeout(timeout).unwrap().is_none());
            assert!(begin.elapsed() >= timeout);
            assert!(sem.acquire_deadline(begin).unwrap().is_none());
        };
        elsewhere!(start, none, sem);
        none(sem);
    }

    /// Python's `Lock`: `locked()`, a release by another, and one too many.
    pub(crate) fn lock(start: Start) {
        let lock = CountingSemaphore::with_max(1, 1).unwrap();
        lock.acquire().unwrap();
        assert_eq!(lock.available(), 0);
        assert!(!elsewhere!(start, |lock: CountingSemaphore| lock.try_acquire().unwrap(), lock));
        assert!(elsewhere!(start, |lock: CountingSemaphore| lock.release().is_ok(), lock));
        assert_eq!(lock.available(), 1);
        assert!(matches!(lock.release(), Err(Error::TooManyPermits { .. })));
    }
}

/// Copies of this process.
fn fork() -> Context {
    // SAFETY: the bodies' children take no lock that another thread of the parent may have held, but the C library's, which its fork sees to.
    unsafe { Context::fork() }
}

macro_rules! back_end {
    ($back_end:ident = $start:expr; $($test:ident)*) => {
        mod $back_end {
            use super::*;
            $(#[test]
            fn $test() {
                let _leaks = leaks();
                bodies::$test($start);
            })*
        }
    };
}

back_end! { exec = Start::Process(Context::exec); semaphore bounded_semaphore timeout lock }
back_end! { fork_server = Start::Process(Context::fork_server); semaphore bounded_semaphore timeout lock }
back_end! { fork = Start::Process(fork); semaphore bounded_semaphore timeout lock }
back_end! { threads = Start::Thread; semaphore bounded_semaphore timeout lock }
