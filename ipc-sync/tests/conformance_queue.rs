//! CPython's own tests of queues, under CPython's names: one body over exec, fork server and threads. `xtask/parity.md` says which row of
//! Python's list each of them shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::time::{Duration, Instant};

use ipc_core::Context;
use ipc_sync::{Error, Queue};
use ipc_testkit::leaks;

/// A back end of the tests.
type Start = fn() -> Context;

/// Starts a function in a child.
macro_rules! start {
    ($start:expr, $function:expr, $args:expr) => {
        $start().spawn($function, $args).unwrap()
    };
}

const MOMENT: Duration = Duration::from_millis(200);

/// Calls `f`, which must take so long at least; how much longer is the machine's affair.
#[track_caller]
fn takes<R>(least: Duration, f: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = f();
    assert!(begun.elapsed() >= least);
    result
}

mod bodies {
    pub(crate) mod test_queue {
        use crate::*;

        fn taker((queue, can_start, can_go): (Queue<u32>, Queue<()>, Queue<()>)) {
            can_start.get().unwrap();
            for _ in 0..6 {
                queue.get().unwrap();
            }
            can_go.put(()).unwrap();
        }

        pub(crate) fn put(start: Start) {
            let queue = Queue::bounded(6).unwrap();
            let [can_start, can_go] = [(); 2].map(|()| Queue::bounded(1).unwrap());
            let child = start!(start, taker, ((queue.clone(), can_start.clone(), can_go.clone()),));
            assert!(queue.is_empty() && !queue.is_full());
            queue.put(1).unwrap();
            queue.put_timeout(2, MOMENT).unwrap();
            queue.put_deadline(3, Instant::now() + MOMENT).unwrap();
            queue.try_put(4).unwrap();
            queue.sender().put(5).unwrap();
            queue.put_many([6]).unwrap();
            assert!(!queue.is_empty() && queue.is_full());

            let full = |result: Result<(), ipc_sync::PutError<u32>>| {
                let (value, error) = result.unwrap_err().into_parts();
                assert!(matches!(error, Error::Full) && error.is_timed_out() && value == 7, "{error}");
            };
            full(queue.try_put(7));
            full(queue.put_timeout(7, Duration::ZERO));
            full(takes(MOMENT, || queue.put_timeout(7, MOMENT)));
            full(takes(MOMENT, || queue.put_deadline(7, Instant::now() + MOMENT)));
            can_start.put(()).unwrap();
            can_go.get().unwrap();
            assert!(queue.is_empty() && !queue.is_full());
            child.join().unwrap();
        }

        fn putter((queue, can_start, can_go): (Queue<u32>, Queue<()>, Queue<()>)) {
            can_start.get().unwrap();
            for number in 2..=5 {
                queue.put(number).unwrap();
            }
            can_go.put(()).unwrap();
        }

