//! Ends of rings and queues in forked copies: those that a closure has captured are the child's, and a child that has none keeps none open.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ipc_core::{Builder, Child, Context, Function, Message};
use ipc_sync::{Error, Event, Queue, QueueReceiver, QueueSender, Result, RingReceiver, RingSender, ring};
use ipc_testkit::{GENEROUS, leaks};

use support::spawn;

/// A copy of this process that calls a named function.
fn copy<F: Function<A>, A: Message>(f: F, args: A) -> Child<F::Output>
where
    F::Output: Message,
{
    // SAFETY: what the children here run takes no lock but the allocator's, which a fork of glibc's leaves free.
    unsafe { Context::fork() }.spawn(f, args).unwrap()
}

/// A copy of this process that runs a closure.
fn capture<R: Message>(f: impl FnOnce() -> R + 'static) -> Child<R> {
    // SAFETY: as above.
    unsafe { Builder::new().fork(f) }.unwrap()
}

/// One who has nothing to do with it, and lives until the event is set.
fn bystander(over: &Event) -> Child<bool> {
    copy(|over: Event| over.wait_timeout(GENEROUS), (over.clone(),))
}

fn let_go(over: &Event, bystander: Child<bool>) {
    over.set();
    assert!(bystander.join().unwrap());
}

fn is_over<T, E: Into<Error>>(answer: Result<T, E>) -> bool {
    answer.is_err_and(|error| error.into().is_disconnected())
}

/// The parent drops its copy of the closure, and with it the ends, while the child uses its own.
#[test]
fn a_closure_has_the_ends_that_it_captured() {
    let _leaks = leaks();
    for early in [false, true] {
        let go = Event::new().unwrap();
        let wait = move |go: &Event| assert!(!early || go.wait_timeout(GENEROUS));

        let (mut sender, mut receiver) = ring::<u64>(4096).unwrap();
        let copied = go.clone();
        let child = capture(move || {
            wait(&copied);
            (0..1000).all(|n| sender.send(n).is_ok())
        });
        // The original is dropped: nothing of that is seen here.
        assert!(!early || receiver.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        go.set();
        let received: Vec<u64> = receiver.iter().collect::<Result<_>>().unwrap();
        assert_eq!(received, (0..1000).collect::<Vec<_>>());
        assert!(child.join().unwrap());

        go.clear();
        let (mut sender, mut receiver) = ring::<u64>(4096).unwrap();
        let copied = go.clone();
        let child = capture(move || {
            wait(&copied);
            (0..1000).map(|_| receiver.recv()).collect::<Result<Vec<u64>>>().map_err(|e| e.to_string())
        });
        if early {
            // Nor here.
            sender.send(0).unwrap();
            go.set();
        }
        (u64::from(early)..1000).for_each(|n| sender.send(n).unwrap());
        assert_eq!(child.join().unwrap().unwrap(), (0..1000).collect::<Vec<_>>());
        // It is gone, and now that is the end.
        assert!((0..).map(|n| sender.send(n)).any(is_over));

        go.clear();
        let (sender, receiver) = Queue::<u64>::bounded(4).unwrap().split();
        let copied = go.clone();
        let child = capture(move || {
            wait(&copied);
            (0..100).all(|n| sender.put(n).is_ok())
        });
        assert!(!early || receiver.get_timeout(Duration::from_millis(1)).unwrap().is_none());
        go.set();
        assert_eq!(receiver.iter().collect::<Result<Vec<u64>>>().unwrap(), (0..100).collect::<Vec<_>>());
        assert!(child.join().unwrap());
    }
}

/// Both ends are captured, by two: the first to be forked does not keep the end open that the second has.
#[test]
fn two_closures_have_an_end_each() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = ring::<u64>(4096).unwrap();
    let receives = capture(move || receiver.iter().collect::<Result<Vec<u64>>>().map_err(|e| e.to_string()));
    let sends = capture(move || (0..5000).all(|n| sender.send(n).is_ok()));
    assert!(sends.join().unwrap());
    assert_eq!(receives.join().unwrap().unwrap(), (0..5000).collect::<Vec<_>>());
}

/// What is dropped is gone, though copies of the process live that had it in memory.
#[test]
fn a_child_without_an_end_keeps_none_open() {
    let _leaks = leaks();
    let over = Event::new().unwrap();
    let (sender, mut receiver) = ring::<u64>(4096).unwrap();
    let (mut others, other) = ring::<u64>(4096).unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let (put, get) = Queue::<u64>::bounded(4).unwrap().split();
    let child = bystander(&over);
    drop((sender, other, puts, get));
    assert!(is_over(receiver.recv_timeout(GENEROUS)));
    assert!(is_over(others.send(1)));
    assert!(is_over(gets.get_timeout(GENEROUS)));
    assert!((0..5).map(|n| put.put_timeout(n, GENEROUS)).any(is_over));
    let_go(&over, child);
}

