//! Waiting for many things at once: each kind of them, what is there and what is not, ends and deaths, and a bell that was never rung.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;
#[path = "victims/mod.rs"]
mod victims;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Listener, Receiver, connect, pipe};
use ipc_sync::{Event, Queue, QueueSender, RingSender, Waitable, ring, select, select_deadline};
use ipc_testkit::{GENEROUS, leaks};
use support::{block_on, spawn};

/// Which of them are ready, without waiting.
fn now(many: &[&dyn Waitable]) -> Vec<usize> {
    select(many, Some(Duration::ZERO)).unwrap()
}

/// Which are ready as soon as some are.
fn soon(many: &[&dyn Waitable]) -> Vec<usize> {
    select(many, Some(GENEROUS)).unwrap()
}

#[test]
fn tells_of_each_kind_what_is_ready() {
    let _leaks = leaks();
    let queue = Queue::<u32>::bounded(1).unwrap();
    let full = Queue::<u32>::bounded(1).unwrap();
    full.put(1).unwrap();
    let (full, room) = full.split();
    let (mut ring_sender, mut ring_receiver) = ring::<u32>(4096).unwrap();
    let event = Event::new().unwrap();
    let set = event.pollable().unwrap();
    let (sender, receiver) = pipe::<u32>().unwrap();
    let listener = Listener::private().unwrap();
    let (go, may_go) = pipe::<()>().unwrap();
    let child = spawn(|may_go: Receiver<()>| may_go.recv().unwrap(), (may_go,)).unwrap();
    let (reads, writes) = std::io::pipe().unwrap();
    let reads = OwnedFd::from(reads);
    let borrowed = reads.as_fd();
    {
        let all: [&dyn Waitable; 9] =
            [&queue, &full, &ring_receiver, &set, &receiver, &listener, &child, &reads, &borrowed];
        assert!(now(&all).is_empty());
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(select_deadline(&all, deadline).unwrap().is_empty() && Instant::now() >= deadline);
        assert!(select(&all, Some(Duration::from_millis(1))).unwrap().is_empty());

        queue.put(1).unwrap();
        assert_eq!(now(&all), [0]);
        assert_eq!(room.get().unwrap(), 1);
        assert_eq!(now(&all), [0, 1]);
        queue.get().unwrap();
        full.put(2).unwrap();
        assert!(now(&all).is_empty());

        ring_sender.send(1).unwrap();
        event.set();
        sender.send(1).unwrap();
        assert_eq!(now(&all), [2, 3, 4]);
        event.clear();
        receiver.recv().unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || connect::<u32, u32>(&address).map(drop));
        while now(&all) != [2, 5] {
            std::thread::yield_now();
        }
        listener.accept::<u32, u32>().unwrap();
        client.join().unwrap().unwrap();
        assert_eq!(now(&all), [2]);
        go.send(()).unwrap();
        while !now(&all).contains(&6) {
            std::thread::yield_now();
        }
        drop(writes);
        assert_eq!(now(&all), [2, 6, 7, 8]);
    }
    assert_eq!(ring_receiver.recv().unwrap(), 1);
    assert!(now(&[&ring_receiver]).is_empty());
    child.join().unwrap();
}

/// A ring's sender that found too little room is ready again when some was made, and not before; and both ends are when the other is gone.
#[test]
fn tells_of_rings_and_their_ends() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = ring::<()>(4096).unwrap();
    assert_eq!(now(&[&sender, &receiver]), [0]);
    while sender.try_send_bytes(&[0; 1500]).is_ok() {}
    assert_eq!(now(&[&sender, &receiver]), [1]);
    assert!(now(&[&sender]).is_empty());
    receiver.recv_bytes().unwrap();
    assert_eq!(now(&[&sender]), [0]);
    while sender.try_send_bytes(&[0; 1500]).is_ok() {}
    drop(receiver);
    assert_eq!(soon(&[&sender]), [0]);
    assert!(sender.try_send_bytes(&[0]).unwrap_err().is_disconnected());

    let (sender, mut receiver) = ring::<u32>(4096).unwrap();
    assert!(now(&[&receiver]).is_empty());
    drop(sender);
    assert_eq!(soon(&[&receiver]), [0]);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert_eq!(now(&[&receiver]), [0]);
}

/// Keeps what it has until it is killed.
fn keep(_queue: QueueSender<u32>, _ring: RingSender<u32>) {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_death_is_the_end_of_what_the_dead_had() {
    let _leaks = leaks();
    let (sends, queue) = Queue::<u32>::bounded(1).unwrap().split();
    let (ring_sender, ring) = ring::<u32>(4096).unwrap();
    let child = spawn(keep, (sends, ring_sender)).unwrap();
    assert!(now(&[&queue, &ring, &child]).is_empty());
    child.kill().unwrap();
    while now(&[&queue, &ring, &child]) != [0, 1, 2] {
        assert!(!soon(&[&queue, &ring, &child]).is_empty());
    }
    assert!(queue.get().unwrap_err().is_end());
    child.join().unwrap_err();
}

fn put(queue: QueueSender<Bytes>) {
    queue.put_bytes(b"there").unwrap();
}

/// It has put an item, and dies before it rings; others live who could put more, so it is no end, and nothing ever becomes readable.
fn lost_bell() {
    let points = victims::mine();
    let (sender, receiver) = Queue::<Bytes>::bounded(10).unwrap().split();
    // From now on it is rung for.
    assert!(now(&[&receiver]).is_empty());
    points.arm("producer: published", 1);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| soon(&[&receiver]));
        let child = victims::start(&ipc_core::Context::exec(), put, (sender.clone(),));
        victims::bury(child);
        assert_eq!(waits.join().unwrap(), [0]);
    });
    assert_eq!(receiver.try_get().unwrap().as_deref(), Some(&b"there"[..]));
    // The same where it is awaited.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| block_on(receiver.get_async()));
        points.arm("producer: published", 1);
        victims::bury(victims::start(&ipc_core::Context::exec(), put, (sender.clone(),)));
        assert_eq!(&*waits.join().unwrap().unwrap(), b"there");
    });
    drop(sender);
}

#[test]
fn what_was_never_rung_for_is_seen_all_the_same() {
    let _leaks = leaks();
    let points = victims::crash_points();
    victims::program(&points, lost_bell, ()).join().unwrap();
}
