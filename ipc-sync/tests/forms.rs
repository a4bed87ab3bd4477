//! Forms with a time limit that no other test calls: what is there is had, what is not is waited for as long as is said and no longer, and nothing is lost with a time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use ipc_shm::Arena;
use ipc_sync::{Event, Latch, Queue, ring, select, select_deadline};
use ipc_testkit::{GENEROUS, leaks};

use support::{block_on, spawn};

const SHORT: Duration = Duration::from_millis(20);

fn later() -> Instant {
    Instant::now() + GENEROUS
}

/// Calls what does not find anything until a moment from now, and not before.
fn waits<T>(call: impl FnOnce(Instant) -> T) -> T {
    let deadline = Instant::now() + SHORT;
    let answer = call(deadline);
    assert!(Instant::now() >= deadline);
    answer
}

#[test]
fn of_a_ring() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = ring::<()>(4096).unwrap();
    let mut buffer = [0; 8];
    assert!(waits(|deadline| receiver.recv_bytes_deadline(deadline)).unwrap().is_none());
    assert!(waits(|deadline| receiver.recv_into_deadline(&mut buffer, deadline)).unwrap().is_none());
    assert!(waits(|deadline| receiver.recv_loan_deadline(deadline)).unwrap().is_none());
    sender.send_bytes_deadline(b"deadline", later()).unwrap();
    sender.send_bytes_timeout(b"time-out", GENEROUS).unwrap();
    let mut loan = sender.loan_deadline(4, later()).unwrap().unwrap();
    loan.copy_from_slice(b"loan");
    loan.commit().unwrap();
    assert_eq!(receiver.recv_bytes_deadline(later()).unwrap().unwrap(), b"deadline");
    assert_eq!(receiver.recv_into_deadline(&mut buffer, later()).unwrap(), Some(8));
    assert_eq!(&buffer, b"time-out");
    assert_eq!(&*receiver.recv_loan_deadline(later()).unwrap().unwrap(), b"loan");
    // Half a ring fits twice into a new one.
    let (mut sender, mut receiver) = ring::<()>(4096).unwrap();
    let half = vec![7; sender.max_message()];
    (0..2).for_each(|_| sender.try_send_bytes(&half).unwrap());
    assert!(waits(|deadline| sender.send_bytes_deadline(&half, deadline)).unwrap_err().is_timed_out());
    assert!(waits(|_| sender.send_bytes_timeout(&half, SHORT)).unwrap_err().is_timed_out());
    assert!(waits(|deadline| sender.loan_deadline(1, deadline).map(|loan| loan.is_none())).unwrap());
    (0..2).for_each(|_| assert_eq!(receiver.recv_bytes().unwrap(), half));
    sender.send_bytes_deadline(&half, later()).unwrap();
}

#[test]
fn of_a_latch() {
    // Helper threads keep their descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    let latch = Latch::new(5).unwrap();
    assert!(!waits(|deadline| latch.wait_deadline(deadline)));
    assert!(!waits(|deadline| latch.arrive_and_wait_deadline(deadline)));
    assert!(!waits(|_| latch.arrive_and_wait_timeout(SHORT)));
    assert_eq!(latch.missing(), 3, "the steps are made all the same");
    let arrives = |latch: Latch| block_on(latch.arrive_and_wait_async()).is_ok();
    let child = spawn(arrives, (latch.clone(),)).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| latch.arrive_and_wait_timeout(GENEROUS));
        assert!(latch.arrive_and_wait_deadline(later()) && other.join().unwrap());
    });
    assert!(child.join().unwrap());
    assert!(latch.wait_deadline(Instant::now()));
}

#[test]
fn of_a_whole_queue() {
    let _leaks = leaks();
    let queue = Queue::<u32>::builder().items(3).joinable().make().unwrap();
    assert!(waits(|deadline| queue.get_many_deadline(2, deadline)).unwrap().is_empty());
    assert!(waits(|_| queue.get_many_timeout(2, SHORT)).unwrap().is_empty());
    queue.try_put_many([1]).unwrap();
    queue.put_many_timeout([2], GENEROUS).unwrap();
    queue.put_many_deadline([3], later()).unwrap();
    // What did not fit comes back.
    let back = waits(|deadline| queue.put_many_deadline([4], deadline)).unwrap_err();
    assert_eq!(back.into_value(), [4]);
    assert_eq!(waits(|_| queue.put_many_timeout([4], SHORT)).unwrap_err().into_value(), [4]);
    assert_eq!(queue.try_put_many([4]).unwrap_err().into_value(), [4]);
    assert!(!waits(|deadline| queue.join_deadline(deadline)).unwrap());
    assert_eq!(queue.get_many_timeout(2, GENEROUS).unwrap(), [1, 2]);
    assert_eq!(queue.get_many_deadline(2, later()).unwrap(), [3]);
    (0..3).for_each(|_| queue.task_done().unwrap());
    assert!(queue.join_deadline(later()).unwrap());
}

/// In a structure beside others, and where it has no descriptor, too.
#[test]
fn events_are_waited_for_among_others() {
    // The one that never becomes readable stays.
    let _leaks = leaks().allow(0, 1, 0);
    let arena = Arena::new(1 << 16).unwrap();
    let queue = Queue::<u32>::bounded(1).unwrap();
    for event in [Event::new().unwrap(), Event::new_with(&arena).unwrap()] {
        assert!(waits(|deadline| select_deadline(&[&queue, &event], deadline)).unwrap().is_empty());
        let set = |event: Event| {
            std::thread::sleep(SHORT);
            event.set()
        };
        let child = spawn(set, (event.clone(),)).unwrap();
        assert_eq!(select(&[&queue, &event], Some(GENEROUS)).unwrap(), [1]);
        assert!(child.join().unwrap());
        event.clear();
        assert!(waits(|deadline| select_deadline(&[&event], deadline)).unwrap().is_empty());
    }
}
