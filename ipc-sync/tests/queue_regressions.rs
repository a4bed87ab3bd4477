//! What was found wrong with queues once, each by the name of what broke.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Descriptor, Signal};
use ipc_sync::{Error, Queue};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use support::spawn;

fn descriptors(count: usize) -> Vec<Descriptor> {
    (0..count).map(|_| Descriptor::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()))).collect()
}

fn is_readable(what: impl AsFd) -> bool {
    let mut watched = [PollFd::new(&what, PollFlags::IN)];
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&none)).unwrap() > 0
}

/// It was `Corrupt`: what had been seen of the tail was behind the head.
#[test]
fn a_get_after_discard_is_told_of_the_end() {
    let _leaks = leaks();
    let queue = Queue::<u32>::bounded(10).unwrap();
    queue.put(1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    queue.put_many([2, 3, 4]).unwrap();
    assert_eq!(queue.discard().unwrap(), 3);
    assert!(matches!(queue.get(), Err(Error::Closed)));
}

/// Chunks that were begun for an item that did not fit stayed with its band.
#[test]
fn a_band_has_room_after_another_gave_up() {
    let _leaks = leaks();
    let queue = Queue::<Bytes>::builder().bytes(100_000).bands(2).make().unwrap();
    let (low, high) = (queue.sender(), queue.sender().band(1));
    high.put(vec![1; 50_000].into()).unwrap();
    assert!(matches!(low.try_put(vec![2; 90_000].into()).unwrap_err().error(), Error::Full));
    assert_eq!(queue.get().unwrap().len(), 50_000);
    high.try_put(vec![3; 100_000].into()).unwrap();
    assert_eq!(queue.get().unwrap().len(), 100_000);
    low.try_put(vec![4; 100_000].into()).unwrap();
}

fn take_and_stay(queue: Queue<u32>) {
    queue.get().unwrap();
    loop {
        std::thread::park();
    }
}

/// It slept for good: it had found nobody who could die.
#[test]
fn a_join_before_anybody_has_taken_anything_is_told_of_a_death() {
    let _leaks = leaks();
    let queue: Queue<u32> = Queue::builder().items(10).joinable().make().unwrap();
    queue.put(1).unwrap();
    let join = |queue: Queue<u32>| matches!(queue.join(), Err(Error::Abandoned { items: 1 }));
    let joiner = spawn(join, (queue.clone(),)).unwrap();
    let sleeps = || {
        let place = std::fs::read_to_string(format!("/proc/{}/wchan", joiner.pid()));
        place.is_ok_and(|place| place.contains("futex"))
    };
    assert!(wait_until(GENEROUS, sleeps));
    let worker = spawn(take_and_stay, (queue.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || queue.is_empty()));
    worker.kill().unwrap();
    assert_eq!(worker.join().err().unwrap().signal(), Some(Signal::KILL));
    assert_eq!(joiner.join_timeout(GENEROUS).unwrap(), Some(true));
}

#[derive(Debug, Serialize)]
struct Small(u8);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Small, D::Error> {
        match u8::deserialize(deserializer)? {
            9 => Err(serde::de::Error::custom("too large")),
            small => Ok(Small(small)),
        }
    }
}

/// Those before it, and behind it, were lost.
#[test]
fn get_many_keeps_what_is_around_a_wrong_item() {
    let _leaks = leaks();
    let queue = Queue::<Small>::bounded(10).unwrap();
    queue.put_many([1, 2, 9, 3].map(Small)).unwrap();
    let got = |items: Vec<Small>| items.into_iter().map(|item| item.0).collect::<Vec<_>>();
    assert_eq!(got(queue.get_many(10).unwrap()), [1, 2]);
    assert!(matches!(queue.get_many(10), Err(Error::Message(_))));
    assert_eq!(got(queue.get_many(10).unwrap()), [3]);
}

/// Nobody could be done with it, and `join` waited for ever.
#[test]
fn what_cannot_be_decoded_is_done() {
    let _leaks = leaks();
    let queue = Queue::<Small>::builder().joinable().make().unwrap();
    queue.put_many([1, 9].map(Small)).unwrap();
    assert_eq!(queue.get().unwrap().0, 1);
    assert!(matches!(queue.get(), Err(Error::Message(_))));
    assert!(!queue.join_timeout(Duration::from_millis(1)).unwrap());
    queue.task_done().unwrap();
    assert!(queue.join_timeout(Duration::from_secs(60)).unwrap());
    assert!(matches!(queue.task_done(), Err(Error::Invalid { .. })));
}

/// Its lock was held while the caller's iterator was asked; here for itself.
#[test]
fn put_many_s_iterator_may_use_the_queue() {
    let _leaks = leaks();
    let queue = Queue::<u32>::bounded(10).unwrap();
    let items = (0..3).inspect(|item| queue.put(100 + item).unwrap());
    queue.put_many(items).unwrap();
    assert_eq!(queue.get_many(10).unwrap(), [100, 101, 102, 0, 1, 2]);
}