        pub(crate) fn get(start: Start) {
            let queue = Queue::unbounded().unwrap();
            let [can_start, can_go] = [(); 2].map(|()| Queue::bounded(1).unwrap());
            let child = start!(start, putter, ((queue.clone(), can_start.clone(), can_go.clone()),));
            assert!(queue.is_empty());
            can_start.put(()).unwrap();
            can_go.get().unwrap();
            assert!(!queue.is_empty());
            assert_eq!(queue.get().unwrap(), 2);
            assert_eq!(queue.get_timeout(MOMENT).unwrap(), Some(3));
            assert_eq!(queue.get_deadline(Instant::now()).unwrap(), Some(4));
            assert_eq!(queue.try_get().unwrap(), Some(5));
            assert!(queue.is_empty());
            assert_eq!(queue.try_get().unwrap(), None);
            assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), None);
            assert_eq!(takes(MOMENT, || queue.get_timeout(MOMENT)).unwrap(), None);
            child.join().unwrap();
        }

        /// What was put before the child started, and what after, arrives, in its order.
        pub(crate) fn fork(start: Start) {
            let queue = Queue::unbounded().unwrap();
            queue.put_many(0..10).unwrap();
            let child = start!(start, |queue: Queue<u32>| queue.put_many(10..20).is_ok(), (queue.clone(),));
            assert!(child.join().unwrap());
            let all: Vec<_> = (0..20).map(|_| queue.get().unwrap()).collect();
            assert_eq!(all, (0..20).collect::<Vec<_>>());
            assert_eq!(queue.try_get().unwrap(), None);
        }

        pub(crate) fn qsize(start: Start) {
            let queue = Queue::unbounded().unwrap();
            assert_eq!(queue.len(), 0);
            for expected in [1, 2] {
                queue.put(expected).unwrap();
                assert_eq!(queue.len(), expected);
            }
            let seen = start!(start, |queue: Queue<usize>| queue.len(), (queue.clone(),));
            assert_eq!(seen.join().unwrap(), 2);
            for expected in [1, 0] {
                queue.get().unwrap();
                assert_eq!(queue.len(), expected);
            }
        }

        pub(crate) fn task_done(start: Start) {
            let queue = Queue::builder().joinable().make().unwrap();
            fn worker(queue: Queue<u32>) {
                for item in queue.iter() {
                    item.unwrap();
                    std::thread::yield_now();
                    queue.task_done().unwrap();
                }
            }
            let workers: Vec<_> = (0..4).map(|_| start!(start, worker, (queue.clone(),))).collect();
            queue.put_many(0..10).unwrap();
            queue.join().unwrap();
            assert!(queue.is_empty());
            queue.close().unwrap();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        }

        pub(crate) fn timeout(_: Start) {
            let queue = Queue::<u32>::unbounded().unwrap();
            assert_eq!(takes(MOMENT, || queue.get_timeout(MOMENT)).unwrap(), None);
        }

        /// A value that cannot be encoded: `put` says so, gives it back, and its place is free.
        pub(crate) fn queue_feeder_donot_stop_onexc(start: Start) {
            let queue = Queue::bounded(1).unwrap();
            let refused = queue.try_put(Picky(true)).unwrap_err();
            assert!(matches!(refused.error(), Error::Message(_)), "{refused}");
            assert!(refused.to_string().contains("not this one"), "{refused}");
            assert!(refused.into_value().0);
            assert!(queue.is_empty());
            let child =
                start!(start, |queue: Queue<Picky>| queue.put(Picky(false)).is_ok(), (queue.clone(),));
            assert!(!queue.get().unwrap().0);
            assert!(child.join().unwrap());
        }

        /// Python's hook for what its thread could not put: here the caller has it.
        pub(crate) fn queue_feeder_on_queue_feeder_error(_: Start) {
            let queue = Queue::bounded(1).unwrap();
            let mut failed = Vec::new();
            for value in [true, false] {
                if let Err(error) = queue.put(Picky(value)) {
                    failed.push(error.into_value().0);
                }
            }
            assert_eq!(failed, [true]);
            assert!(!queue.get().unwrap().0);
        }

        /// Closed is closed, and empty; nothing of it is an error.
        pub(crate) fn closed_queue_empty_exceptions(start: Start) {
            for used in [false, true] {
                let queue = Queue::unbounded().unwrap();
                if used {
                    queue.put(1).unwrap();
                    queue.get().unwrap();
                }
                assert!(!queue.close().unwrap());
                assert!(queue.close().unwrap(), "twice");
                assert!(queue.is_empty() && queue.is_closed());
                let seen = start!(start, |queue: Queue<u32>| queue.is_closed(), (queue,));
                assert!(seen.join().unwrap());
            }
        }

        pub(crate) fn closed_queue_put_get_exceptions(start: Start) {
            let queue = Queue::unbounded().unwrap();
            queue.put(1).unwrap();
            queue.close().unwrap();
            let refused = queue.put(2).unwrap_err();
            assert!(matches!(refused.error(), Error::Closed) && refused.error().is_end());
            assert_eq!(refused.into_value(), 2);
            let (left, error) = queue.put_many([3, 4]).unwrap_err().into_parts();
            assert!(matches!(error, Error::Closed));
            assert_eq!(left, [3, 4]);
            let rest = |queue: Queue<u32>| {
                let first = queue.get().ok();
                let ends =
                    [queue.get().map(Some), queue.try_get(), queue.get_timeout(Duration::from_secs(60))];
                (first, ends.map(|end| matches!(end, Err(Error::Closed))))
            };
            assert_eq!(start!(start, rest, (queue,)).join().unwrap(), (Some(1), [true; 3]));
        }

        /// A value that is not every time one that can be encoded.
        #[derive(Debug, serde::Deserialize)]
        pub(crate) struct Picky(pub(crate) bool);

        impl serde::Serialize for Picky {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0 {
                    return Err(serde::ser::Error::custom("not this one"));
                }
                serializer.serialize_newtype_struct("Picky", &self.0)
            }
        }
    }

    pub(crate) mod test_simple_queue {
        use crate::*;

        pub(crate) fn empty(start: Start) {
            let queue = Queue::unbounded().unwrap();
            let [can_start, can_go] = [(); 2].map(|()| Queue::bounded(1).unwrap());
            fn child((queue, can_start, can_go): (Queue<bool>, Queue<()>, Queue<()>)) {
                can_start.get().unwrap();
                queue.put_many([true, false]).unwrap();
                can_go.put(()).unwrap();
            }
            let child = start!(start, child, ((queue.clone(), can_start.clone(), can_go.clone()),));
            assert!(queue.is_empty());
            can_start.put(()).unwrap();
            can_go.get().unwrap();
            assert!(!queue.is_empty());
            let both = [queue.get().unwrap(), queue.get().unwrap()];
            assert_eq!(both, [true, false]);
            assert!(queue.is_empty());
            child.join().unwrap();
        }

        pub(crate) fn close(_: Start) {
            let queue = Queue::<u32>::unbounded().unwrap();
            assert_eq!([(); 2].map(|()| queue.close().unwrap()), [false, true]);
        }

        pub(crate) fn empty_exceptions(_: Start) {
            let queue = Queue::<u32>::unbounded().unwrap();
            queue.close().unwrap();
            assert!(queue.is_empty());
            assert!(matches!(queue.try_get(), Err(Error::Closed)));
        }
    }

    pub(crate) mod test_stdin_badfiledescriptor {
        use crate::*;

        /// A queue in a process in a process.
        pub(crate) fn queue_in_process(start: Start) {
            fn outer() -> u32 {
                let queue = Queue::unbounded().unwrap();
                let child = Context::exec()
                    .spawn(|queue: Queue<u32>| queue.put(7).is_ok(), (queue.clone(),))
                    .unwrap();
                let got = queue.get().unwrap();
                assert!(child.join().unwrap());
                got
            }
            assert_eq!(start!(start, outer, ()).join().unwrap(), 7);
        }
    }

    pub(crate) mod test_start_method {
        use crate::*;

        /// A child passes its queue on to a child of its own.
        pub(crate) fn nested_startmethod(start: Start) {
            fn grandchild(queue: Queue<u32>) {
                queue.put(2).unwrap();
            }
            fn child(queue: Queue<u32>) {
                let inner = Context::exec().spawn(grandchild, (queue.clone(),)).unwrap();
                queue.put(1).unwrap();
                inner.join().unwrap();
            }
            let queue = Queue::unbounded().unwrap();
            start!(start, child, (queue.clone(),)).join().unwrap();
            let mut all = queue.get_many(5).unwrap();
            all.sort_unstable();
            assert_eq!(all, [1, 2]);
        }
    }
}

/// Copies of this process.
fn fork() -> Context {
    // SAFETY: the bodies' children take no lock that another thread of the parent may have held, but the C library's, which its fork sees to.
    unsafe { Context::fork() }
}

macro_rules! back_ends {
    ($($back_end:ident = $start:expr),*; $tests:tt) => {
        $(back_ends! { @ $back_end = $start; $tests })*
    };
    (@ $back_end:ident = $start:expr; { $($class:ident { $($test:ident)* })* }) => {
        mod $back_end {
            $(mod $class {
                $(#[test]
                fn $test() {
                    let _leaks = crate::leaks();
                    crate::bodies::$class::$test($start);
                })*
            })*
        }
    };
}

back_ends! {
    exec = ipc_core::Context::exec, fork_server = ipc_core::Context::fork_server,
    fork = crate::fork, threads = ipc_core::Context::threads;
    {
        test_queue {
            put get fork qsize task_done timeout queue_feeder_donot_stop_onexc queue_feeder_on_queue_feeder_error
            closed_queue_empty_exceptions closed_queue_put_get_exceptions
        }
        test_simple_queue { empty close empty_exceptions }
        test_stdin_badfiledescriptor { queue_in_process }
        test_start_method { nested_startmethod }
    }
}
