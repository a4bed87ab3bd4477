//! Latches: steps from several processes, and who waits for the last.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use ipc_core::Context;
use ipc_shm::Arena;
use ipc_sync::Latch;
use ipc_testkit::{GENEROUS, leaks};

#[test]
fn opens_with_the_last_step() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 16).unwrap();
    for context in [Context::exec(), Context::fork_server()] {
        for latch in [Latch::new(4).unwrap(), Latch::new_with(4, &arena).unwrap()] {
            let arrive = |latch: Latch| latch.arrive_and_wait();
            let children: Vec<_> = (0..3).map(|_| context.spawn(arrive, (latch.clone(),)).unwrap()).collect();
            assert!(!latch.wait_timeout(Duration::from_millis(20)) && !latch.is_open());
            latch.count_down(1);
            assert!(latch.wait_timeout(GENEROUS) && latch.is_open());
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!((latch.count_down(1), latch.missing()), (0, 0), "it stays open");
            assert_eq!(format!("{latch:?}"), "Latch { missing: 0 }");
        }
    }
}
