//! Latches: steps from several processes, and who waits for the last.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use ipc_core::Context;
use ipc_shm::Arena;
use ipc_sync::Latch;
use ipc_testkit::{GENEROUS, leaks};

mod support;
use support::{block_on, spawn};

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

#[test]
fn is_had_again_from_its_segment() {
    let _leaks = leaks();
    let latch = Latch::new(1).unwrap();
    let same = Latch::try_from(latch.segment().clone()).unwrap();
    same.count_down(1);
    assert!(latch.is_open());
    assert!(ipc_sync::Condition::try_from(latch.segment().clone()).is_err());
    let condition = ipc_sync::Condition::new().unwrap();
    ipc_sync::Condition::try_from(condition.segment().clone()).unwrap().notify_all().unwrap();
}

#[test]
fn is_awaited() {
    // Helper threads keep their descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    let latch = Latch::new(2).unwrap();
    let awaits = |latch: Latch| block_on(latch.wait_async()).is_ok();
    let children = [(); 2].map(|()| spawn(awaits, (latch.clone(),)).unwrap());
    // One that is dropped takes nothing along.
    drop(latch.wait_async());
    latch.count_down(1);
    std::thread::scope(|scope| {
        let here = scope.spawn(|| block_on(latch.wait_async()));
        let sleeps = scope.spawn(|| latch.wait_timeout(GENEROUS));
        latch.count_down(1);
        here.join().unwrap().unwrap();
        assert!(sleeps.join().unwrap());
    });
    children.into_iter().for_each(|child| assert!(child.join().unwrap()));
    block_on(latch.wait_async()).unwrap();
}
