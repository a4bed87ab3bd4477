//! CPython's own tests of events, under CPython's names.
//!
//! One body over exec, fork server, fork and threads. What these tests leave out stands in `events.rs`. `xtask/parity.md` says which row of Python's list each of them
//! shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::time::{Duration, Instant};

use ipc_core::Context;
use ipc_sync::Event;
use ipc_testkit::{GENEROUS, leaks};

/// A back end of the tests.
type Start = fn() -> Context;

mod bodies {
    pub(crate) mod test_event {
        use crate::*;

        pub(crate) fn event(start: Start) {
            let event = Event::new().unwrap();
            assert!(!event.is_set());
            assert!(!event.wait_timeout(Duration::ZERO));
            let (begin, time) = (Instant::now(), Duration::from_millis(100));
            assert!(!event.wait_timeout(time));
            assert!(begin.elapsed() >= time);
            event.set();
            assert!(event.is_set() && event.wait_timeout(GENEROUS));
            event.wait();
            assert!(event.is_set());
            event.clear();
            assert!(!event.is_set());
            let set = |event: Event| {
                std::thread::sleep(Duration::from_millis(20));
                event.set();
            };
            let child = start().spawn(set, (event.clone(),)).unwrap();
            event.wait();
            child.join().unwrap();
        }

        pub(crate) fn repr(start: Start) {
            let event = Event::new().unwrap();
            let repr = |event: Event| format!("{event:?}");
            let seen = || start().spawn(repr, (event.clone(),)).unwrap().join().unwrap();
            assert_eq!(seen(), "Event { set: false }");
            event.set();
            assert_eq!(seen(), "Event { set: true }");
            event.clear();
            assert_eq!(format!("{event:?}"), "Event { set: false }");
        }
    }
}

/// Copies of this process.
fn fork() -> Context {
    // SAFETY: the bodies' children take no lock that another thread of the parent may have held, but the C library's, which its fork sees to.
    unsafe { Context::fork() }
}

macro_rules! back_end {
    ($back_end:ident = $start:expr; $($class:ident { $($test:ident)* })*) => {
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

back_end! { exec = ipc_core::Context::exec; test_event { event repr } }
back_end! { fork_server = ipc_core::Context::fork_server; test_event { event repr } }
back_end! { fork = crate::fork; test_event { event repr } }
back_end! { threads = ipc_core::Context::threads; test_event { event repr } }
