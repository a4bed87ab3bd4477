//! CPython's own tests of barriers (`_TestBarrier`), under CPython's names.
//!
//! One body over exec, fork server, fork and threads: five parties, one of which is the test itself. What these tests leave out stands in `barrier.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipc_core::Context;
use ipc_shm::Atomic;
use ipc_sync::{Barrier, Error};
use ipc_testkit::{GENEROUS, leaks, wait_until};

/// How the parties are started.
#[derive(Clone, Copy)]
enum Start {
    Process(fn() -> Context),
    Thread,
}

/// Parties; CPython's number.
const N: usize = 5;

type Counts = [Atomic<u32>; 3];

fn counts() -> Counts {
    [(); 3].map(|()| Atomic::new(0).unwrap())
}

/// Runs it N times at once, once here, and gives what was counted.
macro_rules! run {
    ($start:expr, $party:expr, $barrier:expr) => {{
        let (party, barrier, counts) = ($party, $barrier.clone(), counts());
        match $start {
            Start::Process(context) => {
                let context = context();
                let start = |_| context.spawn(party, (barrier.clone(), counts.clone())).unwrap();
                let children: Vec<_> = (1..N).map(start).collect();
                party(barrier.clone(), counts.clone());
                children.into_iter().for_each(|child| child.join().unwrap());
            }
            Start::Thread => std::thread::scope(|scope| {
                for _ in 0..N {
                    scope.spawn(|| party(barrier.clone(), counts.clone()));
                }
            }),
        }
        counts.map(|count| count.load(SeqCst) as usize)
    }};
}

fn is_broken<T>(told: ipc_sync::Result<T>) -> bool {
    match told {
        Err(Error::BrokenBarrier) => true,
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    }
}

fn five() -> Barrier {
    Barrier::new(N as u32).unwrap().with_timeout(GENEROUS)
}

/// Passes so often in step: nobody is a time ahead, nobody behind.
fn multipass(barrier: &Barrier, [first, second, _]: &Counts, times: usize) {
    for time in 0..times {
        first.fetch_add(1, SeqCst);
        barrier.wait().unwrap();
        assert_eq!(first.load(SeqCst) as usize, (time + 1) * N);
        second.fetch_add(1, SeqCst);
        barrier.wait().unwrap();
        assert_eq!(second.load(SeqCst) as usize, (time + 1) * N);
    }
}

mod bodies {
    use super::*;

    pub(crate) fn barrier(start: Start) {
        let barrier = five();
        assert_eq!(
            run!(start, |barrier: Barrier, counts: Counts| multipass(&barrier, &counts, 1), barrier)[0],
            N
        );
        assert_eq!((barrier.waiting(), barrier.is_broken(), barrier.parties()), (0, false, N));
    }

    pub(crate) fn barrier_10(start: Start) {
        let barrier = five();
        let all = run!(start, |barrier: Barrier, counts: Counts| multipass(&barrier, &counts, 10), barrier);
        assert_eq!(all[..2], [10 * N; 2]);
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    }

    pub(crate) fn wait_return(start: Start) {
        let party = |barrier: Barrier, [sum, zeros, _]: Counts| {
            let passed = barrier.wait().unwrap();
            sum.fetch_add(passed.index() as u32, SeqCst);
            zeros.fetch_add(u32::from(passed.is_leader()), SeqCst);
        };
        assert_eq!(run!(start, party, five()), [N * (N - 1) / 2, 1, 0]);
    }

    pub(crate) fn action(start: Start) {
        let party = |barrier: Barrier, [acted, _, _]: Counts| {
            for time in 1..=3 {
                barrier.wait_with(|| _ = acted.fetch_add(1, SeqCst)).unwrap();
                // Nobody is at the next time before all have seen this one.
                assert_eq!(acted.load(SeqCst), time);
                barrier.wait().unwrap();
            }
        };
        assert_eq!(run!(start, party, five())[0], 3);
    }