/// A copy that was given an end has that, and nothing of its parent's besides: when it drops it, it is gone.
#[test]
fn a_child_has_what_it_was_given_and_no_second_one() {
    let _leaks = leaks();
    let over = Event::new().unwrap();
    let (sender, mut receiver) = ring::<u64>(4096).unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let life = |mut sender: RingSender<u64>, puts: QueueSender<u64>, over: Event| {
        let sent = sender.send(1).is_ok() && puts.put(1).is_ok();
        drop((sender, puts));
        sent && over.wait_timeout(GENEROUS)
    };
    let child = copy(life, (sender, puts, over.clone()));
    assert_eq!(receiver.recv_timeout(GENEROUS).unwrap(), Some(1));
    assert!(is_over(receiver.recv_timeout(GENEROUS)));
    assert_eq!(gets.get_timeout(GENEROUS).unwrap(), Some(1));
    assert!(is_over(gets.get_timeout(GENEROUS)));
    let_go(&over, child);
    let (mut sender, receiver) = ring::<u64>(4096).unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let life = |receiver: RingReceiver<u64>, gets: QueueReceiver<u64>, over: Event| {
        drop((receiver, gets));
        over.wait_timeout(GENEROUS)
    };
    over.clear();
    let child = copy(life, (receiver, gets, over.clone()));
    assert!((0..).map(|n| sender.send(n)).any(is_over));
    assert!((0..5).map(|n| puts.put_timeout(n, GENEROUS)).any(is_over));
    let_go(&over, child);
}

/// Who is killed is gone, though a copy of it lives on.
#[test]
fn a_copy_does_not_keep_its_dead_parents_ends() {
    let _leaks = leaks();
    let (over, gone) = (Event::new().unwrap(), Event::new().unwrap());
    let (sender, mut receiver) = ring::<u64>(4096).unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let life = |mut sender: RingSender<u64>, puts: QueueSender<u64>, over: Event, gone: Event| {
        let outlive = |over: Event, gone: Event| {
            let was_let_go = over.wait_timeout(GENEROUS);
            gone.set();
            was_let_go
        };
        // SAFETY: as above.
        let fork = unsafe { Context::fork() };
        let _child = fork.builder().detached(true).spawn(outlive, (over, gone)).unwrap();
        assert!(sender.send(1).is_ok() && puts.put(1).is_ok());
        std::thread::sleep(GENEROUS);
    };
    let child = spawn(life, (sender, puts, over.clone(), gone.clone())).unwrap();
    assert_eq!((receiver.recv().unwrap(), gets.get().unwrap()), (1, 1));
    child.kill().unwrap();
    child.join().unwrap_err();
    assert!(is_over(receiver.recv_timeout(GENEROUS)));
    assert!(is_over(gets.get_timeout(GENEROUS)));
    assert!(!gone.is_set());
    over.set();
    assert!(gone.wait_timeout(GENEROUS));
}

/// It has what its closure captured, in whatever that stands, and no more: not even the other end of what it has.
#[test]
fn who_runs_a_closure_has_what_it_captured() {
    let _leaks = leaks();
    let over = Event::new().unwrap();
    let (sender, mut receiver) = ring::<u64>(4096).unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let queue = Queue::<u64>::bounded(4).unwrap();
    let (put, get) = (queue.sender(), queue.receiver());
    let (held, copied) = (vec![Some((gets.clone(), put.clone()))], over.clone());
    let child = capture(move || {
        // The senders are its parent's alone.
        let (gets, _put) = held[0].as_ref().unwrap();
        let is_end = is_over(gets.get_timeout(GENEROUS));
        is_end && copied.wait_timeout(GENEROUS)
    });
    drop((sender, puts, put, queue));
    assert!(is_over(receiver.recv_timeout(GENEROUS)));
    assert!(is_over(gets.get_timeout(GENEROUS)));
    // The child has one that puts here. No wait is long enough to show that something never comes; this is longer than an end takes.
    assert!(get.get_timeout(Duration::from_millis(250)).unwrap().is_none());
    let_go(&over, child);
    assert!(is_over(get.get_timeout(GENEROUS)));
}

/// What it has behind an `Arc` that its parent has, too, it uses, but nobody counts it: the end comes when the parent's is dropped.
#[test]
fn what_is_shared_with_the_parent_is_the_parents() {
    let _leaks = leaks();
    let over = Event::new().unwrap();
    let (puts, gets) = Queue::<u64>::bounded(4).unwrap().split();
    let puts = Arc::new(puts);
    let (shared, copied) = (puts.clone(), over.clone());
    let child = capture(move || shared.put(1).is_ok() && copied.wait_timeout(GENEROUS));
    assert_eq!(gets.get_timeout(GENEROUS).unwrap(), Some(1));
    drop(puts);
    assert!(is_over(gets.get_timeout(GENEROUS)));
    let_go(&over, child);
}

/// A fork past ipc-core, after which each side drops the end that it does not use: what was sent is there, and the ring goes on.
#[test]
fn a_copys_end_closes_nothing() {
    let (mut tx, mut rx) = ring::<u32>(1 << 12).unwrap();
    for n in 0..3 {
        tx.send(n).unwrap();
    }
    assert_eq!(rx.recv().unwrap(), 0);
    // SAFETY: the copy uses the ring, and leaves by `_exit`; no other thread of this test has the allocator's lock.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        drop((tx, rx));
        // SAFETY: ends the copy, and nothing else.
        unsafe { libc::_exit(0) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above; the status is a local.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    assert_eq!(status, 0);
    tx.send(3).unwrap();
    drop(tx);
    assert_eq!(rx.iter().map(|n| n.unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}