/// All of an endless iterator's items would have gone into one batch, which nobody sees before it is full.
#[test]
fn put_many_publishes_before_the_queue_is_full() {
    let _leaks = leaks();
    let queue = Queue::<u32>::unbounded().unwrap();
    let receiver = queue.receiver();
    let mut seen = 0;
    let items = (0..2_000).inspect(|_| seen = seen.max(receiver.len()));
    queue.put_many(items).unwrap();
    assert!(seen >= 500, "{seen}");
}

/// It was readable all the time, as there was room for items, and who awaited it span.
#[test]
fn a_sender_of_a_queue_without_room_for_bytes_is_not_readable() {
    let _leaks = leaks();
    let queue = Queue::<Bytes>::builder().bytes(10_000).make().unwrap();
    let sender = queue.sender();
    sender.as_fd();
    while sender.try_put(vec![0; 3_000].into()).is_ok() {}
    assert!(!is_readable(&sender));
    queue.get().unwrap();
    assert!(is_readable(&sender));
    while sender.try_put(vec![0; 3_000].into()).is_ok() {}
    assert!(!is_readable(&sender));
    queue.close().unwrap();
    assert!(is_readable(&sender));
}

/// What was sent of an item, before the socket was full, was never taken out; when it had filled the socket, no item with descriptors could be put any more.
#[test]
fn descriptors_that_were_sent_in_vain_do_not_fill_the_socket() {
    let _leaks = leaks();
    let queue = Queue::<Vec<Descriptor>>::unbounded().unwrap();
    // Two packets.
    let long = || descriptors(300);
    for _ in 0..2 {
        while queue.try_put(descriptors(1)).is_ok() {}
        // Each makes room for one packet, and not for the second.
        while !queue.is_empty() {
            assert_eq!(queue.get().unwrap().len(), 1);
            assert!(matches!(queue.try_put(long()).unwrap_err().error(), Error::Full));
        }
        let receiver = queue.receiver();
        let getter = std::thread::spawn(move || receiver.get_timeout(Duration::from_secs(20)));
        queue.put_timeout(long(), Duration::from_secs(20)).unwrap();
        assert_eq!(getter.join().unwrap().unwrap().unwrap().len(), 300);
    }
}

/// Who was woken for room found none in the socket, where the packet was dropped a moment later, and slept on.
#[test]
fn one_who_waits_for_room_for_descriptors_is_woken() {
    let _leaks = leaks();
    let queue = Queue::<Vec<Descriptor>>::unbounded().unwrap();
    while queue.try_put(descriptors(1)).is_ok() {}
    let there = queue.len();
    let sender = queue.sender();
    let putter = std::thread::spawn(move || (0..200).for_each(|_| sender.put(descriptors(1)).unwrap()));
    let begun = Instant::now();
    for _ in 0..there + 200 {
        assert_eq!(queue.get().unwrap().len(), 1);
    }
    putter.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A length that somebody has written over, and links in a circle, would have made gigabytes of one chunk.
#[test]
fn a_length_is_not_believed_before_there_is_memory() {
    use ipc_shm::modelled::{peek, scribble};

    let _leaks = leaks();
    let queue = Queue::<Bytes>::unbounded().unwrap();
    let (segment, _) = ipc_sync::modelled::queue::segment_of(&queue);
    let mut before = vec![0; 1 << 20];
    peek(&segment, 0, &mut before).unwrap();
    queue.put(vec![7; 77_777].into()).unwrap();
    let mut bytes = vec![0; 1 << 20];
    peek(&segment, 0, &mut bytes).unwrap();
    let header = bytes.windows(8).position(|word| word == 77_777_u64.to_ne_bytes()).unwrap();
    scribble(&segment, header, &900_000_000_u64.to_ne_bytes()).unwrap();
    // The first chunk's link: what led to the second, its number and one.
    let links = ipc_sync::modelled::queue::segment_of(&queue).1
        + size_of::<ipc_sync::modelled::queue::layout::Head>();
    assert_eq!((before[links], bytes[links]), (0, 2));
    scribble(&segment, links, &1_u32.to_ne_bytes()).unwrap();
    let error = queue.get().unwrap_err();
    assert!(error.to_string().contains("there are not as many"), "{error}");
}

/// They stayed in the socket as long as the queue was there, and whoever read from the other end of such a pipe saw no end.
#[test]
fn discard_closes_descriptors() {
    let _leaks = leaks();
    let queue = Queue::<Vec<Descriptor>>::bounded(10).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    queue.put(vec![OwnedFd::from(writer).into()]).unwrap();
    assert_eq!(queue.discard().unwrap(), 1);
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
}