    pub(crate) fn abort(start: Start) {
        let party = |barrier: Barrier, [order, broken, passed]: Counts| {
            if order.fetch_add(1, SeqCst) as usize == N / 2 {
                barrier.abort().unwrap();
                return;
            }
            let count = if is_broken(barrier.wait()) { broken } else { passed };
            count.fetch_add(1, SeqCst);
        };
        let barrier = five();
        assert_eq!(run!(start, party, barrier), [N, N - 1, 0]);
        assert!(barrier.is_broken());
    }

    pub(crate) fn reset(start: Start) {
        let party = |barrier: Barrier, [order, broken, passed]: Counts| {
            if order.fetch_add(1, SeqCst) as usize == N / 2 {
                assert!(wait_until(GENEROUS, || barrier.waiting() == N - 1));
                barrier.reset().unwrap();
            } else {
                let count = if is_broken(barrier.wait()) { broken } else { passed.clone() };
                count.fetch_add(1, SeqCst);
            }
            barrier.wait().unwrap();
            passed.fetch_add(1, SeqCst);
        };
        assert_eq!(run!(start, party, five()), [N, N - 1, N]);
    }

    pub(crate) fn abort_and_reset(start: Start) {
        let party = |barrier: Barrier, [order, broken, passed]: Counts| {
            if order.fetch_add(1, SeqCst) as usize == N / 2 {
                barrier.abort().unwrap();
            } else {
                assert!(is_broken(barrier.wait()));
            }
            // All have been told before it is made as new.
            broken.fetch_add(1, SeqCst);
            assert!(wait_until(GENEROUS, || broken.load(SeqCst) as usize == N));
            if passed.fetch_add(1, SeqCst) == 0 {
                barrier.reset().unwrap();
            }
            assert!(wait_until(GENEROUS, || !barrier.is_broken()));
            barrier.wait().unwrap();
        };
        assert_eq!(run!(start, party, five()), [N; 3]);
    }

    pub(crate) fn timeout(start: Start) {
        let party = |barrier: Barrier, [order, broken, _]: Counts| {
            if order.fetch_add(1, SeqCst) as usize == N / 2 {
                // It is late.
                assert!(wait_until(GENEROUS, || barrier.is_broken()));
            }
            assert!(is_broken(barrier.wait_timeout(Duration::from_millis(100))));
            broken.fetch_add(1, SeqCst);
        };
        assert_eq!(run!(start, party, five()), [N, N, 0]);
    }

    pub(crate) fn default_timeout(start: Start) {
        let party = |barrier: Barrier, [order, broken, _]: Counts| {
            if order.fetch_add(1, SeqCst) as usize == N / 2 {
                assert!(wait_until(GENEROUS, || barrier.is_broken()));
            }
            assert!(is_broken(barrier.wait()));
            broken.fetch_add(1, SeqCst);
        };
        assert_eq!(run!(start, party, five().with_timeout(Duration::from_millis(100))), [N, N, 0]);
    }

    pub(crate) fn single_thread(_: Start) {
        let barrier = Barrier::new(1).unwrap();
        barrier.wait().unwrap();
        barrier.wait().unwrap();
    }

    pub(crate) fn thousand(start: Start) {
        let party = |barrier: Barrier, [passed, _, _]: Counts| {
            for time in 0..1000 {
                barrier.wait().unwrap();
                let before = passed.fetch_add(1, SeqCst) as usize;
                // The others have passed as often before, and perhaps once more: nobody passes the next time without this one.
                assert!((time * N..(time + 1) * N).contains(&before), "{before} at {time}");
            }
        };
        assert_eq!(run!(start, party, five())[0], 1000 * N);
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

back_end! { exec = Start::Process(Context::exec);
    barrier barrier_10 wait_return action abort reset abort_and_reset timeout default_timeout single_thread thousand
}
back_end! { fork_server = Start::Process(Context::fork_server);
    barrier barrier_10 wait_return action abort reset abort_and_reset timeout default_timeout single_thread thousand
}
back_end! { fork = Start::Process(fork);
    barrier barrier_10 wait_return action abort reset abort_and_reset timeout default_timeout single_thread thousand
}
back_end! { threads = Start::Thread;
    barrier barrier_10 wait_return action abort reset abort_and_reset timeout default_timeout single_thread thousand
}
